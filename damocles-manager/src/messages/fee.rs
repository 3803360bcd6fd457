//! What a message may cost, what it is made dearer to when no block takes it, and what it has cost.
//! Pure: estimates and limits in, amounts out.

use crate::{
    db::record::{FeeRecord, GasRecord},
    policy::FeePolicy,
};
use damocles_types::Epoch;
use fvm_shared::{bigint::Integer, econ::TokenAmount};

/// Blocks within which a message should get in, for the node's estimate of the premium.
pub(super) const PREMIUM_BLOCKS: u64 = 10;
/// A message is signed so often under one nonce; then its last price stands. Each is looked for.
pub(super) const MOST_PRICES: usize = 16;
/// Most gas that a block has room for (Filecoin specification, message pool).
const BLOCK_GAS_LIMIT: i64 = 10_000_000_000;

/// What the node estimates for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub gas_limit: i64,
    pub premium: TokenAmount,
    /// Needed only where the policy has no cap.
    pub fee_cap: TokenAmount,
}

impl From<&FeePolicy> for FeeRecord {
    fn from(policy: &FeePolicy) -> Self {
        Self {
            gas_over_estimation: policy.gas_over_estimation,
            gas_over_premium: policy.gas_over_premium,
            gas_fee_cap: policy.gas_fee_cap.clone(),
            max_fee: policy.max_fee.clone(),
            max_fee_per_day: policy.max_fee_per_day.clone(),
        }
    }
}

/// Multiplies an amount by a factor that a person wrote; nonsense counts as 1.
fn times(amount: &TokenAmount, factor: f64) -> TokenAmount {
    if !(factor.is_finite() && factor > 0.0 && factor < 1e6) {
        return amount.clone();
    }
    // Six digits of the factor are more than anybody writes.
    let millionths = (factor * 1e6).round() as u64;
    TokenAmount::from_atto(amount.atto() * millionths / 1_000_000_u64)
}

/// The gas fields that limits and estimates give. The premium never exceeds the cap, and the
/// limit never a block's.
pub fn price(fee: &FeeRecord, estimate: &Estimate) -> GasRecord {
    let factor = fee.gas_over_estimation;
    let factor = if factor.is_finite() && factor >= 1.0 {
        factor
    } else {
        1.0
    };
    let limit = (estimate.gas_limit.max(0) as f64 * factor).ceil();
    let limit = if limit >= BLOCK_GAS_LIMIT as f64 {
        BLOCK_GAS_LIMIT
    } else {
        limit as i64
    };
    let fee_cap = if fee.gas_fee_cap.is_positive() {
        fee.gas_fee_cap.clone()
    } else {
        estimate.fee_cap.clone()
    };
    let premium = times(&estimate.premium, fee.gas_over_premium);
    let premium = premium.min(fee_cap.clone());
    GasRecord {
        limit,
        fee_cap,
        premium,
    }
}

/// Epochs that a message waits before it is made dearer: one whose cap lies under the base fee; one
/// that pays less than others and must not be late; any other that pays less.
pub(super) const UNDER_BASE_FEE: Epoch = 2;
const URGENT: Epoch = 4;
const ORDINARY: Epoch = 15;

/// Whether a message that is the next of its sender, and that no block has taken for `waited`
/// epochs, is to be made dearer. `market` is the premium with which messages get in now: who pays
/// that has nothing to gain.
pub(super) fn is_stuck(
    gas: &GasRecord,
    base_fee: &TokenAmount,
    market: &TokenAmount,
    waited: Epoch,
    urgent: bool,
) -> bool {
    if gas.fee_cap < *base_fee {
        return waited >= UNDER_BASE_FEE;
    }
    let pays = gas.premium.clone().min(&gas.fee_cap - base_fee);
    pays < *market && waited >= if urgent { URGENT } else { ORDINARY }
}

/// The least premium with which a pool puts a message in the place of another one: a quarter more
/// (Lotus `ReplaceByFeePercentageDefault`), and one attoFIL.
pub(super) fn least_replacement(premium: &TokenAmount) -> TokenAmount {
    let quarter = TokenAmount::from_atto((premium.atto() * 125u64).div_ceil(&100.into()));
    quarter + TokenAmount::from_atto(1)
}

/// How a message goes on that no block takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reprice {
    Dearer(GasRecord),
    /// It needs such a cap, and may have no more than that.
    TooDear {
        needs: TokenAmount,
        allowed: TokenAmount,
    },
}

/// The highest price per unit of gas to which a message may be made dearer; None: any.
fn ceiling(fee: &FeeRecord, limit: i64, urgent: bool) -> Option<TokenAmount> {
    let in_all = || fee.max_fee.div_floor(limit.max(1));
    let (first, most) = (fee.gas_fee_cap.is_positive(), fee.max_fee.is_positive());
    match (first, most) {
        (false, false) => None,
        (false, true) => Some(in_all()),
        (true, true) if urgent => Some(in_all().max(fee.gas_fee_cap.clone())),
        (true, _) => Some(fee.gas_fee_cap.clone()),
    }
}

