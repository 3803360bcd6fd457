//! Real proofs of real sectors on a network that verifies them: an aggregate that the chain refuses
//! costs nobody anything, the next one is made in a child, lands, takes less gas, and comes back when
//! its branch of the chain is lost.
//!
//! Needs the 2KiB parameters and the reference string in the parameter cache (`make params`).

mod floor;

use async_trait::async_trait;
use damocles_api::{
    sector::{AllocateSectorSpec, AllocatedSector, PreCommitOnChainInfo},
    submit::{OnChainState, ProofOnChainInfo, SubmitResult},
};
use damocles_flow::message::MessageState;
use damocles_manager::{
    chain::{Chain, Facts},
    commit::{AggregateError, Aggregator, PoolAggregator, ProofsVerifier},
    db::record::MessageRecord,
    model::MessageKind,
    policy::{AggregatePolicy, MinerPolicy},
};
use damocles_node::TipSetKey;
use damocles_processor::{
    Cancel, Pool, Processors, Stage, StartOptions, Task, prover_id,
    task::{self, AddPieces, AggregateOutput, C1, C2, Pc1, Pc2, Pc2Output},
};
use damocles_types::{Base64, PieceInfo, SectorId, Ticket};
use fil_actor_miner_state::v18::ProveCommitSectors3Params;
use floor::{CONFIDENCE, MINER, Manager, Net, PATIENCE, Parts, policy};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{econ::TokenAmount, sector::RegisteredAggregateProof};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

/// Computes in children of the manager's executable, as in production.
struct Sealer {
    dir: TempDir,
    pool: Pool,
}

/// A sector that is on its way.
struct Sealed {
    sector: AllocatedSector,
    ticket: Ticket,
    infos: Vec<PieceInfo>,
    pc2: Pc2Output,
}

impl Sealer {
    fn new() -> Self {
        let stages = [
            Stage::AddPieces,
            Stage::Pc1,
            Stage::Pc2,
            Stage::C1,
            Stage::C2,
            Stage::Aggregate,
        ];
        let options = StartOptions::of(env!("CARGO_BIN_EXE_damocles-manager"));
        Self {
            dir: tempfile::tempdir().unwrap(),
            pool: Pool::start(&stages, &Processors::default(), &options).unwrap(),
        }
    }

    fn run<T: Task>(&self, task: &T) -> T::Output {
        let done = tokio::task::block_in_place(|| self.pool.run(task, &Cancel::new(), &mut |_| {}));
        done.unwrap_or_else(|error| panic!("{error}; run `make params`?"))
            .output
    }

    fn path(&self, id: SectorId, name: &str) -> PathBuf {
        let dir = self.dir.path().join(id.number.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        dir.join(name)
    }

    fn seal(&self, sector: AllocatedSector, ticket: Ticket) -> Sealed {
        let AllocatedSector { id, proof_type } = sector;
        let infos = self.run(&AddPieces {
            seal_proof_type: proof_type,
            pieces: vec![],
            staged_filepath: self.path(id, "staged"),
        });
        let pc1out = self.run(&Pc1 {
            registered_proof: proof_type,
            cache_path: self.path(id, "cache"),
            in_path: self.path(id, "staged"),
            out_path: self.path(id, "sealed"),
            prover_id: prover_id(MINER),
            sector_id: id.number,
            ticket: ticket.ticket.0,
            piece_infos: infos.clone(),
        });
        let pc2 = self.run(&Pc2 {
            pc1out,
            cache_dir: self.path(id, "cache"),
            sealed_file: self.path(id, "sealed"),
            staged_file: None,
        });
        Sealed {
            sector,
            ticket,
            infos,
            pc2,
        }
    }

    fn prove(&self, sealed: &Sealed, seed: [u8; 32]) -> Vec<u8> {
        let AllocatedSector { id, proof_type } = sealed.sector;
        let c1out = self.run(&C1 {
            registered_proof: proof_type,
            cache_path: self.path(id, "cache"),
            sealed_file: self.path(id, "sealed"),
            prover_id: prover_id(MINER),
            sector_id: id.number,
            ticket: sealed.ticket.ticket.0,
            seed,
            pre_commit_output: sealed.pc2,
            piece_infos: sealed.infos.clone(),
        });
        let c2 = C2 {
            c1out,
            prover_id: prover_id(MINER),
            sector_id: id.number,
            miner_id: MINER,
        };
        self.run(&c2).proof
    }
}

/// Makes real aggregates, of which it flips a bit.
#[derive(Debug)]
struct Spoils {
    real: PoolAggregator,
    made: AtomicUsize,
}

#[async_trait]
impl Aggregator for Spoils {
    fn ready(&self) -> Result<(), String> {
        self.real.ready()
    }

