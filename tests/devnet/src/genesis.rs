//! The first tipset: the network's own actors, the funded accounts, and the genesis miners
//! with their presealed sectors.
use std::sync::Arc;

use anyhow::{Context, ensure};
use fil_actor_miner_state::v18::{
    CompactCommD, PowerPair, SectorPreCommitInfo, SectorPreCommitOnChainInfo,
};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;
use fvm_shared::state::ActorState;

use crate::block::{BlockHeader, ElectionProof, Ticket};
use crate::chain::{Anchor, Chain, ChainRand, Node};
use crate::engine::Engine;
use crate::market;
use crate::miner::{self, GasMeter};
use crate::policy::proofs;
use crate::power::PowerState;
use crate::preseal::Presealed;
use crate::randomness::{beacon_entry, beacon_round, ticket_proof};
use crate::registry;
use crate::tree::{
    BLANK, BURNT_FUNDS, CRON, DATACAP, FIRST_USER, MARKET, POWER, REWARD, SYSTEM, Tree,
    VERIFIED_REGISTRY, code,
};

/// The first genesis miner, t01000; others have the ids after it.
pub const GENESIS_MINER: ActorID = 1000;

/// Who has what at genesis.
#[derive(Debug)]
pub struct Endowment<'a> {
    pub owner: Address,
    pub worker: Address,
    pub funded: &'a [(Address, TokenAmount)],
    /// Balance of each genesis miner beyond its creation deposit.
    pub miner_funds: TokenAmount,
}

/// Builds the genesis tipset, with a miner for each list of presealed sectors.
pub fn build(
    engine: &Engine,
    endowment: &Endowment<'_>,
    presealed: &[Vec<Presealed>],
) -> anyhow::Result<Arc<Node>> {
    let mut tree = Tree::empty(&engine.store)?;
    system_actors(engine, &mut tree)?;
    for (key, funds) in endowment.funded {
        let id = match tree.resolve(key)? {
            Some(id) => id,
            None => tree.create_account(key)?,
        };
        tree.add_funds(id, funds)?;
    }
    for key in [&endowment.owner, &endowment.worker] {
        if tree.resolve(key)?.is_none() {
            tree.create_account(key)?;
        }
    }
    ensure!(
        tree.next_id()? <= GENESIS_MINER,
        "too many accounts at genesis: their IDs reach the miner's t01000"
    );
    tree.set_next_id(GENESIS_MINER)?;
    for (miner, sectors) in (GENESIS_MINER..).zip(presealed) {
        genesis_miner(engine, &mut tree, endowment, miner, sectors)?;
    }
    let state = tree.flush()?;

    let receipts = engine.array::<fvm_shared::receipt::Receipt>(&[])?;
    let header = BlockHeader {
        miner: Address::new_id(SYSTEM),
        ticket: Some(Ticket {
            vrf_proof: ticket_proof(&engine.seed, b"genesis", 0, 0),
        }),
        election_proof: Some(ElectionProof {
            win_count: 0,
            vrf_proof: vec![],
        }),
        beacon_entries: vec![beacon_entry(&engine.seed, beacon_round(0))],
        win_post_proof: vec![],
        parents: vec![],
        parent_weight: BigInt::from(0),
        height: 0,
        parent_state_root: state,
        parent_message_receipts: receipts,
        messages: engine.message_meta(&[], &[])?,
        bls_aggregate: None,
        timestamp: engine.genesis_time,
        block_sig: None,
        fork_signaling: 0,
        parent_base_fee: TokenAmount::from_atto(engine.policy.initial_base_fee),
    };
    let next_base_fee = header.parent_base_fee.clone();
    Ok(Arc::new(Node {
        tipset: Arc::new(engine.seal_header(header)?),
        messages: vec![],
        receipts: vec![],
        receipts_root: receipts,
        post_state: state,
        next_base_fee,
    }))
}

fn system_actors(engine: &Engine, tree: &mut Tree) -> anyhow::Result<()> {
    tree.set_up_init(&engine.policy.network_name, FIRST_USER)?;
    let nothing = engine.store.put(&BLANK)?;
    let power = engine.store.put(&PowerState::default())?;
    let market = engine.store.put(&market::State::new(&engine.store)?)?;
    let registry = engine.store.put(&registry::construct(&engine.store)?)?;
    for (id, name, state) in [
        (SYSTEM, "system", nothing),
        (REWARD, "reward", nothing),
        (CRON, "cron", nothing),
        (POWER, "storagepower", power),
        (MARKET, "storagemarket", market),
        (VERIFIED_REGISTRY, "verifiedregistry", registry),
        (DATACAP, "datacap", nothing),
        (BURNT_FUNDS, "account", nothing),
    ] {
        let actor = ActorState::new(code(name)?, state, TokenAmount::default(), 0, None);
        tree.set(id, actor);
    }
    let burnt = crate::tree::AccountState {
        address: Address::new_id(BURNT_FUNDS),
    };
    tree.put_state(BURNT_FUNDS, &burnt)
}

fn genesis_miner(
    engine: &Engine,
    tree: &mut Tree,
    endowment: &Endowment<'_>,
    miner: ActorID,
    presealed: &[Presealed],
) -> anyhow::Result<()> {
    let resolve = |tree: &Tree, key: &Address| {
        tree.resolve(key)?
            .with_context(|| format!("{key} has no account at genesis"))
    };
    let owner = resolve(tree, &endowment.owner)?;
    let worker = resolve(tree, &endowment.worker)?;
    let (seals, post) = proofs(engine.sector_size);
    let chain = Chain::default();
    let rand = ChainRand {
        chain: &chain,
        anchor: Anchor::On(Default::default()),
    };
    let machine = engine.machine(&rand, 0, &TokenAmount::default());
    let balance = engine.economy.creation_deposit(0) + &endowment.miner_funds;
    let mut meter = GasMeter {
        limit: u64::MAX,
        used: 0,
    };
    let before = tree.clone();
    let mut rt = machine.runtime(&before, miner, SYSTEM, balance.clone(), &mut meter)?;
    let mut state = miner::construct(&rt, owner, worker, post, vec![], vec![])?;
    let mut seed = endowment.owner.to_bytes();
    seed.extend_from_slice(b"genesis miner");
    if miner > GENESIS_MINER {
        seed.extend_from_slice(&miner.to_be_bytes());
    }
    let id = machine.place_miner(tree, &Address::new_actor(&seed), &state)?;
    ensure!(id == miner, "the genesis miner f0{miner} got ID {id}");
    tree.add_funds(id, &balance)?;

    let lifetime = engine.actor_policy.max_sector_expiration_extension;
    let expiration = lifetime.min(5 * 365 * 2880);
    let precommits: Vec<_> = presealed
        .iter()
        .map(|sector| SectorPreCommitOnChainInfo {
            info: SectorPreCommitInfo {
                seal_proof: seals[0],
                sector_number: sector.number,
                sealed_cid: sector.comm_r,
                seal_rand_epoch: 0,
                deal_ids: vec![],
                expiration,
                unsealed_cid: CompactCommD::empty(),
            },
            pre_commit_deposit: TokenAmount::default(),
            pre_commit_epoch: 0,
        })
        .collect();
    let power: PowerPair = miner::activate_genesis_sectors(&mut rt, &mut state, &precommits)?;
    rt.effects.power += &power;
    let effects = std::mem::take(&mut rt.effects);
    machine.settle(tree, id, &state, effects)?;
    Ok(())
}
