//! Pairs of nodes in sixteen AVX-512 lanes, two groups side by side or one after the other.

#![expect(unsafe_code, reason = "entry into code for one instruction set")]

use super::{
    pairs::PADDING_SCHEDULE,
    x16::{self, Schedule},
};
use std::sync::OnceLock;

/// Bytes of the nodes and of the hashes of two groups.
const NODES: usize = 2048;
const HASHES: usize = 1024;

/// Below that many pairs sixteen lanes lose to one stream on SHA-NI.
const WORTH: usize = 8;

/// Hashes pairs from the front of `nodes` as long as that pays; how many bytes of `out` are
/// done. Only `Pairs::hash_many` calls it, and only where
/// [`Cpu::here`](crate::cpu::Cpu::here) has found AVX-512.
pub(super) fn hash(nodes: &[u8], out: &mut [u8]) -> usize {
    // SAFETY: a `Pairs` keeps what `Cpu::here` has found on this CPU, and calls this only with
    // `avx512`, which means AVX-512 F, BW, VL and DQ.
    unsafe { hash_x16(nodes, out) }
}

/// Whether two groups side by side are faster here than one after the other, measured once.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn side_by_side() -> bool {
    static FASTER: OnceLock<bool> = OnceLock::new();
    *FASTER.get_or_init(|| {
        let mut scratch = [Schedule::zeroed(); 2];
        let (nodes, mut out) = ([0x5a; NODES], [0; HASHES]);
        let mut hundred = |two: &mut dyn FnMut(&mut [u8; HASHES])| {
            x16::time(|| (0..100).for_each(|_| two(&mut out)))
        };
        let side_by_side = hundred(&mut |out| two_groups(&nodes, out, &mut scratch));
        let in_turn = hundred(&mut |out| in_turn(&nodes, out, &mut scratch[0]));
        side_by_side < in_turn
    })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn hash_x16(nodes: &[u8], out: &mut [u8]) -> usize {
    let side_by_side = side_by_side();
    let mut scratch = [Schedule::zeroed(); 2];
    let mut two = |nodes: &[u8; NODES], out: &mut [u8; HASHES]| {
        if side_by_side {
            two_groups(nodes, out, &mut scratch);
        } else {
            in_turn(nodes, out, &mut scratch[0]);
        }
    };
    let (groups, rest) = nodes.as_chunks::<NODES>();
    let (hashes, rest_out) = out.as_chunks_mut::<HASHES>();
    for (nodes, out) in groups.iter().zip(hashes) {
        two(nodes, out);
    }
    let done = HASHES * groups.len();
    if rest_out.len() < 32 * WORTH {
        return done;
    }
    let (mut nodes, mut hashes) = ([0; NODES], [0; HASHES]);
    nodes[..rest.len()].copy_from_slice(rest);
    two(&nodes, &mut hashes);
    rest_out.copy_from_slice(&hashes[..rest_out.len()]);
    out.len()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn two_groups(nodes: &[u8; NODES], out: &mut [u8; HASHES], scratch: &mut [Schedule; 2]) {
    let mut states = [x16::initial(); 2];
    for (nodes, schedule) in nodes.as_chunks().0.iter().zip(&mut *scratch) {
        x16::expand(&x16::load_blocks(nodes), schedule);
    }
    let [first, second] = &*scratch;
    x16::compress_two_scheduled(&mut states, [first, second]);
    x16::compress_two_constant(&mut states, &PADDING_SCHEDULE);
    for (state, out) in states.into_iter().zip(out.as_chunks_mut().0) {
        put(state, out);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn in_turn(nodes: &[u8; NODES], out: &mut [u8; HASHES], scratch: &mut Schedule) {
    for (nodes, out) in nodes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        let mut state = x16::initial();
        x16::expand(&x16::load_blocks(nodes), scratch);
        x16::compress_scheduled(&mut state, scratch);
        x16::compress_constant(&mut state, &PADDING_SCHEDULE);
        put(state, out);
    }
}

/// Hashes, without the two top bits of their last byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn put(mut state: x16::State, out: &mut [u8; HASHES / 2]) {
    state[7] = x16::and(state[7], x16::same(!0xc0));
    x16::store_digests(&state, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;

    #[test]
    fn both_ways_make_the_same() {
        if !Cpu::detect().avx512 {
            return;
        }
        let nodes: [u8; NODES] = std::array::from_fn(|i| (i * i / 7) as u8);
        let mut out = [[0; HASHES]; 2];
        let [two, one] = &mut out;
        // SAFETY: the CPU has the instruction set.
        unsafe {
            let mut scratch = [Schedule::zeroed(); 2];
            two_groups(&nodes, two, &mut scratch);
            in_turn(&nodes, one, &mut scratch[0]);
        }
        assert_eq!(out[0], out[1]);
        assert_ne!(out[0], [0; HASHES]);
    }
}