    async fn aggregate(&self, task: task::Aggregate) -> Result<AggregateOutput, AggregateError> {
        self.made.fetch_add(1, Ordering::Relaxed);
        let mut output = self.real.aggregate(task).await?;
        // in a commitment, whose bytes are a number: another one is read, and does not fit
        output.proof.0[100] ^= 1;
        Ok(output)
    }
}

fn batches_of_four() -> MinerPolicy {
    let mut policy = policy();
    policy.pre.batch.threshold = 8;
    policy.prove.batch.threshold = 4;
    policy.prove.batch.aggregate = AggregatePolicy {
        above_base_fee: TokenAmount::from_nano(1),
        ..AggregatePolicy::default()
    };
    policy.sector.require_activation_success = true;
    policy
}

impl Manager {
    /// The newest message with proofs that has this sector, when it is so far.
    async fn proof_message(&self, id: SectorId, state: MessageState) -> MessageRecord {
        let reached = async {
            let mut look = tokio::time::interval(Duration::from_millis(10));
            loop {
                look.tick().await;
                let all = self.db.messages_of(id).unwrap().into_iter();
                let mut proofs = all.filter(|m| m.kind == MessageKind::ProveCommit);
                let found = proofs.next();
                assert!(proofs.next().is_none(), "a second message");
                if let Some(found) = found.filter(|m| m.state == state) {
                    return self.db.message(found.id).unwrap().unwrap();
                }
            }
        };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(message) => message,
            Err(_) => panic!("never {state}: {:#?}", self.db.messages_of(id).unwrap()),
        }
    }

    async fn hand_in(&self, id: SectorId, proof: &[u8]) {
        let proof = ProofOnChainInfo {
            proof: Base64(proof.to_vec()),
        };
        let resp = self.commit.submit_proof(id, proof, false).await.unwrap();
        assert_eq!(resp.res, SubmitResult::Accepted, "{:?}", resp.desc);
    }

    async fn is_active(&self, id: SectorId) -> bool {
        let key = TipSetKey::HEAD;
        let found = self.chain.sector_info(MINER, id.number, &key).await;
        found.unwrap().is_some()
    }
}

