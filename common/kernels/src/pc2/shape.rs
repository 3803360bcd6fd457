//! How a sector's nodes are spread over trees: base trees of arity 8, and one or two rows of
//! another arity on top of them.

use crate::tree::octree::{NODE, Octree};

/// The tree shape of a sector size (`SectorShape*` of filecoin-proofs 19.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub base: Octree,
    /// How many base roots are hashed into one; none where the base tree is the whole.
    pub sub: Option<usize>,
    /// How many of those are hashed into the root.
    pub top: Option<usize>,
}

impl Shape {
    /// None for a size that no proof type has.
    pub fn of_sector(bytes: u64) -> Option<Self> {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let (height, sub, top) = match bytes {
            b if b == 2 * KIB => (2, None, None),
            b if b == 4 * KIB => (2, Some(2), None),
            b if b == 16 * KIB => (2, Some(8), None),
            b if b == 32 * KIB => (2, Some(8), Some(2)),
            b if b == 8 * MIB => (6, None, None),
            b if b == 16 * MIB => (6, Some(2), None),
            b if b == 512 * MIB => (8, None, None),
            b if b == GIB => (8, Some(2), None),
            b if b == 32 * GIB => (9, Some(8), None),
            b if b == 64 * GIB => (9, Some(8), Some(2)),
            _ => return None,
        };
        let base = Octree::of_height(height);
        Some(Self { base, sub, top })
    }

    pub fn base_trees(self) -> usize {
        self.sub.unwrap_or(1) * self.top.unwrap_or(1)
    }

    /// Nodes of the sector.
    pub fn nodes(self) -> u64 {
        self.base.leaves() * self.base_trees() as u64
    }

    pub fn bytes(self) -> u64 {
        self.nodes() * NODE as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_covers_its_sector() {
        let mut known = 0;
        for power in 5..40 {
            let bytes = 1_u64 << power;
            if let Some(shape) = Shape::of_sector(bytes) {
                assert_eq!(shape.bytes(), bytes);
                known += 1;
            }
            assert_eq!(Shape::of_sector(bytes + 32), None);
        }
        assert_eq!(known, 10);
    }
}
