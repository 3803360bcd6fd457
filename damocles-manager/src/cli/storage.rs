//! `util storage …`.

use super::{client::Manager, sectors::sector_id, show};
use clap::Subcommand;
use damocles_api::{damocles_cli::DamoclesCliClient, sealer_cli::SealerCliClient};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    table::Table,
};
use damocles_types::SectorId;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Storage {
    /// Persist stores with their space
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
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
        Storage::ReleaseReserved {
            miner,
            number,
            json,
        } => release(manager, sector_id(&miner, number)?, json).await,
        Storage::Accept { name, json } => accept(manager, name, json).await,
    }
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
