//! Messages that are given to a messager, which hands out the nonce, signs, sends and replaces. Ours
//! are the intent and its id: the id is stored before the message is given away, the messager has one
//! message of it, and a repeated push is that same message.
//!
//! What became of it is asked of both. The messager says under which nonce and name the message goes
//! to the chain, and only that is believed of it; whether it is there, and how it ended, the chain says
//! (`follow.rs`), also while the messager is away, forgets the message, or calls it failed.
//!
//! ```text
//! Wanted ──given──► Pushed, unsigned ──signed──► Pushed, with nonce and name ──► follow.rs
//!    ▲                 │  │
//!    └──forgotten──────┘  └──given up there──► Rejected
//! ```
//! An unsigned message can be taken back (it is marked bad there); a signed one cannot.

use crate::{
    chain::Head,
    db::record::{Entrusted, LostAttempt, MessageRecord, Order, Since},
    messages::{
        Engine, EngineError,
        follow::Names,
        push::{gas_of, same_effect, unsigned},
        replace::to_be_withdrawn,
        verdict::{MOST_REFUSALS, Refusal, of_refusal},
    },
    model::{MessageKind, names, unix_ms},
    venus::{Messager, Replacement, Spec, State, Told, VenusError},
};
use damocles_flow::message::MessageEvent;
use damocles_node::TipSet;
use damocles_types::Epoch;
use fvm_shared::econ::TokenAmount;

/// What the messager says of an unsigned message's end, or of not having it, is believed when it says
/// so for so many epochs and so long: it writes down what it signs after having priced and signed it,
/// for which it may need half a minute, and what it was given may still be on its way there.
const SETTLED: Epoch = 5;
const SETTLED_MS: u64 = 120_000;

/// How the messager may spend on it, as upstream tells it.
fn spec(record: &MessageRecord) -> Spec {
    let fee = &record.fee;
    Spec {
        expire_epoch: record.deadline.unwrap_or(0),
        gas_over_estimation: fee.gas_over_estimation,
        // what it may cost when it is made dearer is said then
        max_fee: TokenAmount::default(),
        gas_over_premium: fee.gas_over_premium,
    }
}

/// Whether it was said for long enough.
fn settled(since: Option<Since>, now: Since) -> bool {
    since.is_some_and(|since| {
        now.head - since.head >= SETTLED && now.at.saturating_sub(since.at) >= SETTLED_MS
    })
}

/// Since when it is so. Chain and clock may both go back.
fn earliest(before: Option<Since>, now: Since) -> Since {
    before.map_or(now, |before| Since {
        head: before.head.min(now.head),
        at: before.at.min(now.at),
    })
}

/// Now, at that head.
fn at_head(head: Epoch) -> Since {
    Since {
        head,
        at: unix_ms(),
    }
}

/// What is to be done about a message that the messager has not signed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unsigned {
    Wait,
    /// It is pointless by now, and is taken back.
    TakeBack,
    /// The messager has given it up, for long enough.
    Over(String),
    /// The messager does not know it, for long enough.
    GiveAgain,
}

/// Decides that. `told`: what the messager says now; None: that it has no such message. Pure.
fn unsigned_step(
    record: &MessageRecord,
    entrusted: &Entrusted,
    told: Option<&Told>,
    now: Since,
) -> Unsigned {
    let head = now.head;
    match told {
        None if settled(entrusted.missing, now) => Unsigned::GiveAgain,
        None => Unsigned::Wait,
        Some(told) if told.state == State::Failed => match settled(entrusted.given_up, now) {
            true => Unsigned::Over(given_up(record, &told.error_msg, head)),
            false => Unsigned::Wait,
        },
        Some(_) if pointless(record, head).is_some() => Unsigned::TakeBack,
        Some(_) => Unsigned::Wait,
    }
}

/// Why an unsigned message is not to be sent any more.
fn pointless(record: &MessageRecord, head: Epoch) -> Option<String> {
    let refused = || {
        let why = record.error.clone().unwrap_or_default();
        (record.refusals >= MOST_REFUSALS).then_some(why)
    };
    to_be_withdrawn(record, head).or_else(refused)
}

