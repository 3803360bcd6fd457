//! tree-d: the binary SHA-256 tree over a sector's unsealed data, as merkletree's disk store
//! lays it out: the leaves (the data itself), then row after row up to the root (CommD).
//!
//! The data goes through memory chunk by chunk; a chunk is a subtree, and a thread takes it
//! whole: reads it, checks it, writes its part of every row. Zeros (committed capacity, what
//! no deal fills) are neither hashed nor stored: their rows are known and their leaves stay
//! a hole of the file.

use crate::{
    cpu::Cpu,
    crew::{self, Cancelled, NEVER, Turns, cores},
    sha::pairs::{NODE, Pairs, zeros},
};
use rustix::fs::SeekFrom;
use std::{
    fs::File,
    io,
    num::NonZeroUsize,
    os::unix::fs::FileExt,
    sync::{LazyLock, Mutex, PoisonError, atomic::AtomicBool},
};

/// Data that one thread holds at a time. The thread needs twice that: the rows come on top.
/// At this size both stay in the caches.
pub const CHUNK: usize = 1 << 20;

/// How the work is done; changes nothing of its result.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    pub cpu: Cpu,
    pub threads: NonZeroUsize,
    /// Bytes of data that a thread holds, a power of two of at least 128; memory is about
    /// three times that for each thread and, for a whole tree, 64 bytes for each chunk.
    pub chunk: usize,
    /// Set it and the work ends soon, with an error.
    pub cancel: &'a AtomicBool,
}

