//! The transforms beside their definition and beside bellperson's.

use super::{Domain, Transform};
use crate::run::Run;
use bellperson::domain::EvaluationDomain;
use blstrs::Scalar;
use damocles_kernels::{
    cpu::Cpu,
    crew::NEVER,
    field::limbs::{Words, value},
};
use ec_gpu_gen::threadpool::Worker;
use ff::{Field, PrimeField};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{num::NonZeroUsize, sync::atomic::AtomicBool};

/// All code that this CPU can run.
pub(super) const CODES: [Cpu; 2] = [Cpu::PORTABLE, Cpu::COMPLETE];

pub(super) fn run(threads: usize) -> Run<'static> {
    Run {
        threads: NonZeroUsize::new(threads).unwrap(),
        cancel: &NEVER,
    }
}

pub(super) fn domain(power: u32, cpu: Cpu) -> Domain {
    Domain::new(power, cpu, run(2)).unwrap()
}

/// Random scalars, always the same ones for a seed.
pub(super) fn random(count: usize, seed: u64) -> Vec<Scalar> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| Scalar::random(&mut rng)).collect()
}

fn bellperson(transform: Transform, values: &[Scalar], power: u32) -> Vec<Scalar> {
    let mut values = values.to_vec();
    values.resize(1 << power, Scalar::ZERO);
    let mut domain = EvaluationDomain::from_coeffs(values).unwrap();
    let worker = Worker::new();
    match transform {
        Transform::Forward => domain.fft(&worker, &mut None),
        Transform::Inverse => domain.ifft(&worker, &mut None),
        Transform::CosetForward => domain.coset_fft(&worker, &mut None),
        Transform::CosetInverse => domain.icoset_fft(&worker, &mut None),
    }
    .unwrap();
    domain.into_coeffs()
}

/// The body of bellperson's `execute_fft`.
pub(super) fn bellperson_quotient(values: [Vec<Scalar>; 3]) -> Vec<Words> {
    let worker = Worker::new();
    let [mut a, mut b, mut c] = values.map(|values| EvaluationDomain::from_coeffs(values).unwrap());
    EvaluationDomain::ifft_many(&mut [&mut a, &mut b, &mut c], &worker, &mut None).unwrap();
    EvaluationDomain::coset_fft_many(&mut [&mut a, &mut b, &mut c], &worker, &mut None).unwrap();
    a.mul_assign(&worker, &b);
    a.sub_assign(&worker, &c);
    a.divide_by_z_on_coset(&worker);
    a.icoset_fft(&worker, &mut None).unwrap();
    let mut h: Vec<Words> = a.into_coeffs().iter().map(value).collect();
    h.pop();
    h
}

/// A satisfied system: c = a·b everywhere.
pub(super) fn satisfied(count: usize, seed: u64) -> [Vec<Scalar>; 3] {
    let [a, b] = [random(count, seed), random(count, seed + 1)];
    let c = a.iter().zip(&b).map(|(a, b)| a * b).collect();
    [a, b, c]
}

/// Values at the edges, for a domain of 2^`power`.
fn edges(power: u32) -> Vec<Vec<Scalar>> {
    let size = 1usize << power;
    let mut inputs = vec![
        vec![],
        vec![Scalar::ZERO; size],
        vec![Scalar::ONE; size],
        vec![-Scalar::ONE; size],
        random(size / 2 + 1, 3),
        random(size - 1, 4),
    ];
    for place in [0, size / 3, size - 1] {
        let mut single = vec![Scalar::ZERO; size];
        single[place] = -Scalar::ONE;
        inputs.push(single);
    }
    inputs
}

fn assert_like_bellperson(power: u32, values: &[Scalar]) {
    for cpu in CODES {
        let domain = domain(power, cpu);
        for transform in Transform::ALL {
            let ours = domain
                .transform(transform, values.to_vec(), run(2))
                .unwrap();
            let theirs = bellperson(transform, values, power);
            assert!(ours == theirs, "{transform:?} of 2^{power}, {cpu:?}");
        }
    }
}

