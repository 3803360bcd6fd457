//! The miner actor. Its state is kept by the actors' own code
//! (`fil_actor_miner_state::v18`); the rules of its methods, which those crates leave out,
//! are written here after builtin-actors v18 (`actors/miner/src/lib.rs`), each refusal with
//! the same exit code and in the same order. One file per group of methods; a method that
//! is not in the table below is refused with USR_UNHANDLED_MESSAGE, and a later one is
//! added by a line there and a file here.
mod compact;
mod create;
mod cron;
mod data;
mod faults;
mod money;
mod numbers;
mod owner;
mod post;
mod precommit;
mod prove;

use fil_actor_miner_state::v18::{
    ERR_BALANCE_INVARIANTS_BROKEN, MinerInfo, PowerPair, State, WindowedPoSt,
};
use fil_actors_shared::v18::ActorError;
use fil_actors_shared::v18::runtime::Policy;
use fvm_ipld_encoding::{RawBytes, from_slice, to_vec};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use fvm_shared::sector::SectorNumber;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use create::construct;
pub use cron::{EARLY_TERMINATIONS, PROVING_DEADLINE, on_cron};
pub use owner::worker_account;
pub use prove::activate_genesis_sectors;

use crate::economy::Economy;
use crate::gas;
use crate::market;
use crate::proofs::Verifier;
use crate::registry;
use crate::store::Store;
use crate::tree::Tree;

/// Randomness of the chain on which a message runs.
pub trait Rand {
    /// Drawn from the ticket of an epoch.
    fn tickets(&self, tag: i64, epoch: ChainEpoch, entropy: &[u8]) -> anyhow::Result<[u8; 32]>;
    /// Drawn from the beacon entry of an epoch.
    fn beacon(&self, tag: i64, epoch: ChainEpoch, entropy: &[u8]) -> anyhow::Result<[u8; 32]>;
}

/// Gas that a message may still use.
#[derive(Clone, Copy, Debug)]
pub struct GasMeter {
    pub limit: u64,
    pub used: u64,
}

impl GasMeter {
    /// Takes gas or fails with SYS_OUT_OF_GAS.
    pub fn charge(&mut self, gas: u64) -> Result<(), ActorError> {
        self.used = self.used.saturating_add(gas);
        if self.used > self.limit {
            return Err(ActorError::unchecked(
                ExitCode::SYS_OUT_OF_GAS,
                format!(
                    "needs at least {} gas, the limit is {}",
                    self.used, self.limit
                ),
            ));
        }
        Ok(())
    }
}

/// What a method changed outside of the miner's own state; applied when it succeeds.
#[derive(Clone, Debug)]
pub struct Effects {
    pub burn: TokenAmount,
    /// What the miner pays to whom.
    pub paid: Option<(ActorID, TokenAmount)>,
    pub power: PowerPair,
    pub pledge: TokenAmount,
    /// (epoch, event type) of cron calls that the miner asks for.
    pub cron: Vec<(ChainEpoch, i64)>,
    /// Partitions and the sectors in them that a WindowPoSt proved.
    pub posts: Vec<ProvenPartition>,
    /// New states of the verified registry and of the storage market.
    pub registry: Option<registry::State>,
    pub market: Option<market::State>,
}

impl Default for Effects {
    fn default() -> Self {
        Effects {
            burn: TokenAmount::default(),
            paid: None,
            power: PowerPair::zero(),
            pledge: TokenAmount::default(),
            cron: Vec::new(),
            posts: Vec::new(),
            registry: None,
            market: None,
        }
    }
}

/// One partition of an accepted WindowPoSt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenPartition {
    pub deadline: u64,
    pub partition: u64,
    pub sectors: Vec<SectorNumber>,
}

/// Everything that a method sees of the world.
pub struct Runtime<'a> {
    /// All actors, before the method.
    pub tree: &'a Tree,
    pub store: &'a Store,
    pub policy: &'a Policy,
    pub economy: &'a Economy,
    pub verifier: &'a dyn Verifier,
    pub rand: &'a dyn Rand,
    pub epoch: ChainEpoch,
    /// Bytes that a seal proof may be padded to; 0 for none.
    pub proof_bytes: u64,
    pub miner: ActorID,
    pub caller: ActorID,
    /// The miner's balance, the message's value included.
    pub balance: TokenAmount,
    /// The verified registry and the storage market before the method.
    pub registry: registry::State,
    pub market: market::State,
    pub gas: &'a mut GasMeter,
    pub effects: Effects,
}

impl std::fmt::Debug for Runtime<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("epoch", &self.epoch)
            .field("miner", &self.miner)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

type Outcome = Result<RawBytes, ActorError>;

