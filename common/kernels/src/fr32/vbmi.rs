//! fr32 padding with the byte permutations of AVX-512 VBMI: two elements in one register.

#![expect(unsafe_code, reason = "vector loads and stores")]

use super::{PADDED, PAYLOAD};
use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_permutexvar_epi8, _mm512_set_epi64, _mm512_sllv_epi64,
    _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_ternarylogic_epi64,
};

/// Pads block after block. Only `fr32::pad` calls it, and only where
/// [`Cpu::here`](crate::cpu::Cpu::here) has found VBMI.
pub(super) fn pad(payload: &[[u8; PAYLOAD]], padded: &mut [[u8; PADDED]]) {
    // SAFETY: `fr32::pad` has just asked `Cpu::here`, and calls this only with `vbmi`, which
    // means AVX-512 F, BW, VL, DQ and VBMI on this CPU.
    unsafe { pad_blocks(payload, padded) }
}

/// How 64 bytes of payload become two elements. A word of output begins `shift` bits into
/// some byte of payload and so has parts of nine bytes: the eight from there on, shifted
/// down, or the eight from the next byte on, shifted up; where both have a bit they agree.
struct Plan {
    low: __m512i,
    high: __m512i,
    down: __m512i,
    up: __m512i,
}

impl Plan {
    /// For the elements that begin at these bits.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
    fn new(bits: [usize; 2]) -> Self {
        let (mut low, mut high) = ([0_u8; 64], [0_u8; 64]);
        let (mut down, mut up) = ([0_u8; 64], [0_u8; 64]);
        for word in 0..8 {
            let bit = bits[word / 4] + 64 * (word % 4);
            for byte in 0..8 {
                let at = bit / 8 + byte;
                low[8 * word + byte] = at as u8;
                // only the zero bits of the very last word come from beyond
                high[8 * word + byte] = (at + 1).min(63) as u8;
            }
            down[8 * word] = (bit % 8) as u8;
            up[8 * word] = 8 - (bit % 8) as u8;
        }
        Self {
            low: load(&low),
            high: load(&high),
            down: load(&down),
            up: load(&up),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
    fn apply(&self, payload: __m512i) -> __m512i {
        let low = _mm512_srlv_epi64(_mm512_permutexvar_epi8(self.low, payload), self.down);
        let high = _mm512_sllv_epi64(_mm512_permutexvar_epi8(self.high, payload), self.up);
        let top = i64::MAX >> 1; // without the two top bits
        let kept = _mm512_set_epi64(top, -1, -1, -1, top, -1, -1, -1);
        _mm512_ternarylogic_epi64::<0xa8>(low, high, kept) // (low | high) & kept
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
fn pad_blocks(payload: &[[u8; PAYLOAD]], padded: &mut [[u8; PADDED]]) {
    // the second half of the payload begins in the middle of byte 63
    const HALF: usize = 63;
    let first = Plan::new([0, 254]);
    let second = Plan::new([2 * 254 - 8 * HALF, 3 * 254 - 8 * HALF]);
    for (payload, padded) in payload.iter().zip(padded) {
        let (Some(low), Some(high)) = (payload.first_chunk(), payload.last_chunk()) else {
            continue;
        };
        let (halves, _) = padded.as_chunks_mut::<64>();
        store(first.apply(load(low)), &mut halves[0]);
        store(second.apply(load(high)), &mut halves[1]);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: reads the 64 bytes of the array; the load asks no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(x: __m512i, bytes: &mut [u8; 64]) {
    // SAFETY: writes the 64 bytes of the array; the store asks no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), x) }
}
