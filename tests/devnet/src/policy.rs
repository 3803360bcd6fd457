//! Every number that a network may choose for itself. The defaults are those of Lotus' 2k
//! development network (`build/buildconstants/params_2k.go`, builtin-actors "devnet" bundle);
//! a TOML file or the command line may shorten them so that a proving period takes seconds.
use fil_actors_shared::v18::runtime::Policy;
use fil_actors_shared::v18::runtime::policy::ProofSet;
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::sector::{RegisteredPoStProof, RegisteredSealProof, SectorSize};
use serde::{Deserialize, Serialize};

/// Ten Groth16 proofs, as a sector of 32 or 64 GiB takes.
const MAX_PROOF_BYTES: u64 = 1920;
const EPOCHS_IN_DAY: ChainEpoch = 2880;

/// Values are epochs unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkPolicy {
    /// As StateNetworkName tells it.
    pub network_name: String,
    /// 28 is the version whose actors (v18) this network runs; no other is supported.
    pub network_version: u32,
    /// What the network says an epoch lasts; the real pace is the block time.
    pub block_delay_secs: u64,
    pub propagation_delay_secs: u64,
    pub wpost_proving_period: ChainEpoch,
    pub wpost_period_deadlines: u64,
    pub wpost_challenge_window: ChainEpoch,
    pub wpost_challenge_lookback: ChainEpoch,
    pub wpost_max_chain_commit_age: ChainEpoch,
    pub wpost_dispute_window: ChainEpoch,
    pub fault_declaration_cutoff: ChainEpoch,
    pub fault_max_age: ChainEpoch,
    pub chain_finality: ChainEpoch,
    pub pre_commit_challenge_delay: ChainEpoch,
    pub max_pre_commit_randomness_lookback: ChainEpoch,
    pub expired_pre_commit_clean_up_delay: ChainEpoch,
    pub worker_key_change_delay: ChainEpoch,
    pub min_sector_expiration: ChainEpoch,
    pub max_sector_expiration_extension: ChainEpoch,
    pub max_partitions_per_deadline: u64,
    pub posted_partitions_max: u64,
    pub addressed_partitions_max: u64,
    pub addressed_sectors_max: u64,
    pub min_aggregated_sectors: u64,
    pub max_aggregated_sectors: u64,
    /// Bytes of power from which a miner may win blocks.
    pub consensus_miner_min_power: u64,
    /// Gas units that the messages of one block may ask for.
    pub block_gas_limit: u64,
    /// attoFIL per gas unit in the first block.
    pub initial_base_fee: u64,
    /// attoFIL per gas unit below which the base fee never falls.
    pub minimum_base_fee: u64,
    /// Seconds by which genesis is dated back, so that an old head looks old.
    pub genesis_age_secs: u64,
    /// Bytes that a seal proof may be padded to with zeros, so that messages are as long as in
    /// production (1920 for 32 and 64 GiB); 0 takes no padding.
    pub proof_bytes: u64,
}

/// From an epoch on the network is of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    pub height: ChainEpoch,
    pub version: u32,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        NetworkPolicy {
            network_name: "damocles-devnet".to_owned(),
            network_version: 28,
            block_delay_secs: 4,
            propagation_delay_secs: 1,
            wpost_proving_period: EPOCHS_IN_DAY,
            wpost_period_deadlines: 48,
            wpost_challenge_window: 60,
            wpost_challenge_lookback: 20,
            wpost_max_chain_commit_age: 60,
            wpost_dispute_window: 1800,
            fault_declaration_cutoff: 70,
            fault_max_age: 42 * EPOCHS_IN_DAY,
            chain_finality: 900,
            pre_commit_challenge_delay: 10,
            max_pre_commit_randomness_lookback: EPOCHS_IN_DAY + 900,
            expired_pre_commit_clean_up_delay: 960,
            worker_key_change_delay: 900,
            min_sector_expiration: 180 * EPOCHS_IN_DAY,
            max_sector_expiration_extension: 1278 * EPOCHS_IN_DAY,
            max_partitions_per_deadline: 3000,
            posted_partitions_max: 3,
            addressed_partitions_max: 3000,
            addressed_sectors_max: 25_000,
            min_aggregated_sectors: 4,
            max_aggregated_sectors: 819,
            consensus_miner_min_power: 2048,
            block_gas_limit: 10_000_000_000,
            initial_base_fee: 100_000_000,
            minimum_base_fee: 100,
            genesis_age_secs: 0,
            proof_bytes: 0,
        }
    }
}

