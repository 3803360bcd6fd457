//! Poseidon over many inputs in memory, as a tree row is hashed.

use super::turns::{Sample, Side, Subject};
use damocles_kernels::{
    cpu::Cpu,
    poseidon::{Arity, Poseidon},
};
use rand::RngCore;
use std::{thread, time::Instant};

/// Bytes of a field element.
const ELEMENT: usize = 32;

#[derive(Debug)]
pub(super) struct Hashes {
    arity: Arity,
    threads: usize,
    elements: Vec<u8>,
    ours: Vec<u8>,
    reference: Vec<u8>,
}

impl Hashes {
    /// Of `bytes` of random field elements, or a little less.
    pub(super) fn new(arity: Arity, bytes: u64, threads: usize) -> anyhow::Result<Self> {
        let preimage = ELEMENT * arity.inputs();
        let count = usize::try_from(bytes)? / preimage;
        anyhow::ensure!(count > 0, "one hash needs {preimage} bytes");
        let mut elements = vec![0; count * preimage];
        random_elements(&mut elements);
        // tables that are made at the first use are not what is measured
        for poseidon in [
            Poseidon::new(arity, Cpu::detect()),
            Poseidon::neptune(arity),
        ] {
            let rows: Vec<&[u8]> = elements.chunks(ELEMENT).take(arity.inputs()).collect();
            poseidon.hash_rows(&rows, preimage, &mut [0; ELEMENT])?;
        }
        Ok(Self {
            arity,
            threads,
            elements,
            ours: vec![0; count * ELEMENT],
            reference: vec![0; count * ELEMENT],
        })
    }
}

/// Random numbers below the modulus.
pub(super) fn random_elements(bytes: &mut [u8]) {
    rand::thread_rng().fill_bytes(bytes);
    for element in bytes.chunks_exact_mut(ELEMENT) {
        // the modulus is above 2^254
        element[ELEMENT - 1] &= 0x3f;
    }
}

impl Subject for Hashes {
    fn run(&mut self, side: Side) -> anyhow::Result<Sample> {
        let (poseidon, out) = match side {
            Side::Ours => (Poseidon::new(self.arity, Cpu::detect()), &mut self.ours),
            Side::Reference => (Poseidon::neptune(self.arity), &mut self.reference),
        };
        out.fill(0);
        let preimage = ELEMENT * self.arity.inputs();
        let each = (out.len() / ELEMENT).div_ceil(self.threads);
        let began = Instant::now();
        let parts = out
            .chunks_mut(each * ELEMENT)
            .zip(self.elements.chunks(each * preimage));
        thread::scope(|scope| {
            let parts: Vec<_> = parts
                .map(|(out, elements)| {
                    scope.spawn(move || {
                        let inputs = preimage / ELEMENT;
                        let rows: Vec<&[u8]> =
                            (0..inputs).map(|i| &elements[i * ELEMENT..]).collect();
                        poseidon.hash_rows(&rows, preimage, out)
                    })
                })
                .collect();
            for part in parts {
                part.join()
                    .map_err(|_| anyhow::anyhow!("a hashing thread panicked"))??;
            }
            anyhow::Ok(())
        })?;
        Ok(Sample {
            seconds: began.elapsed().as_secs_f64(),
            kernel: poseidon.name().to_owned(),
        })
    }

    fn difference(&mut self) -> anyhow::Result<Option<String>> {
        let pairs = self.ours.iter().zip(&self.reference);
        let first = pairs.enumerate().find(|(_, (ours, theirs))| ours != theirs);
        Ok(first.map(|(byte, _)| format!("hash {} differs", byte / ELEMENT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_hash_the_same_and_a_difference_is_seen() {
        let mut hashes = Hashes::new(Arity::Two, 1000, 3).unwrap();
        assert_eq!(hashes.ours.len(), 15 * ELEMENT);
        hashes.run(Side::Ours).unwrap();
        let theirs = hashes.run(Side::Reference).unwrap();
        assert_eq!(theirs.kernel, "neptune");
        assert_eq!(hashes.difference().unwrap(), None);
        hashes.ours[40] ^= 1;
        assert_eq!(hashes.difference().unwrap().unwrap(), "hash 1 differs");
        assert!(Hashes::new(Arity::Eleven, 351, 1).is_err());
    }
}
