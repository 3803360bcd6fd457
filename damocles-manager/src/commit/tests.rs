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
        let rig = Rig::new(5000);
        let mut policy = miner(1000);
        change(&mut policy);
        let says = Arc::new(Says(Mutex::new(Ok(SealVerdict::Good))));
        let commit = Commit::new(
            rig.db.clone(),
            rig.chain.clone(),
            Facts::new(rig.chain.clone()),
            rig.engine.clone(),
            says.clone(),
            Arc::new(vec![policy]),
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
        let ticket = self
            .rig
            .chain
            .ticket_randomness(tag, epoch, &entropy(1000), &TipSetKey::HEAD)
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
        self.rig.db.messages_of(id).unwrap()
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
        let info = serde_json::json!({
            "Info": {"SealProof": 5, "SectorNumber": id.number,
                "SealedCID": {"/": COMM_R.sealed_cid().to_string()}, "SealRandEpoch": 4000,
                "DealIDs": null, "Expiration": 600_000, "UnsealedCid": null},
            "PreCommitDeposit": "1000000000000000000", "PreCommitEpoch": height,
        });
        let info = serde_json::from_value(info).unwrap();
        let mut chain = self.rig.chain.edit();
        chain.precommits.insert((1000, id.number), info);
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

#[test]
fn submissions_after_submissions() {
    let message = |state| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records/message-v1.json");
        let text = std::fs::read_to_string(path).unwrap();
        let mut record: MessageRecord = serde_json::from_str(&text).unwrap();
        record.state = state;
        Stage::In(Box::new(record))
    };
    let take = |alone| Again::Take { alone };
    use MessageState as S;
    // before, (same, no reset), (same, reset), (other, no reset), (other, reset)
    let table = [
        (None, [take(false); 4]),
        (
            Some(Stage::Waits(None)),
            [Again::Accept, Again::Accept, Again::Mismatch, take(false)],
        ),
        (
            Some(Stage::Found),
            [
                Again::Accept,
                Again::Accept,
                Again::Mismatch,
                Again::Mismatch,
            ],
        ),
        (
            Some(message(S::Pushed)),
            [
                Again::Accept,
                Again::Accept,
                Again::Mismatch,
                Again::Mismatch,
            ],
        ),
        (
            Some(message(S::Landed)),
            [
                Again::Accept,
                Again::Accept,
                Again::Mismatch,
                Again::Mismatch,
            ],
        ),
        (
            Some(message(S::Failed)),
            [Again::Accept, take(true), Again::Mismatch, take(true)],
        ),
        (
            Some(message(S::Rejected)),
            [Again::Accept, take(true), Again::Mismatch, take(true)],
        ),
        (
            Some(Stage::Dropped("x".into())),
            [Again::Accept, take(false), Again::Mismatch, take(false)],
        ),
    ];
    for (before, wants) in table {
        let cases = [(true, false), (true, true), (false, false), (false, true)];
        for ((same, reset), want) in cases.into_iter().zip(wants) {
            let got = again(before.as_ref(), same, reset);
            assert_eq!(got, want, "{before:?} same={same} reset={reset}");
        }
    }
}

#[tokio::test]
async fn a_precommit_goes_on_chain() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Pending);
    house.push().await;

    let messages = house.messages(id);
    assert_eq!(messages.len(), 1);
    let message = &messages[0];
    assert_eq!((message.method, message.miner), (28, 1000));
    assert_eq!(message.value, TokenAmount::from_whole(1));
    let params: PreCommitSectorBatchParams2 = RawBytes::new(message.params.0.clone())
        .deserialize()
        .unwrap();
    assert_eq!(params.sectors.len(), 1);
    let sector = &params.sectors[0];
    assert_eq!(sector.sector_number, id.number);
    assert_eq!(sector.sealed_cid, COMM_R.sealed_cid());
    assert_eq!(sector.seal_rand_epoch, 4000);
    assert!(sector.unsealed_cid.is_zero());
    assert_eq!(sector.expiration, 5000 + 538 * 2880);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Pending);

    house.precommitted(id);
    house.run(message, 0, RawBytes::default()).await;
    assert_eq!(house.pre_state(id).await.0, OnChainState::Landed);
    // and after the sector is proven it still has
    house.active(id);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Landed);
    house.rig.chain.edit().sectors.clear();
    assert_eq!(house.pre_state(id).await.0, OnChainState::ShouldAbort);
}

