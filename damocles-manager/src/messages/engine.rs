//! The reconciler: takes every unfinished message a step further, as often as it is woken.

use crate::{
    chain::ChainError,
    db::{DbError, record::MessageRecord},
    messages::{
        Engine, EngineError,
        push::{same_effect, unsigned},
        verdict::{MOST_REFUSALS, Verdict, of_exit_code, pause},
    },
    model::{MessageKind, unix_ms},
};
use damocles_flow::message::{MessageEvent, MessageState};
use damocles_node::MsgLookup;
use damocles_types::Epoch;
use futures::{StreamExt, stream};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Messages that are worked on at the same time.
const AT_ONCE: usize = 8;
/// A pushed message that is not on chain after so many epochs is sent to the node again.
const REPUBLISH_AFTER: Epoch = 20;
/// How long to leave a database alone that could not be read.
const AFTER_DB_ERROR: Duration = Duration::from_secs(5);

/// When there will be something to do, unless the engine is woken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// When a message is wanted.
    Idle,
    /// When the chain has moved.
    AtHead,
    /// Then, or when the chain has moved.
    In(Duration),
}

/// A deadline does not wait, and a slow node may take minutes over many messages: WindowPoSts
/// go before everything else, the others in the order in which they were wanted. Pure.
pub(super) fn urgent_first(mut open: Vec<MessageRecord>) -> Vec<MessageRecord> {
    open.sort_by_key(|m| m.kind != MessageKind::WindowPost);
    open
}

