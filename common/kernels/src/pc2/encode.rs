//! Sealing a node: data plus label in the scalar field.

use crate::{
    field::{
        limbs::{is_canonical, put, words},
        words::{plus, subtract_once},
    },
    tree::octree::NODE,
};

/// Replaces each node of `data` by the sum with its label. Both are little-endian field
/// elements. Error: the first node whose data or label is none.
pub(super) fn encode(data: &mut [u8], labels: &[u8]) -> Result<(), usize> {
    for (node, (data, label)) in data
        .chunks_exact_mut(NODE)
        .zip(labels.chunks_exact(NODE))
        .enumerate()
    {
        let (value, key) = (words(data), words(label));
        // both below the modulus, which has 255 bits: the sum fits
        if !is_canonical(&value) || !is_canonical(&key) {
            return Err(node);
        }
        put(data, subtract_once(plus(value, &key)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::limbs::{MODULUS, Words};
    use blstrs::Scalar;
    use ff::{Field, PrimeField};
    use proptest::prelude::*;

    fn bytes(number: Words) -> Vec<u8> {
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
            let scalar = |n: Words| Option::<Scalar>::from(Scalar::from_repr(bytes(n).try_into().unwrap()));
            let got = encoded(&bytes(a), &bytes(b));
            match (scalar(a), scalar(b)) {
                (Some(a), Some(b)) => prop_assert_eq!(got.unwrap(), (a + b).to_repr().to_vec()),
                _ => prop_assert!(got.is_err()),
            }
        }
    }
}
