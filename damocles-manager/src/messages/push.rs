//! Handing a message to somebody who signs and sends it. The one place where backends differ.

use crate::{
    chain::{Chain, ChainError},
    db::record::{FeeRecord, GasRecord, MessageRecord},
    messages::fee::{Estimate, PREMIUM_BLOCKS, price},
    venus::Messager,
    wallet::{Keys, Signer},
};
use damocles_node::{Message, SendSpec, SignedMessage};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::econ::TokenAmount;
use std::sync::Arc;

/// Blocks that it may have to queue, for the node's estimate of the cap (as Lotus asks itself).
const QUEUE_BLOCKS: i64 = 20;

/// Who signs: the messager for every sender, if there is one; else our own key store for the
/// senders whose keys it holds, the node's wallet for the others. In the last two ways the node at
/// the first endpoint has the message in its pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Backend {
    keys: Keys,
    messager: Option<Arc<dyn Messager>>,
}

/// How a wanted message goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It was signed here; those bytes may have left, and go again.
    Again,
    /// It is signed here, under a nonce of ours.
    Sign,
    /// The node's wallet signs it; the node gives the nonce.
    Node,
    /// The messager has it, or gets it.
    Messager,
    /// Who signs for its sender cannot sign now.
    Wait(String),
}

/// Who signs for a sender by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signs {
    Messager,
    By(Signer),
}

/// What may have left in one way goes on in that way, whoever signs for its sender by now: in
/// another way it would be a second message. Pure.
pub(super) fn way(record: &MessageRecord, by: Signs) -> Way {
    if record.entrusted.is_some() {
        return Way::Messager;
    }
    match (&record.signed, &record.gas) {
        (Some(_), _) => Way::Again,
        // the node was asked, and keeps a message of that id perhaps
        (None, Some(_)) => Way::Node,
        (None, None) => match by {
            Signs::Messager => Way::Messager,
            Signs::By(Signer::Store) => Way::Sign,
            Signs::By(Signer::Node) => Way::Node,
            Signs::By(Signer::Locked(why)) => Way::Wait(why),
        },
    }
}

/// The message as it stands in the record, with those gas fields.
pub(super) fn unsigned(record: &MessageRecord, gas: Option<&GasRecord>) -> Message {
    let mut message = Message::new(
        record.from,
        record.to,
        record.value.clone(),
        record.method,
        RawBytes::new(record.params.0.clone()),
    );
    if let Some(gas) = gas {
        priced(&mut message, gas);
    }
    message
}

/// What a message pays, the reverse of [`priced`].
pub(super) fn gas_of(message: &Message) -> GasRecord {
    GasRecord {
        limit: message.gas_limit,
        fee_cap: message.gas_fee_cap.clone(),
        premium: message.gas_premium.clone(),
    }
}

pub(super) fn priced(message: &mut Message, gas: &GasRecord) {
    message.gas_limit = gas.limit;
    message.gas_fee_cap = gas.fee_cap.clone();
    message.gas_premium = gas.premium.clone();
}

/// Whether two messages do the same: only nonce, gas and fee may differ.
pub(super) fn same_effect(a: &Message, b: &Message) -> bool {
    (a.to, a.method, &a.value, &a.params) == (b.to, b.method, &b.value, &b.params)
}

impl Backend {
    /// The same with a key store.
    pub(super) fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The same with a messager, which every message goes to that nobody has yet.
    pub(super) fn with_messager(self, messager: Arc<dyn Messager>) -> Self {
        Self {
            messager: Some(messager),
            ..self
        }
    }

    pub(super) fn messager(&self) -> Option<&dyn Messager> {
        self.messager.as_deref()
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How the message goes on that is wanted.
    pub(super) fn way(&self, record: &MessageRecord) -> Way {
        let by = match &self.messager {
            Some(_) => Signs::Messager,
            None => Signs::By(self.keys.signer(&record.from)),
        };
        way(record, by)
    }

    /// What a message of those fees is to cost now.
    pub(super) async fn price(
        &self,
        chain: &dyn Chain,
        mut message: Message,
        fee: &FeeRecord,
    ) -> Result<GasRecord, ChainError> {
        let gas_limit = chain.estimate_gas_limit(&message).await?;
        message.gas_limit = gas_limit;
        let premium = chain
            .estimate_gas_premium(PREMIUM_BLOCKS, message.from, gas_limit)
            .await?;
        let fee_cap = if fee.gas_fee_cap.is_positive() {
            TokenAmount::default()
        } else {
            message.gas_premium = premium.clone();
            chain.estimate_fee_cap(&message, QUEUE_BLOCKS).await?
        };
        let estimate = Estimate {
            gas_limit,
            premium,
            fee_cap,
        };
        Ok(price(fee, &estimate))
    }

    /// Has the node's wallet sign and send the message, or brings back the one that it sent before
    /// under the same id.
    pub(super) async fn push_by_node(
        &self,
        chain: &dyn Chain,
        record: &MessageRecord,
        gas: &GasRecord,
    ) -> Result<SignedMessage, ChainError> {
        let spec = SendSpec {
            // What was priced, said in full: left at zero, a node puts a limit of its
            // own in its place (Lotus: 0.07 FIL, far too little for a full batch) and
            // lowers the cap to it.
            max_fee: &gas.fee_cap * gas.limit,
            msg_uuid: record.push_id(),
            maximize_fee_cap: false,
        };
        let message = unsigned(record, Some(gas));
        chain.push_message(&message, &spec).await
    }

    /// Sends a signed message, perhaps once more.
    pub(super) async fn publish(
        &self,
        chain: &dyn Chain,
        signed: &SignedMessage,
    ) -> Result<(), ChainError> {
        chain.push_signed(signed).await.map(drop)
    }

    /// The same for one that the node may have already: then it is sent.
    pub(super) async fn publish_again(
        &self,
        chain: &dyn Chain,
        signed: &SignedMessage,
    ) -> Result<(), ChainError> {
        match self.publish(chain, signed).await {
            Err(error) if error.is_there_already() => Ok(()),
            sent => sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{db::record::Entrusted, messages::tests::intent, model::MessageId};
    use fvm_shared::crypto::signature::Signature;

    #[test]
    fn what_may_have_left_goes_on_in_its_own_way() {
        let gas = || GasRecord {
            limit: 1,
            fee_cap: TokenAmount::from_nano(1),
            premium: TokenAmount::default(),
        };
        let record = |asked: bool, signed: bool| {
            let mut record = intent().record(MessageId::new());
            record.gas = asked.then(gas);
            record.nonce = signed.then_some(3);
            record.signed = signed.then(|| SignedMessage {
                message: unsigned(&record, None),
                signature: Signature::new_bls(vec![1; 96]),
            });
            record
        };
        let entrusted = || {
            let mut record = record(false, false);
            record.entrusted = Some(Entrusted::default());
            record
        };
        let signers = || {
            let locked = Signer::Locked("no".into());
            let own = [Signer::Store, locked, Signer::Node].map(Signs::By);
            own.into_iter().chain([Signs::Messager])
        };
        let wait = || Way::Wait("no".into());
        // with the key store open, locked, another's sender, and a messager
        for (of, ways) in [
            (
                record(false, false),
                [Way::Sign, wait(), Way::Node, Way::Messager],
            ),
            (record(true, false), [const { Way::Node }; 4]),
            (record(true, true), [const { Way::Again }; 4]),
            (entrusted(), [const { Way::Messager }; 4]),
        ] {
            for (signs, want) in signers().zip(ways) {
                assert_eq!(way(&of, signs), want, "{of:?}");
            }
        }
    }
}