/// A policy that cannot work, in one sentence per fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network policy cannot work: {}; hint: see the defaults of damocles-devnet, or give --proving-period-deadlines and --challenge-window only", .0.join("; "))]
pub struct BadPolicy(pub Vec<String>);

impl NetworkPolicy {
    /// The default policy with a proving period of `deadlines` × `window` epochs, and what
    /// depends on the window (lookback, declaration cutoff, commit age, dispute window,
    /// fault age) shortened in the same proportion.
    pub fn with_periods(deadlines: u64, window: ChainEpoch) -> Self {
        let period = window.saturating_mul(deadlines as i64);
        let lookback = (window / 3).max(1);
        NetworkPolicy {
            wpost_proving_period: period,
            wpost_period_deadlines: deadlines,
            wpost_challenge_window: window,
            wpost_challenge_lookback: lookback,
            fault_declaration_cutoff: lookback + window * 5 / 6,
            wpost_max_chain_commit_age: window,
            wpost_dispute_window: (period * 5 / 8).max(1),
            fault_max_age: period.saturating_mul(42),
            ..NetworkPolicy::default()
        }
    }

    /// Checks what the rules of the miner actor take for granted; all faults at once.
    pub fn validate(&self) -> Result<(), BadPolicy> {
        let mut faults = Vec::new();
        let mut check = |ok: bool, fault: &str| {
            if !ok {
                faults.push(fault.to_owned());
            }
        };
        check(
            self.network_version == 28,
            "network_version must be 28, the version whose actors the devnet runs",
        );
        check(
            self.wpost_period_deadlines >= 3,
            "wpost_period_deadlines must be at least 3: the open deadline and the next one take no sectors",
        );
        check(
            self.wpost_period_deadlines <= 48,
            "wpost_period_deadlines must be at most 48",
        );
        check(
            self.wpost_challenge_window >= 2,
            "wpost_challenge_window must be at least 2 epochs",
        );
        check(
            self.wpost_challenge_window
                .checked_mul(self.wpost_period_deadlines as i64)
                == Some(self.wpost_proving_period),
            "wpost_proving_period must be wpost_period_deadlines × wpost_challenge_window",
        );
        check(
            self.wpost_challenge_lookback >= 1
                && self.wpost_challenge_lookback <= self.wpost_challenge_window,
            "wpost_challenge_lookback must lie between 1 and wpost_challenge_window",
        );
        check(
            self.fault_declaration_cutoff >= self.wpost_challenge_lookback,
            "fault_declaration_cutoff must not be less than wpost_challenge_lookback, or faults could be declared after the challenge is known",
        );
        check(
            self.wpost_max_chain_commit_age >= self.wpost_challenge_lookback,
            "wpost_max_chain_commit_age must not be less than wpost_challenge_lookback",
        );
        check(
            self.wpost_dispute_window >= 1,
            "wpost_dispute_window must be at least 1",
        );
        check(
            self.fault_max_age >= self.wpost_proving_period,
            "fault_max_age must be at least one proving period",
        );
        check(
            self.chain_finality >= 1,
            "chain_finality must be at least 1",
        );
        check(
            self.pre_commit_challenge_delay >= 1,
            "pre_commit_challenge_delay must be at least 1",
        );
        check(
            self.max_pre_commit_randomness_lookback > self.chain_finality,
            "max_pre_commit_randomness_lookback must exceed chain_finality, for tickets are drawn that far back",
        );
        check(
            self.expired_pre_commit_clean_up_delay >= 1,
            "expired_pre_commit_clean_up_delay must be at least 1",
        );
        check(
            self.min_sector_expiration >= self.wpost_proving_period,
            "min_sector_expiration must be at least one proving period",
        );
        check(
            self.max_sector_expiration_extension >= self.min_sector_expiration,
            "max_sector_expiration_extension must not be less than min_sector_expiration",
        );
        check(
            self.max_partitions_per_deadline >= 1
                && self.posted_partitions_max >= 1
                && self.addressed_partitions_max >= 1
                && self.addressed_sectors_max >= 1,
            "the partition and sector limits must be at least 1",
        );
        check(
            self.min_aggregated_sectors >= 1
                && self.min_aggregated_sectors <= self.max_aggregated_sectors
                && self.max_aggregated_sectors <= 819,
            "aggregation limits must satisfy 1 ≤ min_aggregated_sectors ≤ max_aggregated_sectors ≤ 819",
        );
        check(
            self.block_gas_limit >= 1_000_000_000,
            "block_gas_limit must be at least 1000000000, or no proof fits a block",
        );
        check(
            self.block_delay_secs >= 1,
            "block_delay_secs must be at least 1",
        );
        check(
            self.minimum_base_fee >= 1 && self.initial_base_fee >= self.minimum_base_fee,
            "initial_base_fee must not be less than minimum_base_fee, and that must be at least 1",
        );
        check(
            self.proof_bytes <= MAX_PROOF_BYTES,
            "proof_bytes must be at most 1920, the length of the largest seal proof",
        );
        if faults.is_empty() {
            Ok(())
        } else {
            Err(BadPolicy(faults))
        }
    }

