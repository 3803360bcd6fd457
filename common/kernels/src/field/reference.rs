//! What the lanes must compute, by the scalars of blstrs: each routine beside its plain
//! meaning, on random elements and on those at the edges of the allowed range.

use super::limbs::value;
#[cfg(target_arch = "x86_64")]
use super::limbs::{LIMB, Limbs, P};
use blstrs::Scalar;
use ff::Field;

/// The element that limbs stand for; they need not be normal.
#[cfg(target_arch = "x86_64")]
fn element(limbs: &Limbs) -> Scalar {
    let radix = Scalar::from(1 << 52);
    limbs
        .iter()
        .rev()
        .fold(Scalar::ZERO, |sum, limb| sum * radix + Scalar::from(*limb))
}

/// 1 / 2^(52 × limbs)
#[cfg(target_arch = "x86_64")]
fn down(limbs: u64) -> Scalar {
    Scalar::from(2).pow_vartime([52 * limbs]).invert().unwrap()
}

mod words {
    use super::*;
    use crate::field::limbs::{MODULUS, Words};
    use crate::field::words::{Weighted, plus, subtract_once, times};
    use proptest::prelude::*;

    fn element(words: &Words) -> Scalar {
        let radix = Scalar::from(u64::MAX) + Scalar::ONE;
        words
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, word| sum * radix + Scalar::from(*word))
    }

    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()]
    }

    /// Up to 1.1 p: below 2^255 is near enough (1.104 p).
    fn words() -> impl Strategy<Value = Words> {
        let p = prop_oneof![Just(0), Just(1), Just(2)]
            .prop_map(|less| [MODULUS[0] - less, MODULUS[1], MODULUS[2], MODULUS[3]]);
        let any = [word(), word(), word(), word()].prop_map(|[a, b, c, d]| [a, b, c, d >> 1]);
        prop_oneof![1 => p, 8 => any]
    }

    proptest! {
        #[test]
        fn words_compute_what_scalars_compute(
            a in words(),
            b in words(),
            weights in prop::array::uniform2(0..1u64 << 47),
        ) {
            let down = |words: u64| Scalar::from(2).pow_vartime([64 * words]).invert().unwrap();
            let [x, y] = [&a, &b].map(element);
            let product = times(&a, &b);
            prop_assert_eq!(value(&(x * y * down(4))), product, "canonical");
            prop_assert_eq!(element(&plus(a, &b)), x + y);
            prop_assert_eq!(element(&subtract_once(a)), x);
            prop_assert!(subtract_once(a) == a || a.iter().rev().ge(MODULUS.iter().rev()));
            let mut sum = Weighted::default();
            sum.add(&a, weights[0]);
            sum.add(&b, weights[1]);
            let sum = sum.reduce();
            prop_assert_eq!(
                element(&sum),
                (x * Scalar::from(weights[0]) + y * Scalar::from(weights[1])) * down(1)
            );
            // less than p + 2^48/2^64 × 1.11 p
            prop_assert!(sum[3] < MODULUS[3] + (1 << 48));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "calls routines that need the CPU's vector units"
)]
mod lanes {
    use super::*;
    use crate::cpu::Cpu;
    use crate::field::fixed::{self, Fixed};
    use crate::field::lanes::{Lanes, Weighted, Word8, products, squares};
    use crate::field::loose::{self, Loose, multiple, transpose};
    use proptest::prelude::*;

    /// Eight elements, limbs outside, lanes inside, as a test sees them.
    type Eight = [Limbs; 8];