fn params(message: &MessageRecord) -> ProveCommitSectors3Params {
    RawBytes::new(message.params.0.clone())
        .deserialize()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_go_as_one_aggregate_and_singly_where_the_chain_takes_none() {
    let net = Net::new().await;
    let home = net.dir.path().join("manager");
    let sealer = Sealer::new();
    let real = PoolAggregator::new(sealer.pool.clone());
    real.ready()
        .unwrap_or_else(|why| panic!("{why}: run `make params`"));
    let spoils = Arc::new(Spoils {
        real: real.clone(),
        made: AtomicUsize::new(0),
    });
    let parts = |aggregator: Arc<dyn Aggregator>| Parts {
        policy: batches_of_four(),
        verifier: Arc::new(ProofsVerifier),
        aggregator: Some(aggregator),
    };

    // eight sectors, precommitted together
    let manager = Manager::start(&net, &home, parts(spoils.clone())).await;
    manager.mine(&net, 5).await;
    let mut all = Vec::new();
    for _ in 0..8 {
        let spec = AllocateSectorSpec::default();
        let sector = manager.sealing.allocate(&spec).await.unwrap().unwrap();
        let ticket = manager.sealing.assign_ticket(sector.id).await.unwrap();
        let sealed = sealer.seal(sector, ticket);
        let info = PreCommitOnChainInfo {
            comm_r: sealed.pc2.comm_r,
            comm_d: sealed.pc2.comm_d,
            ticket,
        };
        let resp = manager.commit.submit_pre_commit(sector, info, false).await;
        assert_eq!(resp.unwrap().res, SubmitResult::Accepted);
        all.push(sealed);
    }
    manager
        .message(all[0].sector.id, MessageState::Pushed)
        .await;
    let delay = Facts::new(manager.chain.clone())
        .challenge_delay()
        .await
        .unwrap();
    manager.mine(&net, (CONFIDENCE + delay) as u64 + 8).await;
    manager
        .message(all[0].sector.id, MessageState::Landed)
        .await;
    let mut proofs = Vec::new();
    for sealed in &all {
        let AllocatedSector { id, proof_type } = sealed.sector;
        let wait = manager.sealing.wait_seed(id, proof_type).await.unwrap();
        proofs.push(sealer.prove(sealed, wait.seed.unwrap().seed.0));
    }
    let ids: Vec<_> = all.iter().map(|sealed| sealed.sector.id).collect();
    let dear = Some(TokenAmount::from_nano(2));
    net.node.network.set_base_fee(dear).unwrap();
    manager.mine(&net, 1).await;

    // an aggregate that proves nothing is found out before it costs anything
    for (id, proof) in ids.iter().zip(&proofs).take(4) {
        manager.hand_in(*id, proof).await;
    }
    let message = manager.proof_message(ids[0], MessageState::Pushed).await;
    assert_eq!(message.sectors, ids[..4]);
    assert_eq!(params(&message).sector_proofs.len(), 4);
    let note = message.note.unwrap();
    assert!(note.contains("the chain refuses it"), "{note}");
    assert_eq!(spoils.made.load(Ordering::Relaxed), 1);
    manager.mine(&net, CONFIDENCE as u64 + 2).await;
    let singly = manager.proof_message(ids[0], MessageState::Landed).await;
    assert_eq!(singly.exit_code, Some(0));
    manager.die().await;

    // one that holds goes, through a death of the manager between push and landing
    let manager = Manager::start(&net, &home, parts(Arc::new(real.clone()))).await;
    for (id, proof) in ids.iter().zip(&proofs).skip(4) {
        manager.hand_in(*id, proof).await;
    }
    let message = manager.proof_message(ids[4], MessageState::Pushed).await;
    assert_eq!(message.sectors, ids[4..]);
    let sent = params(&message);
    assert!(sent.sector_proofs.is_empty());
    let snark_pack = RegisteredAggregateProof::SnarkPackV2;
    assert_eq!(sent.aggregate_proof_type, Some(snark_pack));
    let note = message.note.clone().unwrap();
    assert!(note.starts_with("aggregated: 4 proofs: "), "{note}");
    manager.die().await;
    let manager = Manager::start(&net, &home, parts(Arc::new(real))).await;
    manager.mine(&net, CONFIDENCE as u64 + 2).await;
    let landed = manager.proof_message(ids[4], MessageState::Landed).await;
    assert_eq!((landed.id, landed.exit_code), (message.id, Some(0)));
    let (gas, before) = (landed.gas_used.unwrap(), singly.gas_used.unwrap());
    println!("gas of four proofs: {before} singly, {gas} as one; {note}");
    assert!(gas < before);
    for id in &ids {
        assert!(manager.is_active(*id).await, "{id}");
        let poll = manager.commit.poll_proof(*id).await.unwrap();
        assert_eq!(poll.state, OnChainState::Landed);
    }

    // its branch is lost, and the pool with it: the same message lands again
    let network = net.node.network.clone();
    let lost = CONFIDENCE + 2;
    let reorg = move || network.reorg(lost, true, 1).map(|_| ());
    tokio::task::spawn_blocking(reorg).await.unwrap().unwrap();
    assert!(!manager.is_active(ids[4]).await);
    manager.look().await;
    manager.proof_message(ids[4], MessageState::Pushed).await;
    net.pooled(1).await;
    manager.mine(&net, CONFIDENCE as u64 + 2).await;
    let again = manager.proof_message(ids[4], MessageState::Landed).await;
    assert_eq!((again.id, again.exit_code), (landed.id, Some(0)));
    for id in &ids {
        assert!(manager.is_active(*id).await, "{id}");
    }
    manager.die().await;
}
