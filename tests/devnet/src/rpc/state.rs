//! `State*` beyond miners: network, actors, randomness, looking for messages.

use std::collections::BTreeMap;
use std::time::Instant;

use damocles_node::{
    ActiveSync, ActorState, ExecutionTrace, InvocResult, Message, MessageGasCost, MessageTrace,
    MsgLookup, NetworkParams, ReadState, ReturnTrace, SyncState, TipSetKey, W, wire,
};
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;
use super::{chain, shapes};
use crate::codes;
use crate::view::{StateError, StateView};

/// Upgrades before genesis: all of them, as on Lotus' 2k network (`params_2k.go`).
const PAST_UPGRADES: [(&str, ChainEpoch); 32] = [
    ("UpgradeBreezeHeight", -1),
    ("UpgradeSmokeHeight", -1),
    ("UpgradeIgnitionHeight", -2),
    ("UpgradeRefuelHeight", -3),
    ("UpgradeTapeHeight", -4),
    ("UpgradeAssemblyHeight", -5),
    ("UpgradeLiftoffHeight", -6),
    ("UpgradeKumquatHeight", -7),
    ("UpgradeCalicoHeight", -9),
    ("UpgradePersianHeight", -10),
    ("UpgradeOrangeHeight", -11),
    ("UpgradeClausHeight", -12),
    ("UpgradeTrustHeight", -13),
    ("UpgradeNorwegianHeight", -14),
    ("UpgradeTurboHeight", -15),
    ("UpgradeHyperdriveHeight", -16),
    ("UpgradeChocolateHeight", -17),
    ("UpgradeOhSnapHeight", -18),
    ("UpgradeSkyrHeight", -19),
    ("UpgradeSharkHeight", -20),
    ("UpgradeHyggeHeight", -21),
    ("UpgradeLightningHeight", -22),
    ("UpgradeThunderHeight", -23),
    ("UpgradeWatermelonHeight", -24),
    ("UpgradeDragonHeight", -25),
    ("UpgradePhoenixHeight", -26),
    ("UpgradeWaffleHeight", -27),
    ("UpgradeTuktukHeight", -28),
    ("UpgradeTeepHeight", -29),
    ("UpgradeTockHeight", -30),
    ("UpgradeGoldenWeekHeight", -31),
    ("UpgradeFireHorseHeight", -32),
];
/// An epoch that no test network reaches.
const NEVER: ChainEpoch = 999_999_999_999_999;
/// Lotus' 2k network.
const EIP155_CHAIN_ID: u64 = 31_415_926;

/// The state as of the tipset key at that place of the parameters.
pub(super) fn view(node: &Node, params: &Params, index: usize) -> Result<StateView, RpcError> {
    let tipset = chain::load(node, &params.get::<TipSetKey>(index)?)?;
    Ok(node.network.state(&tipset.key)?)
}

pub(super) fn network_name(node: &Node, _: Params) -> Answer {
    answer(&node.network.policy().network_name)
}

pub(super) fn network_version(node: &Node, params: Params) -> Answer {
    let tipset = chain::load(node, &params.get(0)?)?;
    answer(node.network.version_at(tipset.height))
}

pub(super) fn network_params(node: &Node, _: Params) -> Answer {
    let policy = node.network.policy();
    let mut upgrades: BTreeMap<String, ChainEpoch> = PAST_UPGRADES
        .iter()
        .map(|(name, epoch)| ((*name).to_owned(), *epoch))
        .collect();
    upgrades.insert("BreezeGasTampingDuration".to_owned(), 0);
    // The next upgrade, under the name of Lotus and the one of Forest.
    let ordered = node.network.upgrades();
    let next = ordered.last().map_or(NEVER, |upgrade| upgrade.height);
    upgrades.insert("UpgradeXxHeight".to_owned(), next);
    upgrades.insert("UpgradeSolsticeHeight".to_owned(), NEVER);
    let genesis = node.network.genesis();
    answer(NetworkParams {
        network_name: policy.network_name.clone(),
        block_delay_secs: policy.block_delay_secs,
        consensus_miner_min_power: BigInt::from(policy.consensus_miner_min_power),
        pre_commit_challenge_delay: policy.pre_commit_challenge_delay,
        fork_upgrade_params: upgrades,
        eip155_chain_id: EIP155_CHAIN_ID,
        genesis_timestamp: genesis.blocks.first().map_or(0, |b| b.timestamp),
    })
}

/// Stages of a node's work on its chain (Lotus `api.SyncStateStage`).
const IDLE: u64 = 0;
const FETCHING: u64 = 3;