#[tokio::test]
async fn repeated_and_restarted_submissions_make_one_message() {
    let mut house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    for reset in [false, true, false] {
        assert_eq!(house.submit(id, info, reset).await.res, R::Accepted);
    }
    // the daemon starts again between the submission and its message
    house.rig.restart();
    house.commit.engine = house.rig.engine.clone();
    for reset in [false, true] {
        house.push().await;
        assert_eq!(house.submit(id, info, reset).await.res, R::Accepted);
    }
    house.push().await;
    assert_eq!(house.messages(id).len(), 1);
    assert_eq!(house.rig.chain.edit().pushed.len(), 1);
    let other = PreCommitOnChainInfo {
        comm_r: Comm([1; 32]),
        ..info
    };
    for reset in [false, true] {
        let resp = house.submit(id, other, reset).await;
        assert_eq!(resp.res, R::MismatchedSubmission);
    }
    assert_eq!(house.messages(id).len(), 1);
}

#[tokio::test]
async fn submissions_that_can_never_be_taken_are_rejected_with_a_reason() {
    let house = House::new(|_| {});
    let good = house.info().await;
    let old = PreCommitOnChainInfo {
        ticket: house.ticket(1000).await,
        ..good
    };
    let mut forged = good;
    forged.ticket.ticket.0[0] ^= 1;
    let data = PreCommitOnChainInfo {
        comm_d: Comm([1; 32]),
        ..good
    };
    for (info, res, word) in [
        (old, R::Rejected, "expired"),
        (forged, R::Rejected, "ticket"),
        (data, R::MismatchedSubmission, "CommD"),
    ] {
        let id = house.sector();
        let resp = house.submit(id, info, false).await;
        assert_eq!(resp.res, res);
        assert!(resp.desc.unwrap().contains(word));
        house.push().await;
        assert!(house.messages(id).is_empty());
    }
    let used = house.sector();
    let bits = BitField::try_from_bits([used.number]).unwrap();
    house.rig.chain.edit().allocated.insert(1000, bits);
    let resp = house.submit(used, good, false).await;
    assert_eq!(resp.res, R::Rejected);

    let wrong = AllocatedSector {
        id: house.sector(),
        proof_type: SealProof::interactive(SectorSize::MiB8),
    };
    let resp = house.commit.submit_pre_commit(wrong, good, false).await;
    assert_eq!(resp.unwrap().res, R::MismatchedSubmission);
    let unknown = SectorId::new(1000, 998);
    let sector = AllocatedSector {
        id: unknown,
        proof_type: PROOF,
    };
    let e = house.commit.submit_pre_commit(sector, good, false).await;
    assert!(matches!(e, Err(CommitError::NoSector(id)) if id == unknown));
    let e = house.commit.poll_pre_commit(unknown).await;
    assert!(matches!(e, Err(CommitError::NoSector(_))));
}

#[tokio::test]
async fn a_precommit_that_is_on_chain_already_is_remembered_as_landed() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.precommitted(id);
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);
    house.push().await;
    assert!(house.messages(id).is_empty());
    assert_eq!(house.pre_state(id).await.0, OnChainState::Packed);
    house.rig.advance(10);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Landed);
    assert!(house.rig.db.online(id).unwrap().pre.is_some());

    let other = PreCommitOnChainInfo {
        comm_r: Comm([1; 32]),
        ..info
    };
    let another = house.sector();
    house.precommitted(another);
    let resp = house.submit(another, other, false).await;
    assert_eq!(resp.res, R::MismatchedSubmission);
}

