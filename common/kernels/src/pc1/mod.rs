//! PC1: the labels of a replica's layers (SDR), as filecoin-proofs computes them.
//!
//! A layer is a chain: a node's label is the hash of the node before it and of thirteen
//! others, so no sector can use more than one core. What can be done: hash as fast as one
//! stream goes ([`ni`]), keep the memory from being waited for, and label several sectors of
//! the same graph in step, in the gaps of each other's chain or in the lanes of a wide
//! register ([`lanes`]). [`ways`] decides.
//!
//! `label` defines a label · `ni`, `lanes` the vector code · `parents` the graph's file ·
//! `memory` · `rows`, `lanes` labels in memory · `writer` the layers' files · `resume` where
//! to go on · `run` all of it together.

mod label;
mod parents;
mod memory;
mod ways;
mod writer;
mod store;
#[cfg(target_arch = "x86_64")]
mod ni;
mod rows;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod resume;
mod run;

pub use label::{Label, NODE_BYTES, PARENT_BYTES, PARENTS};
pub use memory::LargePages;
pub use resume::resume_point;
pub use run::run;
pub use ways::{Available, LANES, Share, Way, plan};
pub use writer::{layer_name, part_name};

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

/// What is the same for all sectors of one proof type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Graph {
    /// The file with the parents of all nodes.
    pub parents: PathBuf,
    /// Sector size / 32.
    pub nodes: usize,
    pub layers: usize,
}

/// Where labelling begins: the layers below `layer` are finished, and so are the nodes
/// before `node` in it (in the layer's unfinished file).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// From 1.
    pub layer: usize,
    pub node: usize,
}

impl Start {
    pub const ANEW: Self = Self { layer: 1, node: 0 };
}

/// One sector to label.
#[derive(Clone, Debug)]
pub struct Job {
    pub replica_id: Label,
    /// Where the layers' files lie.
    pub dir: PathBuf,
    pub watch: Arc<dyn Watch>,
    /// Ends the labelling of this sector soon when it is set.
    pub cancel: Arc<AtomicBool>,
}

/// Who is told how far a sector is. Called from the threads that compute and write, so none
/// of it may take long.
pub trait Watch: std::fmt::Debug + Send + Sync {
    /// The first `nodes` nodes of a layer are on the disk; to be written down, so that an
    /// interrupted run goes on from there.
    fn safe_point(&self, layer: usize, nodes: usize) -> io::Result<()>;
    /// A layer is whole and on the disk under its own name; to be written down.
    fn layer_done(&self, layer: usize) -> io::Result<()>;
    /// So many nodes of a layer are labelled; now and then.
    fn progress(&self, _layer: usize, _nodes: usize) {}
    /// Something a person may want to know.
    fn note(&self, _text: &str) {}
}

/// Who says how much memory labels may take.
pub trait Memory: std::fmt::Debug + Send + Sync {
    /// What the labels of so many sectors may take now; asked before each round of sectors, by
    /// the thread that takes it. An error ends these sectors.
    fn ask(&self, sectors: usize) -> io::Result<Available>;
    /// It has been taken, as far as it was needed.
    fn taken(&self);
}

/// How to label.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that may compute at once.
    pub cores: usize,
    /// Who is asked for memory; sectors that do not fit are labelled after the first ones.
    /// None: there is enough.
    pub memory: Option<Arc<dyn Memory>>,
    pub large_pages: LargePages,
    /// Bytes of a layer after which its beginning is synced and written down.
    pub safe_every: u64,
    /// Takes this way in any case; for tests and measurements.
    pub way: Option<Way>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cores: 1,
            memory: None,
            large_pages: LargePages::default(),
            safe_every: 256 << 20,
            way: None,
        }
    }
}

/// Why a sector was not labelled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] Arc<io::Error>),
    #[error("the labelling was cancelled")]
    Cancelled,
    #[error("a thread of the labelling panicked")]
    Panicked,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

#[cfg(test)]
mod tests;
