//! Deals: by what they are known, and what they ask of the sector that they go into, as the chain
//! has it. Their JSON is stored. Pure.

use cid::Cid;
use damocles_types::{ActorId, Epoch};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// By what the chain knows a deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DealId {
    /// An allocation of the verified registry (direct data onboarding, FIP-0076).
    Allocation(u64),
    /// A deal of the storage market.
    Market(u64),
}

impl fmt::Display for DealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allocation(id) => write!(f, "allocation-{id}"),
            Self::Market(id) => write!(f, "deal-{id}"),
        }
    }
}

/// A text that names no deal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no deal; write for example allocation-123 or deal-45")]
pub struct NoDealId(String);

impl FromStr for DealId {
    type Err = NoDealId;

    fn from_str(text: &str) -> Result<Self, NoDealId> {
        let no = || NoDealId(text.to_owned());
        let (kind, number) = text.rsplit_once('-').ok_or_else(no)?;
        let number: u64 = number.parse().map_err(|_| no())?;
        match kind {
            // none is known by 0
            _ if number == 0 => Err(no()),
            "allocation" => Ok(Self::Allocation(number)),
            "deal" => Ok(Self::Market(number)),
            _ => Err(no()),
        }
    }
}

/// Between which epochs a sector may expire, so that what is in it is what its clients agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub least: Epoch,
    pub most: Epoch,
}

impl Lifetime {
    /// Whatever the chain takes.
    pub const ANY: Self = Self {
        least: Epoch::MIN,
        most: Epoch::MAX,
    };

    /// What agrees with both; None: nothing does.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self {
            least: self.least.max(other.least),
            most: self.most.min(other.most),
        };
        (both.least <= both.most).then_some(both)
    }
}

/// What client and provider agreed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The provider's actor.
    pub provider: ActorId,
    /// The client's actor.
    pub client: ActorId,
    /// CommP.
    #[serde(with = "damocles_node::wire")]
    pub piece: Cid,
    /// Padded bytes.
    pub size: u64,
    /// The sector must be proven before this epoch.
    pub start_by: Epoch,
    pub length: Length,
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Length {
    /// From the sector's activation on, at least and at most so many epochs (an allocation of the
    /// verified registry).
    Term { min: Epoch, max: Epoch },
    /// Until this epoch (a deal of the storage market).
    Until(Epoch),
}

/// Between which epochs a sector is activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    pub first: Epoch,
    pub last: Epoch,
}

impl Terms {
    /// When a sector with it may expire that is activated within that time.
    pub fn lifetime(&self, activation: Activation) -> Lifetime {
        // after `start_by` it is not activated with this deal
        let last = activation.last.min(self.start_by).max(activation.first);
        match self.length {
            Length::Term { min, max } => Lifetime {
                least: last.saturating_add(min),
                most: activation.first.saturating_add(max),
            },
            Length::Until(end) => Lifetime {
                least: end,
                most: Epoch::MAX,
            },
        }
    }

    /// What differs from a piece that a person or a worker names; None: nothing.
    pub fn differs(&self, provider: ActorId, piece: Cid, size: u64) -> Option<String> {
        if self.provider != provider {
            let theirs = self.provider;
            return Some(format!("it is for provider {theirs}, not {provider}"));
        }
        if self.piece != piece {
            return Some(format!("it is for piece {}, not {piece}", self.piece));
        }
        (self.size != size).then(|| format!("its piece has {} padded bytes, not {size}", self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::Commitment;

    fn terms(length: Length) -> Terms {
        Terms {
            provider: 1000,
            client: 101,
            piece: Commitment([1; 32]).unsealed_cid(),
            size: 2048,
            start_by: 5000,
            length,
        }
    }

    #[test]
    fn lifetimes() {
        let within = |first, last| Activation { first, last };
        let term = terms(Length::Term {
            min: 100,
            max: 1000,
        });
        let lasting = |least, most| Lifetime { least, most };
        assert_eq!(term.lifetime(within(200, 300)), lasting(400, 1200));
        assert_eq!(
            term.lifetime(within(200, 9000)),
            lasting(5100, 1200),
            "no later than it may"
        );
        let until = terms(Length::Until(7000));
        assert_eq!(until.lifetime(within(200, 300)), lasting(7000, Epoch::MAX));
    }

    #[test]
    fn names_are_read_back_and_0_is_none() {
        for id in [DealId::Allocation(7), DealId::Market(8)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in ["", "7", "deal-", "deal-0", "allocation-x", "sector-1"] {
            assert!(bad.parse::<DealId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_differs_is_said() {
        let terms = terms(Length::Until(7000));
        let (piece, other) = (terms.piece, Commitment([2; 32]).unsealed_cid());
        assert_eq!(terms.differs(1000, piece, 2048), None);
        for (differs, what) in [
            (terms.differs(1001, piece, 2048), "provider 1000, not 1001"),
            (terms.differs(1000, other, 2048), "for piece"),
            (
                terms.differs(1000, piece, 4096),
                "2048 padded bytes, not 4096",
            ),
        ] {
            assert!(differs.unwrap().contains(what), "{what}");
        }
    }
}
