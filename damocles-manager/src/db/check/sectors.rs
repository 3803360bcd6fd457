//! Sectors: their lists, their numbers, what carries them, their room and their replicas.

use super::{
    fault::{Fault, decoded, misplaced},
    walk::{Across, Lane, Walk},
};
use crate::{
    db::{
        DbError, keys,
        listed::lists,
        record::{Carriage, MessageRecord, SectorRecord},
        schema::{
            DONE, IN_WORK, LEFT_CHAIN, MESSAGES, NUMBERS, PROOFS, READY, REPLICAS, REQUESTS,
            RESERVATIONS, SECTORS,
        },
        stores::{Location, Replica, Reservation, replica_key},
    },
    model::Commitment,
};
use damocles_kv::{Record, Table, Transaction};
use damocles_types::{ActorId, SectorId, SectorNumber};
use std::{cell::RefCell, collections::BTreeMap};

/// What is kept by sector. The lists in the middle follow from the records.
const LANES: [Lane; 10] = [
    Lane(SECTORS, b""),
    Lane(REPLICAS, &[keys::REPLICA_KINDS[0]]),
    Lane(REPLICAS, &[keys::REPLICA_KINDS[1]]),
    Lane(RESERVATIONS, b""),
    Lane(PROOFS, b""),
    Lane(IN_WORK, b""),
    Lane(DONE, b""),
    Lane(LEFT_CHAIN, b""),
    Lane(READY, &keys::ready_kind(Commitment::PreCommit)),
    Lane(READY, &keys::ready_kind(Commitment::Proof)),
];
const FIRST_LIST: usize = 5;

pub(super) fn all(walk: &mut Walk<'_>) -> Result<(), DbError> {
    // read before the counters, which only rise
    let highest: RefCell<BTreeMap<ActorId, SectorNumber>> = RefCell::default();
    walk.side_by_side(&LANES, |t, row, faults| {
        let Some(id) = keys::read_sector(row.key).filter(|_| row.key.len() == 16) else {
            faults.extend(row.all().map(|seen| misplaced(seen, "a sector's")));
            return Ok(());
        };
        let seen = row.get(0);
        let record: Option<SectorRecord> = match seen {
            Some(seen) => decoded(seen, faults)?,
            None => None,
        };
        if seen.is_some() {
            let mut highest = highest.borrow_mut();
            let known = highest.entry(id.miner).or_default();
            *known = id.number.max(*known);
        }
        stored(id, row, record.as_ref(), faults)?;
        // what cannot be read may stand anywhere
        if seen.is_some() && record.is_none() {
            return Ok(());
        }
        if record.as_ref().is_some_and(|record| record.id != id) {
            faults.extend(seen.map(|seen| misplaced(seen, "its sector's")));
            return Ok(());
        }
        listed(id, row, record.as_ref(), faults);
        if let Some(record) = &record {
            for kind in Commitment::ALL {
                carried(t, record, kind, faults)?;
            }
            requested(t, record, faults)?;
        }
        Ok(())
    })?;
    counters(walk, &highest.into_inner())?;
    requests(walk)
}

/// The lists in which it stands, and those in which it has to.
fn listed(id: SectorId, row: &Across<'_>, record: Option<&SectorRecord>, faults: &mut Vec<Fault>) {
    let should = record.map(lists).unwrap_or_default();
    let entries = (FIRST_LIST..LANES.len()).filter_map(|lane| row.get(lane));
    let is: Vec<(Table, &[u8])> = entries.map(|e| (e.table(), e.key())).collect();
    for (table, key) in &should {
        if !is.contains(&(*table, key.as_slice())) {
            let what = format!("sector {id} is not in this list, and has to be");
            faults.push(Fault::missing(*table, key, Vec::new(), what));
        }
    }
    for (table, key) in is {
        if !should.contains(&(table, key.to_vec())) {
            let why = match record {
                Some(_) => "its record does not say so",
                None => "it has no record",
            };
            let what = format!("sector {id} is in this list, and {why}");
            faults.push(Fault::extra(table, key, what));
        }
    }
}

/// The bytes of its proof: those that the record names, and there as long as they can be wanted.
fn proven(id: SectorId, row: &Across<'_>, record: Option<&SectorRecord>, faults: &mut Vec<Fault>) {
    let bytes = row.get(4).and_then(Record::bytes);
    let Some(record) = record else {
        if bytes.is_some() && row.get(0).is_none() {
            let what = format!("a proof of sector {id} is kept, and it has no record");
            faults.push(Fault::extra(PROOFS, row.key, what));
        }
        return;
    };
    let waits = matches!(
        record.carriage(Commitment::Proof),
        Some(Carriage::Ready { .. })
    );
    let what = match (&record.proof, bytes) {
        (Some(proof), Some(bytes)) if !proof.is_of(bytes) => {
            "the proof that is kept is not the one of its record"
        }
        (None, Some(_)) => "a proof is kept, and its record has none",
        (Some(_), None) if waits && record.in_work() => {
            "its proof waits for a message, and is lost"
        }
        _ => return,
    };
    let what = format!("sector {id}: {what}");
    let cure = "its worker submits it again if it still has the sector: restart that worker; if not, bring it back from a backup";
    faults.push(Fault::new(PROOFS, row.key, what, cure));
}

