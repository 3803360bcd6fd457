//! The contract against the devnet over HTTP, against a real node when one is named, and the
//! recordings against our own types.

use std::collections::BTreeMap;

use crate::support::{Net, transfer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use damocles_devnet::contract::{
    Asked, Driven, Live, Reply, Scene, Token, chain_messages, histories, questions, recorded, said,
};
use damocles_node as node;
use damocles_node::method::Permission;
use fil_actor_miner_state::v18::{
    CompactCommD, PreCommitSectorBatchParams2, ProveCommitSectors3Params, SectorPreCommitInfo,
    SubmitWindowedPoStParams,
};
use fvm_ipld_encoding::{RawBytes, from_slice, to_vec};
use fvm_shared::commcid::replica_commitment_v1_to_cid;
use fvm_shared::sector::RegisteredSealProof;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const MINER: &str = "t01000";
const UNKNOWN: &str = "bafy2bzacedtajipvj3frgzl5xq5lv43dn2skxidldw7hzxrswg6c65acgp5f4";

const ALL_HISTORIES: usize = 7;
/// What the devnet need not know yet: deals, data cap, block production, the codes of actors.
const NOT_YET: usize = 12;

/// The devnet under contract.
struct Devnet {
    net: Net,
    worker: String,
    faucet: String,
}

impl Devnet {
    async fn new() -> Self {
        let net = Net::new(2);
        let (worker, faucet) = net.keys().await;
        net.mine(3).await;
        Devnet {
            net,
            worker,
            faucet,
        }
    }
}

/// None for what no part of the house asks yet; a method of nobody is refused.
fn can_be_asked(method: &str) -> Option<()> {
    let of_nobody = method.ends_with("NoSuchMethod");
    (of_nobody || node::method::find(method).is_some()).then_some(())
}

/// The devnet as a node elsewhere.
struct Elsewhere<'a>(&'a Live);

impl Asked for Elsewhere<'_> {
    async fn ask(&self, token: Token, method: &str, params: Value) -> Option<Reply> {
        can_be_asked(method)?;
        self.0.ask(token, method, params).await
    }
}

impl Asked for Devnet {
    async fn ask(&self, token: Token, method: &str, params: Value) -> Option<Reply> {
        can_be_asked(method)?;
        let token = match token {
            Token::Good => Some(self.net.token(Permission::Admin)),
            Token::Read => Some(self.net.token(Permission::Read)),
            Token::None => None,
            Token::Bad => Some("nonsense".to_owned()),
        };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.net.post(token.as_deref(), &body.to_string()).await;
        Some(said(answer.status.as_u16(), &answer.body))
    }
}

impl Driven for Devnet {
    fn sender(&self) -> String {
        self.worker.clone()
    }

    fn receiver(&self) -> String {
        self.faucet.clone()
    }

    async fn mine(&self, blocks: u64) {
        self.net.mine(blocks).await;
    }

    async fn take_nonce(&self) -> bool {
        let nonce = json!([self.worker]);
        self.net.call("Devnet.TakeNonce", nonce).await;
        true
    }

    async fn lose(&self, cid: &Value) -> bool {
        self.net.call("Devnet.Drop", json!([cid])).await == true
    }

    async fn lose_branch(&self, epochs: i64) -> bool {
        let params = json!([epochs, true, null]);
        self.net.call("Devnet.Reorg", params).await;
        true
    }
}

