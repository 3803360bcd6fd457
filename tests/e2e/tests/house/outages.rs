//! An hour without a node, an hour without funds, an hour with a store that hangs, children that
//! freeze, one after the other and together, with several sectors in work: nobody is called, no
//! stage that was finished is done again, every sector is proven in the end. An hour is 120
//! epochs, and the chain makes two in a second: everything runs sixty times faster than outside.

use crate::{
    mounts,
    road::{A_C2, SOON, Sectors, all_finished, nothing_is_told_that_is_not_so, stay_proven, until},
};
use anyhow::{Context, Result, ensure};
use damocles_api::timeline::Ending;
use damocles_e2e::{
    house::{Files, House},
    scenario::{Gate, scenario},
    usage,
};
use damocles_types::Epoch;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

const HOUR: Epoch = 120;

#[test]
fn outages_of_an_hour_end_by_themselves() {
    outages(Sectors(2), Duration::from_secs(1500));
}

#[test]
#[ignore = "eight proofs of most of a minute each"]
fn outages_of_an_hour_end_by_themselves_with_eight_sectors() {
    outages(Sectors(8), Duration::from_secs(3600));
}

fn outages(sectors: Sectors, limit: Duration) {
    let files = Files::day("worker.eight.toml");
    scenario("outages", files, sectors.0, limit, async |house| {
        let store = house.path("persist");
        mounts::mark(&store)?;
        let (pc2, c2) = (Gate::of(house, "pc2"), Gate::of(house, "c2"));
        pc2.shut("before")?;
        c2.shut("before")?;
        house.start_devnet().await?;
        house.start_manager().await?;
        house.start_worker().await?;
        until(house, "PC2 to stand at the gate", SOON, async || {
            Ok(pc2.holds().then_some(()))
        })
        .await?;

        // no node, no funds, and PC2 is frozen: it is killed for its silence, and another begins
        let node = house.node()?;
        let key = node.key().await?;
        let purse = node.new_key().await?;
        node.send_all_but(POCKET, &key, &purse).await?;
        freeze(&pc2, Signal::STOP)?;
        pc2.open()?;
        node.outage(Duration::from_secs(HOUR as u64 / 2)).await?;
        until(house, "an hour without a node to end", SOON, async || {
            node.epoch().await.map(Some)
        })
        .await?;
        an_hour_passes(house).await?;

        // funds, and a store that hangs
        mounts::hang(&store)?;
        node.send_all_but(POCKET, &purse, &key).await?;
        an_hour_passes(house).await?;
        mounts::unhang(&store)?;

        // a C2 that freezes and thaws
        c2.open()?;
        until(house, "C2 to be at its work", SOON, async || at_work(&c2)).await?;
        freeze(&c2, Signal::STOP)?;
        an_hour_passes(house).await?;
        freeze(&c2, Signal::CONT)?;

        all_finished(house, sectors, A_C2 * sectors.0 as u32).await?;
        nothing_was_done_twice(house, sectors).await?;
        stay_proven(house, sectors).await?;
        nothing_is_told_that_is_not_so(house, sectors).await
    });
}

/// What is left to the manager in attoFIL: the gas of sending the rest away.
const POCKET: u128 = 10_000_000_000_000_000;

async fn an_hour_passes(house: &House) -> Result<()> {
    let node = house.node()?;
    let end = node.epoch().await? + HOUR;
    until(house, "an hour to pass", SOON, async || {
        Ok((node.epoch().await? >= end).then_some(()))
    })
    .await
}

/// Stops the stage behind a gate, or lets it go on.
fn freeze(gate: &Gate, signal: Signal) -> Result<()> {
    let pid = gate.stage_pid().context("a stage behind the gate")?;
    let pid = Pid::from_raw(pid as i32).context("a pid")?;
    Ok(kill_process(pid, signal)?)
}

/// The stage has computed for two seconds.
fn at_work(gate: &Gate) -> Result<Option<()>> {
    let Some(pid) = gate.stage_pid() else {
        return Ok(None);
    };
    let busy = usage::of(pid)?.cpu >= Duration::from_secs(2);
    Ok(busy.then_some(()))
}

async fn nothing_was_done_twice(house: &House, sectors: Sectors) -> Result<()> {
    for sector in sectors.ids() {
        let timeline = house.timeline(sector).await?;
        let mut done: Vec<_> = timeline
            .iter()
            .filter(|entry| matches!(entry.ending, Some(Ending::Done { .. })))
            .map(|entry| &entry.state)
            .collect();
        let all = done.len();
        done.sort();
        done.dedup();
        ensure!(all > 0 && done.len() == all, "{sector}: {timeline:#?}");
    }
    Ok(())
}
