//! What was written comes back; what was damaged since does not.

use super::*;
use bellperson::{
    Circuit, ConstraintSystem, SynthesisError,
    groth16::{Parameters as Theirs, generate_random_parameters},
};
use blstrs::Scalar;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Knows x with x² = out.
struct Square;

impl Circuit<Scalar> for Square {
    fn synthesize<CS: ConstraintSystem<Scalar>>(self, cs: &mut CS) -> Result<(), SynthesisError> {
        let x = cs.alloc(|| "x", || Ok(Scalar::from(3)))?;
        let out = cs.alloc_input(|| "out", || Ok(Scalar::from(9)))?;
        cs.enforce(|| "square", |s| s + x, |s| s + x, |s| s + out);
        Ok(())
    }
}

fn theirs() -> Theirs<Bls12> {
    generate_random_parameters(Square, &mut ChaCha8Rng::seed_from_u64(1)).unwrap()
}

/// A file of some name that is gone already.
fn file(content: &[u8]) -> File {
    let name = format!(
        "damocles-stored-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name.replace(['(', ')'], ""));
    let mut file = File::create_new(&path).unwrap();
    file.write_all(content).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn written(cpu: Cpu) -> (Parameters, Vec<u8>) {
    let parameters = Parameters::of(cpu, &theirs()).unwrap();
    let mut bytes = Vec::new();
    write(&parameters, b"origin", &mut bytes, |_, _| {}).unwrap();
    assert_eq!(bytes.len() as u64, length(&parameters, b"origin").unwrap());
    (parameters, bytes)
}

fn mapped(bytes: &[u8], cpu: Cpu) -> Result<Parameters, Unusable> {
    let fits = |origin: &[u8]| origin == b"origin";
    map(&file(bytes), cpu, fits, Run::whole())
}

#[test]
fn parameters_come_back_from_a_file() {
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        let (parameters, bytes) = written(cpu);
        let again = mapped(&bytes, cpu).unwrap();
        let key = key(&parameters).unwrap();
        let sections = |parameters| sections(parameters, b"", &key).map(<[u8]>::to_vec);
        assert_eq!(sections(&again), sections(&parameters));
        assert_eq!(super::key(&again).unwrap(), key);
        // and once more
        let mut copy = Vec::new();
        write(&again, b"origin", &mut copy, |_, _| {}).unwrap();
        assert!(copy == bytes);
    }
}

#[test]
fn a_damaged_file_is_refused_wherever_the_damage_is() {
    let (_, bytes) = written(Cpu::PORTABLE);
    for at in (0..300).chain((300..bytes.len()).step_by(97)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(mapped(&damaged, Cpu::PORTABLE).is_err(), "{at}");
    }
}

#[test]
fn a_file_that_is_cut_off_or_of_another_origin_is_refused() {
    let (_, bytes) = written(Cpu::PORTABLE);
    for length in [
        0,
        1,
        100,
        PAGE,
        PAGE + DIGEST,
        bytes.len() / 2,
        bytes.len() - 1,
    ] {
        assert!(mapped(&bytes[..length], Cpu::PORTABLE).is_err(), "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(mapped(&longer, Cpu::PORTABLE).is_err());
    let other = map(&file(&bytes), Cpu::PORTABLE, |_| false, Run::whole());
    assert!(matches!(other, Err(Unusable::Wrong(what)) if what.contains("other parameters")));
    // of another version, or in another form
    for at in [16, 20] {
        let mut other = bytes.clone();
        other[at] += 1;
        let error = mapped(&other, Cpu::PORTABLE).unwrap_err();
        assert!(error.to_string().contains("another version"), "{error}");
    }
}

#[test]
fn the_digest_is_that_of_who_wrote() {
    for length in [1, CHUNK - 1, CHUNK, 20 * CHUNK + 5] {
        let content: Vec<u8> = (0..length).map(|i| (i * i) as u8).collect();
        let mut bytes = Vec::new();
        let mut out = Hashed {
            out: &mut bytes,
            chunk: Vec::new(),
            digests: Vec::new(),
            written: 0,
            told: |_| {},
        };
        out.add(&content).unwrap();
        out.end().unwrap();
        let sum = digest(&content, Run::whole()).unwrap();
        assert_eq!(bytes[length..], sum, "{length}");
    }
}
