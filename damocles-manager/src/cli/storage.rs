//! `util storage …`.

use super::{
    client::Manager,
    sectors::{actor, sector_id},
    show,
};
use crate::{
    policy::StorePolicy,
    storage::{SCANNED_MARK, scanned_mark},
};
use clap::Subcommand;
use damocles_api::{damocles_cli::DamoclesCliClient, sealer_cli::SealerCliClient};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use damocles_types::{ActorId, SectorId};
use serde_json::json;
use std::{fs::File, io::Write, path::PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Storage {
    /// Persist stores with their space
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// In which store a sector's files lie, as far as the manager knows
    #[command(after_help = "\
Example:
  damocles-manager util storage find 1000 7")]
    Find {
        /// The miner (1000 or t01000), or the sector's whole name
        miner: String,
        /// The sector's number
        number: Option<u64>,
        /// Of the upgraded replica
        #[arg(long)]
        upgrade: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Mark a directory as a persist store, to be found by ScanPersistStores
    #[command(after_help = "\
Example, on the manager's host:
  damocles-manager util storage gen-sectorstore-json /mnt/hdd7 --name hdd7 --weight 2
With ScanPersistStores = [\"/mnt/*\"] in its configuration a running manager finds it within a minute.")]
    GenSectorstoreJson {
        /// The directory
        path: PathBuf,
        /// The store's name; workers attach it by this one [default: its directory]
        #[arg(long)]
        name: Option<String>,
        /// Take no files for a sector's that are none, links among them
        #[arg(long)]
        strict: bool,
        /// Put nothing there
        #[arg(long)]
        read_only: bool,
        /// Weight in the choice among stores with room
        #[arg(long, default_value_t = 1)]
        weight: u64,
        /// Only for these miners
        #[arg(long, value_parser = actor, value_name = "MINER")]
        allow_miners: Vec<ActorId>,
        /// Never for these
        #[arg(long, value_parser = actor, value_name = "MINER")]
        deny_miners: Vec<ActorId>,
    },
    /// Give back the room that a store keeps for a sector which will never come
    #[command(after_help = "\
Example:
  damocles-manager util storage release-reserved 1000 7
A worker that still has the sector asks for room again when it needs it.")]
    ReleaseReserved {
        /// The miner (1000 or t01000), or the sector's whole name
        miner: String,
        /// The sector's number
        number: Option<u64>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that a store is what lies in its directory now, whatever mark was seen there before
    #[command(after_help = "\
Example, after a store was made anew in place of an old one:
  damocles-manager util storage accept hdd1
Not for a disk that is merely not mounted: sealed files would go beside it.")]
    Accept {
        /// The store's name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(manager: &Manager, command: Storage) -> anyhow::Result<()> {
    match command {
        Storage::List { json } => list(manager, json).await,
        Storage::Find {
            miner,
            number,
            upgrade,
            json,
        } => find(manager, sector_id(&miner, number)?, upgrade, json).await,
        Storage::GenSectorstoreJson {
            path,
            name,
            strict,
            read_only,
            weight,
            allow_miners,
            deny_miners,
        } => mark(StorePolicy {
            name: name.unwrap_or_else(|| path.display().to_string()),
            path,
            strict,
            read_only,
            weight,
            allow_miners,
            deny_miners,
            meta: None,
        }),
        Storage::ReleaseReserved {
            miner,
            number,
            json,
        } => release(manager, sector_id(&miner, number)?, json).await,
        Storage::Accept { name, json } => accept(manager, name, json).await,
    }
}

async fn find(manager: &Manager, id: SectorId, upgrade: bool, json: bool) -> anyhow::Result<()> {
    let kind = if upgrade { "upgrade" } else { "normal" };
    let found = manager.rpc.sector_indexer_find(kind.to_owned(), id).await;
    let found = found.map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&found);
    }
    if !found.found {
        let text = format!("no persist store is known to hold sector {id}");
        return Err(Fatal::new(Exit::NotFound, text)
            .hint("`damocles-manager util storage list` shows the stores; one that is away is not looked into")
            .into());
    }
    show::lines([
        ("sector", id.to_string()),
        ("sealed file", found.instance.sealed_file),
        ("cache", found.instance.cache_dir),
    ]);
    Ok(())
}

/// Writes the file by which a scan finds a store; one that is there stays as it is.
fn mark(store: StorePolicy) -> anyhow::Result<()> {
    let file = store.path.join(SCANNED_MARK);
    let failed = |e: std::io::Error| {
        let text = format!("{} cannot be written: {e}", file.display());
        Fatal::new(Exit::Refused, text)
            .hint("the directory has to be there, and no such file in it")
    };
    let mut made = File::create_new(&file).map_err(failed)?;
    made.write_all(scanned_mark(&store).as_bytes())
        .and_then(|()| made.sync_all())
        .map_err(failed)?;
    show::say(format!(
        "{} is a persist store named {:?}",
        store.path.display(),
        store.name
    ));
    Ok(())
}

async fn release(manager: &Manager, id: SectorId, json: bool) -> anyhow::Result<()> {
    let released = manager.rpc.store_release_reserved(id).await;
    let released = released.map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&json!({"Released": released}));
    }
    if released {
        println!("the room for sector {id} is given back");
    } else {
        println!("no store keeps room for sector {id}");
    }
    Ok(())
}

async fn accept(manager: &Manager, name: String, json: bool) -> anyhow::Result<()> {
    let note = manager.rpc.accept_store(name.clone()).await;
    let note = note.map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&json!({"Store": name, "Note": note}));
    }
    match note {
        None => show::say(format!("{name} is used as it is now")),
        Some(note) => show::say(format!("{name} is accepted as it is now, and {note}")),
    }
    Ok(())
}

async fn list(manager: &Manager, json: bool) -> anyhow::Result<()> {
    let stores = manager
        .rpc
        .store_list()
        .await
        .map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&stores);
    }
    // an older manager does not know the question
    let faults = manager.rpc.store_faults().await.unwrap_or_default();
    let say_faults = || {
        for (place, why) in &faults {
            show::say(format!("no persist store at {place}: {why}"));
        }
    };
    if stores.is_empty() {
        println!("no persist store is configured ([[Common.PersistStores]]) or found");
        say_faults();
        return Ok(());
    }
    let mut table = Table::new(
        &[
            "name", "path", "total", "used", "free", "reserved", "weight", "note",
        ],
        &["path", "note"],
    );
    for s in &stores {
        let mut flags = Vec::new();
        if s.read_only {
            flags.push("read-only");
        }
        if s.strict {
            flags.push("strict");
        }
        let reserved = match s.reserved_by.len() {
            0 => "—".to_owned(),
            n => format!("{} for {n}", show::bytes(s.reserved)),
        };
        if s.note.is_some() || s.total == 0 {
            flags.push("not used now");
        }
        table.add_row([
            s.name.clone(),
            s.path.clone(),
            show::bytes(s.total),
            format!("{} ({:.0} %)", show::bytes(s.used), s.used_percent),
            show::bytes(s.free),
            reserved,
            s.weight.max(1).to_string(),
            flags.join(", "),
        ]);
    }
    show::print(&table);
    for s in &stores {
        if let Some(note) = &s.note {
            show::say(format!("{} is not used now: {note}", s.name));
        }
    }
    say_faults();
    let now = SystemClock.now_seconds();
    for s in &stores {
        for r in &s.reserved_by {
            println!(
                "{} keeps {} for {}, since {}",
                s.name,
                show::bytes(r.size),
                r.by,
                show::ago(now, r.at)
            );
        }
    }
    Ok(())
}
