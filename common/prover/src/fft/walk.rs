//! The way of a transform through memory, whatever its numbers are made of: four quarters of
//! the array at a time, then each quarter by itself, and so on. The first passes go over all of
//! the array, shared out among the threads by columns; below them every part is finished by one
//! thread, depth first, so that it stays in the caches.
//!
//! # Nodes
//! The transform divides polynomials: a part of m elements holds the rest of a polynomial
//! modulo X^m − r, and r = s², so the rests modulo X^(m/2) − s and X^(m/2) + s are its halves:
//! u + s v and u − s v, with one s for the whole part. Parts of one size are nodes numbered from
//! 0; the halves of node j are nodes 2 j and 2 j + 1, its quarters 4 j to 4 j + 3. s of node j is
//! the power of the root whose exponent has the bits of j reversed, whatever the size: so one
//! table serves all levels. At the end place i holds the value for the power with i's bits
//! reversed.

use crate::run::Run;
use damocles_kernels::crew::Cancelled;
use std::num::NonZeroUsize;

/// The steps of a transform on blocks of some kind.
pub(super) trait Steps: Sync {
    type Block: Send;
    /// Blocks of the smallest part, a power of two.
    const LEAF: usize;
    /// Blocks of each quarter that a thread takes at a time.
    const COLUMNS: usize;
    /// Two levels, from a part's quarters to those of its quarters.
    fn down(&self, node: usize, quarters: [&mut [Self::Block]; 4]);
    /// One level.
    fn down_half(&self, node: usize, halves: [&mut [Self::Block]; 2]);
    /// Undoes `down`, but for a factor 4.
    fn up(&self, node: usize, quarters: [&mut [Self::Block]; 4]);
    /// Undoes `down_half`, but for a factor 2.
    fn up_half(&self, node: usize, halves: [&mut [Self::Block]; 2]);
}

/// Where a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With the leaves.
    Below,
    /// Up again from each leaf, to another transform's values in natural order.
    Above,
}

/// A walk through an array.
#[derive(Debug)]
pub(super) struct Walk<'a, S, F, L> {
    pub(super) steps: &'a S,
    /// Does something with the blocks from a number on before all else.
    pub(super) first: F,
    /// What is to be done with the leaf of a number.
    pub(super) leaf: L,
    pub(super) end: End,
}

impl<S: Steps, F, L> Walk<'_, S, F, L>
where
    F: Fn(usize, &mut [S::Block]) + Sync,
    L: Fn(usize, &mut [S::Block]) + Sync,
{
    /// `blocks` must be a power of two of them, at least one leaf.
    pub(super) fn run(&self, blocks: &mut [S::Block], run: Run<'_>) -> Result<(), Cancelled> {
        let passes = shared_passes(blocks.len() / S::LEAF, run.threads);
        for pass in 0..passes {
            self.columns(blocks, pass, run, |node, places, mut quarters| {
                if pass == 0 {
                    for (place, quarter) in places.into_iter().zip(quarters.iter_mut()) {
                        (self.first)(place, quarter);
                    }
                }
                self.steps.down(node, quarters);
            })?;
        }
        let part = blocks.len() >> (2 * passes);
        run.each(
            1 << (2 * passes),
            blocks.chunks_exact_mut(part).enumerate(),
            |(node, blocks)| {
                if passes == 0 {
                    (self.first)(0, blocks);
                }
                self.part(node, blocks);
            },
        )?;
        if self.end == End::Above {
            for pass in (0..passes).rev() {
                self.columns(blocks, pass, run, |node, _, quarters| {
                    self.steps.up(node, quarters);
                })?;
            }
        }
        Ok(())
    }

    /// Calls `work` with every node of a pass, some columns at a time: the node, the places of
    /// the quarters' pieces in the array, the pieces.
    fn columns(
        &self,
        blocks: &mut [S::Block],
        pass: u32,
        run: Run<'_>,
        work: impl Fn(usize, [usize; 4], [&mut [S::Block]; 4]) + Sync,
    ) -> Result<(), Cancelled> {
        let part = blocks.len() >> (2 * pass);
        let quarter = part / 4;
        let width = quarter.min(S::COLUMNS);
        let count = blocks.len() / (4 * width);
        let nodes = blocks.chunks_exact_mut(part).enumerate();
        let pieces = nodes.flat_map(|(node, blocks)| {
            let [a, b, c, d] = quarters(blocks).map(|quarter| quarter.chunks_exact_mut(width));
            let pieces = a.zip(b).zip(c.zip(d)).enumerate();
            pieces.map(move |(i, ((a, b), (c, d)))| {
                let place = |quarter_number| node * part + quarter_number * quarter + i * width;
                (node, [0, 1, 2, 3].map(place), [a, b, c, d])
            })
        });
        run.each(count, pieces, |(node, places, quarters)| {
            work(node, places, quarters)
        })
    }

    /// All of a part, depth first.
    fn part(&self, node: usize, blocks: &mut [S::Block]) {
        match blocks.len() / S::LEAF {
            1 => (self.leaf)(node, blocks),
            2 => {
                self.steps.down_half(node, halves(blocks));
                for (i, half) in halves(blocks).into_iter().enumerate() {
                    (self.leaf)(2 * node + i, half);
                }
                if self.end == End::Above {
                    self.steps.up_half(node, halves(blocks));
                }
            }
            _ => {
                self.steps.down(node, quarters(blocks));
                for (i, quarter) in quarters(blocks).into_iter().enumerate() {
                    self.part(4 * node + i, quarter);
                }
                if self.end == End::Above {
                    self.steps.up(node, quarters(blocks));
                }
            }
        }
    }
}

/// How many passes over all of the array: so many that the parts below them can be shared out
/// evenly (and that a cancelled run ends soon), unless these would become small.
fn shared_passes(leaves: usize, threads: NonZeroUsize) -> u32 {
    let enough = threads.get().saturating_mul(4).max(16);
    let mut passes = 0;
    while 1 << (2 * passes) < enough && leaves >> (2 * passes) >= 256 {
        passes += 1;
    }
    passes
}

fn halves<B>(blocks: &mut [B]) -> [&mut [B]; 2] {
    let (a, b) = blocks.split_at_mut(blocks.len() / 2);
    [a, b]
}

fn quarters<B>(blocks: &mut [B]) -> [&mut [B]; 4] {
    let [first, second] = halves(blocks);
    let [[a, b], [c, d]] = [halves(first), halves(second)];
    [a, b, c, d]
}