#[tokio::test]
async fn a_batch_waits_for_its_threshold_and_goes_as_one() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let (a, b) = (house.sector(), house.sector());
    let info = house.info().await;
    house.submit(b, info, false).await;
    house.push().await;
    assert!(house.messages(b).is_empty());
    assert_eq!(house.pre_state(b).await.0, OnChainState::Pending);
    house.submit(a, info, false).await;
    house.push().await;
    let message = &house.messages(a)[0];
    assert_eq!(message.sectors, [a, b]);
    assert_eq!(house.messages(b)[0].id, message.id);
    assert_eq!(message.value, TokenAmount::from_whole(2));
}

#[tokio::test]
async fn a_failed_message_is_followed_by_one_of_its_own_when_asked_for() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let (a, b) = (house.sector(), house.sector());
    let info = house.info().await;
    for id in [a, b] {
        house.submit(id, info, false).await;
    }
    house.push().await;
    let first = house.messages(a)[0].clone();
    house.run(&first, 7, RawBytes::default()).await;
    let (state, desc) = house.pre_state(a).await;
    assert_eq!(state, OnChainState::Failed, "{desc:?}");
    // without reset nothing new is sent
    assert_eq!(house.submit(a, info, false).await.res, R::Accepted);
    house.push().await;
    assert_eq!(house.messages(a).len(), 1);
    for id in [a, b] {
        assert_eq!(house.submit(id, info, true).await.res, R::Accepted);
    }
    house.push().await;
    for id in [a, b] {
        let messages = house.messages(id);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1].sectors, [id], "what failed goes alone");
    }
    house
        .run(&house.messages(a)[1], 16, RawBytes::default())
        .await;
    assert_eq!(house.pre_state(a).await.0, OnChainState::PermFailed);
}

#[tokio::test]
async fn a_message_that_the_node_refuses_can_be_tried_anew() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.rig.chain.edit().refusals = vec!["not enough funds".into(); 5];
    house.submit(id, info, false).await;
    house.push().await;
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(desc.unwrap().contains("not enough funds"));
    for _ in 0..4 {
        house.rig.round().await;
    }
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Failed);
    assert!(desc.unwrap().contains("not enough funds"));
    house.submit(id, info, true).await;
    house.push().await;
    assert_eq!(house.pre_state(id).await.0, OnChainState::Pending);
    assert_eq!(house.rig.chain.edit().pushed.len(), 1);
}

#[tokio::test]
async fn one_bad_sector_does_not_hold_up_the_batch() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let (good, bad) = (house.sector(), house.sector());
    let info = house.info().await;
    house.rig.chain.edit().no_deposit.insert(bad.number);
    for id in [good, bad] {
        house.submit(id, info, false).await;
    }
    house.push().await;
    assert_eq!(house.messages(good)[0].sectors, [good]);
    assert!(house.messages(bad).is_empty());
    let (state, desc) = house.pre_state(bad).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(desc.unwrap().contains("no such proof type"));
}

#[tokio::test]
async fn a_node_that_is_away_delays_and_loses_nothing() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.rig.chain.set_down(true);
    house.push().await;
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(desc.unwrap().contains("does not answer"));
    house.rig.chain.set_down(false);
    house.push().await;
    assert_eq!(house.messages(id).len(), 1);
}

#[tokio::test]
async fn a_ticket_that_expires_while_waiting_is_told() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.rig.advance(4000);
    let second = house.sector();
    let fresh = PreCommitOnChainInfo {
        ticket: house.ticket(8000).await,
        ..info
    };
    house.submit(second, fresh, false).await;
    house.push().await;
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Failed);
    assert!(desc.unwrap().contains("expired"));
    assert_eq!(house.submit(id, info, true).await.res, R::Rejected);
    assert_eq!(house.messages(second)[0].sectors, [second]);
}

#[tokio::test]
async fn without_a_valid_sender_sectors_wait_and_say_so() {
    let stranger = fvm_shared::address::Address::new_id(4711);
    let house = House::new(|m| m.pre.senders = vec![stranger]);
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.push().await;
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(desc.unwrap().contains("4711"));
}

