//! SHA-256 in sixteen lanes of AVX-512 registers: register `i` holds word `i` of sixteen
//! messages (or states), so that one instruction does one step of all sixteen.
//!
//! There are two rounds, because CPUs differ. Where an operation takes two cycles (Zen 5), a
//! round is bound by its longest chain; [`short_round`] has the shortest, and two groups of
//! sixteen side by side ([`compress_two_scheduled`]) fill the remaining gaps. Where it takes
//! one, but fewer begin in a cycle (Intel), the vector units are full anyway; [`lean_round`] has
//! the fewest operations. Compilers undo both: they re-associate the additions. [`settle`]
//! forbids that. [`time`] tells which is better here.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and a barrier in assembly"
)]

use super::{IV, K};
use std::arch::{
    asm,
    x86_64::{
        __m512i, _mm_set_epi64x, _mm512_add_epi32, _mm512_and_si512, _mm512_broadcast_i32x4,
        _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_storeu_si512,
        _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
        _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    },
};
use std::time::{Duration, Instant};

/// One 32-bit word of each of sixteen messages.
pub(crate) type Lanes = __m512i;
/// The chaining value a..h of sixteen messages.
pub(crate) type State = [Lanes; 8];
/// The sixteen message words (as numbers, not as bytes) of one 64-byte block.
pub(crate) type Block = [Lanes; 16];

/// A block's expanded message with the round constants added: W\[i\] + K\[i\].
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Schedule(pub(crate) [Lanes; 64]);

impl Schedule {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(crate) fn zeroed() -> Self {
        Self([_mm512_setzero_si512(); 64])
    }
}

/// The same with each of eight or sixteen constant indices: the compiler does not unroll this
/// much by itself, and the names a..h must not move between registers.
macro_rules! unrolled {
    (8, $j:ident => $body:expr) => {
        unrolled!(@ $j => $body; 0 1 2 3 4 5 6 7)
    };
    (16, $j:ident => $body:expr) => {
        unrolled!(@ $j => $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $j:ident => $body:expr; $($value:literal)*) => {
        $({
            const $j: usize = $value;
            $body
        })*
    };
}

/// The state that a message begins with.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn initial() -> State {
    let mut state = [_mm512_setzero_si512(); 8];
    for (lanes, word) in state.iter_mut().zip(IV) {
        *lanes = same(word);
    }
    state
}

/// The same word in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn same(word: u32) -> Lanes {
    _mm512_set1_epi32(word.cast_signed())
}

/// Takes one block into the state, the message expanded on the way.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn compress(state: &mut State, block: &Block) {
    let mut s = *state;
    let mut w = *block;
    unrolled!(16, J => s = short_round(s, add(w[J], same(K[J]))));
    for i in (16..64).step_by(16) {
        unrolled!(16, J => {
            w[J] = next_word(&w, J);
            s = short_round(s, add(w[J], same(K[i + J])));
        });
    }
    *state = sum(s, *state);
}

/// Takes one expanded block each into two groups of sixteen states.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn compress_two_scheduled(states: &mut [State; 2], schedules: [&Schedule; 2]) {
    let before = *states;
    let [mut p, mut q] = before;
    let [first, second] = schedules.map(|schedule| schedule.0.as_chunks::<8>().0);
    for (first, second) in first.iter().zip(second) {
        unrolled!(8, J => {
            p = short_round(p, first[J]);
            q = short_round(q, second[J]);
        });
    }
    *states = [sum(p, before[0]), sum(q, before[1])];
}

/// Takes one expanded block into the state, in as few operations as there are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn compress_scheduled(state: &mut State, schedule: &Schedule) {
    let mut s = *state;
    for wk in schedule.0.as_chunks::<8>().0 {
        unrolled!(8, J => s = lean_round(s, wk[J]));
    }
    *state = sum(s, *state);
}

