//! SHA-256 on the SHA instructions: up to four streams in step, because one stream leaves
//! the unit idle three quarters of the time (`sha256rnds2` takes four cycles and may start
//! every second). A block's schedule is apart from its rounds: SDR hashes the same blocks
//! again and again.
#![expect(unsafe_code, reason = "vector loads and stores")]

use super::{IV, K};
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_and_si128, _mm_blend_epi16, _mm_load_si128,
    _mm_loadu_si128, _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32,
    _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

/// The round constants where a vector may be loaded from.
#[repr(align(16))]
struct Aligned([u32; 64]);
static CONSTANTS: Aligned = Aligned(K);

/// A chaining value in the order of the instructions.
#[derive(Clone, Copy)]
pub(crate) struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// The 64 words of a block's schedule, the round constants added.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Schedule([__m128i; 16]);

impl Schedule {
    /// To be overwritten.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(crate) fn zero() -> Self {
        Self([_mm_setzero_si128(); 16])
    }

    /// The schedule of the block of these 16 message words.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(crate) fn set(&mut self, low: [__m128i; 2], high: [__m128i; 2]) {
        let mut w = [low[0], low[1], high[0], high[1]];
        for (r, words) in w.iter().enumerate() {
            self.0[r] = _mm_add_epi32(*words, constants(r));
        }
        for quarter in 1..4 {
            for r in 0..4 {
                let shifted = _mm_alignr_epi8::<4>(w[(r + 3) & 3], w[(r + 2) & 3]);
                let part = _mm_add_epi32(_mm_sha256msg1_epu32(w[r], w[(r + 1) & 3]), shifted);
                w[r] = _mm_sha256msg2_epu32(part, w[(r + 3) & 3]);
                self.0[quarter * 4 + r] = _mm_add_epi32(w[r], constants(quarter * 4 + r));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn constants(vector: usize) -> __m128i {
    let four: &[u32; 4] = &CONSTANTS.0.as_chunks().0[vector];
    // SAFETY: four words are 16 bytes, and every fourth word of the table is aligned to 16.
    unsafe { _mm_load_si128(four.as_ptr().cast()) }
}

/// Half a block as eight message words, from its bytes.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(crate) fn words(half: &[u8; 32]) -> [__m128i; 2] {
    let at = half.as_ptr().cast::<__m128i>();
    // SAFETY: the array has 32 bytes; unaligned loads.
    let (first, second) = unsafe { (_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))) };
    [swap(first), swap(second)]
}

/// Half a block from eight words as numbers.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(crate) fn plain(half: &[u32; 8]) -> [__m128i; 2] {
    let at = half.as_ptr().cast::<__m128i>();
    // SAFETY: eight words are 32 bytes; unaligned loads.
    unsafe { [_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))] }
}

/// The byte order of each 32-bit word, reversed.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn swap(words: __m128i) -> __m128i {
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm_shuffle_epi8(words, order)
}

impl State {
    /// What a message begins with.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(crate) fn new() -> Self {
        let [abcd, efgh] = plain(&IV);
        let badc = _mm_shuffle_epi32::<0xb1>(abcd);
        let hgfe = _mm_shuffle_epi32::<0x1b>(efgh);
        Self {
            abef: _mm_alignr_epi8::<8>(badc, hgfe),
            cdgh: _mm_blend_epi16::<0xf0>(hgfe, badc),
        }
    }

    /// The digest's bytes without the two highest bits of the last one: a field element. They
    /// go here, because a byte that is changed in memory makes whoever reads it next wait.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(crate) fn store(self, element: &mut [u8; 32]) {
        let feba = _mm_shuffle_epi32::<0x1b>(self.abef);
        let dchg = _mm_shuffle_epi32::<0xb1>(self.cdgh);
        let abcd = _mm_blend_epi16::<0xf0>(feba, dchg);
        let efgh = _mm_alignr_epi8::<8>(dchg, feba);
        let kept = _mm_set_epi64x(0xffff_ff3f_ffff_ffff_u64.cast_signed(), -1);
        let at = element.as_mut_ptr().cast::<__m128i>();
        // SAFETY: the array has 32 bytes; unaligned stores.
        unsafe {
            _mm_storeu_si128(at, swap(abcd));
            _mm_storeu_si128(at.add(1), swap(_mm_and_si128(efgh, kept)));
        }
    }
}

/// The 64 rounds of one block in each of `N` streams.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(crate) fn rounds<const N: usize>(states: &mut [State; N], schedules: [&Schedule; N]) {
    let zero = _mm_setzero_si128();
    let (mut abef, mut cdgh, mut words) = ([zero; N], [zero; N], [zero; N]);
    for i in 0..N {
        (abef[i], cdgh[i]) = (states[i].abef, states[i].cdgh);
    }
    for r in 0..16 {
        for i in 0..N {
            words[i] = schedules[i].0[r];
            cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], words[i]);
        }
        for i in 0..N {
            let upper = _mm_shuffle_epi32::<0x0e>(words[i]);
            abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], upper);
        }
    }
    for i in 0..N {
        states[i].abef = _mm_add_epi32(states[i].abef, abef[i]);
        states[i].cdgh = _mm_add_epi32(states[i].cdgh, cdgh[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use sha2::{Digest, Sha256};

    /// The digests of `N` messages of 64 bytes.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn digests<const N: usize>(messages: &[[u8; 64]; N]) -> [[u8; 32]; N] {
        let mut states = [State::new(); N];
        let mut first = [Schedule::zero(); N];
        for (schedule, message) in first.iter_mut().zip(messages) {
            let (halves, _) = message.as_chunks::<32>();
            schedule.set(words(&halves[0]), words(&halves[1]));
        }
        rounds(&mut states, first.each_ref());
        let mut padding = Schedule::zero();
        padding.set(
            plain(&[0x8000_0000, 0, 0, 0, 0, 0, 0, 0]),
            plain(&[0, 0, 0, 0, 0, 0, 0, 512]),
        );
        rounds(&mut states, [&padding; N]);
        let mut out = [[0; 32]; N];
        for (state, digest) in states.iter().zip(&mut out) {
            state.store(digest);
        }
        out
    }

    fn check<const N: usize>() {
        let mut messages = [[0; 64]; N];
        for round in 0..50_u32 {
            for (stream, message) in messages.iter_mut().enumerate() {
                for (i, half) in message.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    let seed = [round as u8, stream as u8, i as u8];
                    *half = Sha256::digest(seed).into();
                }
            }
            // SAFETY: the caller has asked the CPU.
            let found = unsafe { digests(&messages) };
            for (message, digest) in messages.iter().zip(found) {
                let mut expected: [u8; 32] = Sha256::digest(message).into();
                expected[31] &= 0x3f;
                assert_eq!(digest, expected, "{N}");
            }
        }
    }

    #[test]
    fn streams_in_step_hash_as_the_portable_crate() {
        if Cpu::detect().sha_ni {
            check::<1>();
            check::<2>();
            check::<3>();
            check::<4>();
        }
    }
}
