//! SnapEncode against storage-proofs-update: files and commitments of random sectors.

use blstrs::Scalar;
use damocles_kernels::{cpu::Cpu, poseidon, snap};
use ff::{Field, PrimeField};
use filecoin_hashers::{Domain, poseidon::PoseidonDomain};
use filecoin_proofs::{
    SectorShape2KiB, SectorShape4KiB, SectorShape8MiB, SectorShape16KiB, SectorShape16MiB,
    SectorShape32KiB, SectorShape512MiB, StoreConfig,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use storage_proofs_core::{
    cache_key::CacheKey,
    merkle::{MerkleTreeTrait, get_base_tree_count},
};
use storage_proofs_update::{
    EmptySectorUpdate,
    constants::{TreeRHasher, h_default},
};

/// Which Poseidon there is; the portable one and whatever this CPU has.
const CPUS: [fn() -> Cpu; 2] = [|| Cpu::PORTABLE, Cpu::detect];

struct Sector {
    dir: tempfile::TempDir,
    size: u64,
    comm_c: Scalar,
    comm_r_last: Scalar,
}

/// Random field elements; some of the data is zero, as where no deal is.
fn random(size: u64, seed: u64, zeros: bool) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..size / 32)
        .flat_map(|node| {
            if zeros && node % 64 > 40 {
                return [0; 32];
            }
            // 254 bits, as padded data has
            let mut element = Scalar::random(&mut rng).to_repr();
            element[31] &= 0x3f;
            element
        })
        .collect()
}

impl Sector {
    fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), random(size, size, false)).unwrap();
        fs::write(dir.path().join("data"), random(size, size + 1, true)).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        Self {
            dir,
            size,
            comm_c: Scalar::random(&mut rng),
            comm_r_last: Scalar::random(&mut rng),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// By the proofs library: CommR, CommRLast, CommD; files as named by `output`.
    fn reference<Tree>(&self, rows_discarded: u32) -> [[u8; 32]; 3]
    where
        Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>,
    {
        let cache = self.path("reference");
        fs::create_dir(&cache).unwrap();
        let replica = cache.join("replica");
        fs::File::create(&replica)
            .and_then(|file| file.set_len(self.size))
            .unwrap();
        let nodes = self.size as usize / 32;
        let config = |key: CacheKey, leaves: usize, arity: usize, discarded: usize| StoreConfig {
            path: cache.clone(),
            id: key.to_string(),
            // all nodes of a tree
            size: Some((leaves * arity - 1) / (arity - 1)),
            rows_to_discard: discarded,
        };
        let (comm_r, comm_r_last, comm_d) = EmptySectorUpdate::<Tree>::encode_into(
            nodes,
            config(CacheKey::CommDTree, nodes, 2, 0),
            config(
                CacheKey::CommRLastTree,
                nodes / get_base_tree_count::<Tree>(),
                8,
                rows_discarded as usize,
            ),
            PoseidonDomain::from(self.comm_c),
            PoseidonDomain::from(self.comm_r_last),
            &replica,
            &self.path("key"),
            &self.path("data"),
            h_default(nodes),
        )
        .unwrap();
        let bytes = |domain: &dyn Fn(&mut [u8])| {
            let mut bytes = [0; 32];
            domain(&mut bytes);
            bytes
        };
        [
            bytes(&|to| comm_r.write_bytes(to).unwrap()),
            bytes(&|to| comm_r_last.write_bytes(to).unwrap()),
            bytes(&|to| comm_d.write_bytes(to).unwrap()),
        ]
    }

    fn job(&self, output: &str, comm_d_new: [u8; 32], rows_discarded: u32) -> snap::Job {
        let cache_dir = self.path(output);
        fs::create_dir_all(&cache_dir).unwrap();
        snap::Job {
            sector_size: self.size,
            key: self.path("key"),
            data: self.path("data"),
            replica: cache_dir.join("replica"),
            cache_dir,
            comm_d_new,
            comm_c: self.comm_c.to_repr(),
            comm_r_last_old: self.comm_r_last.to_repr(),
            rows_discarded,
        }
    }
}

/// Names and contents of the files that both make.
fn output(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .filter(|(name, _)| !name.contains("tree-d"))
        .collect()
}

fn same<Tree>(size: u64, rows_discarded: u32)
where
    Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>,
{
    let runs = CPUS.map(|cpu| [(cpu(), 1), (cpu(), 3)]);
    same_in::<Tree>(size, rows_discarded, runs.as_flattened());
}

