//! What messages cost: gas per act, fees per gas, and the base fee's way from one tipset to
//! the next. Pure functions. The fee rules are Filecoin's (Lotus `chain/vm/burn.go`,
//! `chain/store/basefee.go`, FIP-0115); the gas units per method are this network's own
//! round figures of the order that mainnet charges, fixed so that two runs cost the same; the
//! verification of seal proofs costs what it does there.
pub use damocles_types::gas::{MESSAGE_BYTE, VERIFY_SEAL, verify_aggregate};
use fvm_shared::bigint::{BigInt, Integer};
use fvm_shared::econ::TokenAmount;

/// Gas that the base fee aims at per block: a tipset in which the sorted premiums reach this
/// depth still pays its premium there, and that premium moves the base fee.
pub const BLOCK_GAS_TARGET: u64 = 5_000_000_000;
/// The base fee changes by at most one part in this many per tipset.
const BASE_FEE_MAX_CHANGE: i64 = 8;

/// For having a message on the chain: compute, and storage of its bytes and of the record.
pub fn message_on_chain(length: usize) -> u64 {
    38_863 + MESSAGE_BYTE * (36 + length as u64)
}

/// For having a receipt's return value on the chain.
pub fn return_on_chain(length: usize) -> u64 {
    MESSAGE_BYTE * length as u64
}

pub const SEND: u64 = 75_000;
pub const CREATE_ACCOUNT: u64 = 1_000_000;
pub const ACTOR_CALL: u64 = 1_500_000;
pub const CREATE_MINER: u64 = 40_000_000;
pub const PRE_COMMIT_BASE: u64 = 12_000_000;
pub const PRE_COMMIT_SECTOR: u64 = 3_000_000;
pub const PROVE_COMMIT_BASE: u64 = 15_000_000;
pub const PROVE_COMMIT_SECTOR: u64 = 8_000_000;
pub const POST_BASE: u64 = 20_000_000;
pub const POST_PARTITION: u64 = 12_000_000;
pub const VERIFY_POST_BASE: u64 = 117_680_921;
pub const VERIFY_POST_SECTOR: u64 = 43_780;
pub const DECLARE_BASE: u64 = 10_000_000;
pub const DECLARE_PARTITION: u64 = 5_000_000;

/// Where the fee of a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GasOutputs {
    pub base_fee_burn: TokenAmount,
    pub over_estimation_burn: TokenAmount,
    pub miner_penalty: TokenAmount,
    pub miner_tip: TokenAmount,
    /// Of gas limit × fee cap, back to the sender.
    pub refund: TokenAmount,
}

/// Gas that is burned because the limit was set far above the use.
///
/// Up to 10 % above is free; beyond, an ever greater part of the unused gas burns, all of it
/// from 210 % on.
pub fn over_estimation(gas_used: u64, gas_limit: u64) -> u64 {
    if gas_used == 0 {
        return gas_limit;
    }
    let (used, limit) = (u128::from(gas_used), u128::from(gas_limit));
    let allowed = 11 * used / 10;
    if limit <= allowed {
        return 0;
    }
    let over = (limit - allowed).min(used);
    // at most limit - used, which fits
    u64::try_from((limit - used) * over / used).unwrap_or(gas_limit)
}

/// Splits gas limit × fee cap into burn, tip and refund.
pub fn outputs(
    gas_used: u64,
    gas_limit: u64,
    base_fee: &TokenAmount,
    fee_cap: &TokenAmount,
    premium: &TokenAmount,
) -> GasOutputs {
    let mut miner_penalty = TokenAmount::default();
    let pays = if base_fee > fee_cap {
        miner_penalty = (base_fee - fee_cap) * gas_used;
        fee_cap.clone()
    } else {
        base_fee.clone()
    };
    let base_fee_burn = &pays * gas_used;
    let tip_per_gas = premium.clone().min(fee_cap - &pays);
    let miner_tip = tip_per_gas * gas_limit;
    let burned = over_estimation(gas_used, gas_limit);
    let over_estimation_burn = &pays * burned;
    miner_penalty += (base_fee - &pays) * burned;
    let refund = fee_cap * gas_limit - &base_fee_burn - &miner_tip - &over_estimation_burn;
    GasOutputs {
        base_fee_burn,
        over_estimation_burn,
        miner_penalty,
        miner_tip,
        refund,
    }
}

/// The premium a message really pays.
pub fn effective_premium(
    base_fee: &TokenAmount,
    fee_cap: &TokenAmount,
    premium: &TokenAmount,
) -> TokenAmount {
    let room = fee_cap - base_fee;
    room.min(premium.clone()).max(TokenAmount::default())
}

/// Base fee of the next tipset (FIP-0115): the premium found at the target depth of the
/// block's gas, highest premiums first, pushes the fee up, an emptier block lets it fall,
/// each time by an eighth at most.
///
/// `paid` are (effective premium, gas limit) of the tipset's messages.
pub fn next_base_fee(
    base_fee: &TokenAmount,
    paid: &[(TokenAmount, u64)],
    minimum: &TokenAmount,
) -> TokenAmount {
    let at_target = premium_at_depth(paid, BLOCK_GAS_TARGET);
    let step = TokenAmount::from_atto(
        (base_fee.atto() + BigInt::from(BASE_FEE_MAX_CHANGE - 1))
            .div_floor(&BigInt::from(BASE_FEE_MAX_CHANGE)),
    );
    let change = step.clone().min(at_target - &step);
    (base_fee + change).max(minimum.clone())
}

