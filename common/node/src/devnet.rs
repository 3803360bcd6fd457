//! Shapes of the devnet's own namespace `Devnet.*`: what tests and the demo ask of it. No
//! real network has these.

use crate::wire;
use cid::Cid;
use fvm_shared::{
    MethodNum, address::Address, clock::ChainEpoch, econ::TokenAmount, sector::SectorNumber,
};
use serde::{Deserialize, Serialize};

/// One accepted WindowPoSt for one partition (`Devnet.Posts`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PostRecord {
    /// Epoch of the tipset that holds the message.
    pub epoch: ChainEpoch,
    pub deadline: u64,
    pub partition: u64,
    /// The sectors that the proof covered (skipped and faulty ones are not among them).
    pub sectors: Vec<SectorNumber>,
    #[serde(with = "wire")]
    pub message: Cid,
}

/// One message on chain to a miner (`Devnet.Messages`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageRecord {
    #[serde(with = "wire")]
    pub cid: Cid,
    #[serde(with = "wire")]
    pub from: Address,
    #[serde(with = "wire")]
    pub to: Address,
    pub nonce: u64,
    pub method: MethodNum,
    #[serde(with = "wire")]
    pub value: TokenAmount,
    /// Epoch of the tipset that holds the message.
    pub epoch: ChainEpoch,
    pub exit_code: i64,
    /// The sectors named in the parameters of PreCommitSectorBatch2 (28) and
    /// ProveCommitSectors3 (34); empty for other methods.
    pub sectors: Vec<SectorNumber>,
}
