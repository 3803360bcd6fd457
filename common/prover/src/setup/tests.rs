//! Against bellperson's generator with the same secrets, and with proofs.

use super::*;
use bellperson::{
    ConstraintSystem, LinearCombination, Variable,
    groth16::{
        Parameters, create_random_proof, generate_parameters, prepare_verifying_key, verify_proof,
    },
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{num::NonZeroUsize, sync::Mutex, sync::atomic::AtomicBool};

/// Knows numbers whose squares, with some others and coefficients of all kinds, come to what is
/// public. Some variables occur on one side only, some with coefficients that are 0 in sum.
#[derive(Clone, Copy)]
struct Squares {
    count: usize,
    known: bool,
}

impl Squares {
    fn public(self) -> Vec<Scalar> {
        (0..self.count as u64)
            .map(|i| Scalar::from((i + 2) * (i + 2)))
            .collect()
    }
}

impl Circuit<Scalar> for Squares {
    fn synthesize<CS: ConstraintSystem<Scalar>>(self, cs: &mut CS) -> Result<(), SynthesisError> {
        let get = |value: u64| match self.known {
            true => Ok(Scalar::from(value)),
            false => Err(SynthesisError::AssignmentMissing),
        };
        for i in 0..self.count as u64 {
            let x = cs.alloc(|| "x", || get(i + 2))?;
            let square = cs.alloc_input(|| "x²", || get((i + 2) * (i + 2)))?;
            cs.enforce(|| "", |s| s + x, |s| s + x, |s| s + square);
            // only on the right, as 2·x, and only in a product
            let twice = cs.alloc(|| "2x", || get(2 * i + 4))?;
            let four = cs.alloc(|| "4x", || get(4 * i + 8))?;
            let two = Scalar::from(2);
            let one: Variable = CS::one();
            cs.enforce(|| "", |s| s + (two, one), |s| s + twice, |s| s + four);
            cs.enforce(
                || "",
                |s| s + (two, x) - one + one,
                |s| s + one,
                |s| s + (-two, x) + (two + two, x),
            );
            let nothing = |s: LinearCombination<Scalar>| s + x - x;
            cs.enforce(|| "", nothing, |s| s + twice, |s| s);
        }
        Ok(())
    }
}

struct Secrets([Scalar; 5], Generators);

impl Secrets {
    fn random(random: &mut ChaCha8Rng) -> Self {
        let generators = Generators {
            g1: G1Projective::random(&mut *random),
            g2: G2Projective::random(&mut *random),
        };
        Self([(); 5].map(|()| Scalar::random(&mut *random)), generators)
    }

    fn waste(&self) -> Waste {
        let [tau, alpha, beta, gamma, delta] = self.0;
        Waste {
            tau,
            alpha,
            beta,
            gamma,
            delta,
        }
    }
}

fn made(
    cpu: Cpu,
    circuit: impl Fn() -> Squares + Sync,
    secrets: &Secrets,
    run: Run<'_>,
) -> Result<Vec<u8>, NoParameters> {
    let file = Mutex::new(Vec::new());
    let put = |place: u64, bytes: &[u8]| {
        let mut file = file.lock().unwrap();
        let (begin, end) = (place as usize, place as usize + bytes.len());
        let length = file.len().max(end);
        file.resize(length, 0xff);
        file[begin..end].copy_from_slice(bytes);
        Ok(())
    };
    let last = Mutex::new((0, 0));
    let told = |made, all| {
        let mut last = last.lock().unwrap();
        *last = (*last).max((made, all));
    };
    generate(cpu, circuit, secrets.1, &secrets.waste(), put, told, run)?;
    let (made, all) = last.into_inner().unwrap();
    assert!(made == all && made > 0, "{made} of {all}");
    Ok(file.into_inner().unwrap())
}

#[test]
fn parameters_are_bellpersons_bit_by_bit() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // 1 and 2^k constraints, and others
    for count in [0, 1, 3, 51, 700] {
        let circuit = Squares {
            count,
            known: false,
        };
        let secrets = Secrets::random(&mut random);
        let ([tau, alpha, beta, gamma, delta], Generators { g1, g2 }) = (secrets.0, secrets.1);
        let wanted =
            generate_parameters::<Bls12, _>(circuit, g1, g2, alpha, beta, gamma, delta, tau)
                .unwrap();
        let mut bytes = Vec::new();
        wanted.write(&mut bytes).unwrap();
        for cpu in [Cpu::PORTABLE, Cpu::detect()] {
            for threads in [1, 3] {
                let run = Run {
                    threads: NonZeroUsize::new(threads).unwrap(),
                    ..Run::whole()
                };
                let found = made(cpu, || circuit, &secrets, run).unwrap();
                // what differs is easier to see one by one
                let read = Parameters::<Bls12>::read(&*found, true).unwrap();
                assert_eq!(read.vk.alpha_g1, wanted.vk.alpha_g1);
                assert_eq!(read.vk.beta_g1, wanted.vk.beta_g1);
                assert_eq!(read.vk.beta_g2, wanted.vk.beta_g2);
                assert_eq!(read.vk.gamma_g2, wanted.vk.gamma_g2);
                assert_eq!(read.vk.delta_g1, wanted.vk.delta_g1);
                assert_eq!(read.vk.delta_g2, wanted.vk.delta_g2);
                assert_eq!(read.vk.ic, wanted.vk.ic);
                assert_eq!(read.h, wanted.h);
                assert_eq!(read.l, wanted.l);
                assert_eq!(read.a, wanted.a);
                assert_eq!(read.b_g1, wanted.b_g1);
                assert_eq!(read.b_g2, wanted.b_g2);
                assert!(found == bytes, "{count} {cpu:?} {threads}");
            }
        }
    }
}

