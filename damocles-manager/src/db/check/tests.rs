//! What the verbs write is sound, and whatever is broken in it is told, and mended where it follows
//! from something else.

use super::*;
use crate::{
    db::{
        blocks::BlockRecord,
        deal::DealRecord,
        messages::Watched,
        posts::{PostKey, PostRecord},
        record::{Carriage, LeftChain, MessageRecord, PreCommit, WorkerRecord},
        recoveries::{Declaration, RecoveryRecord},
        schema::*,
        stores::{Replica, Reservation},
    },
    deal::{DealId, Length, Terms},
    messages::tests::intent,
    model::{Commitment, MessageId, MessageKind, unix_ms},
};
use damocles_api::{sector::SectorPiece, timeline::TimelineEntry};
use damocles_flow::{message::MessageEvent, post::PostState};
use damocles_kv::{Durability, StoreError, Table};
use damocles_node::TipSetKey;
use damocles_types::{Commitment as Comm, Randomness, SectorId, SectorSize, Ticket};

const KIND: SealProof = SealProof::interactive(SectorSize::KiB2);

fn change(db: &Db, id: SectorId, change: impl Fn(&mut SectorRecord)) {
    db.change(id, Durability::Synced, |record| {
        change(record);
        Ok::<_, DbError>(())
    })
    .unwrap();
}

fn message(kind: MessageKind, sectors: &[SectorId]) -> MessageRecord {
    let mut record = intent().record(MessageId::new());
    record.kind = kind;
    record.sectors = sectors.to_vec();
    record
}

/// One of everything, as the verbs write it.
pub(in crate::db) fn example(db: &Db) {
    db.set_network("bafy2bzacegenesis").unwrap();
    let any = |n: u64| Some(n);
    let id: Vec<SectorId> = (1..=5)
        .map(|n| {
            let request = format!("request-{n}");
            let got = db.allocate_for(Some(&request), 1000, KIND, 0, 99, any);
            got.unwrap().unwrap().id
        })
        .collect();
    let ticket = Ticket {
        ticket: Randomness([1; 32]),
        epoch: 5,
    };
    let waits = || Carriage::Ready {
        since: 7,
        alone: false,
        error: None,
    };
    for sector in &id[..4] {
        change(db, *sector, |record| {
            record.pre = Some(PreCommit {
                comm_r: Comm([3; 32]),
                comm_d: Comm([4; 32]),
                ticket,
                carriage: waits(),
            });
        });
    }
    // the third has a deal, another one waits, and one goes back to its market
    let terms = || Terms {
        provider: 1000,
        client: 101,
        piece: Comm([4; 32]).unsealed_cid(),
        size: 2048,
        start_by: 5000,
        length: Length::Until(900_000),
    };
    let assigned = DealRecord::assigned(DealId::Market(9), terms(), 2000, id[3]).going_back("no");
    db.take_assigned(id[3], &[], &[assigned]).unwrap();
    for number in [7, 8] {
        let url = Some("http://client/x".to_owned());
        let deal = DealRecord::new(DealId::Market(number), terms(), 2000, url);
        db.add_deal(&deal).unwrap();
    }
    let piece: SectorPiece = serde_json::from_value(serde_json::json!({
        "Piece": {"Size": 2048, "PieceCID": {"/": Comm([4; 32]).unsealed_cid().to_string()}},
        "DealInfo": {"DealID": 7, "AllocationID": 0, "PayloadSize": 2000, "IsBuiltinMarket": true},
    }))
    .unwrap();
    db.take_deals(id[2], &[piece]).unwrap();
    // the first one is finished
    let pre = message(MessageKind::PreCommit, &id[..2]);
    db.send_commitments(Commitment::PreCommit, &pre).unwrap();
    for event in [MessageEvent::Push, MessageEvent::Land] {
        let learn = |m: &mut MessageRecord| {
            m.epoch = Some(40);
            m.paid = (event == MessageEvent::Land).then(|| crate::db::record::Paid {
                day: 19_000,
                fee: fvm_shared::econ::TokenAmount::from_nano(7),
            });
        };
        db.step_message(pre.id, event, learn).unwrap();
    }
    db.put_proof(id[0], None, &[5; 192], &waits()).unwrap();
    let proof = message(MessageKind::ProveCommit, &id[..1]);
    db.send_commitments(Commitment::Proof, &proof).unwrap();
    for event in [MessageEvent::Push, MessageEvent::Land, MessageEvent::Settle] {
        db.step_message(proof.id, event, |_| {}).unwrap();
    }
    db.put_locations(&[Location {
        sector: id[0],
        replica: Replica::Normal,
        sealed: "hdd1".into(),
        cache: "hdd1".into(),
    }])
    .unwrap();
    change(db, id[0], |record| {
        record.online = false;
        record.finalized = true;
    });
    // the second one is on its way, the third in a message that has not left
    let room = Reservation {
        sector: id[1],
        store: "hdd1".into(),
        size: 4096,
        at: 5,
    };
    assert!(db.put_reservation(&room, |_| true).unwrap());
    let open = message(MessageKind::PreCommit, &id[2..3]);
    db.send_commitments(Commitment::PreCommit, &open).unwrap();
    db.put_looked(&[(open.id, 9)]).unwrap();
    // the fifth one was given up
    change(db, id[4], |record| {
        record.online = false;
        record.abort_reason = "a test".into();
    });
    db.note_stray(SectorId::new(1000, 77), None, None, false, 5)
        .unwrap();
    db.put_store_mark("hdd1", "an id").unwrap();
    let worker = |_| (worker(), ());
    db.change_worker("w1", worker).unwrap();
    db.put_timeline(id[1], "w1", &[step()]).unwrap();
    let posts = [60, 120].map(|open| PostRecord {
        partitions: vec![0],
        ..PostRecord::planned(window(open), 1, open - 20, open + 60)
    });
    assert_eq!(db.plan_posts(&posts).unwrap(), 2);
    let sent = message(MessageKind::WindowPost, &[]);
    let mut done = PostRecord {
        state: PostState::Submitted,
        message: Some(sent.id),
        ..posts[0].clone()
    };
    done.writes = 0;
    let stored = db.post(done.key).unwrap().unwrap();
    done.writes = stored.writes;
    db.submit_post(&done, &sent).unwrap();
    let sent = message(MessageKind::DeclareRecoveries, &[]);
    let mut recovery = RecoveryRecord::begun(1000, 1, 60, (-70, -10));
    recovery.declared.push(Declaration {
        message: sent.id,
        partitions: Vec::new(),
    });
    db.put_recovery(&recovery, &[sent]).unwrap();
    let block = BlockRecord::won(1000, 61, (TipSetKey::HEAD, 60));
    db.put_block(&block).unwrap();
    db.count_round(1000, 61, |rounds| rounds.expected += 0.5)
        .unwrap();
}

