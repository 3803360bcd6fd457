//! Who: a miner's actor id; and what: a sector of that miner.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A miner's actor id; JSON and config: a bare number.
pub type ActorId = u64;
/// A sector's number within its miner.
pub type SectorNumber = u64;

/// A sector. JSON: `{"Miner":u64,"Number":u64}`; text: `s-t0<miner>-<number>`, always with
/// `t0` whatever the network, because file names in stores are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorId {
    pub miner: ActorId,
    pub number: SectorNumber,
}

impl SectorId {
    pub const fn new(miner: ActorId, number: SectorNumber) -> Self {
        Self { miner, number }
    }
}

impl fmt::Display for SectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("s-t0{}-{}", self.miner, self.number))
    }
}

/// A text that should have been a sector's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a sector name; it looks like s-t01000-7")]
pub struct SectorIdError(String);

impl FromStr for SectorId {
    type Err = SectorIdError;

    fn from_str(s: &str) -> Result<Self, SectorIdError> {
        let parse = || {
            let rest = s.strip_prefix("s-t0").or_else(|| s.strip_prefix("s-f0"))?;
            let (miner, number) = rest.split_once('-')?;
            let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            (digits(miner) && digits(number)).then_some(())?;
            Some(Self::new(miner.parse().ok()?, number.parse().ok()?))
        };
        parse().ok_or_else(|| SectorIdError(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_forms() {
        let id = SectorId::new(1000, 7);
        assert_eq!(id.to_string(), "s-t01000-7");
        assert_eq!("s-t01000-7".parse::<SectorId>().unwrap(), id);
        assert_eq!(
            serde_json::to_string(&id).unwrap(),
            r#"{"Miner":1000,"Number":7}"#
        );
        for bad in [
            "",
            "s-t01000",
            "s-t01000-",
            "s-t0-7",
            "s-t01000-7-8",
            "t01000-7",
            "s-t01000-+7",
        ] {
            assert!(bad.parse::<SectorId>().is_err(), "{bad}");
        }
    }
}
