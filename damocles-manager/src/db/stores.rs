//! Persist stores: room kept for sectors on their way, and where finished replicas lie.

use crate::{
    db::{
        Db, DbError,
        damaged::readable,
        keys, pages,
        schema::{MARKS, REPLICAS, RESERVATIONS, SCANNED},
    },
    policy::StorePolicy,
};
use damocles_kv::{Durability, Span};
use damocles_types::SectorId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// So many records of the index are read at a time.
const IN_A_PAGE: usize = 1000;

/// Which replica of a sector is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Replica {
    /// The one that was sealed.
    Normal,
    /// The one that a snap deal put in its place (FIP-0019).
    Upgrade,
}

/// Room kept for a sector; a sector has one reservation at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub sector: SectorId,
    pub store: String,
    /// Bytes.
    pub size: u64,
    /// Unix seconds.
    pub at: i64,
}

/// The stores, by name, that hold a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub sector: SectorId,
    pub replica: Replica,
    /// Store of the big file.
    pub sealed: String,
    /// Store of the cache files.
    pub cache: String,
}

pub(in crate::db) fn replica_key(sector: SectorId, replica: Replica) -> Vec<u8> {
    let [normal, upgrade] = keys::REPLICA_KINDS;
    let kind = match replica {
        Replica::Normal => normal,
        Replica::Upgrade => upgrade,
    };
    keys::replica(kind, sector)
}

/// A store that a scan found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scanned {
    pub v: u32,
    /// The pattern that led to it.
    pub pattern: String,
    pub store: StorePolicy,
}

impl Db {
    /// All reservations, in the order of sectors.
    pub fn reservations(&self) -> Result<Vec<Reservation>, DbError> {
        self.all_of(RESERVATIONS, Span::all(), pages::value)
    }

    /// Keeps room for a sector, if what others have of that store leaves it: `fits` is asked with
    /// the sum of it. An earlier reservation of the same sector is replaced. False: others were
    /// faster.
    ///
    /// # Errors
    /// [`DbError::NotOwner`] and [`DbError::Unknown`] for a worker that has it not.
    pub fn put_reservation(
        &self,
        reservation: &Reservation,
        fits: impl Fn(u64) -> bool,
    ) -> Result<bool, DbError> {
        self.write(Durability::Synced, |t| {
            self.guard(t, reservation.sector)?;
            let mut promised: u64 = 0;
            for seen in t.scan(RESERVATIONS, &Span::all(), usize::MAX)? {
                let other = seen.json::<Reservation>()?.filter(|other| {
                    other.store == reservation.store && other.sector != reservation.sector
                });
                promised = promised.saturating_add(other.map_or(0, |other| other.size));
            }
            if !fits(promised) {
                return Ok(false);
            }
            let seen = t.get(RESERVATIONS, &keys::sector(reservation.sector))?;
            t.put_json(&seen, reservation)?;
            Ok(true)
        })
    }

    /// Gives the room of a sector back; what it was.
    pub fn remove_reservation(&self, sector: SectorId) -> Result<Option<Reservation>, DbError> {
        self.write(Durability::Synced, |t| {
            let seen = t.get(RESERVATIONS, &keys::sector(sector))?;
            if seen.exists() {
                t.delete(&seen)?;
            }
            Ok(seen.json()?)
        })
    }

    /// Where a replica lies, if that is known.
    pub fn location(
        &self,
        sector: SectorId,
        replica: Replica,
    ) -> Result<Option<Location>, DbError> {
        self.read(|t| Ok(t.get_json(REPLICAS, &replica_key(sector, replica))?))
    }

    /// Some of the sectors of which a file lies in that store or is to come there, at most so many.
    pub fn some_in_store(&self, store: &str, most: usize) -> Result<Vec<SectorId>, DbError> {
        let mut found: Vec<SectorId> = Vec::new();
        let on_their_way = self.reservations()?;
        let on_their_way = on_their_way.iter().filter(|r| r.store == store);
        found.extend(on_their_way.map(|r| r.sector).take(most));
        let mut from = Span::all();
        while found.len() < most {
            let page = self.read(|t| Ok::<_, DbError>(t.scan(REPLICAS, &from, IN_A_PAGE)?))?;
            for seen in &page {
                let location: Option<Location> = readable(seen.json())?;
                let here = |l: &Location| l.sealed == store || l.cache == store;
                found.extend(location.filter(here).map(|location| location.sector));
                if found.len() == most {
                    return Ok(found);
                }
            }
            match page.last() {
                Some(last) => from = from.after(last.key()),
                None => break,
            }
        }
        Ok(found)
    }

