//! Sealing, commitments and message engine on a real network in this process: numbers,
//! tickets, a batch of two precommits in one message, seeds; the daemon's parts die between
//! the steps and begin again from the database on disk. Blocks are made when the test says so.

mod floor;

use damocles_api::{
    sector::{AllocateSectorSpec, AllocatedSector, PreCommitOnChainInfo},
    submit::{OnChainState, SubmitResult},
};
use damocles_flow::message::MessageState;
use damocles_manager::{
    chain::{Chain, ChainError, Facts, NodeChain},
    commit::{SealVerdict, Verifier},
    policy::NodeEndpoint,
};
use damocles_node::TipSetKey;
use damocles_processor::verify::Seal;
use damocles_types::{Commitment, SectorId};
use floor::{CONFIDENCE, MINER, Manager, Net, Parts, policy};
use fvm_shared::address::Address;
use std::{path::Path, sync::Arc};

/// CommD of a 2KiB sector of zeros.
const ZERO_COMM_D: Commitment = Commitment([
    252, 126, 146, 130, 150, 229, 22, 250, 173, 233, 134, 178, 143, 146, 212, 74, 79, 36, 185, 53,
    72, 82, 35, 55, 106, 121, 144, 39, 188, 24, 248, 51,
]);

#[derive(Debug)]
struct Believes;

impl Verifier for Believes {
    fn verify(&self, _: &Seal, _: &[u8]) -> Result<SealVerdict, String> {
        Ok(SealVerdict::Good)
    }
}

async fn start(net: &Net, home: &Path) -> Manager {
    let parts = Parts {
        policy: policy(),
        verifier: Arc::new(Believes),
        aggregator: None,
    };
    Manager::start(net, home, parts).await
}

async fn submit(manager: &Manager, sector: AllocatedSector) {
    let ticket = manager.sealing.assign_ticket(sector.id).await.unwrap();
    let info = PreCommitOnChainInfo {
        comm_r: comm_r(sector.id),
        comm_d: ZERO_COMM_D,
        ticket,
    };
    let resp = manager.commit.submit_pre_commit(sector, info, false).await;
    let resp = resp.unwrap();
    assert_eq!(resp.res, SubmitResult::Accepted, "{:?}", resp.desc);
}

