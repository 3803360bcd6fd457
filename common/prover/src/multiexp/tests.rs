//! Against sums of products by the curve's own formulas.

use super::*;
use blst::MultiPoint;
use blstrs::{G2Projective, Scalar};
use damocles_kernels::field::limbs::value;
use ff::Field;
use group::{Curve, Group, prime::PrimeCurveAffine};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{num::NonZeroUsize, sync::atomic::AtomicBool};

/// Checks both forms, with one thread and with three.
fn check(points: &[G1Affine], scalars: &[Scalar]) {
    let mut wanted = G1Projective::identity();
    for (point, scalar) in points.iter().zip(scalars) {
        wanted += G1Projective::from(point) * scalar;
    }
    let scalars: Vec<Words> = scalars.iter().map(value).collect();
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        let bases = Bases::new(cpu, points);
        for threads in [1, 3] {
            let run = Run {
                threads: NonZeroUsize::new(threads).unwrap(),
                ..Run::whole()
            };
            let sum = bases.multiexp(&scalars, run).unwrap();
            assert_eq!(sum.to_affine(), wanted.to_affine(), "{cpu:?} {threads}");
        }
    }
}

fn random_points(count: usize, random: &mut ChaCha8Rng) -> Vec<G1Affine> {
    (0..count)
        .map(|_| G1Projective::random(&mut *random).to_affine())
        .collect()
}

#[test]
fn random_scalars_and_points() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for count in [0, 1, 2, 3, 7, 8, 9, 100, 1000, 2050] {
        let points = random_points(count, &mut random);
        let scalars: Vec<_> = (0..count).map(|_| Scalar::random(&mut random)).collect();
        check(&points, &scalars);
    }
}

#[test]
fn scalars_at_the_edges() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let points = random_points(600, &mut random);
    let edges = [
        Scalar::ZERO,
        Scalar::ONE,
        -Scalar::ONE,
        -Scalar::from(2),
        Scalar::from(2),
        Scalar::from(1 << 15),
        Scalar::from(1 << 16),
        Scalar::from(u64::MAX),
    ];
    for edge in edges {
        check(&points, &[edge; 600]);
    }
    let mixed: Vec<_> = (0..600).map(|i| edges[i % edges.len()]).collect();
    check(&points, &mixed);
}

#[test]
fn points_that_repeat_cancel_or_are_at_infinity() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let [a, b] = [(); 2].map(|()| G1Projective::random(&mut random).to_affine());
    let infinity = G1Affine::identity();
    let kinds = [
        vec![a],
        vec![a, -a],
        vec![infinity],
        vec![a, a, -a],
        vec![a, b, -b, infinity, -a],
        vec![G1Affine::generator(), -G1Affine::generator()],
    ];
    for kind in kinds {
        let points: Vec<_> = kind.iter().copied().cycle().take(500).collect();
        for scalar in [Scalar::ONE, Scalar::from(5), -Scalar::ONE] {
            check(&points, &vec![scalar; 500]);
        }
        let scalars: Vec<_> = (0..500).map(|_| Scalar::random(&mut random)).collect();
        check(&points, &scalars);
        let few: Vec<_> = (0..500u64).map(|i| Scalar::from(i % 3)).collect();
        check(&points, &few);
    }
}

#[test]
fn sums_in_g2() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    for count in [0, 1, 5, 300] {
        let points: Vec<_> = (0..count)
            .map(|_| G2Projective::random(&mut random).to_affine())
            .collect();
        let scalars: Vec<_> = (0..count as u64)
            .map(|i| match i % 4 {
                0 | 1 => Scalar::from(i % 4),
                _ => Scalar::random(&mut random),
            })
            .collect();
        let mut wanted = G2Projective::identity();
        for (point, scalar) in points.iter().zip(&scalars) {
            wanted += G2Projective::from(point) * scalar;
        }
        let scalars: Vec<_> = scalars.iter().map(value).collect();
        for cpu in [Cpu::PORTABLE, Cpu::detect()] {
            let sum = G2Bases::new(cpu, &points).multiexp(&scalars, Run::whole());
            assert_eq!(sum.unwrap().to_affine(), wanted.to_affine(), "{cpu:?}");
        }
    }
}