/// Why a message is given up that was given to a messager which left the configuration, unsigned as
/// far as is known. That it may be sent all the same a person answers for, and of a WindowPoSt past its
/// window it does no harm. Pure.
fn abandoned(record: &MessageRecord, head: Epoch) -> Option<String> {
    let by_a_person = matches!(record.order, Some(Order::Withdraw { .. }));
    let harmless = record.kind == MessageKind::WindowPost;
    if record.nonce.is_some() || !(by_a_person || harmless) {
        return None;
    }
    let why = to_be_withdrawn(record, head)?;
    Some(format!(
        "{why}; but it was given to venus-messager, which is not in the configuration any more and may send it all the same: mark it bad there, if it has it"
    ))
}

fn given_up(record: &MessageRecord, said: &str, head: Epoch) -> String {
    pointless(record, head).unwrap_or_else(|| match said {
        "" => "it was marked bad at venus-messager before it was signed".to_owned(),
        said => format!("venus-messager gave it up before it was signed: {said}"),
    })
}

/// Notes what the messager says: under which nonce and name the message goes to the chain, and since
/// when it is missing or given up there. What it was signed as before stays on record, for that may be
/// executed all the same. Whatever is not our message is not taken for it. Pure.
fn learn(record: &mut MessageRecord, told: Option<&Told>, now: Since) {
    let head = now.head;
    let Some(entrusted) = &mut record.entrusted else {
        return;
    };
    let since = |is: bool, before: Option<Since>| is.then(|| earliest(before, now));
    entrusted.missing = since(told.is_none(), entrusted.missing);
    let given_up = told.is_some_and(|t| t.state == State::Failed && t.signed_cid.is_none());
    entrusted.given_up = since(given_up, entrusted.given_up);
    let Some(told) = told else {
        return;
    };
    let Some(cid) = told.signed_cid.filter(|cid| record.cid != Some(*cid)) else {
        return;
    };
    if !same_effect(&told.message, &unsigned(record, None)) {
        return;
    }
    let before = record.cid.zip(record.nonce);
    record.lost.retain(|lost| lost.cid != cid);
    record.lost.extend(before.map(|(cid, nonce)| LostAttempt {
        cid,
        nonce,
        at: head,
    }));
    if before.is_some() {
        record.priced_at = Some(head);
        record
            .order
            .take_if(|order| matches!(order, Order::Replace { .. }));
    }
    record.cid = Some(cid);
    record.nonce = Some(told.message.nonce);
    record.gas = Some(gas_of(&told.message));
    record.signed = told.signed();
    record.sent_at = Some(head);
    (record.error, record.refusals) = (None, 0);
}

/// The messager could be asked: the row of failed attempts is over.
fn answered(record: &mut MessageRecord) {
    (record.tries, record.retry_at, record.failing_since) = (0, None, None);
}

impl Engine {
    fn has_messager(&self) -> Result<&dyn Messager, EngineError> {
        self.messager().ok_or(EngineError::NoMessager)
    }

