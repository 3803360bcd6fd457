//! How randomness is drawn for one purpose and one miner.

use damocles_types::ActorId;
use fvm_shared::address::Address;

/// What randomness is drawn for (go-state-types `crypto.DomainSeparationTag`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainTag {
    TicketProduction,
    ElectionProofProduction,
    WinningPoStChallengeSeed,
    WindowedPoStChallengeSeed,
    SealRandomness,
    InteractiveSealChallengeSeed,
    PoStChainCommit,
}

impl DomainTag {
    /// The number on chain.
    pub const fn number(self) -> i64 {
        match self {
            Self::TicketProduction => 1,
            Self::ElectionProofProduction => 2,
            Self::WinningPoStChallengeSeed => 3,
            Self::WindowedPoStChallengeSeed => 4,
            Self::SealRandomness => 5,
            Self::InteractiveSealChallengeSeed => 6,
            Self::PoStChainCommit => 9,
        }
    }
}

/// The entropy that ties randomness to a miner: its ID address in CBOR, a byte string.
pub fn entropy(miner: ActorId) -> Vec<u8> {
    let bytes = Address::new_id(miner).to_bytes();
    // An ID address has at most 11 bytes, so the length fits the CBOR head's 5 bits.
    let mut out = vec![0x40 | u8::try_from(bytes.len()).unwrap_or(0)];
    out.extend(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_the_address_in_cbor() {
        for miner in [0, 1000, u64::MAX] {
            let address = Address::new_id(miner);
            let cbor = fvm_ipld_encoding::to_vec(&address).unwrap();
            assert_eq!(entropy(miner), cbor);
        }
    }
}
