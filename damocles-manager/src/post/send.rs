//! From a stored proof to a landed message. The message is stored in the same batch as the
//! record that names it, so there is never one without the other, and never a second one while
//! the first may still land.

use crate::{
    chain::{DomainTag, Head},
    db::{posts::PostRecord, record::MessageRecord},
    messages::Intent,
    model::{MessageId, MessageKind},
    post::{StepError, advance, batch, context::Context, schedule::Timing},
};
use damocles_flow::{message::MessageState, post::PostEvent};
use damocles_types::Epoch;
use fil_actor_miner_state::v18::Method;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::econ::TokenAmount;

impl Context {
    /// Hands the stored proof to the message engine, if the chain still wants it.
    pub(super) async fn submit(
        &self,
        mut record: PostRecord,
        head: &Head,
    ) -> Result<(), StepError> {
        let challenge = self.challenge(&record, head).await?;
        if record.randomness != Some(challenge) {
            record.proof = None;
            advance(&mut record, PostEvent::Again)?;
            record.error = Some("a reorganisation drew another challenge".to_owned());
            tracing::warn!(
                miner = record.key.miner,
                deadline = record.deadline,
                "a reorganisation drew another challenge; proving again"
            );
            return self.store(&mut record).await;
        }
        if self.drop_covered(&mut record, head).await? {
            return self.store(&mut record).await;
        }
        let Some(proof) = &record.proof else {
            // part of the batch was proven by another poster
            advance(&mut record, PostEvent::Again)?;
            return self.store(&mut record).await;
        };
        let chain = &self.parts.chain;
        let commit = chain
            .ticket_randomness(DomainTag::PoStChainCommit, record.challenge, &[], &head.key)
            .await?;
        let params = batch::params(record.deadline, record.challenge, proof, commit)?;
        let message = self
            .message(
                MessageKind::WindowPost,
                Method::SubmitWindowedPoSt,
                params,
                TokenAmount::default(),
                record.close,
                head,
            )
            .await?;
        record.message = Some(message.id);
        record.steps.submitted = self.height();
        record.by = Some(self.parts.by.clone());
        (record.tries, record.retry_at, record.error) = (0, None, None);
        advance(&mut record, PostEvent::Send)?;
        let stored = record.clone();
        self.parts
            .db
            .call(move |db| db.submit_post(&stored, &message))
            .await?;
        self.parts.messages.wake();
        tracing::info!(
            miner = record.key.miner, deadline = record.deadline, open = record.key.open,
            partitions = ?record.partitions, message = record.message.map(tracing::field::display),
            "a WindowPoSt is on its way"
        );
        Ok(())
    }

    /// A message of the miner's about proving as it is stored, not yet sent. Its sectors are told by
    /// the record that names it; there may be thousands.
    pub(super) async fn message(
        &self,
        kind: MessageKind,
        method: Method,
        params: RawBytes,
        value: TokenAmount,
        deadline: Epoch,
        head: &Head,
    ) -> Result<MessageRecord, StepError> {
        let (miner, policy) = (self.actor, self.policy());
        let policy = &policy.post;
        let messages = &self.parts.messages;
        let from = messages
            .choose_sender(miner, &policy.senders, &head.key)
            .await?;
        let intent = Intent {
            kind,
            miner,
            from,
            value,
            method: method as u64,
            params,
            fee: policy.fee.clone(),
            confidence: policy.confidence,
            sectors: Vec::new(),
            deadline: Some(deadline),
            note: None,
        };
        Ok(intent.record(MessageId::new()))
    }

    /// Looks what became of the message.
    pub(super) async fn follow(
        &self,
        mut record: PostRecord,
        head: &Head,
        timing: Timing,
    ) -> Result<(), StepError> {
        let message = match record.message {
            Some(id) => self.parts.db.call(move |db| db.message(id)).await?,
            None => None,
        };
        match message {
            Some(m) => match m.state {
                MessageState::Landed | MessageState::Final => self.landed(record, m.epoch).await,
                MessageState::Failed | MessageState::FailedFinal | MessageState::Rejected => {
                    let why = failure(&m);
                    self.unsent(record, why, head, timing).await
                }
                MessageState::Wanted | MessageState::Pushed | MessageState::Packed => {
                    self.waits(record, &m, head).await
                }
            },
            None => {
                record.message = None;
                let why = "its message is not in the database".to_owned();
                self.unsent(record, why, head, timing).await
            }
        }
    }

    async fn landed(&self, mut record: PostRecord, at: Option<Epoch>) -> Result<(), StepError> {
        advance(&mut record, PostEvent::Land)?;
        record.landed_at = at;
        record.proof = None;
        record.error = None;
        tracing::info!(
            miner = record.key.miner, deadline = record.deadline, open = record.key.open,
            partitions = ?record.partitions, epoch = at,
            "a WindowPoSt is on chain"
        );
        self.store(&mut record).await
    }

    /// The message did not do it: another one while there is time, else the deadline is missed.
    async fn unsent(
        &self,
        mut record: PostRecord,
        why: String,
        head: &Head,
        timing: Timing,
    ) -> Result<(), StepError> {
        if head.height >= record.close {
            return self.missed(record, why).await;
        }
        if self.drop_covered(&mut record, head).await? {
            record.error = Some(why);
            return self.store(&mut record).await;
        }
        record.tries = record.tries.saturating_add(1);
        let at = timing.retry_at(head.height, record.tries, record.close);
        tracing::warn!(
            miner = record.key.miner,
            deadline = record.deadline,
            open = record.key.open,
            why,
            retry_at = at,
            "the message of a WindowPoSt failed; sending another one"
        );
        record.retry_at = Some(at);
        record.error = Some(why);
        advance(&mut record, PostEvent::Resend)?;
        if record.proof.is_none() {
            advance(&mut record, PostEvent::Again)?;
        }
        self.store(&mut record).await
    }

    /// Nothing to do but to wait; when the deadline is closed for longer than the chain needs
    /// to settle, a message that is in no block will never count.
    async fn waits(
        &self,
        record: PostRecord,
        message: &MessageRecord,
        head: &Head,
    ) -> Result<(), StepError> {
        let settled = record
            .close
            .saturating_add(self.policy().post.confidence.max(1));
        if message.state == MessageState::Packed || head.height < settled {
            return Ok(());
        }
        // After a pause of this program the message may be on chain, and nobody has looked yet.
        let looked = self.parts.messages.looked_at(message.id).await?;
        if message.state == MessageState::Pushed && looked.is_none_or(|at| at < settled) {
            return Ok(());
        }
        let error = message.error.as_deref().unwrap_or("no block took it");
        let why = format!("the deadline closed before the message was on chain: {error}");
        self.missed(record, why).await
    }

    async fn missed(&self, mut record: PostRecord, why: String) -> Result<(), StepError> {
        advance(&mut record, PostEvent::Fail)?;
        tracing::error!(
            miner = record.key.miner, deadline = record.deadline, open = record.key.open,
            partitions = ?record.partitions, why,
            "a WindowPoSt was missed: its sectors become faulty"
        );
        record.error = Some(why);
        record.proof = None;
        self.store(&mut record).await
    }
}

pub(super) fn failure(message: &MessageRecord) -> String {
    let error = message.error.as_deref();
    match (message.state, message.exit_code) {
        (MessageState::Rejected, _) => {
            format!(
                "the node refused the message: {}",
                error.unwrap_or("no reason")
            )
        }
        (_, Some(code)) => format!("the message failed on chain with exit code {code}"),
        (_, None) => format!("the message failed: {}", error.unwrap_or("no reason")),
    }
}
