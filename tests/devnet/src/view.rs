//! What a tipset's state says, read with the actors' own code. A view never changes
//! anything; it answers for the state *before* its tipset's own messages, at that tipset's
//! epoch, as Lotus' `State*` methods do.
use std::sync::Arc;

use cid::Cid;
use fil_actor_miner_state::v18::{
    Deadline, DeadlineInfo, MinerInfo, Partition, PowerPair, SectorOnChainInfo,
    SectorPreCommitInfo, SectorPreCommitOnChainInfo, Sectors, State as MinerState,
    qa_power_for_weight,
};
use fvm_ipld_bitfield::BitField;
use fvm_shared::ActorID;
use fvm_shared::address::{Address, Payload, Protocol};
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::sector::{SectorNumber, SectorSize};
use fvm_shared::state::ActorState;
use parking_lot::RwLock;

use crate::block::{Tipset, TipsetKey};
use crate::chain::{Anchor, Chain, ChainRand, Node, OtherCall};
use crate::economy::overestimate;
use crate::engine::Engine;
use crate::miner::{Rand, disputable_proofs};
use crate::power::PowerState;
use crate::tree::{POWER, Tree, code_name};

/// Why a question about the state has no answer; the texts are those of Lotus.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("actor not found")]
    ActorNotFound(Address),
    #[error("failed to load miner actor: actor not found")]
    MinerNotFound(Address),
    #[error("failed to load miner actor state: actor code is not miner: {code}")]
    NotAMiner { address: Address, code: String },
    #[error("failed to get account actor state for {address}: actor code is not account: {code}")]
    NotAnAccount { address: Address, code: String },
    #[error("{0}")]
    NotFound(String),
    #[error("failed to load tipset: get block {0}: ipld: could not find {0}")]
    NoTipset(Cid),
    /// The verb in the middle is a slip of Lotus' own, and recorded so.
    #[error("%!w(*errors.errorString=&{{failed to load message}}): ipld: could not find {0}")]
    UnknownMessage(Cid),
    #[error("checking for message execution during lookback: {0}")]
    Replaced(Box<OtherCall>),
    #[error("getting {0} randomness: cannot draw randomness from the future")]
    FutureRandomness(&'static str),
    #[error("state could not be read: {0:#}")]
    Broken(#[from] anyhow::Error),
}

impl StateError {
    /// The node does not know a tipset.
    pub fn no_tipset(key: &TipsetKey) -> Self {
        match key.0.first() {
            Some(block) => Self::NoTipset(*block),
            None => Self::NotFound(
                "loading tipset key: NewTipSet called with zero length array of blocks".into(),
            ),
        }
    }
}

type Answer<T> = Result<T, StateError>;

fn broken(error: impl std::fmt::Display) -> StateError {
    StateError::Broken(anyhow::anyhow!("{error}"))
}

/// Claimed and total power, as StateMinerPower tells it.
#[derive(Clone, Debug)]
pub struct PowerView {
    pub miner: PowerPair,
    pub total: PowerPair,
    pub has_min_power: bool,
}

/// Where a sector is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectorLocation {
    pub deadline: u64,
    pub partition: u64,
}

/// When a sector ends: on time, or early because of a fault (0: not faulty).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectorExpiration {
    pub on_time: ChainEpoch,
    pub early: ChainEpoch,
}

/// One deadline as StateMinerDeadlines tells it.
#[derive(Debug)]
pub struct DeadlineView {
    pub index: u64,
    pub deadline: Deadline,
    /// Partitions proven in the current (or just closed) window.
    pub partitions_posted: BitField,
    /// Proofs of the last window that may still be disputed.
    pub disputable_proofs: u64,
}

/// The state as of one tipset.
#[derive(Clone, Debug)]
pub struct StateView {
    pub tipset: Arc<Tipset>,
    engine: Arc<Engine>,
    chain: Arc<RwLock<Chain>>,
    tree: Tree,
}

impl StateView {
    pub(crate) fn new(engine: Arc<Engine>, chain: Arc<RwLock<Chain>>, tipset: Arc<Tipset>) -> Self {
        let tree = Tree::at(&engine.store, tipset.parent_state());
        StateView {
            tipset,
            engine,
            chain,
            tree,
        }
    }

    /// The state that a tipset's own messages leave.
    pub(crate) fn after(engine: Arc<Engine>, chain: Arc<RwLock<Chain>>, node: &Node) -> Self {
        let tree = Tree::at(&engine.store, node.post_state);
        StateView {
            tipset: node.tipset.clone(),
            engine,
            chain,
            tree,
        }
    }

