//! Who signs for a worker: the manager's own key store where it has the key, or the node's wallet.

use super::parts::Parts;
use crate::{chain::ChainError, wallet::Signer};
use fvm_shared::{
    address::Address,
    crypto::signature::{Signature, SignatureType},
};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    #[error(
        "{0}; the node's wallet, or the manager's key store, must have the key of the miner's worker"
    )]
    Node(#[from] ChainError),
    #[error("the key store is locked: {0}")]
    Locked(String),
    #[error("the key store did not sign for {0}")]
    Store(Address),
    #[error("the worker {0} has no BLS key, and blocks are made with such keys only")]
    NotBls(Address),
}

impl Parts {
    /// Signs bytes with the worker's key. The same bytes have the same signature.
    pub(super) async fn sign(&self, worker: Address, bytes: &[u8]) -> Result<Signature, SignError> {
        let signature = match self.keys.signer(&worker) {
            Signer::Store => {
                let signed = self.keys.sign_bytes(&worker, bytes);
                signed.ok_or(SignError::Store(worker))?
            }
            Signer::Locked(why) => return Err(SignError::Locked(why)),
            Signer::Node => self.node.sign(worker, bytes).await?,
        };
        if signature.sig_type != SignatureType::BLS {
            return Err(SignError::NotBls(worker));
        }
        Ok(signature)
    }
}
