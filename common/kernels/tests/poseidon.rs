//! Poseidon on every code this CPU can run, against neptune.

use blstrs::Scalar;
use damocles_kernels::cpu::Cpu;
use damocles_kernels::poseidon::{Arity, NotCanonical, Poseidon};
use ff::{Field, PrimeField};
use generic_array::typenum::{U2, U4, U8, U11};
use neptune::poseidon::{Poseidon as Neptune, PoseidonConstants};
use proptest::prelude::*;
use std::sync::LazyLock;

static C2: LazyLock<PoseidonConstants<Scalar, U2>> = LazyLock::new(PoseidonConstants::new);
static C4: LazyLock<PoseidonConstants<Scalar, U4>> = LazyLock::new(PoseidonConstants::new);
static C8: LazyLock<PoseidonConstants<Scalar, U8>> = LazyLock::new(PoseidonConstants::new);
static C11: LazyLock<PoseidonConstants<Scalar, U11>> = LazyLock::new(PoseidonConstants::new);

fn neptune(preimage: &[Scalar]) -> [u8; 32] {
    match preimage.len() {
        2 => Neptune::new_with_preimage(preimage, &C2).hash(),
        4 => Neptune::new_with_preimage(preimage, &C4).hash(),
        8 => Neptune::new_with_preimage(preimage, &C8).hash(),
        11 => Neptune::new_with_preimage(preimage, &C11).hash(),
        arity => panic!("no arity {arity}"),
    }
    .to_repr()
}

/// Every code there is on this CPU.
fn codes(arity: Arity) -> [Poseidon; 3] {
    [
        Poseidon::new(arity, Cpu::detect()),
        Poseidon::new(arity, Cpu::PORTABLE),
        Poseidon::neptune(arity),
    ]
}

/// A pseudorandom element for each number.
fn element(number: u64) -> Scalar {
    (Scalar::from(number) + Scalar::from(0x9e37_79b9)).pow_vartime([u64::MAX, number | 1])
}

fn bytes(elements: &[Scalar]) -> Vec<u8> {
    elements.iter().flat_map(PrimeField::to_repr).collect()
}

/// Hashes as a tree row: neighbours are hashed together.
fn tree_row(code: &Poseidon, arity: usize, below: &[u8]) -> Result<Vec<u8>, NotCanonical> {
    let rows: Vec<&[u8]> = (0..arity)
        .map(|i| below.get(32 * i..).unwrap_or(&[]))
        .collect();
    let mut out = vec![0; below.len() / arity];
    code.hash_rows(&rows, 32 * arity, &mut out).map(|()| out)
}

#[test]
fn batches_of_any_length_are_neptunes() {
    for arity in Arity::ALL {
        let inputs = arity.inputs();
        let elements: Vec<Scalar> = (0..40 * inputs as u64).map(element).collect();
        let expected: Vec<u8> = elements.chunks(inputs).flat_map(neptune).collect();
        let below = bytes(&elements);
        for code in codes(arity) {
            for length in 0..=40 {
                let hashes = tree_row(&code, inputs, &below[..32 * inputs * length]).unwrap();
                assert_eq!(
                    hashes,
                    expected[..32 * length],
                    "{} {arity:?}, {length} hashes",
                    code.name()
                );
            }
        }
    }
}

#[test]
fn the_code_is_chosen_by_what_the_cpu_has() {
    for arity in Arity::ALL {
        let names = codes(arity).map(|code| code.name());
        assert_eq!(names[1..], ["portable", "neptune"]);
        assert_eq!(names[0] == "avx512-ifma 2x8", Cpu::detect().ifma);
    }
}

