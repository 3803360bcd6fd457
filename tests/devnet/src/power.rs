//! The power actor's part: who claims how much power, the network's pledge, and when each
//! miner's deadline cron is due. Its state is a record of this network's own; only the
//! miner actor's state has Filecoin's exact form.
use fil_actor_miner_state::v18::PowerPair;
use fvm_ipld_encoding::tuple::{Deserialize_tuple, Serialize_tuple};
use fvm_ipld_encoding::{BytesDe, strict_bytes};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::sector::{RegisteredPoStProof, StoragePower};

/// Method numbers that the power actor answers here.
pub const CREATE_MINER: u64 = 2;
/// FRC-42 hash of "CreateMiner".
pub const CREATE_MINER_EXPORTED: u64 = 1_173_380_165;

/// Parameters of CreateMiner.
#[derive(Clone, Debug, Serialize_tuple, Deserialize_tuple)]
pub struct CreateMinerParams {
    pub owner: Address,
    pub worker: Address,
    pub window_post_proof_type: RegisteredPoStProof,
    #[serde(with = "strict_bytes")]
    pub peer: Vec<u8>,
    pub multiaddrs: Vec<BytesDe>,
}

/// Return value of CreateMiner.
#[derive(Clone, Debug, Serialize_tuple, Deserialize_tuple)]
pub struct CreateMinerReturn {
    pub id_address: Address,
    pub robust_address: Address,
}

/// One miner's claim.
#[derive(Clone, Debug, Serialize_tuple, Deserialize_tuple)]
pub struct Claim {
    pub miner: ActorID,
    pub power: PowerPair,
}

/// A call that a miner asked to get at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct CronEvent {
    pub epoch: ChainEpoch,
    pub miner: ActorID,
    pub event_type: i64,
}

/// State of f04 on this network.
#[derive(Clone, Debug, Default, Serialize_tuple, Deserialize_tuple)]
pub struct PowerState {
    pub claims: Vec<Claim>,
    pub total_pledge: TokenAmount,
    /// Sorted by epoch.
    pub cron: Vec<CronEvent>,
}

impl PowerState {
    /// Enters a new miner with no power.
    pub fn add_miner(&mut self, miner: ActorID) {
        self.claims.push(Claim {
            miner,
            power: PowerPair::zero(),
        });
    }

    /// The miner's claim, zero if it has none.
    pub fn claim(&self, miner: ActorID) -> PowerPair {
        self.claims
            .iter()
            .find(|c| c.miner == miner)
            .map_or_else(PowerPair::zero, |c| c.power.clone())
    }

    /// Changes a miner's claim.
    pub fn add_power(&mut self, miner: ActorID, delta: &PowerPair) {
        if let Some(claim) = self.claims.iter_mut().find(|c| c.miner == miner) {
            claim.power += delta;
        }
    }

    /// Power of all miners that have the minimum, or of all when none has it, as the
    /// power actor counts it.
    pub fn total(&self, min_power: &StoragePower) -> PowerPair {
        let mut above = PowerPair::zero();
        let mut all = PowerPair::zero();
        let mut any_above = false;
        for claim in &self.claims {
            all += &claim.power;
            if &claim.power.raw >= min_power {
                any_above = true;
                above += &claim.power;
            }
        }
        if any_above { above } else { all }
    }

    /// Puts a cron call into the queue.
    pub fn enroll(&mut self, event: CronEvent) {
        let at = self.cron.partition_point(|e| e.epoch <= event.epoch);
        self.cron.insert(at, event);
    }

    /// Takes the calls that are due at `epoch` or before.
    pub fn take_due(&mut self, epoch: ChainEpoch) -> Vec<CronEvent> {
        let at = self.cron.partition_point(|e| e.epoch <= epoch);
        self.cron.drain(..at).collect()
    }
}
