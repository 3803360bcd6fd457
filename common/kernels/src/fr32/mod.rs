//! fr32 padding: two zero bits after every 254 bits of payload, so that every 32 bytes are
//! a field element. 127 bytes become 128.

#[cfg(target_arch = "x86_64")]
mod vbmi;

use crate::cpu::Cpu;

/// Bytes of payload that fill [`PADDED`] bytes.
pub const PAYLOAD: usize = 127;
/// Four field elements.
pub const PADDED: usize = 128;

/// Pads whole blocks of payload.
///
/// # Panics
/// When the payload is no multiple of 127 bytes or `padded` does not fit it exactly.
pub fn pad(cpu: Cpu, payload: &[u8], padded: &mut [u8]) {
    let (payload, payload_rest) = payload.as_chunks::<PAYLOAD>();
    let (padded, padded_rest) = padded.as_chunks_mut::<PADDED>();
    assert!(payload_rest.is_empty() && padded_rest.is_empty() && payload.len() == padded.len());
    #[cfg(target_arch = "x86_64")]
    if cpu.here().vbmi {
        return vbmi::pad(payload, padded);
    }
    let _ = cpu;
    for (payload, padded) in payload.iter().zip(padded) {
        pad_block(payload, padded);
    }
}

/// Element `n` begins at bit 254 n, two bits earlier for each element before it: the words of
/// the payload, shifted up by 2 n bits.
fn pad_block(payload: &[u8; PAYLOAD], padded: &mut [u8; PADDED]) {
    let mut bytes = [0; PADDED];
    bytes[..PAYLOAD].copy_from_slice(payload);
    let (bytes, _) = bytes.as_chunks::<8>();
    let (padded, _) = padded.as_chunks_mut::<8>();
    let mut before = 0;
    for (i, (bytes, padded)) in bytes.iter().zip(padded).enumerate() {
        let word = u64::from_le_bytes(*bytes);
        let shift = 2 * (i / 4);
        // in two steps, because no shift by 64 exists
        let mut out = word << shift | before >> 1 >> (63 - shift);
        if i % 4 == 3 {
            out &= u64::MAX >> 2;
        }
        *padded = out.to_le_bytes();
        before = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit for bit, by the definition.
    fn by_the_book(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; payload.len() / PAYLOAD * PADDED];
        for bit in 0..8 * payload.len() {
            let to = bit / 254 * 256 + bit % 254;
            out[to / 8] |= (payload[bit / 8] >> (bit % 8) & 1) << (to % 8);
        }
        out
    }

    #[test]
    fn two_zero_bits_after_every_254() {
        let mut x = 3_u64;
        let mut random: Vec<u8> = (0..PAYLOAD * 9)
            .map(|_| {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
                (x >> 56) as u8
            })
            .collect();
        random[..PAYLOAD].fill(0xff);
        for cpu in [Cpu::PORTABLE, Cpu::detect()] {
            for blocks in 0..=9 {
                let payload = &random[..PAYLOAD * blocks];
                let mut padded = vec![0x55; PADDED * blocks];
                pad(cpu, payload, &mut padded);
                assert_eq!(padded, by_the_book(payload), "{blocks} blocks on {cpu:?}");
            }
        }
    }
}
