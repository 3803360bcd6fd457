//! Pairs of nodes on the SHA instructions, a few streams in step.

#![expect(unsafe_code, reason = "entry into code for one instruction set")]

use super::{
    ni::{Schedule, State, plain, rounds, words},
    pairs::{NODE, PADDING},
};

const STREAMS: usize = 3;

/// Hashes pairs from the front of `nodes` as long as there are enough for all streams; how
/// many bytes of `out` are done. Only `Pairs::hash_many` calls it, and only where
/// [`Cpu::here`](crate::cpu::Cpu::here) has found the SHA instructions.
pub(super) fn hash(nodes: &[u8], out: &mut [u8]) -> usize {
    // SAFETY: a `Pairs` keeps what `Cpu::here` has found on this CPU, and calls this only with
    // `sha_ni`, which means SHA, SSSE3 and SSE4.1; every x86-64 CPU has SSE2.
    unsafe { hash_streams(nodes, out) }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn hash_streams(nodes: &[u8], out: &mut [u8]) -> usize {
    let mut padding = Schedule::zero();
    let (halves, _) = PADDING.as_chunks::<8>();
    padding.set(plain(&halves[0]), plain(&halves[1]));
    let mut schedules = [Schedule::zero(); STREAMS];
    let (groups, _) = nodes.as_chunks::<{ 2 * NODE * STREAMS }>();
    let (hashes, _) = out.as_chunks_mut::<{ NODE * STREAMS }>();
    for (group, hashes) in groups.iter().zip(hashes) {
        let (halves, _) = group.as_chunks::<NODE>();
        for (schedule, pair) in schedules.iter_mut().zip(halves.as_chunks::<2>().0) {
            schedule.set(words(&pair[0]), words(&pair[1]));
        }
        let mut states = [State::new(); STREAMS];
        rounds(&mut states, schedules.each_ref());
        rounds(&mut states, [&padding; STREAMS]);
        for (state, hash) in states.iter().zip(hashes.as_chunks_mut::<NODE>().0) {
            state.store(hash);
        }
    }
    groups.len() * NODE * STREAMS
}
