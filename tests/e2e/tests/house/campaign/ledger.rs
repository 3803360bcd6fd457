//! What the chain says afterwards of every window: what was due in it, what was proven, what
//! became faulty, what it cost, and whether anything was sent twice.

use super::plan::Shape;
use anyhow::Result;
use damocles_e2e::node::Node;
use damocles_node::{Partition, devnet::MessageRecord};
use damocles_types::{ActorId, Epoch, SectorId, SectorNumber};
use fil_actor_miner_state::v18::SubmitWindowedPoStParams;
use fvm_shared::bigint::BigInt;
use std::collections::{BTreeMap, BTreeSet};

/// Method number of SubmitWindowedPoSt.
pub(crate) const SUBMIT: u64 = 5;

/// A window that is over, of which something was due.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) miner: ActorId,
    pub(crate) deadline: u64,
    pub(crate) open: Epoch,
    /// Partitions with something due, and whether the chain took a proof of each.
    pub(crate) proven: BTreeMap<u64, bool>,
    /// Epochs from the opening to the last of the proofs.
    pub(crate) took: Option<Epoch>,
    /// Sectors that were faulty at its end.
    pub(crate) faulty: BTreeSet<SectorNumber>,
    /// attoFIL that the miner paid at its end.
    pub(crate) paid: BigInt,
}

impl Closed {
    /// Says it at once if it was missed: a campaign may go on for a day.
    fn tell(&self) {
        let missed: Vec<_> = self.proven.iter().filter(|(_, proven)| !**proven).collect();
        if !missed.is_empty() {
            let Self {
                miner,
                deadline,
                open,
                ..
            } = self;
            println!("MISSED: deadline {deadline} of t0{miner} at {open}: {missed:?}");
        }
    }
}

/// All windows so far.
#[derive(Debug)]
pub(crate) struct Ledger {
    node: Node,
    shape: Shape,
    /// By miner the epoch up to which its windows were looked at.
    looked: BTreeMap<ActorId, Epoch>,
    pub(crate) closed: Vec<Closed>,
}

fn due(partition: &Partition) -> BTreeSet<SectorNumber> {
    let healthy = &partition.live_sectors - &partition.faulty_sectors;
    let due = &healthy | &(&partition.live_sectors & &partition.recovering_sectors);
    due.iter().collect()
}

fn faulty(partitions: &[Partition]) -> BTreeSet<SectorNumber> {
    let all = partitions.iter().flat_map(|p| p.faulty_sectors.iter());
    all.collect()
}

impl Ledger {
    /// Windows that open from `begin` on are looked at.
    pub(crate) fn new(node: Node, shape: Shape, miners: &[ActorId], begin: Epoch) -> Self {
        Self {
            node,
            shape,
            looked: miners.iter().map(|miner| (*miner, begin)).collect(),
            closed: Vec::new(),
        }
    }

    /// Looks at the windows that are over since so long that no branch opens them again.
    pub(crate) async fn look(&mut self, until: Epoch) -> Result<()> {
        let miners: Vec<_> = self.looked.clone().into_iter().collect();
        for (miner, from) in miners {
            let posts = self.node.posts(miner).await?;
            let now = self.node.deadline(miner).await?;
            // any opening of a deadline of this miner, and from there the first that counts
            let window = self.shape.window;
            let mut open = from + (now.open - from).rem_euclid(window);
            while open + window <= until {
                let index = (open - now.period_start).div_euclid(window);
                let index = index.rem_euclid(self.shape.deadlines as Epoch) as u64;
                if let Some(closed) = self.window(miner, index, open, &posts).await? {
                    closed.tell();
                    self.closed.push(closed);
                }
                open += window;
            }
            self.looked.insert(miner, open);
        }
        Ok(())
    }

    async fn window(
        &self,
        miner: ActorId,
        deadline: u64,
        open: Epoch,
        posts: &[damocles_node::devnet::PostRecord],
    ) -> Result<Option<Closed>> {
        let close = open + self.shape.window;
        let before = self.node.tipset(open).await?.cids;
        let last = self.node.tipset(close - 1).await?.cids;
        let after = self.node.tipset(close).await?.cids;
        let partitions = self.node.partitions(miner, deadline, &before).await?;
        let left = self.node.partitions(miner, deadline, &after).await?;
        let mine: Vec<_> = posts
            .iter()
            .filter(|post| post.deadline == deadline && (open..close).contains(&post.epoch))
            .collect();
        let has = |partition| mine.iter().any(|post| post.partition == partition);
        let proven: BTreeMap<_, _> = (0..)
            .zip(&partitions)
            .filter(|(_, p)| !due(p).is_empty())
            .map(|(index, _)| (index, has(index)))
            .collect();
        if proven.is_empty() {
            return Ok(None);
        }
        let paid = self.node.funds(miner, &last).await? - self.node.funds(miner, &after).await?;
        Ok(Some(Closed {
            miner,
            deadline,
            open,
            proven,
            took: mine.iter().map(|post| post.epoch - open).max(),
            faulty: faulty(&left),
            paid,
        }))
    }

