//! The one way to put something on chain: intent stored first, then pushed, then followed
//! until the chain has finalised it. `damocles_flow::message` has the table of a message's life.
//!
//! ```text
//! commit, post ──intent──► db: Wanted ──┐ wake
//!                                       ▼
//!              engine: push.rs ──► Pushed · follow.rs ──► Packed · Landed · Failed
//!                      sign.rs: by the key store, under a nonce of ours
//!                      entrusted.rs: by a messager, which has the nonces
//!                                              finality.rs ─► Final, or Pushed again
//!              replace.rs: what no block takes is made dearer, or gives its nonce up
//!              gap.rs: a nonce before ours that nobody has any more is used up
//! ```
//! The engine takes no input: it reads the unfinished messages from the database and takes
//! each a step further. A restart and a wake-up are the same to it. A message keeps its id,
//! and the node makes one message of one id, so no crash makes two; what we sign ourselves is
//! stored with its nonce before it leaves, and leaves again as it is. Where another message took
//! the nonce of ours, the same record goes on with a new attempt, which has an id of its own.
//! Each sender has an engine of its own (`share.rs`), of one manager at a time: it hands out the
//! sender's nonces.

mod accounts;
mod engine;
mod entrusted;
mod fee;
mod finality;
mod follow;
mod gap;
mod orders;
mod push;
mod replace;
mod sender;
mod share;
mod sign;
mod verdict;
mod view;

pub use fee::{Estimate, price};
pub use sender::Holder;
pub use share::run;
pub use verdict::{Verdict, of_exit_code};

use crate::{
    chain::{Chain, ChainError, Head},
    db::{
        Db, DbError,
        pages::NoCursor,
        record::{MessageRecord, VERSION},
    },
    model::{MessageId, MessageKind, unix_ms},
    policy::FeePolicy,
    venus::{Messager, VenusError},
    wallet::Keys,
};
use damocles_flow::message::MessageState;
use damocles_node::{Message, TipSetKey};
use damocles_types::{ActorId, Epoch, SectorId};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{MethodNum, address::Address, econ::TokenAmount};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// So many epochs below the head a chain does not change any more (Filecoin specification,
/// expected consensus, `ChainFinality`).
pub const CHAIN_FINALITY: Epoch = 900;

/// A message on the wire has at most 64 KiB (Lotus `MaxMessageSize`); beside its parameters are
/// addresses, amounts and a signature.
pub const LARGEST_PARAMS: usize = (64 << 10) - 512;

/// A message that somebody wants on chain.
#[derive(Clone, Debug)]
pub struct Intent {
    pub kind: MessageKind,
    /// It goes to this miner's actor.
    pub miner: ActorId,
    /// A key address, see [`Engine::choose_sender`].
    pub from: Address,
    pub value: TokenAmount,
    pub method: MethodNum,
    pub params: RawBytes,
    pub fee: FeePolicy,
    pub confidence: Epoch,
    /// The sectors it carries, in the order of its parameters.
    pub sectors: Vec<SectorId>,
    /// From this epoch on it is pointless. None: it stays worth its gas.
    pub deadline: Option<Epoch>,
    /// What people are told of how it was made.
    pub note: Option<String>,
}

impl Intent {
    fn to(&self) -> Address {
        Address::new_id(self.miner)
    }

    /// The record to be stored, together with whatever wants the message.
    pub fn record(self, id: MessageId) -> MessageRecord {
        MessageRecord {
            v: VERSION,
            id,
            kind: self.kind,
            miner: self.miner,
            from: self.from,
            to: self.to(),
            value: self.value,
            method: self.method,
            params: self.params.to_vec().into(),
            fee: (&self.fee).into(),
            confidence: self.confidence,
            sectors: self.sectors,
            wanted_at: unix_ms(),
            state: MessageState::Wanted,
            gas: None,
            signed: None,
            cid: None,
            nonce: None,
            pushed_at: None,
            epoch: None,
            exit_code: None,
            return_value: None,
            gas_used: None,
            tipset: None,
            deadline: self.deadline,
            push_id: None,
            entrusted: None,
            lost: Vec::new(),
            sent_at: None,
            priced_at: None,
            paid: None,
            order: None,
            withdrawal: None,
            tries: 0,
            refusals: 0,
            retry_at: None,
            error: None,
            failing_since: None,
            note: self.note,
        }
    }
}

