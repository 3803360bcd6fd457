//! Deals: put into the queue once, in one sector at most, free again when that is given up.

use crate::{
    db::{
        Db, DbError,
        deal::{DealRecord, is_open, of_piece, put_deal, seen_deal},
        keys,
        listed::{put, seen_sector},
        pages::{self, Wanted},
        schema::{DEALS, DEALS_PLACES, DEALS_RETURNING, DEALS_WAITING},
    },
    deal::DealId,
};
use damocles_api::{lists::Page, sector::SectorPiece};
use damocles_flow::{
    deal::{DealEvent, DealFlow, DealState},
    table::Table as _,
};
use damocles_kv::{Durability, Span};
use damocles_types::{ActorId, Commitment, SectorId};

/// Windows of the queue that are looked at for one that has deals to take.
const MOST_WINDOWS: usize = 20;

impl Db {
    /// Puts a deal into the queue. One that waits or is in a sector comes back as it is. One that was
    /// passed over, or is done with, is new: the caller has seen that the chain has it open, so
    /// nobody has claimed it.
    pub fn add_deal(&self, record: &DealRecord) -> Result<DealRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, known) = seen_deal(t, record.id)?;
            match known {
                Some(known) if is_open(known.state) && !known.passed_over => Ok(known),
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
        self.page(DEALS, Span::all(), want, pages::nothing_else, |_, seen| {
            Ok(seen.json::<DealRecord>()?.filter(&keep))
        })
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

    /// Deals of a miner that wait, by kind and number, until `limit` of them may be taken: those
    /// that were passed over are among them, for their time is over some day, too.
    pub fn waiting_deals(
        &self,
        provider: ActorId,
        limit: usize,
    ) -> Result<Vec<DealRecord>, DbError> {
        self.read(|t| {
            let mut span = Span::prefix(keys::miner(provider));
            let mut found = Vec::new();
            for _ in 0..MOST_WINDOWS {
                let waiting = t.scan(DEALS_WAITING, &span, limit)?;
                let ids = waiting
                    .iter()
                    .filter_map(|entry| keys::read_deal(entry.key()));
                let names: Vec<_> = ids.map(keys::deal).collect();
                for seen in t.get_all(DEALS, &names)? {
                    found.extend(seen.json::<DealRecord>()?);
                }
                let free = found.iter().filter(|deal| !deal.passed_over).count();
                match waiting.last() {
                    Some(last) if free < limit && waiting.len() == limit => {
                        span = Span::prefix(keys::miner(provider)).after(last.key().to_vec());
                    }
                    _ => break,
                }
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

    /// Gives a sector the pieces that a market assigned to it, with their deals: those that are in it, and
    /// those that go back. No pieces: nothing of it is for the sector. One that has pieces by now keeps
    /// those, and one that is over or another worker's gets none: all of the market's go back then.
    ///
    /// A deal that the queue or another sector has is left alone: it is told beside the sector's pieces,
    /// and the others that were to be in the sector with it go back.
    pub fn take_assigned(
        &self,
        sector: SectorId,
        pieces: &[SectorPiece],
        deals: &[DealRecord],
    ) -> Result<(Vec<SectorPiece>, Vec<DealId>), DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, before) = seen_sector(t, sector)?;
            let before = before.ok_or(DbError::Unknown(sector))?;
            let stranger = match self.guard(t, sector) {
                Err(error @ DbError::NotOwner { .. }) => Some(error.to_string()),
                admitted => admitted.map(|()| None)?,
            };
            let (mut free, mut twice) = (Vec::new(), Vec::new());
            for deal in deals {
                let (seen, known) = seen_deal(t, deal.id)?;
                match known.is_some_and(|known| is_open(known.state)) {
                    true => twice.push(deal.id),
                    false => free.push((seen, deal)),
                }
            }
            let why = match stranger.as_deref() {
                Some(why) => Some(why),
                None if !before.online => Some("its sector was given up meanwhile"),
                None if before.pieces.is_some() => Some("its sector has other pieces"),
                None if !twice.is_empty() => Some("a deal beside it was in this manager already"),
                None => None,
            };
            for (seen, deal) in free {
                match (why, deal.state) {
                    (Some(why), DealState::InSector) => {
                        put_deal(t, &seen, &deal.clone().going_back(why))?;
                    }
                    _ => put_deal(t, &seen, deal)?,
                }
            }
            if why.is_some() || pieces.is_empty() {
                return Ok((before.pieces.unwrap_or_default(), twice));
            }
            let mut record = before.clone();
            record.pieces = Some(pieces.to_vec());
            put(t, &seen, Some(&before), &record)?;
            Ok((pieces.to_vec(), twice))
        })
    }

    /// Notes what the market said of a deal that it is to have back: it has it, or refused. At the
    /// last refusal it is not told again. One that is not on its way back is left as it is.
    pub fn give_back(
        &self,
        id: DealId,
        refused: Option<&str>,
        most_refusals: u32,
    ) -> Result<DealRecord, DbError> {
        self.write(Durability::Synced, |t| {
            let (seen, deal) = seen_deal(t, id)?;
            let mut deal = deal.ok_or(DbError::NoDeal(id))?;
            let Some(next) = DealFlow::next(deal.state, DealEvent::GivenBack) else {
                return Ok(deal);
            };
            if let Some(why) = refused {
                deal.refusals += 1;
                deal.note = Some(why.to_owned());
            }
            if refused.is_none() || deal.refusals >= most_refusals {
                deal.state = next;
            }
            put_deal(t, &seen, &deal)?;
            Ok(deal)
        })
    }

    /// Deals that the market is to have back, by miner.
    pub fn returning_deals(&self, limit: usize) -> Result<Vec<DealRecord>, DbError> {
        self.read(|t| {
            let listed = t.scan(DEALS_RETURNING, &Span::all(), limit)?;
            let ids = listed.iter().filter_map(|e| keys::read_deal(e.key()));
            let names: Vec<_> = ids.map(keys::deal).collect();
            let mut found = Vec::with_capacity(names.len());
            for seen in t.get_all(DEALS, &names)? {
                found.extend(seen.json::<DealRecord>()?);
            }
            Ok(found)
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
    pub fn note_deal(&self, id: DealId, note: &str) -> Result<(), DbError> {
        self.write(Durability::Buffered, |t| {
            let (seen, deal) = seen_deal(t, id)?;
            if let Some(mut deal) = deal
                && is_open(deal.state)
                && deal.note.as_deref() != Some(note)
            {
                deal.note = Some(note.to_owned());
                put_deal(t, &seen, &deal)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
#[path = "deals_tests.rs"]
mod tests;