fn window(open: i64) -> PostKey {
    PostKey {
        miner: 1000,
        open,
        first: 0,
    }
}

fn step() -> TimelineEntry {
    TimelineEntry {
        seq: 1,
        state: "PC1Done".into(),
        stage: "PC1".into(),
        queued_at: 1,
        started_at: None,
        ended_at: None,
        child: None,
        kernel: None,
        ending: None,
    }
}

fn worker() -> WorkerRecord {
    let text = include_str!("../../../tests/records/worker-v1.json");
    serde_json::from_str(text).unwrap()
}

pub(in crate::db) fn faults(db: &Db, mend: Mend) -> Vec<Fault> {
    let mut faults = Vec::new();
    db.look_through(mend, |fault| faults.push(fault), |_| {})
        .unwrap();
    faults
}

fn sound(db: &Db) {
    assert_eq!(faults(db, Mend::Nothing), []);
}

fn write(db: &Db, table: Table, key: &[u8], value: Option<&[u8]>) {
    db.write::<_, StoreError>(Durability::Synced, |t| match value {
        Some(value) => t.overwrite(table, key, value),
        None => t.erase(table, key),
    })
    .unwrap();
}

/// Keys and values of a table.
fn records(db: &Db, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = |t: &mut damocles_kv::Transaction<'_>| t.scan(table, &Span::all(), usize::MAX);
    let all = db.read::<_, StoreError>(all).unwrap();
    let of = |r: &damocles_kv::Record| (r.key().to_vec(), r.bytes().unwrap().to_vec());
    all.iter().map(of).collect()
}

#[test]
fn what_the_verbs_write_is_sound() {
    let db = Db::in_memory();
    example(&db);
    sound(&db);
    for table in TABLES {
        let empty = records(&db, *table).is_empty();
        let of_workers = [JOBS, JOB_INPUTS, JOBS_OPEN].contains(table);
        let without = of_workers || [LEFT_CHAIN, SCANNED, LEASES].contains(table);
        assert_eq!(
            empty, without,
            "the example has one of everything: {table:?}"
        );
    }
    let id = SectorId::new(1000, 1);
    change(&db, id, |record| {
        record.left_chain = Some(LeftChain {
            since: 1,
            why: "a branch".into(),
            stays: false,
        });
    });
    sound(&db);
}