/// Why the engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Venus(#[from] VenusError),
    #[error(transparent)]
    Cursor(#[from] NoCursor),
    #[error("none of the configured senders can send for miner {miner} ({})", .unfit.join("; "))]
    NoSender {
        miner: ActorId,
        /// Why each cannot.
        unfit: Vec<String>,
    },
    #[error("{0}; the messages of its senders wait until it is open (see [Common.Wallet])")]
    Locked(String),
    #[error("message {0:?} was not found; `util message list` shows their ids")]
    NoMessage(String),
    #[error("that is no amount; give attoFIL, more than 0")]
    NoAmount,
    #[error("message {id} is over ({state}): nothing more can be done about it")]
    Over { id: MessageId, state: MessageState },
    /// What messages may cost within a day is spent.
    #[error("{0}")]
    Spent(String),
    /// It was given away and is known there only.
    #[error(
        "it was given to venus-messager, which is not in the configuration any more; name it in [Common.API] Messager until its messages are over"
    )]
    NoMessager,
    /// It is to be given up, and a push of it may still be under way.
    #[error(
        "it is not to be sent any more, but was given to venus-messager, whose answer is lost and which does not have it yet: it is given up when that stays so for a few minutes"
    )]
    OnItsWay,
    /// Another message of its sender is on chain in its place, and the messager was not heard.
    #[error(
        "its nonce {nonce} was used by a message that the node does not tell from ours: venus-messager may have signed ours anew, so it is asked before a new attempt is made; see that it answers ([Common.API] Messager)"
    )]
    Unheard { nonce: u64 },
    /// A person wants something of a message that whoever has it cannot do.
    #[error(
        "message {id} was signed by venus-messager under nonce {nonce}, and what it has signed cannot be taken back; make it dearer with `util message replace {id}`, or wait for its end"
    )]
    Entrusted { id: MessageId, nonce: u64 },
    #[error("the key of {0} was taken out of the key store while a message was signed")]
    KeyGone(Address),
}

impl EngineError {
    /// Whether it is a wait and no failure. A sender that may not act is one: its operator has
    /// to correct it, and nothing of a sector is wrong.
    pub fn is_wait(&self) -> bool {
        match self {
            Self::Chain(_)
            | Self::Venus(_)
            | Self::NoMessager
            | Self::OnItsWay
            | Self::Unheard { .. }
            | Self::NoSender { .. }
            | Self::Locked(_)
            | Self::KeyGone(_)
            | Self::Spent(_) => true,
            Self::Db(error) => error.is_wait(),
            Self::Cursor(_)
            | Self::NoMessage(_)
            | Self::NoAmount
            | Self::Over { .. }
            | Self::Entrusted { .. } => false,
        }
    }
}

/// What a node says of a message that it only tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// The actor takes it, for so much gas, without any margin.
    Takes { gas: i64 },
    /// The actor refuses it; its words.
    Refuses(String),
    /// It could not be tried (no funds, a pool that is full); the node's words.
    Unknown(String),
}

/// Pushes messages and follows them; clones are handles of the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    db: Db,
    chain: Arc<dyn Chain>,
    head: watch::Receiver<Option<Head>>,
    wake: watch::Sender<()>,
    backend: push::Backend,
    /// Epochs after which a chain is final whose node does not say.
    finality: Epoch,
    /// Whose messages it looks after; None: everybody's.
    only: Option<Address>,
    seen: Arc<Seen>,
}

/// What this process has seen; after a restart it looks anew.
#[derive(Debug, Default)]
struct Seen {
    /// The last head on whose chain everything that landed was found.
    trunk: Mutex<Option<Head>>,
    /// Heads at which messages were looked for last.
    looked: Mutex<HashMap<MessageId, Epoch>>,
    /// Senders whose next nonce nobody has; which one, and the head at which it was missed first.
    gaps: Mutex<HashMap<Address, (u64, Epoch)>>,
    /// The head at which gaps were looked for last.
    gaps_at: Mutex<Option<Head>>,
}

impl Engine {
    /// An engine that has the node's wallet sign. It does nothing until [`Engine::run`].
    pub fn new(db: Db, chain: Arc<dyn Chain>, head: watch::Receiver<Option<Head>>) -> Self {
        Self {
            db,
            chain,
            head,
            wake: watch::Sender::new(()),
            backend: push::Backend::default(),
            finality: CHAIN_FINALITY,
            only: None,
            seen: Arc::default(),
        }
    }

