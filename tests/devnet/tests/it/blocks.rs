//! Blocks of a miner: made over RPC with real proofs, as a storage provider's software makes them,
//! and refused in a node's words where something is wrong with them.

use std::collections::BTreeMap;

use crate::support::{Net, transfer};
use damocles_devnet::preseal;
use damocles_devnet::proofs::{post_randomness, prover_id};
use damocles_node::{
    BlockHeader, BlockMsg, BlockTemplate, ElectionProof, MiningBaseInfo, PoStProof, Ticket, TipSet,
    W, election,
};
use filecoin_proofs_api as api;
use fvm_shared::address::Address;
use fvm_shared::commcid::cid_to_replica_commitment_v1;
use fvm_shared::crypto::signature::Signature;
use serde::de::DeserializeOwned;
use serde_json::json;

const MINER: u64 = 1000;
/// Number of the WinningPoSt type of 2KiB.
const WINNING_2KIB: i64 = 0;
/// Domain separation tags of go-state-types.
const TICKET: i64 = 1;
const ELECTION: i64 = 2;
const CHALLENGE: i64 = 3;

async fn call<T: DeserializeOwned>(net: &Net, method: &str, params: serde_json::Value) -> T {
    serde_json::from_value(net.call(method, params).await).unwrap()
}

async fn sign(net: &Net, key: &Address, bytes: &[u8]) -> Signature {
    let params = json!([W(*key), W(bytes.to_vec())]);
    call::<W<Signature>>(net, "Filecoin.WalletSign", params)
        .await
        .0
}

/// A round that the miner wins: what it was told, and the template of its block.
pub(crate) async fn won(net: &Net) -> (MiningBaseInfo, BlockTemplate) {
    loop {
        let head: TipSet = call(net, "Filecoin.ChainHead", json!([])).await;
        let round = head.height + 1;
        let base = json!([format!("t0{MINER}"), round, head.cids]);
        let base: MiningBaseInfo = call(net, "Filecoin.MinerGetBaseInfo", base).await;
        assert!(base.eligible_for_mining);
        let miner = fvm_ipld_encoding::to_vec(&Address::new_id(MINER)).unwrap();
        let seed = &base.beacon().data;
        let lot = election::draw(seed, ELECTION, round, &miner);
        let vrf = sign(net, &base.worker_key, &lot).await.bytes;
        let Some(eproof) = ElectionProof::won(vrf, &base.miner_power, &base.network_power) else {
            // with all of the power this is rare
            net.mine(1).await;
            continue;
        };
        let below = head.blocks[0].ticket.as_ref().unwrap();
        let lot = [&miner[..], &below.vrf_proof].concat();
        let lot = election::draw(seed, TICKET, round - 1, &lot);
        let ticket = sign(net, &base.worker_key, &lot).await.bytes;
        let challenge = election::draw(seed, CHALLENGE, round, &miner);
        let messages = json!([head.cids, 0.5]);
        let template = BlockTemplate {
            miner: Address::new_id(MINER),
            parents: head.cids.clone(),
            ticket: Some(Ticket { vrf_proof: ticket }),
            eproof: Some(eproof),
            beacon_values: base.beacon_entries.clone(),
            messages: call(net, "Filecoin.MpoolSelect", messages).await,
            epoch: round,
            timestamp: head.blocks[0].timestamp + net.node.network.policy().block_delay_secs,
            winning_post_proof: vec![PoStProof {
                post_proof: WINNING_2KIB,
                proof_bytes: prove(net, &base, challenge),
            }],
        };
        return (base, template);
    }
}

fn prove(net: &Net, base: &MiningBaseInfo, randomness: [u8; 32]) -> Vec<u8> {
    let store = net.repo.path().join(preseal::DIRECTORY);
    let replicas: BTreeMap<_, _> = (base.sectors.iter())
        .map(|sector| {
            let number = sector.sector_number;
            let replica = api::PrivateReplicaInfo::new(
                api::RegisteredPoStProof::StackedDrgWinning2KiBV1,
                cid_to_replica_commitment_v1(&sector.sealed_cid).unwrap(),
                preseal::cache_dir(&store, MINER, number),
                preseal::sealed_file(&store, MINER, number),
            );
            (api::SectorId::from(number), replica)
        })
        .collect();
    let seed = post_randomness(randomness);
    let mut proofs = api::post::generate_winning_post(&seed, &replicas, prover_id(MINER)).unwrap();
    proofs.remove(0).1
}

pub(crate) async fn made(net: &Net, template: &BlockTemplate) -> BlockMsg {
    call(net, "Filecoin.MinerCreateBlock", json!([template])).await
}

