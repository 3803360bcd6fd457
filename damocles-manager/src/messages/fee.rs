//! What a message may cost. Pure: estimates and limits in, gas fields out.

use crate::{
    db::record::{FeeRecord, GasRecord},
    policy::FeePolicy,
};
use fvm_shared::econ::TokenAmount;

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
}
