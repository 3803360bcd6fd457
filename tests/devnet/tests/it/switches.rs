//! Trouble of the whole network on request: lost branches, null rounds, fees, lost, held and
//! replaced messages, upgrades.

use crate::support::{Net, transfer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fil_actor_miner_state::v18::{CompactCommD, PreCommitSectorBatchParams2, SectorPreCommitInfo};
use fvm_ipld_encoding::to_vec;
use fvm_shared::commcid::replica_commitment_v1_to_cid;
use fvm_shared::sector::RegisteredSealProof;
use serde_json::{Value, json};

const MINER: &str = "t01000";

/// Sends the precommit of a sector; the signed message.
async fn precommit(net: &Net, from: &str, sector_number: u64) -> Value {
    let params = PreCommitSectorBatchParams2 {
        sectors: vec![SectorPreCommitInfo {
            seal_proof: RegisteredSealProof::StackedDRG2KiBV1P1,
            sector_number,
            sealed_cid: replica_commitment_v1_to_cid(&[5; 32]).unwrap(),
            seal_rand_epoch: 1,
            deal_ids: vec![],
            expiration: 300 * 2880,
            unsealed_cid: CompactCommD::empty(),
        }],
    };
    let mut message = transfer(from, MINER, "1000000000000000000");
    message["Method"] = json!(28);
    message["Params"] = json!(STANDARD.encode(to_vec(&params).unwrap()));
    net.call("Filecoin.MpoolPushMessage", json!([message, null]))
        .await
}

async fn search(net: &Net, cid: &Value) -> Value {
    net.call("Filecoin.StateSearchMsg", json!([[], cid, -1, true]))
        .await
}

async fn precommitted(net: &Net, sector: u64) -> bool {
    let info = json!([MINER, sector, []]);
    !net.call("Filecoin.StateSectorPreCommitInfo", info)
        .await
        .is_null()
}

#[tokio::test]
async fn a_lost_branch_takes_its_state_with_it_and_its_messages_land_again() {
    let net = Net::new(0);
    let (worker, _) = net.keys().await;
    net.mine(3).await;
    let balance = json!([worker]);
    let before = net.call("Filecoin.WalletBalance", balance.clone()).await;
    let sent = precommit(&net, &worker, 5).await;
    net.mine(3).await;
    let landed = search(&net, &sent["CID"]).await;
    assert!(precommitted(&net, 5).await);
    let old = net.call("Filecoin.ChainHead", json!([])).await;

    net.call("Devnet.HoldMessages", json!([true])).await;
    let head = net.call("Devnet.Reorg", json!([3, false, 2])).await;
    assert_eq!(head["Height"], 5);
    assert!(!precommitted(&net, 5).await);
    assert!(search(&net, &sent["CID"]).await.is_null());
    let allocated = json!([MINER, 5, []]);
    assert_eq!(
        net.call("Filecoin.StateMinerSectorAllocated", allocated)
            .await,
        false
    );
    assert_eq!(net.call("Filecoin.WalletBalance", balance).await, before);
    // the pool has it back
    let pending = net.call("Filecoin.MpoolPending", json!([[]])).await;
    assert_eq!(pending, json!([sent]));
    // another branch, and the old one is still known by its keys
    let at_four = net.call("Filecoin.ChainGetTipSetByHeight", json!([4, []]));
    let there = json!([4, old["Cids"]]);
    let on_old = net.call("Filecoin.ChainGetTipSetByHeight", there).await;
    assert_ne!(at_four.await["Cids"], on_old["Cids"]);
    let key = json!([MINER, 5, old["Cids"]]);
    assert!(
        !net.call("Filecoin.StateSectorPreCommitInfo", key)
            .await
            .is_null(),
        "the lost branch is still told of as it was"
    );
    let draw = |key: &Value| json!([5, 4, "", key]);
    let (old_key, new_key) = (old["Cids"].clone(), head["Cids"].clone());
    let was = net.call("Filecoin.StateGetRandomnessFromTickets", draw(&old_key));
    let is = net.call("Filecoin.StateGetRandomnessFromTickets", draw(&new_key));
    assert_ne!(was.await, is.await);

    net.call("Devnet.HoldMessages", json!([false])).await;
    net.mine(2).await;
    let again = search(&net, &sent["CID"]).await;
    assert_eq!(again["Message"], landed["Message"]);
    assert_ne!(again["TipSet"], landed["TipSet"]);
    assert!(precommitted(&net, 5).await);
}

#[tokio::test]
async fn a_second_lost_branch_is_a_third_one_also_after_a_restart() {
    let net = Net::new(0);
    net.mine(3).await;
    let mut keys = Vec::new();
    let mut net = net;
    for _ in 0..3 {
        keys.push(net.call("Devnet.Reorg", json!([1, null, 1])).await["Cids"].take());
        net = net.restart();
    }
    keys.sort_by_key(Value::to_string);
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn a_branch_lost_with_the_pool_leaves_a_message_that_is_known_and_nowhere() {
    let net = Net::new(0);
    let (worker, _) = net.keys().await;
    net.mine(2).await;
    let sent = precommit(&net, &worker, 5).await;
    net.mine(2).await;
    net.call("Devnet.Reorg", json!([2, true, 4])).await;
    assert!(search(&net, &sent["CID"]).await.is_null());
    assert_eq!(
        net.call("Filecoin.MpoolPending", json!([[]])).await,
        json!([])
    );
    assert_eq!(net.call("Filecoin.MpoolGetNonce", json!([worker])).await, 0);
    net.call("Filecoin.MpoolPush", json!([sent])).await;
    net.mine(2).await;
    assert_eq!(search(&net, &sent["CID"]).await["Receipt"]["ExitCode"], 0);

    // a node that was restored knows nothing at all
    net.call("Devnet.HoldMessages", json!([true])).await;
    let lost = precommit(&net, &worker, 6).await;
    net.call("Devnet.ForgetPool", json!([true])).await;
    let error = net
        .fails(
            "Filecoin.StateSearchMsg",
            json!([[], lost["CID"], -1, true]),
        )
        .await;
    assert!(error.contains("ipld: could not find"), "{error}");
}

#[tokio::test]
async fn a_branch_longer_than_finality_or_the_chain_is_not_lost() {
    let net = Net::new(0);
    net.mine(3).await;
    for epochs in [0, -1, 4, 901] {
        net.fails("Devnet.Reorg", json!([epochs, null, null])).await;
    }
    assert_eq!(
        net.call("Filecoin.ChainHead", json!([])).await["Height"],
        3,
        "nothing was lost"
    );
    let genesis = net.call("Devnet.Reorg", json!([3, null, null])).await;
    assert_eq!(genesis["Height"], 0);
}

#[tokio::test]
async fn null_rounds_have_no_tipset() {
    let net = Net::new(0);
    net.mine(2).await;
    let head = net.call("Devnet.NullRounds", json!([5])).await;
    assert_eq!(head["Height"], 8);
    let by = async |method: &str| {
        let name = format!("Filecoin.{method}");
        net.call(&name, json!([6, []])).await["Height"].clone()
    };
    assert_eq!(by("ChainGetTipSetByHeight").await, 2);
    assert_eq!(by("ChainGetTipSetAfterHeight").await, 8);
    net.fails("Devnet.NullRounds", json!([0])).await;
}

#[tokio::test]
async fn a_base_fee_stays_until_it_is_given_back_to_the_rules() {
    let net = Net::new(0);
    let (worker, faucet) = net.keys().await;
    net.mine(1).await;
    net.call("Devnet.SetBaseFee", json!(["9000000000"])).await;
    let mut cheap = transfer(&worker, &faucet, "7");
    cheap["GasLimit"] = json!(2_000_000);
    cheap["GasFeeCap"] = json!("5000000000");
    cheap["GasPremium"] = json!("100000");
    let sent = net
        .call("Filecoin.MpoolPushMessage", json!([cheap, null]))
        .await;
    let fee = |head: Value| head["Blocks"][0]["ParentBaseFee"].clone();
    assert_eq!(fee(net.mine(3).await), "9000000000");
    assert!(search(&net, &sent["CID"]).await.is_null(), "too dear");
    net.call("Devnet.SetBaseFee", json!([null])).await;
    net.mine(1).await;
    assert_eq!(fee(net.mine(1).await), "7875000000");
    net.mine(10).await;
    assert!(!search(&net, &sent["CID"]).await.is_null());
    net.fails("Devnet.SetBaseFee", json!(["1"])).await;
}

#[tokio::test]
async fn one_held_message_holds_what_its_sender_sent_later_and_nobody_elses() {
    let net = Net::new(0);
    let (worker, faucet) = net.keys().await;
    let push = async |from: &str, to: &str| {
        let message = json!([transfer(from, to, "7"), null]);
        net.call("Filecoin.MpoolPushMessage", message).await["CID"].take()
    };
    let held = push(&worker, &faucet).await;
    let later = push(&worker, &faucet).await;
    let other = push(&faucet, &worker).await;
    assert_eq!(
        net.call("Devnet.HoldMessage", json!([held, true])).await,
        true
    );
    net.mine(2).await;
    assert!(search(&net, &held).await.is_null());
    assert!(search(&net, &later).await.is_null());
    assert!(!search(&net, &other).await.is_null());
    net.call("Devnet.HoldMessage", json!([held, false])).await;
    net.mine(2).await;
    assert!(!search(&net, &later).await.is_null());
    assert_eq!(
        net.call("Devnet.HoldMessage", json!([held, true])).await,
        false,
        "it waits no more"
    );
}

#[tokio::test]
async fn an_upgrade_changes_the_version_from_its_epoch_on() {
    let net = Net::new(0);
    net.mine(2).await;
    let old = net.call("Filecoin.ChainHead", json!([])).await["Cids"].take();
    assert_eq!(net.call("Devnet.UpgradeNetwork", json!([29, 4])).await, 4);
    let version = async |key: Value| net.call("Filecoin.StateNetworkVersion", json!([key])).await;
    net.mine(1).await;
    assert_eq!(version(json!([])).await, 28);
    net.mine(1).await;
    assert_eq!(version(json!([])).await, 29);
    assert_eq!(version(old).await, 28);
    let params = net.call("Filecoin.StateGetNetworkParams", json!([])).await;
    assert_eq!(params["ForkUpgradeParams"]["UpgradeXxHeight"], 4);
    let net = net.restart();
    assert_eq!(
        net.call("Filecoin.StateNetworkVersion", json!([[]])).await,
        29
    );
    net.fails("Devnet.UpgradeNetwork", json!([30, 2])).await;
}

/// A program that knows no later version takes actors for what their codes say.
#[tokio::test]
async fn a_network_of_the_version_before_has_its_actors() {
    let net = Net::new(0);
    net.mine(1).await;
    let miner = async || {
        let actor = net.call("Filecoin.StateGetActor", json!(["t01000", []]));
        actor.await
    };
    let newest = miner().await;
    net.call("Devnet.UpgradeNetwork", json!([27, null])).await;
    net.mine(1).await;
    let older = miner().await;
    assert_ne!(older["Code"], newest["Code"]);
    assert_eq!(older["Balance"], newest["Balance"]);
    net.call("Devnet.UpgradeNetwork", json!([28, null])).await;
    net.mine(1).await;
    assert_eq!(miner().await["Code"], newest["Code"]);
}