/// A network in which everything is that the questions ask for.
async fn scene(devnet: &Devnet) -> Scene {
    let Devnet {
        net,
        worker,
        faucet,
    } = devnet;
    let info = SectorPreCommitInfo {
        seal_proof: RegisteredSealProof::StackedDRG2KiBV1P1,
        sector_number: 5,
        sealed_cid: replica_commitment_v1_to_cid(&[5; 32]).unwrap(),
        seal_rand_epoch: 1,
        deal_ids: vec![],
        expiration: 300 * 2880,
        unsealed_cid: CompactCommD::empty(),
    };
    let params = to_vec(&PreCommitSectorBatchParams2 {
        sectors: vec![info],
    });
    let mut precommit = transfer(worker, MINER, "1000000000000000000");
    precommit["Method"] = json!(28);
    precommit["Params"] = json!(STANDARD.encode(params.unwrap()));
    let push = json!([precommit, null]);
    let landed = net.call("Filecoin.MpoolPushMessage", push).await;
    net.mine(2).await;
    let lost = json!([transfer(worker, faucet, "7"), null]);
    let taken = net.call("Filecoin.MpoolPushMessage", lost).await;
    let taker = net.call("Devnet.TakeNonce", json!([worker])).await;
    net.mine(8).await;

    let head = net.call("Filecoin.ChainHead", json!([])).await;
    let height = head["Height"].as_i64().unwrap();
    let place = net
        .call("Filecoin.StateSectorPartition", json!([MINER, 0, []]))
        .await;
    let deadline = place["Deadline"].as_u64().unwrap();
    let mut empty = None;
    for index in (0..4).filter(|index| *index != deadline) {
        let partitions = json!([MINER, index, []]);
        let partitions = net.call("Filecoin.StateMinerPartitions", partitions).await;
        if partitions.as_array().is_none_or(Vec::is_empty) {
            empty = Some(index);
        }
    }
    let worker_id = net
        .call("Filecoin.StateLookupID", json!([worker, []]))
        .await;
    BTreeMap::from([
        ("miner", json!(MINER)),
        ("miner_id", json!(1000)),
        ("worker", json!(worker)),
        ("worker_id", worker_id),
        ("other", json!(faucet)),
        ("nobody", json!("t099999")),
        ("token", json!(net.token(Permission::Admin))),
        ("version", json!(27)),
        ("producer", json!(MINER)),
        ("powerless", json!("t099999")),
        ("sector", json!(0)),
        ("precommitted", json!(5)),
        ("unknown_sector", json!(999)),
        ("deadline", json!(deadline)),
        ("empty_deadline", json!(empty.unwrap())),
        ("height", json!(height - 2)),
        ("future", json!(height + 500)),
        ("head_height", json!(height)),
        ("head", head["Cids"].clone()),
        ("block", head["Cids"][0].clone()),
        ("unknown_cid", json!(UNKNOWN)),
        ("landed", landed["CID"]["/"].clone()),
        ("short", json!(4)),
        ("taken", taken["CID"]["/"].clone()),
        ("taker", taker["CID"]["/"].clone()),
        ("taken_nonce", taken["Message"]["Nonce"].clone()),
    ])
}

#[tokio::test]
async fn the_devnet_answers_as_a_recorded_node() {
    let devnet = Devnet::new().await;
    let scene = scene(&devnet).await;
    questions(&devnet, &scene)
        .await
        .is_a_nodes(recorded().len() - NOT_YET);
}

#[tokio::test]
async fn histories_end_on_the_devnet_as_on_a_node() {
    let devnet = Devnet::new().await;
    histories(&devnet).await.is_a_nodes(ALL_HISTORIES);
}

