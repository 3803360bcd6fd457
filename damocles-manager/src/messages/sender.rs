//! Who sends a message: of the operator's candidates, one that may act for the miner, whose key
//! somebody has and which has most funds, looked at anew for every message.

use crate::{
    chain::{Chain, ChainError},
    messages::{EngineError, push::Backend},
    venus::VenusError,
    wallet::Signer,
};
use damocles_node::TipSetKey;
use damocles_types::ActorId;
use fvm_shared::{address::Address, econ::TokenAmount};

/// The richest candidate; the first among equals. Pure.
fn richest(candidates: &[(Address, TokenAmount)]) -> Option<Address> {
    let mut best: Option<&(Address, TokenAmount)> = None;
    for candidate in candidates {
        if best.is_none_or(|b| candidate.1 > b.1) {
            best = Some(candidate);
        }
    }
    best.map(|b| b.0)
}

/// The key address that is to send for the miner; with no candidates, its worker's. Of several,
/// only those are looked at whose keys somebody has.
pub(super) async fn choose(
    chain: &dyn Chain,
    backend: &Backend,
    miner: ActorId,
    senders: &[Address],
    key: &TipSetKey,
) -> Result<Address, EngineError> {
    let info = chain.miner_info(miner, key).await?;
    let mut allowed = vec![info.owner, info.worker];
    allowed.extend(&info.control_addresses);
    if senders.is_empty() {
        return Ok(chain.account_key(info.worker, key).await?);
    }
    let mut candidates = Vec::with_capacity(senders.len());
    let mut unfit = Vec::new();
    for sender in senders {
        match candidate(chain, backend, *sender, &allowed, key).await? {
            Ok(found) => candidates.push(found),
            Err(why) => unfit.push(format!("{sender}: {why}")),
        }
    }
    let Some(chosen) = richest(&candidates) else {
        return Err(EngineError::NoSender { miner, unfit });
    };
    Ok(chosen)
}

/// Who has the key of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Our key store, be it open or not.
    Store,
    /// The node's wallet.
    Node,
    /// A wallet behind venus-messager.
    Messager,
    /// Whoever signs does not say; it may have it.
    Perhaps,
    Nobody,
}

/// What the messager's answer about a key says. Pure.
fn behind_messager(answer: &Result<bool, VenusError>) -> Holder {
    match answer {
        Ok(true) => Holder::Messager,
        // False is for administrators' tokens: to everybody else the messager refuses the question
        // where the account is not bound to theirs, and every message of it later on.
        Ok(false) | Err(VenusError::Refused { .. }) => Holder::Nobody,
        // what it is given waits there or here
        Err(_) => Holder::Perhaps,
    }
}

/// The key address of an account, and who has the key.
pub(super) async fn holder(
    chain: &dyn Chain,
    backend: &Backend,
    account: Address,
    key: &TipSetKey,
) -> Result<(Address, Holder), ChainError> {
    let address = chain.account_key(account, key).await?;
    if let Some(messager) = backend.messager() {
        return Ok((
            address,
            behind_messager(&messager.wallet_has(address).await),
        ));
    }
    let holder = match backend.keys().signer(&address) {
        Signer::Store | Signer::Locked(_) => Holder::Store,
        Signer::Node => match chain.wallet_has(address).await {
            Ok(true) => Holder::Node,
            Ok(false) => Holder::Nobody,
            Err(ChainError::Refused { .. } | ChainError::Denied { .. }) => Holder::Perhaps,
            Err(error) => return Err(error),
        },
    };
    Ok((address, holder))
}