pub(super) fn sync_state(node: &Node, _: Params) -> Answer {
    let network = &node.network;
    let (head, top) = (network.head(), network.top());
    let behind = head.key != top.key;
    let nothing = "0001-01-01T00:00:00Z".to_owned();
    answer(SyncState {
        active_syncs: vec![ActiveSync {
            worker_id: 1,
            base: behind.then(|| shapes::tipset(&head)),
            target: behind.then(|| shapes::tipset(&top)),
            stage: if behind { FETCHING } else { IDLE },
            height: if behind { head.height } else { 0 },
            start: nothing.clone(),
            end: nothing,
            message: String::new(),
        }],
        vm_applied: u64::try_from(head.height).unwrap_or_default(),
    })
}

fn actor_state(view: &StateView, address: &Address) -> Result<ActorState, RpcError> {
    let actor = view.actor(address)?;
    Ok(ActorState {
        code: actor.code,
        head: actor.state,
        nonce: actor.sequence,
        balance: actor.balance,
        delegated_address: actor.delegated_address,
    })
}

pub(super) fn actor(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    let view = view(node, &params, 1)?;
    let mut actor = actor_state(&view, &address)?;
    let version = node.network.version_at(view.tipset.height);
    actor.code = codes::as_of(version, actor.code);
    answer(actor)
}

/// The decoded state: of miners and accounts. Others have nothing here that a storage
/// provider reads.
pub(super) fn read_state(node: &Node, params: Params) -> Answer {
    let W(address): W<Address> = params.get(0)?;
    let view = view(node, &params, 1)?;
    let actor = actor_state(&view, &address)?;
    let state = match view.miner_state(&address) {
        Ok(miner) => json!({
            "Info": W(miner.info),
            "PreCommitDeposits": W(miner.pre_commit_deposits),
            "LockedFunds": W(miner.locked_funds),
            "FeeDebt": W(miner.fee_debt),
            "InitialPledge": W(miner.initial_pledge),
            "PreCommittedSectors": W(miner.pre_committed_sectors),
            "PreCommittedSectorsCleanUp": W(miner.pre_committed_sectors_cleanup),
            "AllocatedSectors": W(miner.allocated_sectors),
            "Sectors": W(miner.sectors),
            "ProvingPeriodStart": miner.proving_period_start,
            "CurrentDeadline": miner.current_deadline,
            "Deadlines": W(miner.deadlines),
            "EarlyTerminations": W(miner.early_terminations),
            "DeadlineCronActive": miner.deadline_cron_active,
        }),
        Err(StateError::NotAMiner { .. }) => match view.account_key(&address) {
            Ok(key) => json!({"Address": W(key)}),
            Err(_) => json!({}),
        },
        Err(error) => return Err(error.into()),
    };
    answer(ReadState {
        balance: actor.balance,
        code: actor.code,
        state,
    })
}

pub(super) fn lookup_id(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    let id = view(node, &params, 1)?.lookup_id(&address)?;
    answer(W(Address::new_id(id)))
}

pub(super) fn account_key(node: &Node, params: Params) -> Answer {
    let W(address) = params.get(0)?;
    answer(W(view(node, &params, 1)?.account_key(&address)?))
}

pub(super) fn list_miners(node: &Node, params: Params) -> Answer {
    answer(W(view(node, &params, 0)?.list_miners()?))
}

pub(super) fn call(node: &Node, params: Params) -> Answer {
    let message: Message = params.get(0)?;
    let tipset = chain::load(node, &params.get(1)?)?;
    let start = Instant::now();
    let called = message.clone().into();
    let (receipt, reason) = node.network.call(&called, &tipset.key)?;
    let error = if receipt.exit_code.is_success() {
        String::new()
    } else {
        node.network.backtrace(&called, &receipt, &reason)
    };
    let receipt = shapes::receipt(&receipt);
    answer(InvocResult {
        msg_cid: message.cid(),
        gas_cost: MessageGasCost {
            message: Some(message.cid()),
            gas_used: fvm_shared::econ::TokenAmount::from_atto(receipt.gas_used),
            ..MessageGasCost::default()
        },
        execution_trace: Some(ExecutionTrace {
            msg: MessageTrace {
                from: message.from,
                to: message.to,
                value: message.value.clone(),
                method: message.method,
                params: message.params.clone(),
                params_codec: fvm_ipld_encoding::DAG_CBOR,
                gas_limit: u64::try_from(message.gas_limit).unwrap_or(0),
                read_only: false,
            },
            msg_rct: ReturnTrace {
                exit_code: receipt.exit_code,
                r#return: receipt.r#return.clone(),
                return_codec: fvm_ipld_encoding::DAG_CBOR,
            },
            invoked_actor: None,
            gas_charges: Vec::new(),
            subcalls: Vec::new(),
        }),
        msg: message,
        msg_rct: Some(receipt),
        error,
        duration: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
    })
}

