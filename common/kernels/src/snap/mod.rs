//! SnapEncode: new data goes into a sealed sector of committed capacity (FIP-0019). In one
//! pass over the files: the new replica, tree_r_last over it and its root, byte for byte as
//! filecoin-proofs 19.1 makes them. tree-d of the new data and the auxiliary files are left to
//! the caller.
//!
//! `encoding` key + data × ρ, node by node · `files` what is read and written · here chunks,
//! each taken by one thread from reading to writing.

pub mod encoding;
mod files;

use crate::{
    cpu::Cpu,
    crew::{self, Cancelled, NEVER, Turns, cores},
    pc2::{compound_root, shape::Shape},
    poseidon::{Arity, Poseidon},
    tree::{
        files::FileError,
        octree::{self, NODE, Octree},
    },
};
use encoding::{Encoding, NotCanonical};
use files::Files;
use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

/// Chunks have 8^5 nodes, 1 MiB of the sector, where the tree is so high.
const CHUNK: u32 = 5;

/// One sector's update.
#[derive(Clone, Debug)]
pub struct Job {
    /// Bytes.
    pub sector_size: u64,
    /// The old replica; only read.
    pub key: PathBuf,
    /// The new data, fr32-padded, as long as the sector; only read.
    pub data: PathBuf,
    /// The new replica; made, or overwritten.
    pub replica: PathBuf,
    /// Where tree_r_last goes. Files of the same names are replaced.
    pub cache_dir: PathBuf,
    pub comm_d_new: [u8; 32],
    /// Of the old replica, as is the next.
    pub comm_c: [u8; 32],
    pub comm_r_last_old: [u8; 32],
    /// How many rows tree_r_last leaves out above its leaves: as many as the old one did.
    pub rows_discarded: u32,
}

/// How to run it; changes nothing of its result.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    pub cpu: Cpu,
    /// Each holds about 3 MiB.
    pub threads: NonZeroUsize,
    /// Set it, and the run ends with [`Error::Cancelled`] soon.
    pub cancel: &'a AtomicBool,
}

impl Options<'_> {
    /// One thread for each core that the process may use.
    pub fn new(cpu: Cpu) -> Self {
        Self {
            cpu,
            threads: cores(),
            cancel: &NEVER,
        }
    }
}

/// The new commitments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    pub comm_r_last: [u8; 32],
    pub comm_r: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no sector has {0} bytes")]
    SectorSize(u64),
    #[error("tree_r_last of {rows} rows cannot leave out {discarded}")]
    Discarded { rows: u32, discarded: u32 },
    #[error("the old CommC or CommR is not a field element; p_aux of the old sector is damaged")]
    OldRoots,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0} is both read and written; updating would destroy it")]
    SameFile(PathBuf),
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    #[error("cancelled")]
    Cancelled,
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// Encodes and builds the tree. Everything that was written is synced when it returns; a run
/// that ended early can simply be run again. `progress` gets the bytes of the sector that are
/// done, from any thread.
pub fn run(
    job: &Job,
    options: &Options<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Roots, Error> {
    let size = job.sector_size;
    let shape = Shape::of_sector(size).ok_or(Error::SectorSize(size))?;
    let rows = shape.base.height();
    if job.rows_discarded >= rows {
        return Err(Error::Discarded {
            rows,
            discarded: job.rows_discarded,
        });
    }
    let cpu = options.cpu;
    let comm_r_old = comm_r(cpu, job.comm_c, job.comm_r_last_old)?;
    let encoding = Encoding::new(shape.nodes(), job.comm_d_new, comm_r_old, cpu)?;
    let files = Files::open(job, shape)?;
    let run = Run {
        shape,
        chunk: Octree::of_height(CHUNK.min(rows)),
        encoding: &encoding,
        poseidon: Poseidon::new(Arity::Eight, cpu),
        files: &files,
        progress,
        roots: Mutex::default(),
    };
    let base_roots = run.all(options)?;
    files.sync()?;
    let comm_r_last = compound_root(shape, cpu, base_roots);
    Ok(Roots {
        comm_r_last,
        comm_r: comm_r(cpu, job.comm_c, comm_r_last)?,
    })
}

/// CommR is the hash of CommC and the root of tree_r_last.
fn comm_r(cpu: Cpu, comm_c: [u8; 32], comm_r_last: [u8; 32]) -> Result<[u8; 32], Error> {
    let mut hash = [0; 32];
    Poseidon::new(Arity::Two, cpu)
        .hash_rows(&[&comm_c, &comm_r_last], 2 * NODE, &mut hash)
        .map_err(|_| Error::OldRoots)?;
    Ok(hash)
}

struct Run<'a> {
    shape: Shape,
    /// The subtree over a chunk.
    chunk: Octree,
    encoding: &'a Encoding,
    poseidon: Poseidon,
    files: &'a Files,
    progress: &'a (dyn Fn(u64) + Sync),
    /// A node for each chunk.
    roots: Mutex<Vec<u8>>,
}