impl Engine {
    /// Works until `stop`. What is under way then is taken up at the next start.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut head = self.head.clone();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                next = self.reconcile() => next,
            };
            let next = next.unwrap_or_else(|error| {
                tracing::error!(%error, "messages cannot be read from the database");
                Next::In(AFTER_DB_ERROR)
            });
            let timer = async {
                match next {
                    Next::In(pause) => tokio::time::sleep(pause).await,
                    Next::Idle | Next::AtHead => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.wake.notified() => {}
                changed = head.changed(), if next != Next::Idle => {
                    if changed.is_err() {
                        // whoever follows the head is gone: the daemon is stopping
                        stop.cancelled().await;
                    }
                }
                () = timer => {}
            }
        }
    }

    /// Takes every unfinished message as far as it goes now, and says when to do so again.
    ///
    /// # Errors
    /// The list cannot be read. What goes wrong with one message is noted in its record.
    pub(super) async fn reconcile(&self) -> Result<Next, DbError> {
        let open = self.db.call(|db| db.open_messages()).await?;
        stream::iter(urgent_first(open))
            .for_each_concurrent(AT_ONCE, |record| async move {
                let id = record.id;
                if let Err(error) = self.advance(record).await {
                    tracing::error!(%id, %error, "a message could not be taken further");
                }
            })
            .await;
        let left = self.db.call(|db| db.open_messages()).await?;
        let retry = left.iter().filter_map(|m| m.retry_at).min();
        Ok(match retry {
            Some(at) => Next::In(Duration::from_millis(at.saturating_sub(unix_ms()).max(1))),
            None if left.is_empty() => Next::Idle,
            None => Next::AtHead,
        })
    }

    async fn advance(&self, record: MessageRecord) -> Result<(), EngineError> {
        if record.retry_at.is_some_and(|at| at > unix_ms()) {
            return Ok(());
        }
        let done = match record.state {
            MessageState::Wanted => self.push(&record).await,
            MessageState::Pushed | MessageState::Packed => self.follow(&record).await,
            MessageState::Landed | MessageState::Failed | MessageState::Rejected => Ok(()),
        };
        match done {
            Err(EngineError::Chain(error)) => self.failed(record, error).await,
            other => other,
        }
    }

    /// Wanted → Pushed. May have happened before without our having stored it.
    async fn push(&self, record: &MessageRecord) -> Result<(), EngineError> {
        let id = record.id;
        let chain = &*self.chain;
        let gas = match self.backend.price(chain, record).await {
            Ok(gas) => gas,
            // The node cannot run it on today's state. If it was pushed before, that may be
            // because it ran already; then the same push brings it back.
            Err(error @ ChainError::Refused { .. }) => match record.gas.clone() {
                Some(gas) => gas,
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let noted = gas.clone();
        self.db
            .call(move |db| db.note_message(id, |m| m.gas = Some(noted)))
            .await?;
        let signed = self.backend.push(chain, record, &gas).await?;
        // Between the node's taking it and our knowing that: a kill here must repeat the push.
        fail::fail_point!("messages::pushed", |_| Ok(()));
        let head = self.height();
        let pushed = self
            .db
            .call(move |db| {
                db.step_message(id, MessageEvent::Push, |m| {
                    m.cid = Some(signed.cid());
                    m.nonce = Some(signed.message.nonce);
                    m.signed = Some(signed);
                    m.pushed_at = head;
                })
            })
            .await?;
        tracing::info!(
            %id, kind = %pushed.kind, miner = pushed.miner, sectors = pushed.sectors.len(),
            cid = pushed.cid.map(tracing::field::display), nonce = pushed.nonce,
            "pushed a message"
        );
        Ok(())
    }

    /// Looks for a pushed message on chain.
    async fn follow(&self, record: &MessageRecord) -> Result<(), EngineError> {
        let (Some(cid), Some(head)) = (record.cid, self.height()) else {
            return Ok(());
        };
        let Some(found) = self.chain.search_message(cid, -1).await? else {
            return self.not_found(record, head).await;
        };
        if found.message != cid {
            let other = self.chain.message(found.message).await?;
            if !same_effect(&other, &unsigned(record, None)) {
                return self.supplanted(record, &found, head).await;
            }
        }
        if head - found.height < record.confidence {
            return self.packed(record, &found).await;
        }
        self.ended(record, found).await
    }

    async fn not_found(&self, record: &MessageRecord, head: Epoch) -> Result<(), EngineError> {
        let id = record.id;
        if record.state == MessageState::Packed {
            tracing::warn!(%id, kind = %record.kind, "a message left the chain again (reorganisation)");
            self.db
                .call(move |db| {
                    db.step_message(id, MessageEvent::Unpack, |m| {
                        m.epoch = None;
                        m.pushed_at = Some(head);
                    })
                })
                .await?;
            return Ok(());
        }
        let since = record.pushed_at.unwrap_or(head);
        if head - since >= REPUBLISH_AFTER
            && let Some(signed) = &record.signed
        {
            let done = self.backend.republish(&*self.chain, signed).await;
            match &done {
                Ok(()) => {
                    tracing::info!(%id, kind = %record.kind, epochs = head - since, "a message is not on chain yet; sent it again");
                }
                Err(error) if error.is_unreachable() => return Ok(done?),
                Err(error) => tracing::debug!(%id, %error, "sent a message again"),
            }
            let said = done.err().map(|e| e.to_string());
            self.db
                .call(move |db| {
                    db.note_message(id, |m| {
                        m.pushed_at = Some(head);
                        m.error = said;
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn packed(&self, record: &MessageRecord, found: &MsgLookup) -> Result<(), EngineError> {
        let (id, cid, epoch) = (record.id, found.message, found.height);
        if record.state == MessageState::Packed {
            if record.epoch != Some(epoch) || record.cid != Some(cid) {
                let note = move |db: &crate::db::Db| {
                    db.note_message(id, |m| (m.epoch, m.cid) = (Some(epoch), Some(cid)))
                };
                self.db.call(note).await?;
            }
            return Ok(());
        }
        self.db
            .call(move |db| {
                db.step_message(id, MessageEvent::Pack, |m| {
                    (m.epoch, m.cid) = (Some(epoch), Some(cid));
                })
            })
            .await?;
        Ok(())
    }

    async fn ended(&self, record: &MessageRecord, found: MsgLookup) -> Result<(), EngineError> {
        let id = record.id;
        let code = found.receipt.exit_code;
        let event = match of_exit_code(code) {
            Verdict::Done => MessageEvent::Land,
            Verdict::Retryable | Verdict::Permanent => MessageEvent::Fail,
        };
        let ended = self
            .db
            .call(move |db| {
                db.step_message(id, event, |m| {
                    m.cid = Some(found.message);
                    m.epoch = Some(found.height);
                    m.exit_code = Some(code);
                    m.return_value = Some(found.receipt.r#return.to_vec().into());
                    m.gas_used = Some(found.receipt.gas_used);
                    if event == MessageEvent::Fail {
                        m.error = Some(format!("it ran on chain with exit code {code}"));
                    }
                })
            })
            .await?;
        let cid = ended.cid.map(tracing::field::display);
        let (kind, miner) = (ended.kind, ended.miner);
        if event == MessageEvent::Land {
            tracing::info!(%id, %kind, miner, cid, epoch = ended.epoch, "a message landed");
        } else {
            tracing::warn!(%id, %kind, miner, cid, epoch = ended.epoch, code, "a message failed on chain");
        }
        Ok(())
    }

    /// Another message took the nonce: ours can never be on chain.
    async fn supplanted(
        &self,
        record: &MessageRecord,
        found: &MsgLookup,
        head: Epoch,
    ) -> Result<(), EngineError> {
        if head - found.height < record.confidence {
            return Ok(());
        }
        let (id, other, epoch) = (record.id, found.message, found.height);
        let nonce = record.nonce.unwrap_or_default();
        tracing::warn!(%id, kind = %record.kind, nonce, %other, "another message took the nonce of ours");
        self.db
            .call(move |db| {
                db.step_message(id, MessageEvent::Fail, |m| {
                    m.epoch = Some(epoch);
                    m.error = Some(format!("its nonce {nonce} was used by message {other}"));
                })
            })
            .await?;
        Ok(())
    }

    /// Notes a failed attempt. A node that is away is waited for; one that keeps refusing a
    /// message makes it `Rejected`, and whoever wanted it decides.
    async fn failed(&self, record: MessageRecord, error: ChainError) -> Result<(), EngineError> {
        let id = record.id;
        let text = error.to_string();
        let refused = matches!(error, ChainError::Refused { .. });
        if refused && record.state == MessageState::Wanted && record.refusals + 1 >= MOST_REFUSALS {
            tracing::error!(%id, kind = %record.kind, miner = record.miner, error = text, "the node refuses a message; given up");
            self.db
                .call(move |db| db.step_message(id, MessageEvent::Refuse, |m| m.error = Some(text)))
                .await?;
            return Ok(());
        }
        if record.error.as_deref() != Some(&text) {
            tracing::warn!(%id, kind = %record.kind, state = %record.state, error = text, "will try again");
        }
        let now = unix_ms();
        self.db
            .call(move |db| {
                db.note_message(id, |m| {
                    m.tries = m.tries.saturating_add(1);
                    m.refusals = m.refusals.saturating_add(refused.into());
                    m.retry_at = Some(now + pause(m.tries, refused).as_millis() as u64);
                    m.error = Some(text);
                    m.failing_since.get_or_insert(now);
                })
            })
            .await?;
        Ok(())
    }

    fn height(&self) -> Option<Epoch> {
        self.head.borrow().as_ref().map(|h| h.height)
    }
}