    /// Writes where replicas lie, all or none of them. Their numbers are not handed out any more.
    ///
    /// # Errors
    /// [`DbError::NotOwner`] and [`DbError::Unknown`] for a worker that has them not.
    pub fn put_locations(&self, locations: &[Location]) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            for location in locations {
                self.guard(t, location.sector)?;
                let seen = t.get(REPLICAS, &replica_key(location.sector, location.replica))?;
                t.put_json(&seen, location)?;
            }
            Ok(())
        })
    }
}

impl Db {
    /// Stores that scans found last, by name, those that cannot be read left out.
    pub fn scanned(&self) -> Result<Vec<Scanned>, DbError> {
        self.all_of(SCANNED, Span::all(), |seen| Ok(readable(seen.json())?))
    }

    /// Remembers a store that a scan found.
    pub fn remember_scanned(&self, scanned: &Scanned) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            let seen = t.get(SCANNED, scanned.store.name.as_bytes())?;
            Ok(t.put_json(&seen, scanned)?)
        })
    }

    /// Forgets it.
    pub fn forget_scanned(&self, name: &str) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            let seen = t.get(SCANNED, name.as_bytes())?;
            Ok(t.delete(&seen)?)
        })
    }

    /// The marks that were seen in stores: the store's name → the mark's id.
    pub fn store_marks(&self) -> Result<BTreeMap<String, String>, DbError> {
        let all: Vec<SeenMark> = self.all_of(MARKS, Span::all(), pages::value)?;
        Ok(all.into_iter().map(|m| (m.store, m.id)).collect())
    }

    /// Remembers the mark of a store.
    pub fn put_store_mark(&self, store: &str, id: &str) -> Result<(), DbError> {
        let mark = SeenMark {
            store: store.to_owned(),
            id: id.to_owned(),
        };
        self.write(Durability::Synced, |t| {
            let seen = t.get(MARKS, store.as_bytes())?;
            Ok(t.put_json(&seen, &mark)?)
        })
    }

    /// Forgets it.
    pub fn remove_store_mark(&self, store: &str) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            let seen = t.get(MARKS, store.as_bytes())?;
            Ok(t.delete(&seen)?)
        })
    }
}

/// A mark that was seen in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::db) struct SeenMark {
    pub(in crate::db) store: String,
    id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_has_one_reservation_and_two_replicas_at_most() {
        let db = Db::in_memory();
        let sector = SectorId::new(1000, 7);
        let reservation = |store: &str, size| Reservation {
            sector,
            store: store.into(),
            size,
            at: 5,
        };
        let put = |r: &Reservation| db.put_reservation(r, |promised| promised + r.size <= 10);
        assert!(put(&reservation("a", 1)).unwrap());
        assert!(put(&reservation("b", 2)).unwrap());
        let next = |size| Reservation {
            sector: SectorId::new(1000, 8),
            ..reservation("b", size)
        };
        assert!(!put(&next(9)).unwrap(), "2 are promised");
        assert!(put(&next(8)).unwrap());
        db.remove_reservation(SectorId::new(1000, 8)).unwrap();
        assert_eq!(db.reservations().unwrap(), [reservation("b", 2)]);
        assert_eq!(
            db.remove_reservation(sector).unwrap(),
            Some(reservation("b", 2))
        );
        assert_eq!(db.remove_reservation(sector).unwrap(), None);

        let location = |replica, store: &str| Location {
            sector,
            replica,
            sealed: store.into(),
            cache: store.into(),
        };
        let (old, new) = (
            location(Replica::Normal, "a"),
            location(Replica::Upgrade, "b"),
        );
        db.put_locations(&[old.clone(), new.clone()]).unwrap();
        assert_eq!(db.location(sector, Replica::Normal).unwrap(), Some(old));
        assert_eq!(db.location(sector, Replica::Upgrade).unwrap(), Some(new));
        let other = SectorId::new(1000, 8);
        assert_eq!(db.location(other, Replica::Normal).unwrap(), None);
    }
}