    #[derive(Debug, PartialEq)]
    struct Results {
        products: [Eight; 2],
        squares: [Eight; 2],
        dot: Eight,
        plus: Eight,
        weighted: Eight,
        weighted_plus: Eight,
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn run(a: &Eight, b: &Eight, addend: &Limbs, weights: [u64; 2]) -> Results {
        let [a, b] = [a, b].map(|x| Lanes::from_limbs(x));
        let mut sum = Weighted::zero();
        sum.add(&a, weights[0]);
        sum.add(&b, weights[1]);
        Results {
            products: products(&[a, b], &[b, b]).map(|product| product.limbs()),
            squares: squares(&[a, b]).map(|square| square.limbs()),
            dot: Lanes::sum_of_products([&a, &b], [&a, &Lanes::splat(addend)]).limbs(),
            plus: a.plus(addend).limbs(),
            weighted: sum.reduce().limbs(),
            weighted_plus: sum.reduce_plus(addend).limbs(),
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn through_words(words: &[Word8; 4]) -> (Eight, [Word8; 4]) {
        let lanes = Lanes::from_words(words);
        (lanes.limbs(), lanes.to_words())
    }

    /// Elements up to 2^259: products of two stay within what is allowed.
    fn limbs() -> impl Strategy<Value = Limbs> {
        let edge = prop_oneof![Just(0), Just(1), Just(LIMB), Just(LIMB - 1), 0..=LIMB];
        let p = prop_oneof![Just(P), Just([P[0] - 1, P[1], P[2], P[3], P[4]])];
        let any = [edge.clone(), edge.clone(), edge.clone(), edge.clone(), edge]
            .prop_map(|[a, b, c, d, e]| [a, b, c, d, e >> 1]);
        prop_oneof![1 => p, 8 => any]
    }

    fn canonical() -> impl Strategy<Value = Limbs> {
        any::<[u64; 4]>().prop_map(|seed| {
            let element = seed
                .iter()
                .fold(Scalar::ONE, |x, word| x * Scalar::from(*word) + x);
            crate::field::limbs::split(value(&element))
        })
    }

    proptest! {
        #[test]
        fn lanes_compute_what_scalars_compute(
            a in prop::array::uniform8(limbs()),
            b in prop::array::uniform8(limbs()),
            addend in canonical(),
            weights in prop::array::uniform2(0..1u64 << 49),
        ) {
            if !Cpu::detect().ifma {
                return Ok(());
            }
            // SAFETY: the CPU has what `run` asks for
            let results = unsafe { run(&a, &b, &addend, weights) };
            for lane in 0..8 {
                let [x, y, c] = [&a[lane], &b[lane], &addend].map(element);
                let sum = (x * Scalar::from(weights[0]) + y * Scalar::from(weights[1])) * down(1);
                for (result, expected) in [
                    (results.products[0][lane], x * y * down(5)),
                    (results.products[1][lane], y * y * down(5)),
                    (results.squares[0][lane], x * x * down(5)),
                    (results.squares[1][lane], y * y * down(5)),
                    (results.dot[lane], (x * y + x * c) * down(5)),
                    (results.plus[lane], x + c),
                    (results.weighted[lane], sum),
                    (results.weighted_plus[lane], sum + c),
                ] {
                    prop_assert!(result.iter().all(|limb| *limb <= LIMB), "normal: {result:x?}");
                    prop_assert_eq!(element(&result), expected);
                }
            }
        }

        #[test]
        fn words_go_in_and_come_out_canonical(elements in prop::array::uniform8(canonical())) {
            if !Cpu::detect().ifma {
                return Ok(());
            }
            // every other lane above p, as the last reduction may leave it
            let scalars = elements.map(|limbs| element(&limbs));
            let mut words = [[0; 8]; 4];
            for (lane, scalar) in scalars.iter().enumerate() {
                let mut carry = 0u128;
                for (i, word) in value(scalar).into_iter().enumerate() {
                    carry += u128::from(word);
                    if lane % 2 == 1 {
                        carry += u128::from(crate::field::limbs::MODULUS[i]);
                    }
                    words[i][lane] = carry as u64;
                    carry >>= 64;
                }
            }
            // SAFETY: the CPU has what it asks for
            let (limbs, out) = unsafe { through_words(&words) };
            for (lane, scalar) in scalars.iter().enumerate() {
                prop_assert_eq!(element(&limbs[lane]), *scalar);
                prop_assert_eq!(out.map(|word| word[lane]), value(scalar));
            }
        }
    }

    /// Sums and differences as a transform makes them.
    #[derive(Debug)]
    struct Sums {
        product: Eight,
        sum: Eight,
        difference: Eight,
        reduced: Eight,
        stored: Eight,
        transposed: [Eight; 8],
    }

    /// `a` and `b` below 8 p.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn sums(a: &Eight, b: &Eight) -> Sums {
        let [a, b] = [a, b].map(|x| Lanes::from_limbs(x));
        let [product, _] = loose::products(&[a, b], &[b, a]);
        let [x, y] = [a.loose(), b.loose()];
        // rows that are told apart: b, b + a·b, b + 2 a·b, …, limbs not carried
        let mut rows = [y; 8];
        for i in 1..8 {
            rows[i] = rows[i - 1].plus(&product);
        }
        transpose(&mut rows);
        Sums {
            product: product.carry().limbs(),
            sum: x.plus(&product).plus(&y).carry().limbs(),
            difference: x
                .minus(&y, &multiple(8))
                .minus(&product, &multiple(4))
                .carry()
                .limbs(),
            reduced: x.plus(&y).minus(&product, &multiple(3)).reduce().limbs(),
            stored: Loose::load(&x.minus(&y, &multiple(8)).store())
                .carry()
                .limbs(),
            transposed: rows.map(|row| row.carry().limbs()),
        }
    }

    fn below_eight() -> impl Strategy<Value = Limbs> {
        // the others are below 2^257 = 4.4 p
        let near = (0..8u64, 0..4u64).prop_map(|(k, less)| {
            let mut limbs = multiple(k);
            limbs[0] = limbs[0].saturating_sub(less);
            limbs
        });
        prop_oneof![1 => near, 4 => limbs().prop_map(|[a, b, c, d, e]| [a, b, c, d, e >> 2])]
    }

    /// Below 3 p.
    fn is_small(limbs: &Limbs) -> bool {
        let bound = multiple(3);
        limbs.iter().rev().lt(bound.iter().rev())
    }

    proptest! {
        #[test]
        fn loose_sums_are_what_scalars_compute(
            a in prop::array::uniform8(below_eight()),
            b in prop::array::uniform8(below_eight()),
        ) {
            if !Cpu::detect().ifma {
                return Ok(());
            }
            // SAFETY: the CPU has what `sums` asks for
            let sums = unsafe { sums(&a, &b) };
            for lane in 0..8 {
                let [x, y] = [&a[lane], &b[lane]].map(element);
                let product = x * y * down(5);
                for (result, expected) in [
                    (sums.product[lane], product),
                    (sums.sum[lane], x + product + y),
                    (sums.difference[lane], x - y - product),
                    (sums.reduced[lane], x + y - product),
                    (sums.stored[lane], x - y),
                ] {
                    prop_assert!(result.iter().all(|limb| *limb <= LIMB), "normal: {result:x?}");
                    prop_assert_eq!(element(&result), expected);
                }
                prop_assert!(is_small(&sums.reduced[lane]));
                for (i, row) in sums.transposed.iter().enumerate() {
                    let expected = element(&b[i]) + element(&a[i]) * element(&b[i]) * down(5) * Scalar::from(lane as u64);
                    prop_assert_eq!(element(&row[lane]), expected);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
    fn times_constants(elements: &[Eight; 2], constants: &[Fixed; 2]) -> [Eight; 2] {
        let elements = elements.each_ref().map(|x| Lanes::from_limbs(x));
        let constants = constants.map(|constant| constant.splat());
        fixed::products(&elements, &constants).map(|product| product.limbs())
    }

    proptest! {
        #[test]
        fn products_with_constants_are_those_of_scalars(
            elements in prop::array::uniform2(prop::array::uniform8(any_limbs())),
            constant in canonical(),
            edge in prop::sample::select(vec![0, 1, 2, 1 << 32, u64::MAX]),
            negative in any::<bool>(),
        ) {
            if !Cpu::detect().ifma {
                return Ok(());
            }
            let edge = if negative { -Scalar::from(edge) } else { Scalar::from(edge) };
            let constants = [element(&constant), edge];
            // SAFETY: the CPU has what it asks for
            let products = unsafe { times_constants(&elements, &constants.map(Fixed::new)) };
            for ((products, elements), constant) in products.iter().zip(&elements).zip(constants) {
                for (product, limbs) in products.iter().zip(elements) {
                    prop_assert!(product.iter().all(|limb| *limb <= LIMB), "normal: {product:x?}");
                    prop_assert_eq!(element(product), element(limbs) * constant);
                    // of anything below 2^260 less than (1 + 1) p, and a trifle
                    let bound = multiple(2);
                    prop_assert!(product.iter().rev().le(bound.iter().rev()));
                }
            }
        }
    }

    /// Any normal element.
    fn any_limbs() -> impl Strategy<Value = Limbs> {
        let edge = prop_oneof![Just(0), Just(LIMB), Just(LIMB - 1), 0..=LIMB];
        [edge.clone(), edge.clone(), edge.clone(), edge.clone(), edge]
    }
}