/// The same of a block that is the same for everybody; `wk` is its schedule.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn compress_constant(state: &mut State, wk: &[u32; 64]) {
    let mut s = *state;
    for wk in wk.as_chunks::<8>().0 {
        unrolled!(8, J => s = lean_round(s, same(wk[J])));
    }
    *state = sum(s, *state);
}

/// Takes a block that is the same for everybody into two groups of sixteen states; `wk` is
/// its schedule.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn compress_two_constant(states: &mut [State; 2], wk: &[u32; 64]) {
    let before = *states;
    let [mut p, mut q] = before;
    for wk in wk.as_chunks::<8>().0 {
        unrolled!(8, J => {
            p = short_round(p, same(wk[J]));
            q = short_round(q, same(wk[J]));
        });
    }
    *states = [sum(p, before[0]), sum(q, before[1])];
}

/// The schedule of a block, without any round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn expand(block: &Block, schedule: &mut Schedule) {
    let mut w = *block;
    unrolled!(16, J => schedule.0[J] = add(w[J], same(K[J])));
    for i in (16..64).step_by(16) {
        unrolled!(16, J => {
            w[J] = next_word(&w, J);
            schedule.0[i + J] = add(w[J], same(K[i + J]));
        });
    }
}

/// One round. The additions stand so that what arrives last (the sums over e and a) is added
/// last: three dependent operations from one e to the next, at the price of two additions
/// that a shorter formula would save.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn short_round([a, b, c, d, e, f, g, h]: State, wk: Lanes) -> State {
    let hw = settle(add(h, wk));
    let dhw = settle(add(d, hw));
    let choice = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
    let sum_e = rotated_sum::<6, 11, 25>(e);
    let next_e = add(settle(add(dhw, choice)), sum_e);
    let t1 = settle(add(settle(add(hw, choice)), sum_e));
    let majority = _mm512_ternarylogic_epi32::<0xe8>(a, b, c);
    let sum_a = rotated_sum::<2, 13, 22>(a);
    let next_a = add(settle(add(t1, majority)), sum_a);
    [next_a, a, b, c, next_e, e, f, g]
}

/// The sums over e and a of a round: a word xored with itself in three rotations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn rotated_sum<const A: i32, const B: i32, const C: i32>(x: Lanes) -> Lanes {
    xor3(
        _mm512_ror_epi32::<A>(x),
        _mm512_ror_epi32::<B>(x),
        _mm512_ror_epi32::<C>(x),
    )
}

/// One round in the fewest operations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn lean_round([a, b, c, d, e, f, g, h]: State, wk: Lanes) -> State {
    let choice = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
    let sum_e = rotated_sum::<6, 11, 25>(e);
    let t1 = add(settle(add(settle(add(h, wk)), choice)), sum_e);
    let majority = _mm512_ternarylogic_epi32::<0xe8>(a, b, c);
    let sum_a = rotated_sum::<2, 13, 22>(a);
    let next_a = add(settle(add(t1, majority)), sum_a);
    [next_a, a, b, c, add(d, t1), e, f, g]
}

/// How long a work takes, to choose among several that do the same. The best of five runs
/// counts: whatever comes between makes a run longer and none shorter.
pub(crate) fn time(mut work: impl FnMut()) -> Duration {
    let run = |_| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    (0..5).map(run).min().unwrap_or_default()
}

/// Message word `i + 16` from the sixteen before it, kept in a ring: `w[j]` is word `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn next_word(w: &Block, j: usize) -> Lanes {
    let (x, y) = (w[(j + 1) % 16], w[(j + 14) % 16]);
    let sum_x = xor3(
        _mm512_ror_epi32::<7>(x),
        _mm512_ror_epi32::<18>(x),
        _mm512_srli_epi32::<3>(x),
    );
    let sum_y = xor3(
        _mm512_ror_epi32::<17>(y),
        _mm512_ror_epi32::<19>(y),
        _mm512_srli_epi32::<10>(y),
    );
    let early = settle(add(add(w[j], w[(j + 9) % 16]), sum_x));
    add(early, sum_y)
}

