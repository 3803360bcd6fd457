//! Labels on the SHA instructions, of one to three sectors of the same graph in step.
//!
//! 20 blocks make a label, but only 9 of them differ (5 in layer 1): the schedules of the
//! parents' blocks are computed once. The rounds of one stream are a chain that nothing can
//! shorten (its bound is 128 cycles a block); of all blocks only the header does not depend
//! on the node before, so that of the next node is hashed beside the last block of this one.
//! Several sectors fill the gaps of the chain with each other's rounds instead.
#![expect(unsafe_code, reason = "calls of code for the CPU at hand")]

use super::label::{BASE_PARENTS, Label, PARENT_BYTES, PARENTS, PREIMAGE_BITS, label, parent};
use crate::{
    cpu::Cpu,
    sha::ni::{Schedule, State, plain, rounds, words},
};
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Parents are fetched into the cache this many nodes before they are hashed: more than a
/// microsecond, several times what memory takes to answer.
const AHEAD: usize = 2;

/// One of `N` sectors in step.
pub(super) struct Sector<'a> {
    pub(super) id: &'a Label,
    /// Labels of this layer: those before the first node are there, the others are written.
    pub(super) current: &'a mut [Label],
    /// Labels of the layer below; not looked at in layer 1.
    pub(super) previous: &'a [Label],
}

/// Labels the nodes from `first` on, one for each entry of `parents`. Every parent must be
/// a node. Panics when the CPU has no SHA instructions.
pub(super) fn label_nodes<const N: usize>(
    layer: u32,
    mut first: usize,
    mut parents: &[[u8; PARENT_BYTES]],
    sectors: &mut [Sector<'_>; N],
) {
    assert!(Cpu::detect().sha_ni, "no SHA instructions");
    if first == 0 && !parents.is_empty() {
        for sector in &mut *sectors {
            sector.current[0] = label(sector.id, layer, 0, &[]);
        }
        (first, parents) = (1, &parents[1..]);
    }
    // SAFETY: the CPU has the instructions.
    unsafe {
        match layer {
            1 => nodes::<N, 3>(layer, first, parents, sectors),
            _ => nodes::<N, 7>(layer, first, parents, sectors),
        }
    }
}

/// `BLOCKS`: how many different blocks the parents make, 3 in layer 1 and 7 above it.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn nodes<const N: usize, const BLOCKS: usize>(
    layer: u32,
    first: usize,
    parents: &[[u8; PARENT_BYTES]],
    sectors: &mut [Sector<'_>; N],
) {
    let padding = plain(&[0x8000_0000, 0, 0, 0, 0, 0, 0, PREIMAGE_BITS]);
    let mut blocks = [[Schedule::zero(); N]; BLOCKS];
    let mut last = [Schedule::zero(); N];
    let mut header = [Schedule::zero(); N];
    let mut ahead: Option<State> = None;

    for (i, bytes) in parents.iter().enumerate() {
        let node = first + i;
        if let Some(later) = parents.get(i + AHEAD) {
            for sector in &*sectors {
                prefetch::<BLOCKS>(later, sector);
            }
        }

        let mut states = [State::new(); N];
        if let (1, Some(state)) = (N, ahead) {
            states[0] = state;
        } else {
            for (schedule, sector) in header.iter_mut().zip(&*sectors) {
                set_header(schedule, sector.id, layer, node);
            }
            rounds(&mut states, header.each_ref());
        }

        for (b, schedules) in blocks.iter_mut().enumerate() {
            let (left, right) = (parent(bytes, 2 * b), parent(bytes, 2 * b + 1));
            for (schedule, sector) in schedules.iter_mut().zip(&*sectors) {
                let from: &[Label] = if 2 * b < BASE_PARENTS {
                    sector.current
                } else {
                    sector.previous
                };
                schedule.set(words(&from[left]), words(&from[right]));
            }
            rounds(&mut states, schedules.each_ref());
        }
        if N == 1 {
            set_header(&mut header[0], sectors[0].id, layer, node + 1);
        }
        // 18 blocks of parents in all, before the one that has padding in its second half
        for turn in BLOCKS..18 {
            rounds(&mut states, blocks[turn % BLOCKS].each_ref());
        }

        // 36 labels are hashed; the 37th is the next in the same circle
        let odd = parent(bytes, 36 % (2 * BLOCKS));
        for (schedule, sector) in last.iter_mut().zip(&*sectors) {
            let from: &[Label] = if BLOCKS == 3 {
                sector.current
            } else {
                sector.previous
            };
            schedule.set(words(&from[odd]), padding);
        }
        if N == 1 {
            let mut both = [states[0], State::new()];
            rounds(&mut both, [&last[0], &header[0]]);
            states[0] = both[0];
            ahead = Some(both[1]);
        } else {
            rounds(&mut states, last.each_ref());
        }
        for (state, sector) in states.iter().zip(&mut *sectors) {
            state.store(&mut sector.current[node]);
        }
    }
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn set_header(schedule: &mut Schedule, id: &Label, layer: u32, node: usize) {
    let node = node as u64;
    let place = [layer, (node >> 32) as u32, node as u32, 0, 0, 0, 0, 0];
    schedule.set(words(id), plain(&place));
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn prefetch<const BLOCKS: usize>(bytes: &[u8; PARENT_BYTES], sector: &Sector<'_>) {
    let wanted = if BLOCKS == 3 { BASE_PARENTS } else { PARENTS };
    for k in 0..wanted {
        let from: &[Label] = if k < BASE_PARENTS {
            sector.current
        } else {
            sector.previous
        };
        _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(parent(bytes, k)).cast());
    }
}

#[cfg(test)]
mod tests {
    use super::{super::label::tests::*, *};

    fn check<const N: usize>() {
        const NODES: usize = 256;
        let parents = graph(NODES);
        let ids: [Label; N] = std::array::from_fn(replica_id);
        let expected = ids.map(|id| reference(&id, 3, &parents));
        let mut below = [(); N].map(|()| vec![[0; 32]; NODES]);
        for layer in 1..=3 {
            let mut above = [(); N].map(|()| vec![[0xff; 32]; NODES]);
            for nodes in [0..1, 1..2, 2..99, 99..NODES] {
                let mut rows = above.iter_mut().zip(&below).zip(&ids);
                let mut sectors: [Sector<'_>; N] = std::array::from_fn(|_| {
                    let ((current, previous), id) = rows.next().unwrap();
                    Sector {
                        id,
                        current,
                        previous,
                    }
                });
                label_nodes(layer, nodes.start, &parents[nodes], &mut sectors);
            }
            for (found, expected) in above.iter().zip(&expected) {
                assert!(*found == expected[layer as usize - 1], "{N}, layer {layer}");
            }
            below = above;
        }
    }

    #[test]
    fn sectors_in_step_are_labelled_as_one_by_one() {
        if Cpu::detect().sha_ni {
            check::<1>();
            check::<2>();
            check::<3>();
        }
    }
}
