//! The room on a scripted chain: what is taken, what is sent, and what is told of it.

use super::*;
use crate::{
    chain::{DomainTag, entropy},
    messages::tests::Rig,
    policy::tests::miner,
};
use damocles_api::{
    sector::{AllocatedSector, PreCommitOnChainInfo},
    submit::{OnChainState, ProofOnChainInfo, SubmitResult as R},
};
use damocles_kv::Durability;
use damocles_node::TipSetKey;
use damocles_processor::verify::Seal;
use damocles_types::{Base64, Commitment as Comm, SealProof, Seed, Ticket};
use fil_actor_miner_state::v18::{
    PreCommitSectorBatchParams2, ProveCommitSectors3Params, ProveCommitSectors3Return,
};
use fil_actors_shared::v18::BatchReturn;
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{econ::TokenAmount, error::ExitCode};
use parking_lot::Mutex;

const PROOF: SealProof = SealProof::interactive(SectorSize::KiB2);
const COMM_R: Comm = Comm([9; 32]);

/// Says what it is told to say.
#[derive(Debug)]
struct Says(Mutex<Result<SealVerdict, String>>);

impl Verifier for Says {
    fn verify(&self, _: &Seal, _: &[u8]) -> Result<SealVerdict, String> {
        self.0.lock().clone()
    }
}

struct House {
    rig: Rig,
    commit: Commit,
    says: Arc<Says>,
}

impl House {
    fn new(change: impl FnOnce(&mut MinerPolicy)) -> Self {
        Self::on(Rig::new(5000), change)
    }

    fn on(rig: Rig, change: impl FnOnce(&mut MinerPolicy)) -> Self {
        rig.db.set_network("script").unwrap();
        let mut policy = miner(1000);
        change(&mut policy);
        let says = Arc::new(Says(Mutex::new(Ok(SealVerdict::Good))));
        let commit = Commit::new(
            rig.db.clone(),
            rig.chain.clone(),
            Facts::new(rig.chain.clone()),
            rig.engine.clone(),
            says.clone(),
            Served::new(vec![policy]),
        );
        Self { rig, commit, says }
    }

    fn sector(&self) -> SectorId {
        let db = &self.rig.db;
        let got = db.allocate(1000, PROOF, 0, 999, Some).unwrap();
        got.unwrap().id
    }

    async fn ticket(&self, epoch: i64) -> Ticket {
        let tag = DomainTag::SealRandomness;
        let key = self.rig.chain.head().await.unwrap().cids;
        let ticket = self
            .rig
            .chain
            .ticket_randomness(tag, epoch, &entropy(1000), &key)
            .await
            .unwrap();
        Ticket { ticket, epoch }
    }

    async fn info(&self) -> PreCommitOnChainInfo {
        PreCommitOnChainInfo {
            comm_r: COMM_R,
            comm_d: zero_comm_d(SectorSize::KiB2).unwrap(),
            ticket: self.ticket(4000).await,
        }
    }

    async fn submit(&self, id: SectorId, info: PreCommitOnChainInfo, reset: bool) -> SubmitResp {
        let sector = AllocatedSector {
            id,
            proof_type: PROOF,
        };
        self.commit
            .submit_pre_commit(sector, info, reset)
            .await
            .unwrap()
    }

    /// What wants to go on chain is pushed.
    async fn push(&self) {
        self.commit.reconcile().await;
        self.rig.round().await;
    }

    /// All messages of the sector.
    fn messages(&self, id: SectorId) -> Vec<MessageRecord> {
        let of = self.rig.db.messages_of(id).unwrap().into_iter();
        of.map(|small| self.rig.db.message(small.id).unwrap().unwrap())
            .collect()
    }

    /// Executes a message and goes on until it is deep enough.
    async fn run(&self, message: &MessageRecord, code: i64, value: RawBytes) {
        let cid = self.rig.db.message(message.id).unwrap().unwrap().cid;
        self.rig.chain.land(cid.unwrap(), code, value);
        self.rig.advance(10);
        self.rig.round().await;
    }

    /// The chain has a precommit of the sector.
    fn precommitted(&self, id: SectorId) {
        let height = self.rig.chain.edit().height;
        self.precommitted_at(id, height);
    }

