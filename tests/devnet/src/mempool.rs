//! Messages that wait for a block, by sender and nonce. The rules are those of Lotus'
//! message pool for messages pushed by the node's own users: gaps wait, a message of the
//! same nonce must pay a quarter more premium to replace another.
use std::collections::{BTreeMap, HashMap, HashSet};

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;

use crate::gas;
use crate::message::SignedMessage;

/// Bytes above which a message is not taken.
pub const MAX_MESSAGE_SIZE: usize = 64 << 10;
/// Messages that one sender may have waiting.
pub const MAX_PENDING: usize = 1000;

/// A message with its CID.
#[derive(Clone, Debug)]
pub struct Pending {
    pub cid: Cid,
    pub message: SignedMessage,
}

/// Why the pool did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "message from {from} with nonce {nonce} already in mpool, increase GasPremium to {minimum} to trigger replace by fee: replace by fee has too low GasPremium",
        minimum = minimum.atto()
    )]
    ReplaceFeeTooLow {
        from: Address,
        nonce: u64,
        minimum: TokenAmount,
    },
    #[error(
        "message from {from} with nonce {nonce} already in mpool: message with nonce already exists"
    )]
    ExistingNonce { from: Address, nonce: u64 },
    #[error("too many pending messages for actor")]
    TooManyPending,
}

/// The pool.
#[derive(Debug, Default)]
pub struct Mempool {
    senders: BTreeMap<Address, BTreeMap<u64, Pending>>,
    /// Every message that was ever taken, for ChainGetMessage and replaced messages.
    seen: HashMap<Cid, SignedMessage>,
    /// Messages that no block takes, and with them what their senders sent later.
    held: HashSet<Cid>,
}

/// What a message may cost its sender: gas limit × fee cap. Lotus' pool counts no value; that
/// is checked where the node's wallet signs, and when the message runs.
pub fn required_funds(message: &SignedMessage) -> TokenAmount {
    &message.message.gas_fee_cap * message.message.gas_limit
}

/// Premium from which a message replaces one that pays `premium`: a quarter more. (Lotus'
/// own floor is 110 %, its default for replacing is this.)
pub fn minimum_replacement(premium: &TokenAmount) -> TokenAmount {
    (premium * 125u64).div_floor(100u64) + TokenAmount::from_atto(1)
}

impl Mempool {
    /// Takes a message that was checked already; the one that it replaces, if any.
    pub fn add(&mut self, pending: Pending) -> Result<Option<Pending>, Refused> {
        let message = &pending.message.message;
        let queue = self.senders.entry(message.from).or_default();
        match queue.get(&message.sequence) {
            Some(existing) if existing.cid == pending.cid => {
                return Err(Refused::ExistingNonce {
                    from: message.from,
                    nonce: message.sequence,
                });
            }
            Some(existing) => {
                let minimum = minimum_replacement(&existing.message.message.gas_premium);
                if message.gas_premium < minimum {
                    return Err(Refused::ReplaceFeeTooLow {
                        from: message.from,
                        nonce: message.sequence,
                        minimum,
                    });
                }
            }
            None if queue.len() >= MAX_PENDING => return Err(Refused::TooManyPending),
            None => {}
        }
        self.seen.insert(pending.cid, pending.message.clone());
        let nonce = message.sequence;
        Ok(queue.insert(nonce, pending))
    }

    /// Takes a message back that a lost branch had, unless its nonce is taken. Nothing else is
    /// checked: it was in a block already.
    pub fn restore(&mut self, pending: Pending) {
        self.seen.insert(pending.cid, pending.message.clone());
        let message = &pending.message.message;
        let queue = self.senders.entry(message.from).or_default();
        queue.entry(message.sequence).or_insert(pending);
    }

    /// Takes a waiting message out, as if the node had lost it; its CID stays known.
    pub fn remove(&mut self, cid: &Cid) -> Option<Pending> {
        let message = &self.seen.get(cid)?.message;
        let queue = self.senders.get_mut(&message.from)?;
        if queue.get(&message.sequence)?.cid != *cid {
            return None;
        }
        let taken = queue.remove(&message.sequence);
        self.senders.retain(|_, queue| !queue.is_empty());
        taken
    }

    /// Drops every waiting message; the CIDs stay known unless `and_cids`.
    pub fn forget(&mut self, and_cids: bool) {
        self.senders.clear();
        self.held.clear();
        if and_cids {
            self.seen.clear();
        }
    }