#[test]
fn columns_at_any_address_are_neptunes() {
    const LENGTH: usize = 19;
    for arity in Arity::ALL {
        let inputs = arity.inputs();
        let layers: Vec<Vec<Scalar>> = (0..inputs)
            .map(|layer| {
                (0..LENGTH)
                    .map(|node| element((1000 * layer + node) as u64))
                    .collect()
            })
            .collect();
        let expected: Vec<u8> = (0..LENGTH)
            .flat_map(|node| neptune(&layers.iter().map(|l| l[node]).collect::<Vec<_>>()))
            .collect();
        for code in codes(arity) {
            for shift in [0, 1, 7, 31, 63] {
                let files: Vec<Vec<u8>> = layers
                    .iter()
                    .map(|layer| [vec![0xff; shift], bytes(layer)].concat())
                    .collect();
                let rows: Vec<&[u8]> = files.iter().map(|file| &file[shift..]).collect();
                let mut out = vec![0; shift + 32 * LENGTH];
                code.hash_rows(&rows, 32, &mut out[shift..]).unwrap();
                assert_eq!(out[shift..], expected, "{} {arity:?}", code.name());
            }
        }
    }
}

/// The largest numbers of 256 bits that matter, little end first.
fn edges() -> Vec<([u8; 32], bool)> {
    let largest = (-Scalar::ONE).to_repr();
    let mut modulus = largest;
    modulus[0] += 1;
    let mut above = modulus;
    above[31] += 1;
    let mut half = [0xff; 32];
    half[31] = 0x7f;
    vec![
        ([0; 32], true),
        (Scalar::ONE.to_repr(), true),
        (largest, true),
        ((-Scalar::from(2)).to_repr(), true),
        (modulus, false),
        (above, false),
        (half, false),
        ([0xff; 32], false),
    ]
}

#[test]
fn elements_at_the_edges_of_the_field() {
    for arity in Arity::ALL {
        let inputs = arity.inputs();
        for (edge, valid) in edges() {
            let elements: Vec<u8> = (0..17 * inputs).flat_map(|_| edge).collect();
            for code in codes(arity) {
                let result = tree_row(&code, inputs, &elements);
                if valid {
                    let scalar = Scalar::from_repr(edge).unwrap();
                    let expected = neptune(&vec![scalar; inputs]);
                    assert_eq!(result.unwrap(), expected.repeat(17), "{}", code.name());
                } else {
                    let first = NotCanonical {
                        hash: 0,
                        element: 0,
                    };
                    assert_eq!(result, Err(first), "{}", code.name());
                }
            }
        }
    }
}

#[test]
fn the_first_element_that_is_none_is_told() {
    for arity in Arity::ALL {
        let inputs = arity.inputs();
        let good: Vec<u8> = (0..37 * inputs as u64)
            .flat_map(|i| element(i).to_repr())
            .collect();
        for (edge, valid) in edges() {
            for hash in [0, 7, 8, 15, 16, 36] {
                for element in 0..inputs {
                    let mut below = good.clone();
                    let at = 32 * (hash * inputs + element);
                    below[at..at + 32].copy_from_slice(&edge);
                    // one more behind it, which must not be the one that is told
                    let last = below.len() - 32;
                    below[last..].copy_from_slice(&[0xff; 32]);
                    let first = if valid {
                        (36, inputs - 1)
                    } else {
                        (hash, element)
                    };
                    let expected = Err(NotCanonical {
                        hash: first.0,
                        element: first.1,
                    });
                    let told = codes(arity).map(|code| tree_row(&code, inputs, &below).map(drop));
                    let overwritten = at == last;
                    if !overwritten {
                        assert_eq!(told, [expected; 3], "{arity:?} {hash} {element}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_elements_hash_as_neptune_does(
        seeds in prop::collection::vec(any::<[u64; 4]>(), 88),
        edges in prop::collection::vec((0..88usize, 0..4usize), 0..30),
    ) {
        let mut elements: Vec<Scalar> = seeds
            .iter()
            .map(|seed| seed.iter().fold(Scalar::ZERO, |x, word| {
                x * (Scalar::from(u64::MAX) + Scalar::ONE) + Scalar::from(*word)
            }))
            .collect();
        let special = [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -Scalar::from(2)];
        for (at, which) in edges {
            elements[at] = special[which];
        }
        for arity in Arity::ALL {
            let inputs = arity.inputs();
            let expected: Vec<u8> = elements.chunks_exact(inputs).flat_map(neptune).collect();
            for code in codes(arity) {
                prop_assert_eq!(&tree_row(&code, inputs, &bytes(&elements)).unwrap(), &expected);
            }
        }
    }
}
