//! `Damocles.*` about the manager's own queue of deals.

use crate::{
    lists::{Page, Want},
    sector::CidJson,
};
use damocles_types::{ActorId, Epoch, SectorId};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// A deal that is to be put into the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddDeal {
    /// `allocation-123`, an allocation of the verified registry, or `deal-45`, a deal of the storage
    /// market.
    pub id: String,
    /// The miner that it is for.
    pub provider: ActorId,
    /// The client's address; of an allocation it must be given.
    #[serde(default)]
    pub client: Option<String>,
    #[serde(rename = "PieceCID")]
    pub piece_cid: CidJson,
    /// Padded bytes.
    pub size: u64,
    /// Bytes of the client's data; None: as many as fit.
    #[serde(default)]
    pub payload_size: Option<u64>,
    /// Where the data is: a URL, or a file on the manager's host; None: in its piece stores.
    #[serde(default)]
    pub place: Option<String>,
}

/// A deal of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DealView {
    pub id: String,
    pub provider: ActorId,
    pub client: ActorId,
    #[serde(rename = "PieceCID")]
    pub piece_cid: CidJson,
    pub size: u64,
    pub payload_size: u64,
    pub place: Option<String>,
    /// The sector must be on chain before it.
    pub start_by: Epoch,
    /// Of an allocation: the least and the greatest number of epochs in a sector.
    pub term: Option<[Epoch; 2]>,
    /// Of a deal of the market: until when it lasts.
    pub until: Option<Epoch>,
    /// `Waiting`, `InSector`, `Sealed`, `Cancelled` or `Expired`.
    pub state: String,
    pub sector: Option<SectorId>,
    /// The chain did not have it as it was agreed: it is not taken until it is added again.
    pub passed_over: bool,
    /// Why it waits, or ended as it did.
    pub note: Option<String>,
    /// Unix seconds.
    pub added_at: i64,
}

/// Which deals are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DealFilter {
    pub provider: Option<ActorId>,
    pub state: Option<String>,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesDeals {
    /// Puts a deal into the queue, if the chain has it as it is described; one that is there comes
    /// back as it is.
    #[method(name = "AddDeal")]
    async fn add_deal(&self, deal: AddDeal) -> RpcResult<DealView>;

    /// The queue, allocations first, by number.
    #[method(name = "Deals")]
    async fn deals(&self, filter: DealFilter, want: Want) -> RpcResult<Page<DealView>>;

    /// A deal of the queue, and what became of it.
    #[method(name = "Deal")]
    async fn deal(&self, id: String) -> RpcResult<DealView>;

    /// Takes a deal out of the queue that is in no sector.
    #[method(name = "CancelDeal")]
    async fn cancel_deal(&self, id: String) -> RpcResult<DealView>;
}
