//! What `util sealer proving` says of what a person tried, asked or ordered.

use super::{client::Manager, show};
use anyhow::{Context, bail, ensure};
use damocles_api::{
    proving::{DamoclesProvingClient, RecoveryView, SimulatedView, WinningView},
    sealer_cli::SealerCliClient,
};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_types::{ActorId, SectorId, SectorNumber};
use serde_json::Value;
use std::path::Path;

fn numbers(all: &[SectorNumber]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// A try that came to no good proof ends in an error.
pub(super) fn simulated(view: &SimulatedView, json: bool) -> anyhow::Result<()> {
    if json {
        show::json(view)?;
    } else {
        let took = view.proving_ms.map(show::millis);
        show::lines([
            ("challenge", view.challenge.clone()),
            ("sectors", view.sectors.to_string()),
            ("reading", show::millis(view.reading_ms)),
            ("proving", show::or_dash(took)),
            (
                "verified",
                if view.verified { "yes" } else { "no" }.to_owned(),
            ),
        ]);
        for (sector, why) in &view.skipped {
            show::say(format!("sector {sector} was left out: {why}"));
        }
    }
    ensure!(
        view.verified,
        "partition {} of deadline {} could not be proven: {}",
        view.partition,
        view.deadline,
        view.error
            .as_deref()
            .unwrap_or("there is no sector that could be")
    );
    Ok(())
}

/// One sector after the other.
pub(super) async fn sectors(
    manager: &Manager,
    miner: ActorId,
    numbers: &[SectorNumber],
    json: bool,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for number in numbers {
        let sector = SectorId::new(miner, *number);
        let info = manager.rpc.proving_sector_info(sector).await;
        all.push((sector, info.map_err(|e| manager.failed(e))?));
    }
    if json {
        let all: Vec<_> = all.iter().map(|(_, info)| info).collect();
        return show::json(&all);
    }
    for (sector, info) in &all {
        let chain = |key: &str| match &info.on_chain[key] {
            Value::String(text) => text.clone(),
            Value::Null => show::or_dash(None::<String>),
            other => other.to_string(),
        };
        let private = &info.private;
        show::say(format!("sector {sector}"));
        show::lines([
            (
                "sealed CID",
                info.on_chain["SealedCID"]["/"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            ),
            ("activation", chain("Activation")),
            ("expiration", chain("Expiration")),
            ("pledge", chain("InitialPledge")),
            ("daily fee", chain("DailyFee")),
            ("store", private.accesses.sealed_file.clone()),
            ("sealed file", private.sealed_sector_path.clone()),
            ("cache", private.cache_dir_path.clone()),
        ]);
    }
    Ok(())
}

/// A sector that cannot be proven ends in an error.
pub(super) fn winning(view: &WinningView, output: Option<&Path>, json: bool) -> anyhow::Result<()> {
    if let Some(output) = output {
        let text = serde_json::to_string_pretty(view)?;
        let written = std::fs::write(output, text + "\n");
        written.with_context(|| format!("{} cannot be written", output.display()))?;
    }
    if json {
        show::json(view)?;
    } else {
        show::lines([
            ("sector", view.sector.to_string()),
            ("challenge", view.challenge.clone()),
            ("sealed file", view.sealed_file.clone()),
            ("cache", view.cache_dir.clone()),
            ("reading", show::millis(view.reading_ms)),
        ]);
    }
    match &view.error {
        None => Ok(()),
        Some(why) => bail!("sector {} could not win: {why}", view.sector),
    }
}

/// What became of faulty sectors by now.
pub(super) fn recovery(view: &RecoveryView, json: bool) -> anyhow::Result<()> {
    if json {
        return show::json(view);
    }
    let RecoveryView {
        deadline,
        open,
        cutoff,
        ..
    } = view;
    match view.state.as_str() {
        "Cleared" => println!("deadline {deadline} has no faulty sector that is not recovering"),
        "Looking" => println!(
            "the faulty sectors of deadline {deadline} are looked at next; what can be read is declared recovered until epoch {cutoff}, for the window at {open}"
        ),
        state => println!(
            "{state}: sectors {} for the window at {open}",
            numbers(&view.declared)
        ),
    }
    for message in &view.messages {
        println!("message {message}");
    }
    for (sector, why) in &view.faulty {
        show::say(format!("sector {sector} stays faulty: {why}"));
    }
    if let Some(error) = &view.error {
        show::say(error);
    }
    Ok(())
}

/// Orders the message, or says what it would be.
pub(super) async fn compact(
    manager: &Manager,
    miner: ActorId,
    deadline: u64,
    partitions: Vec<u64>,
    really: bool,
    json: bool,
) -> anyhow::Result<()> {
    let shown = numbers(&partitions);
    if !really {
        let what = format!(
            "partitions {shown} of deadline {deadline} of miner t0{miner} would be dissolved; nothing was sent"
        );
        return Err(Fatal::new(Exit::Refused, what)
            .hint("repeat the command with --really-do-it to send the message")
            .into());
    }
    let ordered = manager.rpc.compact_partitions(miner, deadline, partitions);
    let view = ordered.await.map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&view);
    }
    println!(
        "message {} dissolves partitions {shown} of deadline {deadline}; it is pointless from epoch {} on",
        view.message, view.until
    );
    println!(
        "what becomes of it: damocles-manager util message show {}",
        view.message
    );
    Ok(())
}
