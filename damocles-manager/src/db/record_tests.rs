//! Records that were written once must load for ever. The files under `tests/records` are
//! never changed; a new version of a record adds a file. `UPDATE_RECORDS=1` writes missing ones.

use super::*;
use damocles_api::{
    sector::{ReportStateReq, StateChange, WorkerIdentifier},
    workers::WorkerSummary,
};
use damocles_node::Message;
use damocles_types::{Randomness, SectorSize};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::crypto::signature::{Signature, SignatureType};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, fs, path::Path};

fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/records")
        .join(format!("{name}.json"));
    if std::env::var_os("UPDATE_RECORDS").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = serde_json::to_string_pretty(value).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{name}");
}

fn message_id(n: u128) -> MessageId {
    MessageId(uuid::Uuid::from_u128(n))
}

fn sector() -> SectorRecord {
    SectorRecord {
        v: 1,
        id: SectorId::new(1000, 7),
        proof_type: SealProof::interactive(SectorSize::KiB2),
        online: true,
        allocated_at: 1_700_000_000_123,
        ticket: Some(Ticket {
            ticket: Randomness([1; 32]),
            epoch: -890,
        }),
        seed: Some(Seed {
            seed: Randomness([2; 32]),
            epoch: 30,
        }),
        pieces: None,
        pre: Some(PreCommit {
            comm_r: Commitment([3; 32]),
            comm_d: Commitment([4; 32]),
            ticket: Ticket {
                ticket: Randomness([1; 32]),
                epoch: -890,
            },
            carriage: Carriage::In {
                message: message_id(1),
            },
        }),
        proof: Some(Proof {
            digest: String::new(),
            carriage: Carriage::Ready {
                since: 1_700_000_001_000,
                alone: true,
                error: Some("no sender".into()),
            },
        }),
        report: Some(ReportStateReq {
            worker: WorkerIdentifier {
                instance: "w1".into(),
                location: "/store/1".into(),
            },
            state_change: StateChange {
                prev: "PC1Done".into(),
                next: "PC2Done".into(),
                event: "PC2".into(),
            },
            failure: None,
            at: None,
        }),
        reported_at: Some(1_700_000_002_000),
        finalized: false,
        removed: false,
        abort_reason: String::new(),
        aborted_by: None,
        owner: None,
        taken_from: None,
        claimant: None,
        fence: 0,
        request: None,
        left_chain: None,
    }
}

fn message() -> MessageRecord {
    let from = Address::new_id(100);
    let to = Address::new_id(1000);
    let mut signed = Message::new(
        from,
        to,
        TokenAmount::from_atto(5),
        28,
        RawBytes::new(vec![6; 8]),
    );
    signed.nonce = 3;
    let signed = SignedMessage {
        message: signed,
        signature: Signature {
            sig_type: SignatureType::BLS,
            bytes: vec![7; 96],
        },
    };
    MessageRecord {
        v: 1,
        id: message_id(2),
        kind: MessageKind::PreCommit,
        miner: 1000,
        from,
        to,
        value: TokenAmount::from_atto(5),
        method: 28,
        params: Base64(vec![6; 8]),
        fee: FeeRecord {
            gas_over_estimation: 1.2,
            gas_over_premium: 0.0,
            gas_fee_cap: TokenAmount::from_nano(5),
            max_fee: TokenAmount::default(),
            max_fee_per_day: TokenAmount::default(),
        },
        confidence: 10,
        sectors: vec![SectorId::new(1000, 7)],
        wanted_at: 1_700_000_000_000,
        state: MessageState::Landed,
        gas: Some(GasRecord {
            limit: 1_200_000,
            fee_cap: TokenAmount::from_nano(5),
            premium: TokenAmount::from_atto(100_000),
        }),
        cid: Some(signed.cid()),
        signed: Some(signed),
        nonce: Some(3),
        pushed_at: Some(40),
        epoch: Some(42),
        exit_code: Some(0),
        return_value: Some(Base64(vec![0x80])),
        gas_used: Some(1_000_000),
        tipset: None,
        deadline: None,
        push_id: None,
        entrusted: None,
        lost: Vec::new(),
        sent_at: None,
        priced_at: None,
        paid: None,
        order: None,
        withdrawal: None,
        note: None,
        tries: 1,
        refusals: 1,
        retry_at: Some(1_700_000_003_000),
        error: Some("it was slow".into()),
        failing_since: Some(1_700_000_002_000),
    }
}

#[test]
fn stored_records_load() {
    golden("sector-v1", &sector());
    let mut bare = SectorRecord::new(SectorId::new(1, 2), sector().proof_type, 5);
    bare.online = false;
    bare.abort_reason = "given up".into();
    golden("sector-bare-v1", &bare);
    let mut left = sector();
    (left.online, left.finalized) = (false, true);
    left.left_chain = Some(LeftChain {
        since: 1_700_000_000_456,
        why: "its proof left the chain with a branch".into(),
        stays: false,
    });
    golden("sector-left-chain-v1", &left);
    // in those above the bytes of the proof are passed over: a migration has taken them out
    let mut apart = sector();
    apart.proof = apart.proof.map(|p| Proof::of(&[5; 192], p.carriage));
    golden("sector-proof-apart-v1", &apart);
    golden("message-v1", &message());
    let worker = WorkerRecord {
        v: 1,
        ping: WorkerPing {
            name: "w1".into(),
            dest: "10.0.0.1:17890".into(),
            version: "0.14.0".into(),
            summary: WorkerSummary::default(),
        },
        last_ping: 1_700_000_000,
        left: false,
        twin: None,
    };
    golden("worker-v1", &worker);
    for (name, carriage) in [
        ("carriage-found-v1", Carriage::Found),
        (
            "carriage-dropped-v1",
            Carriage::Dropped {
                why: "ticket expired".into(),
                reason: None,
            },
        ),
    ] {
        golden(name, &carriage);
    }
}

#[test]
fn stored_posts_and_replicas_load() {
    use crate::db::{
        posts::{PostKey, PostRecord, ProvenPartition, StoredProof},
        stores::{Location, Replica, Reservation},
    };
    use damocles_flow::post::PostState;
    let key = PostKey {
        miner: 1000,
        open: 60,
        first: 3,
    };
    let planned = PostRecord {
        partitions: vec![3, 4],
        ..PostRecord::planned(key, 1, 40, 120)
    };
    let proved = PostRecord {
        state: PostState::Submitted,
        randomness: Some(Randomness([8; 32])),
        proof: Some(StoredProof {
            kind: 10,
            bytes: Base64(vec![9; 192]),
            partitions: vec![ProvenPartition {
                index: 3,
                skipped: vec![7],
            }],
        }),
        skipped: vec![(7, "its file is missing".into())],
        proving_ms: Some(1200),
        message: Some(message_id(3)),
        landed_at: Some(70),
        tries: 2,
        retry_at: Some(65),
        error: Some("the prover was killed".into()),
        ..planned.clone()
    };
    golden("post-planned-v1", &planned);
    golden("post-v1", &proved);
    let sector = SectorId::new(1000, 7);
    golden(
        "reservation-v1",
        &Reservation {
            sector,
            store: "store-1".into(),
            size: 4096,
            at: 1_700_000_000,
        },
    );
    golden(
        "location-v1",
        &Location {
            sector,
            replica: Replica::Upgrade,
            sealed: "store-1".into(),
            cache: "store-2".into(),
        },
    );
}
