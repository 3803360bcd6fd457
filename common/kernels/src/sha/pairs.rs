//! The hash of tree-d and of pieces: SHA-256 of two 32-byte nodes, cut to 254 bits (the two
//! top bits of the last byte cleared), for many pairs at a time.

#[cfg(target_arch = "x86_64")]
use super::K;
use crate::cpu::Cpu;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Bytes of a node.
pub const NODE: usize = 32;

/// SHA-256 of pairs on the best code that the CPU allows.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    cpu: Cpu,
}

/// What hashes on such a CPU, for people.
pub fn code(cpu: Cpu) -> &'static str {
    if cpu.avx512 {
        "avx512"
    } else if cpu.sha_ni {
        "sha_ni"
    } else {
        "portable"
    }
}

impl Pairs {
    pub fn new(cpu: Cpu) -> Self {
        Self { cpu: cpu.here() }
    }

    /// One tree row from the row below it: node `i` of `out` is the hash of nodes `2 i` and
    /// `2 i + 1` of `nodes`.
    ///
    /// # Panics
    /// When `out` is not half as long as `nodes` or does not hold whole nodes.
    pub fn hash(&self, nodes: &[u8], out: &mut [u8]) {
        assert_eq!(nodes.len(), 2 * out.len(), "a row has half of the nodes");
        assert_eq!(out.len() % NODE, 0, "whole nodes");
        let done = self.hash_many(nodes, out);
        let (nodes, out) = (&nodes[2 * done..], &mut out[done..]);
        for (pair, out) in nodes.chunks_exact(2 * NODE).zip(out.chunks_exact_mut(NODE)) {
            portable(pair, out);
        }
    }