fn from(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// A node elsewhere: `DAMOCLES_NODE_API` is its host and port, `DAMOCLES_NODE_TOKEN` a token that
/// allows everything.
fn live() -> Live {
    Live::new(from("DAMOCLES_NODE_API"), from("DAMOCLES_NODE_TOKEN"))
}

/// `DAMOCLES_NODE_SCENE` is a JSON object of the names that questions speak of.
#[tokio::test]
#[ignore = "asks the node that DAMOCLES_NODE_API (host:port) names"]
async fn a_live_node_answers_as_the_recorded_one() {
    let names: BTreeMap<String, Value> =
        serde_json::from_str(&from("DAMOCLES_NODE_SCENE")).unwrap();
    let scene = names
        .into_iter()
        .map(|(name, value)| (&*Box::leak(name.into_boxed_str()), value))
        .collect();
    questions(&live(), &scene).await.is_a_nodes(20);
}

/// `DAMOCLES_NODE_SENDER` is a funded key address of its wallet, which nobody else sends from;
/// `DAMOCLES_NODE_RECEIVER` gets a few attoFIL.
#[tokio::test]
#[ignore = "sends messages by the node that DAMOCLES_NODE_API (host:port) names"]
async fn histories_end_on_a_live_node_as_here() {
    let live = live().with_people(from("DAMOCLES_NODE_SENDER"), from("DAMOCLES_NODE_RECEIVER"));
    histories(&live).await.is_a_nodes(4);
}

/// The way by which a live node is asked, tried on the devnet.
#[tokio::test]
async fn over_a_socket_everything_is_as_without() {
    let devnet = Devnet::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let token = devnet.net.token(Permission::Admin);
    let live = Live::new(address, token).with_people(devnet.worker.clone(), devnet.faucet.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(damocles_devnet::rpc::serve(
        listener,
        devnet.net.node.clone(),
        stop,
    ));
    let scene = scene(&devnet).await;
    questions(&Elsewhere(&live), &scene)
        .await
        .is_a_nodes(recorded().len() - NOT_YET);
    histories(&live).await.is_a_nodes(ALL_HISTORIES);
}

/// What we read of a recorded answer writes it again.
fn exact<T: Serialize + DeserializeOwned>(question: &str, form: &Value) {
    let value: T =
        serde_json::from_value(form.clone()).unwrap_or_else(|e| panic!("{question}: {e}: {form}"));
    assert_eq!(&serde_json::to_value(&value).unwrap(), form, "{question}");
}

#[test]
fn recorded_answers_are_read_and_written_as_they_are() {
    fvm_shared::address::set_current_network(fvm_shared::address::Network::Testnet);
    let mut read = 0;
    for known in recorded() {
        let Some(form) = &known.result else { continue };
        let q = known.question.as_str();
        read += 1;
        match known.method.strip_prefix("Filecoin.").unwrap() {
            "Version" => exact::<node::Version>(q, form),
            "SyncState" => exact::<node::SyncState>(q, form),
            "StateMinerInfo" => exact::<node::MinerInfo>(q, form),
            "StateMinerPower" => exact::<node::MinerPower>(q, form),
            "StateMinerDeadlines" => exact::<Vec<node::Deadline>>(q, form),
            "StateMinerPartitions" => exact::<Option<Vec<node::Partition>>>(q, form),
            "StateMinerProvingDeadline" => exact::<node::DeadlineInfo>(q, form),
            "StateMinerSectors" | "StateMinerActiveSectors" => {
                exact::<Vec<node::SectorOnChainInfo>>(q, form);
            }
            "StateMinerSectorCount" => exact::<node::MinerSectors>(q, form),
            "StateSectorGetInfo" => exact::<Option<node::SectorOnChainInfo>>(q, form),
            "StateSectorPreCommitInfo" => {
                exact::<Option<node::SectorPreCommitOnChainInfo>>(q, form);
            }
            "StateSectorPartition" => exact::<node::SectorLocation>(q, form),
            "StateSectorExpiration" => exact::<node::SectorExpiration>(q, form),
            "StateGetActor" => exact::<node::ActorState>(q, form),
            "StateGetBeaconEntry" => exact::<node::BeaconEntry>(q, form),
            "ChainGetMessage" => {
                let text = form.to_string();
                let message: node::Message = serde_json::from_str(&text).unwrap();
                // the CID that the node gave is the one that we compute
                assert_eq!(serde_json::to_value(&message).unwrap(), *form, "{q}");
            }
            _ => read -= 1,
        }
    }
    assert!(read >= 20, "only {read} answers were read");
}

/// The bytes that our types make of what they read.
fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Vec<u8> {
    to_vec(&from_slice::<T>(bytes).unwrap()).unwrap()
}

#[test]
fn parameters_that_chains_executed_are_read_and_written_to_the_same_bytes() {
    let all = chain_messages();
    assert!(all.len() >= 20);
    for message in all {
        let bytes = STANDARD.decode(&message.params).unwrap();
        let ours = match message.method {
            5 => again::<SubmitWindowedPoStParams>(&bytes),
            28 => again::<PreCommitSectorBatchParams2>(&bytes),
            34 => again::<ProveCommitSectors3Params>(&bytes),
            other => panic!("method {other} was not expected"),
        };
        assert_eq!(ours, bytes, "method {} at nv{}", message.method, message.nv);
        assert_eq!(message.exit, 0);
        if let Some(returned) = message.returned {
            let bytes = STANDARD.decode(returned).unwrap();
            let value: fil_actor_miner_state::v18::ProveCommitSectors3Return =
                RawBytes::new(bytes.clone()).deserialize().unwrap();
            assert_eq!(to_vec(&value).unwrap(), bytes);
        }
    }
}
