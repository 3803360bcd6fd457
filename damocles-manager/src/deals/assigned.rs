//! Deals that a market assigns to a sector, beside the manager's own queue. What it says is looked at
//! as the queue's deals are: on chain, before a sector gets them. From then on they are deals as all
//! others, until their sector is given up: then the market has them back, however long it is away.
//!
//! ```text
//! AssignDeals ──► fits (pure), the chain ──► db: InSector ──sector given up──► Returning ─┐
//!                      └── no ──► db: Returning ──────────────────────────────────────────┤
//!                                        ReleaseDeals, ReleaseDirectDeals ◄── give_back ──┘
//! ```
//! The market assigns others when it is asked again, so what it assigned is stored before anything
//! else. An answer that is lost is known to nobody but the market (see `docs/deals.md`): its sector is
//! sealed without data.

use crate::{
    db::{Db, DbError, deal::DealRecord, record::SectorRecord},
    deal::{Activation, DealId, Lifetime, Terms},
    deals::{
        DealError, Deals,
        acquire::{filler, of_deal},
        onchain::Standing,
        pack::Room,
    },
    venus::{Assigned, DealSpec, Market, VenusError},
};
use damocles_api::sector::SectorPiece;
use damocles_flow::deal::DealState;
use damocles_kv::Durability;
use damocles_node::TipSet;
use damocles_processor::verify;
use damocles_types::{ActorId, Epoch, PaddedSize, SectorId};
use fvm_shared::address::Address;
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// Between two looks for deals that the market is to have back, and the pause when it is away.
const LOOK: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_secs(60);
/// A market refuses what it has free already (an answer of it was lost), and what it cannot do now; it
/// does not say which. So often it is told.
const MOST_REFUSALS: u32 = 10;
/// Deals that are given back in one pass.
const AT_ONCE: usize = 500;

/// What becomes of what was assigned to a sector.
#[derive(Debug)]
struct Fitting {
    /// All of it as a worker is told it; none: nothing goes into the sector.
    pieces: Vec<SectorPiece>,
    /// Those in the sector, and those that go back.
    deals: Vec<DealRecord>,
    /// Those that this manager has already; nothing is done about them.
    twice: Vec<DealId>,
}

impl Fitting {
    /// All of it goes back.
    fn none(told: &[Assigned], sector: SectorId, why: &str) -> Self {
        let deal = |piece: &Assigned| Some(as_told(id(piece)?, piece, sector).going_back(why));
        let all = told.iter().filter_map(deal).map(|deal| (deal.id, deal));
        Self {
            pieces: Vec::new(),
            deals: all.collect::<BTreeMap<_, _>>().into_values().collect(),
            twice: Vec::new(),
        }
    }
}

/// By what the chain knows it; None: zeros.
fn id(piece: &Assigned) -> Option<DealId> {
    match (piece.allocation_id, piece.deal_id) {
        (0, 0) => None,
        (0, deal) => Some(DealId::Market(deal)),
        (allocation, _) => Some(DealId::Allocation(allocation)),
    }
}

/// Why the pieces do not fill a sector of that size as a sector is filled. Pure.
///
/// Where zeros lie the market does not say (droplet leaves their offset at 0): they follow what is
/// before them.
fn misfit(pieces: &[Assigned], sector: u64) -> Option<String> {
    let mut at = 0_u64;
    for piece in pieces {
        let size = piece.piece_size;
        let offset = id(piece).map_or(at, |_| piece.offset);
        if !size.is_power_of_two() || !(128..=sector).contains(&size) {
            return Some(format!("a piece has {size} padded bytes"));
        }
        if offset != at || !offset.is_multiple_of(size) {
            return Some(format!(
                "a piece of {size} bytes lies at {offset}, and {at} bytes before it are filled"
            ));
        }
        at = at.saturating_add(size);
        let zeros = || verify::zero_commitment(PaddedSize(size)).unsealed_cid();
        if id(piece).is_none() && piece.piece_cid != zeros() {
            let cid = piece.piece_cid;
            return Some(format!("piece {cid} has no deal and is not zeros"));
        }
        let most = PaddedSize(size).unpadded().0;
        if piece.payload_size > most {
            let payload = piece.payload_size;
            return Some(format!(
                "{payload} bytes of a client are in {size} padded bytes"
            ));
        }
    }
    (at != sector).then(|| format!("its pieces fill {at} of {sector} bytes"))
}

