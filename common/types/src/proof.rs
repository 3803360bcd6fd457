//! Registered proof types: the numbers of the chain and the names of the proofs library.

use crate::size::SectorSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The generation of a seal proof. The number on chain is `5 × generation + size`
/// (go-state-types `abi.RegisteredSealProof`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SealVersion {
    V1,
    V1_1,
    V1_1Synthetic,
    V1_2NonInteractive,
}

/// A seal proof type. JSON: its number on chain (0 … 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SealProof {
    pub version: SealVersion,
    pub size: SectorSize,
}

impl SealProof {
    /// The proof type that new sectors of this size get: interactive PoRep, API 1.1 (FIP-0003 and later).
    pub const fn interactive(size: SectorSize) -> Self {
        Self {
            version: SealVersion::V1_1,
            size,
        }
    }

    /// The number of the type on chain.
    pub const fn number(self) -> i64 {
        let generation = match self.version {
            SealVersion::V1 => 0,
            SealVersion::V1_1 => 1,
            SealVersion::V1_1Synthetic => 2,
            SealVersion::V1_2NonInteractive => 3,
        };
        let size = match self.size {
            SectorSize::KiB2 => 0,
            SectorSize::MiB8 => 1,
            SectorSize::MiB512 => 2,
            SectorSize::GiB32 => 3,
            SectorSize::GiB64 => 4,
        };
        generation * 5 + size
    }

    /// The type with this number on chain.
    pub fn from_number(number: i64) -> Option<Self> {
        let index = usize::try_from(number).ok().filter(|n| *n < 20)?;
        let version = match index / 5 {
            0 => SealVersion::V1,
            1 => SealVersion::V1_1,
            2 => SealVersion::V1_1Synthetic,
            _ => SealVersion::V1_2NonInteractive,
        };
        Some(Self {
            version,
            size: SectorSize::ALL[index % 5],
        })
    }

    /// The name that the proofs library and the processor protocol use,
    /// e.g. `StackedDrg32GiBV1_1_Feat_SyntheticPoRep`.
    pub fn name(self) -> String {
        let suffix = match self.version {
            SealVersion::V1 => "V1",
            SealVersion::V1_1 => "V1_1",
            SealVersion::V1_1Synthetic => "V1_1_Feat_SyntheticPoRep",
            SealVersion::V1_2NonInteractive => "V1_2_Feat_NonInteractivePoRep",
        };
        format!("StackedDrg{}{suffix}", self.size)
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        (0..20)
            .filter_map(Self::from_number)
            .find(|p| p.name() == name)
    }

    /// Whether a synthetic-proofs step must run between PC2 and precommit.
    pub const fn is_synthetic(self) -> bool {
        matches!(self.version, SealVersion::V1_1Synthetic)
    }
}

impl fmt::Display for SealProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl Serialize for SealProof {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(self.number())
    }
}

impl<'de> Deserialize<'de> for SealProof {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(d)?;
        Self::from_number(number).ok_or_else(|| {
            de::Error::custom(format!("{number} is not a seal proof type (0 to 19)"))
        })
    }
}

/// A PoSt proof type. On chain 0–4 are winning, 5–9 window V1, 10–14 window V1_1
/// (go-state-types `abi.RegisteredPoStProof`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PoStProof {
    Winning(SectorSize),
    WindowV1(SectorSize),
    /// The chain's `…V1_1`; the proofs library calls the same proof `…V1_2`.
    WindowV1_1(SectorSize),
}

impl PoStProof {
    /// The number of the type on chain.
    pub fn number(self) -> i64 {
        let (base, size) = match self {
            Self::Winning(s) => (0, s),
            Self::WindowV1(s) => (5, s),
            Self::WindowV1_1(s) => (10, s),
        };
        base + SealProof {
            version: SealVersion::V1,
            size,
        }
        .number()
    }

    /// The type with this number on chain.
    pub fn from_number(number: i64) -> Option<Self> {
        let index = usize::try_from(number).ok().filter(|n| *n < 15)?;
        let size = SectorSize::ALL[index % 5];
        Some(match index / 5 {
            0 => Self::Winning(size),
            1 => Self::WindowV1(size),
            _ => Self::WindowV1_1(size),
        })
    }

    /// The sector size that it proves.
    pub const fn size(self) -> SectorSize {
        match self {
            Self::Winning(s) | Self::WindowV1(s) | Self::WindowV1_1(s) => s,
        }
    }

    /// The name of the proofs library, as tasks and `Venus.WdPoSt*` carry it,
    /// e.g. `StackedDrgWindow32GiBV1_2` (upstream maps the chain's V1_1 to it).
    pub fn name(self) -> String {
        match self {
            Self::Winning(s) => format!("StackedDrgWinning{s}V1"),
            Self::WindowV1(s) => format!("StackedDrgWindow{s}V1"),
            Self::WindowV1_1(s) => format!("StackedDrgWindow{s}V1_2"),
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        (0..15)
            .filter_map(Self::from_number)
            .find(|p| p.name() == name)
    }
}

impl fmt::Display for PoStProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree_with_the_chain() {
        for (number, name) in [
            (0, "StackedDrg2KiBV1"),
            (5, "StackedDrg2KiBV1_1"),
            (8, "StackedDrg32GiBV1_1"),
            (13, "StackedDrg32GiBV1_1_Feat_SyntheticPoRep"),
            (19, "StackedDrg64GiBV1_2_Feat_NonInteractivePoRep"),
        ] {
            let proof = SealProof::from_number(number).unwrap();
            assert_eq!(proof.name(), name);
            assert_eq!(proof.number(), number);
            assert_eq!(SealProof::from_name(name), Some(proof));
        }
        assert_eq!(SealProof::from_number(20), None);
        assert_eq!(SealProof::from_number(-1), None);
    }

    #[test]
    fn every_number_round_trips() {
        for n in 0..20 {
            let text = serde_json::to_string(&SealProof::from_number(n).unwrap()).unwrap();
            assert_eq!(text, n.to_string());
            assert_eq!(
                serde_json::from_str::<SealProof>(&text).unwrap().number(),
                n
            );
        }
        for n in 0..15 {
            let proof = PoStProof::from_number(n).unwrap();
            assert_eq!(proof.number(), n);
            assert_eq!(PoStProof::from_name(&proof.name()), Some(proof));
        }
        assert_eq!(
            PoStProof::from_number(13).unwrap().name(),
            "StackedDrgWindow32GiBV1_2"
        );
    }
}
