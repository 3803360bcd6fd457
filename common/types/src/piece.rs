//! Pieces and their two sizes: as the client sent them (unpadded) and with two zero bits
//! after every 254 (padded: 128 bytes for 127).

use crate::commitment::Commitment;
use serde::{Deserialize, Serialize};

/// Bytes after fr32 padding. A piece's padded size is a power of two, 128 at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaddedSize(pub u64);

/// Bytes before fr32 padding: 127/128 of the padded size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnpaddedSize(pub u64);

impl PaddedSize {
    pub const fn unpadded(self) -> UnpaddedSize {
        UnpaddedSize(self.0 - self.0 / 128)
    }

    /// Whether a piece may have this size.
    pub const fn is_valid_piece(self) -> bool {
        self.0 >= 128 && self.0.is_power_of_two()
    }
}

impl UnpaddedSize {
    pub const fn padded(self) -> PaddedSize {
        PaddedSize(self.0 + self.0 / 127)
    }
}

/// A piece as the proofs library sees it. JSON (snake_case, processor protocol and worker
/// documents): `{"commitment":[32],"size":unpadded}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceInfo {
    pub commitment: Commitment,
    pub size: UnpaddedSize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_convert_both_ways() {
        for padded in [128, 256, 2048, 32 << 30] {
            assert_eq!(PaddedSize(padded).unpadded().padded(), PaddedSize(padded));
        }
        assert_eq!(PaddedSize(2048).unpadded(), UnpaddedSize(2032));
        assert!(!PaddedSize(2032).is_valid_piece());
        assert!(PaddedSize(128).is_valid_piece());
    }
}
