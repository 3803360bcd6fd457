//! Against bellperson: the same proof for the same randomness.

use super::*;
use bellperson::{
    Circuit, ConstraintSystem, SynthesisError,
    groth16::{create_proof, generate_random_parameters, prepare_verifying_key, verify_proof},
};
use ff::Field;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Knows x with x^(2^k) + x + 5 = out, and bits that it says nothing about.
#[derive(Clone, Debug)]
pub(crate) struct Powers {
    pub(crate) x: Option<Scalar>,
    pub(crate) squarings: usize,
    pub(crate) bits: usize,
}

impl Powers {
    pub(crate) fn out(&self) -> Scalar {
        let x = self.x.unwrap();
        let power = (0..self.squarings).fold(x, |power, _| power.square());
        power + x + Scalar::from(5)
    }
}

impl Circuit<Scalar> for Powers {
    fn synthesize<CS: ConstraintSystem<Scalar>>(self, cs: &mut CS) -> Result<(), SynthesisError> {
        let get = |value: Option<Scalar>| value.ok_or(SynthesisError::AssignmentMissing);
        let mut power = self.x;
        let x = cs.alloc(|| "x", || get(power))?;
        let mut last = x;
        for i in 0..self.squarings {
            power = power.map(|power| power.square());
            let next = cs.alloc(|| format!("power {i}"), || get(power))?;
            cs.enforce(|| "square", |s| s + last, |s| s + last, |s| s + next);
            last = next;
        }
        for i in 0..self.bits {
            let bit = self.x.map(|_| Scalar::from(i as u64 % 2));
            let bit = cs.alloc(|| format!("bit {i}"), || get(bit))?;
            let one = CS::one();
            cs.enforce(|| "a bit", |s| s + one - bit, |s| s + bit, |s| s);
        }
        let out = cs.alloc_input(|| "out", || get(self.x.map(|_| self.out())))?;
        let five = Scalar::from(5);
        cs.enforce(
            || "out",
            |s| s + last + x + (five, CS::one()),
            |s| s + CS::one(),
            |s| s + out,
        );
        Ok(())
    }
}

#[test]
fn a_proof_is_bellpersons_bit_by_bit_and_verifies() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for (squarings, bits) in [(1, 0), (2, 3), (30, 100), (90, 700)] {
        let circuit = Powers {
            x: None,
            squarings,
            bits,
        };
        let known =
            generate_random_parameters::<Bls12, _, _>(circuit.clone(), &mut random).unwrap();
        let verifying = prepare_verifying_key(&known.vk);
        let circuit = Powers {
            x: Some(Scalar::random(&mut random)),
            ..circuit
        };
        let [r, s] = [(); 2].map(|()| Scalar::random(&mut random));
        let wanted = create_proof(circuit.clone(), &known, r, s).unwrap();
        let bytes = |proof: &Proof<Bls12>| {
            let mut bytes = Vec::new();
            proof.write(&mut bytes).unwrap();
            bytes
        };
        for cpu in [Cpu::PORTABLE, Cpu::detect()] {
            let parameters = Parameters::of(cpu, &known).unwrap();
            let witness = Witness::of(circuit.clone()).unwrap();
            let blinding = Blinding { r, s };
            let proof = prove(cpu, witness, &parameters, blinding, Run::whole()).unwrap();
            assert_eq!(bytes(&proof), bytes(&wanted), "{squarings} {bits} {cpu:?}");
            assert!(verify_proof(&verifying, &proof, &[circuit.out()]).unwrap());
            // others' parameters
            let other = Powers {
                squarings: squarings + 1,
                ..circuit.clone()
            };
            let witness = Witness::of(other).unwrap();
            let none = prove(cpu, witness, &parameters, blinding, Run::whole());
            assert_eq!(none.unwrap_err(), NoProof::OtherParameters);
        }
    }
}

#[test]
fn parts_that_are_put_together_are_the_whole() {
    let part = |squarings| Powers {
        x: Some(Scalar::from(3)),
        squarings,
        bits: 5,
    };
    let begin = || {
        let mut witness = Witness::new();
        witness.alloc_input(|| "", || Ok(Scalar::ONE)).unwrap();
        witness
    };
    let (mut whole, mut parts) = (begin(), begin());
    for squarings in 1..5 {
        part(squarings).synthesize(&mut whole).unwrap();
        let mut one = begin();
        part(squarings).synthesize(&mut one).unwrap();
        parts.extend(&one);
    }
    assert_eq!(whole, parts);
}
