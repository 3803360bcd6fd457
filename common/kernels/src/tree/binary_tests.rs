//! tree-d in one pass: whatever the chunks and threads, the same tree; and what is refused.

use super::*;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nodes that differ, fr32-padded.
fn padded(length: usize) -> Vec<u8> {
    let mut x = 1_u64;
    let mut data: Vec<u8> = (0..length)
        .map(|_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
            (x >> 56) as u8
        })
        .collect();
    data.iter_mut()
        .skip(31)
        .step_by(32)
        .for_each(|byte| *byte &= 0x3f);
    data
}

fn file(data: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    file
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn options(cpu: Cpu, threads: usize, chunk: usize) -> Options<'static> {
    Options {
        threads: NonZeroUsize::new(threads).unwrap(),
        chunk,
        ..Options::new(cpu)
    }
}

/// The whole file by the definition.
fn expected(leaves: &[u8]) -> Vec<u8> {
    let mut rows = vec![0; leaves.len() - NODE];
    Pairs::new(Cpu::PORTABLE).tree(leaves, &mut rows);
    [leaves, &rows].concat()
}

fn check(data: &[u8], staged: &File, options: &Options<'_>) {
    // over something older
    let tree = file(&vec![0xee; 3 * data.len()]);
    let seen = AtomicU64::new(0);
    let root = build(staged, data.len() as u64, &tree, options, &|done| {
        seen.fetch_max(done, Ordering::Relaxed);
    })
    .unwrap();
    let wanted = expected(data);
    assert!(bytes(&tree) == wanted, "{} bytes, {options:?}", data.len());
    assert_eq!(root, wanted[wanted.len() - NODE..]);
    assert_eq!(seen.into_inner(), data.len() as u64);
}

#[test]
fn chunks_and_threads_change_nothing() {
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        for length in [64, 128, 2048, 1 << 16] {
            let data = padded(length);
            for (threads, chunk) in [(1, 128), (3, 1024), (2, 1 << 14), (4, 1 << 20)] {
                check(&data, &file(&data), &options(cpu, threads, chunk));
            }
        }
    }
}

#[test]
fn zeros_and_holes_cost_nothing() {
    use std::os::unix::fs::MetadataExt;
    let length = 1 << 20;
    let empty = tempfile::tempfile().unwrap();
    empty.set_len(length as u64).unwrap();
    check(
        &vec![0; length],
        &empty,
        &options(Cpu::detect(), 2, 1 << 16),
    );
    // data in the middle, written zeros behind it, holes around
    let mut data = vec![0; length];
    data[294_912..][..98_304].copy_from_slice(&padded(98_304));
    let staged = tempfile::tempfile().unwrap();
    staged.set_len(length as u64).unwrap();
    staged
        .write_all_at(&data[294_912..500_000], 294_912)
        .unwrap();
    check(&data, &staged, &options(Cpu::detect(), 2, 1 << 16));

    let tree = tempfile::tempfile().unwrap();
    let options = Options::new(Cpu::detect());
    let root = build(&empty, length as u64, &tree, &options, &|_| {}).unwrap();
    assert_eq!(root, zeros(15));
    let meta = tree.metadata().unwrap();
    assert!(
        meta.blocks() * 512 <= meta.len() / 2 + (1 << 16),
        "the leaves are a hole: {} blocks",
        meta.blocks()
    );
}

#[test]
fn unpadded_data_is_told_with_its_place() {
    let mut data = padded(1 << 14);
    data[32 * 300 + 31] = 0x40;
    data[32 * 301 + 31] = 0xff;
    let tree = tempfile::tempfile().unwrap();
    for threads in [1, 4] {
        let options = options(Cpu::detect(), threads, 1 << 10);
        let error = build(&file(&data), 1 << 14, &tree, &options, &|_| {}).unwrap_err();
        assert!(
            matches!(error, Error::NotPadded { offset } if offset == 32 * 300),
            "{error}"
        );
    }
}

#[test]
fn no_tree_over_anything_else() {
    let tree = tempfile::tempfile().unwrap();
    let staged = file(&padded(128));
    let options = Options::new(Cpu::detect());
    for length in [0, 32, 96] {
        let error = build(&staged, length, &tree, &options, &|_| {}).unwrap_err();
        assert!(matches!(error, Error::Length { length: l } if l == length));
    }
    // data that ends too early, also where a chunk ends
    for chunk in [128, 256] {
        let options = Options { chunk, ..options };
        let error = build(&staged, 256, &tree, &options, &|_| {}).unwrap_err();
        assert!(matches!(error, Error::Read(_)), "{error}");
    }
    let cancel = AtomicBool::new(true);
    let cancelled = Options {
        cancel: &cancel,
        ..options
    };
    let error = build(&staged, 128, &tree, &cancelled, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
}

#[test]
fn bits_of_all_nodes() {
    for nodes in 1..=9 {
        let mut data = vec![0; 32 * nodes];
        assert_eq!(all_bits(&data), [0; 32]);
        data[32 * (nodes - 1) + 7] = 0x81;
        let mut wanted = [0; 32];
        wanted[7] = 0x81;
        assert_eq!(all_bits(&data), wanted);
    }
}
