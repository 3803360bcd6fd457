//! A piece on its way into a sector, in one pass: the payload is read, fr32-padded, written
//! and hashed to the piece's commitment. One thread reads (a download cannot be read by two);
//! others pad, write and hash chunk after chunk. What the payload does not fill is zeros,
//! which are neither hashed nor written.

use crate::{
    fr32::{self, PADDED, PAYLOAD},
    sha::pairs::{NODE, Pairs, zeros},
    tree::binary::{Options, all_bits},
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Why there is no piece.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a piece of {padded} padded bytes with {payload} bytes of payload cannot be")]
    Size { payload: u64, padded: u64 },
    #[error("reading the payload: {0}")]
    Read(#[source] io::Error),
    #[error("the payload ended after {read} of {payload} bytes")]
    Ended { read: u64, payload: u64 },
    #[error("writing the piece: {0}")]
    Write(#[source] io::Error),
    #[error("cancelled")]
    Cancelled,
}

/// Reads `payload` bytes from `source` (not one more), writes them fr32-padded to `target`
/// from that offset on and returns the commitment of the piece of `padded` bytes: the payload
/// and zeros behind it. Zeros are not written; the target must read as zeros there (a hole).
/// Without a target only the commitment is computed. `progress` gets the bytes of payload
/// that are read. Nothing is synced.
pub fn add(
    source: &mut dyn Read,
    payload: u64,
    padded: u64,
    target: Option<(&File, u64)>,
    options: &Options<'_>,
    progress: &dyn Fn(u64),
) -> Result<[u8; NODE], Error> {
    let (block, room) = (PADDED as u64, PAYLOAD as u64);
    if !padded.is_power_of_two() || padded < block || payload > padded / block * room {
        return Err(Error::Size { payload, padded });
    }
    let chunk = options.chunk_of(padded);
    let chunk_payload = chunk / PADDED * PAYLOAD;
    let chunks = payload.div_ceil(chunk_payload as u64);
    let shared = Shared {
        options,
        target,
        chunk,
        failed: AtomicBool::new(false),
        roots: Mutex::new(vec![0; chunks as usize * NODE]),
    };
    let mut reader = Reader {
        source,
        payload,
        read: 0,
        options,
        progress,
    };
    let threads = (options.threads.get() as u64).min(chunks);
    if threads <= 1 {
        let mut worker = Worker::new(&shared);
        let mut buffer = vec![0; chunk_payload];
        for index in 0..chunks {
            reader.fill(&mut buffer)?;
            worker.take(index, &buffer)?;
        }
    } else {
        in_parallel(&mut reader, &shared, threads as usize, chunks)?;
    }
    let roots = shared
        .roots
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let height = (chunk / NODE).ilog2();
    let top = (padded / NODE as u64).ilog2();
    Ok(Pairs::new(options.cpu).root(roots, height, top))
}

/// The caller's thread reads, `threads` others do the rest. Two buffers for each go round.
fn in_parallel(
    reader: &mut Reader<'_>,
    shared: &Shared<'_>,
    threads: usize,
    chunks: u64,
) -> Result<(), Error> {
    let (full, to_do) = bounded::<(u64, Vec<u8>)>(2 * threads);
    let (back, free) = unbounded();
    for _ in 0..2 * threads {
        // the receiver is right here
        let _ = back.send(vec![0; shared.chunk / PADDED * PAYLOAD]);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (to_do, back) = (to_do.clone(), back.clone());
                scope.spawn(move || Worker::new(shared).work(&to_do, &back))
            })
            .collect();
        drop((to_do, back));
        let read = read_all(reader, shared, chunks, &free, full);
        let worked = workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        read.and(worked)
    })
}

/// Hands out chunk after chunk, as long as anybody takes them.
fn read_all(
    reader: &mut Reader<'_>,
    shared: &Shared<'_>,
    chunks: u64,
    free: &Receiver<Vec<u8>>,
    full: Sender<(u64, Vec<u8>)>,
) -> Result<(), Error> {
    for index in 0..chunks {
        let Ok(mut buffer) = free.recv() else { break };
        if shared.failed.load(Ordering::Relaxed) {
            break;
        }
        reader.fill(&mut buffer)?;
        if full.send((index, buffer)).is_err() {
            break;
        }
    }
    Ok(())
}

struct Reader<'a> {
    source: &'a mut dyn Read,
    payload: u64,
    read: u64,
    options: &'a Options<'a>,
    progress: &'a dyn Fn(u64),
}

impl Reader<'_> {
    /// Fills the buffer with payload and, where that ends, zeros.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let left = self.payload - self.read;
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (mut rest, zeros) = buffer.split_at_mut(wanted);
        zeros.fill(0);
        while !rest.is_empty() {
            match self.source.read(rest) {
                Ok(0) => {
                    return Err(Error::Ended {
                        read: self.read,
                        payload: self.payload,
                    });
                }
                Ok(n) => {
                    self.read += n as u64;
                    rest = rest.split_at_mut(n).1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        (self.progress)(self.read);
        Ok(())
    }
}

struct Shared<'a> {
    options: &'a Options<'a>,
    target: Option<(&'a File, u64)>,
    /// Padded bytes of a chunk.
    chunk: usize,
    failed: AtomicBool,
    /// A node for each chunk of payload.
    roots: Mutex<Vec<u8>>,
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    padded: Vec<u8>,
    rows: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            padded: vec![0; shared.chunk],
            rows: vec![0; shared.chunk - NODE],
        }
    }

    fn work(
        mut self,
        to_do: &Receiver<(u64, Vec<u8>)>,
        back: &Sender<Vec<u8>>,
    ) -> Result<(), Error> {
        for (index, payload) in to_do {
            let taken = self.take(index, &payload);
            if taken.is_err() {
                self.shared.failed.store(true, Ordering::Relaxed);
            }
            // nobody waits for it after the last chunk
            let _ = back.send(payload);
            taken?;
        }
        Ok(())
    }

    /// Pads, writes and hashes one chunk.
    fn take(&mut self, index: u64, payload: &[u8]) -> Result<(), Error> {
        let shared = self.shared;
        fr32::pad(shared.options.cpu, payload, &mut self.padded);
        let root = if all_bits(&self.padded) == [0; NODE] {
            zeros((shared.chunk / NODE).ilog2())
        } else {
            if let Some((file, offset)) = shared.target {
                file.write_all_at(&self.padded, offset + index * shared.chunk as u64)
                    .map_err(Error::Write)?;
            }
            Pairs::new(shared.options.cpu).tree(&self.padded, &mut self.rows);
            let mut root = [0; NODE];
            root.copy_from_slice(&self.rows[self.rows.len() - NODE..]);
            root
        };
        let mut roots = shared.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots[index as usize * NODE..][..NODE].copy_from_slice(&root);
        Ok(())
    }
}

#[cfg(test)]
#[path = "piece_tests.rs"]
mod tests;