#[tokio::test]
async fn a_block_of_a_miner_is_the_tipset_of_its_round() {
    let net = Net::new(2);
    net.mine(3).await;
    let (key, faucet) = net.keys().await;
    for (from, to) in [(&key, &faucet), (&faucet, &key)] {
        let message = transfer(from, to, "5");
        net.call("Filecoin.MpoolPushMessage", json!([message, null]))
            .await;
    }
    let (_, template) = won(&net).await;
    assert_eq!(template.messages.len(), 2);
    let block = made(&net, &template).await;
    assert_eq!(made(&net, &template).await, block, "the same bytes again");
    assert_eq!(
        (block.bls_messages.len(), block.secpk_messages.len()),
        (1, 1)
    );
    for _ in 0..2 {
        net.call("Filecoin.SyncSubmitBlock", json!([block])).await;
    }
    let head = net.mine(1).await;
    assert_eq!(head["Cids"], json!([W(block.cid())]));
    assert_eq!(head["Blocks"], json!([block.header]));
    let pool = net.call("Filecoin.MpoolPending", json!([[]])).await;
    assert_eq!(pool, json!([]), "its messages ran");
    // the next round builds on it, be it the node's own block or the miner's
    let (_, next) = won(&net).await;
    assert_eq!(next.parents.0, [block.cid()]);
    let next = made(&net, &next).await;
    net.call("Filecoin.SyncSubmitBlock", json!([next])).await;
    assert_eq!(net.mine(1).await["Cids"], json!([W(next.cid())]));
    assert_ne!(net.mine(1).await["Cids"], json!([W(next.cid())]));
}

#[tokio::test]
async fn a_block_that_comes_too_late_is_left_aside() {
    let net = Net::new(2);
    net.mine(3).await;
    let (_, template) = won(&net).await;
    let block = made(&net, &template).await;
    let other = net.mine(1).await["Cids"].take();
    assert_ne!(other, json!([W(block.cid())]));
    net.call("Filecoin.SyncSubmitBlock", json!([block])).await;
    assert_eq!(net.mine(1).await["Blocks"][0]["Parents"], other);
}

/// Refused, with these words.
async fn refused(net: &Net, block: &BlockMsg, words: &str) {
    let said = net.fails("Filecoin.SyncSubmitBlock", json!([block])).await;
    assert!(said.contains(words), "{said:?} instead of {words:?}");
}

#[tokio::test]
async fn what_is_no_block_is_refused_in_a_nodes_words() {
    type Change = fn(&mut BlockHeader);
    let changes: [(Change, &str); 9] = [
        (|b| b.timestamp += 1, "block has wrong timestamp"),
        (|b| b.parent_weight += 1, "parent weight different"),
        (
            |b| b.parent_state_root = b.messages,
            "parent state root did not match",
        ),
        (
            |b| b.beacon_entries.clear(),
            "expected to have beacon entries",
        ),
        (
            |b| b.election_proof.as_mut().unwrap().win_count += 1,
            "miner claims wrong number of wins",
        ),
        (
            |b| b.election_proof.as_mut().unwrap().vrf_proof[1] ^= 1,
            "validating block election proof failed: vrf was invalid",
        ),
        (
            |b| b.ticket.as_mut().unwrap().vrf_proof[1] ^= 1,
            "validating block tickets failed: vrf was invalid",
        ),
        (
            |b| b.win_po_st_proof[0].proof_bytes[20] ^= 1,
            "invalid election post: winning post was invalid",
        ),
        (
            |b| b.messages = b.parents[0],
            "provided messages did not match block",
        ),
    ];
    for (change, words) in changes {
        // the slash filter remembers what it was shown, right or wrong
        let net = Net::new(2);
        net.mine(2).await;
        let (base, template) = won(&net).await;
        let mut block = made(&net, &template).await;
        change(&mut block.header);
        let signature = sign(&net, &base.worker_key, &block.header.signing_bytes()).await;
        block.header.block_sig = Some(signature);
        refused(&net, &block, words).await;
    }
    let net = Net::new(2);
    net.mine(2).await;
    let (_, template) = won(&net).await;
    let mut block = made(&net, &template).await;
    block.header.block_sig.as_mut().unwrap().bytes[3] ^= 1;
    refused(&net, &block, "check block signature failed").await;
}

#[tokio::test]
async fn whoever_makes_two_blocks_where_one_is_allowed_is_found_out() {
    let net = Net::new(2);
    net.mine(2).await;
    let (_, first) = won(&net).await;
    let block = made(&net, &first).await;
    net.call("Filecoin.SyncSubmitBlock", json!([block])).await;
    let witness = format!(
        "<!!> SLASH FILTER DETECTED FAULT due to witness {}",
        block.cid()
    );
    // two blocks of one height
    let mut second = first.clone();
    second.timestamp += 1;
    refused(&net, &made(&net, &second).await, &witness).await;
    // two heights on the same parents
    let mut later = first.clone();
    later.epoch += 1;
    refused(&net, &made(&net, &later).await, &witness).await;
    // on a tipset of a round in which it has a block of its own, without that one
    net.call("Devnet.Reorg", json!([1, null, 2])).await;
    let (_, on_another) = won(&net).await;
    assert_eq!(on_another.epoch, first.epoch + 1);
    refused(&net, &made(&net, &on_another).await, &witness).await;
}

#[tokio::test]
async fn the_node_signs_only_with_a_key_that_it_has() {
    let net = Net::new(1);
    net.mine(2).await;
    let (base, template) = won(&net).await;
    net.call("Filecoin.WalletDelete", json!([W(base.worker_key)]))
        .await;
    let said = net
        .fails("Filecoin.MinerCreateBlock", json!([template]))
        .await;
    assert!(said.starts_with("failed to sign new block"), "{said}");
}
