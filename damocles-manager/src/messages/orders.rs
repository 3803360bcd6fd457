//! What a person wants done about a message. It is noted in its record; whoever has the role of
//! sending does it.

use crate::{
    db::{
        Db, DbError,
        record::{MessageRecord, Order},
    },
    messages::{Engine, EngineError},
    model::MessageId,
};
use cid::Cid;
use fvm_shared::{bigint::BigInt, econ::TokenAmount};

/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 500;

impl Engine {
    /// The message of that id or CID (of those that are on their way or ended lately).
    ///
    /// # Errors
    /// [`EngineError::NoMessage`]; a failing database.
    pub async fn named(&self, name: &str) -> Result<MessageRecord, EngineError> {
        let nobody = || EngineError::NoMessage(name.chars().take(100).collect());
        let found = if let Ok(id) = name.parse::<MessageId>() {
            self.db.call(move |db| db.message(id)).await?
        } else if let Ok(cid) = name.parse::<Cid>() {
            self.db.call(move |db| of_cid(db, cid)).await?
        } else {
            None
        };
        found.ok_or_else(nobody)
    }

    /// Tries a message again now whose last attempt failed, and forgets how often it did.
    ///
    /// # Errors
    /// [`EngineError::NoMessage`] and [`EngineError::Over`]; a failing database.
    pub async fn retry(&self, name: &str) -> Result<MessageRecord, EngineError> {
        self.order(name, |m| m.refusals = 0).await
    }

    /// Makes a message that left dearer now; it may cost so many attoFIL in all, None: as
    /// configured.
    ///
    /// # Errors
    /// As [`Self::retry`]; [`EngineError::NoAmount`].
    pub async fn order_replacement(
        &self,
        name: &str,
        max_fee: Option<String>,
    ) -> Result<MessageRecord, EngineError> {
        let max_fee = max_fee.map(|text| {
            let atto = text.parse::<BigInt>().ok();
            let amount = atto
                .map(TokenAmount::from_atto)
                .filter(TokenAmount::is_positive);
            amount.ok_or(EngineError::NoAmount)
        });
        let order = Order::Replace {
            max_fee: max_fee.transpose()?,
        };
        self.order(name, move |m| m.order = Some(order.clone()))
            .await
    }

    /// Takes a message back: one that left gives its nonce to a message of nothing, if no block has
    /// it by then.
    ///
    /// # Errors
    /// As [`Self::retry`]; [`EngineError::Entrusted`].
    pub async fn order_withdrawal(
        &self,
        name: &str,
        reason: String,
    ) -> Result<MessageRecord, EngineError> {
        let reason: String = reason.chars().take(LONGEST_REASON).collect();
        let why = format!("withdrawn by a person: {reason}");
        let order = Order::Withdraw { why };
        let known = self.named(name).await?;
        if let (Some(_), Some(nonce), false) =
            (&known.entrusted, known.nonce, known.state.has_ended())
        {
            let id = known.id;
            return Err(EngineError::Entrusted { id, nonce });
        }
        self.order(name, move |m| m.order = Some(order.clone()))
            .await
    }

    async fn order(
        &self,
        name: &str,
        note: impl Fn(&mut MessageRecord) + Send + 'static,
    ) -> Result<MessageRecord, EngineError> {
        let known = self.named(name).await?;
        let (id, state) = (known.id, known.state);
        if state.has_ended() {
            return Err(EngineError::Over { id, state });
        }
        let noted = move |m: &mut MessageRecord| {
            m.retry_at = None;
            note(m);
        };
        let noted = self.db.call(move |db| db.note_message(id, noted)).await?;
        self.wake();
        Ok(noted)
    }
}

/// Looks through what is on its way or ended lately: a CID belongs to an attempt, and those have
/// no list.
fn of_cid(db: &Db, cid: Cid) -> Result<Option<MessageRecord>, DbError> {
    let has = |m: &MessageRecord| m.cid == Some(cid) || m.lost.iter().any(|l| l.cid == cid);
    let mut found = db.open_messages_briefly()?.into_iter().find(has);
    if found.is_none() {
        let watched = db.watched_messages(None)?.into_iter().map(|w| w.id);
        let watched = db.messages_briefly(&watched.collect::<Vec<_>>())?;
        found = watched.into_values().find(has);
    }
    match found {
        Some(brief) => db.message(brief.id),
        None => Ok(None),
    }
}
