//! Which store a sector goes to. Pure: space, reservations and policy are values, and so is
//! the source of chance.

use crate::{policy::StorePolicy, storage::disk::Space};
use damocles_types::ActorId;
use rand::Rng;
use std::fmt;

/// Why a store does not take a sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    ReadOnly,
    /// `AllowMiners` or `DenyMiners` keep the miner out.
    Denied,
    /// The worker did not name it.
    NotAttached,
    /// Bytes that are free and not promised to others, and bytes wanted.
    Full {
        free: u64,
        wanted: u64,
    },
    Unreachable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("is read-only"),
            Self::Denied => f.write_str("does not take this miner (AllowMiners, DenyMiners)"),
            Self::NotAttached => f.write_str("is not attached to the worker"),
            Self::Full { free, wanted } => {
                write!(f, "has {free} bytes left, and {wanted} are wanted")
            }
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

/// What a store's policy says to a miner and a worker's list (empty: any store).
pub(super) fn admits(
    store: &StorePolicy,
    miner: ActorId,
    candidates: &[String],
) -> Result<(), Refusal> {
    if store.read_only {
        Err(Refusal::ReadOnly)
    } else if !store.allows(miner) {
        Err(Refusal::Denied)
    } else if !(candidates.is_empty() || candidates.contains(&store.name)) {
        Err(Refusal::NotAttached)
    } else {
        Ok(())
    }
}

/// Whether `size` more bytes fit beside what is promised already.
pub(super) fn fits(space: Space, promised: u64, size: u64) -> Result<(), Refusal> {
    let free = space.free.saturating_sub(promised);
    if free >= size {
        Ok(())
    } else {
        Err(Refusal::Full { free, wanted: size })
    }
}

/// A place in `weights`, drawn in proportion to them; a weight of 0 counts as 1.
pub(super) fn draw<R: Rng>(rng: &mut R, weights: &[u64]) -> Option<usize> {
    let weight = |w: &u64| u128::from((*w).max(1));
    let total: u128 = weights.iter().map(weight).sum();
    if total == 0 {
        return None;
    }
    let mut at = rng.gen_range(0..total);
    weights
        .iter()
        .position(|w| match at.checked_sub(weight(w)) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;
    use rand::{SeedableRng, rngs::StdRng};

    fn store(name: &str) -> StorePolicy {
        StorePolicy {
            weight: 0,
            ..policy::tests::store(name, "/x")
        }
    }

    #[test]
    fn policy_speaks_first() {
        let open = store("a");
        let read_only = StorePolicy {
            read_only: true,
            ..store("a")
        };
        let denied = StorePolicy {
            allow_miners: vec![1000],
            deny_miners: vec![1000],
            ..store("a")
        };
        let listed = StorePolicy {
            allow_miners: vec![1001],
            ..store("a")
        };
        assert_eq!(admits(&open, 1000, &[]), Ok(()));
        assert_eq!(admits(&open, 1000, &["a".into()]), Ok(()));
        assert_eq!(
            admits(&open, 1000, &["b".into()]),
            Err(Refusal::NotAttached)
        );
        assert_eq!(admits(&read_only, 1000, &[]), Err(Refusal::ReadOnly));
        assert_eq!(admits(&denied, 1000, &[]), Err(Refusal::Denied));
        assert_eq!(admits(&listed, 1000, &[]), Err(Refusal::Denied));
        assert_eq!(admits(&listed, 1001, &[]), Ok(()));
    }

    #[test]
    fn promised_bytes_are_not_free() {
        let space = Space {
            kind: 0,
            total: 1000,
            used: 900,
            free: 100,
        };
        assert_eq!(fits(space, 0, 100), Ok(()));
        assert_eq!(
            fits(space, 1, 100),
            Err(Refusal::Full {
                free: 99,
                wanted: 100
            })
        );
        assert!(fits(space, u64::MAX, 1).is_err());
        assert!(fits(space, 0, u64::MAX).is_err());
    }

    #[test]
    fn draws_follow_the_weights() {
        let mut rng = StdRng::seed_from_u64(7);
        assert_eq!(draw(&mut rng, &[]), None);
        assert_eq!(draw(&mut rng, &[0]), Some(0));
        let mut hits = [0_u32; 3];
        for _ in 0..4000 {
            hits[draw(&mut rng, &[0, 1, 2]).unwrap()] += 1;
        }
        // 1 : 1 : 2 with a fixed seed
        assert!(hits[0] > 900 && hits[0] < 1100, "{hits:?}");
        assert!(hits[1] > 900 && hits[1] < 1100, "{hits:?}");
        assert!(hits[2] > 1800 && hits[2] < 2200, "{hits:?}");
        assert!(draw(&mut rng, &[u64::MAX, u64::MAX]).is_some());
    }
}
