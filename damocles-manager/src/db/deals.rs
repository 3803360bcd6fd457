//! Deals: put into the queue once, in one sector at most, free again when that is given up.

use crate::{
    db::{
        Db, DbError, keys,
        listed::{put, seen_sector},
        pages::Wanted,
        record::{SectorRecord, VERSION},
        schema::{DEALS, DEALS_PLACES, DEALS_WAITING},
    },
    deal::{DealId, Terms},
    model::{UnixMs, unix_ms},
};
use damocles_api::{lists::Page, sector::SectorPiece};
use damocles_flow::{
    deal::{DealEvent, DealFlow, DealState},
    table::Table as _,
};
use damocles_kv::{Durability, Record, Span, StoreError, Table, Transaction};
use damocles_types::{ActorId, Commitment, SectorId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A deal as it was put into the queue, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DealRecord {
    pub v: u32,
    pub id: DealId,
    pub terms: Terms,
    /// Bytes of the client's data; the piece is filled up with zeros.
    pub payload: u64,
    /// Where its bytes are to be had; None: in the piece stores, under its CID.
    pub url: Option<String>,
    pub added_at: UnixMs,
    pub state: DealState,
    /// The sector that has it.
    pub sector: Option<SectorId>,
    /// The chain did not have it as it was agreed when a sector was to get it.
    #[serde(default)]
    pub passed_over: bool,
    /// Why it is in no sector yet, or ended as it did.
    pub note: Option<String>,
}

impl DealRecord {
    /// A deal that waits.
    pub fn new(id: DealId, terms: Terms, payload: u64, url: Option<String>) -> Self {
        Self {
            v: VERSION,
            id,
            terms,
            payload,
            url,
            added_at: unix_ms(),
            state: DealState::Waiting,
            sector: None,
            passed_over: false,
            note: None,
        }
    }
}

/// The deal that a piece of a sector belongs to; None: it is a filler, or no deal of ours.
pub fn of_piece(piece: &SectorPiece) -> Option<DealId> {
    let info = piece.deal_info.as_ref()?;
    match (info.allocation_id, info.deal_id) {
        (0, 0) => None,
        (0, deal) => Some(DealId::Market(deal)),
        (allocation, _) => Some(DealId::Allocation(allocation)),
    }
}

fn seen_deal(
    t: &mut Transaction<'_>,
    id: DealId,
) -> Result<(Record, Option<DealRecord>), StoreError> {
    let seen = t.get(DEALS, &keys::deal(id))?;
    let record = seen.json()?;
    Ok((seen, record))
}

/// The lists, and the keys in them, in which a deal stands. Pure.
pub(in crate::db) fn lists(record: &DealRecord) -> BTreeSet<(Table, Vec<u8>)> {
    let mut lists = BTreeSet::new();
    if record.state == DealState::Waiting {
        let key = keys::miner_deal(record.terms.provider, record.id);
        lists.insert((DEALS_WAITING, key));
    }
    let open = !DealFlow::edges(record.state).is_empty();
    let piece = Commitment::from_unsealed_cid(&record.terms.piece);
    if let (true, Some(_), Ok(piece)) = (open, &record.url, piece) {
        lists.insert((DEALS_PLACES, keys::piece_deal(piece, record.id)));
    }
    lists
}

fn put_deal(t: &mut Transaction<'_>, seen: &Record, record: &DealRecord) -> Result<(), StoreError> {
    let before: Option<DealRecord> = seen.json()?;
    let was = before.as_ref().map(lists).unwrap_or_default();
    let is = lists(record);
    for (table, key) in was.difference(&is) {
        t.erase(*table, key.clone())?;
    }
    for (table, key) in is.difference(&was) {
        t.overwrite(*table, key.clone(), [])?;
    }
    t.put_json(seen, record)
}

/// What becomes of the deals of a sector whose work ended, or began again.
pub(in crate::db) fn follow(
    t: &mut Transaction<'_>,
    before: Option<&SectorRecord>,
    record: &SectorRecord,
) -> Result<(), StoreError> {
    let ends = before.is_some_and(SectorRecord::in_work) && !record.in_work();
    if !ends {
        return Ok(());
    }
    let event = match record.finalized {
        true => DealEvent::Finish,
        false => DealEvent::Release,
    };
    for id in record.pieces.iter().flatten().filter_map(of_piece) {
        let (seen, deal) = seen_deal(t, id)?;
        let Some(mut deal) = deal.filter(|deal| deal.sector == Some(record.id)) else {
            continue;
        };
        let Some(next) = DealFlow::next(deal.state, event) else {
            continue;
        };
        deal.state = next;
        if event == DealEvent::Release {
            deal.sector = None;
            deal.note = Some(format!("sector {} was given up", record.id));
        }
        put_deal(t, &seen, &deal)?;
    }
    Ok(())
}

impl Db {
    /// Puts a deal into the queue. One that is there already comes back as it is, unless a person
    /// had taken it back, or it was passed over.
    pub fn add_deal(&self, record: &DealRecord) -> Result<DealRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, known) = seen_deal(t, record.id)?;
            match known {
                Some(known) if known.state != DealState::Cancelled && !known.passed_over => {
                    Ok(known)
                }
                _ => {
                    put_deal(t, &seen, record)?;
                    Ok(record.clone())
                }
            }
        })
    }

    pub fn deal(&self, id: DealId) -> Result<Option<DealRecord>, DbError> {
        self.read(|t| Ok(seen_deal(t, id)?.1))
    }

    /// These deals, as far as they are in the queue, in their order.
    pub fn deals(&self, ids: &[DealId]) -> Result<Vec<DealRecord>, DbError> {
        self.read(|t| {
            let names: Vec<_> = ids.iter().map(|id| keys::deal(*id)).collect();
            let mut found = Vec::with_capacity(names.len());
            for seen in t.get_all(DEALS, &names)? {
                found.extend(seen.json::<DealRecord>()?);
            }
            Ok(found)
        })
    }

    /// A page of the deals, by kind and number.
    pub fn deals_page(
        &self,
        want: &Wanted,
        keep: impl Fn(&DealRecord) -> bool,
    ) -> Result<Page<DealRecord>, DbError> {
        self.page(
            DEALS,
            Span::all(),
            want,
            super::pages::nothing_else,
            |_, seen| Ok(seen.json::<DealRecord>()?.filter(&keep)),
        )
    }

    /// Where the data of a piece is to be had, as a deal says that is not over: a URL, or a file on
    /// the manager's host.
    pub fn piece_place(&self, piece: Commitment) -> Result<Option<String>, DbError> {
        self.read(|t| {
            let named = t.scan(DEALS_PLACES, &Span::prefix(piece.0), 1)?;
            let id = named.first().and_then(|entry| keys::read_deal(entry.key()));
            match id {
                Some(id) => Ok(seen_deal(t, id)?.1.and_then(|deal| deal.url)),
                None => Ok(None),
            }
        })
    }

    /// The first `limit` deals of a miner that wait, by kind and number.
    pub fn waiting_deals(
        &self,
        provider: ActorId,
        limit: usize,
    ) -> Result<Vec<DealRecord>, DbError> {
        self.read(|t| {
            let waiting = t.scan(DEALS_WAITING, &Span::prefix(keys::miner(provider)), limit)?;
            let ids = waiting
                .iter()
                .filter_map(|entry| keys::read_deal(entry.key()));
            let names: Vec<_> = ids.map(keys::deal).collect();
            let mut found = Vec::with_capacity(names.len());
            for seen in t.get_all(DEALS, &names)? {
                let deal = seen.json::<DealRecord>()?;
                found.extend(deal.filter(|deal| !deal.passed_over));
            }
            Ok(found)
        })
    }

    /// Gives a sector its pieces, and takes their deals for it. A sector that has pieces keeps
    /// those; they come back.
    ///
    /// # Errors
    /// [`DbError::DealTaken`] when one of the deals does not wait any more, and nothing is changed;
    /// [`DbError::NoSector`] and those of an owner, as for every change of a sector.
    pub fn take_deals(
        &self,
        sector: SectorId,
        pieces: &[SectorPiece],
    ) -> Result<Vec<SectorPiece>, DbError> {
        self.write(Durability::Synced, |t| {
            self.guard(t, sector)?;
            let (seen, before) = seen_sector(t, sector)?;
            let before = before.ok_or(DbError::Unknown(sector))?;
            if !before.online {
                return Err(DbError::NoSector(sector));
            }
            if let Some(known) = &before.pieces {
                return Ok(known.clone());
            }
            for id in pieces.iter().filter_map(of_piece) {
                let (seen, deal) = seen_deal(t, id)?;
                let taken = deal.and_then(|mut deal| {
                    deal.state = DealFlow::next(deal.state, DealEvent::Take)?;
                    deal.sector = Some(sector);
                    deal.note = None;
                    Some(deal)
                });
                match taken {
                    Some(deal) => put_deal(t, &seen, &deal)?,
                    // what was put before it in this transaction is not written
                    None => return Err(DbError::DealTaken(id)),
                }
            }
            let mut record = before.clone();
            record.pieces = Some(pieces.to_vec());
            put(t, &seen, Some(&before), &record)?;
            Ok(pieces.to_vec())
        })
    }

    /// Takes a deal a step further, with what is to be said of it.
    ///
    /// # Errors
    /// [`DbError::NoDeal`]; [`DbError::NoDealStep`] when the table has no such step.
    pub fn step_deal(
        &self,
        id: DealId,
        event: DealEvent,
        note: Option<&str>,
    ) -> Result<DealRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, deal) = seen_deal(t, id)?;
            let mut deal = deal.ok_or(DbError::NoDeal(id))?;
            let state = deal.state;
            deal.state =
                DealFlow::next(state, event).ok_or(DbError::NoDealStep { id, state, event })?;
            deal.note = note.map(ToOwned::to_owned);
            put_deal(t, &seen, &deal)?;
            Ok(deal)
        })
    }

    /// A deal that the chain does not have as it was agreed is not taken into a sector until a person
    /// adds it again.
    pub fn pass_over(&self, id: DealId, why: &str) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            let (seen, deal) = seen_deal(t, id)?;
            if let Some(mut deal) = deal.filter(|deal| deal.state == DealState::Waiting) {
                (deal.passed_over, deal.note) = (true, Some(why.to_owned()));
                put_deal(t, &seen, &deal)?;
            }
            Ok(())
        })
    }

    /// Says why a deal waits, or of one in a sector what is not done for it.
    pub fn note_deal(&self, id: DealId, note: Option<&str>) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            let (seen, deal) = seen_deal(t, id)?;
            if let Some(mut deal) = deal
                && !DealFlow::edges(deal.state).is_empty()
                && deal.note.as_deref() != note
            {
                deal.note = note.map(ToOwned::to_owned);
                put_deal(t, &seen, &deal)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
#[path = "deals_tests.rs"]
mod tests;
