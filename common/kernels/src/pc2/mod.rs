//! PC2 in one pass over the files: columns, tree_c, the sealed file, tree_r_last and the
//! roots, byte for byte as filecoin-proofs 19.1 makes them. Chunks of a base tree go from
//! readers over hashers to writers; how many there are at once bounds the memory. p_aux and
//! t_aux are left to the caller, who knows how the proofs library writes them.

mod chunk;
mod encode;
mod files;
mod pipeline;
pub mod plan;
pub mod shape;

use crate::{
    cpu::Cpu,
    crew::{NEVER, cores},
    poseidon::{Arity, Poseidon},
    tree::files::FileError,
};
use chunk::Hashes;
use files::Files;
use plan::Plan;
use shape::Shape;
use std::{
    io,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

/// What the buffers may take unless told otherwise.
pub const DEFAULT_MEMORY: u64 = 8 << 30;

/// `rows_to_discard` of storage-proofs-core where no setting says otherwise.
pub const DEFAULT_ROWS_TO_DISCARD: u32 = 2;

/// Where the unsealed data is.
#[derive(Clone, Debug)]
pub enum Data {
    /// In a file of its own, which is only read; zeros follow where it is shorter than the
    /// sector. Whatever the sealed file holds is overwritten, so that an interrupted run can
    /// simply be run again.
    Staged(PathBuf),
    /// In the sealed file, which is encoded in place. A run that ends early leaves it half
    /// encoded and can not be run again.
    InPlace,
}

/// One sector's PC2.
#[derive(Clone, Debug)]
pub struct Job {
    /// Bytes.
    pub sector_size: u64,
    /// The files of layers 1, 2, …
    pub layers: Vec<PathBuf>,
    pub data: Data,
    pub sealed: PathBuf,
    /// Where the trees go. Files of the same names are replaced.
    pub cache_dir: PathBuf,
}

/// How to run it.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Threads that hash. Reading and writing have their own.
    pub threads: usize,
    /// Bytes for all buffers together.
    pub memory: u64,
    /// As wanted (`FIL_PROOFS_ROWS_TO_DISCARD`); a small tree discards fewer.
    pub rows_to_discard: u32,
    /// Set it, and the run ends with [`Error::Cancelled`] soon.
    pub cancel: &'a AtomicBool,
}

impl Default for Options<'_> {
    /// As many threads as the process has CPUs, by its affinity mask.
    fn default() -> Self {
        Self {
            threads: cores().get(),
            memory: DEFAULT_MEMORY,
            rows_to_discard: DEFAULT_ROWS_TO_DISCARD,
            cancel: &NEVER,
        }
    }
}

/// How far a run is, in nodes of the sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// The commitments, each the bytes of a field element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    pub comm_c: [u8; 32],
    pub comm_r_last: [u8; 32],
    pub comm_r: [u8; 32],
    /// How many rows tree_r_last leaves out indeed.
    pub rows_discarded: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no sector has {0} bytes")]
    SectorSize(u64),
    #[error("no sector has {0} layers; 2 and 11 are known")]
    Layers(usize),
    #[error(
        "PC2 cannot run in {given} bytes of memory; it takes at least {needed}, better several times that"
    )]
    Memory { given: u64, needed: u64 },
    #[error("there is not enough memory for the buffers of PC2 ({0}); allow it fewer bytes")]
    Allocation(#[from] std::collections::TryReserveError),
    #[error("no thread for PC2: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path}: node {node} is no field element; the stage that makes the file must run again"
    )]
    NotField { path: PathBuf, node: u64 },
    #[error("the sealed file is the staged file {0}; sealing would destroy the data")]
    SameFile(PathBuf),
    #[error("cancelled")]
    Cancelled,
}

/// Runs PC2. Everything that it has written is synced when it returns.
///
/// Files are named as the proofs library names them: sc-02-data-tree-c.dat and
/// sc-02-data-tree-r-last.dat, with -0, -1, … where a sector has several base trees.
pub fn run(
    job: &Job,
    cpu: Cpu,
    options: &Options<'_>,
    mut progress: impl FnMut(Progress),
) -> Result<Roots, Error> {
    let size = job.sector_size;
    let shape = Shape::of_sector(size).ok_or(Error::SectorSize(size))?;
    let layers = job.layers.len();
    let hashes = Hashes::new(layers, cpu).ok_or(Error::Layers(layers))?;
    let plan = Plan::new(shape, layers, options.threads, options.memory).map_err(|needed| {
        Error::Memory {
            given: options.memory,
            needed,
        }
    })?;
    if options.cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let discarded = shape.base.discarded(options.rows_to_discard);
    let files = Files::open(job, shape, discarded)?;
    let (roots_c, roots_r) =
        pipeline::run(shape, &plan, &files, &hashes, options.cancel, &mut progress)?;
    files.sync()?;
    let comm_c = compound_root(shape, cpu, roots_c);
    let comm_r_last = compound_root(shape, cpu, roots_r);
    Ok(Roots {
        comm_c,
        comm_r_last,
        comm_r: together(cpu, &[comm_c, comm_r_last]),
        rows_discarded: discarded,
    })
}

/// The root over the base trees' roots: in groups of `sub`, and those in groups of `top`.
pub(crate) fn compound_root(shape: Shape, cpu: Cpu, mut roots: Vec<[u8; 32]>) -> [u8; 32] {
    for arity in [shape.sub, shape.top].into_iter().flatten() {
        roots = roots
            .chunks_exact(arity)
            .map(|group| together(cpu, group))
            .collect();
    }
    debug_assert_eq!(roots.len(), 1);
    roots[0]
}

/// The hash of two or eight roots.
fn together(cpu: Cpu, roots: &[[u8; 32]]) -> [u8; 32] {
    let arity = match roots.len() {
        2 => Arity::Two,
        8 => Arity::Eight,
        other => unreachable!("no shape groups {other} roots"),
    };
    let rows: Vec<&[u8]> = roots.iter().map(|root| &root[..]).collect();
    let mut out = [0; 32];
    Poseidon::new(arity, cpu)
        .hash_rows(&rows, 32 * rows.len(), &mut out)
        .unwrap_or_else(|_| unreachable!("hashes are field elements"));
    out
}