/// The gas fields of the next attempt under the same nonce. The base fee may double before the
/// message is too cheap again (it rises by an eighth per epoch at most).
pub(super) fn reprice(
    fee: &FeeRecord,
    gas: &GasRecord,
    base_fee: &TokenAmount,
    market: &TokenAmount,
    urgent: bool,
) -> Reprice {
    let least = least_replacement(&gas.premium);
    let premium = times(market, fee.gas_over_premium).max(least.clone());
    let cap = (base_fee * 2u64 + &premium).max(gas.fee_cap.clone());
    let allowed = ceiling(fee, gas.limit, urgent);
    let cap = allowed.clone().map_or(cap.clone(), |most| cap.min(most));
    let needs = (base_fee + TokenAmount::from_atto(1)).max(least);
    if cap < needs {
        let allowed = allowed.unwrap_or_default();
        return Reprice::TooDear { needs, allowed };
    }
    Reprice::Dearer(GasRecord {
        limit: gas.limit,
        premium: premium.min(cap.clone()),
        fee_cap: cap,
    })
}

/// A price per unit of gas as people read it.
pub(super) fn per_gas(price: &TokenAmount) -> String {
    format!(
        "{} nanoFIL",
        TokenAmount::from_atto(price.atto() * 1_000_000_000u64)
    )
}

