//! One proof made of many seal proofs (SnarkPack, FIP-0013): what the child takes and gives.

use super::{Task, seal_name};
use crate::kind::Stage;
use damocles_types::{ActorId, Base64, Commitment, SealProof, SectorNumber};
use serde::{Deserialize, Serialize};

/// A seal proof with everything that is needed to check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenSector {
    pub sector_id: SectorNumber,
    pub comm_r: Commitment,
    pub comm_d: Commitment,
    pub ticket: [u8; 32],
    pub seed: [u8; 32],
    /// 192 bytes for each partition.
    pub proof: Base64,
}

/// Makes one proof of those of several sectors, which the chain takes for them in this order. Each is
/// verified before, and the aggregate after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    pub miner_id: ActorId,
    #[serde(with = "seal_name")]
    pub registered_proof: SealProof,
    pub sectors: Vec<ProvenSector>,
}

/// Either the aggregate (SnarkPack v2), or the sectors whose proofs are wrong (then `proof` is empty).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateOutput {
    pub proof: Base64,
    pub wrong: Vec<SectorNumber>,
}

impl Task for Aggregate {
    const STAGE: Stage = Stage::Aggregate;
    type Output = AggregateOutput;
}
