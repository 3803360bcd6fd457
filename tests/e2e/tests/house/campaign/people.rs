//! What a person asks of a house that proves: the commands, with real sectors and real proofs.

use super::blows::Field;
use crate::road::SOON;
use anyhow::{Context, Result, ensure};
use damocles_e2e::{house::manager_at, process, wait};
use damocles_types::SectorId;
use serde_json::Value;
use std::time::Duration;

/// A proof on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// What `damocles-manager util sealer proving …` of the first manager prints as JSON.
async fn ask(field: &Field<'_>, words: &str) -> Result<Value> {
    let mut command = manager_at(&field.house.path("manager-0"))?;
    command.args(["util", "sealer", "proving"]);
    command.args(words.split(' ')).arg("--json");
    let said = process::run(command, LONG).await?;
    ensure!(said.status.success(), "{words}: {}", said.err.trim());
    serde_json::from_str(&said.out).with_context(|| format!("{words}: {}", said.out))
}

/// A sector is asked for, read and proven for a try.
pub(crate) async fn look(field: &Field<'_>, sector: SectorId) -> Result<()> {
    let SectorId { miner, number } = sector;
    let info = ask(field, &format!("sector-info {miner} {number}")).await?;
    let private = &info[0]["Private"];
    let uri = private["SealedSectorURI"].as_str().unwrap_or_default();
    ensure!(uri == format!("sealed/{sector}"), "{info:#}");
    let path = private["SealedSectorPath"].as_str().unwrap_or_default();
    ensure!(path.ends_with(uri), "{info:#}");
    ensure!(info[0]["OnChain"]["SectorNumber"] == number, "{info:#}");

    let read = ask(field, &format!("winning-vanilla {miner} {number}")).await?;
    ensure!(read["Error"].is_null(), "{read:#}");

    let place = field.witness.location(miner, number).await?;
    let (deadline, partition) = (place.deadline, place.partition);
    // what is due goes before it
    let made = wait::until("a WindowPoSt for a try", SOON, async || {
        let words = format!(
            "simulate-wdpost {miner} --ddl-idx {deadline} --partition-idx {partition} --challenge {}",
            "07".repeat(32)
        );
        ask(field, &words).await.map(Some)
    })
    .await?;
    ensure!(made["Verified"] == true, "{made:#}");
    ensure!(made["Challenge"] == "07".repeat(32), "{made:#}");
    ensure!(made["Skipped"] == serde_json::json!({}), "{made:#}");
    println!("a WindowPoSt for a try: {made}");

    let healthy = ask(
        field,
        &format!("recover-faults {miner} --deadline {deadline}"),
    )
    .await;
    // the deadline may be open
    if let Ok(view) = healthy {
        ensure!(view["Faulty"] == serde_json::json!({}), "{view:#}");
    }
    Ok(())
}
