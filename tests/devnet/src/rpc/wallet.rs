//! `Wallet*`: the keys of the node.

use damocles_node::{KeyInfo, KeyType, Message, SignedMessage, W};
use fvm_shared::address::Address;
use fvm_shared::crypto::signature::Signature;
use fvm_shared::econ::TokenAmount;

use super::call::{Answer, Params, answer};
use super::node::Node;
use crate::block::TipsetKey;
use crate::view::StateError;

/// The key address behind any address of an account.
fn key_address(node: &Node, address: &Address) -> Result<Address, StateError> {
    match node
        .network
        .state(&TipsetKey::default())?
        .account_key(address)
    {
        // A key that the chain has not seen yet speaks for itself.
        Err(StateError::ActorNotFound(_)) if address.id().is_err() => Ok(*address),
        other => other,
    }
}

pub(super) fn create(node: &Node, params: Params) -> Answer {
    let kind: KeyType = params.get(0)?;
    answer(W(node.wallet.lock().create(kind)?))
}

pub(super) fn has(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    // Lotus' wallet knows key addresses only; an id address is never "had".
    answer(node.wallet.lock().has(&address))
}

pub(super) fn list(node: &Node, _: Params) -> Answer {
    answer(W(node.wallet.lock().list()))
}

pub(super) fn balance(node: &Node, params: Params) -> Answer {
    let W(address): W<Address> = params.get(0)?;
    let view = node.network.state(&TipsetKey::default())?;
    answer(W(match view.actor(&address) {
        Ok(actor) => actor.balance,
        Err(StateError::ActorNotFound(_)) => TokenAmount::default(),
        Err(error) => return Err(error.into()),
    }))
}

pub(super) fn sign(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    let W(bytes): W<Vec<u8>> = params.get(1)?;
    let key = key_address(node, &address)?;
    answer(W(node.wallet.lock().sign(&key, &bytes)?))
}

pub(super) fn sign_message(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    let message: Message = params.get(1)?;
    let key = key_address(node, &address)?;
    let signature = node.wallet.lock().sign(&key, &message.cid().to_bytes())?;
    answer(SignedMessage { message, signature })
}

pub(super) fn verify(_: &Node, params: Params) -> Answer {
    let W(address): W<Address> = params.get(0)?;
    let W(bytes): W<Vec<u8>> = params.get(1)?;
    let W(signature): W<Signature> = params.get(2)?;
    answer(signature.verify(&bytes, &address).is_ok())
}

pub(super) fn default_address(node: &Node, _: Params) -> Answer {
    answer(W(node.wallet.lock().default_address()?))
}

pub(super) fn set_default(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    node.wallet.lock().set_default(&address)?;
    answer(())
}

pub(super) fn export(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    answer(node.wallet.lock().export(&address)?)
}

pub(super) fn import(node: &Node, params: Params) -> Answer {
    let key: KeyInfo = params.get(0)?;
    answer(W(node.wallet.lock().import(key)?))
}

pub(super) fn delete(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    node.wallet.lock().delete(&address)?;
    answer(())
}
