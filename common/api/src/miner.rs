//! `Venus.*` about miners, as upstream's `MinerAPI` and `RandomnessAPI`: what a program needs to know
//! of a miner, and randomness as sealing and proving draw it.

use crate::sector::CidJson;
use damocles_types::{ActorId, Epoch, Randomness, Seed, Ticket};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// A miner, for who seals for it. JSON keys are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerFacts {
    #[serde(rename = "ID")]
    pub id: ActorId,
    #[serde(rename = "Addr")]
    pub address: String,
    /// Bytes.
    #[serde(rename = "SectorSize")]
    pub sector_size: u64,
    /// Number of go-state-types' `abi.RegisteredPoStProof`.
    #[serde(rename = "WindowPoStProofType")]
    pub window_post_proof_type: i64,
    /// Number of go-state-types' `abi.RegisteredSealProof` that a new sector would have now.
    #[serde(rename = "SealProofType")]
    pub seal_proof_type: i64,
}

/// Randomness of an epoch. JSON: `{"Epoch":i64,"Rand":base64}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DrawnRandomness {
    pub epoch: Epoch,
    pub rand: Randomness,
}

#[rpc(client, server, namespace = "Venus", namespace_separator = ".")]
pub trait Miners {
    /// What the chain has of a miner.
    #[method(name = "GetInfo")]
    async fn get_info(&self, miner: ActorId) -> RpcResult<MinerFacts>;

    /// What this manager's configuration says of a miner, under the names of the file; amounts are
    /// numbers of attoFIL. What upstream has and this version does not know is left out.
    #[method(name = "GetMinerConfig")]
    async fn get_miner_config(&self, miner: ActorId) -> RpcResult<serde_json::Value>;

    /// Seal randomness of an epoch for a miner, on the chain of that tipset (empty: of the head).
    #[method(name = "GetTicket")]
    async fn get_ticket(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        miner: ActorId,
    ) -> RpcResult<Ticket>;

    /// The challenge seed of an interactive proof, likewise.
    #[method(name = "GetSeed")]
    async fn get_seed(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        miner: ActorId,
    ) -> RpcResult<Seed>;

    /// The challenge of a WindowPoSt, likewise. (The name is upstream's.)
    #[method(name = "GetWindowPoStChanlleengeRand")]
    async fn get_window_post_challenge(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
        miner: ActorId,
    ) -> RpcResult<DrawnRandomness>;

    /// The randomness that a WindowPoSt's message commits to the chain with.
    #[method(name = "GetWindowPoStCommitRand")]
    async fn get_window_post_commit(
        &self,
        tipset: Option<Vec<CidJson>>,
        epoch: Epoch,
    ) -> RpcResult<DrawnRandomness>;
}
