//! Pairs of nodes in two groups of sixteen AVX-512 lanes.

#![expect(unsafe_code, reason = "entry into code for one instruction set")]

use super::{
    pairs::PADDING_SCHEDULE,
    x16::{self, Schedule},
};

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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn hash_x16(nodes: &[u8], out: &mut [u8]) -> usize {
    let mut scratch = [Schedule::zeroed(); 2];
    let (groups, rest) = nodes.as_chunks::<NODES>();
    let (hashes, rest_out) = out.as_chunks_mut::<HASHES>();
    for (nodes, out) in groups.iter().zip(hashes) {
        two_groups(nodes, out, &mut scratch);
    }
    let done = HASHES * groups.len();
    if rest_out.len() < 32 * WORTH {
        return done;
    }
    let (mut nodes, mut hashes) = ([0; NODES], [0; HASHES]);
    nodes[..rest.len()].copy_from_slice(rest);
    two_groups(&nodes, &mut hashes, &mut scratch);
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
    for (state, out) in states.iter_mut().zip(out.as_chunks_mut().0) {
        // the two top bits of the digest's last byte
        state[7] = x16::and(state[7], x16::same(!0xc0));
        x16::store_digests(state, out);
    }
}