    /// Keeps a waiting message out of blocks, or lets it in again; false when none waits
    /// under that CID.
    pub fn hold(&mut self, cid: &Cid, on: bool) -> bool {
        let waits = self.senders.values().flatten().any(|(_, p)| p.cid == *cid);
        if on && waits {
            self.held.insert(*cid);
        } else {
            self.held.remove(cid);
        }
        waits
    }

    /// The waiting message of the sender with the lowest nonce.
    pub fn first(&self, from: &Address) -> Option<&Pending> {
        self.senders.get(from)?.values().next()
    }

    /// Enters a message that waits no more (of a snapshot).
    pub fn remember(&mut self, cid: Cid, message: SignedMessage) {
        self.seen.insert(cid, message);
    }

    /// Every message that was ever taken.
    pub fn all_seen(&self) -> impl Iterator<Item = (&Cid, &SignedMessage)> {
        self.seen.iter()
    }

    /// A message that waits or once waited.
    pub fn seen(&self, cid: &Cid) -> Option<&SignedMessage> {
        self.seen.get(cid)
    }

    /// First nonce from `state_nonce` on that no waiting message has.
    pub fn next_nonce(&self, from: &Address, state_nonce: u64) -> u64 {
        let mut next = state_nonce;
        if let Some(queue) = self.senders.get(from) {
            for nonce in queue.range(state_nonce..).map(|(nonce, _)| *nonce) {
                if nonce != next {
                    break;
                }
                next += 1;
            }
        }
        next
    }

    /// What the sender's other waiting messages may cost.
    pub fn committed_funds(&self, from: &Address, except_nonce: u64) -> TokenAmount {
        self.senders
            .get(from)
            .into_iter()
            .flatten()
            .filter(|(nonce, _)| **nonce != except_nonce)
            .map(|(_, p)| required_funds(&p.message))
            .sum()
    }

    /// The sender's waiting messages in nonce order.
    pub fn of(&self, from: &Address) -> Vec<Pending> {
        self.senders
            .get(from)
            .into_iter()
            .flatten()
            .map(|(_, p)| p.clone())
            .collect()
    }

    /// All messages by sender and nonce.
    pub fn all(&self) -> Vec<Pending> {
        self.senders
            .values()
            .flatten()
            .map(|(_, p)| p.clone())
            .collect()
    }

    /// Messages for a block in the order in which they run. Each sender's go in nonce order
    /// without a gap from what `account` says of it (nonce, balance); among senders the
    /// higher premium goes first. Messages whose fee cap lies under the base fee wait.
    pub fn select(
        &self,
        base_fee: &TokenAmount,
        gas_limit: u64,
        mut account: impl FnMut(&Address) -> Option<(u64, TokenAmount)>,
    ) -> Vec<Pending> {
        let mut chains: Vec<Vec<&Pending>> = Vec::new();
        for (sender, queue) in &self.senders {
            let Some((mut nonce, mut balance)) = account(sender) else {
                continue;
            };
            let mut chain = Vec::new();
            for (_, pending) in queue.range(nonce..) {
                let message = &pending.message.message;
                let cost = required_funds(&pending.message);
                let waits = message.sequence != nonce
                    || message.gas_fee_cap < *base_fee
                    || cost > balance
                    || self.held.contains(&pending.cid);
                if waits {
                    break;
                }
                balance -= cost;
                nonce += 1;
                chain.push(pending);
            }
            chain.reverse();
            chains.push(chain);
        }
        let premium = |p: &Pending| {
            let m = &p.message.message;
            gas::effective_premium(base_fee, &m.gas_fee_cap, &m.gas_premium)
        };
        let mut chosen = Vec::new();
        let mut room = gas_limit;
        loop {
            let best = chains
                .iter_mut()
                .filter(|chain| {
                    chain
                        .last()
                        .is_some_and(|p| p.message.message.gas_limit <= room)
                })
                .max_by_key(|chain| chain.last().map(|p| premium(p)));
            let Some(pending) = best.and_then(Vec::pop) else {
                break;
            };
            room -= pending.message.message.gas_limit;
            chosen.push(pending.clone());
        }
        chosen
    }

    /// Forgets messages whose nonce was used up on the chain.
    pub fn drop_below(&mut self, from: &Address, nonce: u64) {
        if let Some(queue) = self.senders.get_mut(from) {
            *queue = queue.split_off(&nonce);
            if queue.is_empty() {
                self.senders.remove(from);
            }
        }
    }
}
