//! Who may act on a sector: one sealing thread has it. Decided from the record and the caller
//! alone, and asked inside the transaction that changes the record.

use crate::db::record::SectorRecord;
use damocles_api::caller::Caller;
use std::sync::Arc;

/// For whom a verb is called.
#[derive(Clone, Debug, Default)]
pub(in crate::db) enum Speaker {
    /// The manager itself, or a person: no owner is asked.
    #[default]
    Manager,
    /// A worker. None: it did not say which (upstream's workers cannot).
    Worker(Option<Arc<Caller>>),
    /// A worker whose token is its own: another's sector is none of its, whatever it says of its
    /// store.
    Bound(Arc<Caller>),
}

/// What a caller's right changes in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Right {
    /// It has the sector, or nobody can tell that it has not.
    Has,
    /// It has it from now on, or has it under another name than before.
    Takes(Caller),
    /// Another one has it, or it was taken from this one.
    Not(Caller),
}

/// What right a worker has to a sector. Pure.
fn right(record: &SectorRecord, caller: Option<&Caller>) -> Right {
    let Some(owner) = &record.owner else {
        return match (caller, &record.taken_from) {
            (Some(caller), Some(former)) if caller.is(former) => Right::Not(former.clone()),
            // a worker as a whole (its pings) seals nothing
            (Some(caller), _) if record.online && !caller.location.is_empty() => {
                Right::Takes(caller.clone())
            }
            _ => Right::Has,
        };
    };
    match caller {
        // who does not say who it is can only be one of those that cannot
        None if owner.store.is_empty() => Right::Has,
        None => Right::Not(owner.clone()),
        Some(caller) if caller.is(owner) => {
            if caller.store.is_empty() || caller == owner {
                Right::Has
            } else {
                Right::Takes(caller.clone())
            }
        }
        Some(_) => Right::Not(owner.clone()),
    }
}

/// The same for a worker that is who it says, and nobody else.
fn bound_right(record: &SectorRecord, caller: &Caller) -> Right {
    match &record.owner {
        Some(owner) if owner.worker != caller.worker => Right::Not(owner.clone()),
        _ => right(record, Some(caller)),
    }
}

/// Another one has the sector, or it was taken from the one that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::db) struct Refused {
    pub(in crate::db) owner: Caller,
    /// Nobody has it yet.
    pub(in crate::db) taken: bool,
}

impl Speaker {
    pub(in crate::db) fn worker(caller: Option<Caller>) -> Self {
        Self::Worker(caller.map(Arc::new))
    }

    /// The worker that speaks, if it said who it is.
    pub(in crate::db) fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Worker(Some(caller)) | Self::Bound(caller) => Some(caller),
            Self::Worker(None) | Self::Manager => None,
        }
    }

    /// Whether the speaker may act on the sector; notes in the record that it has it now.
    pub(in crate::db) fn admitted(&self, record: &mut SectorRecord) -> Result<(), Refused> {
        let right = match self {
            Self::Manager => return Ok(()),
            Self::Worker(caller) => right(record, caller.as_deref()),
            Self::Bound(caller) => bound_right(record, caller),
        };
        match right {
            Right::Has => Ok(()),
            Right::Takes(caller) => {
                record.owner = Some(caller);
                record.taken_from = None;
                record.claimant = None;
                Ok(())
            }
            Right::Not(owner) => Err(Refused {
                owner,
                taken: record.owner.is_none(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::{SealProof, SectorId, SectorSize};

    fn caller(worker: &str, location: &str, store: &str) -> Caller {
        Caller {
            worker: worker.into(),
            location: location.into(),
            store: store.into(),
        }
    }

    #[test]
    fn one_thread_has_a_sector_and_everybody_else_has_not() {
        let sector = |owner: Option<Caller>, taken_from: Option<Caller>| SectorRecord {
            owner,
            taken_from,
            ..SectorRecord::new(
                SectorId::new(1000, 1),
                SealProof::interactive(SectorSize::KiB2),
                0,
            )
        };
        let ours = caller("w1", "/s1", "aa");
        let moved = caller("w9", "/elsewhere", "aa");
        let copy = caller("w1", "/s1", "bb");
        let upstream = caller("u1", "/s1", "");
        let other = caller("u2", "/s1", "");
        let whole = caller("w1", "", "");
        let (has, not) = (|| Right::Has, |c: &Caller| Right::Not(c.clone()));
        let takes = |c: &Caller| Right::Takes(c.clone());
        for (owner, taken, who, want) in [
            (None, None, Some(&ours), takes(&ours)),
            (None, None, Some(&upstream), takes(&upstream)),
            (None, None, Some(&whole), has()),
            (None, None, None, has()),
            (Some(&ours), None, Some(&ours), has()),
            (Some(&ours), None, Some(&moved), takes(&moved)),
            (Some(&ours), None, Some(&copy), not(&ours)),
            (Some(&ours), None, Some(&upstream), not(&ours)),
            (Some(&ours), None, None, not(&ours)),
            (Some(&upstream), None, None, has()),
            (Some(&upstream), None, Some(&upstream), has()),
            (Some(&upstream), None, Some(&other), not(&upstream)),
            (Some(&upstream), None, Some(&ours), not(&upstream)),
            (None, Some(&ours), Some(&ours), not(&ours)),
            (None, Some(&ours), Some(&moved), not(&ours)),
            (None, Some(&ours), Some(&copy), takes(&copy)),
            (None, Some(&ours), None, has()),
        ] {
            let record = sector(owner.cloned(), taken.cloned());
            assert_eq!(right(&record, who), want, "{owner:?} {taken:?} {who:?}");
        }
        // a token of its own: the id of another's store helps nobody to the sector
        for (owner, taken, who, want) in [
            (None, None, &ours, takes(&ours)),
            (Some(&ours), None, &ours, has()),
            (Some(&ours), None, &moved, not(&ours)),
            (Some(&upstream), None, &upstream, has()),
            (Some(&upstream), None, &whole, not(&upstream)),
            (None, Some(&ours), &ours, not(&ours)),
        ] {
            let record = sector(owner.cloned(), taken.cloned());
            assert_eq!(
                bound_right(&record, who),
                want,
                "{owner:?} {taken:?} {who:?}"
            );
        }
        let mut over = sector(None, None);
        over.online = false;
        assert_eq!(
            right(&over, Some(&ours)),
            has(),
            "nobody takes what is over"
        );
    }
}
