//! What became of a message that left: on chain, still to come, or out of the question because
//! another message took its nonce. The chain is asked by the message's name and by its sender's
//! nonce, at one tipset; no answer is judged by its words.

use crate::{
    chain::{ChainError, Head},
    db::{
        record::{LostAttempt, MessageRecord, Paid},
        spent::day,
    },
    messages::{
        Engine, EngineError, fee,
        push::{gas_of, same_effect, unsigned},
        verdict::{Verdict, of_exit_code},
    },
    model::{MessageId, names, unix_ms},
};
use damocles_flow::message::{MessageEvent, MessageState};
use damocles_node::MsgLookup;
use damocles_types::Epoch;

/// A pushed message that is not on chain after so many epochs is sent to the node again; the
/// second: if the node does not know it any more.
const REPUBLISH_AFTER: Epoch = 20;
const REPUBLISH_FORGOTTEN: Epoch = 2;
/// A search goes so many epochs beyond the push, where the head may have been when it was made.
const SEARCH_MARGIN: Epoch = 20;

/// What the chain knows of a message at a head.
#[derive(Debug)]
enum Sight {
    Found(Box<MsgLookup>),
    /// Its nonce is free. Forgotten: the node does not even know the message.
    Free {
        forgotten: bool,
        /// The sender's next nonce.
        next: u64,
    },
    /// Another message has its nonce, as deep as the message itself would have to be. Searched: the
    /// node answered for every name of ours.
    Taken {
        searched: bool,
    },
    /// Something has its nonce, and it is not deep enough to say what; or the node cannot tell.
    /// Absent: it is not our message.
    Unclear {
        absent: bool,
    },
}

/// Whether the record has all names under which the message may be on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    All,
    /// A messager may have signed it anew, and was not heard.
    Perhaps,
}

impl Engine {
    async fn sight(
        &self,
        record: &MessageRecord,
        nonce: u64,
        head: &Head,
    ) -> Result<Sight, ChainError> {
        let chain = &*self.chain;
        let since = record.pushed_at.unwrap_or(head.height).min(head.height);
        let limit = head.height - since + record.confidence + SEARCH_MARGIN;
        let (mut absent, mut forgotten) = (true, false);
        // a lost attempt comes back when the chain goes back
        let names = record.cid.into_iter();
        for cid in names.chain(record.lost.iter().rev().map(|l| l.cid)) {
            match chain.search_message(cid, limit, &head.key).await {
                Ok(Some(found)) => {
                    if found.message == cid {
                        return Ok(Sight::Found(Box::new(found)));
                    }
                    let other = chain.message(found.message).await?;
                    if same_effect(&other, &unsigned(record, None)) {
                        return Ok(Sight::Found(Box::new(found)));
                    }
                }
                Ok(None) => {}
                // It does not know the message, or not enough of the past, or another one took
                // the nonce: nodes say all of that by refusing.
                Err(ChainError::Refused { .. }) => (absent, forgotten) = (false, true),
                Err(error) => return Err(error),
            }
        }
        let next = chain.actor(record.from, &head.key).await?.nonce;
        if next <= nonce {
            return Ok(Sight::Free { forgotten, next });
        }
        let depth = (head.height - record.confidence).max(0);
        let deep = chain.tipset_at(depth, &head.key).await?;
        Ok(if chain.actor(record.from, &deep).await?.nonce > nonce {
            Sight::Taken {
                searched: !forgotten,
            }
        } else {
            Sight::Unclear { absent }
        })
    }

    /// Looks for a message that left, while nobody else is asked under which names it did.
    pub(super) async fn follow(
        &self,
        record: &MessageRecord,
        head: &Head,
    ) -> Result<(), EngineError> {
        let names = match record.entrusted {
            Some(_) => Names::Perhaps,
            None => Names::All,
        };
        self.follow_by(names, record, head).await
    }

