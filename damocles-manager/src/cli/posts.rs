//! `util sealer proving …`.

use super::{client::Manager, sectors::actor, show};
use clap::Subcommand;
use damocles_api::damocles::DamoclesClient;
use damocles_daemon::table::Table;
use damocles_types::ActorId;

#[derive(Debug, Subcommand)]
pub(super) enum Proving {
    /// WindowPoSts that this manager made, newest first
    #[command(after_help = "\
Example:
  damocles-manager util sealer proving posts 1000 --limit 10")]
    Posts {
        /// The miner, 1000 or t01000
        #[arg(value_parser = actor)]
        miner: ActorId,
        /// At most so many
        #[arg(long, default_value_t = 48)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(manager: &Manager, command: Proving) -> anyhow::Result<()> {
    let Proving::Posts { miner, limit, json } = command;
    let posts = manager
        .rpc
        .window_posts(miner, limit)
        .await
        .map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&posts);
    }
    if posts.is_empty() {
        println!("no WindowPoSt of this manager for miner {miner} yet");
        return Ok(());
    }
    let mut table = Table::new(
        &[
            "deadline",
            "partitions",
            "open",
            "close",
            "state",
            "proving",
            "landed",
            "skipped",
            "message",
            "problem",
        ],
        &["message", "problem"],
    );
    for p in &posts {
        let partitions: Vec<String> = p.partitions.iter().map(ToString::to_string).collect();
        table.add_row([
            p.deadline.to_string(),
            partitions.join(","),
            p.open.to_string(),
            p.close.to_string(),
            p.state.clone(),
            show::or_dash(p.proving_ms.map(show::millis)),
            show::or_dash(p.landed_at),
            p.skipped.len().to_string(),
            show::or_dash(p.message.as_ref().map(|c| c.cid)),
            show::or_dash(p.error.as_ref()),
        ]);
    }
    show::print(&table);
    Ok(())
}
