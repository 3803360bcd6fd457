//! Miners and keys of a private network: many miners are made at once, for where in the day their
//! windows lie is drawn by lot, and those are taken whose first window comes in time.

use super::chain::Chain;
use crate::wait;
use anyhow::{Context, Result, ensure};
use damocles_devnet::power::{CREATE_MINER, CreateMinerParams};
use damocles_node::{DeadlineInfo, Message, W, method, wire};
use damocles_types::{ActorId, Epoch};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{
    address::{Address, Payload},
    econ::TokenAmount,
    sector::RegisteredPoStProof,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The actor that makes miners.
const POWER: u64 = 4;
/// So many draws that the next window of one of them is an hour away at most.
const DRAWN: usize = 48;
const SOON: Duration = Duration::from_secs(300);

/// A new key with so many FIL, from the network's rich key.
pub(super) async fn funded_key(chain: &Chain, kind: &str, fil: i64) -> Result<String> {
    let key = chain.new_key(kind).await?;
    send(
        chain,
        &rich(chain).await?,
        &key,
        TokenAmount::from_whole(fil),
    )
    .await?;
    let what = format!("{fil} FIL to reach {key}");
    wait::until(what, SOON, async || {
        let there = chain.balance(&key).await?;
        // the pool hears of it later than the chain, and sends nothing before
        let params = [json!(key)];
        chain
            .rpc
            .call::<u64>(method::MPOOL_GET_NONCE, params)
            .await?;
        Ok((there >= TokenAmount::from_whole(fil)).then_some(()))
    })
    .await?;
    Ok(key)
}

/// The key that the genesis gave its funds.
pub(super) async fn rich(chain: &Chain) -> Result<String> {
    chain.rpc.call(method::WALLET_DEFAULT_ADDRESS, []).await
}

pub(super) async fn send(chain: &Chain, from: &str, to: &str, value: TokenAmount) -> Result<()> {
    let message = Message::send(wire::parse_address(from)?, wire::parse_address(to)?, value);
    chain.send(&message).await.map(drop)
}

/// Sends everything but `rest`, and waits until it is there.
pub(super) async fn send_all_but(
    chain: &Chain,
    rest: &TokenAmount,
    from: &str,
    to: &str,
) -> Result<()> {
    let before = chain.balance(to).await?;
    let value = chain.balance(from).await? - rest;
    send(chain, from, to, value.clone()).await?;
    let after = before + value;
    wait::until(format!("funds to reach {to}"), SOON, async || {
        Ok((chain.balance(to).await? >= after).then_some(()))
    })
    .await
}

/// A miner, and the first opening of its first deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) miner: ActorId,
    pub(super) opens: Epoch,
}

/// New miners of one owner and worker: two whose first deadline opens `lead` epochs from now or
/// later, but no later than it must, and one that is for nothing.
pub(super) async fn miners_in_time(
    chain: &Chain,
    worker: &str,
    lead: Epoch,
) -> Result<([Drawn; 2], ActorId)> {
    let before = miners(chain).await?;
    make_many(chain, worker).await?;
    let mut drawn = Vec::new();
    let what = format!("{DRAWN} miners to be made");
    let made = wait::until(what, SOON, async || {
        let made: BTreeSet<ActorId> = &miners(chain).await? - &before;
        Ok((made.len() >= DRAWN).then_some(made))
    })
    .await?;
    for miner in made {
        let deadline = chain.node.deadline(miner).await?;
        let opens = first_opening(&deadline);
        drawn.push(Drawn { miner, opens });
    }
    let now = chain.height().await?;
    let two = take_two(&drawn, now + lead).context("no miner's first deadline comes in time")?;
    let rest = drawn.iter().find(|drawn| !two.contains(drawn));
    Ok((two, rest.context("more miners than two")?.miner))
}

async fn miners(chain: &Chain) -> Result<BTreeSet<ActorId>> {
    let all: Vec<W<Address>> = chain
        .rpc
        .call(method::STATE_LIST_MINERS, [Value::Null])
        .await?;
    let id = |address: &W<Address>| match address.0.payload() {
        Payload::ID(id) => Some(*id),
        _ => None,
    };
    Ok(all.iter().filter_map(id).collect())
}

/// In one block, if it is large enough.
async fn make_many(chain: &Chain, worker: &str) -> Result<()> {
    let deposit: W<TokenAmount> = chain
        .rpc
        .call(method::STATE_MINER_CREATION_DEPOSIT, [json!([])])
        .await?;
    let worker = wire::parse_address(worker)?;
    let params = RawBytes::serialize(CreateMinerParams {
        owner: worker,
        worker,
        window_post_proof_type: RegisteredPoStProof::StackedDRGWindow2KiBV1P1,
        peer: Vec::new(),
        multiaddrs: Vec::new(),
    })?;
    // the deposit moves with the network's power while they wait
    let value = deposit.0 * 2;
    let to = Address::new_id(POWER);
    let message = Message::new(worker, to, value, CREATE_MINER, params);
    for _ in 0..DRAWN {
        let signed = chain.send(&message).await?;
        ensure!(signed.message.from == worker, "{signed:?}");
    }
    Ok(())
}

/// The next opening of a miner's deadline 0.
fn first_opening(now: &DeadlineInfo) -> Epoch {
    if now.period_start > now.current_epoch {
        now.period_start
    } else {
        now.period_start + now.wpost_proving_period
    }
}

/// The two that open first of those that do not open before `soonest`.
fn take_two(drawn: &[Drawn], soonest: Epoch) -> Option<[Drawn; 2]> {
    let mut fit: Vec<Drawn> = drawn
        .iter()
        .copied()
        .filter(|d| d.opens >= soonest)
        .collect();
    fit.sort_by_key(|drawn| (drawn.opens, drawn.miner));
    match fit[..] {
        [first, second, ..] => Some([first, second]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_are_taken_whose_window_comes_soonest_but_in_time() {
        let drawn = [(1, 50), (2, 300), (3, 120), (4, 100), (5, 99)];
        let drawn = drawn.map(|(miner, opens)| Drawn { miner, opens });
        let taken = take_two(&drawn, 100).unwrap();
        assert_eq!(taken.map(|drawn| drawn.miner), [4, 3]);
        assert_eq!(take_two(&drawn, 200), None);
    }
}
