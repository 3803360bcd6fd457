//! kill -9 of the manager between the push of a message and its landing: after the restart
//! the same message lands, and no second one is sent. The sector is then proven over two
//! proving periods without a fault.

use anyhow::{Result, ensure};
use damocles_e2e::{
    house::{Files, House, MINER, Role},
    node::{PRE_COMMIT, PROVE_COMMIT},
    scenario::scenario,
};
use damocles_types::SectorId;
use std::time::Duration;

const SECTOR: SectorId = SectorId::new(MINER, 1);
const SOON: Duration = Duration::from_secs(120);
/// A C2 takes most of a minute on two cores, and longer on a busy machine.
const A_C2: Duration = Duration::from_secs(400);

#[test]
fn a_killed_manager_sends_no_message_twice_and_keeps_sectors_proven() {
    let limit = Duration::from_secs(900);
    scenario("kill-manager", Files::gated(), 1, limit, async |house| {
        house.start_devnet().await?;
        let node = house.node()?;
        node.hold_messages(true).await?;
        house.start_manager().await?;
        house.start_worker().await?;

        kill_while_pending(house, PRE_COMMIT, SOON).await?;
        landed_once(house, PRE_COMMIT).await?;
        node.hold_messages(true).await?;
        kill_while_pending(house, PROVE_COMMIT, A_C2).await?;
        landed_once(house, PROVE_COMMIT).await?;
        house
            .until("the sector to be finished", SOON, async || {
                let sectors = house.sectors().await?;
                Ok(sectors.first().filter(|s| s.finalized).map(|_| ()))
            })
            .await?;

        stays_proven(house).await?;
        for method in [PRE_COMMIT, PROVE_COMMIT] {
            let sent = node.messages(MINER, method, SECTOR.number).await?;
            ensure!(sent.len() == 1, "method {method} on chain: {sent:#?}");
        }
        Ok(())
    });
}

/// While blocks carry no messages: waits for the message in the pool, kills the manager and
/// starts it again.
async fn kill_while_pending(house: &House, method: u64, limit: Duration) -> Result<()> {
    let node = house.node()?;
    house
        .until(format!("message {method} in the pool"), limit, async || {
            let pending = node.pending(MINER, method).await?;
            Ok((!pending.is_empty()).then_some(()))
        })
        .await?;
    house.kill9(Role::Manager)?;
    house.start_manager().await
}

/// Lets blocks carry messages again and waits for the one.
async fn landed_once(house: &House, method: u64) -> Result<()> {
    let node = house.node()?;
    let pending = node.pending(MINER, method).await?;
    ensure!(
        pending.len() == 1,
        "in the pool after a restart: {pending:#?}"
    );
    node.hold_messages(false).await?;
    let sent = house
        .until(format!("message {method} on chain"), SOON, async || {
            let sent = node.messages(MINER, method, SECTOR.number).await?;
            Ok((!sent.is_empty()).then_some(sent))
        })
        .await?;
    ensure!(
        sent.len() == 1 && sent[0].exit_code == 0,
        "on chain: {sent:#?}"
    );
    Ok(())
}

/// Two proving periods from now: a WindowPoSt in each, and never a fault.
async fn stays_proven(house: &House) -> Result<()> {
    let node = house.node()?;
    // nothing computes now but the proofs themselves
    node.set_block_time(Duration::from_millis(250)).await?;
    let begin = node.deadline(MINER).await?;
    let first = node.next_opening(MINER, SECTOR.number).await?;
    let opens = |n: i64| first + n * begin.wpost_proving_period;
    let end = opens(2);
    let limit = Duration::from_secs(300);
    house
        .until(format!("epoch {end}"), limit, async || {
            let faults = node.faults(MINER).await?;
            if !faults.is_empty() {
                return Ok(Some(Err(anyhow::anyhow!("faulty sectors: {faults:?}"))));
            }
            Ok((node.epoch().await? >= end).then_some(Ok(())))
        })
        .await??;
    let posts = node.posts(MINER).await?;
    for n in 0..2 {
        let window = opens(n)..opens(n) + begin.wpost_challenge_window;
        let covering: Vec<_> = posts
            .iter()
            .filter(|post| window.contains(&post.epoch) && post.sectors.contains(&SECTOR.number))
            .collect();
        ensure!(
            covering.len() == 1,
            "one WindowPoSt in {window:?} covers the sector: {posts:#?}"
        );
    }
    Ok(())
}
