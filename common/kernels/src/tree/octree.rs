//! Trees of arity 8 over Poseidon (tree_c, tree_r_last): how many nodes a row has, where it
//! lies in the file, and hashing one row into the next. Knows no files.

use crate::poseidon::{NotCanonical, Poseidon};

/// Bytes of a node.
pub const NODE: usize = 32;
const ARITY: u64 = 8;

/// The form of a tree with 8^height leaves. Rows are counted from the leaves (row 0) to the
/// root (row `height`); positions and lengths are in nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octree {
    height: u32,
}

impl Octree {
    /// A tree with 8^height leaves.
    ///
    /// # Panics
    /// When the number of nodes does not fit 64 bits (height above 20).
    pub const fn of_height(height: u32) -> Self {
        assert!(height <= 20, "the tree is too high");
        Self { height }
    }

    pub const fn height(self) -> u32 {
        self.height
    }

    pub const fn leaves(self) -> u64 {
        ARITY.pow(self.height)
    }

    /// Nodes of a row.
    pub const fn row_len(self, row: u32) -> u64 {
        ARITY.pow(self.height - row)
    }

    /// Nodes below a row, which is where it begins.
    pub const fn row_start(self, row: u32) -> u64 {
        // rows are a geometric series: 8^h + … + 8^(h-row+1)
        (ARITY.pow(self.height + 1) - ARITY.pow(self.height + 1 - row)) / (ARITY - 1)
    }

    /// All nodes.
    pub const fn len(self) -> u64 {
        self.row_start(self.height) + 1
    }

    /// Never: there is always a root.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// How many rows above the leaves tree_r_last leaves out when `wanted` are asked for
    /// (`default_rows_to_discard` of storage-proofs-core 19.1, arity 8). The leaves
    /// themselves, which are the sealed file, are never in it.
    pub const fn discarded(self, wanted: u32) -> u32 {
        match self.height {
            0 | 1 => 0,
            2 => 1,
            height if wanted < height - 1 => wanted,
            height => height - 1,
        }
    }
}

/// One row of a tree from the row below: `above` gets one node for eight of `below`.
///
/// # Panics
/// When `below` is shorter than eight times `above`.
pub fn hash_row(poseidon: &Poseidon, below: &[u8], above: &mut [u8]) -> Result<(), NotCanonical> {
    let children: [&[u8]; ARITY as usize] = std::array::from_fn(|child| &below[child * NODE..]);
    poseidon.hash_rows(&children, ARITY as usize * NODE, above)
}

/// All rows above the first: `nodes` is the whole tree, of which the leaves are filled in.
///
/// # Panics
/// When `nodes` is not as long as the tree.
pub fn fill(poseidon: &Poseidon, tree: Octree, nodes: &mut [u8]) -> Result<(), NotCanonical> {
    assert_eq!(nodes.len() as u64, tree.len() * NODE as u64);
    let mut rest = nodes;
    for row in 0..tree.height() {
        let (below, above) = rest.split_at_mut(tree.row_len(row) as usize * NODE);
        let len = tree.row_len(row + 1) as usize * NODE;
        hash_row(poseidon, below, &mut above[..len])?;
        rest = above;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::Cpu, poseidon::Arity};

    #[test]
    fn rows_follow_each_other_and_end_with_the_root() {
        for height in 0..=11 {
            let tree = Octree::of_height(height);
            let mut start = 0;
            for row in 0..=height {
                assert_eq!(tree.row_start(row), start, "height {height}, row {row}");
                start += tree.row_len(row);
            }
            assert_eq!(tree.len(), start);
            assert_eq!(tree.row_len(height), 1);
            assert_eq!(tree.row_len(0), tree.leaves());
        }
    }

    #[test]
    fn what_can_be_discarded() {
        // (height, asked for, left out)
        let table = [
            (1, 2, 0),
            (2, 0, 1), // the crate discards the only row between even when asked not to
            (2, 7, 1),
            (3, 0, 0),
            (3, 2, 2),
            (3, 7, 2),
            (6, 2, 2),
            (6, 7, 5),
            (9, 2, 2),
        ];
        for (height, wanted, left_out) in table {
            let tree = Octree::of_height(height);
            assert_eq!(tree.discarded(wanted), left_out, "{height}, {wanted}");
        }
    }

    #[test]
    fn a_tree_is_its_rows() {
        let poseidon = Poseidon::new(Arity::Eight, Cpu::PORTABLE);
        let tree = Octree::of_height(2);
        let mut nodes = vec![0; tree.len() as usize * NODE];
        for (i, leaf) in nodes.chunks_exact_mut(NODE).take(64).enumerate() {
            leaf[0] = i as u8;
        }
        let mut row = vec![0; 8 * NODE];
        hash_row(&poseidon, &nodes[..64 * NODE], &mut row).unwrap();
        let mut root = vec![0; NODE];
        hash_row(&poseidon, &row, &mut root).unwrap();
        fill(&poseidon, tree, &mut nodes).unwrap();
        assert_eq!(nodes[64 * NODE..72 * NODE], row);
        assert_eq!(nodes[72 * NODE..], root);
        assert_ne!(row[..NODE], row[NODE..2 * NODE]);
    }
}
