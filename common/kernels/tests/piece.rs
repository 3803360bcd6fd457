//! Pieces against filecoin-proofs: the padded bytes and the commitment.

use damocles_kernels::{cpu::Cpu, piece, tree::binary::Options};
use filecoin_proofs::{
    UnpaddedBytesAmount, add_piece, generate_piece_commitment, write_and_preprocess,
};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    io::{self, Read},
    num::NonZeroUsize,
    os::unix::fs::FileExt,
};

fn cpus() -> [Cpu; 3] {
    let no_vbmi = Cpu {
        vbmi: false,
        ..Cpu::detect()
    };
    [Cpu::detect(), no_vbmi, Cpu::PORTABLE]
}

fn payload(length: u64) -> Vec<u8> {
    let mut data = vec![0; length as usize];
    ChaCha8Rng::seed_from_u64(length).fill_bytes(&mut data);
    data
}

/// Reads that end where nobody expects it.
struct Odd<R>(R, usize);

impl<R: Read> Read for Odd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 % 5003 + 1;
        let n = buffer.len().min(self.1);
        self.0.read(&mut buffer[..n])
    }
}

/// Commitment and padded bytes by the library's `add_piece`.
fn reference(data: &[u8], unpadded: u64) -> ([u8; 32], Vec<u8>) {
    let size = UnpaddedBytesAmount(unpadded);
    let source = || data.chain(io::repeat(0)).take(unpadded);
    let mut padded = Vec::new();
    let (info, written) = add_piece(source(), &mut padded, size, &[]).unwrap();
    assert_eq!((written, info.size), (size, size));
    let mut again = Vec::new();
    let (second, _) = write_and_preprocess(source(), &mut again, size).unwrap();
    assert!(again == padded && second.commitment == info.commitment);
    let third = generate_piece_commitment(source(), size).unwrap();
    assert_eq!(third.commitment, info.commitment);
    (info.commitment, padded)
}

fn compare(data: &[u8], padded: u64, options: &[Options<'_>]) {
    const BEFORE: u64 = 1000;
    let (commitment, bytes) = reference(data, padded / 128 * 127);
    for options in options {
        let file = tempfile::tempfile().unwrap();
        file.set_len(padded + BEFORE).unwrap();
        let add = |source: &mut dyn Read, target| {
            piece::add(source, data.len() as u64, padded, target, options, &|_| {}).unwrap()
        };
        let got = add(&mut Odd(data, 0), Some((&file, BEFORE)));
        assert_eq!(got, commitment, "{} of {padded}: {options:?}", data.len());
        let mut written = vec![0; padded as usize];
        file.read_exact_at(&mut written, BEFORE).unwrap();
        assert!(written == bytes, "{} of {padded}: {options:?}", data.len());
        // the commitment alone
        assert_eq!(add(&mut &*data, None), commitment);
    }
}

fn options() -> Vec<Options<'static>> {
    let mut all: Vec<Options<'static>> = cpus().into_iter().map(Options::new).collect();
    all.push(Options {
        chunk: 1 << 10,
        threads: NonZeroUsize::new(3).unwrap(),
        ..all[0]
    });
    all
}

#[test]
fn pieces_of_all_small_sizes_and_odd_payloads() {
    for padded in [128, 256, 2048, 1 << 15] {
        let room = padded / 128 * 127;
        for length in [
            0,
            1,
            31,
            32,
            126,
            127,
            128,
            255,
            1016,
            room / 2,
            room - 1,
            room,
        ] {
            if length <= room {
                compare(&payload(length), padded, &options());
            }
        }
    }
}

#[test]
fn pieces_of_8mib() {
    let room = (8 << 20) / 128 * 127;
    for length in [room, room - 63, 3_000_001, 1] {
        compare(&payload(length), 8 << 20, &options());
    }
    // zeros as payload
    compare(&vec![0; 5_000_000], 8 << 20, &options());
}

/// `cargo test --workspace --test piece -- --ignored`
#[test]
#[ignore = "slow ring: 512MiB several times"]
fn a_piece_of_512mib() {
    let options = [Options::new(Cpu::detect())];
    compare(&payload((512 << 20) / 128 * 127 - 5), 512 << 20, &options);
}
