//! `Damocles.MinerOverview`: what the chain has of a miner, for one screen.

use damocles_types::{ActorId, Epoch};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};
use std::iter::Sum;

/// A miner as the chain has it at one tipset. Amounts are FIL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MinerOverview {
    pub miner: ActorId,
    pub epoch: Epoch,
    /// Seconds since the tipset was made.
    pub age: i64,
    pub network_version: u32,
    /// In FIL per unit of gas.
    pub base_fee: String,
    /// Bytes of a sector.
    pub sector_size: u64,
    pub power: PowerView,
    pub sectors: SectorCounts,
    /// Deadlines in the order in which they come, the open one first; those without sectors are
    /// left out.
    pub deadlines: Vec<DeadlineView>,
    pub balance: String,
    /// What the miner may spend of it.
    pub available: String,
    /// Who may act for it, and with what.
    pub accounts: Vec<AccountOfMiner>,
}

/// Bytes of power, and of the whole network's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PowerView {
    pub raw: String,
    pub quality_adjusted: String,
    pub network_raw: String,
    pub network_quality_adjusted: String,
    /// Whether it is enough to win blocks.
    pub has_min_power: bool,
}

/// How many sectors there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorCounts {
    pub live: u64,
    /// Live ones that count as power.
    pub active: u64,
    pub faulty: u64,
    /// Faulty ones that were declared recovered.
    pub recovering: u64,
}

impl Sum for SectorCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            live: a.live + b.live,
            active: a.active + b.active,
            faulty: a.faulty + b.faulty,
            recovering: a.recovering + b.recovering,
        })
    }
}

/// A deadline with sectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeadlineView {
    pub index: u64,
    pub open: Epoch,
    pub close: Epoch,
    pub partitions: u64,
    /// Partitions that are proven in this opening.
    pub proven: u64,
    pub sectors: SectorCounts,
}

/// An address that may act for a miner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountOfMiner {
    /// `owner`, `worker` or `control`.
    pub role: String,
    pub address: String,
    /// None: the chain did not tell.
    pub balance: Option<String>,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesOverview {
    /// What the chain has of a miner.
    #[method(name = "MinerOverview")]
    async fn miner_overview(&self, miner: ActorId) -> RpcResult<MinerOverview>;
}
