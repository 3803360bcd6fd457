//! The messages of the scripted chain: what its node knows, what waits, what was executed under
//! which nonce.

use cid::Cid;
use damocles_node::{Message, MsgLookup, SignedMessage};
use damocles_types::Epoch;
use fvm_shared::{
    address::Address,
    crypto::signature::{Signature, SignatureType},
    econ::TokenAmount,
};
use std::collections::{BTreeMap, HashMap};

/// A block's gas, and the least fee per unit of it (attoFIL).
const BLOCK_GAS: i64 = 10_000_000_000;
const LEAST_FEE: u64 = 100;
/// What no two executed messages share: sender and nonce.
type Name = (Address, u64);

/// Messages by what is known of them.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// What the node has stored, also of branches that are gone.
    pub(super) known: HashMap<Cid, Message>,
    pub(super) waiting: BTreeMap<Name, Cid>,
    pub(super) executed: BTreeMap<Name, MsgLookup>,
}

pub(super) fn name(message: &Message) -> Name {
    (message.from, message.nonce)
}

/// Whether only gas and fee differ (Lotus `EqualCall`).
pub(super) fn same_call(a: &Message, b: &Message) -> bool {
    let call = |m: &Message| Message {
        gas_limit: 0,
        gas_fee_cap: TokenAmount::default(),
        gas_premium: TokenAmount::default(),
        ..m.clone()
    };
    call(a) == call(b)
}

impl Mail {
    pub(super) fn go_back(&mut self, height: Epoch) {
        self.executed.retain(|_, found| found.height <= height);
        self.waiting.clear();
    }

    /// The next nonce of the sender in the state of that height.
    pub(super) fn nonce(&self, from: Address, at: Epoch) -> u64 {
        let used = self.executed.iter().filter(|(_, found)| found.height <= at);
        let used = used.filter(|((sender, _), _)| *sender == from);
        used.map(|((_, nonce), _)| nonce + 1).max().unwrap_or(0)
    }

    pub(super) fn message(&self, cid: Cid) -> Option<&Message> {
        self.known.get(&cid)
    }

    pub(super) fn took(&mut self, message: Message) -> Cid {
        let cid = message.cid();
        self.waiting.insert(name(&message), cid);
        self.known.insert(cid, message);
        cid
    }
}

/// As the node's wallet does, by nobody's key: this chain does not look.
pub(super) fn sign(message: Message) -> SignedMessage {
    SignedMessage {
        message,
        signature: Signature {
            sig_type: SignatureType::BLS,
            bytes: vec![1; 96],
        },
    }
}

/// Whether a message may enter a pool at all.
pub(super) fn fits(message: &Message) -> Result<(), String> {
    if message.gas_limit > BLOCK_GAS {
        return Err(format!(
            "message not valid for block inclusion: 'GasLimit' field cannot be greater than a block's gas limit ({} > {BLOCK_GAS})",
            message.gas_limit
        ));
    }
    if message.gas_fee_cap < TokenAmount::from_atto(LEAST_FEE) {
        return Err("gas fee cap too low".to_owned());
    }
    Ok(())
}
