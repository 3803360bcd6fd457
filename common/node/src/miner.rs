//! A miner as the chain sees it: info, power, deadlines, partitions, sectors.

use crate::wire;
use cid::Cid;
use fvm_ipld_bitfield::BitField;
use fvm_shared::{
    address::Address, bigint::BigInt, clock::ChainEpoch, econ::TokenAmount, sector::SectorNumber,
};
use serde::{Deserialize, Serialize};

/// `StateMinerInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MinerInfo {
    #[serde(with = "wire")]
    pub owner: Address,
    #[serde(with = "wire")]
    pub worker: Address,
    /// The worker that takes over at `worker_change_epoch`; JSON `"<empty>"` when none.
    #[serde(with = "wire::undef", default)]
    pub new_worker: Option<Address>,
    #[serde(
        serialize_with = "wire::wire_or_null",
        deserialize_with = "wire::deserialize",
        default
    )]
    pub control_addresses: Vec<Address>,
    /// -1 when no change is pending.
    pub worker_change_epoch: ChainEpoch,
    pub peer_id: Option<String>,
    #[serde(
        serialize_with = "wire::wire_or_null",
        deserialize_with = "wire::deserialize",
        default
    )]
    pub multiaddrs: Vec<Vec<u8>>,
    /// Number of go-state-types `abi.RegisteredPoStProof`.
    pub window_po_st_proof_type: i64,
    /// Bytes.
    pub sector_size: u64,
    pub window_po_st_partition_sectors: u64,
    /// -1 when no consensus fault is pending.
    pub consensus_fault_elapsed: ChainEpoch,
    #[serde(with = "wire", default)]
    pub pending_owner_address: Option<Address>,
    #[serde(with = "wire")]
    pub beneficiary: Address,
    pub beneficiary_term: Option<BeneficiaryTerm>,
    pub pending_beneficiary_term: Option<PendingBeneficiaryChange>,
}

/// What the beneficiary may still withdraw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BeneficiaryTerm {
    #[serde(with = "wire")]
    pub quota: TokenAmount,
    #[serde(with = "wire")]
    pub used_quota: TokenAmount,
    pub expiration: ChainEpoch,
}

/// A proposed beneficiary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PendingBeneficiaryChange {
    #[serde(with = "wire")]
    pub new_beneficiary: Address,
    #[serde(with = "wire")]
    pub new_quota: TokenAmount,
    pub new_expiration: ChainEpoch,
    pub approved_by_beneficiary: bool,
    pub approved_by_nominee: bool,
}

/// Power in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Claim {
    #[serde(with = "wire")]
    pub raw_byte_power: BigInt,
    #[serde(with = "wire")]
    pub quality_adj_power: BigInt,
}

/// `StateMinerPower`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MinerPower {
    pub miner_power: Claim,
    pub total_power: Claim,
    pub has_min_power: bool,
}

/// `StateMinerProvingDeadline`: the deadline that is open now, or the next one when the
/// miner's period start lies in the past (the node applies `NextNotElapsed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeadlineInfo {
    pub current_epoch: ChainEpoch,
    pub period_start: ChainEpoch,
    pub index: u64,
    /// First epoch in which a proof is taken.
    pub open: ChainEpoch,
    /// First epoch in which no proof is taken any more.
    pub close: ChainEpoch,
    /// Epoch of the randomness.
    pub challenge: ChainEpoch,
    /// First epoch in which faults can no longer be declared for this deadline.
    pub fault_cutoff: ChainEpoch,
    #[serde(rename = "WPoStPeriodDeadlines")]
    pub wpost_period_deadlines: u64,
    #[serde(rename = "WPoStProvingPeriod")]
    pub wpost_proving_period: ChainEpoch,
    #[serde(rename = "WPoStChallengeWindow")]
    pub wpost_challenge_window: ChainEpoch,
    #[serde(rename = "WPoStChallengeLookback")]
    pub wpost_challenge_lookback: ChainEpoch,
    pub fault_declaration_cutoff: ChainEpoch,
}