    /// Sectors that were faulty at the end of a window.
    pub(crate) fn faults(&self) -> BTreeSet<SectorId> {
        let of = |closed: &Closed| {
            let miner = closed.miner;
            let numbers = closed.faulty.clone().into_iter();
            numbers.map(move |number| SectorId::new(miner, number))
        };
        self.closed.iter().flat_map(of).collect()
    }

    /// Whether the last window of a deadline ended without a faulty sector.
    pub(crate) fn ended_clean(&self, miner: ActorId, deadline: u64) -> bool {
        let of = |c: &&Closed| (c.miner, c.deadline) == (miner, deadline);
        let last = self.closed.iter().rev().find(of);
        last.is_some_and(|closed| closed.faulty.is_empty())
    }

    /// Windows of which the chain lacks a proof of a partition.
    pub(crate) fn missed(&self) -> Vec<&Closed> {
        let missed = |closed: &&Closed| closed.proven.values().any(|proven| !proven);
        self.closed.iter().filter(missed).collect()
    }

    /// Windows with a faulty sector at their end. Where nothing was missed it was declared, skipped
    /// or known as faulty before that, and costs the fee of a day.
    pub(crate) fn with_faults(&self) -> usize {
        let faulty = |closed: &&Closed| !closed.faulty.is_empty();
        self.closed.iter().filter(faulty).count()
    }

    /// What was paid at the end of windows beyond the daily fee, which is the least that the miner
    /// ever paid there, with the sectors that were faulty.
    pub(crate) fn penalties(&self) -> Vec<(BTreeSet<SectorId>, BigInt)> {
        let mut fee: BTreeMap<(ActorId, u64), &BigInt> = BTreeMap::new();
        for closed in &self.closed {
            let known = fee.entry((closed.miner, closed.deadline));
            let least = known.or_insert(&closed.paid);
            *least = (*least).min(&closed.paid);
        }
        let of = |closed: &Closed| {
            let fee = fee.get(&(closed.miner, closed.deadline))?;
            let beyond = &closed.paid - *fee;
            let all = closed.faulty.iter();
            let all = all.map(|number| SectorId::new(closed.miner, *number));
            (beyond > BigInt::from(0)).then(|| (all.collect(), beyond))
        };
        self.closed.iter().filter_map(of).collect()
    }

    /// Messages that proved again what the chain had a proof of, on chain or waiting for a block.
    pub(crate) async fn duplicates(&self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for miner in self.looked.keys().copied() {
            let posts = self.node.posts(miner).await?;
            let mut taken: BTreeSet<(Epoch, u64)> = BTreeSet::new();
            // a message of a branch may have been executed below its opening
            let opening = |params: &SubmitWindowedPoStParams| {
                params.chain_commit_epoch + self.shape.lookback()
            };
            for message in self.node.all_messages(miner, SUBMIT).await? {
                let MessageRecord {
                    cid,
                    epoch,
                    exit_code,
                    ..
                } = message;
                let sent = self.node.message(&cid).await?;
                let params: SubmitWindowedPoStParams = sent.params.deserialize()?;
                let open = opening(&params);
                let keys = params.partitions.iter();
                let keys = keys.map(|p| (open, p.index));
                let keys: Vec<_> = keys.collect();
                if exit_code == 0 {
                    taken.extend(keys);
                } else if keys.iter().any(|key| taken.contains(key)) {
                    out.push(format!("{cid} of epoch {epoch}, exit code {exit_code}"));
                }
            }
            for waiting in self.node.pending(miner, SUBMIT).await? {
                let sent = waiting.message;
                let params: SubmitWindowedPoStParams = sent.params.deserialize()?;
                let open = opening(&params);
                let has = |index| {
                    let of = |p: &damocles_node::devnet::PostRecord| {
                        (p.deadline, p.partition) == (params.deadline, index) && p.epoch >= open
                    };
                    posts.iter().any(of)
                };
                if params.partitions.iter().any(|p| has(p.index)) {
                    out.push(format!("one of nonce {} that waits", sent.nonce));
                }
            }
        }
        Ok(out)
    }

    /// Messages that failed on chain: those of branches that were lost, mostly.
    pub(crate) async fn failed(&self) -> Result<usize> {
        let mut failed = 0;
        for miner in self.looked.keys() {
            let sent = self.node.all_messages(*miner, SUBMIT).await?;
            failed += sent.iter().filter(|m| m.exit_code != 0).count();
        }
        Ok(failed)
    }

    /// The last opening of a sector's deadline whose window is over at `end`.
    pub(crate) async fn last_opening(&self, sector: SectorId, end: Epoch) -> Result<Epoch> {
        let next = self.node.next_opening(sector.miner, sector.number).await?;
        let period = self.shape.period();
        let periods = (end - self.shape.window - next).div_euclid(period);
        Ok(next + periods.max(0) * period)
    }
}
