//! Data that a sector may hold on somebody's account: allocations and claims of the verified
//! registry, and deals of the storage market.

use crate::wire;
use cid::Cid;
use fvm_shared::{
    ActorID, address::Address, clock::ChainEpoch, econ::TokenAmount, sector::SectorNumber,
};
use serde::{Deserialize, Serialize};

/// `StateGetAllocation`: what a verified client lets one provider store and be rewarded for.
/// It is gone when it was claimed, or removed after its expiration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Allocation {
    pub client: ActorID,
    pub provider: ActorID,
    /// Piece CID (CommP).
    #[serde(with = "wire")]
    pub data: Cid,
    /// Padded bytes.
    pub size: u64,
    /// Least and greatest number of epochs from the claim to the end of the claiming sector.
    pub term_min: ChainEpoch,
    pub term_max: ChainEpoch,
    /// Last epoch in which it may be claimed.
    pub expiration: ChainEpoch,
}

/// `StateGetClaim`: an allocation that a sector took; it keeps the allocation's number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VerifiedClaim {
    pub provider: ActorID,
    pub client: ActorID,
    /// Piece CID (CommP).
    #[serde(with = "wire")]
    pub data: Cid,
    /// Padded bytes.
    pub size: u64,
    /// Epochs from `term_start`.
    pub term_min: ChainEpoch,
    pub term_max: ChainEpoch,
    /// Epoch of the claim.
    pub term_start: ChainEpoch,
    pub sector: SectorNumber,
}

/// `StateMarketStorageDeal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MarketDeal {
    pub proposal: DealProposal,
    pub state: DealState,
}

/// What client and provider of a deal agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DealProposal {
    #[serde(rename = "PieceCID", with = "wire")]
    pub piece_cid: Cid,
    /// Padded bytes.
    pub piece_size: u64,
    /// An allocation was made for the deal when it was published.
    pub verified_deal: bool,
    #[serde(with = "wire")]
    pub client: Address,
    #[serde(with = "wire")]
    pub provider: Address,
    /// Of the client's choice; a label of bytes has no JSON, the node answers with an error.
    pub label: String,
    /// Last epoch in which a sector with the piece may be activated.
    pub start_epoch: ChainEpoch,
    /// The sector may not expire before it.
    pub end_epoch: ChainEpoch,
    #[serde(with = "wire")]
    pub storage_price_per_epoch: TokenAmount,
    #[serde(with = "wire")]
    pub provider_collateral: TokenAmount,
    #[serde(with = "wire")]
    pub client_collateral: TokenAmount,
}

/// How far a deal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DealState {
    /// 0 before activation, which is also a sector's number.
    pub sector_number: SectorNumber,
    /// Epoch of the activation, -1 before it.
    pub sector_start_epoch: ChainEpoch,
    /// Epoch of the last payment, -1 before it.
    pub last_updated_epoch: ChainEpoch,
    /// Epoch at which the sector was terminated, -1 when it was not.
    pub slash_epoch: ChainEpoch,
}

impl DealState {
    /// Of a deal that was published and not yet activated.
    pub const PENDING: DealState = DealState {
        sector_number: 0,
        sector_start_epoch: -1,
        last_updated_epoch: -1,
        slash_epoch: -1,
    };
}
