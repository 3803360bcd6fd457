//! The key store as the running manager has it: opened at the start, or locked and tried again.
//! It says who signs for a sender. While it is locked it still says which senders are its own,
//! so that nobody else signs for them meanwhile and gives out their nonces.

use super::{
    password::{PasswordError, password},
    store::{self, Wallet, WalletError},
};
use crate::policy::WalletPolicy;
use damocles_daemon::metrics::Condition;
use damocles_node::{Message, SignedMessage};
use fvm_shared::{address::Address, crypto::signature::Signature};
use parking_lot::RwLock;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// The key store's file in the home, unless the configuration names another one.
pub const FILE: &str = "wallet.keys";
/// Between two attempts to open it.
const AGAIN: Duration = Duration::from_secs(5);

/// Who signs for a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The key store, which is open.
    Store,
    /// The key store, which is locked; or, where it cannot even be read, perhaps it.
    Locked(String),
    /// The node's wallet, if anybody.
    Node,
}

/// Why the key store is locked.
#[derive(Debug, thiserror::Error)]
enum Locked {
    #[error(transparent)]
    Store(#[from] WalletError),
    #[error("the key store {} cannot be opened: {why}", .path.display())]
    Password {
        path: PathBuf,
        #[source]
        why: PasswordError,
    },
}

#[derive(Debug)]
enum State {
    Open(Wallet),
    Locked {
        why: String,
        /// For whom it would sign; None: not even that can be read.
        addresses: Option<Vec<Address>>,
    },
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    policy: WalletPolicy,
    state: RwLock<State>,
}

/// A handle of the key store; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Keys(Option<Arc<Inner>>);

/// Where the key store of a home is.
pub fn place(policy: &WalletPolicy, home: &Path) -> PathBuf {
    policy.path.clone().unwrap_or_else(|| home.join(FILE))
}

fn open(path: &Path, policy: &WalletPolicy) -> Result<Wallet, Locked> {
    let password = password(policy).map_err(|why| Locked::Password {
        path: path.to_owned(),
        why,
    })?;
    Ok(Wallet::open(path, &password)?)
}

fn state(path: &Path, policy: &WalletPolicy) -> State {
    match open(path, policy) {
        Ok(wallet) => State::Open(wallet),
        Err(why) => State::Locked {
            why: why.to_string(),
            addresses: store::addresses(path).ok(),
        },
    }
}

impl Keys {
    /// No key store: the node's wallet signs for everybody.
    pub fn none() -> Self {
        Self::default()
    }

    /// The key store that the configuration names, or that lies in the home; without one the
    /// node's wallet signs for everybody. Reads files and opens it: some tenths of a second.
    pub fn load(policy: &WalletPolicy, home: &Path) -> Self {
        let path = place(policy, home);
        // a file that a person named has to be there; one in the home is there or not
        if policy.path.is_none() && !path.exists() {
            return Self::none();
        }
        let state = RwLock::new(state(&path, policy));
        Self(Some(Arc::new(Inner {
            path,
            policy: policy.clone(),
            state,
        })))
    }

    /// Whether there is a key store at all, open or locked.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tries once more to open a key store that is locked; whether it is open now.
    pub fn unlock(&self) -> bool {
        let Some(inner) = &self.0 else { return true };
        if matches!(*inner.state.read(), State::Open(_)) {
            return true;
        }
        let now = state(&inner.path, &inner.policy);
        let open = matches!(now, State::Open(_));
        *inner.state.write() = now;
        open
    }

    /// Why the key store is locked, in one sentence; None: it is open, or there is none.
    pub fn trouble(&self) -> Option<String> {
        match &*self.0.as_ref()?.state.read() {
            State::Open(_) => None,
            State::Locked { why, .. } => Some(why.clone()),
        }
    }

    /// The addresses for which the key store signs, in the order in which they came; none where
    /// there is no store, or one that is locked.
    pub fn addresses(&self) -> Vec<Address> {
        match self.0.as_ref().map(|inner| inner.state.read()) {
            Some(state) => match &*state {
                State::Open(wallet) => wallet.entries().iter().map(|e| e.key.address()).collect(),
                State::Locked { .. } => Vec::new(),
            },
            None => Vec::new(),
        }
    }

    /// Who signs for a key address.
    pub fn signer(&self, address: &Address) -> Signer {
        let Some(inner) = &self.0 else {
            return Signer::Node;
        };
        match &*inner.state.read() {
            State::Open(wallet) if wallet.entry(address).is_some() => Signer::Store,
            State::Open(_) => Signer::Node,
            State::Locked { why, addresses } => match addresses {
                Some(addresses) if !addresses.contains(address) => Signer::Node,
                _ => Signer::Locked(why.clone()),
            },
        }
    }

    /// Signs a message as it stands, its nonce included, with the key of its sender. None: this
    /// is not who signs for it, now.
    pub fn sign(&self, message: &Message) -> Option<SignedMessage> {
        let inner = self.0.as_ref()?;
        let state = inner.state.read();
        let State::Open(wallet) = &*state else {
            return None;
        };
        let entry = wallet.entry(&message.from)?;
        let signature = entry.key.sign(&message.cid().to_bytes()).ok()?;
        Some(SignedMessage {
            message: message.clone(),
            signature,
        })
    }

    /// Signs bytes with the key of that key address. None: this is not who signs for it, now.
    pub fn sign_bytes(&self, address: &Address, bytes: &[u8]) -> Option<Signature> {
        let inner = self.0.as_ref()?;
        match &*inner.state.read() {
            State::Open(wallet) => wallet.entry(address)?.key.sign(bytes).ok(),
            State::Locked { .. } => None,
        }
    }

    /// Tries until `stop` to open a key store that is locked, and says what it waits for;
    /// `opened` is called once it is open.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn watch(
        self,
        condition: Condition,
        opened: impl Fn() + Send,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut said = None;
        while let Some(why) = self.trouble() {
            condition.wait_for(&why);
            if said.as_ref() != Some(&why) {
                tracing::error!(
                    error = why,
                    hint = "correct [Common.Wallet], its password file, or the file; it is tried again by itself",
                    "the key store is locked: messages of its senders wait"
                );
                said = Some(why);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(AGAIN) => {}
            }
            let keys = self.clone();
            // it computes and reads files
            if tokio::task::spawn_blocking(move || keys.unlock()).await? {
                tracing::info!(keys = self.addresses().len(), "the key store is open");
                condition.ready();
                opened();
            }
        }
        stop.cancelled().await;
        Ok(())
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
pub(crate) mod tests;