/// What the market says of a deal, until the chain is asked: enough to give it back.
fn as_told(id: DealId, piece: &Assigned, sector: SectorId) -> DealRecord {
    let actor = |address: Option<Address>| address.and_then(|a| a.id().ok()).unwrap_or(0);
    let terms = Terms {
        provider: sector.miner,
        client: actor(piece.client),
        piece: piece.piece_cid,
        size: piece.piece_size,
        start_by: 0,
        length: crate::deal::Length::Until(0),
    };
    DealRecord::assigned(id, terms, piece.payload_size, sector)
}

/// How long the sector may live with a deal of these terms beside those that are in it; or why the deal
/// does not go into it. Pure.
fn joined(
    terms: &Terms,
    lifetime: Lifetime,
    room: Room,
    activation: Activation,
) -> Result<Lifetime, String> {
    if terms.start_by < room.ready {
        let by = terms.start_by;
        return Err(format!("it had to be on chain before epoch {by}"));
    }
    let both = lifetime.and(terms.lifetime(activation));
    both.ok_or_else(|| "it wants another life of the sector than those before it".to_owned())
}

fn names<'a>(deals: impl IntoIterator<Item = &'a DealRecord>) -> String {
    let names: Vec<String> = deals.into_iter().map(|deal| deal.id.to_string()).collect();
    names.join(", ")
}

