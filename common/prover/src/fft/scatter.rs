//! The only permutation: from the order of leaves to the natural one.

use super::lanes::Ifma;
use super::tables::reversed;
use crate::run::Run;
use damocles_kernels::{
    crew::Cancelled,
    field::{limbs::Words, loose::Block},
};
use std::slice::ChunksMut;

/// How many groups of leaves a thread takes at a time.
const PIECE: usize = 64;

/// Rows × lanes of a leaf: in natural order each of them has its own stretch.
const STRETCHES: usize = 64;

/// Up to eight neighbours in each stretch: what one group of leaves holds. Collected here, so
/// that every stretch gets whole cache lines; the stretches lie so that their lines would drive
/// each other out of the caches.
type Tile<T> = [[T; 8]; STRETCHES];

/// The results of leaves on their way into natural order.
pub(super) struct Scatter<'a> {
    pub(super) ifma: Ifma,
    /// What to write: blocks, or, where there are others, the sum of both.
    pub(super) blocks: &'a [Block],
    pub(super) others: Option<&'a [Block]>,
}

impl Scatter<'_> {
    /// Element `reversed(j) n/8 + reversed(l) n/64 + reversed(g)` of `out` becomes what `make`
    /// makes of the canonical words in lane l of block j of leaf g.
    pub(super) fn run<T: Copy + Send>(
        &self,
        out: &mut [T],
        make: impl Fn(Words) -> T + Sync,
        run: Run<'_>,
    ) -> Result<(), Cancelled> {
        let bits = (self.blocks.len() / 8).trailing_zeros();
        let near = bits.min(3);
        let groups = 1usize << (bits - near);
        let mut stretches: Vec<ChunksMut<'_, T>> = out
            .chunks_exact_mut(1 << bits)
            .map(|stretch| stretch.chunks_mut(PIECE << near))
            .collect();
        let pieces = (0..groups).step_by(PIECE).map(move |first| {
            let stretches: Vec<&mut [T]> =
                stretches.iter_mut().filter_map(Iterator::next).collect();
            (first, stretches)
        });
        run.each(groups.div_ceil(PIECE), pieces, |(first, mut stretches)| {
            for i in 0..groups.min(PIECE) {
                // neighbours differ in the exponent's lowest bits: the leaf's highest ones
                let leaf = reversed(first + i, bits - near);
                let tile = self.tile(leaf, bits, near, &make);
                for (stretch, row) in stretches.iter_mut().zip(&tile) {
                    stretch[i << near..][..1 << near].copy_from_slice(&row[..1 << near]);
                }
            }
        })
    }

    /// The leaves that differ from `leaf` in the `near` highest of their `bits` bits.
    #[inline]
    fn tile<T: Copy>(
        &self,
        leaf: usize,
        bits: u32,
        near: u32,
        make: &impl Fn(Words) -> T,
    ) -> Tile<T> {
        let mut tile = [[make([0; 4]); 8]; STRETCHES];
        for i in 0..1 << near {
            let leaf = leaf + (reversed(i, near) << (bits - near));
            for (j, block) in (8 * leaf..8 * leaf + 8).enumerate() {
                let other = self.others.map(|others| &others[block]);
                let words = self.ifma.words(&self.blocks[block], other);
                for lane in 0..8 {
                    let stretch = &mut tile[8 * reversed(j, 3) + reversed(lane, 3)];
                    stretch[i] = make(words.map(|word| word[lane]));
                }
            }
        }
        tile
    }
}
