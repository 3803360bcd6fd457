//! The labels of the sectors that one thread labels in step: of this layer and of the one
//! below.

use super::{label::Label, parents::Piece};
use std::ops::Range;

pub(super) trait Store: Send {
    /// Labels a piece's nodes in this layer, of the sectors that are alive (others may be
    /// labelled too). The nodes before it are labelled.
    fn label(&mut self, layer: u32, piece: &Piece, alive: &[bool]);

    /// Puts the labels of nodes of this layer, as they lie in the files, into the buffers of
    /// those sectors that have one. The buffers are empty.
    fn read(&self, nodes: Range<usize>, buffers: &mut [Option<Vec<u8>>]);

    /// Takes labels of a sector's nodes in this layer from `first` on.
    fn write(&mut self, sector: usize, first: usize, labels: &[Label]);

    /// This layer becomes the one below.
    fn next_layer(&mut self);
}
