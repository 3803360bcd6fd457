//! Where the network's randomness comes from and how it is drawn.
//!
//! The ticket and beacon chains are pure functions of the network's seed, so two runs of
//! the same seed see the same challenges. The drawing itself is Filecoin's
//! (spec "Randomness"; Lotus `chain/rand` `DrawRandomnessFromDigest`).
use fvm_shared::clock::ChainEpoch;

pub use fil_actors_shared::v18::runtime::DomainSeparationTag;

use crate::block::BeaconEntry;

/// Rounds of the beacon run ahead of the epochs by this much, so that nobody mistakes one
/// for the other (Lotus' mock beacon does the same).
const BEACON_OFFSET: i64 = 100;

/// blake2b-256.
pub fn blake2b256(data: &[u8]) -> [u8; 32] {
    let hash = blake2b_simd::Params::new().hash_length(32).hash(data);
    let mut out = [0u8; 32];
    out.copy_from_slice(hash.as_bytes());
    out
}

/// blake2b-256(tag as i64 BE ‖ digest ‖ round as i64 BE ‖ entropy).
pub fn draw(digest: &[u8; 32], tag: i64, round: ChainEpoch, entropy: &[u8]) -> [u8; 32] {
    let mut data = Vec::with_capacity(48 + entropy.len());
    data.extend_from_slice(&tag.to_be_bytes());
    data.extend_from_slice(digest);
    data.extend_from_slice(&round.to_be_bytes());
    data.extend_from_slice(entropy);
    blake2b256(&data)
}

/// The beacon round that belongs to an epoch (one round per epoch).
pub fn beacon_round(epoch: ChainEpoch) -> u64 {
    (epoch.max(0) + BEACON_OFFSET) as u64
}

/// The beacon's entry for a round: 48 bytes, the length of a drand quicknet signature.
pub fn beacon_entry(seed: &[u8; 32], round: u64) -> BeaconEntry {
    let hash = blake2b_simd::Params::new()
        .hash_length(48)
        .key(seed)
        .to_state()
        .update(b"beacon")
        .update(&round.to_be_bytes())
        .finalize();
    BeaconEntry {
        round,
        data: hash.as_bytes().to_vec(),
    }
}

/// Ticket of the block at `height` on top of `parent`: 96 bytes, the length of the BLS
/// signature that a VRF proof is. Every branch (0 is the first) has tickets of its own.
pub fn ticket_proof(seed: &[u8; 32], parent: &[u8], height: ChainEpoch, fork: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    for half in [0u8, 1] {
        let mut state = blake2b_simd::Params::new()
            .hash_length(48)
            .key(seed)
            .to_state();
        state
            .update(b"ticket")
            .update(&[half])
            .update(&height.to_be_bytes())
            .update(parent);
        if fork > 0 {
            state.update(&fork.to_be_bytes());
        }
        out.extend_from_slice(state.finalize().as_bytes());
    }
    out
}