    /// Hashes pairs from the front, as many as the vector units are good for; how many bytes
    /// of `out` are done.
    #[cfg(target_arch = "x86_64")]
    fn hash_many(&self, nodes: &[u8], out: &mut [u8]) -> usize {
        if self.cpu.avx512 {
            super::pairs_x16::hash(nodes, out)
        } else if self.cpu.sha_ni {
            super::pairs_ni::hash(nodes, out)
        } else {
            0
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn hash_many(&self, _nodes: &[u8], _out: &mut [u8]) -> usize {
        let _ = self.cpu;
        0
    }

    /// All rows above `leaves` up to the root, back to back in `rows`.
    ///
    /// # Panics
    /// When the leaves are no power of two or `rows` is not one node shorter than `leaves`.
    pub fn tree(&self, leaves: &[u8], rows: &mut [u8]) {
        assert!(leaves.len().is_power_of_two() && leaves.len() >= NODE);
        assert_eq!(rows.len(), leaves.len() - NODE, "all rows above the leaves");
        if rows.is_empty() {
            return;
        }
        let (mut below, mut above) = rows.split_at_mut(leaves.len() / 2);
        self.hash(leaves, below);
        while !above.is_empty() {
            let (row, rest) = above.split_at_mut(below.len() / 2);
            self.hash(below, row);
            (below, above) = (row, rest);
        }
    }

    /// The root over `row`, which is the front of a row at `height` above the leaves (0: the
    /// leaves themselves) of a tree of `top` heights; the rest of the row covers zeros.
    ///
    /// # Panics
    /// When the row is longer than the tree's.
    pub fn root(&self, mut row: Vec<u8>, height: u32, top: u32) -> [u8; NODE] {
        assert!(row.len() as u64 / NODE as u64 <= 1 << (top - height));
        for height in height..top {
            if row.len() / NODE % 2 == 1 {
                row.extend_from_slice(&zeros(height));
            }
            let mut above = vec![0; row.len() / 2];
            self.hash(&row, &mut above);
            row = above;
        }
        row.first_chunk().copied().unwrap_or_else(|| zeros(top))
    }
}

/// The scalar reference: the sha2 crate, which knows the SHA instructions too.
fn portable(pair: &[u8], out: &mut [u8]) {
    out.copy_from_slice(&Sha256::digest(pair));
    out[NODE - 1] &= 0x3f;
}

/// The words of the second block of every pair: the end mark and the length of 512 bits.
#[cfg(target_arch = "x86_64")]
pub(super) const PADDING: [u32; 16] = {
    let mut words = [0; 16];
    words[0] = 0x8000_0000;
    words[15] = 512;
    words
};

/// W + K of [`PADDING`].
#[cfg(target_arch = "x86_64")]
pub(super) const PADDING_SCHEDULE: [u32; 64] = {
    let mut w = [0_u32; 64];
    let mut i = 0;
    while i < 16 {
        w[i] = PADDING[i];
        i += 1;
    }
    while i < 64 {
        let (x, y) = (w[i - 15], w[i - 2]);
        let sum_x = x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3);
        let sum_y = y.rotate_right(17) ^ y.rotate_right(19) ^ (y >> 10);
        w[i] = w[i - 16]
            .wrapping_add(sum_x)
            .wrapping_add(w[i - 7])
            .wrapping_add(sum_y);
        i += 1;
    }
    let mut i = 0;
    while i < 64 {
        w[i] = w[i].wrapping_add(K[i]);
        i += 1;
    }
    w
};

/// The root of a tree of zeros that is so many rows high (0: one zero node).
///
/// # Panics
/// Above 64 rows: no file is so long.
pub fn zeros(height: u32) -> [u8; NODE] {
    static ROOTS: LazyLock<[[u8; NODE]; 65]> = LazyLock::new(|| {
        let mut roots = [[0; NODE]; 65];
        for i in 1..roots.len() {
            let pair = [roots[i - 1], roots[i - 1]];
            portable(pair.as_flattened(), &mut roots[i]);
        }
        roots
    });
    ROOTS[height as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus() -> [Cpu; 3] {
        let no_avx512 = Cpu {
            avx512: false,
            ..Cpu::detect()
        };
        [Cpu::PORTABLE, no_avx512, Cpu::detect()]
    }

    fn nodes(pairs: usize) -> Vec<u8> {
        let mut x = pairs as u64 + 1;
        (0..64 * pairs)
            .map(|_| {
                x = x
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (x >> 56) as u8
            })
            .collect()
    }

    fn by_the_book(nodes: &[u8]) -> Vec<u8> {
        nodes
            .chunks(64)
            .flat_map(|pair| {
                let mut digest: [u8; 32] = Sha256::digest(pair).into();
                digest[31] &= 0x3f;
                digest
            })
            .collect()
    }

    #[test]
    fn any_number_of_pairs_on_any_cpu() {
        for cpu in cpus() {
            for pairs in [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 100, 256] {
                let nodes = nodes(pairs);
                let mut out = vec![0xff; 32 * pairs];
                Pairs::new(cpu).hash(&nodes, &mut out);
                assert_eq!(out, by_the_book(&nodes), "{pairs} pairs on {cpu:?}");
            }
        }
    }

    #[test]
    fn a_tree_ends_in_its_root() {
        let leaves = nodes(64);
        let mut row = leaves.clone();
        let mut wanted = Vec::new();
        while row.len() > 32 {
            row = by_the_book(&row);
            wanted.extend_from_slice(&row);
        }
        for cpu in cpus() {
            let mut rows = vec![0; leaves.len() - 32];
            Pairs::new(cpu).tree(&leaves, &mut rows);
            assert!(rows == wanted);
            assert_eq!(Pairs::new(cpu).root(leaves.clone(), 0, 7).as_slice(), row);
        }
        Pairs::new(Cpu::PORTABLE).tree(&leaves[..32], &mut []);
    }

    #[test]
    fn what_a_row_lacks_counts_as_zeros() {
        let pairs = Pairs::new(Cpu::detect());
        for filled in 0..=8 {
            let mut leaves = nodes(4);
            leaves[32 * filled..].fill(0);
            let whole = pairs.root(leaves.clone(), 0, 3);
            leaves.truncate(32 * filled);
            assert_eq!(pairs.root(leaves, 0, 3), whole, "{filled} of 8 leaves");
        }
        assert_eq!(pairs.root(Vec::new(), 3, 5), zeros(5));
    }
}
