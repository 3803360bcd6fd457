//! Sealing a node: data plus label in the scalar field.

use crate::{field::limbs::MODULUS, tree::octree::NODE};

type Number = [u64; 4];

/// Replaces each node of `data` by the sum with its label. Both are little-endian field
/// elements. Error: the first node whose data or label is none.
pub(super) fn encode(data: &mut [u8], labels: &[u8]) -> Result<(), usize> {
    for (node, (data, label)) in data
        .chunks_exact_mut(NODE)
        .zip(labels.chunks_exact(NODE))
        .enumerate()
    {
        let (value, key) = (read(data), read(label));
        // both below the modulus, which has 255 bits: the sum fits
        if !subtract(value, MODULUS).1 || !subtract(key, MODULUS).1 {
            return Err(node);
        }
        let sum = add(value, key);
        let (reduced, below) = subtract(sum, MODULUS);
        let sum = if below { sum } else { reduced };
        for (to, word) in data.chunks_exact_mut(8).zip(sum) {
            to.copy_from_slice(&word.to_le_bytes());
        }
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Number {
    let mut number = [0; 4];
    for (word, from) in number.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(from);
        *word = u64::from_le_bytes(eight);
    }
    number
}

fn add(a: Number, b: Number) -> Number {
    let mut carry = false;
    std::array::from_fn(|i| {
        let (sum, over) = a[i].overflowing_add(b[i]);
        let (sum, more) = sum.overflowing_add(u64::from(carry));
        carry = over || more;
        sum
    })
}

/// The difference, and whether `a` was the smaller.
fn subtract(a: Number, b: Number) -> (Number, bool) {
    let mut borrow = false;
    let difference = std::array::from_fn(|i| {
        let (rest, under) = a[i].overflowing_sub(b[i]);
        let (rest, more) = rest.overflowing_sub(u64::from(borrow));
        borrow = under || more;
        rest
    });
    (difference, borrow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blstrs::Scalar;
    use ff::{Field, PrimeField};
    use proptest::prelude::*;

    fn bytes(number: Number) -> Vec<u8> {
        number.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn encoded(data: &[u8], label: &[u8]) -> Result<Vec<u8>, usize> {
        let mut data = data.to_vec();
        encode(&mut data, label).map(|()| data)
    }

    #[test]
    fn at_the_edges_of_the_field() {
        let largest = (-Scalar::ONE).to_repr();
        let one = Scalar::ONE.to_repr();
        let zero = Scalar::ZERO.to_repr();
        let double = (-Scalar::from(2)).to_repr();
        assert_eq!(encoded(&largest, &one).unwrap(), zero);
        assert_eq!(encoded(&zero, &largest).unwrap(), largest);
        assert_eq!(encoded(&largest, &largest).unwrap(), double);
        for no in [bytes(MODULUS), vec![255; 32]] {
            assert_eq!(encoded(&no, &zero), Err(0));
            let pair = [&zero[..], &no].concat();
            assert_eq!(encoded(&[zero, zero].concat(), &pair), Err(1));
        }
    }

    proptest! {
        #[test]
        fn as_the_field_adds(a in any::<[u64; 4]>(), b in any::<[u64; 4]>()) {
            let scalar = |n: Number| Option::<Scalar>::from(Scalar::from_repr(bytes(n).try_into().unwrap()));
            let got = encoded(&bytes(a), &bytes(b));
            match (scalar(a), scalar(b)) {
                (Some(a), Some(b)) => prop_assert_eq!(got.unwrap(), (a + b).to_repr().to_vec()),
                _ => prop_assert!(got.is_err()),
            }
        }
    }
}
