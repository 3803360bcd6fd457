//! Landed is not final, and neither is failed: what ended on chain is looked at again at each new
//! head until the chain has finalised it. One question tells whether the head lies on the branch
//! that was looked at before; only where it does not, each message is looked at by itself.

use crate::{
    chain::{ChainError, Head, unless_refused},
    db::{DbError, messages::Watched},
    messages::{Engine, EngineError},
};
use damocles_flow::message::MessageEvent;
use damocles_node::TipSetKey;
use damocles_types::Epoch;

impl Engine {
    /// Whether the chain of `head` left the branch that was seen before. What landed there and
    /// is gone is open again by then.
    ///
    /// # Errors
    /// The list of messages cannot be read. What the node does not answer is asked at the next
    /// head.
    pub(super) async fn watch(&self, head: &Head) -> Result<bool, DbError> {
        let before = self.seen.trunk.lock().clone();
        if before.as_ref() == Some(head) {
            return Ok(false);
        }
        let from = self.only;
        let landed = self.db.call(move |db| db.watched_messages(from)).await?;
        match self.look_at_all(landed, before.as_ref(), head).await {
            Ok(branched) => {
                *self.seen.trunk.lock() = Some(head.clone());
                Ok(branched)
            }
            Err(EngineError::Db(error)) => Err(error),
            Err(error) => {
                tracing::debug!(%error, head = head.height, "what landed could not be looked at again");
                Ok(false)
            }
        }
    }

    async fn look_at_all(
        &self,
        landed: Vec<Watched>,
        before: Option<&Head>,
        head: &Head,
    ) -> Result<bool, EngineError> {
        let grown = match before {
            Some(before) => self.is_part(before.height, &before.key, head).await?,
            None => false,
        };
        if !grown {
            for message in &landed {
                let there = match (&message.tipset, message.epoch) {
                    (Some(key), Some(epoch)) => self.is_part(epoch, key, head).await?,
                    _ => false,
                };
                if !there {
                    self.look_again(message, head).await?;
                }
            }
        }
        if !landed.is_empty() {
            self.settle(&landed, head).await?;
        }
        Ok(before.is_some() && !grown)
    }

    async fn look_again(&self, message: &Watched, head: &Head) -> Result<(), EngineError> {
        let id = message.id;
        match self.db.call(move |db| db.message(id)).await? {
            Some(record) if record.state.is_watched() => self.follow(&record, head).await,
            _ => Ok(()),
        }
    }

    /// Whether the tipset is one of the chain that ends in `head`.
    async fn is_part(
        &self,
        height: Epoch,
        key: &TipSetKey,
        head: &Head,
    ) -> Result<bool, ChainError> {
        if height > head.height {
            return Ok(false);
        }
        // where it cannot tell, the message itself is asked for
        let there = unless_refused(self.chain.tipset_at(height, &head.key).await)?;
        Ok(there.is_some_and(|there| there == *key))
    }

    async fn settle(&self, landed: &[Watched], head: &Head) -> Result<(), EngineError> {
        let told = unless_refused(self.chain.finalized().await)?.flatten();
        let told = told.filter(|at| *at <= head.height);
        let by_age = head.height - self.finality;
        let finalised = told.map_or(by_age, |at| at.max(by_age));
        for message in landed {
            if message.epoch.is_none_or(|at| at > finalised) {
                continue;
            }
            let id = message.id;
            let settled = self
                .db
                .call(move |db| match db.message(id)? {
                    // it may be open again by now
                    Some(m)
                        if m.state.is_watched() && m.epoch.is_some_and(|at| at <= finalised) =>
                    {
                        db.step_message(id, MessageEvent::Settle, |_| {}).map(Some)
                    }
                    _ => Ok(None),
                })
                .await?;
            if let Some(m) = settled {
                tracing::debug!(%id, kind = %m.kind, epoch = m.epoch, finalised, "a message is final");
            }
        }
        Ok(())
    }
}