/// Its room and its replicas.
fn stored(
    id: SectorId,
    row: &Across<'_>,
    record: Option<&SectorRecord>,
    faults: &mut Vec<Fault>,
) -> Result<(), DbError> {
    for (lane, replica) in [(1, Replica::Normal), (2, Replica::Upgrade)] {
        if let Some(seen) = row.get(lane)
            && let Some(location) = decoded::<Location>(seen, faults)?
            && seen.key() != replica_key(location.sector, location.replica)
        {
            faults.push(misplaced(seen, "its replica's"));
        }
        let lost = |record: &&SectorRecord| record.is_finished() && replica == Replica::Normal;
        if let Some(record) = record.filter(lost).filter(|_| row.get(lane).is_none()) {
            let key = replica_key(record.id, replica);
            let what = format!("sector {id} is finished, and no store is known to hold it");
            let cure = "write Meta = {\"damocles.attach\" = \"true\"} into the [[Common.PersistStores]] table of the store that does and restart, so that it is looked through";
            faults.push(Fault::new(REPLICAS, &key, what, cure));
        }
    }
    proven(id, row, record, faults);
    let Some(seen) = row.get(3) else {
        return Ok(());
    };
    let Some(reservation) = decoded::<Reservation>(seen, faults)? else {
        return Ok(());
    };
    if reservation.sector != id {
        faults.push(misplaced(seen, "its sector's"));
    } else if record.is_some_and(|record| !record.in_work()) || row.get(0).is_none() {
        let what = format!(
            "store {:?} keeps room for sector {id}, which is not in work",
            reservation.store
        );
        let cure = format!(
            "if a second check says so too: `damocles-manager util storage release-reserved {} {}`",
            id.miner, id.number
        );
        faults.push(Fault::new(RESERVATIONS, seen.key(), what, cure));
    }
    Ok(())
}

/// The message that it says to be in.
fn carried(
    t: &mut Transaction<'_>,
    record: &SectorRecord,
    kind: Commitment,
    faults: &mut Vec<Fault>,
) -> Result<(), DbError> {
    let Some(Carriage::In { message }) = record.carriage(kind) else {
        return Ok(());
    };
    let seen = t.get(MESSAGES, &keys::message(*message))?;
    // one that cannot be read is told among the messages
    let found: Option<MessageRecord> = match seen.json() {
        Ok(found) => found,
        Err(_) => return Ok(()),
    };
    let why = match found {
        None => "of which there is no record",
        Some(found) if found.kind.commitment() != Some(kind) => "which is one of another kind",
        Some(found) if !found.sectors.contains(&record.id) => "which does not carry it",
        Some(_) => return Ok(()),
    };
    let id = record.id;
    let what = format!("the {kind} of sector {id} is in message {message}, {why}");
    let cure = format!(
        "bring the message back from a backup; or look at `damocles-manager util sealer sectors state {} {}`: what is on chain goes on, and what is not is given up",
        id.miner, id.number
    );
    faults.push(Fault::new(SECTORS, &keys::sector(id), what, cure));
    Ok(())
}

/// The request that it was allocated for.
fn requested(
    t: &mut Transaction<'_>,
    record: &SectorRecord,
    faults: &mut Vec<Fault>,
) -> Result<(), DbError> {
    let Some(request) = record.request.as_ref().filter(|_| record.online) else {
        return Ok(());
    };
    let seen = t.get(REQUESTS, request.as_bytes())?;
    if !seen.exists() {
        let value = serde_json::to_vec(&record.id).unwrap_or_default();
        let what = format!(
            "the request of sector {} is not here, and would burn another number",
            record.id
        );
        faults.push(Fault::missing(REQUESTS, request.as_bytes(), value, what));
    }
    Ok(())
}

/// Requests name the sectors that were allocated for them.
fn requests(walk: &mut Walk<'_>) -> Result<(), DbError> {
    walk.side_by_side(&[Lane(REQUESTS, b"")], |t, row, faults| {
        let Some(seen) = row.get(0) else {
            return Ok(());
        };
        let Some(id) = decoded::<SectorId>(seen, faults)? else {
            return Ok(());
        };
        let sector = t.get(SECTORS, &keys::sector(id))?;
        let Ok(record) = sector.json::<SectorRecord>() else {
            return Ok(());
        };
        let its = |record: &SectorRecord| {
            let request = record.request.as_ref().map(String::as_bytes);
            record.online && request == Some(row.key)
        };
        if !record.as_ref().is_some_and(its) {
            let what = format!("sector {id} is not in work for this request");
            faults.push(Fault::extra(REQUESTS, row.key, what));
        }
        Ok(())
    })
}

/// No sector has a number above its miner's counter.
fn counters(walk: &mut Walk<'_>, highest: &BTreeMap<ActorId, SectorNumber>) -> Result<(), DbError> {
    let too_low = |miner: ActorId, counted: Option<SectorNumber>| -> Option<Fault> {
        let number = highest
            .get(&miner)
            .filter(|n| counted.is_none_or(|c| c < **n))?;
        let counted = counted.map_or("there is no counter".to_owned(), |counted| {
            format!("its counter says {counted}")
        });
        let what = format!("number {number} of miner t0{miner} was handed out, and {counted}");
        let value = number.to_string().into_bytes();
        Some(Fault::missing(NUMBERS, &keys::miner(miner), value, what))
    };
    let seen_miners: RefCell<Vec<ActorId>> = RefCell::default();
    walk.side_by_side(&[Lane(NUMBERS, b"")], |_, row, faults| {
        let Some(seen) = row.get(0) else {
            return Ok(());
        };
        let Some(miner) = row.key.try_into().ok().map(u64::from_be_bytes) else {
            faults.push(misplaced(seen, "a miner's"));
            return Ok(());
        };
        seen_miners.borrow_mut().push(miner);
        if let Some(counted) = decoded::<SectorNumber>(seen, faults)? {
            faults.extend(too_low(miner, Some(counted)));
        }
        Ok(())
    })?;
    let seen_miners = seen_miners.into_inner();
    let without = highest.keys().filter(|miner| !seen_miners.contains(miner));
    let without: Vec<Fault> = without.filter_map(|miner| too_low(*miner, None)).collect();
    walk.tell(without)
}
