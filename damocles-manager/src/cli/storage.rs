//! `util storage …`.

use super::{client::Manager, show};
use clap::Subcommand;
use damocles_api::sealer_cli::SealerCliClient;

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
    let mut table = show::table(&[
        "name", "path", "total", "used", "free", "reserved", "weight", "", "note",
    ]);
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
        table.add_row([
            s.name.clone(),
            s.path.clone(),
            show::bytes(s.total),
            format!("{} ({:.0} %)", show::bytes(s.used), s.used_percent),
            show::bytes(s.free),
            reserved,
            s.weight.max(1).to_string(),
            flags.join(" "),
            if s.total == 0 {
                "cannot be read now".to_owned()
            } else {
                String::new()
            },
        ]);
    }
    show::print(&table);
    for s in &stores {
        for r in &s.reserved_by {
            println!(
                "{} keeps {} for {} (since unix {})",
                s.name,
                show::bytes(r.size),
                r.by,
                r.at
            );
        }
    }
    Ok(())
}
