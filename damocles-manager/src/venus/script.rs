//! A messager that tests write themselves: it keeps what it is given, fills it when it is told to,
//! and gets into the trouble that is ordered. Its answers have the shapes of the real one, and it
//! does what that does: an id that it has is refused, a message is marked bad whatever its state.

use super::{Messager, Replacement, Service, Spec, State, Told, VenusError};
use crate::chain::{Chain, script::ScriptChain};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{Message, SignedMessage};
use fvm_shared::{
    address::Address,
    crypto::signature::{Signature, SignatureType},
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use uuid::Uuid;

/// Everything that it knows; tests change it directly.
#[derive(Debug, Default)]
pub struct Script {
    /// Nobody answers.
    pub down: bool,
    /// The next push is taken, but its answer is lost.
    pub lose_answer: bool,
    /// Our token may not push.
    pub denies: bool,
    /// What the next pushes are refused with, in order.
    pub refusals: Vec<String>,
    /// Accounts that are not bound to the account of our token.
    pub no_keys: HashSet<Address>,
    pub messages: BTreeMap<Uuid, Told>,
    /// How each was to be paid for.
    pub specs: BTreeMap<Uuid, Spec>,
    /// Every push that was asked for, refused ones too.
    pub pushes: Vec<Uuid>,
    pub marked: Vec<Uuid>,
    pub replaced: Vec<Replacement>,
    /// Its clock.
    ticks: u64,
}

/// The messager of a test.
#[derive(Debug)]
pub struct ScriptMessager {
    script: Mutex<Script>,
    /// The node behind it.
    chain: Arc<ScriptChain>,
}

fn refused(method: &str, message: impl Into<String>) -> VenusError {
    VenusError::Refused {
        service: Service::Messager,
        method: method.to_owned(),
        message: message.into(),
    }
}

fn away(method: &str) -> VenusError {
    VenusError::Away {
        service: Service::Messager,
        method: method.to_owned(),
        reason: "connection refused".into(),
    }
}

/// As its wallet does; the scripted chain does not look.
fn signature() -> Signature {
    Signature {
        sig_type: SignatureType::BLS,
        bytes: vec![2; 96],
    }
}

impl ScriptMessager {
    /// One that sends through that chain's node.
    pub fn on(chain: Arc<ScriptChain>) -> Self {
        Self {
            script: Mutex::default(),
            chain,
        }
    }

    /// What it knows, to look at or to change.
    pub fn edit(&self) -> MutexGuard<'_, Script> {
        self.script.lock()
    }

    fn up(&self, method: &str) -> Result<MutexGuard<'_, Script>, VenusError> {
        let script = self.edit();
        match script.down {
            true => Err(away(method)),
            false => Ok(script),
        }
    }

    /// It has lost its database.
    pub fn forget(&self) {
        self.edit().messages.clear();
    }

    /// What it has under that id.
    pub fn told(&self, id: Uuid) -> Told {
        self.edit().messages[&id].clone()
    }

    /// Gives every message without a nonce one, signs it, and sends it.
    pub async fn fill(&self) {
        let ids: Vec<Uuid> = {
            let script = self.edit();
            let unfilled = |told: &&Told| told.state == State::Unfilled;
            let ids = script.messages.iter().filter(|(_, told)| unfilled(told));
            ids.map(|(id, _)| *id).collect()
        };
        for id in ids {
            let mut told = self.told(id);
            told.message.nonce = self.chain.next_nonce(told.message.from).await.unwrap();
            told.message.gas_limit = 1_200_000;
            told.message.gas_premium = self.chain.edit().premium.clone();
            self.send(id, told).await;
        }
    }

    async fn send(&self, id: Uuid, mut told: Told) {
        let signed = SignedMessage {
            message: told.message.clone(),
            signature: signature(),
        };
        told.signed_cid = Some(signed.cid());
        told.signature = Some(signed.signature.clone());
        told.state = State::Filled;
        told.error_msg.clear();
        // what the pool does not take is sent again later
        let _ = self.chain.push_signed(&signed).await;
        self.edit().messages.insert(id, told);
    }

    /// Sets where a message stands, and what is said beside it.
    pub fn set(&self, id: Uuid, state: State, error: &str) {
        let mut script = self.edit();
        script.ticks += 1;
        let now = script.ticks.to_string();
        let told = script.messages.get_mut(&id).expect("it has the message");
        told.state = state;
        told.error_msg = error.to_owned();
        told.updated_at = now;
    }
}