/// A candidate's key address with its funds, or why it cannot send.
async fn candidate(
    chain: &dyn Chain,
    backend: &Backend,
    sender: Address,
    allowed: &[Address],
    key: &TipSetKey,
) -> Result<Result<(Address, TokenAmount), String>, ChainError> {
    let (id, funds) = match balance(chain, sender, key).await {
        Ok(found) => found,
        Err(ChainError::Refused { message, .. }) => return Ok(Err(message)),
        Err(error) => return Err(error),
    };
    if !allowed.contains(&id) {
        let why = "it is no owner, worker or control address of the miner";
        return Ok(Err(why.to_owned()));
    }
    let nobody = || match backend.messager() {
        Some(_) => "no wallet behind venus-messager has its key for us",
        None => "neither the key store nor the node's wallet has its key",
    };
    Ok(match holder(chain, backend, id, key).await? {
        (_, Holder::Nobody) => Err(nobody().to_owned()),
        (address, _) => Ok((address, funds)),
    })
}

async fn balance(
    chain: &dyn Chain,
    sender: Address,
    key: &TipSetKey,
) -> Result<(Address, TokenAmount), ChainError> {
    let id = chain.lookup_id(sender, key).await?;
    Ok((id, chain.actor(id, key).await?.balance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chain::script::ScriptChain, venus::Service};

    fn id(n: u64) -> Address {
        Address::new_id(n)
    }

    #[test]
    fn the_richest_one_is_taken() {
        let fil = TokenAmount::from_whole;
        let cases = [
            (vec![(1, 5), (2, 6)], Some(2)),
            (vec![(1, 6), (2, 6)], Some(1)),
            (vec![(1, 0)], Some(1)),
            (vec![], None),
        ];
        for (candidates, want) in cases {
            let candidates: Vec<_> = candidates.iter().map(|(n, f)| (id(*n), fil(*f))).collect();
            assert_eq!(richest(&candidates), want.map(id));
        }
    }

    #[test]
    fn only_a_messager_that_says_so_has_no_key() {
        let (service, method) = (Service::Messager, "Message.WalletHas".to_owned());
        let text = "signer t0100 not exist in user u: permission deny".to_owned();
        let refused = VenusError::Refused {
            service,
            method: method.clone(),
            message: text.clone(),
        };
        let away = VenusError::Away {
            service,
            method: method.clone(),
            reason: text.clone(),
        };
        let denied = VenusError::Denied {
            service,
            method,
            reason: text,
        };
        for (answer, want) in [
            (Ok(true), Holder::Messager),
            (Ok(false), Holder::Nobody),
            (Err(refused), Holder::Nobody),
            (Err(away), Holder::Perhaps),
            (Err(denied), Holder::Perhaps),
        ] {
            assert_eq!(behind_messager(&answer), want, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn candidates_are_judged_by_the_chain_and_by_who_has_their_keys() {
        let chain = ScriptChain::at(10);
        chain.add_miner(1000);
        let choose = async |senders: &[Address]| {
            super::choose(&chain, &Backend::default(), 1000, senders, &TipSetKey::HEAD).await
        };
        assert_eq!(choose(&[]).await.unwrap(), id(100), "the worker");
        // 100 has more than 101; 102 is not of the miner, 103 does not exist
        assert_eq!(choose(&[id(101), id(100)]).await.unwrap(), id(100));
        assert_eq!(choose(&[id(103), id(101)]).await.unwrap(), id(101));
        // the richer one's key is in another node
        chain.edit().no_keys = [id(100)].into();
        assert_eq!(choose(&[id(101), id(100)]).await.unwrap(), id(101));
        let stranger = TokenAmount::from_whole(9);
        chain.edit().balances.insert(id(102), stranger);
        let none = choose(&[id(103), id(100), id(102)]).await.unwrap_err();
        for why in [
            "0103: actor not found",
            "0100: neither",
            "0102: it is no owner",
        ] {
            assert!(none.to_string().contains(why), "{none}");
        }
        chain.edit().down_for = Some("WalletHas");
        let waits = choose(&[id(101)]).await.unwrap_err();
        assert!(waits.is_wait(), "{waits}");
        chain.set_down(true);
        let down = choose(&[id(100)]).await.unwrap_err();
        assert!(matches!(down, EngineError::Chain(e) if e.is_unreachable()));
    }
}
