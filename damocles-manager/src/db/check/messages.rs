//! Messages and WindowPoSts: their lists, and the sectors that messages carry.

use super::{
    fault::{Fault, decoded, misplaced},
    walk::{Lane, Walk},
};
use crate::{
    db::{
        DbError,
        bodies::Body,
        keys,
        messages::{LISTS, listed},
        posts::{PostRecord, is_listed, post_key},
        record::{Landing, MessageRecord},
        recoveries::RecoveryRecord,
        schema::{
            BODIES, ENDED, LOOKED, MESSAGES, MESSAGES_OPEN, MESSAGES_WATCHED, POSTS, POSTS_OPEN,
            RECOVERIES, SECTOR_MESSAGES,
        },
        versions::LATELY,
    },
    model::{MessageId, MessageKind, unix_ms},
};
use damocles_kv::{Table, Transaction};
use damocles_types::Epoch;

/// What is kept by message, the lists behind the records.
const LANES: [Lane; 5] = [
    Lane(MESSAGES, b""),
    Lane(MESSAGES_OPEN, b""),
    Lane(MESSAGES_WATCHED, b""),
    Lane(LOOKED, b""),
    Lane(BODIES, b""),
];

pub(super) fn all(walk: &mut Walk<'_>) -> Result<(), DbError> {
    walk.side_by_side(&LANES, |t, row, faults| {
        let Some(id) = keys::read_message(row.key).filter(|_| row.key.len() == 16) else {
            faults.extend(row.all().map(|seen| misplaced(seen, "a message's")));
            return Ok(());
        };
        if let Some(seen) = row.get(2) {
            decoded::<Landing>(seen, faults)?;
        }
        if let Some(seen) = row.get(3) {
            decoded::<Epoch>(seen, faults)?;
        }
        let record: Option<MessageRecord> = match row.get(0) {
            None => None,
            Some(seen) => {
                let Some(record) = decoded(seen, faults)? else {
                    // what cannot be read may stand anywhere
                    return Ok(());
                };
                Some(record)
            }
        };
        if record.as_ref().is_some_and(|record| record.id != id) {
            faults.extend(row.get(0).map(|seen| misplaced(seen, "its message's")));
            return Ok(());
        }
        let should = record.as_ref().and_then(listed);
        let list = should.as_ref().map(|(list, _)| *list);
        for (lane, table) in (1..).zip(LISTS) {
            match (row.get(lane), list == Some(table)) {
                (Some(_), false) => {
                    let why = match &record {
                        Some(record) => format!("its state is {}", record.state),
                        None => "it has no record".to_owned(),
                    };
                    let what = format!("message {id} is in this list, and {why}");
                    faults.push(Fault::extra(table, row.key, what));
                }
                (None, true) => {
                    let (Some(record), Some((_, landing))) = (&record, &should) else {
                        continue;
                    };
                    // programs of before the list have not put there what had ended long before
                    let after = unix_ms().saturating_sub(LATELY);
                    if landing.is_some() && record.wanted_at <= after {
                        continue;
                    }
                    let value = match landing {
                        Some(landing) => serde_json::to_vec(landing).unwrap_or_default(),
                        None => Vec::new(),
                    };
                    let what = format!("message {id} is not in this list, and has to be");
                    faults.push(Fault::missing(table, row.key, value, what));
                }
                _ => {}
            }
        }
        let body = row.get(4);
        if let Some(seen) = body {
            decoded::<Body>(seen, faults)?;
        }
        let Some(record) = &record else {
            if body.is_some() {
                let what =
                    format!("these are the large parts of message {id}, which has no record");
                // not mended: with them goes what was signed
                let cure = "bring the record of the message back from a backup";
                faults.push(Fault::new(BODIES, row.key, what, cure));
            }
            return Ok(());
        };
        large_parts(t, record, body.is_some(), faults)?;
        for sector in &record.sectors {
            let key = keys::sector_message(*sector, id);
            if !t.get(SECTOR_MESSAGES, &key)?.exists() {
                let what = format!("message {id} carries sector {sector}, and is not listed");
                faults.push(Fault::missing(SECTOR_MESSAGES, &key, Vec::new(), what));
            }
        }
        Ok(())
    })?;
    of_sectors(walk)?;
    ended(walk)?;
    posts(walk)?;
    recoveries(walk)
}

/// A message that is on its way has its large parts; those of one that has ended are to go.
fn large_parts(
    t: &mut Transaction<'_>,
    record: &MessageRecord,
    kept: bool,
    faults: &mut Vec<Fault>,
) -> Result<(), DbError> {
    let id = record.id;
    if !kept && !record.state.is_final() {
        let what = format!("the parameters of message {id} are not here, and it is on its way");
        let cure = "bring them back from a backup; until then it is not pushed again";
        faults.push(Fault::new(BODIES, &keys::message(id), what, cure));
    }
    let key = keys::ended(record.wanted_at, id);
    if kept && record.state.is_final() && !t.get(ENDED, &key)?.exists() {
        let what = format!("message {id} has ended, and its large parts would never go");
        faults.push(Fault::missing(ENDED, &key, Vec::new(), what));
    }
    Ok(())
}

