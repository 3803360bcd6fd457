//! The reconciler: makes messages of the sectors that wait, as often as it is woken.

use crate::{
    chain::ChainError,
    commit::{
        Commit, CommitError,
        batch::{self, Market, Waiting},
        deadline, expiration,
        part::{Built, LeftOut, Part},
        precommit, prove,
        sound::Sorted,
    },
    db::{
        DbError,
        record::{Carriage, SectorRecord},
    },
    messages::{Intent, LARGEST_PARAMS},
    model::{Commitment, MessageId, UnixMs, names, unix_ms},
    policy::{BatchPolicy, MinerPolicy, SendPolicy},
};
use damocles_kv::Durability;
use damocles_node::{TipSet, TipSetKey};
use damocles_types::{Epoch, SealProof, SectorId};
use fvm_shared::address::Address;
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

fn send_policy(miner: &MinerPolicy, kind: Commitment) -> &SendPolicy {
    match kind {
        Commitment::PreCommit => &miner.pre,
        Commitment::Proof => &miner.prove,
    }
}

/// How often waiting sectors are looked at: as the most eager miner wants.
fn interval(miners: &[Arc<MinerPolicy>]) -> Duration {
    let each = miners
        .iter()
        .flat_map(|m| [m.pre.batch.check_interval, m.prove.batch.check_interval]);
    each.min()
        .unwrap_or(LONGEST_INTERVAL)
        .clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

impl Commit {
    /// Works until `stop`.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut woken = self.wake.subscribe();
        loop {
            let mut miners = self.served.all().to_vec();
            miners.retain(|m| self.only.is_none_or(|only| only == m.actor));
            let interval = interval(&miners);
            let (seen, due) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                done = async { (self.accepted().await, self.reconcile().await) } => done,
            };
            // What is overdue by now could not be sent; it is tried again at the interval.
            let left = due
                .map(|at| at.saturating_sub(unix_ms()))
                .filter(|ms| *ms > 0);
            let pause = left.map_or(interval, |ms| Duration::from_millis(ms).min(interval));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Ok(()) = woken.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.accepted_elsewhere(&seen) => {}
            }
        }
    }

    /// What waits for a message, and since when. Nothing where no other manager can accept any,
    /// or it cannot be read now.
    async fn accepted(&self) -> BTreeSet<(Commitment, SectorId, UnixMs)> {
        let mut all = BTreeSet::new();
        if !self.db.is_shared() {
            return all;
        }
        for kind in Commitment::ALL {
            let only = self.only;
            let ready = self.db.call(move |db| db.ready(kind, only)).await;
            for record in ready.unwrap_or_default() {
                if let Some(Carriage::Ready { since, .. }) = record.carriage(kind) {
                    all.insert((kind, record.id, *since));
                }
            }
        }
        all
    }

    /// Returns when something waits that was not seen before: another manager has accepted it,
    /// and cannot wake this one. What was seen is tried again at the interval.
    async fn accepted_elsewhere(&self, seen: &BTreeSet<(Commitment, SectorId, UnixMs)>) {
        if !self.db.is_shared() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.accepted().await.is_subset(seen) {
                return;
            }
        }
    }

    /// Makes every message that is due now; the time at which the next batch will have waited
    /// long enough.
    pub(super) async fn reconcile(&self) -> Option<UnixMs> {
        if let Err(error) = self.bring_home().await {
            tracing::error!(%error, "sectors that left the chain cannot be read from the database");
        }
        let mut due = None;
        for kind in Commitment::ALL {
            match self.reconcile_kind(kind).await {
                Ok(None) => {}
                Ok(Some(at)) => due = Some(due.map_or(at, |d: UnixMs| d.min(at))),
                Err(error) => {
                    tracing::error!(%kind, %error, "waiting sectors cannot be read from the database");
                }
            }
        }
        due
    }

    async fn reconcile_kind(&self, kind: Commitment) -> Result<Option<UnixMs>, DbError> {
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
            let batches = batch::plan(&waiting, policy, market, batch::cap(kind, proof), now);
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
        let delay = self.facts.block_delay().await.ok()?.as_millis().max(1);
        let slack = i64::try_from(policy.slack.as_millis() / delay).unwrap_or(Epoch::MAX);
        Some(Market {
            head: head.height,
            base_fee: head.base_fee()?.clone(),
            slack: slack.min(expiration::life(kind) / 4),
        })
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
                    batch.retain(|record| record.id != id);
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
                    let part = self.pre_commit_part(miner, record, &head).await;
                    parts.extend(self.keep(kind, record, part).await?);
                }
                let build = |parts| precommit::message(parts);
                self.send_parts(kind, miner, batch, parts, build, &head)
                    .await
            }
            Commitment::Proof => {
                let mut parts = Vec::with_capacity(batch.len());
                for record in batch {
                    let part = self.proof_part(miner, record, &head).await;
                    parts.extend(self.keep(kind, record, part).await?);
                }
                let build = |parts| prove::message(miner, parts);
                self.send_parts(kind, miner, batch, parts, build, &head)
                    .await
            }
        }
    }

    /// Makes one message of those parts that may go together; the others are to go alone.
    async fn send_parts<P: Clone + Send>(
        &self,
        kind: Commitment,
        miner: &MinerPolicy,
        batch: &[SectorRecord],
        parts: Vec<Part<P>>,
        build: impl Fn(Vec<Part<P>>) -> Result<Built, CommitError>,
        head: &TipSet,
    ) -> Result<(), CommitError> {
        if parts.is_empty() {
            return Ok(());
        }
        let senders = &send_policy(miner, kind).senders;
        let from = self
            .engine
            .choose_sender(miner.actor, senders, &TipSetKey::HEAD)
            .await?;
        let to_intent = |parts| Ok(intent(kind, miner, batch, from, build(parts)?, head.height));
        let Sorted { good, bad } = self.sorted(parts, to_intent).await?;
        for (part, why) in bad {
            let why = format!("the chain refuses it, and the others went without it: {why}");
            self.send_alone(kind, part.sector, why).await;
        }
        // data takes room in a message: as many go as fit
        let mut untold = vec![good];
        while let Some(mut some) = untold.pop() {
            let built = build(some.clone())?;
            if built.params.len() > LARGEST_PARAMS && some.len() > 1 {
                let rest = some.split_off(some.len() / 2);
                untold.extend([rest, some]);
                continue;
            }
            let intent = intent(kind, miner, batch, from, built, head.height);
            self.want(kind, miner, intent, head).await?;
        }
        Ok(())
    }

    async fn want(
        &self,
        kind: Commitment,
        miner: &MinerPolicy,
        intent: Intent,
        head: &TipSet,
    ) -> Result<(), CommitError> {
        let message = intent.record(MessageId::new());
        let (id, sectors) = (message.id, names(&message.sectors));
        let value = message.value.clone();
        self.db
            .call(move |db| db.send_commitments(kind, &message))
            .await?;
        self.engine.wake();
        tracing::info!(message = %id, %kind, miner = miner.actor, sectors, %value, head = head.height, "a message is wanted");
        Ok(())
    }

    /// A sector goes in a message of its own when it goes next.
    async fn send_alone(&self, kind: Commitment, sector: SectorId, why: String) {
        tracing::warn!(%sector, %kind, why, "a sector is left out of a message, and goes alone");
        let to = Carriage::Ready {
            since: unix_ms(),
            alone: true,
            error: Some(why),
        };
        self.set(kind, sector, to).await;
    }

    /// The part, unless the sector is left out, which is noted in its record. What the node
    /// refuses to say of one sector leaves out that one.
    async fn keep<P>(
        &self,
        kind: Commitment,
        record: &SectorRecord,
        part: Result<Result<Part<P>, LeftOut>, CommitError>,
    ) -> Result<Option<Part<P>>, CommitError> {
        let part = match part {
            Err(CommitError::Chain(error @ ChainError::Refused { .. })) => {
                Err(LeftOut::NotNow(error.to_string()))
            }
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

    /// Writes into the records why their sectors still wait.
    async fn note(&self, kind: Commitment, batch: &[SectorRecord], why: &str) {
        for record in batch {
            let Some(Carriage::Ready {
                since,
                alone,
                error,
            }) = record.carriage(kind)
            else {
                continue;
            };
            if error.as_deref() == Some(why) {
                continue;
            }
            tracing::warn!(sector = %record.id, %kind, why, "a sector waits on");
            let noted = Carriage::Ready {
                since: *since,
                alone: *alone,
                error: Some(why.to_owned()),
            };
            self.set(kind, record.id, noted).await;
        }
    }

    /// Changes how a sector's commitment travels, if it still waits.
    async fn set(&self, kind: Commitment, id: SectorId, to: Carriage) {
        let change = move |db: &crate::db::Db| {
            db.change(id, Durability::Synced, |record| {
                if let Some(carriage @ Carriage::Ready { .. }) = record.carriage_mut(kind) {
                    *carriage = to.clone();
                }
                Ok::<_, DbError>(())
            })
        };
        if let Err(error) = self.db.call(change).await {
            tracing::error!(sector = %id, %kind, %error, "a sector's record could not be changed");
        }
    }
}

/// A message that fails for want of gas was estimated on another state than the one that it ran on:
/// what goes alone, because a message failed before, gets half as much again.
const AMPLE: f64 = 1.5;

fn intent(
    kind: Commitment,
    miner: &MinerPolicy,
    batch: &[SectorRecord],
    from: Address,
    built: Built,
    head: Epoch,
) -> Intent {
    let policy = send_policy(miner, kind);
    let mut fee = match built.sectors.len() {
        0 | 1 => policy.fee.clone(),
        _ => policy.batch.fee.clone(),
    };
    let again = |r: &SectorRecord| waiting(r, kind, head).alone && built.sectors.contains(&r.id);
    if batch.iter().any(again) {
        fee.gas_over_estimation = fee.gas_over_estimation.max(AMPLE);
    }
    Intent {
        kind: kind.message_kind(),
        miner: miner.actor,
        from,
        value: built.value,
        method: built.method,
        params: built.params,
        fee,
        confidence: miner.confidence,
        deadline: deadline::of_message(batch, &built.sectors, kind, head),
        sectors: built.sectors,
    }
}

fn waiting(record: &SectorRecord, kind: Commitment, head: Epoch) -> Waiting {
    let deadline = deadline::to_go(record, kind, head);
    match record.carriage(kind) {
        Some(Carriage::Ready { since, alone, .. }) => Waiting {
            since: *since,
            alone: *alone,
            deadline,
        },
        // It changed since it was listed; storing the message will notice.
        _ => Waiting {
            since: unix_ms(),
            alone: false,
            deadline,
        },
    }
}