    fn precommitted_at(&self, id: SectorId, height: i64) {
        let info = serde_json::json!({
            "Info": {"SealProof": 5, "SectorNumber": id.number,
                "SealedCID": {"/": COMM_R.sealed_cid().to_string()}, "SealRandEpoch": 4000,
                "DealIDs": null, "Expiration": 600_000, "UnsealedCid": null},
            "PreCommitDeposit": "1000000000000000000", "PreCommitEpoch": height,
        });
        let info = serde_json::from_value(info).unwrap();
        let mut chain = self.rig.chain.edit();
        chain.precommits.insert((1000, id.number), info);
        chain.allocated.entry(1000).or_default().set(id.number);
    }

    /// The chain has the sector.
    fn active(&self, id: SectorId) {
        let height = self.rig.chain.edit().height;
        let info = serde_json::json!({
            "SectorNumber": id.number, "SealProof": 5,
            "SealedCID": {"/": COMM_R.sealed_cid().to_string()},
            "Activation": height, "Expiration": 600_000, "DealWeight": "0",
            "VerifiedDealWeight": "0", "InitialPledge": "0",
        });
        let info = serde_json::from_value(info).unwrap();
        let mut chain = self.rig.chain.edit();
        chain.precommits.remove(&(1000, id.number));
        chain.sectors.insert((1000, id.number), info);
    }

    /// A sector whose precommit landed and whose seed was handed out.
    async fn seeded(&self) -> SectorId {
        let id = self.sector();
        let info = self.info().await;
        assert_eq!(self.submit(id, info, false).await.res, R::Accepted);
        self.precommitted(id);
        self.push().await;
        let epoch = self.rig.chain.edit().height + 10;
        self.rig.advance(20);
        let tag = DomainTag::InteractiveSealChallengeSeed;
        let seed = self
            .rig
            .chain
            .beacon_randomness(tag, epoch, &entropy(1000), &TipSetKey::HEAD)
            .await
            .unwrap();
        self.rig
            .db
            .change(id, Durability::Synced, |r| {
                r.seed = Some(Seed { seed, epoch });
                Ok::<_, DbError>(())
            })
            .unwrap();
        id
    }

    async fn prove(&self, id: SectorId, bytes: &[u8], reset: bool) -> SubmitResp {
        self.commit
            .submit_proof(id, proof(bytes), reset)
            .await
            .unwrap()
    }

    /// A submission that costs hours of work, or the sector, is judged at the second look.
    async fn submit_twice(&self, id: SectorId, info: PreCommitOnChainInfo) -> SubmitResp {
        let sector = AllocatedSector {
            id,
            proof_type: PROOF,
        };
        for _ in 0..2 {
            let first = self.commit.submit_pre_commit(sector, info, false).await;
            assert!(
                matches!(first, Err(CommitError::Unsure(of)) if of == id),
                "{first:?}"
            );
        }
        self.rig.advance(5);
        self.submit(id, info, false).await
    }

    /// The same for a proof.
    async fn prove_twice(&self, id: SectorId) -> SubmitResp {
        let first = self.commit.submit_proof(id, proof(b"proof"), false).await;
        assert!(
            matches!(first, Err(CommitError::Unsure(of)) if of == id),
            "{first:?}"
        );
        self.rig.advance(5);
        self.prove(id, b"proof", false).await
    }

    async fn pre_poll(&self, id: SectorId) -> (OnChainState, Option<Reason>) {
        let resp = self.commit.poll_pre_commit(id).await.unwrap();
        (resp.state, resp.reason)
    }

    async fn pre_state(&self, id: SectorId) -> (OnChainState, Option<String>) {
        let resp = self.commit.poll_pre_commit(id).await.unwrap();
        (resp.state, resp.desc)
    }

    async fn proof_state(&self, id: SectorId) -> (OnChainState, Option<String>) {
        let resp = self.commit.poll_proof(id).await.unwrap();
        (resp.state, resp.desc)
    }
}

fn proof(bytes: &[u8]) -> ProofOnChainInfo {
    ProofOnChainInfo {
        proof: Base64(bytes.to_vec()),
    }
}

mod aggregate;
mod branches;
mod left_chain;
mod market;
mod precommit;
mod prove;
mod sound;
mod share;