/// What is listed as ended has ended.
fn ended(walk: &mut Walk<'_>) -> Result<(), DbError> {
    walk.side_by_side(&[Lane(ENDED, b"")], |t, row, faults| {
        let Some(id) = keys::read_message(row.key).filter(|_| row.key.len() == 24) else {
            faults.extend(
                row.all()
                    .map(|seen| misplaced(seen, "a time's and a message's")),
            );
            return Ok(());
        };
        let seen = t.get(MESSAGES, &keys::message(id))?;
        // one that cannot be read is told above
        let Ok(record) = seen.json::<MessageRecord>() else {
            return Ok(());
        };
        let is = |r: &MessageRecord| r.state.is_final() && keys::ended(r.wanted_at, id) == row.key;
        if !record.as_ref().is_some_and(is) {
            let what =
                format!("message {id} is listed as ended then, and its record does not say so");
            faults.push(Fault::extra(ENDED, row.key, what));
        }
        Ok(())
    })
}

/// The messages that are listed for a sector carry it.
fn of_sectors(walk: &mut Walk<'_>) -> Result<(), DbError> {
    walk.side_by_side(&[Lane(SECTOR_MESSAGES, b"")], |t, row, faults| {
        let sector = row.key.get(..16).and_then(keys::read_sector);
        let message = keys::read_message(row.key).filter(|_| row.key.len() == 32);
        let (Some(sector), Some(message)) = (sector, message) else {
            faults.extend(
                row.all()
                    .map(|seen| misplaced(seen, "a sector's and a message's")),
            );
            return Ok(());
        };
        let seen = t.get(MESSAGES, &keys::message(message))?;
        // one that cannot be read is told above
        let Ok(record) = seen.json::<MessageRecord>() else {
            return Ok(());
        };
        if !record.is_some_and(|record| record.sectors.contains(&sector)) {
            let what =
                format!("message {message} is listed for sector {sector}, and does not carry it");
            faults.push(Fault::extra(SECTOR_MESSAGES, row.key, what));
        }
        Ok(())
    })
}

fn posts(walk: &mut Walk<'_>) -> Result<(), DbError> {
    let lanes = [Lane(POSTS, b""), Lane(POSTS_OPEN, b"")];
    walk.side_by_side(&lanes, |t, row, faults| {
        let is = row.get(1).is_some();
        let Some(seen) = row.get(0) else {
            let what = "a WindowPoSt is in this list, and has no record";
            faults.push(Fault::extra(POSTS_OPEN, row.key, what));
            return Ok(());
        };
        let Some(record) = decoded::<PostRecord>(seen, faults)? else {
            return Ok(());
        };
        let (miner, open) = (record.key.miner, record.key.open);
        let name =
            format!("the WindowPoSt of miner t0{miner} for the deadline that opens at {open}");
        if post_key(record.key) != row.key {
            faults.push(misplaced(seen, "its window's"));
            return Ok(());
        }
        if is != is_listed(&record) {
            faults.push(if is {
                let what = format!("{name} is in this list, and is final");
                Fault::extra(POSTS_OPEN, row.key, what)
            } else {
                let what = format!("{name} is not in this list, and is not final");
                Fault::missing(POSTS_OPEN, row.key, Vec::new(), what)
            });
        }
        let cure = "bring the message back from a backup; a window that is open is proven again by a restart if it has no other";
        let sent = Sent {
            name: &name,
            kind: MessageKind::WindowPost,
            cure,
        };
        match record.message {
            Some(message) => sent.look(t, message, POSTS, row.key, faults),
            None => Ok(()),
        }
    })
}

fn recoveries(walk: &mut Walk<'_>) -> Result<(), DbError> {
    walk.side_by_side(&[Lane(RECOVERIES, b"")], |t, row, faults| {
        let Some(seen) = row.get(0) else {
            return Ok(());
        };
        let Some(record) = decoded::<RecoveryRecord>(seen, faults)? else {
            return Ok(());
        };
        let (miner, open) = (record.miner, record.open);
        if keys::opening(miner, open) != row.key {
            faults.push(misplaced(seen, "its deadline's"));
            return Ok(());
        }
        let sent = Sent {
            name: &format!("what is recovered of miner t0{miner} for the deadline that opens at {open}"),
            kind: MessageKind::DeclareRecoveries,
            cure: "bring the message back from a backup; the next proving period declares the sectors again if it never was on chain",
        };
        for declared in &record.declared {
            sent.look(t, declared.message, RECOVERIES, row.key, faults)?;
        }
        Ok(())
    })
}

/// What a message is to carry.
struct Sent<'a> {
    name: &'a str,
    kind: MessageKind,
    cure: &'static str,
}

impl Sent<'_> {
    /// The message that carries it.
    fn look(
        &self,
        t: &mut Transaction<'_>,
        message: MessageId,
        table: Table,
        key: &[u8],
        faults: &mut Vec<Fault>,
    ) -> Result<(), DbError> {
        let seen = t.get(MESSAGES, &keys::message(message))?;
        let Ok(found) = seen.json::<MessageRecord>() else {
            return Ok(());
        };
        if found.is_none_or(|found| found.kind != self.kind) {
            let what = format!(
                "{} is in message {message}, of which there is no record",
                self.name
            );
            faults.push(Fault::new(table, key, what, self.cure));
        }
        Ok(())
    }
}