    /// The form that the miner actor's code takes.
    pub fn actor_policy(&self, sector_size: SectorSize) -> Policy {
        let (seals, post) = proofs(sector_size);
        let mut seal_set = ProofSet::default_precommit_seal_proofs();
        for seal in seals {
            seal_set.insert(seal);
        }
        let mut post_set = ProofSet::default_post_proofs();
        post_set.insert(post);
        Policy {
            max_aggregated_sectors: self.max_aggregated_sectors,
            min_aggregated_sectors: self.min_aggregated_sectors,
            expired_pre_commit_clean_up_delay: self.expired_pre_commit_clean_up_delay,
            wpost_proving_period: self.wpost_proving_period,
            wpost_challenge_window: self.wpost_challenge_window,
            wpost_period_deadlines: self.wpost_period_deadlines,
            wpost_max_chain_commit_age: self.wpost_max_chain_commit_age,
            wpost_dispute_window: self.wpost_dispute_window,
            max_partitions_per_deadline: self.max_partitions_per_deadline,
            addressed_partitions_max: self.addressed_partitions_max,
            addressed_sectors_max: self.addressed_sectors_max,
            posted_partitions_max: self.posted_partitions_max,
            max_pre_commit_randomness_lookback: self.max_pre_commit_randomness_lookback,
            pre_commit_challenge_delay: self.pre_commit_challenge_delay,
            wpost_challenge_lookback: self.wpost_challenge_lookback,
            fault_declaration_cutoff: self.fault_declaration_cutoff,
            fault_max_age: self.fault_max_age,
            worker_key_change_delay: self.worker_key_change_delay,
            min_sector_expiration: self.min_sector_expiration,
            max_sector_expiration_extension: self.max_sector_expiration_extension,
            chain_finality: self.chain_finality,
            minimum_consensus_power: BigInt::from(self.consensus_miner_min_power),
            // as in the "devnet" bundle of builtin actors, whose sectors may be of 2 KiB
            minimum_verified_allocation_size: BigInt::from(256),
            valid_pre_commit_proof_type: seal_set,
            valid_post_proof_type: post_set,
            ..Policy::default()
        }
    }
}

/// Seal proofs that a precommit may name (interactive, with and without synthetic
/// challenges) and the WindowPoSt proof of a sector size.
pub fn proofs(sector_size: SectorSize) -> ([RegisteredSealProof; 2], RegisteredPoStProof) {
    use RegisteredPoStProof as Post;
    use RegisteredSealProof as Seal;
    match sector_size {
        SectorSize::_2KiB => (
            [
                Seal::StackedDRG2KiBV1P1,
                Seal::StackedDRG2KiBV1P1_Feat_SyntheticPoRep,
            ],
            Post::StackedDRGWindow2KiBV1P1,
        ),
        SectorSize::_8MiB => (
            [
                Seal::StackedDRG8MiBV1P1,
                Seal::StackedDRG8MiBV1P1_Feat_SyntheticPoRep,
            ],
            Post::StackedDRGWindow8MiBV1P1,
        ),
        SectorSize::_512MiB => (
            [
                Seal::StackedDRG512MiBV1P1,
                Seal::StackedDRG512MiBV1P1_Feat_SyntheticPoRep,
            ],
            Post::StackedDRGWindow512MiBV1P1,
        ),
        SectorSize::_32GiB => (
            [
                Seal::StackedDRG32GiBV1P1,
                Seal::StackedDRG32GiBV1P1_Feat_SyntheticPoRep,
            ],
            Post::StackedDRGWindow32GiBV1P1,
        ),
        SectorSize::_64GiB => (
            [
                Seal::StackedDRG64GiBV1P1,
                Seal::StackedDRG64GiBV1P1_Feat_SyntheticPoRep,
            ],
            Post::StackedDRGWindow64GiBV1P1,
        ),
    }
}
