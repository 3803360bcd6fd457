//! A message whose nonce comes next and that no block takes is made dearer: signed anew under the
//! same nonce, which a pool takes in the place of the old one. One that is pointless by now, or that
//! a person wants away, gives its nonce to a message of nothing (the network knows no other way to
//! take a message back).
//!
//! As everything that leaves, both are stored first. The old attempts stay on record, for any of
//! them may be the one that is executed.

use crate::{
    chain::{ChainError, Head},
    db::{
        record::{FeeRecord, GasRecord, LostAttempt, MessageRecord, Order, Withdrawal},
        spent::day,
    },
    messages::{
        Engine, EngineError,
        fee::{
            MOST_PRICES, PREMIUM_BLOCKS, Reprice, UNDER_BASE_FEE, is_stuck, least_replacement,
            per_gas, reprice,
        },
        push::{gas_of, priced, unsigned},
    },
    model::{MessageKind, names, unix_ms},
    wallet::Signer,
};
use damocles_flow::message::{MessageEvent, MessageState};
use damocles_node::{Message, SignedMessage};
use damocles_types::Epoch;
use fvm_shared::{address::Address, econ::TokenAmount};

/// A message whose deadline comes within so many epochs must not be late (an hour on the real
/// network).
const NEAR: Epoch = 120;

/// Whether the message may cost what its ceiling allows, and not only what it began with. Pure.
fn is_urgent(record: &MessageRecord, head: Epoch) -> bool {
    let near = record.deadline.is_some_and(|at| at - head <= NEAR);
    record.kind == MessageKind::WindowPost || near
}

/// Why the message is to give up its nonce. Pure.
pub(super) fn to_be_withdrawn(record: &MessageRecord, head: Epoch) -> Option<String> {
    if let Some(Order::Withdraw { why }) = &record.order {
        return Some(why.clone());
    }
    let over = record.deadline.filter(|at| *at <= head)?;
    Some(format!(
        "it was not on chain before epoch {over}, and is pointless now"
    ))
}

/// The limits for its next price: a person's word counts for more than the configuration. Pure.
fn limits(record: &MessageRecord) -> (FeeRecord, bool) {
    match &record.order {
        Some(Order::Replace { max_fee }) => {
            let max_fee = max_fee.clone().unwrap_or(record.fee.max_fee.clone());
            (
                FeeRecord {
                    max_fee,
                    ..record.fee.clone()
                },
                true,
            )
        }
        _ => (record.fee.clone(), false),
    }
}

impl Engine {
    /// What else can be done for a message that left, whose nonce nobody has, beside sending its
    /// bytes again; `next`: the sender's next nonce on chain. Whether anything was done.
    pub(super) async fn urge(
        &self,
        record: &MessageRecord,
        nonce: u64,
        next: u64,
        head: &Head,
    ) -> Result<bool, EngineError> {
        if record.entrusted.is_some() {
            return self.urge_entrusted(record, nonce, head).await;
        }
        if let Some(withdrawal) = &record.withdrawal {
            self.withdraw_again(record, withdrawal, nonce, head).await?;
            return Ok(true);
        }
        if let Some(why) = to_be_withdrawn(record, head.height) {
            let base_fee = self.base_fee().await?;
            self.withdraw(record, why, nonce, &base_fee, head.height)
                .await?;
            return Ok(true);
        }
        let ordered = matches!(record.order, Some(Order::Replace { .. }));
        if ordered || nonce == next {
            return self.make_dearer(record, nonce, head).await;
        }
        Ok(false)
    }

    async fn base_fee(&self) -> Result<TokenAmount, ChainError> {
        let tip = self.chain.head().await?;
        Ok(tip.base_fee().cloned().unwrap_or_default())
    }

    /// The premium with which messages get in now.
    async fn market(&self, from: Address, limit: i64) -> Result<TokenAmount, ChainError> {
        let chain = &self.chain;
        chain
            .estimate_gas_premium(PREMIUM_BLOCKS, from, limit)
            .await
    }