    /// Looks for a message that left.
    pub(super) async fn follow_by(
        &self,
        names: Names,
        record: &MessageRecord,
        head: &Head,
    ) -> Result<(), EngineError> {
        let Some(nonce) = record.nonce else {
            return Ok(());
        };
        let sight = self.sight(record, nonce, head).await?;
        let Sight::Found(found) = sight else {
            self.seen.looked.lock().insert(record.id, head.height);
            let was = record.state;
            let record = match (record.state, &sight) {
                (MessageState::Wanted | MessageState::Pushed, _) => record,
                (_, Sight::Unclear { absent: false }) => return Ok(()),
                _ => &self.unpack(record, head).await?,
            };
            return match sight {
                Sight::Free { forgotten, next } => {
                    if self.urge(record, nonce, next, head).await? {
                        return Ok(());
                    }
                    self.send_again(record, head, forgotten).await
                }
                Sight::Taken { searched } => match record.withdrawal.clone() {
                    Some(withdrawal) => self.withdrawn_on_chain(record, withdrawal.why).await,
                    None if searched || names == Names::All => self.lose(record, nonce, head).await,
                    None if was == MessageState::Pushed => Err(EngineError::Unheard { nonce }),
                    // the messager is asked when it is looked at next
                    None => Ok(()),
                },
                Sight::Unclear { .. } | Sight::Found(_) => Ok(()),
            };
        };
        if head.height - found.height < record.confidence {
            return self.packed(record, &found, head).await;
        }
        self.ended(record, *found).await
    }

    /// Packed, Landed or Failed → Pushed: the chain went another way.
    async fn unpack(
        &self,
        record: &MessageRecord,
        head: &Head,
    ) -> Result<MessageRecord, EngineError> {
        let (id, height) = (record.id, head.height);
        tracing::warn!(
            %id, kind = %record.kind, sectors = names(&record.sectors), was = %record.state,
            epoch = record.epoch, head = height,
            "a message left the chain again (reorganisation)"
        );
        let unpacked = self
            .db
            .call(move |db| {
                db.step_message(id, MessageEvent::Unpack, |m| {
                    (m.epoch, m.tipset) = (None, None);
                    (m.exit_code, m.return_value, m.gas_used) = (None, None, None);
                    m.paid = None;
                    // the branch that it runs on next may begin below its push
                    m.pushed_at = m.pushed_at.map(|at| at.min(height));
                    m.sent_at = None;
                })
            })
            .await?;
        Ok(unpacked)
    }

    /// Hands the signed bytes to the node once more, when it may have lost them.
    async fn send_again(
        &self,
        record: &MessageRecord,
        head: &Head,
        forgotten: bool,
    ) -> Result<(), EngineError> {
        let (id, height) = (record.id, head.height);
        let patience = if forgotten {
            REPUBLISH_FORGOTTEN
        } else {
            REPUBLISH_AFTER
        };
        // a head below the last sending is another branch
        let due = record
            .sent_at
            .is_none_or(|at| height - at >= patience || height < at);
        if due {
            match self.send_stored(record, height).await {
                // it is the messager's to send, which needs no right of ours at the node
                Err(EngineError::Chain(error @ ChainError::Denied { .. }))
                    if record.entrusted.is_some() =>
                {
                    tracing::debug!(%id, %error, "a message is left to the messager to send again");
                    return Ok(());
                }
                sent => sent?,
            }
            tracing::info!(%id, kind = %record.kind, nonce = record.nonce, "a message is not on chain; sent it again");
        }
        Ok(())
    }

    /// Hands the bytes that are stored to the node, which may have them already.
    pub(super) async fn send_stored(
        &self,
        record: &MessageRecord,
        height: Epoch,
    ) -> Result<(), EngineError> {
        let Some(signed) = &record.signed else {
            return Ok(());
        };
        self.backend.publish_again(&*self.chain, signed).await?;
        let id = record.id;
        self.db
            .call(move |db| {
                db.note_message(id, |m| {
                    m.pushed_at = m.pushed_at.map(|at| at.min(height));
                    m.sent_at = Some(height);
                    (m.error, m.failing_since, m.tries) = (None, None, 0);
                })
            })
            .await?;
        Ok(())
    }

    /// Another message has the nonce: this attempt can never land. The intent goes on.
    async fn lose(
        &self,
        record: &MessageRecord,
        nonce: u64,
        head: &Head,
    ) -> Result<(), EngineError> {
        let (id, at) = (record.id, head.height);
        tracing::warn!(
            %id, kind = %record.kind, miner = record.miner, sectors = names(&record.sectors), nonce,
            from = %record.from,
            "another message took the nonce of ours; a new attempt is made"
        );
        self.db
            .call(move |db| {
                db.step_message(id, MessageEvent::Lose, |m| {
                    m.lost
                        .extend(m.cid.take().map(|cid| LostAttempt { cid, nonce, at }));
                    // the node would bring back the old attempt under the old id
                    m.push_id = Some(MessageId::new().0);
                    (m.nonce, m.signed, m.gas) = (None, None, None);
                    m.entrusted = None;
                    (m.pushed_at, m.sent_at) = (None, None);
                    m.error = Some(format!(
                        "its nonce {nonce} was used by another message of {}; it is sent anew",
                        m.from
                    ));
                })
            })
            .await?;
        self.wake();
        Ok(())
    }