#[test]
fn proofs_by_made_parameters_verify() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let circuit = Squares {
        count: 9,
        known: false,
    };
    let bytes = made(
        Cpu::detect(),
        || circuit,
        &Secrets::random(&mut random),
        Run::whole(),
    )
    .unwrap();
    let parameters = Parameters::<Bls12>::read(&*bytes, true).unwrap();
    let circuit = Squares {
        known: true,
        ..circuit
    };
    let proof = create_random_proof(circuit, &parameters, &mut random).unwrap();
    let key = prepare_verifying_key(&parameters.vk);
    let mut public = circuit.public();
    assert!(verify_proof(&key, &proof, &public).unwrap());
    public[4] += Scalar::ONE;
    assert!(!verify_proof(&key, &proof, &public).unwrap());
}

#[test]
fn what_cannot_be_made_is_said() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let circuit = Squares {
        count: 3,
        known: false,
    };
    let fixed = || circuit;
    let fails = |secrets: &Secrets, circuit: &(dyn Fn() -> Squares + Sync), run| {
        made(Cpu::detect(), circuit, secrets, run).unwrap_err()
    };
    for zero in 0..5 {
        let mut secrets = Secrets::random(&mut random);
        secrets.0[zero] = Scalar::ZERO;
        let why = fails(&secrets, &fixed, Run::whole());
        assert!(matches!(why, NoParameters::Degenerate), "{zero} {why}");
    }
    let mut secrets = Secrets::random(&mut random);
    // sixteen constraints
    secrets.0[0] = -Scalar::ONE;
    assert!(matches!(
        fails(&secrets, &fixed, Run::whole()),
        NoParameters::Degenerate
    ));
    let cancel = AtomicBool::new(true);
    let run = Run {
        cancel: &cancel,
        ..Run::whole()
    };
    let secrets = Secrets::random(&mut random);
    assert!(matches!(
        fails(&secrets, &fixed, run),
        NoParameters::Cancelled
    ));
    // a circuit that grows, or shrinks
    for step in [1, -1] {
        let asked = Mutex::new(5_isize);
        let other = || {
            let mut asked = asked.lock().unwrap();
            *asked += step;
            Squares {
                count: *asked as usize,
                known: false,
            }
        };
        let why = fails(&secrets, &other, Run::whole());
        assert!(why.to_string().contains("not always the same"), "{why}");
    }
}
