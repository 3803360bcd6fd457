//! The secrets of a setup: whoever knows them can forge proofs.

use blstrs::Scalar;
use ff::Field;
use std::hint::black_box;

/// τ, α, β, γ, δ of Groth16, each drawn anew for each circuit, and forgotten: they are overwritten
/// when this is dropped, and so is what of their powers lies in memory. (Copies in registers, and
/// partial sums, are left to the end of the process.)
pub struct Waste {
    pub tau: Scalar,
    pub alpha: Scalar,
    pub beta: Scalar,
    pub gamma: Scalar,
    pub delta: Scalar,
}

impl Waste {
    /// Parameters from 0 would prove anything, or nothing.
    pub(super) fn is_degenerate(&self) -> bool {
        let Self {
            tau,
            alpha,
            beta,
            gamma,
            delta,
        } = self;
        [tau, alpha, beta, gamma, delta]
            .iter()
            .any(|secret| bool::from(secret.is_zero()))
    }
}

impl std::fmt::Debug for Waste {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waste(…)")
    }
}

impl Drop for Waste {
    fn drop(&mut self) {
        let Self {
            tau,
            alpha,
            beta,
            gamma,
            delta,
        } = self;
        for secret in [tau, alpha, beta, gamma, delta] {
            *secret = Scalar::ZERO;
            // as far as the compiler knows, somebody reads it
            black_box(&*secret);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_not_shown_and_not_zero() {
        let waste = |gamma: u64| Waste {
            tau: Scalar::from(77),
            alpha: Scalar::ONE,
            beta: Scalar::ONE,
            gamma: Scalar::from(gamma),
            delta: Scalar::ONE,
        };
        assert_eq!(format!("{:?}", waste(1)), "Waste(…)");
        assert!(!waste(1).is_degenerate() && waste(0).is_degenerate());
    }
}
