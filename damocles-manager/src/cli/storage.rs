//! `util storage …`.

use super::{client::Manager, show};
use clap::Subcommand;
use damocles_api::sealer_cli::SealerCliClient;
use damocles_daemon::{
    clock::{Clock, SystemClock},
    table::Table,
};

#[derive(Debug, Subcommand)]
pub(super) enum Storage {
    /// Persist stores with their space
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(manager: &Manager, command: Storage) -> anyhow::Result<()> {
    let Storage::List { json } = command;
    let stores = manager
        .rpc
        .store_list()
        .await
        .map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&stores);
    }
    if stores.is_empty() {
        println!("no persist store is configured ([[Common.PersistStores]])");
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
        if s.total == 0 {
            flags.push("cannot be read now");
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
    let now = SystemClock.now_seconds();
    for s in &stores {
        for r in &s.reserved_by {
            let age = u64::try_from(now - r.at).unwrap_or_default();
            println!(
                "{} keeps {} for {}, since {}",
                s.name,
                show::bytes(r.size),
                r.by,
                show::millis(age * 1_000)
            );
        }
    }
    Ok(())
}