/// The premium of the message that covers gas unit number `depth`, counted from the highest
/// premium down; zero when the tipset is not that full.
fn premium_at_depth(paid: &[(TokenAmount, u64)], depth: u64) -> TokenAmount {
    let mut sorted: Vec<_> = paid.iter().collect();
    sorted.sort_by(|a, b| b.0.cmp(&a.0));
    let mut covered = 0u64;
    for (premium, limit) in sorted {
        covered = covered.saturating_add(*limit);
        if depth < covered {
            return premium.clone();
        }
    }
    TokenAmount::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atto(n: i64) -> TokenAmount {
        TokenAmount::from_atto(n)
    }

    #[test]
    fn over_estimation_table() {
        // (used, limit, burned), from the cases of Lotus' burn_test.go
        for (used, limit, burned) in [
            (100, 200, 90),
            (100, 150, 20),
            (1000, 1300, 60),
            (500, 700, 60),
            (200, 200, 0),
            (20_000, 21_000, 0),
            (0, 2000, 2000),
            (500, 651, 30),
            (500, 5000, 4500),
            (750_000_000, 1_500_000_000, 675_000_000),
        ] {
            assert_eq!(over_estimation(used, limit), burned, "{used} of {limit}");
        }
    }

    #[test]
    fn outputs_add_up_to_the_deposit() {
        for (used, limit, base, cap, premium) in [
            (100i64, 110i64, 10i64, 11i64, 1i64),
            (100, 130, 10, 11, 1),
            (100, 110, 10, 10, 1),
            (100, 110, 6, 10, 1),
            (100, 110, 20, 10, 5),
            (0, 1000, 10, 30, 5),
        ] {
            let out = outputs(
                used as u64,
                limit as u64,
                &atto(base),
                &atto(cap),
                &atto(premium),
            );
            let sum = &out.base_fee_burn + &out.over_estimation_burn + &out.miner_tip + &out.refund;
            assert_eq!(sum, atto(limit * cap));
            assert!(!out.refund.is_negative() && !out.miner_tip.is_negative());
        }
        let out = outputs(100, 110, &atto(20), &atto(10), &atto(5));
        assert_eq!(
            out.miner_penalty,
            atto(1000),
            "the fee cap was below the base fee"
        );
        assert_eq!(out.miner_tip, atto(0));
    }

    #[test]
    fn empty_tipsets_let_the_base_fee_fall_to_the_minimum_and_full_ones_raise_it() {
        let minimum = atto(100);
        assert_eq!(next_base_fee(&atto(800), &[], &minimum), atto(700));
        assert_eq!(next_base_fee(&atto(100), &[], &minimum), minimum);
        let full = [(atto(1_000_000), BLOCK_GAS_TARGET + 1)];
        assert_eq!(next_base_fee(&atto(800), &full, &minimum), atto(900));
        let half = [(atto(1_000_000), BLOCK_GAS_TARGET)];
        assert_eq!(next_base_fee(&atto(800), &half, &minimum), atto(700));
        let cheap = [(atto(150), BLOCK_GAS_TARGET + 1)];
        assert_eq!(next_base_fee(&atto(800), &cheap, &minimum), atto(850));
    }

    proptest::proptest! {
        #[test]
        fn the_base_fee_moves_by_an_eighth_at_most_and_never_below_its_minimum(
            base in 100u64..1_000_000_000_000,
            paid in proptest::collection::vec((0u64..1_000_000_000, 1u64..10_000_000_000), 0..20),
        ) {
            let (base, minimum) = (TokenAmount::from_atto(base), atto(100));
            let paid: Vec<_> = paid
                .into_iter()
                .map(|(premium, limit)| (TokenAmount::from_atto(premium), limit))
                .collect();
            let next = next_base_fee(&base, &paid, &minimum);
            let step = TokenAmount::from_atto((base.atto() + 7) / 8);
            proptest::prop_assert!(next >= minimum);
            proptest::prop_assert!(next <= &base + &step);
            proptest::prop_assert!(next >= minimum.max(base - step));
        }

        #[test]
        fn a_fee_is_never_more_than_the_deposit(
            used in 0u64..10_000_000_000,
            spare in 0u64..10_000_000_000,
            base in 0u64..10_000_000_000,
            premium in 0u64..1_000_000_000,
            room in 0u64..10_000_000_000,
        ) {
            let limit = used + spare;
            let (base, premium) = (TokenAmount::from_atto(base), TokenAmount::from_atto(premium));
            let cap = &premium + TokenAmount::from_atto(room);
            let out = outputs(used, limit, &base, &cap, &premium);
            let parts = [&out.base_fee_burn, &out.over_estimation_burn, &out.miner_tip, &out.refund];
            proptest::prop_assert!(parts.iter().all(|part| !part.is_negative()));
            proptest::prop_assert_eq!(parts.into_iter().sum::<TokenAmount>(), cap * limit);
        }
    }
}
