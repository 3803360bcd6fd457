//! The deal market (droplet) as this manager speaks to it: its methods and shapes
//! (`venus-shared/api/market/v1`, `venus-shared/types/market`).

use super::{Caller, Service, VenusError, Version};
use crate::{
    chain::{EndpointError, Params},
    policy::NodeEndpoint,
};
use async_trait::async_trait;
use cid::Cid;
use damocles_node::{W, wire};
use damocles_types::{ActorId, Epoch, SectorId};
use fvm_shared::address::Address;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which deals are wanted; 0: no limit (`GetDealSpec`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DealSpec {
    pub max_piece: u64,
    pub max_piece_size: u64,
    pub min_piece: u64,
    pub min_piece_size: u64,
    /// Padded bytes.
    pub min_used_space: u64,
    /// Only deals that may begin after this epoch, and that end before the other one.
    pub start_epoch: Epoch,
    pub end_epoch: Epoch,
    /// Of a sector that is there already.
    pub sector_expiration: Option<Epoch>,
}

/// A piece of a sector as the market assigned it (`DealInfoV2`); one without a number is filled with
/// zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Assigned {
    #[serde(rename = "DealID", default)]
    pub deal_id: u64,
    #[serde(rename = "AllocationID", default)]
    pub allocation_id: u64,
    #[serde(rename = "PieceCID", with = "wire")]
    pub piece_cid: Cid,
    /// Padded bytes.
    pub piece_size: u64,
    #[serde(with = "wire::undef", default)]
    pub client: Option<Address>,
    #[serde(with = "wire::undef", default)]
    pub provider: Option<Address>,
    pub offset: u64,
    /// Bytes of the client's data.
    pub payload_size: u64,
}

/// What the manager asks of a market.
#[async_trait]
pub trait Market: Send + Sync + std::fmt::Debug + 'static {
    /// Its version, in its own words.
    async fn version(&self) -> Result<String, VenusError>;
    /// Pieces that fill a sector of that many bytes, assigned to it; none: it has nothing for it.
    /// Asked again it assigns others, so a lost answer is [`VenusError::Unheard`].
    async fn assign(
        &self,
        sector: SectorId,
        size: u64,
        spec: &DealSpec,
    ) -> Result<Vec<Assigned>, VenusError>;
    /// Frees deals of the storage market that were assigned. It refuses those that are not.
    async fn release_deals(&self, miner: ActorId, deals: &[u64]) -> Result<(), VenusError>;
    /// The same for allocations.
    async fn release_allocations(
        &self,
        miner: ActorId,
        allocations: &[u64],
    ) -> Result<(), VenusError>;
}

/// Most that an assignment may take: the market looks through all its deals, and what it assigned
/// without our hearing of it a person has to release.
const ASSIGN_LIMIT: Duration = Duration::from_secs(300);

/// A market that is called over HTTP.
#[derive(Debug)]
pub struct VenusMarket {
    quick: Caller,
    assigning: Caller,
}

/// How the market writes a sector.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sector {
    miner: ActorId,
    number: u64,
}

impl VenusMarket {
    /// Prepares a client; nothing is asked yet.
    ///
    /// # Errors
    /// [`EndpointError`] for an address or token that no client can be made of.
    pub fn new(endpoint: &NodeEndpoint) -> Result<Self, EndpointError> {
        Ok(Self {
            quick: Caller::new(Service::Market, endpoint)?,
            assigning: Caller::patient(Service::Market, endpoint, ASSIGN_LIMIT)?,
        })
    }

    async fn release(&self, name: &str, miner: ActorId, ids: &[u64]) -> Result<(), VenusError> {
        let params = Params::none().add(W(Address::new_id(miner))).add(ids);
        // `null` or `{}`
        let _done: serde_json::Value = self.quick.ask(name, params).await?;
        Ok(())
    }
}

#[async_trait]
impl Market for VenusMarket {
    async fn version(&self) -> Result<String, VenusError> {
        let name = "VENUS_MARKET.Version";
        let told: Version = self.quick.ask(name, Params::none()).await?;
        Ok(told.version)
    }

    async fn assign(
        &self,
        sector: SectorId,
        size: u64,
        spec: &DealSpec,
    ) -> Result<Vec<Assigned>, VenusError> {
        let SectorId { miner, number } = sector;
        let params = Params::none()
            .add(Sector { miner, number })
            .add(size)
            .add(spec);
        // Go writes an empty list as null
        let name = "VENUS_MARKET.AssignDeals";
        let told: Option<Vec<Assigned>> = self.assigning.ask_once(name, params).await?;
        Ok(told.unwrap_or_default())
    }

    async fn release_deals(&self, miner: ActorId, deals: &[u64]) -> Result<(), VenusError> {
        self.release("VENUS_MARKET.ReleaseDeals", miner, deals)
            .await
    }

    async fn release_allocations(
        &self,
        miner: ActorId,
        allocations: &[u64],
    ) -> Result<(), VenusError> {
        let name = "VENUS_MARKET.ReleaseDirectDeals";
        self.release(name, miner, allocations).await
    }
}

#[cfg(test)]
#[path = "market_tests.rs"]
mod tests;
