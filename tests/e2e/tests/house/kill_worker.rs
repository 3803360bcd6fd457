//! kill -9 of the worker at the worst moments of PC2 and C2: the sector finishes, no
//! finished stage runs again, and the chain sees one precommit and one proof.

use anyhow::{Result, ensure};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_e2e::{
    house::{Files, House, MINER, Role},
    node::{PRE_COMMIT, PROVE_COMMIT},
    scenario::{Gate, scenario},
    usage,
};
use damocles_types::SectorId;
use std::time::Duration;

const SECTOR: SectorId = SectorId::new(MINER, 1);
const SOON: Duration = Duration::from_secs(120);
/// A C2 takes most of a minute on two cores, and longer on a busy machine.
const A_C2: Duration = Duration::from_secs(400);

#[test]
fn a_killed_worker_loses_no_finished_stage() {
    let limit = Duration::from_secs(900);
    scenario("kill-worker", Files::gated(), 1, limit, async |house| {
        let (pc2, c2) = (Gate::of(house, "pc2"), Gate::of(house, "c2"));
        pc2.shut("before")?;
        house.start_devnet().await?;
        house.start_manager().await?;
        house.start_worker().await?;

        // PC2 has its task and has touched nothing
        kill_at(house, &pc2).await?;
        // PC2 has encoded the sealed file in place, and nobody has been told
        pc2.shut("after")?;
        house.start_worker().await?;
        kill_at(house, &pc2).await?;
        pc2.open()?;
        house.start_worker().await?;

        // C2 computes; its child dies with the worker
        let stage = house
            .until("C2 to be at its work", SOON, async || at_work(&c2))
            .await?;
        house.kill9(Role::Worker)?;
        house
            .until("the C2 child to die with its worker", SOON, async || {
                Ok(usage::of(stage).is_err().then_some(()))
            })
            .await?;
        // C2 is done, and nobody has been told
        c2.shut("after")?;
        house.start_worker().await?;
        house
            .until("C2 to stand at the gate", A_C2, async || {
                Ok(c2.holds().then_some(()))
            })
            .await?;
        let before = house.worker_timeline(0).await?;
        ensure_once(&before)?;
        c2.open()?;

        house
            .until("the sector to be finished", SOON, async || {
                let sectors = house.sectors().await?;
                Ok(sectors.first().filter(|s| s.finalized).map(|_| ()))
            })
            .await?;
        let timeline = house.timeline(SECTOR).await?;
        ensure_once(&timeline)?;
        let interrupted = |stage: &str| {
            timeline
                .iter()
                .filter(|e| e.stage == stage && e.ending == Some(Ending::Interrupted))
                .count()
        };
        ensure!(
            interrupted("PC2") == 2,
            "PC2 was killed twice: {timeline:#?}"
        );
        ensure!(interrupted("C2") == 1, "C2 was killed once: {timeline:#?}");
        ensure!(
            pc2.calls() == (3, 1),
            "PC2: {:?} tasks and answers",
            pc2.calls()
        );
        ensure!(
            c2.calls() == (2, 1),
            "C2: {:?} tasks and answers",
            c2.calls()
        );

        let node = house.node()?;
        for method in [PRE_COMMIT, PROVE_COMMIT] {
            let sent = node.messages(MINER, method, SECTOR.number).await?;
            ensure!(sent.len() == 1, "method {method} on chain: {sent:#?}");
            ensure!(sent[0].exit_code == 0, "method {method}: {sent:#?}");
        }
        ensure!(
            node.sector(MINER, SECTOR.number).await?.is_some(),
            "the sector is active"
        );
        Ok(())
    });
}

/// Kills the worker when a task or an answer stands at the gate.
async fn kill_at(house: &House, gate: &Gate) -> Result<()> {
    house
        .until("PC2 to stand at the gate", SOON, async || {
            Ok(gate.holds().then_some(()))
        })
        .await?;
    house.kill9(Role::Worker)
}

/// The process of the stage, once it has computed for two seconds.
fn at_work(gate: &Gate) -> Result<Option<u32>> {
    let Some(pid) = gate.stage_pid() else {
        return Ok(None);
    };
    let busy = usage::of(pid)?.cpu >= Duration::from_secs(2);
    Ok(busy.then_some(pid))
}

/// No step was done twice. (A failed message may send a sector back, but none failed here.)
fn ensure_once(timeline: &[TimelineEntry]) -> Result<()> {
    ensure!(!timeline.is_empty(), "there is a timeline");
    for entry in timeline {
        let done = timeline
            .iter()
            .filter(|e| e.state == entry.state && matches!(e.ending, Some(Ending::Done { .. })))
            .count();
        ensure!(
            done <= 1,
            "{} was done {done} times: {timeline:#?}",
            entry.stage
        );
    }
    Ok(())
}