fn comm_r(id: SectorId) -> Commitment {
    let mut bytes = [0x11; 32];
    bytes[0] = u8::try_from(id.number).unwrap();
    Commitment(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_precommits_land_in_one_message_through_four_deaths() {
    let net = Net::new().await;
    let home = net.dir.path().join("manager");
    let spec = AllocateSectorSpec::default();

    let manager = start(&net, &home).await;
    manager.mine(&net, 5).await;
    let info = manager.chain.miner_info(MINER, &TipSetKey::HEAD).await;
    let worker = info.unwrap().worker;
    let nonce = async |m: &Manager| {
        let actor = m.chain.actor(worker, &TipSetKey::HEAD).await;
        actor.unwrap().nonce
    };
    let before = nonce(&manager).await;
    let a = manager.sealing.allocate(&spec).await.unwrap().unwrap();
    submit(&manager, a).await;
    let b = manager.sealing.allocate(&spec).await.unwrap().unwrap();
    assert_ne!(a.id, b.id);
    let poll = manager.commit.poll_pre_commit(a.id).await.unwrap();
    assert_eq!(poll.state, OnChainState::Pending, "one alone waits");
    manager.die().await;

    // It was dead while one sector waited. The second one comes, and both go; the node takes
    // messages but puts none into blocks.
    net.node.network.hold_messages(true);
    let manager = start(&net, &home).await;
    // It dies when the node has the message and before it knows that itself.
    fail::cfg("messages::pushed", "return").unwrap();
    submit(&manager, b).await;
    net.pooled(1).await;
    manager.message(a.id, MessageState::Wanted).await;
    manager.die().await;
    fail::remove("messages::pushed");
    let manager = start(&net, &home).await;
    let pushed = manager.message(a.id, MessageState::Pushed).await;
    net.pooled(1).await;
    assert_eq!(pushed.sectors, [a.id, b.id]);
    manager.mine(&net, 2).await;
    manager.die().await;

    // It was dead between push and landing.
    net.node.network.hold_messages(false);
    let manager = start(&net, &home).await;
    manager.mine(&net, 2).await;
    let packed = manager.message(a.id, MessageState::Packed).await;
    assert_eq!((packed.id, packed.cid), (pushed.id, pushed.cid));
    manager.die().await;

    let manager = start(&net, &home).await;
    manager.mine(&net, CONFIDENCE as u64 + 2).await;
    let landed = manager.message(b.id, MessageState::Landed).await;
    assert_eq!((landed.id, landed.exit_code), (pushed.id, Some(0)));
    assert_eq!(nonce(&manager).await, before + 1, "exactly one message");
    for id in [a.id, b.id] {
        let poll = manager.commit.poll_pre_commit(id).await.unwrap();
        assert_eq!(poll.state, OnChainState::Landed);
        let key = TipSetKey::HEAD;
        let on_chain = manager.chain.precommit_info(MINER, id.number, &key).await;
        let on_chain = on_chain.unwrap().unwrap();
        assert_eq!(on_chain.info.sealed_cid, comm_r(id).sealed_cid());
    }

    // Submitted again it stays the same; numbers that the chain has seen are not given out.
    submit_again(&manager, a).await;
    let c = manager.sealing.allocate(&spec).await.unwrap().unwrap();
    assert!(c.id.number > b.id.number);

    // The seed comes after the network's delay.
    let wait = manager.sealing.wait_seed(a.id, a.proof_type).await.unwrap();
    assert!(wait.should_wait && wait.delay > 0);
    let facts = Facts::new(manager.chain.clone());
    let delay = facts.challenge_delay().await.unwrap();
    manager.mine(&net, delay as u64 + 6).await;
    let seed = manager.sealing.wait_seed(a.id, a.proof_type).await.unwrap();
    let key = TipSetKey::HEAD;
    let on_chain = manager.chain.precommit_info(MINER, a.id.number, &key).await;
    let epoch = on_chain.unwrap().unwrap().pre_commit_epoch;
    assert_eq!(seed.seed.unwrap().epoch, epoch + delay);
    manager.die().await;
}

async fn submit_again(manager: &Manager, sector: AllocatedSector) {
    let record = manager.db.online(sector.id).unwrap();
    let pre = record.pre.unwrap();
    let info = PreCommitOnChainInfo {
        comm_r: pre.comm_r,
        comm_d: pre.comm_d,
        ticket: pre.ticket,
    };
    for reset in [false, true] {
        let resp = manager.commit.submit_pre_commit(sector, info, reset).await;
        assert_eq!(resp.unwrap().res, SubmitResult::Accepted);
    }
    manager.message(sector.id, MessageState::Landed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_fail_over_and_troubles_are_told_apart() {
    let net = Net::new().await;
    let dead = NodeEndpoint {
        // nobody listens on the discard port
        url: "http://127.0.0.1:9/rpc/v1".into(),
        token: None,
    };
    let key = TipSetKey::HEAD;
    let good = net.endpoint(Some(&net.token));
    let both = NodeChain::new(&[dead.clone(), good.clone()]).unwrap();
    assert_eq!(both.head().await.unwrap().height, 0);
    let info = both.miner_info(MINER, &key).await.unwrap();
    assert_eq!(info.sector_size, 2048);
    // The wallet is the first node's: pushing waits for that one.
    let message = damocles_node::Message::send(info.worker, info.worker, Default::default());
    let pushed = both.push_message(&message, &Default::default()).await;
    assert!(pushed.unwrap_err().is_unreachable());

    let none = NodeChain::new(&[dead]).unwrap();
    assert!(none.head().await.unwrap_err().is_unreachable());

    let chain = net.chain();
    let e = chain.miner_info(31337, &key).await.unwrap_err();
    assert!(matches!(e, ChainError::Refused { .. }), "{e}");
    let unknown = chain.precommit_info(MINER, 999, &key).await.unwrap();
    assert!(unknown.is_none());
    let sectors = chain.miner_sectors(MINER, None, &key).await.unwrap();
    assert!(sectors.is_empty());
    assert_eq!(
        chain.lookup_id(info.worker, &key).await.unwrap(),
        info.worker
    );
    let account = chain.account_key(info.worker, &key).await.unwrap();
    assert_ne!(account, info.worker);
    assert_eq!(chain.lookup_id(account, &key).await.unwrap(), info.worker);
    assert_eq!(Address::new_id(MINER).id().unwrap(), MINER);

    let wrong = NodeChain::new(&[net.endpoint(Some("aa.bb.cc"))]).unwrap();
    let e = wrong.head().await.unwrap_err();
    assert!(matches!(e, ChainError::Denied { .. }), "{e}");
    let anonymous = NodeChain::new(&[net.endpoint(None)]).unwrap();
    let pushed = anonymous.push_message(&message, &Default::default()).await;
    let e = pushed.unwrap_err();
    assert!(matches!(e, ChainError::Denied { .. }), "{e}");
    assert!(!format!("{e} {e:?} {chain:?}").contains(&net.token));

    // A WebSocket address serves as well.
    let ws = NodeEndpoint {
        url: good.url.replace("http://", "ws://"),
        ..good
    };
    assert!(NodeChain::new(&[ws]).unwrap().head().await.is_ok());
    for url in ["", "nonsense", "ftp://x"] {
        let endpoint = NodeEndpoint {
            url: url.into(),
            token: None,
        };
        assert!(NodeChain::new(&[endpoint]).is_err(), "{url:?}");
    }
    assert!(NodeChain::new(&[]).is_err());
}