#[tokio::test]
async fn a_proof_goes_on_chain() {
    let house = House::new(|_| {});
    let id = house.seeded().await;
    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    house.push().await;
    let messages = house.messages(id);
    let message = messages.last().unwrap();
    assert_eq!(message.method, 34);
    assert_eq!(
        message.value,
        TokenAmount::from_whole(2),
        "pledge − deposit"
    );
    let params: ProveCommitSectors3Params = RawBytes::new(message.params.0.clone())
        .deserialize()
        .unwrap();
    assert_eq!(params.sector_activations[0].sector_number, id.number);
    assert_eq!(params.sector_proofs[0].to_vec(), b"proof");
    assert!(params.aggregate_proof.is_empty() && params.aggregate_proof_type.is_none());

    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    assert_eq!(
        house.prove(id, b"other", false).await.res,
        R::MismatchedSubmission
    );
    house.active(id);
    let ok = ProveCommitSectors3Return {
        activation_results: BatchReturn::ok(1),
    };
    let value = RawBytes::serialize(&ok).unwrap();
    house.run(message, 0, value).await;
    assert_eq!(house.proof_state(id).await.0, OnChainState::Landed);
}

#[tokio::test]
async fn proofs_are_checked_before_they_are_taken() {
    let house = House::new(|_| {});
    let early = house.sector();
    let resp = house.prove(early, b"proof", false).await;
    assert_eq!(resp.res, R::Rejected, "no precommit");

    let id = house.seeded().await;
    *house.says.0.lock() = Ok(SealVerdict::Bad("it does not verify".into()));
    let resp = house.prove(id, b"wrong", false).await;
    assert_eq!(resp.res, R::Rejected);
    assert!(resp.desc.unwrap().contains("does not verify"));

    *house.says.0.lock() = Err("the key is missing".into());
    let e = house.commit.submit_proof(id, proof(b"x"), false).await;
    assert!(matches!(e, Err(CommitError::Verify(_))));

    *house.says.0.lock() = Ok(SealVerdict::Good);
    house.rig.chain.edit().fork = 1;
    let resp = house.prove(id, b"proof", false).await;
    assert_eq!(resp.res, R::Rejected);
    assert!(resp.desc.unwrap().contains("seed"));
    house.rig.chain.edit().fork = 0;
    house.rig.chain.edit().precommits.clear();
    assert_eq!(house.prove(id, b"proof", false).await.res, R::Rejected);
    assert!(house.rig.db.online(id).unwrap().proof.is_none());
}

#[tokio::test]
async fn a_batch_of_proofs_may_succeed_in_parts() {
    let house = House::new(|m| m.prove.batch.threshold = 3);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(house.seeded().await);
    }
    for id in ids.iter().rev() {
        assert_eq!(house.prove(*id, b"proof", false).await.res, R::Accepted);
    }
    house.push().await;
    let message = house.messages(ids[0]).last().unwrap().clone();
    assert_eq!(message.sectors, ids, "in the order of numbers");
    house.active(ids[0]);
    let codes = [
        ExitCode::OK,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        ExitCode::USR_INSUFFICIENT_FUNDS,
    ];
    let partly = ProveCommitSectors3Return {
        activation_results: BatchReturn::of(&codes),
    };
    let value = RawBytes::serialize(&partly).unwrap();
    house.run(&message, 0, value).await;
    let mut states = Vec::new();
    for id in &ids {
        states.push(house.proof_state(*id).await.0);
    }
    assert_eq!(
        states,
        [
            OnChainState::Landed,
            OnChainState::PermFailed,
            OnChainState::Failed
        ]
    );
}

#[tokio::test]
async fn a_sector_that_is_active_already_needs_no_message() {
    let house = House::new(|_| {});
    let id = house.seeded().await;
    house.active(id);
    let before = house.messages(id).len();
    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    house.push().await;
    assert_eq!(house.messages(id).len(), before);
    house.rig.advance(10);
    assert_eq!(house.proof_state(id).await.0, OnChainState::Landed);
}
