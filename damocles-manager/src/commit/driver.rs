//! The reconciler: makes messages of the sectors that wait, as often as it is woken.

use crate::{
    chain::ChainError,
    commit::{
        Commit, CommitError,
        batch::{self, Waiting},
        part::{Built, LeftOut, Part},
        precommit, prove,
    },
    db::{
        DbError,
        record::{Carriage, SectorRecord},
    },
    messages::Intent,
    model::{Commitment, MessageId, UnixMs, names, unix_ms},
    policy::{MinerPolicy, SendPolicy},
};
use damocles_kv::Durability;
use damocles_node::{TipSet, TipSetKey};
use damocles_types::{SealProof, SectorId};
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
        loop {
            let interval = interval(&self.served.all());
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
                () = self.wake.notified() => {}
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
            let ready = self.db.call(move |db| db.ready(kind)).await;
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
        let ready = self.db.call(move |db| db.ready(kind)).await?;
        // Sectors of one message have one miner and one proof type.
        let mut groups: BTreeMap<(u64, SealProof), Vec<SectorRecord>> = BTreeMap::new();
        for record in ready {
            let group = (record.id.miner, record.proof_type);
            groups.entry(group).or_default().push(record);
        }
        let mut due = None;
        for ((actor, _), group) in groups {
            let Ok(miner) = self.miner(actor) else {
                let why = format!("miner {actor} is not in the config any more");
                self.note(kind, &group, &why).await;
                continue;
            };
            let waiting: Vec<Waiting> = group.iter().map(|r| waiting(r, kind)).collect();
            let policy = &send_policy(&miner, kind).batch;
            let batches = batch::plan(&waiting, policy, batch::cap(kind), unix_ms());
            if batches.is_empty() {
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
        let built = match kind {
            Commitment::PreCommit => {
                let mut parts = Vec::with_capacity(batch.len());
                for record in batch {
                    let part = self.pre_commit_part(miner, record, &head).await;
                    parts.extend(self.keep(kind, record, part).await?);
                }
                (!parts.is_empty()).then(|| precommit::message(parts))
            }
            Commitment::Proof => {
                let mut parts = Vec::with_capacity(batch.len());
                for record in batch {
                    let part = self.proof_part(miner, record, &head).await;
                    parts.extend(self.keep(kind, record, part).await?);
                }
                (!parts.is_empty()).then(|| prove::message(miner, parts))
            }
        };
        match built {
            Some(built) => self.want(kind, miner, built?, &head).await,
            None => Ok(()),
        }
    }

    async fn want(
        &self,
        kind: Commitment,
        miner: &MinerPolicy,
        built: Built,
        head: &TipSet,
    ) -> Result<(), CommitError> {
        let policy = send_policy(miner, kind);
        let from = self
            .engine
            .choose_sender(miner.actor, &policy.senders, &TipSetKey::HEAD)
            .await?;
        let fee = if built.sectors.len() > 1 {
            &policy.batch.fee
        } else {
            &policy.fee
        };
        let intent = Intent {
            kind: kind.message_kind(),
            miner: miner.actor,
            from,
            value: built.value,
            method: built.method,
            params: built.params,
            fee: fee.clone(),
            confidence: miner.confidence,
            sectors: built.sectors,
            deadline: None,
        };
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

fn waiting(record: &SectorRecord, kind: Commitment) -> Waiting {
    match record.carriage(kind) {
        Some(Carriage::Ready { since, alone, .. }) => Waiting {
            since: *since,
            alone: *alone,
        },
        // It changed since it was listed; storing the message will notice.
        _ => Waiting {
            since: unix_ms(),
            alone: false,
        },
    }
}
