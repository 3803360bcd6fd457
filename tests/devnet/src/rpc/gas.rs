//! `GasEstimate*`, with the rules of Lotus (`node/impl/gasutils`), less the noise that it adds
//! to premiums.

use damocles_node::{Message, SendSpec as WireSpec, TipSetKey, W};
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;

use super::call::{Answer, Params, answer};
use super::chain;
use super::node::Node;
use crate::outbox::SendSpec;

/// attoFIL per gas unit below which Lotus never goes.
const MIN_PREMIUM: i64 = 100_000;
/// Epochs that Lotus looks back at most.
const MAX_HISTORY: u64 = 30;
/// Gas units that a block is meant to hold: half of its limit.
const BLOCK_GAS_TARGET: i128 = 5_000_000_000;
/// An eighth is the most that the base fee moves in one epoch.
const MAX_CHANGE: f64 = 1.0 / 8.0;

pub(super) fn spec(spec: Option<&WireSpec>) -> SendSpec {
    spec.map_or_else(SendSpec::default, |s| SendSpec {
        max_fee: s.max_fee.clone(),
        maximize_fee_cap: s.maximize_fee_cap,
    })
}

pub(super) fn message_gas(node: &Node, params: Params) -> Answer {
    let message: Message = params.get(0)?;
    let wanted: Option<WireSpec> = params.get(1)?;
    chain::load(node, &params.get(2)?)?;
    let estimated = node
        .network
        .estimate_gas(message.into(), &spec(wanted.as_ref()))?;
    answer(Message::from(estimated))
}

pub(super) fn gas_limit(node: &Node, params: Params) -> Answer {
    let message: Message = params.get(0)?;
    let key: TipSetKey = params.get(1)?;
    let message = message.into();
    if key.is_head() {
        // after what the sender has in the pool
        return answer(node.network.estimate_gas_limit(&message)?);
    }
    let tipset = chain::load(node, &key)?;
    let (receipt, error) = node.network.call(&message, &tipset.key)?;
    if !receipt.exit_code.is_success() {
        return Err(node.network.would_fail(&message, &receipt, &error).into());
    }
    answer(receipt.gas_used)
}

/// The base fee after `blocks` epochs of full blocks.
fn fee_in_future(base_fee: &TokenAmount, blocks: i64) -> TokenAmount {
    let steps = i32::try_from(blocks.clamp(0, 1000)).unwrap_or(1000);
    // As in Go: the factor in 8 fractional bits; beyond 2^63 it saturates.
    let factor = ((1.0 + MAX_CHANGE).powi(steps) * 256.0) as u64;
    TokenAmount::from_atto(base_fee.atto() * BigInt::from(factor) / BigInt::from(256))
}

pub(super) fn fee_cap(node: &Node, params: Params) -> Answer {
    let message: Message = params.get(0)?;
    let blocks: i64 = params.get(1)?;
    let tipset = chain::load(node, &params.get(2)?)?;
    let fee = fee_in_future(tipset.base_fee(), blocks);
    answer(W(fee + message.gas_premium))
}

/// The premium that the messages of about half the blocks' gas paid, weighted by gas limit.
fn median_premium(mut prices: Vec<(TokenAmount, u64)>, blocks: usize) -> TokenAmount {
    prices.sort_by(|a, b| b.0.cmp(&a.0));
    let target = BLOCK_GAS_TARGET * blocks as i128;
    let mut left = target / 2 + target / 40;
    let mut last = TokenAmount::default();
    let mut before = TokenAmount::default();
    for (price, limit) in prices {
        before = std::mem::replace(&mut last, price);
        left -= i128::from(limit);
        if left < 0 {
            break;
        }
    }
    if before.is_zero() {
        return last;
    }
    TokenAmount::from_atto((last.atto() + before.atto()) / BigInt::from(2))
}

fn floor(premium: TokenAmount, blocks: u64) -> TokenAmount {
    if premium >= TokenAmount::from_atto(MIN_PREMIUM) {
        return premium;
    }
    TokenAmount::from_atto(match blocks {
        1 => 2 * MIN_PREMIUM,
        2 => 3 * MIN_PREMIUM / 2,
        _ => MIN_PREMIUM,
    })
}

pub(super) fn premium(node: &Node, params: Params) -> Answer {
    let within = params.get::<u64>(0)?.clamp(1, MAX_HISTORY);
    super::state::address(&params, 1)?;
    params.get::<i64>(2)?;
    let mut tipset = chain::load(node, &params.get(3)?)?;
    let mut prices = Vec::new();
    let mut blocks = 0;
    for _ in 0..within * 2 {
        if tipset.height == 0 {
            break;
        }
        let Some(parent) = node.network.tipset(&tipset.parents()) else {
            break;
        };
        blocks += parent.blocks.len();
        for (_, message) in node.network.tipset_messages(&parent) {
            prices.push((message.message.gas_premium, message.message.gas_limit));
        }
        tipset = parent;
    }
    answer(W(floor(median_premium(prices, blocks), within)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atto(n: i64) -> TokenAmount {
        TokenAmount::from_atto(n)
    }

    #[test]
    fn fees_grow_by_an_eighth_per_epoch() {
        assert_eq!(fee_in_future(&atto(100), 0), atto(100));
        assert_eq!(fee_in_future(&atto(800), 1), atto(900));
        // 1.125^20 = 10.545…, in 8 bits 2699/256
        assert_eq!(fee_in_future(&atto(100), 20), atto(1054));
    }

    #[test]
    fn premiums_have_a_floor_that_falls_with_patience() {
        for (blocks, expected) in [(1, 200_000), (2, 150_000), (3, 100_000), (10, 100_000)] {
            assert_eq!(floor(atto(5), blocks), atto(expected));
        }
        assert_eq!(floor(atto(100_001), 1), atto(100_001));
    }

    #[test]
    fn the_median_is_weighted_by_gas() {
        assert_eq!(median_premium(Vec::new(), 3), atto(0));
        let third = 2_000_000_000;
        let prices = vec![(atto(1), third), (atto(9), third), (atto(5), third)];
        // 52.5% of one block's 5e9 is 2.625e9: the second highest price crosses it.
        assert_eq!(median_premium(prices, 1), atto(7));
    }
}
