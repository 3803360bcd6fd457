//! `db …`: the database as a whole. What works on its files or its server is `upkeep`'s; a running
//! manager is asked.

use super::{
    client::{Manager, Reach},
    show,
};
use crate::{
    db::check::{Fault, Mend},
    upkeep::{
        House,
        check::{Checked, Scope},
        import::Step,
    },
};
use clap::{Args, Subcommand};
use damocles_api::damocles_cli::{BackupView, DamoclesCliClient};
use damocles_daemon::{
    exit::{Exit, Fatal},
    table::Table,
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Between two lines that say how far it is.
const SAID: Duration = Duration::from_secs(3);
/// So many faults are shown; more are counted.
const MOST_FAULTS: usize = 10_000;

/// The manager's database as a whole.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  damocles-manager db backup /backup/2026-05-01        also while the manager runs
  damocles-manager db check                            of a stopped manager, or on PostgreSQL
  damocles-manager db export --out damocles.jsonl      the way to another kind of database
`db --help` with a command's name says more.")]
pub struct DbArgs {
    /// Directory of sector-manager.cfg [default: DAMOCLES_CONF_DIR, or the home]
    #[arg(long, global = true, value_name = "DIR")]
    conf_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Write all records into a file, as lines of JSON: of one moment
    #[command(after_help = "\
Example, from RocksDB to PostgreSQL; the manager is stopped:
  damocles-manager db export --out damocles.jsonl
  damocles-manager db import damocles.jsonl            with Driver = \"postgres\" in the configuration
What belongs to running processes (roles, how far messages were looked for) is left out.")]
    Export {
        /// The file; it is there when it is whole [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Say as JSON what was exported
        #[arg(long, requires = "out")]
        json: bool,
    },
    /// Make the database of a new home, or an empty schema's, from an exported file
    #[command(after_help = "\
Example, into a home of its own:
  damocles-manager --home /srv/m2 daemon init          and write its sector-manager.cfg
  damocles-manager --home /srv/m2 db import damocles.jsonl
The id goes along: workers and stores know the database again. Let only one manager use it.")]
    Import {
        /// What `db export` wrote
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the database into a new directory on the manager's host; it may run meanwhile
    #[command(after_help = "\
Example:
  damocles-manager db backup /backup/2026-05-01
The secret of the tokens (jwt-secret) and the configuration are not in it: keep them elsewhere. A
database on PostgreSQL is backed up there, with pg_dump.")]
    Backup(BackupArgs),
    /// Put a backup in the place of a stopped manager's database, which is moved aside
    #[command(after_help = "\
Example:
  damocles-manager db restore /backup/2026-05-01
What happened since the backup is forgotten by it. Numbers that the home has given out since are not
given out again: the next start asks for a word before it goes on with an older database.")]
    Restore {
        /// What `db backup` made
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look through all records and say what does not fit together
    #[command(after_help = "\
Example:
  damocles-manager db check --json | jq '.Faults[].What'
Exit code 0: it is sound; 8: faults were found. Of a stopped manager; on PostgreSQL managers may run.")]
    Check {
        /// Put right what follows from other records: lists and counters
        #[arg(long)]
        mend: bool,
        /// Leave the files in the persist stores alone
        #[arg(long)]
        no_stores: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct BackupArgs {
    #[command(flatten)]
    reach: Reach,
    /// A directory that does not exist yet
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Says now and then on standard error how far it is.
struct Progress(Instant);

impl Progress {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn say(&mut self, what: &str, records: u64) {
        if self.0.elapsed() >= SAID {
            self.0 = Instant::now();
            eprintln!("{what}: {records} records so far");
        }
    }
}

pub(super) async fn run(home: PathBuf, args: DbArgs) -> anyhow::Result<()> {
    let DbArgs { conf_dir, command } = args;
    let house = || House::of(home.clone(), conf_dir.as_deref());
    match command {
        DbCommand::Export { out, json } => {
            tokio::task::block_in_place(|| export(&house()?, out.as_deref(), json))
        }
        DbCommand::Import { file, json } => {
            tokio::task::block_in_place(|| import(&house()?, &file, json))
        }
        DbCommand::Backup(args) => backup(&home, house, args).await,
        DbCommand::Restore { dir, json } => {
            tokio::task::block_in_place(|| restore(&house()?, &dir, json))
        }
        DbCommand::Check {
            mend,
            no_stores,
            json,
        } => {
            let scope = Scope {
                mend: if mend { Mend::Lists } else { Mend::Nothing },
                stores: !no_stores,
            };
            check(&house()?, scope, json).await
        }
    }
}

fn export(house: &House, out: Option<&Path>, as_json: bool) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let done = house.export(out, &mut |n| progress.say("exporting", n))?;
    let Some(out) = out else { return Ok(()) };
    let (records, version) = (done.records, done.header.schema_version);
    if as_json {
        return show::json(&json!({
            "File": out, "Records": records, "Database": done.header.database,
            "SchemaVersion": version, "Network": done.header.network,
        }));
    }
    println!(
        "{records} records of the database {} (version {version}) are in {}",
        done.header.database,
        out.display()
    );
    Ok(())
}

fn import(house: &House, file: &Path, as_json: bool) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let done = house.import(file, &mut |step, n| {
        let what = match step {
            Step::Checking => "reading the file",
            Step::Importing => "importing",
        };
        progress.say(what, n);
    })?;
    if as_json {
        return show::json(&json!({
            "Place": house.place(), "Records": done.records, "Database": done.database,
            "SchemaVersion": done.schema_version,
        }));
    }
    println!(
        "{} records are in {}; it is the database {} now: let no manager use another copy of it",
        done.records,
        house.place(),
        done.database
    );
    Ok(())
}

async fn backup(
    home: &Path,
    house: impl Fn() -> anyhow::Result<House>,
    args: BackupArgs,
) -> anyhow::Result<()> {
    let BackupArgs { reach, dir, json } = args;
    let dir = std::path::absolute(&dir)?;
    let stopped = if reach.is_named() {
        None
    } else {
        tokio::task::block_in_place(|| house()?.backup(&dir))?
    };
    let said = dir.display().to_string();
    match stopped {
        Some(note) => backed_up(&note.view(said), json),
        None => {
            let ask = async |manager: &Manager| {
                let made = manager.rpc.backup_database(said.clone()).await;
                backed_up(&made.map_err(|e| manager.failed(e))?, json)
            };
            // the daemon copies on, whether or not anybody waits
            reach.ask_patiently(home, ask).await
        }
    }
}

fn backed_up(made: &BackupView, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return show::json(made);
    }
    show::say(format!(
        "the database {} is in {}; jwt-secret and sector-manager.cfg are not: keep them elsewhere",
        made.database, made.directory
    ));
    Ok(())
}

fn restore(house: &House, dir: &Path, as_json: bool) -> anyhow::Result<()> {
    let done = house.restore(dir)?;
    if as_json {
        return show::json(&json!({
            "Database": done.note.database, "Directory": done.database, "Aside": done.aside,
            "ForgottenNumbers": done.forgotten,
        }));
    }
    println!(
        "the database {} of {} is in {}",
        done.note.database,
        dir.display(),
        done.database.display()
    );
    if let Some(aside) = &done.aside {
        println!(
            "the one before lies in {}; remove it when nothing is missed",
            aside.display()
        );
    }
    for (miner, number) in &done.forgotten {
        println!(
            "{miner}: numbers up to {number} were handed out, and this backup does not know them all"
        );
    }
    println!(
        "what was done since the backup it has forgotten: sectors of that time wait for a person (`damocles-manager util sealer sectors unknown`)"
    );
    if !done.forgotten.is_empty() {
        println!(
            "the next start asks for the file accept-older-database in the home, and then hands out numbers above those"
        );
    }
    Ok(())
}

async fn check(house: &House, scope: Scope, as_json: bool) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let mut faults: Vec<Fault> = Vec::new();
    let mut found = |fault| {
        if faults.len() < MOST_FAULTS {
            faults.push(fault);
        }
    };
    let mut say = |n| progress.say("checking", n);
    let checked = house.check(scope, &mut found, &mut say).await?;
    let Checked {
        records,
        faults: count,
        mended,
        replicas,
        away,
        why_away,
    } = checked;
    let left = count - mended;
    if as_json {
        show::json(&json!({
            "Sound": left == 0, "Records": records, "Replicas": replicas, "ReplicasAway": away,
            "WhyAway": why_away, "FaultCount": count, "Mended": mended, "Faults": faults,
        }))?;
    } else {
        if !faults.is_empty() {
            let mut table = Table::new(&["table", "key", "what", "do"], &["table", "what", "do"]);
            for fault in faults {
                let cure = if fault.mended {
                    "it was put right".to_owned()
                } else {
                    fault.cure
                };
                table.add_row([fault.table.to_owned(), fault.key, fault.what, cure]);
            }
            show::print(&table);
        }
        for why in why_away {
            show::say(format!("not looked at: {why}"));
        }
        println!(
            "{records} records, {replicas} replicas of which {away} could not be looked at: {count} faults, {mended} of them put right"
        );
    }
    if left == 0 {
        return Ok(());
    }
    Err(Fatal::new(
        Exit::Data,
        format!("{left} faults are in {}", house.place()),
    )
    .hint("each says what to do; a backup first: `damocles-manager db backup DIR`")
    .into())
}