#[test]
fn lists_that_do_not_follow_from_the_records_are_told_and_mended() {
    let db = Db::in_memory();
    example(&db);
    let lists = [
        IN_WORK,
        DONE,
        READY,
        REQUESTS,
        MESSAGES_OPEN,
        MESSAGES_WATCHED,
        ENDED,
        SECTOR_MESSAGES,
        POSTS_OPEN,
        NUMBERS,
    ];
    for table in lists {
        for (key, _) in records(&db, table) {
            write(&db, table, &key, None);
            let told = faults(&db, Mend::Nothing);
            assert_eq!(told.len(), 1, "{table:?}: {told:?}");
            let fault = &told[0];
            assert_eq!((fault.table, &fault.key), (table.0, &hex::encode(&key)));
            assert!(fault.cure.contains("--mend") && !fault.mended, "{fault:?}");
            let mended = faults(&db, Mend::Lists);
            assert!(mended.len() == 1 && mended[0].mended, "{mended:?}");
            sound(&db);
        }
    }
    let nobody = SectorId::new(1000, 50);
    let finished = keys::sector(SectorId::new(1000, 1));
    let unknown = keys::message(MessageId::new());
    let (settled, landed) = (message_of(&db, "Final"), message_of(&db, "Landed"));
    for (table, key, value) in [
        (IN_WORK, keys::sector(nobody), &b""[..]),
        (IN_WORK, finished.clone(), b""),
        (DONE, keys::sector(SectorId::new(1000, 2)), b""),
        (LEFT_CHAIN, finished.clone(), b""),
        (
            READY,
            keys::ready(Commitment::Proof, SectorId::new(1000, 4)),
            b"",
        ),
        (
            REQUESTS,
            b"an old one".to_vec(),
            b"{\"Miner\":1000,\"Number\":50}",
        ),
        (MESSAGES_OPEN, unknown.clone(), b""),
        (MESSAGES_OPEN, settled.clone(), b""),
        (MESSAGES_OPEN, landed, b""),
        (
            MESSAGES_WATCHED,
            settled.clone(),
            b"{\"epoch\":1,\"tipset\":null}",
        ),
        (ENDED, keys::ended(5, MessageId::new()), b""),
        (SECTOR_MESSAGES, [finished, unknown].concat(), b""),
        (POSTS_OPEN, vec![0; 24], b""),
        (OVER, keys::over(5, nobody), b""),
        (PROOFS, keys::sector(nobody), b"of nobody"),
        (NUMBERS, keys::miner(1000), b"4"),
    ] {
        write(&db, table, &key, Some(value));
        let told = faults(&db, Mend::Nothing);
        assert_eq!(told.len(), 1, "{table:?}: {told:?}");
        assert_eq!((told[0].table, &told[0].key), (table.0, &hex::encode(&key)));
        faults(&db, Mend::Lists);
        sound(&db);
    }
}

fn message_of(db: &Db, state: &str) -> Vec<u8> {
    let all = records(db, MESSAGES);
    let in_state = |value: &[u8]| {
        let record: MessageRecord = serde_json::from_slice(value).unwrap();
        record.state.to_string() == state
    };
    let found = all.into_iter().find(|(_, value)| in_state(value));
    found.unwrap().0
}

#[test]
fn what_only_a_person_can_mend_is_told_and_left() {
    let damaged = |table: Table| {
        let db = Db::in_memory();
        example(&db);
        let (key, _) = records(&db, table).remove(0);
        write(&db, table, &key, Some(b"{"));
        let told = faults(&db, Mend::Lists);
        let read = told.iter().filter(|f| f.what.contains("cannot be read"));
        assert_eq!(read.count(), 1, "{table:?}: {told:?}");
        assert!(
            told.iter()
                .any(|f| f.table == table.0 && f.key == hex::encode(&key))
        );
        assert!(told.iter().all(|f| f.table == table.0), "{told:?}");
        assert_eq!(records(&db, table)[0].1, b"{");
    };
    for table in [
        SECTORS,
        REQUESTS,
        STRAYS,
        MARKS,
        NUMBERS,
        MESSAGES,
        MESSAGES_WATCHED,
        TIMELINES,
        WORKERS,
        RESERVATIONS,
        REPLICAS,
        POSTS,
        BODIES,
        LOOKED,
        SPENT,
        DEALS,
        BLOCKS,
        ROUNDS,
        NETWORK,
    ] {
        damaged(table);
    }
    let db = Db::in_memory();
    example(&db);
    let key = message_of(&db, "Landed");
    let about = records(&db, SECTOR_MESSAGES);
    write(&db, MESSAGES, &key, None);
    let told: Vec<_> = faults(&db, Mend::Nothing);
    let carried = told.iter().filter(|f| f.table == SECTORS.0);
    assert_eq!(carried.count(), 2, "it carried two: {told:?}");
    assert!(told.iter().any(|f| f.cure.contains("sectors state 1000 1")));
    assert!(about.len() > 2);
    let body = records(&db, MESSAGES_OPEN).remove(0).0;
    write(&db, BODIES, &body, None);
    let replica = records(&db, REPLICAS).remove(0).0;
    write(&db, REPLICAS, &replica, None);
    let reserved = SectorId::new(1000, 2);
    change(&db, reserved, |record| record.online = false);
    let told = faults(&db, Mend::Nothing);
    for (table, cure) in [
        (BODIES, "not pushed again"),
        (BODIES, "bring the record of the message back"),
        (REPLICAS, "damocles.attach"),
        (RESERVATIONS, "release-reserved 1000 2"),
    ] {
        let is = |f: &Fault| f.table == table.0 && f.cure.contains(cure);
        assert!(told.iter().any(is), "{table:?}: {told:?}");
    }
    // under another's key
    let (_, value) = records(&db, SECTORS).remove(0);
    write(
        &db,
        SECTORS,
        &keys::sector(SectorId::new(1000, 9)),
        Some(&value),
    );
    write(&db, POSTS, &[0; 24], Some(&records(&db, POSTS)[0].1));
    write(&db, SECTORS, b"short", Some(&value));
    let told = faults(&db, Mend::Nothing);
    let misplaced = told.iter().filter(|f| f.what.contains("lies under a key"));
    assert_eq!(misplaced.count(), 3, "{told:?}");
}

