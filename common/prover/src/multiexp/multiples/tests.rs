//! Against products by the curve's own formulas.

use super::{super::digits::Windows, *};
use blstrs::{G1Affine, G2Affine, Scalar};
use damocles_kernels::field::limbs::value;
use ff::Field;
use group::Group;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Mutex;

/// Random scalars behind those whose digits are all 0 but one, or at their ends.
fn scalars(random: &mut ChaCha8Rng, count: usize) -> Vec<Scalar> {
    let two = |k: u64| Scalar::from(2).pow_vartime([k]);
    let mut scalars = vec![
        Scalar::ONE,
        -Scalar::ONE,
        -two(1),
        two(1).invert().unwrap(),
        two(127),
        two(128) - Scalar::ONE,
        two(254),
        two(15) + two(31) + two(128),
    ];
    scalars.extend((1..60).map(Scalar::from));
    scalars.extend((0..255).map(two));
    scalars.extend((0..count).map(|_| Scalar::random(&mut *random)));
    scalars
}

/// What `each` puts, by the numbers of the points.
fn made(
    bytes: usize,
    scalars: &[Scalar],
    each: impl FnOnce(
        &(dyn Fn(Range<usize>, &mut Vec<Words>) -> Result<(), Cancelled> + Sync),
        &(dyn Fn(usize, &[u8]) -> Result<(), Cancelled> + Sync),
    ) -> Result<(), Cancelled>,
) -> Vec<u8> {
    let all = Mutex::new(vec![0; bytes * scalars.len()]);
    let given = |range: Range<usize>, words: &mut Vec<Words>| {
        words.extend(scalars[range].iter().map(value));
        Ok(())
    };
    let put = |begin: usize, points: &[u8]| {
        all.lock().unwrap()[begin * bytes..][..points.len()].copy_from_slice(points);
        Ok(())
    };
    each(&given, &put).unwrap();
    all.into_inner().unwrap()
}

#[test]
fn multiples_in_g1_are_products() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let base = G1Projective::random(&mut random);
    let scalars = scalars(&mut random, 3000);
    let wanted: Vec<u8> = scalars
        .iter()
        .flat_map(|scalar| G1Affine::from(base * scalar).to_uncompressed())
        .collect();
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        // windows of few bits, and of many
        for announced in [1, 1 << 12, 1 << 30] {
            let multiples = G1Multiples::new(cpu, base, announced, Run::whole()).unwrap();
            let found = made(G1Multiples::BYTES, &scalars, |given, put| {
                multiples.each(scalars.len(), given, put, Run::whole())
            });
            assert!(found == wanted, "{cpu:?} {announced}");
        }
    }
}

#[test]
fn multiples_in_g2_are_products() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let base = G2Projective::random(&mut random);
    let scalars = scalars(&mut random, 100);
    let wanted: Vec<u8> = scalars
        .iter()
        .flat_map(|scalar| G2Affine::from(base * scalar).to_uncompressed())
        .collect();
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        for announced in [1, 1 << 12] {
            let multiples = G2Multiples::new(cpu, base, announced, Run::whole()).unwrap();
            let found = made(G2Multiples::BYTES, &scalars, |given, put| {
                multiples.each(scalars.len(), given, put, Run::whole())
            });
            assert!(found == wanted, "{cpu:?} {announced}");
        }
    }
}

#[test]
fn who_gives_or_takes_may_end_it() {
    let multiples =
        G2Multiples::new(Cpu::detect(), G2Projective::generator(), 10, Run::whole()).unwrap();
    let one = |range: Range<usize>, words: &mut Vec<Words>| {
        words.extend(range.map(|_| [1, 0, 0, 0]));
        Ok(())
    };
    let end = multiples.each(5, |_, _| Err(Cancelled), |_, _| Ok(()), Run::whole());
    assert!(end.is_err());
    let end = multiples.each(5, one, |_, _| Err(Cancelled), Run::whole());
    assert!(end.is_err());
    assert!(
        multiples
            .each(0, one, |_, _| Err(Cancelled), Run::whole())
            .is_ok()
    );
}

#[test]
#[ignore = "prints how fast it is"]
fn speed() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let scalars: Vec<Scalar> = (0..1 << 16).map(|_| Scalar::random(&mut random)).collect();
    let given = |range: Range<usize>, words: &mut Vec<Words>| {
        words.extend(scalars[range].iter().map(value));
        Ok::<(), Cancelled>(())
    };
    let one = Run {
        threads: std::num::NonZeroUsize::MIN,
        ..Run::whole()
    };
    for (name, cpu) in [("portable", Cpu::PORTABLE), ("best", Cpu::detect())] {
        // windows of 10 to 16 bits
        for announced in [1 << 10, 1 << 14, 1 << 18, 1 << 22] {
            let bits = Windows::for_multiples(announced).bits();
            let g1 = G1Multiples::new(cpu, G1Projective::generator(), announced, one).unwrap();
            let g2 = G2Multiples::new(cpu, G2Projective::generator(), announced, one).unwrap();
            let time = |work: &dyn Fn() -> Result<(), Cancelled>| {
                let begun = std::time::Instant::now();
                work().unwrap();
                begun.elapsed().as_secs_f64() * 1e9 / scalars.len() as f64
            };
            let nothing = |_: usize, _: &[u8]| Ok(());
            let g1 = time(&|| g1.each(scalars.len(), given, nothing, one));
            let g2 = time(&|| g2.each(scalars.len(), given, nothing, one));
            println!("{name}, {bits} bits: G1 {g1:.0} ns, G2 {g2:.0} ns");
        }
    }
}
