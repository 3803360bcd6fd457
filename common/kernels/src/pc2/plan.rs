//! Into what pieces a sector is cut, and how many of them may be in memory at once.

use super::shape::Shape;
use crate::tree::octree::{NODE, Octree};

/// No chunk is larger: 8^5 nodes, 1 MiB of each layer. Larger ones read no faster.
const MAX_CHUNK: u32 = 5;
/// No chunk is smaller, where the tree allows: its upper rows would be hashed alone in
/// vectors made for eight.
const MIN_CHUNK: u32 = 3;
/// So many chunks for each thread keep them all busy to the end.
const CHUNKS_PER_THREAD: u64 = 8;

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The subtree over one chunk.
    pub chunk: Octree,
    /// Chunks in memory, wherever they are on their way: this bounds everything.
    pub buffers: usize,
    pub readers: usize,
    pub hashers: usize,
    pub writers: usize,
}

impl Plan {
    /// The plan for `threads` cores within `memory` bytes, or the bytes that the smallest
    /// plan takes.
    pub fn new(shape: Shape, layers: usize, threads: usize, memory: u64) -> Result<Self, u64> {
        let threads = threads.max(1);
        // one keeps eight hashers fed from a fast disk
        let carriers = 1 + threads / 8;
        let wanted = 2 * threads + 2 * carriers;
        // one for everybody: nobody waits long, and larger chunks are larger reads
        let enough = threads + 2 * carriers;
        let height = shape.base.height();
        let smallest = MIN_CHUNK.min(height);
        let busy = threads as u64 * CHUNKS_PER_THREAD;
        let largest = (smallest..=MAX_CHUNK.min(height))
            .rev()
            .find(|&h| shape.nodes() / Octree::of_height(h).leaves() >= busy)
            .unwrap_or(smallest);
        // how many buffers fit, the largest chunks first
        let choices = (smallest..=largest).rev().map(|h| {
            let chunk = Octree::of_height(h);
            let fit = (1..=wanted)
                .rev()
                .find(|&buffers| bytes(shape, layers, chunk, buffers) <= memory)
                .unwrap_or(0);
            (chunk, fit)
        });
        // the largest chunks of which there are enough, else those of which there are most
        let best = choices
            .clone()
            .find(|&(_, fit)| fit >= enough)
            .or_else(|| choices.max_by_key(|&(chunk, fit)| (fit, chunk.height())));
        match best {
            Some((chunk, buffers)) if buffers > 0 => Ok(Self {
                chunk,
                buffers: buffers.min(chunks(shape, chunk)),
                readers: carriers,
                hashers: threads,
                writers: carriers,
            }),
            _ => Err((smallest..=largest)
                .map(|h| bytes(shape, layers, Octree::of_height(h), 1))
                .min()
                .unwrap_or(u64::MAX)),
        }
    }
}

/// Chunks of the whole sector.
pub fn chunks(shape: Shape, chunk: Octree) -> usize {
    (shape.nodes() / chunk.leaves()) as usize
}

/// What a plan keeps in memory at most: the buffers, and for both trees the rows above the
/// chunks of every base tree. All of these may be under way, because a chunk that is stuck
/// keeps its tree from being finished while the others go on.
fn bytes(shape: Shape, layers: usize, chunk: Octree, buffers: usize) -> u64 {
    let above = Octree::of_height(shape.base.height() - chunk.height());
    let tops = 2 * above.len() * shape.base_trees() as u64;
    (buffers as u64 * buffer_nodes(layers, chunk) + tops) * NODE as u64
}

/// Nodes in one buffer: labels of all layers, data, subtree of tree_c, and that of
/// tree_r_last, whose leaves are the encoded data.
fn buffer_nodes(layers: usize, chunk: Octree) -> u64 {
    chunk.leaves() * layers as u64 + 2 * chunk.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn plan(sector: u64, layers: usize, threads: usize, memory: u64) -> Result<Plan, u64> {
        let shape = Shape::of_sector(sector).unwrap();
        let plan = Plan::new(shape, layers, threads, memory);
        if let Ok(plan) = plan {
            assert!(bytes(shape, layers, plan.chunk, plan.buffers) <= memory);
            assert!(plan.buffers > 0 && plan.buffers <= chunks(shape, plan.chunk));
            assert_eq!(plan.hashers, threads);
        }
        plan
    }

    #[test]
    fn a_large_machine_stays_below_the_default() {
        for threads in [1, 2, 16, 64, 128] {
            let plan = plan(32 * GIB, 11, threads, 8 * GIB).unwrap();
            assert_eq!(plan.chunk.height(), 5);
            assert!(plan.buffers >= 2 * threads + 2, "{plan:?}");
        }
    }

    #[test]
    fn little_memory_takes_small_chunks() {
        let generous = plan(512 * MIB, 2, 2, GIB).unwrap();
        assert_eq!(generous.chunk.height(), 5);
        let tight = plan(512 * MIB, 2, 2, 4 * MIB).unwrap();
        assert!(tight.chunk.height() < 5, "{tight:?}");
        assert!(tight.buffers >= 3, "{tight:?}");
        assert!(plan(32 * GIB, 11, 2, 16 * MIB).is_ok());
    }

    #[test]
    fn large_chunks_are_kept_while_there_is_one_for_everybody() {
        // (memory in MiB, height, buffers): two hashers, a reader and a writer, 4.3 MiB each
        for (memory, height, buffers) in [(32, 5, 6), (20, 5, 4), (16, 4, 6)] {
            let plan = plan(512 * MIB, 2, 2, memory * MIB).unwrap();
            let found = (plan.chunk.height(), plan.buffers);
            assert_eq!(found, (height, buffers), "{memory} MiB");
        }
    }

    #[test]
    fn every_base_tree_may_be_under_way() {
        // above the smallest chunks sixteen trees take 293 MiB, however few buffers there are
        let tight = plan(64 * GIB, 11, 1, 32 * MIB).unwrap();
        assert_eq!((tight.chunk.height(), tight.buffers), (5, 2));
    }

    #[test]
    fn a_small_sector_still_gives_every_thread_something() {
        let shape = Shape::of_sector(8 * MIB).unwrap();
        let plan = plan(8 * MIB, 2, 2, GIB).unwrap();
        assert!(chunks(shape, plan.chunk) >= 16);
        // the smallest sectors have one chunk for each base tree
        let tiny = self::plan(2 << 10, 2, 64, GIB).unwrap();
        assert_eq!((tiny.chunk.height(), tiny.buffers), (2, 1));
    }

    #[test]
    fn what_cannot_be_says_what_it_takes() {
        let needed = plan(512 * MIB, 2, 2, 10_000).unwrap_err();
        assert!(plan(512 * MIB, 2, 2, needed - 1).is_err());
        assert_eq!(plan(512 * MIB, 2, 2, needed).unwrap().buffers, 1);
    }
}