/// What a message cost its sender beside its value: burnt base fee, the block's producer's premium,
/// and what is burnt where the limit was set too high (Filecoin specification, gas; Lotus
/// `vm.ComputeGasOutputs`). `base_fee` is that of the tipset that has the message.
pub(super) fn paid(gas: &GasRecord, used: i64, base_fee: &TokenAmount) -> TokenAmount {
    let (used, limit) = (i128::from(used.max(0)), i128::from(gas.limit.max(0)));
    let per_gas = base_fee.clone().min(gas.fee_cap.clone());
    let tip = gas.premium.clone().min(&gas.fee_cap - &per_gas);
    let over = if used == 0 {
        limit
    } else {
        let over = (limit - 11 * used / 10).clamp(0, used);
        (limit - used).max(0) * over / used
    };
    TokenAmount::from_atto(per_gas.atto() * (used + over))
        + TokenAmount::from_atto(tip.atto() * limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano(n: u64) -> TokenAmount {
        TokenAmount::from_atto(n * 1_000_000_000)
    }

    fn fee(over: f64, premium: f64, cap: TokenAmount) -> FeeRecord {
        FeeRecord {
            gas_over_estimation: over,
            gas_over_premium: premium,
            gas_fee_cap: cap,
            max_fee: TokenAmount::default(),
            max_fee_per_day: TokenAmount::default(),
        }
    }

    fn estimate(limit: i64, premium: TokenAmount) -> Estimate {
        Estimate {
            gas_limit: limit,
            premium,
            fee_cap: nano(2),
        }
    }

    #[test]
    fn limits() {
        let cases = [
            (1.2, 100, 120),
            (1.25, 101, 127),
            (0.0, 100, 100),
            (0.5, 100, 100),
            (f64::NAN, 100, 100),
            (1.2, -5, 0),
            (1.2, 9_000_000_000, 10_000_000_000),
            (1e300, 100, 10_000_000_000),
        ];
        for (over, estimated, limit) in cases {
            let gas = price(&fee(over, 0.0, nano(5)), &estimate(estimated, nano(1)));
            assert_eq!(gas.limit, limit, "{over} × {estimated}");
        }
    }

    #[test]
    fn caps_and_premiums() {
        // (over premium, cap, estimated premium) → (cap, premium)
        let cases = [
            (0.0, nano(5), nano(1), nano(5), nano(1)),
            (1.5, nano(5), nano(2), nano(5), nano(3)),
            (10.0, nano(5), nano(1), nano(5), nano(5)),
            (0.0, nano(0), nano(1), nano(2), nano(1)),
            (0.0, nano(0), nano(9), nano(2), nano(2)),
            (-1.0, nano(5), nano(1), nano(5), nano(1)),
        ];
        for (over, cap, premium, want_cap, want_premium) in cases {
            let gas = price(&fee(1.0, over, cap), &estimate(1, premium));
            assert_eq!((gas.fee_cap, gas.premium), (want_cap, want_premium));
        }
    }

    fn gas(cap: TokenAmount, premium: TokenAmount) -> GasRecord {
        GasRecord {
            limit: 1_000_000_000,
            fee_cap: cap,
            premium,
        }
    }

    #[test]
    fn what_no_block_takes_waits_by_how_much_it_matters() {
        let at = |cap, premium, waited, urgent| {
            is_stuck(
                &gas(nano(cap), nano(premium)),
                &nano(3),
                &nano(2),
                waited,
                urgent,
            )
        };
        // (cap, premium, epochs, urgent): the base fee is 3, and others pay 2 on top
        for (cap, premium, waited, urgent, stuck) in [
            (2, 9, 1, true, false),
            (2, 9, 2, false, true),
            (9, 1, 3, true, false),
            (9, 1, 4, true, true),
            (9, 1, 14, false, false),
            (9, 1, 15, false, true),
            (4, 2, 15, false, true),
            (5, 2, 99, true, false),
            (9, 1, -9, true, false),
        ] {
            assert_eq!(
                at(cap, premium, waited, urgent),
                stuck,
                "{cap} {premium} {waited} {urgent}"
            );
        }
    }

    /// One message of a billion gas: 1 FIL is 1 nanoFIL per unit.
    #[test]
    fn a_message_is_made_dearer_up_to_its_ceiling() {
        let fil = TokenAmount::from_whole;
        let next = |first, most: i64, cap, premium, base, market, urgent| {
            let fee = FeeRecord {
                max_fee: fil(most),
                ..fee(1.0, 0.0, nano(first))
            };
            match reprice(
                &fee,
                &gas(nano(cap), nano(premium)),
                &nano(base),
                &nano(market),
                urgent,
            ) {
                Reprice::Dearer(gas) => Ok((gas.fee_cap, gas.premium)),
                Reprice::TooDear { needs, allowed } => Err((needs, allowed)),
            }
        };
        let atto = TokenAmount::from_atto;
        let quarter = |n| (nano(n) * 5u64).div_floor(4u64) + atto(1);
        // (first cap, most in all), (cap, premium), (base fee, market), urgent
        assert_eq!(
            next(5, 50, 5, 4, 9, 1, true),
            Ok((nano(18) + quarter(4), quarter(4)))
        );
        assert_eq!(next(5, 50, 5, 4, 9, 20, true), Ok((nano(38), nano(20))));
        // the ceiling cuts the cap, and then the premium
        assert_eq!(next(5, 10, 5, 1, 9, 20, true), Ok((nano(10), nano(10))));
        let too_dear = |needs, allowed| Err((needs, allowed));
        assert_eq!(
            next(5, 8, 5, 1, 9, 1, true),
            too_dear(nano(9) + atto(1), nano(8))
        );
        // the pool wants a quarter more than what there is
        assert_eq!(
            next(5, 10, 5, 9, 1, 1, true),
            too_dear(quarter(9), nano(10))
        );
        // without need, no more than it began with; and what it began with is never too much
        assert_eq!(
            next(5, 50, 5, 1, 9, 1, false),
            too_dear(nano(9) + atto(1), nano(5))
        );
        assert_eq!(next(5, 50, 5, 1, 2, 1, false), Ok((nano(5), quarter(1))));
        assert_eq!(next(5, 1, 5, 1, 2, 1, true), Ok((nano(5), quarter(1))));
        // as the node estimates: without a ceiling, and with one
        assert_eq!(
            next(0, 0, 5, 1, 90, 1, false),
            Ok((nano(180) + quarter(1), quarter(1)))
        );
        assert_eq!(next(0, 9, 5, 1, 8, 1, false), Ok((nano(9), quarter(1))));
    }

    /// The premium of 0 is replaced, too, and a pool's least one is taken by the rule of Lotus.
    #[test]
    fn a_replacement_pays_a_quarter_more() {
        let atto = TokenAmount::from_atto;
        for (premium, least) in [(0, 1), (1, 3), (4, 6), (100, 126), (101, 128)] {
            assert_eq!(least_replacement(&atto(premium)), atto(least), "{premium}");
        }
    }

    #[test]
    fn a_message_has_cost_what_was_burnt_and_given() {
        let atto = TokenAmount::from_atto;
        // (limit, cap, premium), used, base fee → cost
        for ((limit, cap, premium), used, base, cost) in [
            ((1000, 5, 1), 1000, 2, 2000 + 1000),
            // within a tenth nothing is burnt; beyond, in proportion
            ((1100, 5, 1), 1000, 2, 2000 + 1100),
            ((1500, 5, 0), 1000, 2, 2 * (1000 + 500 * 400 / 1000)),
            ((5000, 5, 0), 1000, 2, 2 * (1000 + 4000)),
            ((1000, 5, 0), 0, 2, 2 * 1000),
            // the cap bounds the premium, and then the base fee
            ((1000, 5, 4), 1000, 3, 3000 + 2000),
            ((1000, 5, 4), 1000, 9, 5000),
        ] {
            let gas = GasRecord {
                limit,
                fee_cap: atto(cap),
                premium: atto(premium),
            };
            assert_eq!(
                paid(&gas, used, &atto(base)),
                atto(cost),
                "{limit} {used} {base}"
            );
        }
    }
}
