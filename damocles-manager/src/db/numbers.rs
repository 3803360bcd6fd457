//! The highest sector number of every miner, twice: in the database, and in a file of the home
//! that a lost or older database does not take with it.

use crate::db::{Db, DbError, keys, schema::NUMBERS};
use damocles_daemon::{belongs::Highest, seldom::Seldom};
use damocles_kv::{Durability, Span};
use damocles_types::{ActorId, SectorNumber};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

fn name(miner: ActorId) -> String {
    format!("t0{miner}")
}

impl Db {
    /// Keeps the highest numbers in this file too, from now on.
    ///
    /// # Errors
    /// A failing database, or file.
    pub fn with_highest(mut self, highest: Arc<Highest>) -> Result<Self, DbError> {
        for (miner, number) in self.highest_numbers()? {
            highest
                .raise(&name(miner), number)
                .map_err(DbError::Highest)?;
        }
        self.highest = Some(highest);
        Ok(self)
    }

    /// The highest number of every miner that has one, as the database knows it.
    pub fn highest_numbers(&self) -> Result<BTreeMap<ActorId, SectorNumber>, DbError> {
        let all = self.all_of(NUMBERS, Span::all(), |seen| {
            let miner = <[u8; 8]>::try_from(seen.key()).map(u64::from_be_bytes);
            match (miner, seen.json()) {
                (Ok(miner), Ok(Some(number))) => Ok(Some((miner, number))),
                _ => Err(DbError::Number(seen.key().escape_ascii().to_string())),
            }
        })?;
        Ok(all.into_iter().collect())
    }

    /// How the file of highest numbers names the miner.
    pub fn numbers_of(all: &BTreeMap<ActorId, SectorNumber>) -> BTreeMap<String, SectorNumber> {
        all.iter().map(|(miner, n)| (name(*miner), *n)).collect()
    }

    /// The highest numbers that database or file know, by the names of the file.
    pub(in crate::db) fn numbers_known(&self) -> Result<BTreeMap<String, SectorNumber>, DbError> {
        let mut all = Self::numbers_of(&self.highest_numbers()?);
        for (kind, number) in self.highest.iter().flat_map(|highest| highest.all()) {
            let known = all.entry(kind).or_default();
            *known = number.max(*known);
        }
        Ok(all)
    }

    /// Raises numbers that the database has forgotten, by the names of the file.
    pub fn raise_numbers(&self, forgotten: &BTreeMap<String, SectorNumber>) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| {
            for (name, number) in forgotten {
                let Some(miner) = name.strip_prefix("t0").and_then(|n| n.parse().ok()) else {
                    continue;
                };
                let seen = t.get(NUMBERS, &keys::miner(miner))?;
                if seen
                    .json::<SectorNumber>()?
                    .is_none_or(|known| known < *number)
                {
                    t.put_json(&seen, number)?;
                }
            }
            Ok(())
        })
    }

    /// The highest number of the miner that the file knows, 0 if none.
    pub(in crate::db) fn highest(&self, miner: ActorId) -> SectorNumber {
        self.highest.as_ref().map_or(0, |h| h.get(&name(miner)))
    }

    /// A number was handed out and is stored; the file learns of it.
    pub(in crate::db) fn handed_out(&self, miner: ActorId, number: SectorNumber) {
        static UNWRITTEN: Seldom = Seldom::new(Duration::from_secs(60));
        let Some(highest) = &self.highest else { return };
        if let Err(error) = highest.raise(&name(miner), number)
            && let Some(more) = UNWRITTEN.now()
        {
            tracing::error!(
                more,
                "the file of highest sector numbers cannot be written: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::{SealProof, SectorSize};

    const KIND: SealProof = SealProof::interactive(SectorSize::KiB2);

    fn next(db: &Db) -> u64 {
        let any = |n: u64| Some(n);
        let record = db.allocate(1000, KIND, 0, u64::MAX, any).unwrap();
        record.unwrap().id.number
    }

    #[test]
    fn a_number_is_not_handed_out_again_by_a_database_that_has_forgotten_it() {
        let home = tempfile::tempdir().unwrap();
        let file = || Arc::new(Highest::of(home.path()).unwrap());
        let db = Db::in_memory().with_highest(file()).unwrap();
        assert_eq!([next(&db), next(&db), next(&db)], [1, 2, 3]);

        // an older one in its place; that it is refused at first is the daemon's part
        let older = Db::in_memory();
        assert_eq!(next(&older), 1);
        let known = Db::numbers_of(&older.highest_numbers().unwrap());
        let known = |kind: &str| known.get(kind).copied().unwrap_or(0);
        assert!(file().check("the home", known).is_err());
        let forgotten = BTreeMap::from([("t01000".to_owned(), 3)]);
        older.raise_numbers(&forgotten).unwrap();
        assert!(older.highest_numbers().unwrap() == BTreeMap::from([(1000, 3)]));
        assert_eq!(next(&older), 4);

        // and even one that nobody has compared
        let empty = Db::in_memory().with_highest(file()).unwrap();
        assert_eq!(next(&empty), 4);
    }

    #[test]
    fn a_database_of_before_the_file_fills_it() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::in_memory();
        next(&db);
        let highest = Arc::new(Highest::of(home.path()).unwrap());
        db.with_highest(highest).unwrap();
        assert_eq!(Highest::of(home.path()).unwrap().get("t01000"), 1);
    }
}