    async fn make_dearer(
        &self,
        record: &MessageRecord,
        nonce: u64,
        head: &Head,
    ) -> Result<bool, EngineError> {
        let (limits, ordered) = limits(record);
        let urgent = ordered || is_urgent(record, head.height);
        let at = record.priced_at.or(record.pushed_at);
        // an attempt that the node did not take is sent first
        let (Some(gas), Some(at), Some(_)) = (&record.gas, at, record.sent_at) else {
            return Ok(false);
        };
        let prices = record.lost.iter().filter(|l| l.nonce == nonce).count();
        if prices >= MOST_PRICES {
            return Ok(false);
        }
        // sending the same bytes again is no reason to wait longer
        let waited = head.height - at;
        if !ordered && waited < UNDER_BASE_FEE {
            return Ok(false);
        }
        let base_fee = self.base_fee().await?;
        let market = self.market(record.from, gas.limit).await?;
        if !ordered && !is_stuck(gas, &base_fee, &market, waited, urgent) {
            return Ok(false);
        }
        if !ordered && let Some(why) = self.over_the_day(record).await? {
            return self.keep_price(record, why).await;
        }
        let gas = match reprice(&limits, gas, &base_fee, &market, urgent) {
            Reprice::Dearer(gas) => gas,
            Reprice::TooDear { needs, allowed } => {
                let why = format!(
                    "no block takes it: with a base fee of {} it needs a cap of {} per unit of gas, and may have {}; wait, raise GasFeeCap or MaxFee, or allow more once with `util message replace {} --max-fee`",
                    per_gas(&base_fee),
                    per_gas(&needs),
                    per_gas(&allowed),
                    record.id
                );
                return self.keep_price(record, why).await;
            }
        };
        let mut message = unsigned(record, Some(&gas));
        message.nonce = nonce;
        let signed = self.signed_by_whom(&message).await?;
        self.send_dearer(record, gas, signed, nonce, head.height)
            .await?;
        Ok(true)
    }

    /// The limit of this day, if it is reached.
    pub(super) async fn over_the_day(
        &self,
        record: &MessageRecord,
    ) -> Result<Option<String>, EngineError> {
        let most = record.fee.max_fee_per_day.clone();
        if !most.is_positive() {
            return Ok(None);
        }
        let (day, miner, kind) = (day(unix_ms()), record.miner, record.kind);
        let spent = self.db.call(move |db| db.spent(day, miner, kind)).await?;
        Ok((spent >= most).then(|| {
            format!(
                "the {kind} messages of miner {miner} have cost {spent} FIL today, and may cost {most} FIL a day; it waits for tomorrow (UTC), or for a higher MaxFeePerDay"
            )
        }))
    }

    /// Notes why the message keeps its price; an order is done with that.
    pub(super) async fn keep_price(
        &self,
        record: &MessageRecord,
        why: String,
    ) -> Result<bool, EngineError> {
        if record.error.as_deref() == Some(&why) && record.order.is_none() {
            return Ok(false);
        }
        let (id, followed) = (record.id, record.order.clone());
        tracing::warn!(%id, kind = %record.kind, sectors = names(&record.sectors), why, "a message is made no dearer");
        let note = move |m: &mut MessageRecord| {
            m.order.take_if(|order| Some(&*order) == followed.as_ref());
            m.error = Some(why.clone());
        };
        self.db.call(move |db| db.note_message(id, note)).await?;
        Ok(false)
    }

    /// The message signed by whoever has its sender's key.
    pub(super) async fn signed_by_whom(
        &self,
        message: &Message,
    ) -> Result<SignedMessage, EngineError> {
        let from = message.from;
        match self.keys().signer(&from) {
            Signer::Store => self.keys().sign(message).ok_or(EngineError::KeyGone(from)),
            Signer::Locked(why) => Err(EngineError::Locked(why)),
            Signer::Node => Ok(self.chain.sign_message(message).await?),
        }
    }

    async fn send_dearer(
        &self,
        record: &MessageRecord,
        gas: GasRecord,
        signed: SignedMessage,
        nonce: u64,
        at: Epoch,
    ) -> Result<(), EngineError> {
        let (id, before, cid) = (record.id, record.cid, signed.cid());
        let (bytes, price, followed) = (signed.clone(), gas.clone(), record.order.clone());
        let swap = move |m: &mut MessageRecord| {
            if m.state != MessageState::Pushed || m.cid != before {
                return;
            }
            m.lost
                .extend(m.cid.replace(cid).map(|cid| LostAttempt { cid, nonce, at }));
            (m.signed, m.gas) = (Some(bytes.clone()), Some(price.clone()));
            (m.priced_at, m.sent_at) = (Some(at), None);
            m.error = None;
            // what a person wanted meanwhile is still to be done
            m.order.take_if(|order| Some(&*order) == followed.as_ref());
        };
        let noted = self.db.call(move |db| db.note_message(id, swap)).await?;
        if noted.cid != Some(cid) {
            return Ok(());
        }
        tracing::info!(
            %id, kind = %record.kind, miner = record.miner, sectors = names(&record.sectors), nonce,
            cap = per_gas(&gas.fee_cap), premium = per_gas(&gas.premium),
            "no block takes a message; it is made dearer"
        );
        self.send_stored(&noted, at).await
    }

