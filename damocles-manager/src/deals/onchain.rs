//! What the chain has of a deal.

use crate::{
    chain::ChainError,
    deal::{DealId, Length, Terms},
    deals::{DealError, Deals},
};
use damocles_node::{TipSet, TipSetKey};
use damocles_types::{ActorId, Epoch};
use fvm_shared::address::Address;

/// So many epochs below the head a second answer is asked for.
const SETTLED: Epoch = 10;

/// What the chain has of a deal that is to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open(Terms),
    /// It cannot be sealed any more, and why.
    Closed(String),
}

impl Deals {
    /// What the chain has at that tipset. `client`: of an allocation, which nodes look up under
    /// its client.
    pub(super) async fn standing(
        &self,
        id: DealId,
        client: Option<Address>,
        key: &TipSetKey,
    ) -> Result<Standing, ChainError> {
        match id {
            DealId::Allocation(number) => self.allocation(number, client, key).await,
            DealId::Market(number) => self.market_deal(number, key).await,
        }
    }

    /// The same at the head. That it is closed is believed when it was so some epochs before, too: a
    /// branch goes, and a node that was asked last may have seen less.
    ///
    /// # Errors
    /// [`DealError::Unsettled`]; a node that does not answer.
    pub(super) async fn settled(
        &self,
        id: DealId,
        client: Address,
        head: &TipSet,
    ) -> Result<Standing, DealError> {
        let now = self.standing(id, Some(client), &head.cids).await?;
        let Standing::Closed(why) = now else {
            return Ok(now);
        };
        let before = (head.height - SETTLED).max(0);
        let key = self.chain.tipset_at(before, &head.cids).await?;
        match self.standing(id, Some(client), &key).await? {
            Standing::Open(_) => Err(DealError::Unsettled { id, why }),
            Standing::Closed(_) => Ok(Standing::Closed(why)),
        }
    }

    async fn allocation(
        &self,
        number: u64,
        client: Option<Address>,
        key: &TipSetKey,
    ) -> Result<Standing, ChainError> {
        let closed = |why: &str| Ok(Standing::Closed(why.to_owned()));
        let Some(client) = client else {
            return closed("its client's address is missing");
        };
        let found = match self.chain.allocation(client, number, key).await {
            Err(error) if error.knows_no_actor() => return closed("its client is not on chain"),
            found => found?,
        };
        let Some(found) = found else {
            return closed(
                "the chain has no such allocation of that client: it was claimed, or removed after its expiration, or never made",
            );
        };
        Ok(Standing::Open(Terms {
            provider: found.provider,
            client: found.client,
            piece: found.data,
            size: found.size,
            // it may still be claimed in the epoch of its expiration
            start_by: found.expiration + 1,
            length: Length::Term {
                min: found.term_min,
                max: found.term_max,
            },
        }))
    }

    async fn market_deal(&self, number: u64, key: &TipSetKey) -> Result<Standing, ChainError> {
        let Some(found) = self.chain.market_deal(number, key).await? else {
            let why =
                "the chain has no such deal: it was never published, or not activated in time";
            return Ok(Standing::Closed(why.to_owned()));
        };
        let (proposal, state) = (found.proposal, found.state);
        if state.sector_start_epoch >= 0 {
            let epoch = state.sector_start_epoch;
            let why = format!("it is active since epoch {epoch}");
            return Ok(Standing::Closed(why));
        }
        Ok(Standing::Open(Terms {
            provider: self.id_of(proposal.provider, key).await?,
            client: self.id_of(proposal.client, key).await?,
            piece: proposal.piece_cid,
            size: proposal.piece_size,
            start_by: proposal.start_epoch + 1,
            length: Length::Until(proposal.end_epoch),
        }))
    }

    async fn id_of(&self, address: Address, key: &TipSetKey) -> Result<ActorId, ChainError> {
        let id = self.chain.lookup_id(address, key).await?;
        id.id().map_err(|_| ChainError::Malformed {
            method: "StateLookupID".into(),
            reason: format!("{id} is no ID address"),
        })
    }
}