#[test]
fn points_of_g2_that_repeat_cancel_or_are_at_infinity() {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let point = G2Projective::random(&mut random);
    let points: Vec<_> = (0..200_u64)
        .map(|i| match i % 5 {
            0 => G2Projective::identity(),
            1 => -point,
            2 => point.double(),
            _ => point,
        })
        .map(|point| point.to_affine())
        .collect();
    let scalars: Vec<_> = (0..200_u64)
        .map(|i| match i % 7 {
            0 => Scalar::ZERO,
            1 | 2 => Scalar::ONE,
            3 => -Scalar::ONE,
            4 => -Scalar::from(2),
            _ => Scalar::from(i % 3 + 5),
        })
        .collect();
    let mut wanted = G2Projective::identity();
    for (point, scalar) in points.iter().zip(&scalars) {
        wanted += G2Projective::from(point) * scalar;
    }
    let scalars: Vec<_> = scalars.iter().map(value).collect();
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        let sum = G2Bases::new(cpu, &points).multiexp(&scalars, Run::whole());
        assert_eq!(sum.unwrap().to_affine(), wanted.to_affine(), "{cpu:?}");
    }
}

#[test]
fn a_cancelled_run_says_so() {
    let points = [G1Affine::generator(); 8];
    let cancel = AtomicBool::new(true);
    let run = Run {
        cancel: &cancel,
        ..Run::whole()
    };
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        let end = Bases::new(cpu, &points).multiexp(&[[7, 7, 7, 7]; 8], run);
        assert!(end.is_err());
    }
}

/// Sums of two of some thousand random points: few of their own sums are equal.
fn many_points(count: usize) -> Vec<G1Affine> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let first = random_points(1024, &mut random);
    let second = random_points(count.div_ceil(1024), &mut random);
    let all = second.iter().flat_map(|b| {
        let sums = first.iter().map(move |a| G1Projective::from(a) + b);
        sums.map(|sum| sum.to_affine())
    });
    all.take(count).collect()
}

#[test]
#[ignore = "prints how fast it is"]
fn speed_beside_blst() {
    for log in [12, 16, 18, 20] {
        let count = 1u32 << log;
        let mut random = ChaCha8Rng::seed_from_u64(6);
        let points = many_points(count as usize);
        let scalars: Vec<_> = (0..count)
            .map(|_| value(&Scalar::random(&mut random)))
            .collect();
        let forms = [Cpu::PORTABLE, Cpu::detect()].map(|cpu| Bases::new(cpu, &points));
        let plain: Vec<_> = points.iter().map(|point| *point.as_ref()).collect();
        let bytes: Vec<_> = scalars
            .iter()
            .flat_map(|scalar: &Words| scalar.map(u64::to_le_bytes))
            .flatten()
            .collect();
        for _ in 0..3 {
            let time = |work: &dyn Fn() -> G1Projective| {
                let begun = std::time::Instant::now();
                let sum = work().to_affine();
                (sum, begun.elapsed().as_secs_f64() * 1e9 / f64::from(count))
            };
            let blst = time(&|| {
                let mut sum = G1Projective::identity();
                *sum.as_mut() = plain.mult(&bytes, 255);
                sum
            });
            let [portable, best] = forms
                .each_ref()
                .map(|bases| time(&|| bases.multiexp(&scalars, Run::whole()).unwrap()));
            assert_eq!([portable.0, best.0], [blst.0; 2]);
            println!(
                "2^{log}, ns a point: blst {:.0}, portable {:.0} ({:.2} x), best {:.0} ({:.2} x)",
                blst.1,
                portable.1,
                blst.1 / portable.1,
                best.1,
                blst.1 / best.1
            );
        }
    }
}