    async fn packed(
        &self,
        record: &MessageRecord,
        found: &MsgLookup,
        head: &Head,
    ) -> Result<(), EngineError> {
        let (id, cid, epoch) = (record.id, found.message, found.height);
        let key = found.tip_set.clone();
        let record = if record.state.is_watched() {
            // it ended on a branch that is gone, and is in a block of the new one
            &self.unpack(record, head).await?
        } else {
            record
        };
        if record.state == MessageState::Packed {
            if record.epoch != Some(epoch) || record.cid != Some(cid) {
                let note = move |db: &crate::db::Db| {
                    db.note_message(id, |m| {
                        (m.epoch, m.cid, m.tipset) = (Some(epoch), Some(cid), Some(key.clone()));
                    })
                };
                self.db.call(note).await?;
            }
            return Ok(());
        }
        self.db
            .call(move |db| {
                db.step_message(id, MessageEvent::Pack, |m| {
                    (m.epoch, m.cid, m.tipset) = (Some(epoch), Some(cid), Some(key.clone()));
                })
            })
            .await?;
        Ok(())
    }

    async fn ended(&self, record: &MessageRecord, found: MsgLookup) -> Result<(), EngineError> {
        let id = record.id;
        let code = found.receipt.exit_code;
        let paid = self.paid(record, &found).await?;
        let event = match of_exit_code(code) {
            Verdict::Done => MessageEvent::Land,
            Verdict::Retryable | Verdict::Permanent => MessageEvent::Fail,
        };
        let learn = move |m: &mut MessageRecord| {
            m.cid = Some(found.message);
            m.epoch = Some(found.height);
            m.tipset = Some(found.tip_set.clone());
            m.exit_code = Some(code);
            m.return_value = Some(found.receipt.r#return.to_vec().into());
            m.gas_used = Some(found.receipt.gas_used);
            m.paid = Some(paid.clone());
            if event == MessageEvent::Fail {
                m.error = Some(format!("it ran on chain with exit code {code}"));
            }
        };
        let same = match event {
            MessageEvent::Land => record.state == MessageState::Landed,
            _ => record.state == MessageState::Failed,
        };
        if same {
            // still there, perhaps in another tipset
            self.db.call(move |db| db.note_message(id, learn)).await?;
            return Ok(());
        }
        let ended = self
            .db
            .call(move |db| db.step_message(id, event, learn))
            .await?;
        let cid = ended.cid.map(tracing::field::display);
        let (kind, miner, sectors) = (ended.kind, ended.miner, names(&ended.sectors));
        if event == MessageEvent::Land {
            tracing::info!(%id, %kind, miner, sectors, cid, epoch = ended.epoch, "a message landed");
            self.tell_of_deposits(&ended).await?;
        } else {
            tracing::warn!(%id, %kind, miner, sectors, cid, epoch = ended.epoch, code, "a message failed on chain");
        }
        Ok(())
    }

    /// What the message cost, whichever of its attempts it was.
    async fn paid(&self, record: &MessageRecord, found: &MsgLookup) -> Result<Paid, EngineError> {
        let message = match &record.signed {
            Some(signed) if signed.cid() == found.message => signed.message.clone(),
            _ => self.chain.message(found.message).await?,
        };
        let gas = gas_of(&message);
        let base_fee = self
            .chain
            .base_fee_below(found.height, &found.tip_set)
            .await?;
        Ok(Paid {
            day: day(unix_ms()),
            fee: fee::paid(&gas, found.receipt.gas_used, &base_fee),
        })
    }

    /// A precommit that left before its sector was given up locks a deposit that nobody will
    /// claim: the miner's owner is told.
    async fn tell_of_deposits(&self, landed: &MessageRecord) -> Result<(), EngineError> {
        if landed.kind != crate::model::MessageKind::PreCommit {
            return Ok(());
        }
        let sectors = landed.sectors.clone();
        let given_up = self.db.call(move |db| db.given_up(&sectors)).await?;
        for sector in given_up {
            tracing::warn!(
                %sector, value = %landed.value, in_all = landed.sectors.len(),
                "the precommit of a sector that was given up is on chain: its deposit is locked, and burnt when the precommit expires"
            );
        }
        Ok(())
    }
}
