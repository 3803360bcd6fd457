//! tree-d against the file that filecoin-proofs writes.

use damocles_kernels::{
    cpu::Cpu,
    tree::binary::{self, Options},
};
use filecoin_proofs::{DefaultPieceHasher, StoreConfig};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    fs::{self, File},
    io::{BufWriter, Read, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
};
use storage_proofs_core::{
    cache_key::CacheKey,
    merkle::{BinaryMerkleTree, create_base_merkle_tree},
};

const NAME: &str = "sc-02-data-tree-d.dat";

/// The processors that tests force: everything, no vectors, and what lies between.
fn cpus() -> [Cpu; 3] {
    let sha_ni = Cpu {
        sha_ni: Cpu::detect().sha_ni,
        ..Cpu::PORTABLE
    };
    [Cpu::detect(), sha_ni, Cpu::PORTABLE]
}

/// A file of random fr32-padded data, with a stretch of zeros in it.
fn staged(dir: &Path, length: usize) -> PathBuf {
    let path = dir.join("staged");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(length as u64);
    let mut block = vec![0; length.min(1 << 16)];
    for i in 0..length / block.len() {
        random.fill_bytes(&mut block);
        block
            .iter_mut()
            .skip(31)
            .step_by(32)
            .for_each(|top| *top &= 0x3f);
        if i % 40 > 20 {
            block.fill(0);
        }
        file.write_all(&block).unwrap();
    }
    file.into_inner().unwrap();
    path
}

/// The library's file and root.
fn reference(staged: &Path, dir: &Path) -> (PathBuf, [u8; 32]) {
    let data = fs::read(staged).unwrap();
    let config = StoreConfig::new(dir, CacheKey::CommDTree.to_string(), 0);
    let tree = create_base_merkle_tree::<BinaryMerkleTree<DefaultPieceHasher>>(
        Some(config),
        data.len() / 32,
        &data,
    )
    .unwrap();
    (dir.join(NAME), tree.root().into())
}

fn ours(staged: &Path, to: &Path, options: &Options<'_>) -> [u8; 32] {
    let data = File::open(staged).unwrap();
    let length = data.metadata().unwrap().len();
    let tree = File::create(to).unwrap();
    binary::build(&data, length, &tree, options, &|_| {}).unwrap()
}

fn same(a: &Path, b: &Path) -> bool {
    let (mut a, mut b) = (File::open(a).unwrap(), File::open(b).unwrap());
    let length = a.metadata().unwrap().len();
    if b.metadata().unwrap().len() != length {
        return false;
    }
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut left = length as usize;
    while left > 0 {
        let n = left.min(x.len());
        a.read_exact(&mut x[..n]).unwrap();
        b.read_exact(&mut y[..n]).unwrap();
        if x[..n] != y[..n] {
            return false;
        }
        left -= n;
    }
    true
}

fn compare(staged: &Path, dir: &Path, all: &[Options<'_>]) {
    let (wanted, root) = reference(staged, dir);
    for options in all {
        let got = dir.join("ours");
        assert_eq!(ours(staged, &got, options), root, "{options:?}");
        assert!(same(&got, &wanted), "{options:?}");
    }
}

#[test]
fn small_sectors_have_the_librarys_file() {
    let two = NonZeroUsize::new(2).unwrap();
    for length in [2 << 10, 8 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let options: Vec<Options<'_>> = cpus()
            .into_iter()
            .flat_map(|cpu| {
                let default = Options::new(cpu);
                let small = Options {
                    chunk: 1 << 12,
                    threads: two,
                    ..default
                };
                [default, small]
            })
            .collect();
        compare(&staged(dir.path(), length), dir.path(), &options);
        // committed capacity
        let empty = dir.path().join("empty");
        let file = File::create(&empty).unwrap();
        file.set_len(length as u64).unwrap();
        fs::remove_file(dir.path().join(NAME)).unwrap();
        compare(&empty, dir.path(), &options);
    }
}

/// `cargo test --workspace --test tree_d -- --ignored`: several seconds, 2.5 GiB of disk and
/// 1 GiB of memory for the library's side.
#[test]
#[ignore = "slow ring: 512MiB twice"]
fn a_sector_of_512mib_has_the_librarys_file() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let options = [Options::new(Cpu::detect())];
    compare(&staged(dir.path(), 512 << 20), dir.path(), &options);
}

/// `cargo test --workspace --test tree_d -- --ignored`: the bound on memory is the kernel's
/// word. This test runs itself again where no more than 64 MiB of data may be had.
#[test]
#[ignore = "slow ring: 512MiB"]
#[expect(clippy::disallowed_methods, reason = "the test itself is the child")]
fn memory_stays_small() {
    const INSIDE: &str = "TREE_D_TEST_STAGED";
    if let Some(staged) = std::env::var_os(INSIDE) {
        let staged = Path::new(&staged);
        ours(
            staged,
            &staged.with_extension("tree"),
            &Options::new(Cpu::detect()),
        );
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let staged = staged(dir.path(), 512 << 20);
    let status = Command::new("sh")
        .arg("-c")
        .arg("ulimit -d 65536 && exec \"$0\" --ignored --exact memory_stays_small")
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, &staged)
        .status()
        .unwrap();
    assert!(status.success());
    let tree = fs::metadata(staged.with_extension("tree")).unwrap();
    assert_eq!(tree.len(), binary::file_len(512 << 20));
}
