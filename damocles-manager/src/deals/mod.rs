//! Data of clients that is to be sealed: a queue of the manager's own, in which an operator or a
//! program puts allocations of the verified registry and deals of the storage market.
//!
//! ```text
//! util deals add ──► onchain: what the chain has of it ──► db: waiting
//! AcquireDeals ──► pack (pure): which go together ──► db: the sector has them, in one batch
//! precommit, proof ──► manifest: what the chain is told of each piece
//! ```
//! A deal is in one sector at most. What the chain does not have any more when its sector comes to
//! be proven is sealed without being claimed: the work on the sector is not lost for it.

mod acquire;
mod assigned;
mod manifest;
mod onchain;
mod pack;
mod queue;

pub use acquire::PROVE_COMMIT;
pub use manifest::{ManifestPiece, Stake};
pub use queue::{NewDeal, Wanted as WantedDeals};

use crate::{
    chain::{Chain, ChainError, Facts},
    db::{Db, DbError, pages::NoCursor},
    deal::DealId,
    venus::{Market, VenusError},
};
use damocles_types::ActorId;
use std::sync::Arc;

/// Why nothing could be done about a deal.
#[derive(Debug, thiserror::Error)]
pub enum DealError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Venus(#[from] VenusError),
    #[error(transparent)]
    Cursor(#[from] NoCursor),
    #[error("{id} cannot be taken: {why}")]
    Refused { id: DealId, why: String },
    /// A wait: the head's answer alone is not enough.
    #[error(
        "{id} is not open at the head of the chain ({why}), and was a few epochs before; it is looked at again"
    )]
    Unsettled { id: DealId, why: String },
    #[error("miner {0} is not in the config; add it to [[Miners]]")]
    NoMiner(ActorId),
    #[error("{0}")]
    Wrong(String),
    #[error("the deals that wait changed again and again while some were chosen; ask again")]
    Busy,
}

impl DealError {
    /// Whether it is a wait and no failure.
    pub fn is_wait(&self) -> bool {
        match self {
            Self::Chain(_) | Self::Venus(_) | Self::Busy | Self::Unsettled { .. } => true,
            Self::Db(error) => error.is_wait(),
            Self::Cursor(_) | Self::Refused { .. } | Self::NoMiner(_) | Self::Wrong(_) => false,
        }
    }
}

/// The queue and what follows from it; clones share it.
#[derive(Clone, Debug)]
pub struct Deals {
    db: Db,
    chain: Arc<dyn Chain>,
    facts: Facts,
    market: Option<Arc<dyn Market>>,
    /// Its operator names the market, so that without it nothing is sealed in its place.
    named: bool,
    /// Who asks the market.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Deals {
    pub fn new(db: Db, chain: Arc<dyn Chain>, facts: Facts) -> Self {
        Self {
            db,
            chain,
            facts,
            market: None,
            named: false,
            turn: Arc::default(),
        }
    }

    /// The same with a market, which is asked when the queue has nothing for a sector. One that no
    /// operator named (behind a gateway, perhaps) is passed over when it does not answer.
    #[must_use]
    pub fn with_market(self, market: Arc<dyn Market>, named: bool) -> Self {
        Self {
            market: Some(market),
            named,
            ..self
        }
    }

    /// The same on a database that speaks for a worker, or writes in a role.
    pub fn on(&self, db: Db) -> Self {
        Self { db, ..self.clone() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