pub(super) fn search_msg(node: &Node, params: Params) -> Answer {
    let from = chain::load(node, &params.get(0)?)?;
    let W(cid) = params.get(1)?;
    let found = node
        .network
        .search_message(&from.key, &cid, params.get(2)?, params.get(3)?)?;
    answer(found.as_ref().map(shapes::lookup))
}

pub(super) async fn wait_msg(node: std::sync::Arc<Node>, params: Params) -> Answer {
    let W(cid) = params.get(0)?;
    let confidence: u64 = params.get(1)?;
    let limit: ChainEpoch = params.get(2)?;
    let allow_replaced: bool = params.get(3)?;
    let finality = node.network.policy().chain_finality;
    // Lotus since 1.36.2: nobody may wait for longer than finality.
    if i64::try_from(confidence).map_or(true, |c| c > finality) {
        return Err(RpcError::failed(format!(
            "confidence {confidence} is greater than the finality of {finality} epochs"
        )));
    }
    let found = node
        .network
        .wait_message(&cid, confidence, limit, allow_replaced)
        .await?;
    let mut lookup = shapes::lookup(&found);
    lookup.return_dec = decoded_return(&lookup);
    answer(lookup)
}

/// Lotus decodes the return value by the method's type; what it has no type for stays base64.
fn decoded_return(lookup: &MsgLookup) -> Value {
    let receipt = &lookup.receipt;
    if receipt.exit_code != 0 || receipt.r#return.is_empty() {
        return Value::Null;
    }
    serde_json::to_value(W(receipt.r#return.clone())).unwrap_or_default()
}

fn entropy(params: &Params, index: usize) -> Result<Vec<u8>, RpcError> {
    Ok(params.get::<W<Vec<u8>>>(index)?.0)
}

pub(super) fn randomness_from_tickets(node: &Node, params: Params) -> Answer {
    // This one method of Lotus takes no empty key for the head.
    let key: TipSetKey = params.get(3)?;
    if key.is_head() {
        return Err(StateError::no_tipset(&shapes::key(&key)).into());
    }
    let view = view(node, &params, 3)?;
    let drawn =
        view.randomness_from_tickets(params.get(0)?, params.get(1)?, &entropy(&params, 2)?)?;
    answer(W(drawn.to_vec()))
}

pub(super) fn randomness_from_beacon(node: &Node, params: Params) -> Answer {
    let view = view(node, &params, 3)?;
    let drawn =
        view.randomness_from_beacon(params.get(0)?, params.get(1)?, &entropy(&params, 2)?)?;
    answer(W(drawn.to_vec()))
}

/// The tipset whose ticket or beacon entry speaks for an epoch (the one before, when that
/// round was null; genesis for negative epochs).
fn speaker(node: &Node, params: &Params) -> Result<std::sync::Arc<crate::block::Tipset>, RpcError> {
    let epoch: ChainEpoch = params.get(0)?;
    let anchor = chain::load(node, &params.get(1)?)?;
    if epoch > anchor.height {
        return Err(StateError::FutureRandomness("chain").into());
    }
    node.network
        .tipset_by_height(epoch.max(0), &anchor.key)
        .ok_or_else(|| RpcError::failed(format!("no tipset at height {epoch}")))
}

pub(super) fn digest_from_tickets(node: &Node, params: Params) -> Answer {
    let tipset = speaker(node, &params)?;
    let ticket = tipset.min_ticket_block().ticket.as_ref();
    let proof = ticket.map_or(&[][..], |t| &t.vrf_proof);
    answer(W(crate::randomness::blake2b256(proof).to_vec()))
}

pub(super) fn digest_from_beacon(node: &Node, params: Params) -> Answer {
    let tipset = speaker(node, &params)?;
    let entry = node.network.beacon_entry(tipset.height);
    answer(W(crate::randomness::blake2b256(&entry.data).to_vec()))
}

pub(super) async fn beacon_entry(node: std::sync::Arc<Node>, params: Params) -> Answer {
    let epoch: ChainEpoch = params.get(0)?;
    let mut changes = node.network.subscribe().changes;
    // the entry of a round is there before its block
    while node.network.head().height + 1 < epoch {
        match changes.recv().await {
            // A lagging receiver only missed heads; the loop looks at the newest.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(RpcError::failed("the network has stopped")),
        }
    }
    answer(shapes::beacon_entry(
        &node.network.beacon_entry(epoch.max(0)),
    ))
}

/// For other rooms: an address parameter.
pub(super) fn address(params: &Params, index: usize) -> Result<Address, RpcError> {
    let text: String = params.get(index)?;
    wire::parse_address(&text)
        .map_err(|e| RpcError::new(RpcError::PARSE, format!("{text:?} is not an address: {e}")))
}
