//! The parents of all nodes, read from the file that filecoin-proofs keeps of a graph: 14
//! numbers a node, `u32` little-endian, in the order of the nodes. A thread reads ahead, so
//! that labelling does not wait for the disk (56 GiB a layer for 32GiB sectors).

use super::{
    Graph,
    label::{PARENT_BYTES, PARENTS},
};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::{fs::FlockOperation, io::Errno};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    thread::{Builder, Scope},
};

/// Nodes of a piece: their parents stay in a core's cache, and they are soon labelled.
pub(super) const PIECE: usize = 8192;
/// Pieces that are read ahead.
const AHEAD: usize = 3;

/// The parents of some nodes that follow one another.
#[derive(Debug)]
pub(super) struct Piece {
    /// The first of the nodes.
    pub(super) first: usize,
    bytes: Vec<u8>,
}

impl Piece {
    #[cfg(test)]
    pub(super) fn new(first: usize, bytes: Vec<u8>) -> Self {
        Self { first, bytes }
    }

    pub(super) fn parents(&self) -> &[[u8; PARENT_BYTES]] {
        self.bytes.as_chunks().0
    }

    /// That every parent is a node: who labels relies on it.
    fn check(self, graph: &Graph) -> io::Result<Self> {
        let numbers = self.bytes.as_chunks().0.iter();
        let largest = numbers.map(|bytes| u32::from_le_bytes(*bytes)).max();
        match largest {
            Some(largest) if largest as usize >= graph.nodes => Err(broken(
                graph,
                &format!(
                    "names node {largest} as a parent, there are {}",
                    graph.nodes
                ),
            )),
            _ => Ok(self),
        }
    }
}

/// A thread that reads pieces in order.
pub(super) struct Reader {
    pieces: Receiver<io::Result<Piece>>,
    back: Sender<Vec<u8>>,
}

impl Reader {
    /// Reads from node `first` to the last one.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        graph: &'scope Graph,
        file: &'scope File,
        first: usize,
    ) -> io::Result<Self> {
        let (send, pieces) = bounded(AHEAD);
        let (back, buffers) = bounded::<Vec<u8>>(AHEAD + 2);
        let read = move || {
            for first in (first..graph.nodes).step_by(PIECE) {
                let nodes = PIECE.min(graph.nodes - first);
                let buffer = buffers.try_recv().unwrap_or_default();
                let piece = piece(graph, file, first, nodes, buffer);
                let failed = piece.is_err();
                // when nobody receives any more, the labelling has ended early
                if send.send(piece).is_err() || failed {
                    return;
                }
            }
        };
        Builder::new()
            .name("parents".to_owned())
            .spawn_scoped(scope, read)?;
        Ok(Self { pieces, back })
    }

    /// The next piece; none after the last one and after an error.
    pub(super) fn next(&self) -> Option<io::Result<Piece>> {
        self.pieces.recv().ok()
    }

    /// Takes a piece back, for its memory.
    pub(super) fn done(&self, piece: Piece) {
        let _ = self.back.try_send(piece.bytes);
    }
}

/// The parents of `nodes` nodes from `first` on.
pub(super) fn piece(
    graph: &Graph,
    file: &File,
    first: usize,
    nodes: usize,
    mut bytes: Vec<u8>,
) -> io::Result<Piece> {
    bytes.resize(nodes * PARENT_BYTES, 0);
    file.read_exact_at(&mut bytes, (first * PARENT_BYTES) as u64)
        .map_err(|error| at(graph, &error))?;
    Piece { first, bytes }.check(graph)
}

/// The file, when it is as long as the graph asks. Opened once for a whole run, and locked as
/// the library locks it: whoever makes it anew holds the lock for himself until it is whole,
/// and does so under the same name while we go on with the file that we have.
pub(super) fn open(graph: &Graph) -> io::Result<File> {
    let open = || {
        let file = File::open(&graph.parents)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Err(io::Error::other("is being made by another program")),
            // a file system without locks
            _ => Ok(()),
        }?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let (file, length) = open().map_err(|error| at(graph, &error))?;
    let expected = (graph.nodes * PARENTS * 4) as u64;
    if length == expected {
        return Ok(file);
    }
    Err(broken(
        graph,
        &format!("has {length} bytes instead of {expected}"),
    ))
}

fn broken(graph: &Graph, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} {what}; remove it, it is made again",
            graph.parents.display()
        ),
    )
}

fn at(graph: &Graph, error: &io::Error) -> io::Error {
    let text = format!("{}: {error}", graph.parents.display());
    io::Error::new(error.kind(), text)
}