#[test]
fn small_transforms_are_what_their_definition_says() {
    for power in 0..=6 {
        let size = 1usize << power;
        let values = random(size, 1);
        let root = super::tables::root(power);
        for (transform, base) in [
            (Transform::Forward, Scalar::ONE),
            (Transform::CosetForward, Scalar::MULTIPLICATIVE_GENERATOR),
        ] {
            let expected: Vec<Scalar> = (0..size as u64)
                .map(|i| base * root.pow_vartime([i]))
                .map(|x| {
                    values
                        .iter()
                        .rev()
                        .fold(Scalar::ZERO, |sum, value| sum * x + value)
                })
                .collect();
            for cpu in CODES {
                let found = domain(power, cpu).transform(transform, values.clone(), run(1));
                assert!(
                    found.unwrap() == expected,
                    "{transform:?} of 2^{power}, {cpu:?}"
                );
            }
        }
    }
}

#[test]
fn transforms_are_bellpersons() {
    for power in 0..=16 {
        assert_like_bellperson(power, &random(1 << power, u64::from(power)));
    }
}

#[test]
fn transforms_of_edges_are_bellpersons() {
    for power in [0, 1, 2, 5, 6, 7, 8, 10] {
        for values in edges(power) {
            assert_like_bellperson(power, &values);
        }
    }
    // sums grow most where nothing is multiplied, over the most levels
    assert_like_bellperson(16, &vec![-Scalar::ONE; 1 << 16]);
    assert_quotient(16, &[(); 3].map(|()| vec![-Scalar::ONE; 1 << 16]));
}

#[test]
#[ignore = "half a minute"]
fn large_transforms_are_bellpersons() {
    for power in [17, 20] {
        assert_like_bellperson(power, &random(1 << power, 5));
    }
}

fn assert_quotient(power: u32, values: &[Vec<Scalar>; 3]) {
    let theirs = bellperson_quotient(values.clone().map(|mut values| {
        values.resize(1 << power, Scalar::ZERO);
        values
    }));
    for cpu in CODES {
        let domain = domain(power, cpu);
        for threads in [1, 2, 5] {
            let ours = domain.quotient(values.clone(), run(threads)).unwrap();
            assert!(ours == theirs, "2^{power}, {threads} threads, {cpu:?}");
        }
    }
}

#[test]
fn the_quotient_is_bellpersons() {
    for power in 0..=16 {
        assert_quotient(power, &satisfied(1 << power, 10));
    }
    for constraints in [1, 3, 63, 64, 65, 100, 1000, 5000] {
        let power = Domain::power_for(constraints);
        assert_quotient(power, &satisfied(constraints, 20));
        // room for more than these constraints
        assert_quotient(power + 1, &satisfied(constraints, 30));
    }
}

#[test]
fn the_quotient_is_bellpersons_for_what_is_not_satisfied() {
    for power in [0, 1, 4, 6, 9, 14] {
        assert_quotient(power, &[1, 2, 3].map(|seed| random(1 << power, seed)));
    }
}

#[test]
fn the_quotient_of_edges_is_bellpersons() {
    for power in [1, 6, 8] {
        for a in edges(power) {
            for b in edges(power).into_iter().rev().take(4) {
                let c = a.iter().zip(&b).map(|(a, b)| a * b).collect();
                assert_quotient(power, &[a.clone(), b, c]);
            }
        }
    }
}

#[test]
#[ignore = "half a minute"]
fn a_large_quotient_is_bellpersons() {
    assert_quotient(20, &satisfied((1 << 20) - 12345, 40));
}

#[test]
fn a_cancelled_run_ends() {
    let cancel = AtomicBool::new(true);
    for cpu in CODES {
        for threads in [1, 2] {
            let end = Run {
                cancel: &cancel,
                ..run(threads)
            };
            let domain = domain(8, cpu);
            assert!(Domain::new(8, cpu, end).is_err());
            assert!(domain.quotient(satisfied(200, 1), end).is_err());
            for transform in Transform::ALL {
                assert!(domain.transform(transform, random(200, 1), end).is_err());
            }
        }
    }
}

#[test]
#[should_panic(expected = "3 values on 2 places")]
fn too_many_values_are_refused() {
    let _ = domain(1, Cpu::COMPLETE).transform(Transform::Forward, random(3, 1), run(1));
}