    /// Gives up what no messager can be asked about any more, if it is to be; whether it did.
    async fn abandon(&self, record: &MessageRecord, head: Epoch) -> Result<bool, EngineError> {
        let why = match self.messager() {
            None => abandoned(record, head),
            Some(_) => None,
        };
        match why {
            Some(why) => self.refuse(record, why).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Gives the message to the messager, unless it has it from an earlier try.
    pub(super) async fn entrust(
        &self,
        record: &MessageRecord,
        tip: &TipSet,
    ) -> Result<(), EngineError> {
        let (id, uid, at) = (record.id, record.push_id(), tip.height);
        if self.abandon(record, at).await? {
            return Ok(());
        }
        let messager = self.has_messager()?;
        if record.entrusted.is_none() || !messager.has(uid).await? {
            if let Some(why) = to_be_withdrawn(record, at) {
                if !self.never_came(record, at_head(at)).await? {
                    return Err(EngineError::OnItsWay);
                }
                return self.refuse(record, why).await;
            }
            let mut message = unsigned(record, None);
            // an actor's no is heard from our own node, at once and once for all that it carries
            self.chain.estimate_gas_limit(&message).await?;
            message.gas_fee_cap = record.fee.gas_fee_cap.clone();
            let given = move |m: &mut MessageRecord| {
                m.entrusted.get_or_insert_default().missing = None;
                // what was sent under this id before may have run since then
                m.pushed_at.get_or_insert(at);
            };
            self.db.call(move |db| db.note_message(id, given)).await?;
            // The id is stored and nothing is sent: a kill here must push this id and no other.
            fail::fail_point!("messages::entrusted", |_| Ok(()));
            if let Err(error) = messager.push(uid, &message, &spec(record)).await {
                // of two of its id one is there, whichever came first
                let there = error.is_refusal() && messager.has(uid).await?;
                // Denied, this push did nothing; one before it may have.
                let denied = matches!(error, VenusError::Denied { .. });
                let at_home = error.is_refusal() || denied && record.entrusted.is_none();
                if !there && at_home {
                    let home = |m: &mut MessageRecord| (m.entrusted, m.pushed_at) = (None, None);
                    self.db.call(move |db| db.note_message(id, home)).await?;
                }
                if !there {
                    return Err(error.into());
                }
            }
        }
        // Between the messager's taking it and our knowing that: a kill here must find it there.
        fail::fail_point!("messages::pushed", |_| Ok(()));
        self.pushed(id, None, at).await
    }

    /// Whether a message that is not at the messager was not for long enough: a push that nobody
    /// answered may still be at work there.
    async fn never_came(&self, record: &MessageRecord, now: Since) -> Result<bool, EngineError> {
        let Some(entrusted) = &record.entrusted else {
            return Ok(true);
        };
        let missing = earliest(entrusted.missing, now);
        if settled(Some(missing), now) {
            return Ok(true);
        }
        let id = record.id;
        let note = move |m: &mut MessageRecord| {
            m.entrusted.get_or_insert_default().missing = Some(missing)
        };
        self.db.call(move |db| db.note_message(id, note)).await?;
        Ok(false)
    }

    /// What the messager says of a message now; None: it has none of that id.
    async fn told(&self, record: &MessageRecord) -> Result<Option<Told>, EngineError> {
        let (messager, uid) = (self.has_messager()?, record.push_id());
        match messager.message(uid).await {
            Ok(told) => Ok(Some(told)),
            // it says that in the words of its database; this question has a plain answer
            Err(error) if error.is_refusal() => match messager.has(uid).await? {
                true => Err(error.into()),
                false => Ok(None),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Looks for a message that the messager has: under which name it goes to the chain, then on the
    /// chain.
    pub(super) async fn follow_entrusted(
        &self,
        record: &MessageRecord,
        entrusted: &Entrusted,
        head: &Head,
    ) -> Result<(), EngineError> {
        let (id, height) = (record.id, head.height);
        if self.abandon(record, height).await? {
            return Ok(());
        }
        let told = match self.told(record).await {
            Ok(told) => told,
            // the chain can be asked all the same
            Err(error @ (EngineError::Venus(_) | EngineError::NoMessager))
                if record.nonce.is_some() =>
            {
                tracing::debug!(%id, %error, "a message is followed on chain alone");
                return self.follow(record, head).await;
            }
            Err(error) => return Err(error),
        };
        let now = at_head(height);
        let mut learnt = record.clone();
        learn(&mut learnt, told.as_ref(), now);
        self.count_refusals(&mut learnt, told.as_ref());
        answered(&mut learnt);
        if learnt != *record {
            let told = told.clone();
            let (refusals, error) = (learnt.refusals, learnt.error.clone());
            let counted = learnt.entrusted.as_ref().and_then(|e| e.counted.clone());
            let note = move |m: &mut MessageRecord| {
                learn(m, told.as_ref(), now);
                answered(m);
                (m.refusals, m.error) = (refusals, error.clone());
                if let Some(entrusted) = &mut m.entrusted {
                    entrusted.counted = counted.clone();
                }
            };
            learnt = self.db.call(move |db| db.note_message(id, note)).await?;
            if let (Some(cid), true) = (learnt.cid, learnt.cid != record.cid) {
                tracing::info!(
                    %id, kind = %record.kind, miner = record.miner, sectors = names(&record.sectors),
                    %cid, nonce = learnt.nonce, was = record.cid.map(tracing::field::display),
                    "venus-messager signed a message"
                );
            }
        }
        let entrusted = learnt.entrusted.as_ref().unwrap_or(entrusted);
        if learnt.nonce.is_some() {
            let heard = told.is_some() || settled(entrusted.missing, now);
            let names = if heard { Names::All } else { Names::Perhaps };
            return self.follow_by(names, &learnt, head).await;
        }
        self.seen.looked.lock().insert(id, height);
        match unsigned_step(&learnt, entrusted, told.as_ref(), now) {
            Unsigned::Wait => self.keep_unsigned(&learnt).await,
            Unsigned::TakeBack => self.take_back(&learnt, height).await,
            Unsigned::Over(why) => self.refuse(&learnt, why).await,
            Unsigned::GiveAgain => self.give_again(&learnt).await,
        }
    }

    /// Why the messager does not sign it stands beside it. What an actor says at head after head
    /// counts as where the node itself is asked. It stays there until the messager signs the message: what
    /// it has not written anew since then is the same word of the actor.
    fn count_refusals(&self, learnt: &mut MessageRecord, told: Option<&Told>) {
        let Some(told) = told.filter(|t| t.state == State::Unfilled && learnt.nonce.is_none())
        else {
            return;
        };
        if told.error_msg.is_empty() {
            (learnt.error, learnt.refusals) = (None, 0);
            return;
        }
        let counts = of_refusal(&told.error_msg) != Refusal::Wait;
        let entrusted = learnt.entrusted.get_or_insert_default();
        let news = entrusted.counted.as_ref() != Some(&told.updated_at);
        if counts && news && self.first_at_this_head(learnt.id) {
            entrusted.counted = Some(told.updated_at.clone());
            learnt.refusals = learnt.refusals.saturating_add(1);
        } else if !counts {
            learnt.refusals = 0;
        }
        learnt.error = Some(format!(
            "venus-messager does not sign it: {}",
            told.error_msg
        ));
    }

    /// An order to make it dearer has nothing to be done about.
    async fn keep_unsigned(&self, record: &MessageRecord) -> Result<(), EngineError> {
        if !matches!(record.order, Some(Order::Replace { .. })) {
            return Ok(());
        }
        let why = "venus-messager has not signed it yet: there is no price to raise";
        self.keep_price(record, why.to_owned()).await.map(drop)
    }

    /// Marks an unsigned message bad. Whether it was unsigned still is seen when it is looked at next.
    async fn take_back(&self, record: &MessageRecord, head: Epoch) -> Result<(), EngineError> {
        let id = record.id;
        tracing::warn!(
            %id, kind = %record.kind, miner = record.miner, sectors = names(&record.sectors),
            why = pointless(record, head), "a message is taken back from venus-messager"
        );
        self.has_messager()?.mark_bad(record.push_id()).await?;
        Ok(())
    }

    /// Pushed → Wanted: the messager has lost a message that was not signed when it was seen last.
    async fn give_again(&self, record: &MessageRecord) -> Result<(), EngineError> {
        let id = record.id;
        tracing::warn!(
            %id, kind = %record.kind, miner = record.miner, sectors = names(&record.sectors),
            "venus-messager does not know a message any more; it is given there again, under the same id"
        );
        let step = move |db: &crate::db::Db| {
            db.step_message(id, MessageEvent::Lose, |m| {
                let why = "venus-messager does not know it any more; it is given there again";
                m.error = Some(why.to_owned());
            })
        };
        self.db.call(step).await?;
        self.wake();
        Ok(())
    }

    /// What can be done about a message that the messager signed and whose nonce nobody has. Whether
    /// that is all.
    pub(super) async fn urge_entrusted(
        &self,
        record: &MessageRecord,
        nonce: u64,
        head: &Head,
    ) -> Result<bool, EngineError> {
        if let Some(why) = to_be_withdrawn(record, head.height) {
            let why = format!(
                "{why}; but venus-messager has signed it under nonce {nonce}, and what it has signed cannot be taken back: it ends when a block takes it, or another message of that nonce"
            );
            self.keep_price(record, why).await?;
            return Ok(true);
        }
        let Some(Order::Replace { max_fee }) = &record.order else {
            return Ok(false);
        };
        let max_fee = max_fee.clone().unwrap_or(record.fee.max_fee.clone());
        let how = Replacement::estimated(record.push_id(), max_fee, record.fee.gas_over_premium);
        match self.has_messager()?.replace(&how).await {
            // its new name, and that the order is done, is learnt when it is looked at next
            Ok(_) => self.wake(),
            Err(error @ VenusError::Refused { .. }) => {
                self.keep_price(record, error.to_string()).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

#[cfg(test)]
#[path = "entrusted_tests.rs"]
mod tests;