/// A value as it is, and no reasoning across it: keeps the compiler from re-associating.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn settle(mut x: Lanes) -> Lanes {
    // SAFETY: the assembly is a comment; it changes nothing.
    unsafe {
        asm!("/* {0} */", inout(zmm_reg) x, options(pure, nomem, nostack, preserves_flags));
    }
    x
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn add(x: Lanes, y: Lanes) -> Lanes {
    _mm512_add_epi32(x, y)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn and(x: Lanes, y: Lanes) -> Lanes {
    _mm512_and_si512(x, y)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn xor3(x: Lanes, y: Lanes, z: Lanes) -> Lanes {
    _mm512_ternarylogic_epi32::<0x96>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn sum(mut x: State, y: State) -> State {
    for (x, y) in x.iter_mut().zip(y) {
        *x = add(*x, y);
    }
    x
}

/// Turns the bytes of every 32-bit word round: big-endian bytes to numbers and back.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn swap_bytes(x: Lanes) -> Lanes {
    let within = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(within))
}

/// Sixteen rows of sixteen words to sixteen columns: from messages to lanes and back.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn transpose(rows: &Block) -> Block {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *rows;
    let [a, b, c, d] = transpose_words([a, b, c, d]);
    let [e, f, g, h] = transpose_words([e, f, g, h]);
    let [i, j, k, l] = transpose_words([i, j, k, l]);
    let [m, n, o, p] = transpose_words([m, n, o, p]);
    let [a, e, i, m] = transpose_quads([a, e, i, m]);
    let [b, f, j, n] = transpose_quads([b, f, j, n]);
    let [c, g, k, o] = transpose_quads([c, g, k, o]);
    let [d, h, l, p] = transpose_quads([d, h, l, p]);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// In every 128-bit quarter on its own: four rows of four words to four columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn transpose_words([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Four rows of four 128-bit quarters to four columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn transpose_quads([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let (ab_even, cd_even) = (
        _mm512_shuffle_i32x4::<EVEN>(a, b),
        _mm512_shuffle_i32x4::<EVEN>(c, d),
    );
    let (ab_odd, cd_odd) = (
        _mm512_shuffle_i32x4::<ODD>(a, b),
        _mm512_shuffle_i32x4::<ODD>(c, d),
    );
    [
        _mm512_shuffle_i32x4::<EVEN>(ab_even, cd_even),
        _mm512_shuffle_i32x4::<EVEN>(ab_odd, cd_odd),
        _mm512_shuffle_i32x4::<ODD>(ab_even, cd_even),
        _mm512_shuffle_i32x4::<ODD>(ab_odd, cd_odd),
    ]
}

/// Sixteen 64-byte blocks, message after message, as lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn load_blocks(bytes: &[u8; 1024]) -> Block {
    let mut rows = [_mm512_setzero_si512(); 16];
    let (bytes, _) = bytes.as_chunks::<64>();
    unrolled!(16, J => rows[J] = swap_bytes(load(&bytes[J])));
    transpose(&rows)
}

/// Sixteen 32-byte digests, message after message.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn store_digests(state: &State, out: &mut [u8; 512]) {
    let [a, b, c, d, e, f, g, h] = *state;
    let left = transpose_words([a, b, c, d]);
    let right = transpose_words([e, f, g, h]);
    // quarter k of left[j] and right[j] is the digest of lane 4 k + j
    let (rows, _) = out.as_chunks_mut::<64>();
    for j in [0, 2] {
        let digests = transpose_quads([left[j], right[j], left[j + 1], right[j + 1]]);
        for (k, pair) in digests.into_iter().enumerate() {
            store(swap_bytes(pair), &mut rows[2 * k + j / 2]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn load(bytes: &[u8; 64]) -> Lanes {
    // SAFETY: reads the 64 bytes of the array; the load asks no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn store(x: Lanes, bytes: &mut [u8; 64]) {
    // SAFETY: writes the 64 bytes of the array; the store asks no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), x) }
}

#[cfg(test)]
#[path = "x16_tests.rs"]
mod tests;
