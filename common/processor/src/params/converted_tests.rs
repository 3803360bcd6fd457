//! Converted files: made once, believed only when whole and of the right origin.

use super::*;
use crate::params::show::Silent;
use bellperson::{Circuit, ConstraintSystem, SynthesisError, groth16::generate_random_parameters};
use blstrs::{Bls12, Scalar};
use rand::rngs::OsRng;
use std::{os::unix::fs::MetadataExt, sync::Mutex};

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

/// A directory with parameters as the library makes them.
struct Cache {
    dir: tempfile::TempDir,
    params: PathBuf,
    cpu: Cpu,
}

impl Cache {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let params = dir.path().join("square.params");
        let cache = Self {
            dir,
            params,
            cpu: Cpu::PORTABLE,
        };
        cache.replace();
        cache
    }

    /// Other parameters of the same size.
    fn replace(&self) {
        let made = generate_random_parameters::<Bls12, _, _>(Square, &mut OsRng).unwrap();
        let mut bytes = Vec::new();
        made.write(&mut bytes).unwrap();
        fs::write(&self.params, bytes).unwrap();
    }

    fn converted(&self) -> PathBuf {
        beside(&self.params, self.cpu)
    }

    /// The parameters as their user has them, and what was told meanwhile.
    fn use_them(&self) -> (Vec<u8>, Vec<String>) {
        let told = Mutex::new(Vec::new());
        let tell = |text| told.lock().unwrap().push(text);
        let parameters = parameters(&self.params, self.cpu, &tell).unwrap();
        (bytes(&parameters), told.into_inner().unwrap())
    }

    /// What they are according to the library.
    fn wanted(&self) -> Vec<u8> {
        bytes(&decode(&self.params, self.cpu, &|_| {}).unwrap())
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

fn bytes(parameters: &Parameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    stored::write(parameters, b"", &mut bytes, |_, _| {}).unwrap();
    bytes
}

#[test]
fn a_converted_file_is_made_on_first_use_and_mapped_from_then_on() {
    let cache = Cache::new();
    let (first, told) = cache.use_them();
    assert_eq!(first, cache.wanted());
    assert!(told.iter().any(|text| text.contains("100 %")), "{told:?}");
    let inode = fs::metadata(cache.converted()).unwrap().ino();
    let (second, told) = cache.use_them();
    assert_eq!((second, told), (first, Vec::new()));
    assert_eq!(fs::metadata(cache.converted()).unwrap().ino(), inode);
    // the parameters, the file, its lock
    assert_eq!(cache.files(), 3);
    assert!(matches!(look(&cache.params, cache.cpu), Found::Good));
}

#[test]
fn a_damaged_or_cut_off_file_is_made_anew() {
    let cache = Cache::new();
    let (first, _) = cache.use_them();
    let whole = fs::read(cache.converted()).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for bad in [&damaged[..], &whole[..whole.len() - 1], b""] {
        // as a disk does it, without a new time of anything
        fs::remove_file(cache.converted()).unwrap();
        fs::write(cache.converted(), bad).unwrap();
        let found = look(&cache.params, cache.cpu);
        assert!(matches!(found, Found::Unusable(_)), "{found:?}");
        let (again, told) = cache.use_them();
        assert!(again == first && !told.is_empty());
        assert!(matches!(look(&cache.params, cache.cpu), Found::Good));
    }
}

#[test]
fn other_parameters_are_converted_anew_and_the_same_are_not() {
    let cache = Cache::new();
    cache.use_them();
    let inode = || fs::metadata(cache.converted()).unwrap().ino();
    let first = inode();
    // the same, written again: another time, but the digest that was noted
    let same = fs::read(&cache.params).unwrap();
    fs::write(&cache.params, same).unwrap();
    let (_, told) = cache.use_them();
    assert_eq!((inode(), told), (first, Vec::new()));
    cache.replace();
    assert!(matches!(look(&cache.params, cache.cpu), Found::Unusable(_)));
    let (found, told) = cache.use_them();
    assert!(found == cache.wanted() && !told.is_empty());
    assert!(matches!(look(&cache.params, cache.cpu), Found::Good));
}

#[test]
fn where_no_file_can_be_made_parameters_are_decoded_in_memory() {
    // no lock can be taken, or nothing written; this holds for root, too
    for in_the_way in ["lock", "new"] {
        let cache = Cache::new();
        let path = sibling(&cache.converted(), in_the_way).unwrap();
        fs::create_dir(&path).unwrap();
        for _ in 0..2 {
            let (found, told) = cache.use_them();
            assert!(found == cache.wanted());
            let decodings = told.iter().filter(|text| text.starts_with("decoding"));
            assert_eq!(decodings.count(), 1, "{told:?}");
            assert!(!cache.converted().exists());
        }
    }
}

#[test]
fn a_disk_that_is_too_small_is_not_filled() {
    let dir = tempfile::tempdir().unwrap();
    let error = room(&dir.path().join("file"), u64::MAX).unwrap_err();
    assert!(error.to_string().contains("MiB are needed"), "{error}");
}

#[test]
fn several_that_need_it_at_once_make_one_file() {
    let cache = Cache::new();
    let wanted = cache.wanted();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (found, told) = cache.use_them();
                assert!(found == wanted, "{told:?}");
            });
        }
    });
    assert_eq!(cache.files(), 3);
}

#[test]
fn parameters_that_the_library_keeps_or_that_are_missing_are_not_converted() {
    let dir = tempfile::tempdir().unwrap();
    let convert = |size| convert_all_in(dir.path(), &[size], false, &Silent).unwrap_err();
    assert!(matches!(
        convert(SectorSize::GiB32),
        ParamsError::NotConverted(SectorSize::GiB32)
    ));
    assert!(matches!(convert(SectorSize::KiB2), ParamsError::Missing(_)));
}
