//! Handing a message to somebody who signs and sends it. The one place where backends differ.

use crate::{
    chain::{Chain, ChainError},
    db::record::{FeeRecord, GasRecord, MessageRecord},
    messages::fee::{Estimate, price},
};
use damocles_node::{Message, SendSpec, SignedMessage};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{METHOD_SEND, address::Address, econ::TokenAmount};

/// Blocks within which a message should get in, for the node's estimate of the premium.
const PREMIUM_BLOCKS: u64 = 10;
/// Blocks that it may have to queue, for the node's estimate of the cap (as Lotus asks itself).
const QUEUE_BLOCKS: i64 = 20;

/// Who signs and sends. Two more are to come: our own key store (sign here, `MpoolPush`,
/// replace by fee), and venus-messager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// The wallet of the node at the first endpoint; the node fills in the nonce and makes one
    /// message of one id.
    NodeWallet,
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

fn priced(message: &mut Message, gas: &GasRecord) {
    message.gas_limit = gas.limit;
    message.gas_fee_cap = gas.fee_cap.clone();
    message.gas_premium = gas.premium.clone();
}

/// Whether two messages do the same: only nonce, gas and fee may differ.
pub(super) fn same_effect(a: &Message, b: &Message) -> bool {
    (a.to, a.method, &a.value, &a.params) == (b.to, b.method, &b.value, &b.params)
}

impl Backend {
    /// What a message of those fees is to cost now.
    pub(super) async fn price(
        self,
        chain: &dyn Chain,
        mut message: Message,
        fee: &FeeRecord,
    ) -> Result<GasRecord, ChainError> {
        match self {
            Self::NodeWallet => {
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
        }
    }

    /// Sends the message, or brings back the one that was sent before under the same id.
    pub(super) async fn push(
        self,
        chain: &dyn Chain,
        record: &MessageRecord,
        gas: &GasRecord,
    ) -> Result<SignedMessage, ChainError> {
        match self {
            Self::NodeWallet => {
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
        }
    }

    /// Signs a message of nothing to its own sender at that nonce, and sends it.
    pub(super) async fn fill(
        self,
        chain: &dyn Chain,
        from: Address,
        nonce: u64,
        fee: &FeeRecord,
    ) -> Result<SignedMessage, ChainError> {
        let (nothing, empty) = (TokenAmount::default(), RawBytes::default());
        let mut message = Message::new(from, from, nothing, METHOD_SEND, empty);
        message.nonce = nonce;
        let gas = self.price(chain, message.clone(), fee).await?;
        priced(&mut message, &gas);
        match self {
            Self::NodeWallet => {
                let signed = chain.sign_message(&message).await?;
                chain.push_signed(&signed).await?;
                Ok(signed)
            }
        }
    }

    /// Sends a signed message once more, in case the node lost it.
    pub(super) async fn republish(
        self,
        chain: &dyn Chain,
        signed: &SignedMessage,
    ) -> Result<(), ChainError> {
        match self {
            Self::NodeWallet => chain.push_signed(signed).await.map(drop),
        }
    }
}