impl Options<'_> {
    /// One thread for each core that the process may use, and chunks of [`CHUNK`].
    pub fn new(cpu: Cpu) -> Self {
        Self {
            cpu,
            threads: cores(),
            chunk: CHUNK,
            cancel: &NEVER,
        }
    }

    /// The chunk of something so long.
    ///
    /// # Panics
    /// When the chunk is no power of two or below 128.
    pub(crate) fn chunk_of(&self, length: u64) -> usize {
        assert!(self.chunk.is_power_of_two() && self.chunk >= 128);
        usize::try_from(length).map_or(self.chunk, |length| self.chunk.min(length))
    }
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the data has {length} bytes; a tree is over a power of two of at least 64")]
    Length { length: u64 },
    #[error("the 32 bytes at {offset} of the data are not fr32-padded: their two top bits are set")]
    NotPadded { offset: u64 },
    #[error("reading the data: {0}")]
    Read(#[source] io::Error),
    #[error("writing the tree: {0}")]
    Write(#[source] io::Error),
    #[error("cancelled")]
    Cancelled,
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// Bytes of the tree's file over so many bytes of data.
pub fn file_len(data: u64) -> u64 {
    2 * data - NODE as u64
}

/// Writes the tree over the first `length` bytes of `data` to `tree` (from its beginning;
/// what was there is lost) and returns the root. `progress` gets the bytes of data that are
/// done, from any thread. Nothing is synced.
pub fn build(
    data: &File,
    length: u64,
    tree: &File,
    options: &Options<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<[u8; NODE], Error> {
    if !length.is_power_of_two() || length < 2 * NODE as u64 {
        return Err(Error::Length { length });
    }
    // or what is missing would pass for a hole
    if data.metadata().map_err(Error::Read)?.len() < length {
        return Err(Error::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    let chunk = options.chunk_of(length);
    let chunks = length / chunk as u64;
    tree.set_len(0)
        .and_then(|()| tree.set_len(file_len(length)))
        .map_err(Error::Write)?;
    let shared = Shared {
        data,
        tree,
        length,
        chunk,
        cpu: options.cpu,
        progress,
        roots: Mutex::new(vec![0; chunks as usize * NODE]),
    };
    crew::share(chunks, options.threads, options.cancel, |turns| {
        shared.work(turns)
    })?;

    // the rows from the chunks' roots on lie back to back at the end of the file
    let mut top = shared
        .roots
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let mut above = vec![0; top.len() - NODE];
    Pairs::new(options.cpu).tree(&top, &mut above);
    top.extend_from_slice(&above);
    tree.write_all_at(&top, file_len(length) - top.len() as u64)
        .map_err(Error::Write)?;
    let mut root = [0; NODE];
    root.copy_from_slice(&top[top.len() - NODE..]);
    Ok(root)
}

struct Shared<'a> {
    data: &'a File,
    tree: &'a File,
    length: u64,
    chunk: usize,
    cpu: Cpu,
    progress: &'a (dyn Fn(u64) + Sync),
    /// A node for each chunk.
    roots: Mutex<Vec<u8>>,
}

impl Shared<'_> {
    /// One thread: chunk after chunk.
    fn work(&self, turns: &Turns<'_>) -> Result<(), Error> {
        let pairs = Pairs::new(self.cpu);
        let zero_rows = LazyLock::new(|| zero_rows(self.chunk));
        let mut leaves = vec![0; self.chunk];
        let mut rows = vec![0; self.chunk - NODE];
        let mut hole_until = 0;
        while let Some(index) = turns.take()? {
            let start = index * self.chunk as u64;
            if hole_until <= start {
                hole_until = next_data(self.data, start);
            }
            let known = hole_until >= start + self.chunk as u64 || {
                self.data
                    .read_exact_at(&mut leaves, start)
                    .map_err(Error::Read)?;
                let bits = all_bits(&leaves);
                if bits[NODE - 1] > 0x3f {
                    return Err(Error::NotPadded {
                        offset: start + unpadded_node(&leaves),
                    });
                }
                bits == [0; NODE]
            };
            let rows: &[u8] = if known {
                &zero_rows
            } else {
                self.tree
                    .write_all_at(&leaves, start)
                    .map_err(Error::Write)?;
                pairs.tree(&leaves, &mut rows);
                &rows
            };
            self.put_rows(rows, index)?;
            (self.progress)(turns.done() * self.chunk as u64);
        }
        Ok(())
    }

    /// Writes a chunk's part of each row, but keeps its root.
    fn put_rows(&self, mut rows: &[u8], index: u64) -> Result<(), Error> {
        let mut len = self.chunk / 2;
        let mut row_start = self.length;
        while len > NODE {
            let (row, above) = rows.split_at(len);
            self.tree
                .write_all_at(row, row_start + index * len as u64)
                .map_err(Error::Write)?;
            rows = above;
            row_start += self.length / self.chunk as u64 * len as u64;
            len /= 2;
        }
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        roots[index as usize * NODE..][..NODE].copy_from_slice(rows);
        Ok(())
    }
}

/// The rows above a chunk of zeros.
fn zero_rows(chunk: usize) -> Vec<u8> {
    let mut rows = Vec::with_capacity(chunk - NODE);
    let (mut nodes, mut height) = (chunk / NODE / 2, 1);
    while nodes > 0 {
        rows.extend_from_slice(&zeros(height).repeat(nodes));
        nodes /= 2;
        height += 1;
    }
    rows
}

/// Where data begins at or after `offset`: before that the file is a hole. Without an answer
/// (not every file system knows) it may begin at once.
fn next_data(file: &File, offset: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(rustix::io::Errno::NXIO) => u64::MAX,
        Err(_) => offset,
    }
}

/// Which bits are set in any node.
pub(crate) fn all_bits(nodes: &[u8]) -> [u8; NODE] {
    // a few independent sums, so that the compiler vectorises
    let mut sums = [[0_u64; 4]; 4];
    let (blocks, rest) = nodes.as_chunks::<{ 4 * NODE }>();
    for block in blocks {
        for (sum, node) in sums.iter_mut().zip(block.as_chunks::<NODE>().0) {
            for (sum, word) in sum.iter_mut().zip(node.as_chunks::<8>().0) {
                *sum |= u64::from_le_bytes(*word);
            }
        }
    }
    let mut bits = [0; NODE];
    for (i, bits) in bits.iter_mut().enumerate() {
        let of_byte = |sum: &[u64; 4]| sum[i / 8].to_le_bytes()[i % 8];
        *bits = sums.iter().map(of_byte).fold(0, |or, byte| or | byte);
        *bits |= rest
            .iter()
            .skip(i)
            .step_by(NODE)
            .fold(0, |or, byte| or | byte);
    }
    bits
}

/// Where the first node lies that is no fr32-padded data; the end when there is none.
fn unpadded_node(nodes: &[u8]) -> u64 {
    let position = nodes
        .chunks_exact(NODE)
        .position(|node| node[NODE - 1] > 0x3f);
    (position.unwrap_or(nodes.len() / NODE) * NODE) as u64
}

#[cfg(test)]
#[path = "binary_tests.rs"]
mod tests;