    /// The same with another finality, for networks whose chain is shorter.
    #[must_use]
    pub fn with_finality(mut self, epochs: Epoch) -> Self {
        self.finality = epochs;
        self
    }

    /// The same with a key store, which signs for the senders whose keys it holds.
    #[must_use]
    pub fn with_keys(mut self, keys: Keys) -> Self {
        self.backend = self.backend.with_keys(keys);
        self
    }

    /// The same with a messager, which signs for every sender from now on. What is on its way
    /// otherwise goes on as it began.
    #[must_use]
    pub fn with_messager(mut self, messager: Arc<dyn Messager>) -> Self {
        self.backend = self.backend.with_messager(messager);
        self
    }

    /// The messager that every new message goes to, if there is one.
    pub fn messager(&self) -> Option<&dyn Messager> {
        self.backend.messager()
    }

    /// The same engine on a database that writes in a role.
    #[must_use]
    pub fn on(&self, db: Db) -> Self {
        Self { db, ..self.clone() }
    }

    /// An engine that looks after the messages of this sender, on a database that writes in the
    /// role of it. It has seen nothing yet: another one may have looked after them meanwhile.
    #[must_use]
    pub fn of(&self, sender: Address, db: Db) -> Self {
        Self {
            db,
            only: Some(sender),
            seen: Arc::default(),
            ..self.clone()
        }
    }

    /// The head at which the engine, here or in another manager, looked for a WindowPoSt's
    /// message last, without finding it.
    ///
    /// # Errors
    /// A failing database.
    pub async fn looked_at(&self, id: MessageId) -> Result<Option<Epoch>, DbError> {
        self.db.call(move |db| db.looked_at(id)).await
    }

    /// The key store that signs for some senders.
    pub fn keys(&self) -> &Keys {
        self.backend.keys()
    }

    /// Tells the engines that a wanted message was stored.
    pub fn wake(&self) {
        self.wake.send_replace(());
    }

    /// Stores a wanted message and wakes the engine. The same id again changes nothing: the
    /// message that is stored already comes back.
    ///
    /// # Errors
    /// A failing database.
    pub async fn want(&self, id: MessageId, intent: Intent) -> Result<MessageRecord, EngineError> {
        let record = intent.record(id);
        let stored = self.db.call(move |db| db.want(record)).await?;
        self.wake();
        Ok(stored)
    }

    /// The same for what a person ordered: asked once more, as when an answer was lost, while it is
    /// on its way, it is the same message.
    ///
    /// # Errors
    /// A failing database.
    pub async fn want_once(&self, record: MessageRecord) -> Result<MessageId, DbError> {
        let id = self.db.call(move |db| db.want_once(record)).await?;
        self.wake();
        Ok(id)
    }

    /// What would become of that message on the state of now.
    ///
    /// # Errors
    /// A node that does not answer.
    pub async fn dry_run(&self, intent: &Intent) -> Result<DryRun, EngineError> {
        let mut message = Message::send(intent.from, intent.to(), intent.value.clone());
        message.method = intent.method;
        message.params = intent.params.clone();
        match self.chain.estimate_gas_limit(&message).await {
            Ok(gas) => Ok(DryRun::Takes { gas }),
            Err(ChainError::Refused { message, .. }) if verdict::is_the_actors(&message) => {
                Ok(DryRun::Refuses(message))
            }
            Err(ChainError::Refused { message, .. }) => Ok(DryRun::Unknown(message)),
            Err(error) => Err(error.into()),
        }
    }

    /// A message as far as it came.
    ///
    /// # Errors
    /// A failing database.
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageRecord>, EngineError> {
        Ok(self.db.call(move |db| db.message(id)).await?)
    }

    /// The key address that is to send for the miner: of `senders`, one that is its owner,
    /// worker or control address, whose key somebody has who signs, and that has
    /// most funds; with none given, its worker.
    ///
    /// # Errors
    /// [`EngineError::NoSender`], or a node that does not answer.
    pub async fn choose_sender(
        &self,
        miner: ActorId,
        senders: &[Address],
        key: &TipSetKey,
    ) -> Result<Address, EngineError> {
        sender::choose(&*self.chain, &self.backend, miner, senders, key).await
    }

    /// The key address of an account, and who has the key.
    ///
    /// # Errors
    /// A node that does not answer, or knows no such account.
    pub async fn holder(
        &self,
        account: Address,
        key: &TipSetKey,
    ) -> Result<(Address, Holder), ChainError> {
        sender::holder(&*self.chain, &self.backend, account, key).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
