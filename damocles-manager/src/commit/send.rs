//! From parts to stored messages: who sends them, which may go together, how many fit into one, and
//! what is noted of the sectors that stay behind.

use crate::{
    commit::{
        Commit, CommitError,
        batch::Waiting,
        deadline,
        part::{Built, Part},
        sound::Sorted,
    },
    db::{
        Db, DbError,
        record::{Carriage, SectorRecord},
    },
    messages::{Intent, LARGEST_PARAMS},
    model::{Commitment, MessageId, names, unix_ms},
    policy::{MinerPolicy, SendPolicy},
};
use damocles_kv::Durability;
use damocles_node::{TipSet, TipSetKey};
use damocles_types::{Epoch, SectorId};
use fvm_shared::address::Address;

/// How that miner's messages of a kind are sent.
pub(super) fn send_policy(miner: &MinerPolicy, kind: Commitment) -> &SendPolicy {
    match kind {
        Commitment::PreCommit => &miner.pre,
        Commitment::Proof => &miner.prove,
    }
}

impl Commit {
    /// Makes one message of those parts that may go together; the others are to go alone.
    pub(super) async fn send_parts<P: Clone + Send>(
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
        let from = self.sender(miner, kind).await?;
        let to_intent = |parts| Ok(intent(kind, miner, batch, from, build(parts)?, head.height));
        let (good, _) = self.only_sound(kind, parts, &to_intent).await?;
        self.want_fitting(kind, miner, good, to_intent, head).await
    }

    /// Who sends that miner's messages.
    pub(super) async fn sender(
        &self,
        miner: &MinerPolicy,
        kind: Commitment,
    ) -> Result<Address, CommitError> {
        let senders = &send_policy(miner, kind).senders;
        let key = TipSetKey::HEAD;
        let chosen = self.engine.choose_sender(miner.actor, senders, &key);
        Ok(chosen.await?)
    }

    /// The parts that may go together, and the gas that they take, if it was measured; the others are
    /// to go alone from now on.
    pub(super) async fn only_sound<P: Clone + Send>(
        &self,
        kind: Commitment,
        parts: Vec<Part<P>>,
        to_intent: &impl Fn(Vec<Part<P>>) -> Result<Intent, CommitError>,
    ) -> Result<(Vec<Part<P>>, Option<i64>), CommitError> {
        let Sorted { good, bad, gas } = self.sorted(parts, to_intent).await?;
        for (part, why) in bad {
            let why = format!("the chain refuses it, and the others went without it: {why}");
            self.send_alone(kind, part.sector, why).await;
        }
        Ok((good, gas))
    }

    /// Stores messages of these parts: as many go in one as fit, for data takes room.
    pub(super) async fn want_fitting<P: Clone + Send>(
        &self,
        kind: Commitment,
        miner: &MinerPolicy,
        parts: Vec<Part<P>>,
        to_intent: impl Fn(Vec<Part<P>>) -> Result<Intent, CommitError>,
        head: &TipSet,
    ) -> Result<(), CommitError> {
        let mut untold = vec![parts];
        while let Some(mut some) = untold.pop() {
            if some.is_empty() {
                continue;
            }
            let intent = to_intent(some.clone())?;
            if intent.params.len() > LARGEST_PARAMS && some.len() > 1 {
                let rest = some.split_off(some.len() / 2);
                untold.extend([rest, some]);
                continue;
            }
            self.want(kind, miner, intent, head).await?;
        }
        Ok(())
    }

    pub(super) async fn want(
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
    pub(super) async fn send_alone(&self, kind: Commitment, sector: SectorId, why: String) {
        tracing::warn!(%sector, %kind, why, "a sector is left out of a message, and goes alone");
        let to = Carriage::Ready {
            since: unix_ms(),
            alone: true,
            error: Some(why),
        };
        self.set(kind, sector, to).await;
    }

    /// Writes into the records why their sectors still wait.
    pub(super) async fn note(&self, kind: Commitment, batch: &[SectorRecord], why: &str) {
        for id in self.say(kind, batch, why).await {
            tracing::warn!(sector = %id, %kind, why, "a sector waits on");
        }
    }

    /// Writes into the records what their sectors wait for; those of which it was not known.
    pub(super) async fn say(
        &self,
        kind: Commitment,
        batch: &[SectorRecord],
        what: &str,
    ) -> Vec<SectorId> {
        let mut news = Vec::new();
        for record in batch {
            let known = match record.carriage(kind) {
                Some(Carriage::Ready { error, .. }) => error.as_deref() == Some(what),
                _ => true,
            };
            if known {
                continue;
            }
            // only that: since the record was read, it may have been settled how it goes
            let said = what.to_owned();
            self.change(kind, record.id, move |carriage| {
                if let Carriage::Ready { error, .. } = carriage {
                    *error = Some(said.clone());
                }
            })
            .await;
            news.push(record.id);
        }
        news
    }

    /// Changes how a sector's commitment travels, if it still waits.
    pub(super) async fn set(&self, kind: Commitment, id: SectorId, to: Carriage) {
        self.change(kind, id, move |carriage| *carriage = to.clone())
            .await;
    }

    async fn change(
        &self,
        kind: Commitment,
        id: SectorId,
        how: impl Fn(&mut Carriage) + Send + 'static,
    ) {
        let change = move |db: &Db| {
            db.change(id, Durability::Synced, |record| {
                if let Some(carriage @ Carriage::Ready { .. }) = record.carriage_mut(kind) {
                    how(carriage);
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

pub(super) fn intent(
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
        note: built.note,
    }
}

pub(super) fn waiting(record: &SectorRecord, kind: Commitment, head: Epoch) -> Waiting {
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
