//! Messages that the key store signs. The nonce is ours to give: it is stored with the signed
//! bytes before these leave, so that a stop anywhere sends the same bytes again. A message keeps
//! its nonce, also when it is priced and signed anew: of all that was ever signed under one nonce
//! one at most is executed, and all of it is looked for.

use crate::{
    chain::ChainError,
    db::record::{FeeRecord, GasRecord, MessageRecord},
    messages::{
        Engine, EngineError,
        fee::MOST_PRICES,
        push::{priced, unsigned},
        replace::nothing,
    },
    wallet::Signer,
};
use damocles_node::{SignedMessage, TipSet};
use fvm_shared::address::Address;

impl Engine {
    /// Gives the message a nonce, signs it, and sends it.
    pub(super) async fn sign(
        &self,
        record: &MessageRecord,
        tip: &TipSet,
    ) -> Result<(), EngineError> {
        let chain = &*self.chain;
        let priced = unsigned(record, None);
        let gas = self.backend.price(chain, priced, &record.fee).await?;
        // the node that sends may know less of the chain than the one that is believed
        let least = chain.next_nonce(record.from).await?;
        let least = least.max(chain.actor(record.from, &tip.cids).await?.nonce);
        let signed = self.signed(record, gas, least, tip).await?;
        self.push_signed(&signed, tip).await
    }

    /// The record with nonce and signed bytes, as it is stored then.
    async fn signed(
        &self,
        record: &MessageRecord,
        gas: GasRecord,
        least: u64,
        tip: &TipSet,
    ) -> Result<MessageRecord, EngineError> {
        let (id, from, height) = (record.id, record.from, tip.height);
        let keys = self.keys().clone();
        let sign = move |m: &MessageRecord, nonce: u64| {
            let mut message = unsigned(m, Some(&gas));
            message.nonce = nonce;
            let signed = keys.sign(&message)?;
            Some((gas.clone(), signed))
        };
        let signed = self
            .db
            .call(move |db| db.sign_message(id, least, height, sign))
            .await?;
        signed.ok_or(EngineError::KeyGone(from))
    }

    /// Sends the bytes that are stored.
    pub(super) async fn push_signed(
        &self,
        record: &MessageRecord,
        tip: &TipSet,
    ) -> Result<(), EngineError> {
        let (Some(signed), Some(nonce)) = (&record.signed, record.nonce) else {
            return Ok(());
        };
        // Signed and not sent: a kill here must send these bytes and no others.
        fail::fail_point!("messages::signed", |_| Ok(()));
        match self.backend.publish(&*self.chain, signed).await {
            Ok(()) => {}
            Err(error @ ChainError::Refused { .. }) => {
                if !self.has_left(record, nonce, tip).await? {
                    self.price_anew(record, nonce, tip).await?;
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        // Between the node's taking it and our knowing that: a kill here must repeat the push.
        fail::fail_point!("messages::pushed", |_| Ok(()));
        self.pushed(record.id, None, tip.height).await
    }

    /// Whether a message of that nonce is on chain or in the pool in spite of a refusal: ours, of
    /// an earlier push whose answer was lost, or another one. Who follows it finds out which.
    async fn has_left(
        &self,
        record: &MessageRecord,
        nonce: u64,
        tip: &TipSet,
    ) -> Result<bool, ChainError> {
        let from = record.from;
        if self.chain.actor(from, &tip.cids).await?.nonce > nonce {
            return Ok(true);
        }
        Ok(self.chain.next_nonce(from).await? > nonce)
    }

    /// The pool does not take it as it is: it is signed once more under its nonce if it would be
    /// priced differently today, and goes when it is tried next.
    async fn price_anew(
        &self,
        record: &MessageRecord,
        nonce: u64,
        tip: &TipSet,
    ) -> Result<(), EngineError> {
        let before = record.lost.iter().filter(|l| l.nonce == nonce).count();
        if before >= MOST_PRICES || self.keys().signer(&record.from) != Signer::Store {
            return Ok(());
        }
        let priced = unsigned(record, None);
        let gas = match self.backend.price(&*self.chain, priced, &record.fee).await {
            Ok(gas) if Some(&gas) != record.gas.as_ref() => gas,
            // what it may not do today it may have done already
            Ok(_) | Err(ChainError::Refused { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.signed(record, gas, nonce, tip).await.map(drop)
    }

    /// Signs a message of nothing to its own sender at that nonce, and sends it.
    pub(super) async fn fill(
        &self,
        from: Address,
        nonce: u64,
        fee: &FeeRecord,
    ) -> Result<SignedMessage, EngineError> {
        let chain = &*self.chain;
        let mut message = nothing(from, nonce);
        let gas = self.backend.price(chain, message.clone(), fee).await?;
        priced(&mut message, &gas);
        let signed = self.signed_by_whom(&message).await?;
        self.backend.publish(chain, &signed).await?;
        Ok(signed)
    }
}
