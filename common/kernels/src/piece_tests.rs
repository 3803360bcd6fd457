//! Pieces in one pass: whatever the chunks, threads and sources, the same; and what fails.

use super::*;
use crate::cpu::Cpu;
use std::{cell::Cell, num::NonZeroUsize};

fn payload(length: usize) -> Vec<u8> {
    let mut x = length as u64;
    (0..length)
        .map(|_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
            (x >> 56) as u8
        })
        .collect()
}

fn options(cpu: Cpu, threads: usize, chunk: usize) -> Options<'static> {
    Options {
        threads: NonZeroUsize::new(threads).unwrap(),
        chunk,
        ..Options::new(cpu)
    }
}

/// Gives a few bytes at a time and is interrupted now and then.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = buffer.len().min(1 + self.1 % 700);
        self.0.read(&mut buffer[..n])
    }
}

#[test]
fn chunks_threads_and_odd_reads_change_nothing() {
    const PADDED_SIZE: usize = 1 << 14;
    for length in [0, 1, 126, 127, 128, 1000, 127 * 64, 127 * 64 + 1, 127 * 128] {
        let data = payload(length);
        let mut whole = data.clone();
        whole.resize(PADDED_SIZE / 128 * 127, 0);
        let mut leaves = vec![0; PADDED_SIZE];
        fr32::pad(Cpu::PORTABLE, &whole, &mut leaves);
        let root = Pairs::new(Cpu::PORTABLE).root(leaves.clone(), 0, 9);

        for cpu in [Cpu::PORTABLE, Cpu::detect()] {
            for (threads, chunk) in [(1, 128), (1, 1 << 20), (2, 1024), (3, 4096)] {
                let file = tempfile::tempfile().unwrap();
                file.set_len(2 * PADDED_SIZE as u64).unwrap();
                let read = Cell::new(0);
                // more than the payload, which must be left alone
                let more = [data.as_slice(), &[9; 5]].concat();
                let mut source = Drip(&more, 0);
                let got = add(
                    &mut source,
                    length as u64,
                    PADDED_SIZE as u64,
                    Some((&file, PADDED_SIZE as u64)),
                    &options(cpu, threads, chunk),
                    &|bytes| read.set(bytes),
                )
                .unwrap();
                assert_eq!(
                    got, root,
                    "{length} bytes, {threads} threads, chunk {chunk}"
                );
                assert_eq!((source.0, read.get()), (&[9; 5][..], length as u64));
                let mut written = vec![0; 2 * PADDED_SIZE];
                file.read_exact_at(&mut written, 0).unwrap();
                assert!(written[..PADDED_SIZE].iter().all(|byte| *byte == 0));
                assert!(written[PADDED_SIZE..] == leaves);
            }
        }
    }
}

#[test]
fn a_failing_source_or_target_ends_it() {
    struct Broken(u32);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1..4 => {
                    buffer.fill(7);
                    Ok(buffer.len())
                }
                _ => Err(io::Error::other("cable")),
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let unwritable = File::open(dir.path().join("file")).unwrap();
    for threads in [1, 3] {
        let options = options(Cpu::detect(), threads, 128);
        let run = |source: &mut dyn Read, target| {
            add(source, 127 * 100, 1 << 14, target, &options, &|_| {}).unwrap_err()
        };
        let error = run(&mut Broken(0), None);
        assert!(matches!(error, Error::Read(_)), "{error}");
        let error = run(&mut &payload(500)[..], None);
        assert!(
            matches!(
                error,
                Error::Ended {
                    read: 500,
                    payload: 12700
                }
            ),
            "{error}"
        );
        let error = run(&mut io::repeat(1), Some((&unwritable, 0)));
        assert!(matches!(error, Error::Write(_)), "{error}");
    }
}

#[test]
fn sizes_that_no_piece_has_and_a_cancelled_one() {
    let cancel = AtomicBool::new(true);
    let options = Options {
        cancel: &cancel,
        ..Options::new(Cpu::detect())
    };
    for (length, padded) in [(1, 64), (1, 192), (128, 128)] {
        let error = add(&mut io::empty(), length, padded, None, &options, &|_| {}).unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error}");
    }
    let error = add(&mut io::repeat(1), 127, 128, None, &options, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}
