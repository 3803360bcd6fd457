//! What was heard of sectors that this database has no record of: told to the operator, and
//! their numbers are never handed out.

use crate::{
    db::{
        Db, DbError, keys, pages,
        record::VERSION,
        schema::{REPLICAS, SECTORS, STRAYS},
    },
    model::UnixMs,
};
use damocles_api::caller::Caller;
use damocles_kv::{Durability, Span, StoreError, Transaction};
use damocles_types::{ActorId, SectorId, SectorNumber};
use serde::{Deserialize, Serialize};

/// New numbers lie above one that was heard of, unless it lies further away than this: one wrong
/// word of a worker must not use up all numbers. Further ones are passed over one by one.
const NEAR: u64 = 1 << 20;

/// So many strays are kept. More come from no accident.
const MOST_STRAYS: usize = 10_000;

/// How long the same is not written down again.
pub(in crate::db) const FRESH_MS: UnixMs = 10 * 60 * 1000;

/// A sector that a worker speaks of and that this database has no record of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    pub v: u32,
    pub sector: SectorId,
    /// Who has it, if that was said.
    pub caller: Option<Caller>,
    /// Where it stands, if that was said.
    pub state: Option<String>,
    pub first: UnixMs,
    pub last: UnixMs,
    /// Its worker gave it up.
    #[serde(default)]
    pub given_up: bool,
}

/// The number above which a new one is to be looked for, after those in `rising` were heard of.
/// Pure.
fn lifted(last: SectorNumber, rising: impl IntoIterator<Item = SectorNumber>) -> SectorNumber {
    rising.into_iter().fold(last, |last, number| {
        let near = number > last && number - last <= NEAR;
        if near { number } else { last }
    })
}

/// The number above which a new one is to be looked for, so that it lies above every stray in
/// `last..=max`: others of its time may exist that nobody spoke of yet.
pub(in crate::db) fn above_strays(
    t: &mut Transaction<'_>,
    miner: ActorId,
    last: SectorNumber,
    max: SectorNumber,
) -> Result<SectorNumber, StoreError> {
    let span = Span::prefix(keys::miner(miner)).from(keys::sector(SectorId::new(miner, last)));
    let heard = t.scan(STRAYS, &span, MOST_STRAYS)?;
    let numbers = heard
        .iter()
        .filter_map(|seen| keys::read_sector(seen.key()));
    let rising = numbers.map(|id| id.number).take_while(|n| *n <= max);
    Ok(lifted(last, rising))
}