impl DeadlineInfo {
    /// First epoch of the window of the deadline with that index: the present one's own, and for
    /// the others the one that comes next.
    pub fn opening(&self, index: u64) -> ChainEpoch {
        let step = i64::try_from(index).unwrap_or(0);
        let begins = self.period_start + step * self.wpost_challenge_window;
        // those before the present one have their next window in the next period
        if index < self.index {
            begins + self.wpost_proving_period
        } else {
            begins
        }
    }
}

/// One deadline of `StateMinerDeadlines`; its index is its place in the array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Deadline {
    /// Partitions proven in the current window.
    #[serde(with = "wire")]
    pub post_submissions: BitField,
    pub disputable_proof_count: u64,
    /// Daily fee of all its sectors; absent before network version 25.
    #[serde(with = "wire", default)]
    pub daily_fee: TokenAmount,
}

/// One partition of `StateMinerPartitions`; its index is its place in the array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Partition {
    #[serde(with = "wire")]
    pub all_sectors: BitField,
    #[serde(with = "wire")]
    pub faulty_sectors: BitField,
    #[serde(with = "wire")]
    pub recovering_sectors: BitField,
    #[serde(with = "wire")]
    pub live_sectors: BitField,
    #[serde(with = "wire")]
    pub active_sectors: BitField,
}

/// `StateMinerSectorCount`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MinerSectors {
    pub live: u64,
    pub active: u64,
    pub faulty: u64,
}

/// `StateSectorPartition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorLocation {
    pub deadline: u64,
    pub partition: u64,
}

/// `StateSectorExpiration`; `early` is 0 unless the sector is faulty or terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorExpiration {
    pub on_time: ChainEpoch,
    pub early: ChainEpoch,
}

/// A proven sector (`StateSectorGetInfo`, `StateMinerSectors`, `StateMinerActiveSectors`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorOnChainInfo {
    pub sector_number: SectorNumber,
    /// Number of go-state-types `abi.RegisteredSealProof`.
    pub seal_proof: i64,
    #[serde(rename = "SealedCID", with = "wire")]
    pub sealed_cid: Cid,
    pub activation: ChainEpoch,
    pub expiration: ChainEpoch,
    #[serde(with = "wire")]
    pub deal_weight: BigInt,
    #[serde(with = "wire")]
    pub verified_deal_weight: BigInt,
    #[serde(with = "wire")]
    pub initial_pledge: TokenAmount,
    #[serde(with = "wire", default)]
    pub expected_day_reward: Option<TokenAmount>,
    #[serde(with = "wire", default)]
    pub expected_storage_pledge: Option<TokenAmount>,
    #[serde(default)]
    pub power_base_epoch: ChainEpoch,
    #[serde(with = "wire", default)]
    pub replaced_day_reward: Option<TokenAmount>,
    #[serde(rename = "SectorKeyCID", with = "wire", default)]
    pub sector_key_cid: Option<Cid>,
    /// Bit 0: simple quality-adjusted power (FIP-0045).
    #[serde(default)]
    pub flags: u64,
    #[serde(with = "wire", default)]
    pub daily_fee: TokenAmount,
}

/// What a precommit said about its sector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorPreCommitInfo {
    /// Number of go-state-types `abi.RegisteredSealProof`.
    pub seal_proof: i64,
    pub sector_number: SectorNumber,
    #[serde(rename = "SealedCID", with = "wire")]
    pub sealed_cid: Cid,
    pub seal_rand_epoch: ChainEpoch,
    #[serde(
        rename = "DealIDs",
        default,
        serialize_with = "wire::or_null",
        deserialize_with = "wire::or_empty"
    )]
    pub deal_ids: Vec<u64>,
    pub expiration: ChainEpoch,
    /// `null` for a sector without data.
    #[serde(with = "wire", default)]
    pub unsealed_cid: Option<Cid>,
}

/// `StateSectorPreCommitInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorPreCommitOnChainInfo {
    pub info: SectorPreCommitInfo,
    #[serde(with = "wire")]
    pub pre_commit_deposit: TokenAmount,
    pub pre_commit_epoch: ChainEpoch,
}