/// The dispatch table.
pub fn invoke(rt: &mut Runtime<'_>, state: &mut State, method: u64, params: &RawBytes) -> Outcome {
    match method {
        2 => control_addresses(rt, state),
        3 => owner::change_worker(rt, state, decode(params)?),
        5 => post::submit_windowed_post(rt, state, decode(params)?),
        10 => faults::declare_faults(rt, state, decode(params)?),
        11 => faults::declare_faults_recovered(rt, state, decode(params)?),
        16 => money::withdraw(rt, state, decode(params)?),
        19 => compact::compact_partitions(rt, state, decode(params)?),
        20 => numbers::compact(rt, state, decode(params)?),
        21 => owner::confirm_worker(rt, state),
        22 => money::repay(rt, state),
        23 => owner::change_owner(rt, state, decode(params)?),
        28 => precommit::pre_commit_sector_batch2(rt, state, decode(params)?),
        30 => owner::change_beneficiary(rt, state, decode(params)?),
        34 => prove::prove_commit_sectors3(rt, state, decode(params)?),
        other => Err(ActorError::unhandled_message(format!(
            "invalid method: {other}"
        ))),
    }
}

fn decode<T: DeserializeOwned>(params: &RawBytes) -> Result<T, ActorError> {
    from_slice(params.bytes())
        .map_err(|e| ActorError::serialization(format!("failed to decode parameters: {e}")))
}

fn encode<T: Serialize>(value: &T) -> Outcome {
    RawBytes::serialize(value)
        .map_err(|e| ActorError::serialization(format!("failed to encode return value: {e}")))
}

fn nothing() -> Outcome {
    Ok(RawBytes::default())
}

/// An error of the state code keeps its own exit code; any other gets `code`.
fn state_error(error: anyhow::Error, what: &str) -> ActorError {
    use fil_actors_shared::v18::ActorDowncast;
    error.downcast_default(ExitCode::USR_ILLEGAL_STATE, what)
}

fn info(rt: &Runtime<'_>, state: &State) -> Result<MinerInfo, ActorError> {
    state
        .get_info(rt.store)
        .map_err(|e| state_error(e, "could not read miner info"))
}

/// Only worker, owner and control addresses may call.
fn check_caller(rt: &Runtime<'_>, info: &MinerInfo) -> Result<(), ActorError> {
    let mut allowed = info.control_addresses.clone();
    allowed.extend([info.worker, info.owner]);
    only(rt, &allowed)
}

/// Only these may call.
fn only(rt: &Runtime<'_>, allowed: &[Address]) -> Result<(), ActorError> {
    let caller = Address::new_id(rt.caller);
    if allowed.contains(&caller) {
        return Ok(());
    }
    Err(ActorError::forbidden(format!(
        "caller {caller} is not one of supported"
    )))
}

fn consensus_fault_active(info: &MinerInfo, epoch: ChainEpoch) -> bool {
    epoch <= info.consensus_fault_elapsed
}

/// Takes the whole fee debt out of the unlocked balance or fails; what must be burned.
fn repay_debts(rt: &Runtime<'_>, state: &mut State) -> Result<TokenAmount, ActorError> {
    state
        .repay_debts(&rt.balance)
        .map_err(|e| state_error(e, "unlocked balance can not repay fee debt"))
}

/// Burns part of the miner's balance.
fn burn(rt: &mut Runtime<'_>, amount: TokenAmount) {
    if amount.is_positive() {
        rt.balance -= &amount;
        rt.effects.burn += amount;
    }
}

fn check_balance(rt: &Runtime<'_>, state: &State) -> Result<(), ActorError> {
    state.check_balance_invariants(&rt.balance).map_err(|e| {
        ActorError::unchecked(
            ERR_BALANCE_INVARIANTS_BROKEN,
            format!("balance invariants broken: {e}"),
        )
    })
}

/// The miner's address as it enters into drawn randomness.
fn entropy(rt: &Runtime<'_>) -> Result<Vec<u8>, ActorError> {
    to_vec(&Address::new_id(rt.miner))
        .map_err(|e| ActorError::serialization(format!("address for randomness: {e}")))
}

fn draw_error(error: anyhow::Error) -> ActorError {
    ActorError::illegal_argument(format!("could not draw randomness: {error}"))
}

#[derive(Debug, serde::Serialize)]
struct ControlAddressesReturn(Address, Address, Vec<Address>);

fn control_addresses(rt: &mut Runtime<'_>, state: &State) -> Outcome {
    rt.gas.charge(gas::ACTOR_CALL)?;
    let info = info(rt, state)?;
    encode(&ControlAddressesReturn(
        info.owner,
        info.worker,
        info.control_addresses,
    ))
}

/// Number of proofs in a deadline's last window that may still be disputed.
pub fn disputable_proofs(
    store: &Store,
    deadline: &fil_actor_miner_state::v18::Deadline,
) -> anyhow::Result<u64> {
    let proofs = deadline.optimistic_proofs_snapshot_amt(store)?;
    let mut count = 0;
    proofs.for_each(|_, _: &WindowedPoSt| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}
