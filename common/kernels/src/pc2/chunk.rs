//! One piece of a sector on its way through memory: labels and data come in, subtrees and
//! the encoded data go out.

use super::{encode::encode, plan::Plan};
use crate::{
    cpu::Cpu,
    poseidon::{Arity, NotCanonical, Poseidon},
    tree::octree::{self, NODE, Octree},
};
use std::collections::TryReserveError;

/// Which piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Base tree, from 0.
    pub(super) tree: usize,
    /// Chunk of that tree, from 0.
    pub(super) index: u64,
}

/// A buffer for one chunk; used again and again.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) place: Place,
    /// The labels of one layer after the other.
    pub(super) labels: Vec<u8>,
    /// The subtree of tree_c: column hashes, then the rows above.
    pub(super) tree_c: Vec<u8>,
    /// Data on the way in; the subtree of tree_r_last, whose leaves it is, on the way out.
    pub(super) tree_r: Vec<u8>,
    tree: Octree,
}

/// What is no field element, and where in the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Label { layer: usize, node: usize },
    Data { node: usize },
}

impl Chunk {
    pub(super) fn new(plan: &Plan, layers: usize) -> Result<Self, TryReserveError> {
        let leaves = plan.chunk.leaves() as usize * NODE;
        let nodes = plan.chunk.len() as usize * NODE;
        Ok(Self {
            place: Place { tree: 0, index: 0 },
            labels: zeroed(leaves * layers)?,
            tree_c: zeroed(nodes)?,
            tree_r: zeroed(nodes)?,
            tree: plan.chunk,
        })
    }

    pub(super) fn tree(&self) -> Octree {
        self.tree
    }

    fn layer_len(&self) -> usize {
        self.tree.leaves() as usize * NODE
    }

    /// The labels of each layer, to be read into.
    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let len = self.layer_len();
        self.labels.chunks_exact_mut(len)
    }

    /// The data, to be read into; encoded once the chunk is hashed.
    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        let len = self.layer_len();
        &mut self.tree_r[..len]
    }

    pub(super) fn sealed(&self) -> &[u8] {
        &self.tree_r[..self.layer_len()]
    }
}

fn zeroed(bytes: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes)?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

/// The hash functions of a sector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    column: Poseidon,
    pub(super) tree: Poseidon,
}

impl Hashes {
    /// None where no proof has so many layers.
    pub(super) fn new(layers: usize, cpu: Cpu) -> Option<Self> {
        let column = match layers {
            2 => Arity::Two,
            11 => Arity::Eleven,
            _ => return None,
        };
        Some(Self {
            column: Poseidon::new(column, cpu),
            tree: Poseidon::new(Arity::Eight, cpu),
        })
    }

    /// Columns, tree_c, encoding, tree_r_last of a chunk whose labels and data are there.
    pub(super) fn run(&self, chunk: &mut Chunk) -> Result<(), Fault> {
        let (tree, len) = (chunk.tree, chunk.layer_len());
        let layers: Vec<&[u8]> = chunk.labels.chunks_exact(len).collect();
        self.column
            .hash_rows(&layers, NODE, &mut chunk.tree_c[..len])
            .map_err(|at| Fault::Label {
                layer: at.element,
                node: at.hash,
            })?;
        octree::fill(&self.tree, tree, &mut chunk.tree_c).map_err(leaf)?;
        let last = layers.last().copied().unwrap_or_default();
        encode(&mut chunk.tree_r[..len], last).map_err(|node| Fault::Data { node })?;
        octree::fill(&self.tree, tree, &mut chunk.tree_r).map_err(leaf)
    }
}

/// Cannot be: hashes and encoded nodes are field elements. Should it be, the leaf is named.
fn leaf(at: NotCanonical) -> Fault {
    Fault::Data {
        node: at.hash * 8 + at.element,
    }
}
