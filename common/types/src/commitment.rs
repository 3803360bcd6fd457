//! Commitments (CommD, CommR, commP): 32 bytes in proofs, CIDs on chain.

use cid::{Cid, multihash::Multihash};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Multicodec `fil-commitment-unsealed`.
const UNSEALED_CODEC: u64 = 0xf101;
/// Multicodec `fil-commitment-sealed`.
const SEALED_CODEC: u64 = 0xf102;
/// Multihash `sha2-256-trunc254-padded`.
const SHA256_TRUNC254_PADDED: u64 = 0x1012;
/// Multihash `poseidon-bls12_381-a2-fc1`.
const POSEIDON_BLS12_381_A1_FC1: u64 = 0xb401;

/// A 32-byte commitment. JSON: an array of 32 numbers (Go's `[32]byte`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(pub [u8; 32]);

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({self})")
    }
}

/// A CID that is not the commitment it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cid} is not a CID of {wanted}")]
pub struct CommitmentError {
    cid: String,
    wanted: &'static str,
}

/// The CID form of CommR.
pub type SealedCid = Cid;
/// The CID form of CommD and commP.
pub type UnsealedCid = Cid;

impl Commitment {
    fn wrap(self, codec: u64, hash: u64) -> Cid {
        // 32 bytes always fit the 64-byte multihash.
        #[expect(clippy::unwrap_used, reason = "the digest length is fixed by the type")]
        Cid::new_v1(codec, Multihash::wrap(hash, &self.0).unwrap())
    }

    fn unwrap_from(
        cid: &Cid,
        codec: u64,
        hash: u64,
        wanted: &'static str,
    ) -> Result<Self, CommitmentError> {
        let digest = <[u8; 32]>::try_from(cid.hash().digest());
        match digest {
            Ok(bytes) if cid.codec() == codec && cid.hash().code() == hash => Ok(Self(bytes)),
            _ => Err(CommitmentError {
                cid: cid.to_string(),
                wanted,
            }),
        }
    }

    /// CommR as it stands on chain (`bagboea4b5abc…`).
    pub fn sealed_cid(self) -> SealedCid {
        self.wrap(SEALED_CODEC, POSEIDON_BLS12_381_A1_FC1)
    }

    /// CommD or commP as it stands on chain (`baga6ea4sea…`).
    pub fn unsealed_cid(self) -> UnsealedCid {
        self.wrap(UNSEALED_CODEC, SHA256_TRUNC254_PADDED)
    }

    /// Reads a CommR CID.
    pub fn from_sealed_cid(cid: &Cid) -> Result<Self, CommitmentError> {
        Self::unwrap_from(
            cid,
            SEALED_CODEC,
            POSEIDON_BLS12_381_A1_FC1,
            "a sealed sector (CommR)",
        )
    }

    /// Reads a CommD or commP CID.
    pub fn from_unsealed_cid(cid: &Cid) -> Result<Self, CommitmentError> {
        Self::unwrap_from(
            cid,
            UNSEALED_CODEC,
            SHA256_TRUNC254_PADDED,
            "unsealed data (CommD or commP)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cids_have_the_prefixes_of_the_chain_and_come_back() {
        let c = Commitment([7; 32]);
        assert!(c.sealed_cid().to_string().starts_with("bagboea4b5abc"));
        assert!(c.unsealed_cid().to_string().starts_with("baga6ea4sea"));
        assert_eq!(Commitment::from_sealed_cid(&c.sealed_cid()).unwrap(), c);
        assert_eq!(Commitment::from_unsealed_cid(&c.unsealed_cid()).unwrap(), c);
        assert!(Commitment::from_sealed_cid(&c.unsealed_cid()).is_err());
        assert!(Commitment::from_unsealed_cid(&c.sealed_cid()).is_err());
    }

    #[test]
    fn json_is_an_array_of_32_numbers() {
        let json = serde_json::to_value(Commitment([1; 32])).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 32);
        assert!(serde_json::from_str::<Commitment>("[1,2,3]").is_err());
    }
}
