//! What the tasks of one miner share, and the steps that several of them take: looking at the
//! challenge, leaving out what is covered, storing a record, waiting for an epoch.

use crate::{
    chain::{DomainTag, Head, entropy},
    db::posts::PostRecord,
    policy::MinerPolicy,
    post::{Parts, StepError, advance},
    served::Served,
};
use damocles_flow::post::PostEvent;
use damocles_types::{ActorId, Epoch, Randomness};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

pub(super) struct Context {
    pub(super) parts: Parts,
    pub(super) actor: ActorId,
    served: Served,
    /// For what is on its way when the miner is served no more.
    last: Mutex<Arc<MinerPolicy>>,
}

/// Returns when the head has reached `epoch`.
pub(super) async fn reached(head: &watch::Receiver<Option<Head>>, epoch: Epoch) {
    let mut heads = head.clone();
    let reached = heads
        .wait_for(|head| head.as_ref().is_some_and(|h| h.height >= epoch))
        .await
        .map(drop);
    if reached.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Context {
    pub(super) fn new(parts: Parts, served: Served, policy: Arc<MinerPolicy>) -> Self {
        Self {
            parts,
            actor: policy.actor,
            served,
            last: Mutex::new(policy),
        }
    }

    /// The miner's policy as it is now.
    pub(super) fn policy(&self) -> Arc<MinerPolicy> {
        let mut last = self.last.lock();
        if let Some(now) = self.served.miner(self.actor) {
            *last = now;
        }
        last.clone()
    }

    /// Returns when the head has reached `epoch`.
    pub(super) async fn reached(&self, epoch: Epoch) {
        reached(&self.parts.head, epoch).await;
    }

    /// The randomness that the proof must answer, as the chain has it now.
    pub(super) async fn challenge(
        &self,
        record: &PostRecord,
        head: &Head,
    ) -> Result<Randomness, StepError> {
        let tag = DomainTag::WindowedPoStChallengeSeed;
        let entropy = entropy(record.key.miner);
        let chain = &self.parts.chain;
        Ok(chain
            .beacon_randomness(tag, record.challenge, &entropy, &head.key)
            .await?)
    }

    /// Leaves out partitions that the chain has a proof of already, whoever sent it. True:
    /// nothing is left, the record is `Covered`. Only to be asked while the deadline is open.
    pub(super) async fn drop_covered(
        &self,
        record: &mut PostRecord,
        head: &Head,
    ) -> Result<bool, StepError> {
        let chain = &self.parts.chain;
        let deadlines = chain.miner_deadlines(record.key.miner, &head.key).await?;
        let index = usize::try_from(record.deadline).ok();
        let deadline = index.and_then(|i| deadlines.get(i)).ok_or_else(|| {
            StepError::Nonsense(format!("it has no deadline {}", record.deadline))
        })?;
        let before = record.partitions.len();
        record
            .partitions
            .retain(|p| !deadline.post_submissions.get(*p));
        if record.partitions.is_empty() {
            advance(record, PostEvent::Cover)?;
            record.proof = None;
            tracing::info!(
                miner = record.key.miner,
                deadline = record.deadline,
                "the chain has a WindowPoSt of these partitions already"
            );
            return Ok(true);
        }
        if record.partitions.len() < before {
            // The stored proof covers too much now.
            record.proof = None;
        }
        Ok(false)
    }

    /// Stores the record, if nobody else has done so since it was read.
    pub(super) async fn store(&self, record: &mut PostRecord) -> Result<(), StepError> {
        record.by = Some(self.parts.by.clone());
        let changed = record.clone();
        *record = self.parts.db.call(move |db| db.put_post(&changed)).await?;
        Ok(())
    }
}
