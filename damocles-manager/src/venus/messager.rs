//! venus-messager (sophon-messager) as this manager speaks to it: its methods and shapes
//! (`venus-shared/api/messager`, `venus-shared/types/messager`).

use super::{Caller, Service, VenusError, Version};
use crate::{
    chain::{EndpointError, Params},
    policy::NodeEndpoint,
};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{Message, SignedMessage, W, wire};
use damocles_types::Epoch;
use fvm_shared::{address::Address, crypto::signature::Signature, econ::TokenAmount};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Where a message stands at the messager, by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no nonce yet; why it was not given one may stand beside it.
    Unfilled,
    /// It has a nonce, is signed, and was sent.
    Filled,
    OnChain,
    /// Given up, by the messager or by a person there.
    Failed,
    /// Another message is on chain under its nonce.
    NonceConflict,
    /// No state that this version knows.
    Other(i64),
}

impl From<i64> for State {
    fn from(number: i64) -> Self {
        match number {
            1 => Self::Unfilled,
            2 => Self::Filled,
            3 => Self::OnChain,
            4 => Self::Failed,
            5 => Self::NonceConflict,
            other => Self::Other(other),
        }
    }
}

impl From<State> for i64 {
    fn from(state: State) -> Self {
        match state {
            State::Unfilled => 1,
            State::Filled => 2,
            State::OnChain => 3,
            State::Failed => 4,
            State::NonceConflict => 5,
            State::Other(number) => number,
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        i64::from(*self).serialize(s)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        i64::deserialize(d).map(Self::from)
    }
}

/// What the messager tells of a message (`Message.GetMessageByUid`), as far as it counts here: what
/// became of it on chain is asked of the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Told {
    #[serde(rename = "ID")]
    pub id: String,
    /// None: it is not signed.
    #[serde(with = "wire", default)]
    pub signed_cid: Option<Cid>,
    #[serde(flatten)]
    pub message: Message,
    #[serde(with = "wire", default)]
    pub signature: Option<Signature>,
    pub state: State,
    /// Why it was not signed when that was tried last; empty: nothing went wrong.
    #[serde(default)]
    pub error_msg: String,
    /// When anything of this was written last, in the messager's own words.
    #[serde(default)]
    pub updated_at: String,
}

impl Told {
    /// The signed message, if all of it was told and agrees with its name.
    pub fn signed(&self) -> Option<SignedMessage> {
        let signed = SignedMessage {
            message: self.message.clone(),
            signature: self.signature.clone()?,
        };
        (Some(signed.cid()) == self.signed_cid).then_some(signed)
    }
}

/// How the messager may spend on a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Older messagers give up an unsigned message at this epoch; 0: never.
    pub expire_epoch: Epoch,
    pub gas_over_estimation: f64,
    /// attoFIL in all; 0: as the messager is configured.
    #[serde(with = "wire")]
    pub max_fee: TokenAmount,
    pub gas_over_premium: f64,
}

/// How a signed message is made dearer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Replacement {
    #[serde(rename = "ID")]
    pub id: String,
    /// By the messager's own estimate; the next three are of no account then.
    pub auto: bool,
    #[serde(with = "wire")]
    pub max_fee: TokenAmount,
    pub gas_limit: i64,
    #[serde(with = "wire")]
    pub gas_premium: TokenAmount,
    #[serde(with = "wire")]
    pub gas_feecap: TokenAmount,
    pub gas_over_premium: f64,
}

impl Replacement {
    /// One that the messager estimates, up to so much in all (0: as it is configured).
    pub fn estimated(id: Uuid, max_fee: TokenAmount, gas_over_premium: f64) -> Self {
        Self {
            id: id.to_string(),
            auto: true,
            max_fee,
            gas_limit: 0,
            gas_premium: TokenAmount::default(),
            gas_feecap: TokenAmount::default(),
            gas_over_premium,
        }
    }
}

/// What the manager asks of a messager. Ids are ours.
#[async_trait]
pub trait Messager: Send + Sync + std::fmt::Debug + 'static {
    /// Its version, in its own words.
    async fn version(&self) -> Result<String, VenusError>;
    /// Whether a wallet behind it has the key, and signs for whoever our token names.
    async fn wallet_has(&self, address: Address) -> Result<bool, VenusError>;
    /// Whether it has a message of that id.
    async fn has(&self, id: Uuid) -> Result<bool, VenusError>;
    /// Gives it a message. It refuses an id that it has already.
    async fn push(&self, id: Uuid, message: &Message, spec: &Spec) -> Result<(), VenusError>;
    /// A message that it has. It refuses, in no certain words, what it has not.
    async fn message(&self, id: Uuid) -> Result<Told, VenusError>;
    /// Gives a message up that it has not signed. It does not look whether it has: what is signed
    /// stays in the pools.
    async fn mark_bad(&self, id: Uuid) -> Result<(), VenusError>;
    /// Signs a message anew under its nonce.
    async fn replace(&self, how: &Replacement) -> Result<Cid, VenusError>;
}

/// A messager that is called over HTTP.
#[derive(Debug)]
pub struct VenusMessager(Caller);

impl VenusMessager {
    /// Prepares a client; nothing is asked yet.
    ///
    /// # Errors
    /// [`EndpointError`] for an address or token that no client can be made of.
    pub fn new(endpoint: &NodeEndpoint) -> Result<Self, EndpointError> {
        Caller::new(Service::Messager, endpoint).map(Self)
    }
}

#[async_trait]
impl Messager for VenusMessager {
    async fn version(&self) -> Result<String, VenusError> {
        let told: Version = self.0.ask("Message.Version", Params::none()).await?;
        Ok(told.version)
    }

    async fn wallet_has(&self, address: Address) -> Result<bool, VenusError> {
        let params = Params::none().add(W(address));
        self.0.ask("Message.WalletHas", params).await
    }

    async fn has(&self, id: Uuid) -> Result<bool, VenusError> {
        let params = Params::none().add(id.to_string());
        self.0.ask("Message.HasMessageByUid", params).await
    }

    async fn push(&self, id: Uuid, message: &Message, spec: &Spec) -> Result<(), VenusError> {
        let name = "Message.PushMessageWithId";
        let params = Params::none().add(id.to_string()).add(message).add(spec);
        let taken: String = self.0.ask(name, params).await?;
        if taken == id.to_string() {
            return Ok(());
        }
        Err(VenusError::Malformed {
            service: Service::Messager,
            method: name.to_owned(),
            reason: format!("the message got the id {taken:?} in place of {id}"),
        })
    }

    async fn message(&self, id: Uuid) -> Result<Told, VenusError> {
        let params = Params::none().add(id.to_string());
        self.0.ask("Message.GetMessageByUid", params).await
    }

    async fn mark_bad(&self, id: Uuid) -> Result<(), VenusError> {
        let params = Params::none().add(id.to_string());
        // `null` or `{}`
        let _done: serde_json::Value = self.0.ask("Message.MarkBadMessage", params).await?;
        Ok(())
    }

    async fn replace(&self, how: &Replacement) -> Result<Cid, VenusError> {
        let params = Params::none().add(how);
        let cid: W<Cid> = self.0.ask("Message.ReplaceMessage", params).await?;
        Ok(cid.0)
    }
}

#[cfg(test)]
#[path = "messager_tests.rs"]
mod tests;
