//! What stories of several sectors ask again and again: what the chain has of them, that nobody
//! is called, and that they are proven in the end.

use anyhow::{Result, bail, ensure};
use damocles_api::damocles::DamoclesClient;
pub(crate) use damocles_e2e::unaided::until;
use damocles_e2e::{
    house::{House, MINER},
    node::{Node, PROVE_COMMIT},
};
use damocles_node::devnet::MessageRecord;
use damocles_types::{Epoch, SectorId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Anything but computing.
pub(crate) const SOON: Duration = Duration::from_secs(120);
/// A C2 takes most of a minute on two cores, and longer on a busy machine.
pub(crate) const A_C2: Duration = Duration::from_secs(400);

/// Sectors of one miner, numbered from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sectors(pub(crate) u64);

impl Sectors {
    pub(crate) fn numbers(self) -> std::ops::RangeInclusive<u64> {
        1..=self.0
    }

    pub(crate) fn ids(self) -> impl Iterator<Item = SectorId> {
        self.numbers().map(|number| SectorId::new(MINER, number))
    }
}

/// The message of a sector that succeeded on the chain as it stands now.
pub(crate) async fn landed(
    node: &Node,
    method: u64,
    sectors: Sectors,
) -> Result<Option<Vec<MessageRecord>>> {
    let mut all = Vec::new();
    for number in sectors.numbers() {
        let sent = node.messages(MINER, method, number).await?;
        match sent.into_iter().find(|message| message.exit_code == 0) {
            Some(message) => all.push(message),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// Waits until every sector has its message on the chain.
pub(crate) async fn all_land(
    house: &House,
    method: u64,
    sectors: Sectors,
) -> Result<Vec<MessageRecord>> {
    let node = house.node()?;
    let what = format!("message {method} of {} sectors on chain", sectors.0);
    until(house, &what, A_C2, async || {
        landed(&node, method, sectors).await
    })
    .await
}

/// Waits until so many messages to the miner stand in the pool.
pub(crate) async fn all_wait_in_the_pool(
    house: &House,
    method: u64,
    sectors: Sectors,
) -> Result<()> {
    let node = house.node()?;
    let what = format!("message {method} of {} sectors in the pool", sectors.0);
    until(house, &what, A_C2 * sectors.0 as u32, async || {
        let pending = node.pending(MINER, method).await?;
        Ok((pending.len() as u64 == sectors.0).then_some(()))
    })
    .await
}

/// Waits until the manager has every sector for finished, and the worker all of them off its hands.
pub(crate) async fn all_finished(house: &House, sectors: Sectors, limit: Duration) -> Result<()> {
    until(house, "every sector to be finished", limit, async || {
        let known = house.sectors().await?;
        let finished = known.iter().filter(|sector| sector.finalized).count() as u64;
        Ok((finished == sectors.0).then_some(()))
    })
    .await
}

/// What the manager says of a sector's messages of one kind: their states.
pub(crate) async fn told(house: &House, sector: SectorId, kind: &str) -> Result<Vec<String>> {
    let manager = house.manager()?;
    let messages = manager.typed().sector_messages(sector).await?;
    Ok(messages
        .into_iter()
        .filter(|message| message.kind == kind)
        .map(|message| message.state)
        .collect())
}

/// Every sector that is told as finished is an active one, and its proof is told as landed.
pub(crate) async fn nothing_is_told_that_is_not_so(house: &House, sectors: Sectors) -> Result<()> {
    let node = house.node()?;
    for sector in house.sectors().await? {
        let number = sector.id.number;
        ensure!(sector.finalized, "sector {number} is finished: {sector:#?}");
        ensure!(
            node.sector(MINER, number).await?.is_some(),
            "sector {number} is told as finished, and the chain does not have it"
        );
        let proofs = told(house, sector.id, "ProveCommit").await?;
        ensure!(
            proofs.iter().any(|s| s == "Landed" || s == "Final"),
            "sector {number}: {proofs:?}"
        );
    }
    let landed = landed(&node, PROVE_COMMIT, sectors).await?;
    ensure!(landed.is_some(), "every proof is on chain");
    Ok(())
}

/// Goes on until the chain has accepted a WindowPoSt of every sector, begun after now, and none
/// was faulty on the way. Where no window of theirs is near, time runs as fast as it can.
pub(crate) async fn stay_proven(house: &House, sectors: Sectors) -> Result<()> {
    let node = house.node()?;
    let slow = Duration::from_millis(500);
    let begin = node.deadline(MINER).await?;
    let window = begin.wpost_challenge_window;
    // by epoch of their next opening
    let mut open: BTreeMap<Epoch, BTreeSet<u64>> = BTreeMap::new();
    for number in sectors.numbers() {
        let opens = node.next_opening(MINER, number).await?;
        open.entry(opens).or_default().insert(number);
    }
    for (opens, due) in open {
        // the challenge is known before the window opens
        let near = opens - begin.wpost_challenge_lookback - 30;
        node.set_block_time(Duration::from_millis(20)).await?;
        until(house, &format!("epoch {near}"), A_C2, async || {
            Ok((node.epoch().await? >= near).then_some(()))
        })
        .await?;
        node.set_block_time(slow).await?;
        until(
            house,
            &format!("a WindowPoSt of {due:?} from {opens}"),
            SOON,
            async || {
                if node.epoch().await? >= opens + window {
                    bail_faulty(&node, &due).await?;
                }
                let posts = node.posts(MINER).await?;
                let proven: BTreeSet<u64> = posts
                    .iter()
                    .filter(|post| (opens..opens + window).contains(&post.epoch))
                    .flat_map(|post| post.sectors.iter().copied())
                    .collect();
                Ok(due.is_subset(&proven).then_some(()))
            },
        )
        .await?;
    }
    let faults = node.faults(MINER).await?;
    ensure!(faults.is_empty(), "faulty sectors: {faults:?}");
    Ok(())
}

async fn bail_faulty(node: &Node, due: &BTreeSet<u64>) -> Result<()> {
    let faults = node.faults(MINER).await?;
    let posts = node.posts(MINER).await?;
    bail!("the window of {due:?} is over; faulty: {faults:?}; proven: {posts:#?}")
}