/// In each of these runs, on so many threads.
fn same_in<Tree>(size: u64, rows_discarded: u32, runs: &[(Cpu, usize)])
where
    Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>,
{
    let sector = Sector::new(size);
    let [comm_r, comm_r_last, comm_d] = sector.reference::<Tree>(rows_discarded);
    let expected = output(&sector.path("reference"));
    assert!(expected.len() > get_base_tree_count::<Tree>());
    for &(cpu, threads) in runs {
        let job = sector.job("own", comm_d, rows_discarded);
        let most = AtomicU64::new(0);
        let options = snap::Options {
            threads: NonZeroUsize::new(threads).unwrap(),
            ..snap::Options::new(cpu)
        };
        let roots = snap::run(&job, &options, &|done| {
            most.fetch_max(done, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(roots.comm_r_last, comm_r_last);
        assert_eq!(roots.comm_r, comm_r);
        assert_eq!(
            most.into_inner(),
            size,
            "progress ends at the sector's size"
        );
        let made = output(&sector.path("own"));
        assert_eq!(made.len(), expected.len());
        // not assert_eq: a difference would be printed byte by byte
        for (name, bytes) in made {
            assert!(
                expected[&name] == bytes,
                "{name} differs, {}",
                poseidon::code(cpu)
            );
        }
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

#[test]
fn one_tree_of_two_rows() {
    same::<SectorShape2KiB>(2 * KIB, 1);
}

#[test]
fn two_trees() {
    same::<SectorShape4KiB>(4 * KIB, 1);
}

#[test]
fn eight_trees() {
    same::<SectorShape16KiB>(16 * KIB, 1);
}

#[test]
fn twice_eight_trees() {
    same::<SectorShape32KiB>(32 * KIB, 1);
}

#[test]
fn a_tree_of_several_chunks() {
    same::<SectorShape8MiB>(8 * MIB, 2);
}

/// `cargo test -p damocles-kernels --test snap -- --ignored`
#[test]
#[ignore = "slow ring: the proofs library builds two trees over 8 MiB"]
fn as_many_rows_as_the_old_sector_has() {
    same::<SectorShape8MiB>(8 * MIB, 0);
    same::<SectorShape8MiB>(8 * MIB, 5);
}

/// `cargo test -p damocles-kernels --test snap -- --ignored`
#[test]
#[ignore = "slow ring: the proofs library builds a tree over 16 MiB"]
fn two_trees_of_several_chunks() {
    same::<SectorShape16MiB>(16 * MIB, 2);
}

/// The vector units' code alone; 3 GiB of disk, and 1.5 GiB of memory for the comparison.
/// `cargo test -p damocles-kernels --test snap -- --ignored 512mib`
#[test]
#[ignore = "slow ring: the proofs library builds two trees over 512 MiB"]
fn a_sector_of_512mib() {
    same_in::<SectorShape512MiB>(512 * MIB, 2, &[(Cpu::detect(), 3)]);
}

#[test]
fn what_cannot_be_updated_is_refused_by_name() {
    let sector = Sector::new(2 * KIB);
    let options = snap::Options::new(Cpu::detect());
    let refused = |job: &snap::Job| snap::run(job, &options, &|_| ()).unwrap_err().to_string();
    let good = sector.job("own", [1; 32], 1);

    let mut job = good.clone();
    job.replica = job.key.clone();
    assert!(refused(&job).contains("both read and written"));
    assert_eq!(fs::metadata(&job.key).unwrap().len(), 2 * KIB, "untouched");

    let mut job = good.clone();
    job.comm_c = [0xff; 32];
    assert!(refused(&job).contains("CommC"));

    let mut job = good.clone();
    job.rows_discarded = 2;
    assert!(refused(&job).contains("cannot leave out 2"));

    let mut bytes = fs::read(&good.data).unwrap();
    bytes[33 * 32..][..32].copy_from_slice(&[0xff; 32]);
    fs::write(&good.data, &bytes).unwrap();
    assert!(refused(&good).contains("node 33 of the data"));

    fs::write(&good.data, &bytes[32..]).unwrap();
    assert!(refused(&good).contains("has 2016 bytes instead of 2048"));

    let cancel = AtomicBool::new(true);
    let cancelled = snap::Options {
        cancel: &cancel,
        ..options
    };
    fs::write(&good.data, random(2 * KIB, 1, true)).unwrap();
    let end = snap::run(&good, &cancelled, &|_| ());
    assert!(matches!(end, Err(snap::Error::Cancelled)));
}
