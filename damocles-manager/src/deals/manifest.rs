//! What the chain is told of the pieces of a sector that is proven (FIP-0076): which allocations
//! it claims, and which deals the market hears of.

use crate::{
    db::{deal::DealRecord, record::SectorRecord},
    deal::DealId,
    deals::{DealError, Deals, onchain::Standing},
};
use cid::Cid;
use damocles_node::TipSet;
use damocles_types::{ActorId, Epoch};
use fvm_shared::address::Address;

/// What is claimed for a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// An allocation of that client.
    Allocation { client: ActorId, id: u64 },
    /// A deal of the market, which has an allocation if its data is verified.
    Market {
        deal: u64,
        allocation: Option<(ActorId, u64)>,
    },
    /// Nothing: the chain does not have its deal any more.
    Nothing,
}

/// A piece as the chain is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPiece {
    pub cid: Cid,
    /// Padded bytes.
    pub size: u64,
    pub stake: Stake,
}

impl ManifestPiece {
    /// Whether its bytes count tenfold for the miner's power.
    pub fn is_verified(&self) -> bool {
        match self.stake {
            Stake::Allocation { .. } => true,
            Stake::Market { allocation, .. } => allocation.is_some(),
            Stake::Nothing => false,
        }
    }
}

impl Deals {
    /// The pieces with data of a sector that is proven now and expires then. A deal that the chain
    /// does not have as it was agreed is left out: its bytes are sealed, and it is not claimed.
    ///
    /// # Errors
    /// A node that does not answer, a failing database.
    pub async fn manifest(
        &self,
        record: &SectorRecord,
        expiration: Epoch,
        head: &TipSet,
    ) -> Result<Vec<ManifestPiece>, DealError> {
        let mut pieces = Vec::new();
        let deals = self.of_sector(record).await?;
        for piece in record.pieces.iter().flatten().filter(|p| p.has_deal()) {
            let id = crate::db::deal::of_piece(piece);
            let deal = deals.iter().find(|deal| Some(deal.id) == id);
            let stake = match deal {
                Some(deal) => self.stake(deal, record, expiration, head).await?,
                None => Stake::Nothing,
            };
            pieces.push(ManifestPiece {
                cid: piece.piece.cid.cid,
                size: piece.piece.size,
                stake,
            });
        }
        Ok(pieces)
    }

    async fn stake(
        &self,
        deal: &DealRecord,
        record: &SectorRecord,
        expiration: Epoch,
        head: &TipSet,
    ) -> Result<Stake, DealError> {
        let client = Address::new_id(deal.terms.client);
        let standing = self.settled(deal.id, client, head).await?;
        let now = crate::deal::Activation {
            first: head.height,
            last: head.height,
        };
        let lifetime = deal.terms.lifetime(now);
        let why = match standing {
            Standing::Closed(why) => why,
            Standing::Open(terms) if terms != deal.terms => "its terms are others now".to_owned(),
            Standing::Open(terms) if terms.start_by <= head.height => {
                format!("it had to be on chain before epoch {}", terms.start_by)
            }
            Standing::Open(_) if expiration < lifetime.least || expiration > lifetime.most => {
                format!(
                    "the sector expires at epoch {expiration}, and the deal wants it between {} and {}",
                    lifetime.least, lifetime.most
                )
            }
            Standing::Open(_) => return self.open_stake(deal, head).await,
        };
        tracing::warn!(sector = %record.id, deal = %deal.id, why, "a deal is not claimed; its sector is proven all the same");
        let id = deal.id;
        let note = format!("not claimed: {why}");
        self.db.call(move |db| db.note_deal(id, &note)).await?;
        Ok(Stake::Nothing)
    }

    async fn open_stake(&self, deal: &DealRecord, head: &TipSet) -> Result<Stake, DealError> {
        let client = deal.terms.client;
        Ok(match deal.id {
            DealId::Allocation(id) => Stake::Allocation { client, id },
            DealId::Market(id) => {
                let allocation = self.chain.allocation_of_deal(id, &head.cids).await?;
                Stake::Market {
                    deal: id,
                    allocation: allocation.map(|allocation| (client, allocation)),
                }
            }
        })
    }
}
