//! The Lagrange polynomials of a domain, at one point.

use crate::{run::Run, wiped::Wiped};
use blstrs::Scalar;
use damocles_kernels::crew::Cancelled;
use ff::{Field, PrimeField};

/// Elements that are inverted together, by one thread.
const TOGETHER: usize = 1 << 12;

/// L_i(τ) = (τ^n − 1)/n · ω^i/(τ − ω^i) for i below `count`, where ω is the n-th root of unity and
/// n is 2^`power`. τ is not a root of unity.
pub(super) fn at(
    tau: Scalar,
    power: u32,
    count: usize,
    run: Run<'_>,
) -> Result<Wiped<Scalar>, Cancelled> {
    let omega = (power..Scalar::S).fold(Scalar::ROOT_OF_UNITY, |root, _| root.square());
    let vanishing = tau.pow_vartime([1_u64 << power]) - Scalar::ONE;
    let first = vanishing
        * Scalar::from(2)
            .pow_vartime([u64::from(power)])
            .invert()
            .unwrap_or(Scalar::ZERO);
    let mut values = Wiped::zeros(count);
    let chunks = values.chunks_mut(TOGETHER).enumerate();
    run.each(count.div_ceil(TOGETHER), chunks, |(chunk, values)| {
        let begin = omega.pow_vartime([(chunk * TOGETHER) as u64]);
        let mut root = begin;
        // the products of all τ − ω^i before each, and back
        let mut product = Scalar::ONE;
        for value in &mut *values {
            *value = product;
            product *= tau - root;
            root *= omega;
        }
        let back = omega.invert().unwrap_or(Scalar::ZERO);
        let mut inverse = product.invert().unwrap_or(Scalar::ZERO);
        for value in values.iter_mut().rev() {
            root *= back;
            *value *= inverse * root * first;
            inverse *= tau - root;
        }
    })?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fft::{Domain, Transform};
    use damocles_kernels::cpu::Cpu;

    #[test]
    fn they_are_the_powers_transformed() {
        let tau = Scalar::from(77);
        for (power, count) in [(0, 1), (1, 2), (3, 5), (14, (1 << 14) - 3)] {
            let domain = Domain::new(power, Cpu::detect(), Run::whole()).unwrap();
            let powers = (0..1 << power).scan(Scalar::ONE, |next, _| {
                let this = *next;
                *next *= tau;
                Some(this)
            });
            // what has τ^i as its values of X^i
            let wanted = domain.transform(Transform::Inverse, powers.collect(), Run::whole());
            let found = at(tau, power, count, Run::whole()).unwrap();
            assert!(*found == wanted.unwrap()[..count], "{power}");
        }
    }
}
