//! A sector gets deals: those that wait and go together, looked at on chain before they are taken.

use crate::{
    db::{DbError, deal::DealRecord, record::SectorRecord},
    deal::{Activation, DealId, Lifetime},
    deals::{
        DealError, Deals,
        onchain::Standing,
        pack::{Candidate, Room, Slot, arrange, choose},
    },
    messages::CHAIN_FINALITY,
    policy::SectorPolicy,
};
use cid::Cid;
use damocles_api::sector::{AcquireDealsSpec, DealInfo, Piece, SectorPiece};
use damocles_flow::deal::DealEvent;
use damocles_node::TipSet;
use damocles_processor::verify;
use damocles_types::{Epoch, PaddedSize};
use fil_actors_shared::v18::runtime::policy_constants::MAX_SECTOR_EXPIRATION_EXTENSION;
use fvm_shared::address::Address;
use serde_json::{Map, Value, json};

/// Deals that are looked at for one sector: more than go in.
const MOST_SEEN: usize = 2000;
/// Deals of one sector where neither worker nor chain say less (the miner actor's
/// `sector_deals_max` of 64 GiB).
const MOST_DEALS: usize = 512;
/// So often they are chosen anew, because one was taken or is over.
const MOST_TRIES: usize = 20;
impl Deals {
    /// Pieces for a sector, taken from the queue; those that it has, if it has any. None of them:
    /// nothing in the queue is for it.
    ///
    /// # Errors
    /// A node that does not answer, a failing database; [`DealError::Busy`].
    pub async fn acquire(
        &self,
        record: &SectorRecord,
        policy: &SectorPolicy,
        spec: AcquireDealsSpec,
    ) -> Result<Vec<SectorPiece>, DealError> {
        if let Some(pieces) = &record.pieces {
            return Ok(pieces.clone());
        }
        let (sector, size) = (record.id, record.proof_type.size.bytes());
        let most = spec.max_deals.and_then(|n| usize::try_from(n).ok());
        for _ in 0..MOST_TRIES {
            let head = self.chain.head().await?;
            let room = Room {
                sector: size,
                most_deals: most.unwrap_or(MOST_DEALS).min(MOST_DEALS),
                least_used: spec.min_used_space.unwrap_or(0),
                ready: head.height + policy.sealing_epochs,
                longest: head.height + MAX_SECTOR_EXPIRATION_EXTENSION,
            };
            let miner = sector.miner;
            let waiting = self.db.call(move |db| db.waiting_deals(miner, MOST_SEEN));
            let waiting = self.in_time(waiting.await?, head.height).await?;
            let activation = self.activation(head.height).await?;
            let free = waiting.iter().filter(|deal| !deal.passed_over);
            let candidates: Vec<_> = free.map(|d| candidate(d, activation)).collect();
            let chosen = choose(&candidates, room);
            if chosen.is_empty() {
                return self.assigned(record, room, spec.max_deals).await;
            }
            let chosen: Vec<&DealRecord> =
                waiting.iter().filter(|d| chosen.contains(&d.id)).collect();
            if !self.still_open(&chosen, &head).await? {
                continue;
            }
            let pieces = pieces(&chosen, size);
            match self.db.call(move |db| db.take_deals(sector, &pieces)).await {
                Ok(pieces) => {
                    tracing::info!(%sector, deals = chosen.len(), "deals are in a sector");
                    return Ok(pieces);
                }
                // another sector was quicker
                Err(DbError::DealTaken(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DealError::Busy)
    }

    /// Between which epochs a sector is activated that begins now.
    ///
    /// # Errors
    /// A node that does not answer.
    pub async fn activation(&self, head: Epoch) -> Result<Activation, DealError> {
        let first = head + self.facts.challenge_delay().await?;
        Ok(Activation {
            first,
            last: first + PROVE_COMMIT,
        })
    }

    /// Those that can still be on chain in time; the others are over when that is final.
    async fn in_time(
        &self,
        waiting: Vec<DealRecord>,
        head: Epoch,
    ) -> Result<Vec<DealRecord>, DealError> {
        let (open, late): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|deal| deal.terms.start_by > head);
        for deal in late {
            let (id, by) = (deal.id, deal.terms.start_by);
            let why = format!("it had to be on chain before epoch {by}");
            if by + CHAIN_FINALITY < head {
                tracing::warn!(deal = %id, why, "a deal was not sealed in time");
                let step =
                    move |db: &crate::db::Db| db.step_deal(id, DealEvent::Expire, Some(&why));
                self.db.call(step).await?;
            } else if deal.note.as_ref() != Some(&why) {
                self.db.call(move |db| db.note_deal(id, &why)).await?;
            }
        }
        Ok(open)
    }

    /// Whether the chain has them all as they were when they were added. One that it has not is
    /// noted, and not taken again before its time is over.
    async fn still_open(&self, chosen: &[&DealRecord], head: &TipSet) -> Result<bool, DealError> {
        let mut open = true;
        for deal in chosen {
            let client = Address::new_id(deal.terms.client);
            let standing = self.settled(deal.id, client, head).await?;
            let why = match standing {
                Standing::Open(terms) if terms == deal.terms => continue,
                Standing::Open(_) => "the chain has it with other terms now".to_owned(),
                Standing::Closed(why) => why,
            };
            tracing::warn!(deal = %deal.id, why, "a deal is left out");
            let id = deal.id;
            // it waits, passed over, until its time is over
            self.db.call(move |db| db.pass_over(id, &why)).await?;
            open = false;
        }
        Ok(open)
    }

    /// When a sector with these pieces may expire that is activated within that time.
    ///
    /// # Errors
    /// A failing database.
    pub async fn lifetime(
        &self,
        record: &SectorRecord,
        activation: Activation,
    ) -> Result<Lifetime, DealError> {
        let mut lifetime = Lifetime::ANY;
        for deal in self.of_sector(record).await? {
            let theirs = deal.terms.lifetime(activation);
            // they agreed when they were packed; at worst the first ones count
            lifetime = lifetime.and(theirs).unwrap_or(lifetime);
        }
        Ok(lifetime)
    }

    /// The deals of a sector's pieces that are in the queue, in the order of the pieces.
    pub(super) async fn of_sector(
        &self,
        record: &SectorRecord,
    ) -> Result<Vec<DealRecord>, DealError> {
        let pieces = record.pieces.iter().flatten();
        let ids: Vec<DealId> = pieces.filter_map(crate::db::deal::of_piece).collect();
        Ok(self.db.call(move |db| db.deals(&ids)).await?)
    }
}

/// Epochs that a precommit waits for its proof, besides the challenge delay (the miner actor's
/// `max_prove_commit_duration`, interactive proof types).
pub const PROVE_COMMIT: Epoch = 30 * 2880;

fn candidate(deal: &DealRecord, activation: Activation) -> Candidate {
    Candidate {
        id: deal.id,
        size: deal.terms.size,
        start_by: deal.terms.start_by,
        lifetime: deal.terms.lifetime(activation),
    }
}

/// The pieces of a sector as a worker is told them.
fn pieces(chosen: &[&DealRecord], sector: u64) -> Vec<SectorPiece> {
    let deals = chosen.iter().map(|deal| (*deal, deal.terms.size)).collect();
    let (mut at, mut out) = (0, Vec::new());
    for slot in arrange(deals, sector) {
        let piece = match slot {
            Slot::Deal(deal) => of_deal(deal, at),
            Slot::Filler(size) => filler(size, at),
        };
        at += piece.piece.size;
        out.push(piece);
    }
    out
}

pub(super) fn of_deal(deal: &DealRecord, offset: u64) -> SectorPiece {
    let terms = &deal.terms;
    let (allocation_id, deal_id) = match deal.id {
        DealId::Allocation(number) => (number, 0),
        DealId::Market(number) => (0, number),
    };
    let end = match terms.length {
        crate::deal::Length::Until(end) => end,
        crate::deal::Length::Term { min, .. } => terms.start_by.saturating_add(min),
    };
    let info = DealInfo {
        deal_id,
        allocation_id,
        payload_size: deal.payload,
        is_builtin_market: deal_id != 0,
        rest: rest(
            terms.piece,
            terms.size,
            offset,
            [terms.client, terms.provider],
            [terms.start_by, end],
        ),
    };
    piece(terms.piece, terms.size, info)
}

/// Zeros; upstream's workers want to hear of no deal rather than nothing.
pub(super) fn filler(size: u64, offset: u64) -> SectorPiece {
    let cid = verify::zero_commitment(PaddedSize(size)).unsealed_cid();
    let info = DealInfo {
        deal_id: 0,
        allocation_id: 0,
        payload_size: PaddedSize(size).unpadded().0,
        is_builtin_market: false,
        rest: rest(cid, size, offset, [0, 0], [0, 0]),
    };
    piece(cid, size, info)
}

fn piece(cid: Cid, size: u64, info: DealInfo) -> SectorPiece {
    SectorPiece {
        piece: Piece {
            size,
            cid: cid.into(),
        },
        deal_info: Some(info),
    }
}

/// The other fields of upstream's `DealInfoV2`.
fn rest(
    cid: Cid,
    size: u64,
    offset: u64,
    [client, provider]: [u64; 2],
    [start, end]: [Epoch; 2],
) -> Map<String, Value> {
    let address = |id| Address::new_id(id).to_string();
    let fields = json!({
        "PublishCid": null, "PieceCID": {"/": cid.to_string()}, "PieceSize": size,
        "Client": address(client), "Provider": address(provider), "Offset": offset,
        "Length": size, "StartEpoch": start, "EndEpoch": end, "IsCompatible": false,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
