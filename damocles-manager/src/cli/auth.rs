//! `util auth`: tokens for callers on other hosts, which are made, listed and revoked in the home
//! itself, and the log of who changed what. A running daemon goes by the home's list at once.

use super::show;
use clap::Subcommand;
use damocles_daemon::{
    audit,
    auth::{self, Entry, Grant, LEDGER_FILE, Permission, Secret},
    clock::{Clock as _, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The secret's file in the home.
pub(super) const SECRET_FILE: &str = crate::rpc::SECRET_FILE;
/// Where the home is.
const HERE: &str = "run this as the daemon's user, on its host";

#[derive(Debug, Subcommand)]
pub(super) enum Auth {
    /// Make a token; reads the secret in the home, so it runs on the manager's host
    #[command(after_help = "\
Examples, for a worker on another host:
  damocles-manager util auth create-token --perm write
  damocles-manager util auth create-token --perm write --worker w1 --expires 90d")]
    CreateToken {
        /// read, write (workers), sign or admin; each includes those before it
        #[arg(long)]
        perm: Permission,
        /// It holds for so long, e.g. 90d or 12h; without this for ever
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
        /// Its bearer may speak for the worker of this name only
        #[arg(long, value_name = "NAME")]
        worker: Option<String>,
        /// As JSON, with its id
        #[arg(long)]
        json: bool,
    },
    /// List the tokens that were made, without the tokens themselves
    #[command(after_help = "\
Example:
  damocles-manager util auth list --json | jq -r '.[] | select(.Revoked == null) | .Id'")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token: from now on nobody can come in with it, and sessions with it end
    #[command(after_help = "\
Examples:
  damocles-manager util auth revoke 0a1b2c3d4e5f6071
  damocles-manager util auth revoke \"$(cat token)\"      one that was made without an id")]
    Revoke {
        /// Its id, as `util auth list` shows it, or the token itself
        #[arg(value_name = "ID")]
        token: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show who changed what lately, oldest first
    #[command(after_help = "\
Examples:
  damocles-manager util auth audit --last 20
  damocles-manager util auth audit --json | jq '.[] | select(.Error != null)'")]
    Audit {
        /// So many calls at most
        #[arg(long, default_value_t = 100, value_name = "COUNT")]
        last: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(home: &Path, command: Auth) -> anyhow::Result<()> {
    let now = SystemClock.now_ms() / 1000;
    match command {
        Auth::CreateToken {
            perm,
            expires,
            worker,
            json,
        } => {
            let expires = expires.map(|span| now.saturating_add(span.as_secs()));
            let grant = grant(perm, expires, worker)?;
            create_token(home, &grant, now, json)
        }
        Auth::List { json } => list(home, now, json),
        Auth::Revoke { token, json } => revoke(home, &token, now, json),
        Auth::Audit { last, json } => audited(home, last, json),
    }
}

/// What was asked for, if it makes sense.
fn grant(top: Permission, expires: Option<u64>, worker: Option<String>) -> Result<Grant, Fatal> {
    let refused = |what: &str, hint: &str| Err(Fatal::new(Exit::Usage, what).hint(hint));
    match &worker {
        Some(name) if name.trim().is_empty() => {
            return refused("--worker is empty", "give the name of a worker");
        }
        Some(_) if matches!(top, Permission::Sign | Permission::Admin) => {
            return refused(
                "a worker needs no more than --perm write",
                "make another token, without --worker, for an operator",
            );
        }
        _ => {}
    }
    Ok(Grant {
        top,
        expires,
        worker,
    })
}

fn create_token(home: &Path, grant: &Grant, now: u64, json: bool) -> anyhow::Result<()> {
    let secret = Secret::load(&home.join(SECRET_FILE)).map_err(|fatal| match fatal.exit {
        Exit::NotFound => fatal.hint(
            "the daemon makes it at its first start: run it once, or give its home with --home",
        ),
        _ => fatal.hint(HERE),
    })?;
    let (id, token) = secret.grant(grant)?;
    // before anybody has it: one that is not listed is found by nobody who wants to revoke it
    auth::add(
        &home.join(LEDGER_FILE),
        Entry::of(id.clone(), grant, now),
        now,
    )?;
    noted(home, "auth create-token", &id);
    if json {
        return show::json(&serde_json::json!({
            "Id": id,
            "Token": token,
            "Expires": grant.expires,
            "Worker": grant.worker,
        }));
    }
    println!("{token}");
    Ok(())
}

fn list(home: &Path, now: u64, json: bool) -> anyhow::Result<()> {
    let all = auth::entries(&home.join(LEDGER_FILE))?;
    if json {
        return show::json(&all);
    }
    if all.is_empty() {
        println!("no token was made in this home, but such as earlier versions made");
        return Ok(());
    }
    let mut table = Table::new(
        &["id", "perm", "worker", "made", "expires", "holds"],
        &["worker"],
    );
    for entry in all {
        let holds = match (entry.revoked, entry.expires) {
            (Some(at), _) => format!("revoked {}", day(at)),
            (None, Some(end)) if end <= now => "past its end".to_owned(),
            _ => "yes".to_owned(),
        };
        table.add_row([
            entry.id,
            show::or_dash(entry.perm),
            show::or_dash(entry.worker),
            show::or_dash(entry.made.map(day)),
            show::or_dash(entry.expires.map(day)),
            holds,
        ]);
    }
    show::print(&table);
    Ok(())
}

fn revoke(home: &Path, given: &str, now: u64, json: bool) -> anyhow::Result<()> {
    let path = home.join(LEDGER_FILE);
    let given = given.trim();
    let is_token = given.split('.').count() == 3;
    let id = if is_token {
        let secret = Secret::load(&home.join(SECRET_FILE)).map_err(|fatal| fatal.hint(HERE))?;
        let bearer = secret.verify(given).ok_or_else(|| {
            Fatal::new(
                Exit::NotFound,
                "this is no token of this home, or its time is over",
            )
        })?;
        bearer.id.to_string()
    } else {
        given.to_owned()
    };
    if !is_token && auth::entries(&path)?.iter().all(|e| e.id != id) {
        let what = format!("no token of this home has the id {id:?}");
        return Err(Fatal::new(Exit::NotFound, what)
            .hint("see `damocles-manager util auth list`; of one that was made without an id give the token itself")
            .into());
    }
    let entry = auth::revoke(&path, &id, now)?;
    noted(home, "auth revoke", &id);
    if json {
        return show::json(&entry);
    }
    println!("{id} is revoked; nobody can come in with it any more");
    Ok(())
}

/// What is done here and not by the daemon stands in its log as well.
fn noted(home: &Path, what: &str, id: &str) {
    let entry = audit::Entry {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        method: what.to_owned(),
        address: "the home".to_owned(),
        subject: Some(id.to_owned()),
        ..Default::default()
    };
    if let Err(error) = audit::append(home, entry) {
        eprintln!("warning: {error}");
    }
}

fn audited(home: &Path, last: usize, json: bool) -> anyhow::Result<()> {
    let all = audit::newest(home, last)?;
    if json {
        return show::json(&all);
    }
    let mut table = Table::new(
        &[
            "time", "what", "about", "token", "from", "worker", "outcome",
        ],
        &["about", "worker", "outcome"],
    );
    for entry in all {
        table.add_row([
            entry.time,
            entry.method,
            show::or_dash(entry.sector.or(entry.subject)),
            show::or_dash(entry.token),
            entry.address,
            show::or_dash(entry.worker),
            match entry.error {
                None => "done".to_owned(),
                Some(code) => entry.reason.unwrap_or_else(|| code.to_string()),
            },
        ]);
    }
    show::print(&table);
    Ok(())
}

/// A time in Unix seconds as a person reads it.
fn day(seconds: u64) -> String {
    // RFC 3339 ends with the year 9999
    let within = seconds.min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(within)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_own_token_allows_no_more_than_a_worker_needs() {
        use Permission::{Admin, Read, Sign, Write};
        for (top, worker, ok) in [
            (Write, Some("w1"), true),
            (Read, Some("w1"), true),
            (Sign, Some("w1"), false),
            (Admin, Some("w1"), false),
            (Write, Some(" "), false),
            (Admin, None, true),
        ] {
            let made = grant(top, None, worker.map(str::to_owned));
            assert_eq!(made.is_ok(), ok, "{top} {worker:?}");
        }
        assert_eq!(day(0), "1970-01-01T00:00:00Z");
        assert_eq!(day(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
