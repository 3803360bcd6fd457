//! Who sends a message: of the operator's candidates, one that may act for the miner and has
//! most funds, looked at anew for every message.

use crate::{
    chain::{Chain, ChainError},
    messages::EngineError,
};
use damocles_node::TipSetKey;
use damocles_types::ActorId;
use fvm_shared::{address::Address, econ::TokenAmount};

/// The richest candidate that is allowed; the first among equals. Pure.
fn richest(allowed: &[Address], candidates: &[(Address, TokenAmount)]) -> Option<Address> {
    let mut best: Option<&(Address, TokenAmount)> = None;
    for candidate in candidates.iter().filter(|c| allowed.contains(&c.0)) {
        if best.is_none_or(|b| candidate.1 > b.1) {
            best = Some(candidate);
        }
    }
    best.map(|b| b.0)
}

/// The key address that is to send for the miner; with no candidates, its worker's.
pub(super) async fn choose(
    chain: &dyn Chain,
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
    let mut unknown = Vec::new();
    for sender in senders {
        match balance(chain, *sender, key).await {
            Ok(found) => candidates.push(found),
            Err(ChainError::Refused { message, .. }) => {
                unknown.push(format!("{sender}: {message}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let Some(chosen) = richest(&allowed, &candidates) else {
        return Err(EngineError::NoSender {
            miner,
            senders: senders.iter().map(ToString::to_string).collect(),
            unknown,
        });
    };
    Ok(chain.account_key(chosen, key).await?)
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
    use crate::chain::script::ScriptChain;

    fn id(n: u64) -> Address {
        Address::new_id(n)
    }

    #[test]
    fn the_richest_allowed_one_is_taken() {
        let fil = TokenAmount::from_whole;
        let allowed = [id(1), id(2)];
        let cases = [
            (vec![(1, 5), (2, 6)], Some(2)),
            (vec![(1, 6), (2, 6)], Some(1)),
            (vec![(3, 9), (1, 0)], Some(1)),
            (vec![(3, 9)], None),
            (vec![], None),
        ];
        for (candidates, want) in cases {
            let candidates: Vec<_> = candidates.iter().map(|(n, f)| (id(*n), fil(*f))).collect();
            assert_eq!(richest(&allowed, &candidates), want.map(id));
        }
    }

    #[tokio::test]
    async fn candidates_are_judged_by_the_chain() {
        let chain = ScriptChain::at(10);
        chain.add_miner(1000);
        let choose = async |senders: &[Address]| {
            super::choose(&chain, 1000, senders, &TipSetKey::HEAD).await
        };
        assert_eq!(choose(&[]).await.unwrap(), id(100), "the worker");
        // 100 has more than 101; 102 is not of the miner, 103 does not exist
        assert_eq!(choose(&[id(101), id(100)]).await.unwrap(), id(100));
        assert_eq!(choose(&[id(103), id(101)]).await.unwrap(), id(101));
        let none = choose(&[id(103)]).await.unwrap_err();
        assert!(none.to_string().contains("0103: actor not found"), "{none}");
        chain.set_down(true);
        let down = choose(&[id(100)]).await.unwrap_err();
        assert!(matches!(down, EngineError::Chain(e) if e.is_unreachable()));
    }
}