/// Whether anything is known of the sector, so that its number cannot be a new one's.
pub(in crate::db) fn is_known(
    t: &mut Transaction<'_>,
    sector: SectorId,
) -> Result<bool, StoreError> {
    let key = keys::sector(sector);
    for table in [SECTORS, STRAYS] {
        if t.get(table, &key)?.exists() {
            return Ok(true);
        }
    }
    for kind in keys::REPLICA_KINDS {
        if t.get(REPLICAS, &keys::replica(kind, sector))?.exists() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Db {
    /// Notes that somebody spoke of a sector without a record. True: it is news.
    pub fn note_stray(
        &self,
        sector: SectorId,
        caller: Option<Caller>,
        state: Option<String>,
        given_up: bool,
        now: UnixMs,
    ) -> Result<bool, DbError> {
        // a bound, not a law: not in the transaction, or every stray would be in its way
        let full = self.read(|t| {
            if t.get(STRAYS, &keys::sector(sector))?.exists() {
                return Ok(false);
            }
            let all = t.scan(STRAYS, &Span::all(), MOST_STRAYS)?;
            Ok::<_, DbError>(all.len() >= MOST_STRAYS)
        })?;
        self.write(Durability::Synced, |t| {
            let seen = t.get(STRAYS, &keys::sector(sector))?;
            let known: Option<Stray> = seen.json()?;
            if known.is_none() && full {
                return Ok(false);
            }
            let news = known.is_none();
            let stray = Stray {
                v: VERSION,
                sector,
                first: known.as_ref().map_or(now, |s| s.first),
                last: now,
                caller: caller
                    .clone()
                    .or_else(|| known.as_ref().and_then(|s| s.caller.clone())),
                state: state
                    .clone()
                    .or_else(|| known.as_ref().and_then(|s| s.state.clone())),
                given_up: given_up || known.as_ref().is_some_and(|s| s.given_up),
            };
            let same = |s: &Stray| {
                (&s.caller, &s.state, s.given_up) == (&stray.caller, &stray.state, stray.given_up)
                    && now.saturating_sub(s.last) < FRESH_MS
            };
            if !known.as_ref().is_some_and(same) {
                t.put_json(&seen, &stray)?;
            }
            Ok(news)
        })
    }

    /// All sectors without a record that were spoken of, in the order of their names.
    pub fn strays(&self) -> Result<Vec<Stray>, DbError> {
        self.all_of(STRAYS, Span::all(), pages::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::{SealProof, SectorSize};

    fn next(db: &Db) -> u64 {
        let kind = SealProof::interactive(SectorSize::KiB2);
        let got = db.allocate(1000, kind, 0, u64::MAX, Some).unwrap();
        got.unwrap().id.number
    }

    #[test]
    fn a_number_that_was_heard_of_is_not_handed_out_and_a_wild_one_ends_nothing() {
        let db = Db::in_memory();
        let heard = |n| db.note_stray(SectorId::new(1000, n), None, None, false, 1);
        assert!(heard(120).unwrap());
        assert!(!heard(120).unwrap(), "no news");
        assert_eq!(next(&db), 121);
        assert!(heard(u64::MAX - 1).unwrap());
        assert_eq!(next(&db), 122, "one wild word does not use up the numbers");
        let far = 122 + 2 * NEAR;
        heard(far).unwrap();
        assert_eq!(next(&db), 123);
        heard(124).unwrap();
        heard(60).unwrap();
        assert_eq!(next(&db), 125);
        let other = SectorId::new(1001, 500);
        db.note_stray(other, None, None, false, 1).unwrap();
        assert_eq!(next(&db), 126, "miners count apart");
        assert_eq!(db.strays().unwrap().len(), 6);
        // numbers above the maximum are another manager's of the same miner
        heard(900).unwrap();
        let kind = SealProof::interactive(SectorSize::KiB2);
        let got = db.allocate(1000, kind, 0, 800, Some).unwrap().unwrap();
        assert_eq!(got.id.number, 127);
        assert_eq!(next(&db), 901);
    }

    #[test]
    fn a_number_of_a_replica_in_a_store_is_passed_over() {
        let db = Db::in_memory();
        let location = crate::db::stores::Location {
            sector: SectorId::new(1000, 5),
            replica: crate::db::stores::Replica::Upgrade,
            sealed: "a".into(),
            cache: "a".into(),
        };
        db.put_locations(&[location]).unwrap();
        assert_eq!(
            (1..=5).map(|_| next(&db)).collect::<Vec<_>>(),
            [1, 2, 3, 4, 6]
        );
    }

    #[test]
    fn a_stray_keeps_what_was_said_of_it() {
        let db = Db::in_memory();
        let id = SectorId::new(1000, 3);
        let who = Caller {
            worker: "w".into(),
            location: "/s".into(),
            store: "aa".into(),
        };
        db.note_stray(id, Some(who.clone()), Some("PC2Done".into()), false, 10)
            .unwrap();
        db.note_stray(id, None, None, true, 20).unwrap();
        let [stray] = &db.strays().unwrap()[..] else {
            panic!("one stray")
        };
        assert_eq!((stray.first, stray.last, stray.given_up), (10, 20, true));
        assert_eq!(stray.caller.as_ref(), Some(&who));
        assert_eq!(stray.state.as_deref(), Some("PC2Done"));
    }
}
