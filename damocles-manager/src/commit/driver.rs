//! The reconciler: makes messages of the sectors that wait, as often as it is woken.

use crate::{
    chain::ChainError,
    commit::{
        Commit, CommitError,
        batch::{self, Market, Waiting},
        expiration,
        part::{LeftOut, Part},
        precommit,
        send::{send_policy, waiting},
    },
    db::{
        DbError,
        record::{Carriage, SectorRecord},
    },
    model::{Commitment, UnixMs, unix_ms},
    policy::{BatchPolicy, MinerPolicy},
};
use damocles_types::{Epoch, SealProof, SectorId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Between two looks for what other managers accepted.
const LOOK: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// Asks once more where the node did not answer. A large batch takes thousands of questions, and one
/// lost answer among them keeps nobody from going; a node that is away does not answer twice.
async fn asked<T, A>(ask: impl Fn() -> A) -> Result<T, CommitError>
where
    A: Future<Output = Result<T, CommitError>>,
{
    match ask().await {
        Err(CommitError::Chain(ChainError::Unreachable { method, reason })) => {
            tracing::debug!(method, reason, "asked again");
            ask().await
        }
        told => told,
    }
}

/// How often waiting sectors are looked at: as the most eager miner wants.
fn interval(miners: &[Arc<MinerPolicy>], kind: Commitment) -> Duration {
    let each = miners
        .iter()
        .map(|m| send_policy(m, kind).batch.check_interval);
    each.min()
        .unwrap_or(LONGEST_INTERVAL)
        .clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

impl Commit {
    /// Works until `stop`. Precommits and proofs do not wait for each other: an aggregate takes
    /// minutes.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let each = Commitment::ALL.map(|kind| self.drive(kind, &stop));
        futures::future::join_all(each).await;
        Ok(())
    }

    async fn drive(&self, kind: Commitment, stop: &CancellationToken) {
        let mut woken = self.wake.subscribe();
        loop {
            let mut miners = self.served.all().to_vec();
            miners.retain(|m| self.only.is_none_or(|only| only == m.actor));
            let interval = interval(&miners, kind);
            let (seen, due) = tokio::select! {
                () = stop.cancelled() => return,
                done = async { (self.accepted(kind).await, self.reconcile_kind(kind).await) } => done,
            };
            // What is overdue by now could not be sent; it is tried again at the interval.
            let left = due
                .map(|at| at.saturating_sub(unix_ms()))
                .filter(|ms| *ms > 0);
            let pause = left.map_or(interval, |ms| Duration::from_millis(ms).min(interval));
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = woken.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.accepted_elsewhere(kind, &seen) => {}
            }
        }
    }

    /// What waits for a message, and since when. Nothing where no other manager can accept any,
    /// or it cannot be read now.
    async fn accepted(&self, kind: Commitment) -> BTreeSet<(SectorId, UnixMs)> {
        let mut all = BTreeSet::new();
        if !self.db.is_shared() {
            return all;
        }
        let only = self.only;
        let ready = self.db.call(move |db| db.ready(kind, only)).await;
        for record in ready.unwrap_or_default() {
            if let Some(Carriage::Ready { since, .. }) = record.carriage(kind) {
                all.insert((record.id, *since));
            }
        }
        all
    }

    /// Returns when something waits that was not seen before: another manager has accepted it,
    /// and cannot wake this one. What was seen is tried again at the interval.
    async fn accepted_elsewhere(&self, kind: Commitment, seen: &BTreeSet<(SectorId, UnixMs)>) {
        if !self.db.is_shared() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.accepted(kind).await.is_subset(seen) {
                return;
            }
        }
    }

    /// Makes every message that is due now.
    #[cfg(test)]
    pub(super) async fn reconcile(&self) {
        for kind in Commitment::ALL {
            self.reconcile_kind(kind).await;
        }
    }

    /// Makes every message of this kind that is due now; the time at which the next batch will have
    /// waited long enough.
    async fn reconcile_kind(&self, kind: Commitment) -> Option<UnixMs> {
        if kind == Commitment::Proof
            && let Err(error) = self.bring_home().await
        {
            tracing::error!(%error, "sectors that left the chain cannot be read from the database");
        }
        let due = self.send_ready(kind).await;
        due.unwrap_or_else(|error| {
            tracing::error!(%kind, %error, "waiting sectors cannot be read from the database");
            None
        })
    }

    async fn send_ready(&self, kind: Commitment) -> Result<Option<UnixMs>, DbError> {
        let only = self.only;
        let ready = self.db.call(move |db| db.ready(kind, only)).await?;
        // Sectors of one message have one miner and one proof type.
        let mut groups: BTreeMap<(u64, SealProof), Vec<SectorRecord>> = BTreeMap::new();
        for record in ready {
            let group = (record.id.miner, record.proof_type);
            groups.entry(group).or_default().push(record);
        }
        let mut due = None;
        for ((actor, proof), group) in groups {
            let Ok(miner) = self.miner(actor) else {
                let why = format!("miner {actor} is not in the config any more");
                self.note(kind, &group, &why).await;
                continue;
            };
            let policy = &send_policy(&miner, kind).batch;
            let market = self.market(kind, policy).await;
            // without a head nothing is sent, whatever hurries
            let head = market.as_ref().map_or(Epoch::MAX, |m| m.head);
            let waiting: Vec<Waiting> = group.iter().map(|r| waiting(r, kind, head)).collect();
            let (market, now) = (market.as_ref(), unix_ms());
            let cap = self.cap(kind, proof, &policy.aggregate);
            let batches = batch::plan(&waiting, policy, market, cap, now);
            if let Some(why) = batch::held_back(&waiting, policy, market, &batches, now) {
                self.note(kind, &group, &why).await;
            } else if batches.is_empty() {
                due = due.into_iter().chain(batch::due(&waiting, policy)).min();
            }
            for batch in batches {
                let batch: Vec<_> = batch.into_iter().map(|i| group[i].clone()).collect();
                if let Err(error) = self.send(kind, &miner, &batch).await {
                    self.note(kind, &batch, &error.to_string()).await;
                }
            }
        }
        Ok(due)
    }

    /// What the chain asks now. None: the node does not answer, and who sends will hear of that.
    async fn market(&self, kind: Commitment, policy: &BatchPolicy) -> Option<Market> {
        let head = self.chain.head().await.ok()?;
        let slack = self.epochs(policy.slack).await.ok()?;
        Some(Market {
            head: head.height,
            base_fee: head.base_fee()?.clone(),
            slack: slack.min(expiration::life(kind) / 4),
        })
    }

    /// So long in epochs of the chain.
    pub(super) async fn epochs(&self, time: Duration) -> Result<Epoch, CommitError> {
        let delay = self.facts.block_delay().await?.as_millis().max(1);
        Ok(Epoch::try_from(time.as_millis() / delay).unwrap_or(Epoch::MAX))
    }

    /// Makes one message of these sectors, or of those that can go.
    async fn send(
        &self,
        kind: Commitment,
        miner: &MinerPolicy,
        batch: &[SectorRecord],
    ) -> Result<(), CommitError> {
        let mut batch = batch.to_vec();
        loop {
            match self.send_these(kind, miner, &batch).await {
                // the others need not wait for it
                Err(CommitError::Db(
                    DbError::Changed(id) | DbError::NoSector(id) | DbError::Unknown(id),
                ))
                | Err(CommitError::NoSector(id)) => {
                    let before = batch.len();
                    // some of them may be in messages by now, which the records here do not know
                    let only = Some(miner.actor);
                    let ready = self.db.call(move |db| db.ready(kind, only)).await?;
                    let asked = |record: &SectorRecord| batch.iter().any(|r| r.id == record.id);
                    let still = |record: &SectorRecord| record.id != id && asked(record);
                    batch = ready.into_iter().filter(still).collect();
                    if batch.is_empty() || batch.len() == before {
                        return Ok(());
                    }
                }
                done => return done,
            }
        }
    }

    async fn send_these(
        &self,
        kind: Commitment,
        miner: &MinerPolicy,
        batch: &[SectorRecord],
    ) -> Result<(), CommitError> {
        let head = self.chain.head().await?;
        match kind {
            Commitment::PreCommit => {
                let mut parts = Vec::with_capacity(batch.len());
                for record in batch {
                    let part = asked(|| self.pre_commit_part(miner, record, &head)).await;
                    parts.extend(self.keep(kind, record, part).await?);
                }
                let build = |parts| precommit::message(parts);
                self.send_parts(kind, miner, batch, parts, build, &head)
                    .await
            }
            Commitment::Proof => {
                let mut parts = Vec::with_capacity(batch.len());
                for record in batch {
                    let part = asked(|| self.proof_part(miner, record, &head)).await;
                    parts.extend(self.keep(kind, record, part).await?);
                }
                self.send_proofs(miner, batch, parts, &head).await
            }
        }
    }

    /// The part, unless the sector is left out, which is noted in its record. What the node
    /// refuses to say of one sector, or says so that nobody understands it, leaves out that one.
    async fn keep<P>(
        &self,
        kind: Commitment,
        record: &SectorRecord,
        part: Result<Result<Part<P>, LeftOut>, CommitError>,
    ) -> Result<Option<Part<P>>, CommitError> {
        let part = match part {
            Err(CommitError::Chain(
                error @ (ChainError::Refused { .. } | ChainError::Malformed { .. }),
            )) => Err(LeftOut::NotNow(error.to_string())),
            other => other?,
        };
        let now = match part {
            Ok(part) => return Ok(Some(part)),
            Err(LeftOut::NotNow(why)) => {
                self.note(kind, std::slice::from_ref(record), &why).await;
                return Ok(None);
            }
            Err(LeftOut::Never(reason, why)) => Carriage::Dropped { why, reason },
            Err(LeftOut::Found) => Carriage::Found,
        };
        tracing::warn!(sector = %record.id, %kind, ?now, "a sector needs no message, or can have none");
        self.set(kind, record.id, now).await;
        Ok(None)
    }
}