impl Deals {
    /// Pieces that the market assigns to a sector that has none. None of them: it has nothing for it,
    /// or nothing that goes into it.
    ///
    /// # Errors
    /// A market or a node that does not answer; a failing database.
    pub(super) async fn assigned(
        &self,
        record: &SectorRecord,
        room: Room,
        most: Option<u64>,
    ) -> Result<Vec<SectorPiece>, DealError> {
        let Some(market) = &self.market else {
            return Ok(Vec::new());
        };
        let sector = record.id;
        // one at a time: a worker that asks again while the first answer is on its way would have two
        let turn = self.turn.clone().lock_owned().await;
        let now = self.db.call(move |db| db.sector(sector)).await?;
        if let Some(pieces) = now.and_then(|record| record.pieces) {
            return Ok(pieces);
        }
        let spec = DealSpec {
            max_piece: most.unwrap_or(0),
            min_used_space: room.least_used,
            start_epoch: room.ready,
            end_epoch: Epoch::MAX,
            ..DealSpec::default()
        };
        // The worker may have gone when the market answers: what it assigned is stored all the same,
        // and found when the worker asks again.
        let (this, market) = (self.clone(), market.clone());
        let asked = tokio::spawn(async move {
            let _turn = turn;
            this.ask_market(&*market, sector, room, &spec).await
        });
        match asked.await {
            Ok(answer) => answer,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // the daemon stops
                Err(_) => Err(DealError::Busy),
            },
        }
    }

    async fn ask_market(
        &self,
        market: &dyn Market,
        sector: SectorId,
        room: Room,
        spec: &DealSpec,
    ) -> Result<Vec<SectorPiece>, DealError> {
        let told = match market.assign(sector, room.sector, spec).await {
            Err(error @ VenusError::Unheard { .. }) => {
                return self.seal_without(sector, &error).await;
            }
            Err(error) if !self.named => {
                tracing::debug!(%sector, %error, "the market behind the gateway assigns nothing");
                return Ok(Vec::new());
            }
            told => told?,
        };
        if told.iter().all(|piece| id(piece).is_none()) {
            return Ok(Vec::new());
        }
        match self.look_at_assigned(&told, sector, room).await {
            Ok(fitting) => self.store_assigned(sector, fitting).await,
            Err(error) => {
                let none = Fitting::none(&told, sector, &error.to_string());
                self.store_assigned(sector, none).await?;
                Err(error)
            }
        }
    }

    /// Writes down that the sector has no data, so that the market is not asked for it again: it would
    /// assign the next deals, and those that it assigned already would still be its own.
    async fn seal_without(
        &self,
        sector: SectorId,
        error: &VenusError,
    ) -> Result<Vec<SectorPiece>, DealError> {
        tracing::error!(
            %sector, %error,
            hint = "look in the market's list for deals of this sector and release them; a thread with disable_cc waits at the sector until it is given up",
            "what the market assigned to a sector is not known: the sector is sealed without data"
        );
        let without = move |db: &Db| {
            let none = |record: &mut SectorRecord| {
                Ok::<_, DbError>(record.pieces.get_or_insert_default().clone())
            };
            db.change(sector, Durability::Synced, none)
        };
        Ok(self.db.call(without).await?)
    }

    /// Stores what was assigned, in the sector or on its way back; what the sector has then.
    async fn store_assigned(
        &self,
        sector: SectorId,
        fitting: Fitting,
    ) -> Result<Vec<SectorPiece>, DealError> {
        let Fitting {
            pieces,
            deals,
            mut twice,
        } = fitting;
        let (stay, back): (Vec<_>, Vec<_>) = deals
            .iter()
            .partition(|deal| deal.state == DealState::InSector);
        let (stay, all) = (names(stay), names(&deals));
        let back: Vec<_> = back
            .into_iter()
            .map(|deal| (deal.id, deal.note.clone()))
            .collect();
        let fits = pieces.clone();
        let take = move |db: &Db| db.take_assigned(sector, &pieces, &deals);
        let kept = match self.db.call(take).await {
            Ok((kept, taken)) => {
                twice.extend(taken);
                kept
            }
            Err(error) => {
                tracing::error!(
                    %sector, deals = all, %error,
                    hint = "if they stay assigned to this sector, release them at the market by hand",
                    "what the market assigned could not be stored"
                );
                return Err(error.into());
            }
        };
        for deal in twice {
            tracing::error!(
                %sector, %deal,
                hint = "release it at the market by hand, or take it out of the queue or its sector here",
                "the market assigned a deal that this manager has already: it is not in the sector, and not given back"
            );
        }
        const BACK: &str = "what the market assigned is not in the sector, and goes back";
        for (deal, why) in back {
            tracing::warn!(%sector, %deal, why, "{BACK}");
        }
        if kept != fits {
            tracing::warn!(%sector, deals = stay, why = "it has other pieces, or is over", "{BACK}");
        } else if !kept.is_empty() {
            tracing::info!(%sector, deals = stay, "the market's deals are in a sector");
        }
        Ok(kept)
    }

    /// The pieces as a worker is told them, with their deals as the chain has them. A deal that does not
    /// go into the sector leaves its place to zeros, and holds up none of the others: the market would
    /// assign it again and again, with them.
    async fn look_at_assigned(
        &self,
        told: &[Assigned],
        sector: SectorId,
        room: Room,
    ) -> Result<Fitting, DealError> {
        if let Some(why) = misfit(told, room.sector) {
            return Ok(Fitting::none(told, sector, &why));
        }
        let head = self.chain.head().await?;
        let activation = self.activation(head.height).await?;
        let mut lifetime = Lifetime {
            most: room.longest,
            ..Lifetime::ANY
        };
        let (mut pieces, mut deals) = (Vec::new(), Vec::<DealRecord>::new());
        let twice = self.here_already(told).await?;
        let (mut next, mut used) = (0, 0);
        for piece in told {
            let (at, size) = (next, piece.piece_size);
            next += size;
            let seen = |id: &DealId| twice.contains(id) || deals.iter().any(|deal| deal.id == *id);
            let Some(id) = id(piece).filter(|id| !seen(id)) else {
                pieces.push(filler(size, at));
                continue;
            };
            let agreed = self.agreed(id, piece, sector.miner, &head).await?;
            match agreed.and_then(|terms| Ok((joined(&terms, lifetime, room, activation)?, terms)))
            {
                Ok((both, terms)) => {
                    let deal = DealRecord::assigned(id, terms, piece.payload_size, sector);
                    (lifetime, used) = (both, used + size);
                    pieces.push(of_deal(&deal, at));
                    deals.push(deal);
                }
                Err(why) => {
                    pieces.push(filler(size, at));
                    deals.push(as_told(id, piece, sector).going_back(&why));
                }
            }
        }
        let least = room.least_used;
        if used == 0 || used < least {
            pieces.clear();
            let why = format!(
                "without those that do not go into its sector the others fill {used} bytes, and min_deal_space of the worker is {least}"
            );
            deals = deals
                .into_iter()
                .map(|deal| match deal.state {
                    DealState::InSector => deal.going_back(&why),
                    _ => deal,
                })
                .collect();
        }
        Ok(Fitting {
            pieces,
            deals,
            twice,
        })
    }

    /// Those of them that wait in the queue or are in a sector.
    async fn here_already(&self, told: &[Assigned]) -> Result<Vec<DealId>, DealError> {
        let ids: Vec<DealId> = told.iter().filter_map(id).collect();
        let known = self.db.call(move |db| db.deals(&ids)).await?;
        let open =
            |deal: &DealRecord| matches!(deal.state, DealState::Waiting | DealState::InSector);
        Ok(known.iter().filter(|d| open(d)).map(|d| d.id).collect())
    }

    /// The deal as the chain has it, if that is what the market says.
    async fn agreed(
        &self,
        id: DealId,
        piece: &Assigned,
        miner: ActorId,
        head: &TipSet,
    ) -> Result<Result<Terms, String>, DealError> {
        let Some(client) = piece.client else {
            return Ok(Err("its client is missing".to_owned()));
        };
        let standing = match self.settled(id, client, head).await {
            Err(error @ DealError::Unsettled { .. }) => return Ok(Err(error.to_string())),
            standing => standing?,
        };
        Ok(match standing {
            Standing::Closed(why) => Err(why),
            Standing::Open(terms) => {
                match terms.differs(miner, piece.piece_cid, piece.piece_size) {
                    Some(why) => Err(why),
                    None => Ok(terms),
                }
            }
        })
    }

    /// Gives back to the market what it is to have, until `stop`.
    ///
    /// # Errors
    /// None; the result fits a service of the daemon.
    pub async fn give_back(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(market) = self.market.clone() else {
            stop.cancelled().await;
            return Ok(());
        };
        loop {
            let pause = match self.give_back_now(&*market).await {
                Ok(()) => LOOK,
                Err(error) => {
                    tracing::warn!(%error, "the market could not be given back its deals; that is tried again");
                    AWAY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // sectors are given up in many places, in other managers too
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Each by itself, so that one that the market does not take back holds up no other.
    pub(super) async fn give_back_now(&self, market: &dyn Market) -> Result<(), DealError> {
        let returning = self.db.call(|db| db.returning_deals(AT_ONCE)).await?;
        let mut refused = None;
        for deal in returning {
            let (id, miner) = (deal.id, deal.terms.provider);
            let answer = match id {
                DealId::Market(number) => market.release_deals(miner, &[number]).await,
                DealId::Allocation(number) => market.release_allocations(miner, &[number]).await,
            };
            let error = match answer {
                Ok(()) => None,
                Err(error @ VenusError::Refused { .. }) => Some(error),
                Err(error) => return Err(error.into()),
            };
            let why = error.as_ref().map(ToString::to_string);
            let told = move |db: &Db| db.give_back(id, why.as_deref(), MOST_REFUSALS);
            let deal = self.db.call(told).await?;
            match (&error, deal.state) {
                (None, _) => tracing::info!(deal = %id, miner, "the market has a deal back"),
                (Some(error), DealState::Returned) => tracing::error!(
                    deal = %id, miner, %error,
                    "the market does not take a deal back, and is not told of it again: it has it free already, or it must be released there by hand"
                ),
                (Some(_), _) => refused = error,
            }
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }
}

#[cfg(test)]
#[path = "assigned_tests.rs"]
mod tests;