#[async_trait]
impl Messager for ScriptMessager {
    async fn version(&self) -> Result<String, VenusError> {
        drop(self.up("Message.Version")?);
        Ok("1.19.0".to_owned())
    }

    async fn wallet_has(&self, address: Address) -> Result<bool, VenusError> {
        let method = "Message.WalletHas";
        let script = self.up(method)?;
        match script.no_keys.contains(&address) {
            true => {
                let why = format!("signer {address} not exist in user damocles: permission deny");
                Err(refused(method, why))
            }
            false => Ok(true),
        }
    }

    async fn has(&self, id: Uuid) -> Result<bool, VenusError> {
        let script = self.up("Message.HasMessageByUid")?;
        Ok(script.messages.contains_key(&id))
    }

    async fn push(&self, id: Uuid, message: &Message, spec: &Spec) -> Result<(), VenusError> {
        let method = "Message.PushMessageWithId";
        let mut script = self.up(method)?;
        if script.denies {
            return Err(VenusError::Denied {
                service: Service::Messager,
                method: method.to_owned(),
                reason: "missing permission to invoke 'PushMessageWithId'".into(),
            });
        }
        script.pushes.push(id);
        if !script.refusals.is_empty() {
            let why = script.refusals.remove(0);
            return Err(refused(method, why));
        }
        if script.messages.contains_key(&id) {
            let why = "UNIQUE constraint failed: messages.id";
            return Err(refused(method, why));
        }
        let mut message = message.clone();
        message.nonce = 0;
        if let Ok(key) = self.chain.edit().key_of(message.from) {
            message.from = key;
        }
        let told = Told {
            id: id.to_string(),
            signed_cid: None,
            message,
            signature: None,
            state: State::Unfilled,
            error_msg: String::new(),
            updated_at: String::new(),
        };
        script.messages.insert(id, told);
        script.specs.insert(id, spec.clone());
        match std::mem::take(&mut script.lose_answer) {
            true => Err(away(method)),
            false => Ok(()),
        }
    }

    async fn message(&self, id: Uuid) -> Result<Told, VenusError> {
        let method = "Message.GetMessageByUid";
        let script = self.up(method)?;
        let told = script.messages.get(&id).cloned();
        told.ok_or_else(|| refused(method, "record not found"))
    }

    async fn mark_bad(&self, id: Uuid) -> Result<(), VenusError> {
        let mut script = self.up("Message.MarkBadMessage")?;
        script.marked.push(id);
        if let Some(told) = script.messages.get_mut(&id) {
            told.state = State::Failed;
        }
        Ok(())
    }

    async fn replace(&self, how: &Replacement) -> Result<Cid, VenusError> {
        let method = "Message.ReplaceMessage";
        let id: Uuid = how.id.parse().map_err(|_| refused(method, "no id"))?;
        let mut told = {
            let mut script = self.up(method)?;
            script.replaced.push(how.clone());
            let told = script.messages.get(&id).cloned();
            told.ok_or_else(|| refused(method, "found message record not found"))?
        };
        if told.state == State::OnChain {
            return Err(refused(method, "message already on chain"));
        }
        // the network's least for a replacement, and a little
        told.message.gas_premium = &told.message.gas_premium * 2u64;
        self.send(id, told).await;
        let cid = self.told(id).signed_cid;
        cid.ok_or_else(|| refused(method, "not signed"))
    }
}