    /// Uses up the nonce of a message that left by a message of nothing, dearer than what has it
    /// now.
    async fn withdraw(
        &self,
        record: &MessageRecord,
        why: String,
        nonce: u64,
        base_fee: &TokenAmount,
        at: Epoch,
    ) -> Result<(), EngineError> {
        let before = match &record.withdrawal {
            Some(withdrawal) => Some(&withdrawal.signed.message.gas_premium),
            None => record.gas.as_ref().map(|gas| &gas.premium),
        };
        let mut message = nothing(record.from, nonce);
        let chain = &*self.chain;
        let mut gas = self
            .backend
            .price(chain, message.clone(), &record.fee)
            .await?;
        let least = before.map_or_else(TokenAmount::default, least_replacement);
        gas.premium = gas.premium.max(least);
        // it is small: what makes it certain costs little
        gas.fee_cap = gas.fee_cap.max(base_fee.clone() * 2u64 + &gas.premium);
        priced(&mut message, &gas);
        let signed = self.signed_by_whom(&message).await?;
        let id = record.id;
        if record.withdrawal.is_none() {
            tracing::warn!(
                %id, kind = %record.kind, miner = record.miner, sectors = names(&record.sectors), nonce, why,
                "a message is withdrawn: a message of nothing is to take its nonce"
            );
        }
        let withdrawal = Withdrawal {
            why,
            signed,
            at,
            sent: false,
        };
        let stored = withdrawal.clone();
        let note = move |m: &mut MessageRecord| m.withdrawal = Some(stored.clone());
        self.db.call(move |db| db.note_message(id, note)).await?;
        self.send_withdrawal(record, &withdrawal).await
    }

    async fn withdraw_again(
        &self,
        record: &MessageRecord,
        withdrawal: &Withdrawal,
        nonce: u64,
        head: &Head,
    ) -> Result<(), EngineError> {
        let gas = gas_of(&withdrawal.signed.message);
        let waited = head.height - withdrawal.at;
        let base_fee = self.base_fee().await?;
        let market = self.market(record.from, gas.limit).await?;
        // one that the pool does not take is too cheap for it, too
        if is_stuck(&gas, &base_fee, &market, waited, true) {
            let why = withdrawal.why.clone();
            return self
                .withdraw(record, why, nonce, &base_fee, head.height)
                .await;
        }
        if withdrawal.sent && waited >= 0 {
            return Ok(());
        }
        self.send_withdrawal(record, withdrawal).await
    }

    async fn send_withdrawal(
        &self,
        record: &MessageRecord,
        withdrawal: &Withdrawal,
    ) -> Result<(), EngineError> {
        let (id, cid) = (record.id, withdrawal.signed.cid());
        let backend = &self.backend;
        backend
            .publish_again(&*self.chain, &withdrawal.signed)
            .await?;
        let sent = move |m: &mut MessageRecord| {
            if let Some(withdrawal) = m.withdrawal.as_mut().filter(|w| w.signed.cid() == cid) {
                withdrawal.sent = true;
            }
        };
        self.db.call(move |db| db.note_message(id, sent)).await?;
        Ok(())
    }

    /// Its nonce is used, and not by the message: that is what was wanted.
    pub(super) async fn withdrawn_on_chain(
        &self,
        record: &MessageRecord,
        why: String,
    ) -> Result<(), EngineError> {
        let id = record.id;
        tracing::info!(%id, kind = %record.kind, sectors = names(&record.sectors), "a message was withdrawn");
        let learn = move |m: &mut MessageRecord| m.error = Some(why.clone());
        let step = move |db: &crate::db::Db| db.step_message(id, MessageEvent::Refuse, learn);
        self.db.call(step).await?;
        Ok(())
    }
}

/// A message of nothing from a sender to itself.
pub(super) fn nothing(from: Address, nonce: u64) -> Message {
    let mut message = Message::send(from, from, TokenAmount::default());
    message.nonce = nonce;
    message
}