/// More than a page of each table, of which some are shorter than others.
#[test]
fn a_proof_that_is_lost_or_another_one_is_told() {
    let db = Db::in_memory();
    example(&db);
    let (finished, waiting) = (SectorId::new(1000, 1), SectorId::new(1000, 2));
    db.put_proof(
        waiting,
        None,
        &[6; 192],
        &Carriage::Ready {
            since: 1,
            alone: false,
            error: None,
        },
    )
    .unwrap();
    sound(&db);
    let key = |id| keys::sector(id);
    for (id, value, what) in [
        (waiting, None, "waits for a message, and is lost"),
        (
            finished,
            Some(&[6; 192][..]),
            "is not the one of its record",
        ),
    ] {
        write(&db, PROOFS, &key(id), value);
        let told = faults(&db, Mend::Lists);
        assert!(told.len() == 1 && told[0].what.contains(what), "{told:?}");
        assert_eq!((told[0].table, told[0].mended), (PROOFS.0, false));
        let was = if id == waiting { [6; 192] } else { [5; 192] };
        write(&db, PROOFS, &key(id), Some(&was));
        sound(&db);
    }
}

#[test]
fn pages_of_tables_side_by_side_hide_nothing() {
    let db = Db::in_memory();
    db.write::<_, StoreError>(Durability::Buffered, |t| {
        for number in 0..1000 {
            let id = SectorId::new(1000, number);
            let mut record = SectorRecord::new(id, KIND, 0);
            record.online = number % 3 == 0;
            t.insert_json(SECTORS, keys::sector(id), &record)?;
            for (table, key) in crate::db::listed::lists(&record) {
                t.insert(table, key, [])?;
            }
        }
        t.insert_json(NUMBERS, keys::miner(1000), &999_u64)
    })
    .unwrap();
    sound(&db);
    let key = |number| keys::sector(SectorId::new(1000, number));
    for number in [0, 333, 666, 999] {
        write(&db, IN_WORK, &key(number), None);
        write(&db, DONE, &key(number), Some(b""));
    }
    for number in 1000..1700 {
        write(&db, DONE, &key(number), Some(b""));
    }
    assert_eq!(faults(&db, Mend::Nothing).len(), 8 + 700);
    let mut seen = 0;
    let told = db.look_through(Mend::Lists, |fault| assert!(fault.mended), |n| seen = n);
    assert_eq!(told.unwrap(), seen);
    sound(&db);
}

/// Programs before the list of watched messages have left out what had ended long before.
#[test]
fn what_ended_long_ago_need_not_be_watched() {
    let db = Db::in_memory();
    let mut old = message(MessageKind::WindowPost, &[]);
    old.wanted_at = unix_ms() - 3 * 24 * 60 * 60 * 1000;
    db.want(old.clone()).unwrap();
    for event in [MessageEvent::Push, MessageEvent::Land] {
        db.step_message(old.id, event, |_| {}).unwrap();
    }
    sound(&db);
    let key = keys::message(old.id);
    write(&db, MESSAGES_WATCHED, &key, None);
    sound(&db);
    let watched: Vec<Watched> = db.watched_messages(None).unwrap();
    assert_eq!(watched, []);
}
