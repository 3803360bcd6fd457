//! A deal's record, the lists in which it stands because of what the record says, and what becomes
//! of it with its sector.

use crate::{
    db::{
        keys,
        record::{SectorRecord, VERSION},
        relist::relist,
        schema::{DEALS, DEALS_PLACES, DEALS_RETURNING, DEALS_WAITING},
    },
    deal::{DealId, Terms},
    model::{UnixMs, unix_ms},
};
use damocles_api::sector::SectorPiece;
use damocles_flow::{
    deal::{DealEvent, DealFlow, DealState},
    table::Table as _,
};
use damocles_kv::{Record, StoreError, Table, Transaction};
use damocles_types::{Commitment, SectorId};
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
    /// The market assigned it, and gets it back if its sector is given up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assigned: bool,
    /// So often the market refused to have it back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals: u32,
    /// Why it is in no sector yet, or ended as it did.
    pub note: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &u32) -> bool {
    *n == 0
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
            assigned: false,
            refusals: 0,
            note: None,
        }
    }

    /// One that the market assigned to that sector.
    pub fn assigned(id: DealId, terms: Terms, payload: u64, sector: SectorId) -> Self {
        Self {
            state: DealState::InSector,
            sector: Some(sector),
            assigned: true,
            ..Self::new(id, terms, payload, None)
        }
    }

    /// The same on its way back to the market, and why.
    #[must_use]
    pub fn going_back(self, why: &str) -> Self {
        Self {
            state: DealState::Returning,
            sector: None,
            note: Some(why.to_owned()),
            ..self
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

/// Whether its data may still be asked for.
pub(in crate::db) fn is_open(state: DealState) -> bool {
    matches!(state, DealState::Waiting | DealState::InSector)
}

pub(in crate::db) fn seen_deal(
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
    if record.state == DealState::Returning {
        let key = keys::miner_deal(record.terms.provider, record.id);
        lists.insert((DEALS_RETURNING, key));
    }
    let open = is_open(record.state);
    let piece = Commitment::from_unsealed_cid(&record.terms.piece);
    if let (true, Some(_), Ok(piece)) = (open, &record.url, piece) {
        lists.insert((DEALS_PLACES, keys::piece_deal(piece, record.id)));
    }
    lists
}

pub(in crate::db) fn put_deal(
    t: &mut Transaction<'_>,
    seen: &Record,
    record: &DealRecord,
) -> Result<(), StoreError> {
    let before: Option<DealRecord> = seen.json()?;
    let was = before.as_ref().map(lists).unwrap_or_default();
    let is = lists(record);
    relist(t, &was, &is)?;
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
    for id in record.pieces.iter().flatten().filter_map(of_piece) {
        let (seen, deal) = seen_deal(t, id)?;
        let Some(mut deal) = deal.filter(|deal| deal.sector == Some(record.id)) else {
            continue;
        };
        let event = match (record.finalized, deal.assigned) {
            (true, _) => DealEvent::Finish,
            (false, true) => DealEvent::GiveBack,
            (false, false) => DealEvent::Release,
        };
        let Some(next) = DealFlow::next(deal.state, event) else {
            continue;
        };
        deal.state = next;
        if event != DealEvent::Finish {
            deal.sector = None;
            deal.note = Some(format!("sector {} was given up", record.id));
        }
        put_deal(t, &seen, &deal)?;
    }
    Ok(())
}