    pub fn epoch(&self) -> ChainEpoch {
        self.tipset.height
    }

    /// Root of the state tree.
    pub fn root(&self) -> Cid {
        self.tipset.parent_state()
    }

    /// The state tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn actor(&self, addr: &Address) -> Answer<ActorState> {
        let id = self.lookup_id(addr)?;
        self.tree.actor(id)?.ok_or(StateError::ActorNotFound(*addr))
    }

    /// ID of any address.
    pub fn lookup_id(&self, addr: &Address) -> Answer<ActorID> {
        if let Payload::ID(id) = addr.payload() {
            return Ok(*id);
        }
        self.tree
            .resolve(addr)?
            .ok_or(StateError::ActorNotFound(*addr))
    }

    /// Key address of an account; a key address answers itself.
    pub fn account_key(&self, addr: &Address) -> Answer<Address> {
        if matches!(addr.protocol(), Protocol::Secp256k1 | Protocol::BLS) {
            return Ok(*addr);
        }
        let id = self.lookup_id(addr)?;
        let actor = self
            .tree
            .actor(id)?
            .ok_or(StateError::ActorNotFound(*addr))?;
        self.tree
            .account_key(id)?
            .ok_or_else(|| StateError::NotAnAccount {
                address: *addr,
                code: code_name(&actor.code).unwrap_or("unknown").to_owned(),
            })
    }

    /// ID addresses of all miners that have a claim.
    pub fn list_miners(&self) -> Answer<Vec<Address>> {
        let power: PowerState = self.tree.state(POWER)?;
        Ok(power
            .claims
            .iter()
            .map(|c| Address::new_id(c.miner))
            .collect())
    }

    fn miner(&self, addr: &Address) -> Answer<(ActorID, ActorState, MinerState)> {
        let missing = |error| match error {
            StateError::ActorNotFound(address) => StateError::MinerNotFound(address),
            other => other,
        };
        let id = self.lookup_id(addr).map_err(missing)?;
        let actor = self.tree.actor(id)?;
        let actor = actor.ok_or(StateError::MinerNotFound(*addr))?;
        if code_name(&actor.code) != Some("storageminer") {
            return Err(StateError::NotAMiner {
                address: *addr,
                code: code_name(&actor.code).unwrap_or("unknown").to_owned(),
            });
        }
        let state = self.engine.store.read(&actor.state)?;
        Ok((id, actor, state))
    }

    pub fn miner_state(&self, miner: &Address) -> Answer<MinerState> {
        Ok(self.miner(miner)?.2)
    }

    pub fn miner_info(&self, miner: &Address) -> Answer<MinerInfo> {
        let state = self.miner_state(miner)?;
        Ok(state.get_info(&self.engine.store)?)
    }

    pub fn miner_power(&self, miner: &Address) -> Answer<PowerView> {
        let (id, _, _) = self.miner(miner)?;
        let power: PowerState = self.tree.state(POWER)?;
        let minimum = BigInt::from(self.engine.policy.consensus_miner_min_power);
        let claim = power.claim(id);
        Ok(PowerView {
            has_min_power: claim.raw >= minimum,
            miner: claim,
            total: power.total(&minimum),
        })
    }

    /// Already the next one that has not elapsed, as Lotus answers.
    pub fn proving_deadline(&self, miner: &Address) -> Answer<DeadlineInfo> {
        let state = self.miner_state(miner)?;
        Ok(state
            .recorded_deadline_info(&self.engine.actor_policy, self.epoch())
            .next_not_elapsed())
    }

    /// All deadlines in order.
    pub fn deadlines(&self, miner: &Address) -> Answer<Vec<DeadlineView>> {
        let store = &self.engine.store;
        let state = self.miner_state(miner)?;
        let mut views = Vec::new();
        state
            .load_deadlines(store)
            .map_err(broken)?
            .for_each(store, |index, deadline| {
                views.push(DeadlineView {
                    index,
                    partitions_posted: deadline.partitions_posted.clone(),
                    disputable_proofs: disputable_proofs(store, &deadline)?,
                    deadline,
                });
                Ok(())
            })?;
        Ok(views)
    }

    pub fn partitions(&self, miner: &Address, deadline: u64) -> Answer<Vec<Partition>> {
        let state = self.miner_state(miner)?;
        let store = &self.engine.store;
        let deadline = state
            .load_deadlines(store)
            .map_err(broken)?
            .load_deadline(store, deadline)
            .map_err(|e| StateError::NotFound(e.msg().to_owned()))?;
        let mut partitions = Vec::new();
        deadline.for_each(store, |_, partition| {
            partitions.push(partition.clone());
            Ok(())
        })?;
        Ok(partitions)
    }

    fn each_partition(
        &self,
        state: &MinerState,
        mut visit: impl FnMut(u64, u64, &Partition),
    ) -> Answer<()> {
        let store = &self.engine.store;
        state
            .load_deadlines(store)
            .map_err(broken)?
            .for_each(store, |index, deadline| {
                deadline.for_each(store, |number, partition| {
                    visit(index, number, partition);
                    Ok(())
                })
            })?;
        Ok(())
    }

    fn union(
        &self,
        miner: &Address,
        pick: impl Fn(&Partition) -> BitField,
    ) -> Answer<(MinerState, BitField)> {
        let state = self.miner_state(miner)?;
        let mut parts = Vec::new();
        self.each_partition(&state, |_, _, partition| parts.push(pick(partition)))?;
        Ok((state, BitField::union(&parts)))
    }

    /// All sectors in number order; with a filter only those (a missing one is an error).
    pub fn sectors(
        &self,
        miner: &Address,
        filter: Option<&BitField>,
    ) -> Answer<Vec<SectorOnChainInfo>> {
        let state = self.miner_state(miner)?;
        self.load_sectors(&state, filter)
    }

    fn load_sectors(
        &self,
        state: &MinerState,
        filter: Option<&BitField>,
    ) -> Answer<Vec<SectorOnChainInfo>> {
        let store = &self.engine.store;
        if let Some(filter) = filter {
            let sectors = Sectors::load(store, &state.sectors).map_err(broken)?;
            return sectors
                .load_sectors(filter)
                .map_err(|e| StateError::NotFound(e.msg().to_owned()));
        }
        let mut all = Vec::new();
        state.for_each_sector(store, |sector| {
            all.push(sector.clone());
            Ok(())
        })?;
        Ok(all)
    }

    /// Live, proven and not faulty.
    pub fn active_sectors(&self, miner: &Address) -> Answer<Vec<SectorOnChainInfo>> {
        let (state, active) = self.union(miner, Partition::active_sectors)?;
        self.load_sectors(&state, Some(&active))
    }

    /// (live, active, faulty)
    pub fn sector_count(&self, miner: &Address) -> Answer<(u64, u64, u64)> {
        let state = self.miner_state(miner)?;
        let (mut live, mut active, mut faulty) = (0, 0, 0);
        self.each_partition(&state, |_, _, partition| {
            live += partition.live_sectors().len();
            active += partition.active_sectors().len();
            faulty += partition.faults.len();
        })?;
        Ok((live, active, faulty))
    }

    pub fn sector_info(
        &self,
        miner: &Address,
        sector: SectorNumber,
    ) -> Answer<Option<SectorOnChainInfo>> {
        let state = self.miner_state(miner)?;
        state.get_sector(&self.engine.store, sector).map_err(broken)
    }

    pub fn precommit_info(
        &self,
        miner: &Address,
        sector: SectorNumber,
    ) -> Answer<Option<SectorPreCommitOnChainInfo>> {
        let state = self.miner_state(miner)?;
        state
            .get_precommitted_sector(&self.engine.store, sector)
            .map_err(broken)
    }

    pub fn allocated(&self, miner: &Address) -> Answer<BitField> {
        let state = self.miner_state(miner)?;
        Ok(self.engine.store.read(&state.allocated_sectors)?)
    }

    /// NotFound when no partition holds it.
    pub fn sector_partition(
        &self,
        miner: &Address,
        sector: SectorNumber,
    ) -> Answer<SectorLocation> {
        let state = self.miner_state(miner)?;
        let mut found = None;
        self.each_partition(&state, |deadline, partition, members| {
            if found.is_none() && members.sectors.get(sector) {
                found = Some(SectorLocation {
                    deadline,
                    partition,
                });
            }
        })?;
        found
            .ok_or_else(|| StateError::NotFound(format!("sector {sector} not due at any deadline")))
    }

    /// When the partition's queue lets the sector expire.
    pub fn sector_expiration(
        &self,
        miner: &Address,
        sector: SectorNumber,
    ) -> Answer<SectorExpiration> {
        use fil_actor_miner_state::v18::ExpirationSet;
        use fil_actors_shared::v18::Array;

        let location = self.sector_partition(miner, sector)?;
        let state = self.miner_state(miner)?;
        let store = &self.engine.store;
        let partition = state
            .load_deadlines(store)
            .and_then(|all| all.load_deadline(store, location.deadline))
            .and_then(|deadline| deadline.load_partition(store, location.partition))
            .map_err(broken)?;
        let queue: Array<'_, ExpirationSet, _> =
            Array::load(&partition.expirations_epochs, store).map_err(broken)?;
        let mut expiration = SectorExpiration {
            on_time: 0,
            early: 0,
        };
        let mut found = false;
        queue
            .for_each(|epoch, set| {
                if set.on_time_sectors.get(sector) {
                    expiration.on_time = epoch as ChainEpoch;
                    found = true;
                }
                if set.early_sectors.get(sector) {
                    expiration.early = epoch as ChainEpoch;
                    found = true;
                }
                Ok(())
            })
            .map_err(broken)?;
        if !found {
            return Err(StateError::NotFound(format!(
                "failed to find sector {sector}"
            )));
        }
        Ok(expiration)
    }

    pub fn faults(&self, miner: &Address) -> Answer<BitField> {
        Ok(self.union(miner, |p| p.faults.clone())?.1)
    }

    pub fn recoveries(&self, miner: &Address) -> Answer<BitField> {
        Ok(self.union(miner, |p| p.recoveries.clone())?.1)
    }

    /// What the owner could withdraw: funds that have vested by now count as free.
    pub fn available_balance(&self, miner: &Address) -> Answer<TokenAmount> {
        let (_, actor, state) = self.miner(miner)?;
        let vested = state.check_vested_funds(&self.engine.store, self.epoch())?;
        Ok(state.get_available_balance(&actor.balance)? + vested)
    }

    /// Already ×1.10, as Lotus answers.
    pub fn precommit_deposit_for_power(
        &self,
        _miner: &Address,
        info: &SectorPreCommitInfo,
    ) -> Answer<TokenAmount> {
        let size = info.seal_proof.sector_size().map_err(broken)?;
        Ok(overestimate(&self.engine.economy.precommit_deposit(size)))
    }

    /// Already ×1.10. `verified_size` in bytes of verified pieces.
    pub fn initial_pledge_for_sector(
        &self,
        duration: ChainEpoch,
        sector_size: SectorSize,
        verified_size: u64,
    ) -> Answer<TokenAmount> {
        if duration <= 0 {
            return Err(StateError::NotFound(
                "sector duration must be greater than 0".into(),
            ));
        }
        if verified_size > sector_size as u64 {
            return Err(StateError::NotFound(
                "verified deal size is larger than sector size".into(),
            ));
        }
        let weight = BigInt::from(verified_size) * duration;
        let power = qa_power_for_weight(sector_size, duration, &weight);
        let pledge = self.engine.economy.initial_pledge(&power, self.epoch());
        Ok(overestimate(&pledge))
    }

    /// What CreateMiner asks for (FIP-0077), ×1.10.
    pub fn creation_deposit(&self) -> TokenAmount {
        overestimate(&self.engine.economy.creation_deposit(self.epoch()))
    }

    /// Ticket randomness; `tag` is the DomainSeparationTag's number. Negative epochs read
    /// genesis; an epoch above the tipset is an error.
    pub fn randomness_from_tickets(
        &self,
        tag: i64,
        epoch: ChainEpoch,
        entropy: &[u8],
    ) -> Answer<[u8; 32]> {
        self.draw("chain", epoch, |rand| rand.tickets(tag, epoch, entropy))
    }

    pub fn randomness_from_beacon(
        &self,
        tag: i64,
        epoch: ChainEpoch,
        entropy: &[u8],
    ) -> Answer<[u8; 32]> {
        self.draw("beacon", epoch, |rand| rand.beacon(tag, epoch, entropy))
    }

    fn draw(
        &self,
        source: &'static str,
        epoch: ChainEpoch,
        draw: impl FnOnce(&ChainRand<'_>) -> anyhow::Result<[u8; 32]>,
    ) -> Answer<[u8; 32]> {
        if epoch > self.epoch() {
            return Err(StateError::FutureRandomness(source));
        }
        let chain = self.chain.read();
        Ok(draw(&ChainRand {
            chain: &chain,
            anchor: Anchor::On(self.tipset.key.clone()),
        })?)
    }

    pub fn circulating_supply(&self) -> TokenAmount {
        self.engine.economy.circulating_supply.clone()
    }
}