impl Run<'_> {
    fn chunks(&self) -> u64 {
        self.shape.nodes() / self.chunk.leaves()
    }

    /// All chunks and what is above them; the roots of the base trees.
    fn all(&self, options: &Options<'_>) -> Result<Vec<[u8; NODE]>, Error> {
        let chunks = self.chunks();
        *self.lock_roots() = vec![0; chunks as usize * NODE];
        crew::share(chunks, options.threads, options.cancel, |turns| {
            self.work(turns)
        })?;
        let roots = self.lock_roots();
        let upper = Octree::of_height(self.shape.base.height() - self.chunk.height());
        roots
            .chunks_exact(upper.leaves() as usize * NODE)
            .enumerate()
            .map(|(tree, chunks)| self.top(tree, upper, chunks))
            .collect()
    }

    /// One thread: chunk after chunk.
    fn work(&self, turns: &Turns<'_>) -> Result<(), Error> {
        let length = self.chunk.leaves() as usize * NODE;
        let mut key = vec![0; length];
        let mut data = vec![0; length];
        let mut nodes = vec![0; self.chunk.len() as usize * NODE];
        while let Some(index) = turns.take()? {
            let offset = index * length as u64;
            self.files.key.read(offset, &mut key)?;
            self.files.data.read(offset, &mut data)?;
            let first = index * self.chunk.leaves();
            self.encoding
                .encode(first, &key, &data, &mut nodes[..length])?;
            self.files.replica.write(offset, &nodes[..length])?;
            octree::fill(&self.poseidon, self.chunk, &mut nodes)
                .unwrap_or_else(|_| unreachable!("encoded nodes and hashes are field elements"));
            self.put_rows(index, &nodes)?;
            (self.progress)(turns.done() * length as u64);
        }
        Ok(())
    }

    /// Writes a chunk's part of each row of tree_r_last, but keeps its root.
    fn put_rows(&self, index: u64, nodes: &[u8]) -> Result<(), Error> {
        let chunk = self.chunk;
        let per_tree = self.shape.base.leaves() / chunk.leaves();
        let (tree, at) = ((index / per_tree) as usize, index % per_tree);
        self.files.trees[tree].write_subtree((0, at), chunk, nodes, 1..chunk.height())?;
        self.lock_roots()[index as usize * NODE..][..NODE]
            .copy_from_slice(&nodes[nodes.len() - NODE..]);
        Ok(())
    }

    /// The rows of a base tree from the chunks' roots on; its root.
    fn top(&self, tree: usize, upper: Octree, chunks: &[u8]) -> Result<[u8; NODE], Error> {
        let mut nodes = chunks.to_vec();
        nodes.resize(upper.len() as usize * NODE, 0);
        octree::fill(&self.poseidon, upper, &mut nodes)
            .unwrap_or_else(|_| unreachable!("hashes are field elements"));
        let place = (self.chunk.height(), 0);
        self.files.trees[tree].write_subtree(place, upper, &nodes, 0..=upper.height())?;
        let mut root = [0; NODE];
        root.copy_from_slice(&nodes[nodes.len() - NODE..]);
        Ok(root)
    }

    fn lock_roots(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
