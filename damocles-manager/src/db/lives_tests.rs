//! Whole lives of sectors, told by the verbs alone: what many days of them leave behind, and that
//! whoever looks through the database meanwhile sees nothing that cannot be.

use crate::{
    db::{
        Db, DbError,
        check::{Mend, tests::faults},
        posts::{PostKey, PostRecord},
        record::{Carriage, MessageRecord, PreCommit},
        schema::*,
        stores::{Location, Replica, Reservation},
    },
    messages::tests::intent,
    model::{Commitment, MessageId, MessageKind, UnixMs},
};
use damocles_api::{
    sector::{ReportStateReq, StateChange, WorkerIdentifier},
    timeline::TimelineEntry,
};
use damocles_flow::{message::MessageEvent, post::PostState};
use damocles_kv::{Durability, Postgres, Span, StoreError, Table};
use damocles_types::{
    ActorId, Commitment as Comm, Epoch, Randomness, SealProof, SectorId, SectorSize, Ticket,
};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

const KIND: SealProof = SealProof::interactive(SectorSize::GiB32);
const DAY: UnixMs = 24 * 3600 * 1000;
/// Of a proof and of a message's body, and of nothing else here.
const KEPT: UnixMs = 30 * DAY;
/// Deadlines of a day, and their epochs.
const DEADLINES: i64 = 48;
const EPOCHS: Epoch = 2880;

/// What a worker tells on its way.
const STATES: [&str; 6] = [
    "Allocated",
    "TreeDBuilt",
    "PC1Done",
    "PC2Done",
    "C1Done",
    "C2Done",
];

fn begin(db: &Db, miner: ActorId) -> SectorId {
    let given = db.allocate(miner, KIND, 0, u64::MAX, Some).unwrap();
    given.unwrap().id
}

fn waits(at: UnixMs) -> Carriage {
    Carriage::Ready {
        since: at,
        alone: false,
        error: None,
    }
}

fn report(db: &Db, id: SectorId, seq: u64, next: &str, at: UnixMs) {
    let entry = TimelineEntry {
        seq,
        state: next.into(),
        stage: "PC1".into(),
        queued_at: at,
        started_at: Some(at),
        ended_at: Some(at),
        child: None,
        kernel: None,
        ending: None,
    };
    db.put_timeline(id, "w", &[entry]).unwrap();
    let report = ReportStateReq {
        worker: WorkerIdentifier {
            instance: "w".into(),
            location: "/store".into(),
        },
        state_change: StateChange {
            prev: String::new(),
            next: next.into(),
            event: "Done".into(),
        },
        failure: None,
        at: None,
    };
    let reported = db.change(id, Durability::Buffered, |record| {
        (record.report, record.reported_at) = (Some(report.clone()), Some(at));
        Ok::<_, DbError>(())
    });
    reported.unwrap();
}

pub(crate) fn message(kind: MessageKind, sectors: &[SectorId], at: UnixMs) -> MessageRecord {
    let mut message = intent().record(MessageId::new());
    (message.kind, message.sectors) = (kind, sectors.to_vec());
    (message.wanted_at, message.params) = (at, vec![7; 2000].into());
    message
}

fn lands(db: &Db, id: MessageId) {
    for event in [MessageEvent::Push, MessageEvent::Land] {
        let learn = |m: &mut MessageRecord| m.epoch = Some(40);
        db.step_message(id, event, learn).unwrap();
    }
}

/// From where it was allocated to where it is on chain; its last message, which is not final yet.
fn seal(db: &Db, id: SectorId, at: UnixMs) -> MessageId {
    let room = Reservation {
        sector: id,
        store: "hdd".into(),
        size: 4096,
        at: at.cast_signed(),
    };
    db.put_reservation(&room, |_| true).unwrap();
    for (seq, state) in STATES.iter().enumerate() {
        report(db, id, seq as u64, state, at);
    }
    let ticket = Ticket {
        ticket: Randomness([1; 32]),
        epoch: 5,
    };
    let ready = db.change(id, Durability::Synced, |record| {
        record.pre = Some(PreCommit {
            comm_r: Comm([3; 32]),
            comm_d: Comm([4; 32]),
            ticket,
            carriage: waits(at),
        });
        Ok::<_, DbError>(())
    });
    ready.unwrap();
    let pre = message(MessageKind::PreCommit, &[id], at);
    db.send_commitments(Commitment::PreCommit, &pre).unwrap();
    lands(db, pre.id);
    db.step_message(pre.id, MessageEvent::Settle, |_| {})
        .unwrap();
    db.put_proof(id, None, &[5; 1920], &waits(at)).unwrap();
    let proof = message(MessageKind::ProveCommit, &[id], at);
    db.send_commitments(Commitment::Proof, &proof).unwrap();
    lands(db, proof.id);
    proof.id
}

/// It is final, and its files are where they stay.
fn finish(db: &Db, id: SectorId, proof: MessageId) {
    db.step_message(proof, MessageEvent::Settle, |_| {})
        .unwrap();
    let stored = Location {
        sector: id,
        replica: Replica::Normal,
        sealed: "hdd".into(),
        cache: "hdd".into(),
    };
    db.put_locations(&[stored]).unwrap();
    db.remove_reservation(id).unwrap();
    let done = db.change(id, Durability::Synced, |record| {
        (record.online, record.finalized) = (false, true);
        Ok::<_, DbError>(())
    });
    done.unwrap();
}

/// A day's WindowPoSts of a miner, each with its message; what is long ago is forgotten.
fn prove(db: &Db, miner: ActorId, day: u64) {
    let at = day * DAY;
    let first = day.cast_signed() * EPOCHS;
    for deadline in 0..DEADLINES {
        let open = first + deadline * 60;
        let key = PostKey {
            miner,
            open,
            first: 0,
        };
        let planned = PostRecord {
            partitions: vec![0],
            ..PostRecord::planned(key, deadline.cast_unsigned(), open - 20, open + 60)
        };
        db.plan_posts(&[planned]).unwrap();
        let sent = message(MessageKind::WindowPost, &[], at);
        let mut record = db.post(key).unwrap().unwrap();
        (record.state, record.message) = (PostState::Submitted, Some(sent.id));
        db.submit_post(&record, &sent).unwrap();
        lands(db, sent.id);
        db.step_message(sent.id, MessageEvent::Settle, |_| {})
            .unwrap();
        let mut record = db.post(key).unwrap().unwrap();
        record.state = PostState::Landed;
        db.put_post(&record).unwrap();
        db.forget_posts(miner, open - EPOCHS).unwrap();
    }
}

/// So many sectors are begun on each of the days, sealed on the next one, and finished on the
/// third; by so many threads. `each` is told when a day is over.
fn days(db: &Db, of: u64, sectors: usize, threads: usize, mut each: impl FnMut(u64)) {
    let (mut begun, mut sealed) = (Vec::new(), Vec::new());
    for day in 1..=of {
        let at = day * DAY;
        let next = side_by_side(threads, vec![(); sectors], |()| begin(db, 1000));
        let later = side_by_side(threads, begun, |id| (id, seal(db, id, at)));
        side_by_side(threads, sealed, |(id, proof)| finish(db, id, proof));
        (begun, sealed) = (next, later);
        prove(db, 1000, day);
        while db.forget_bodies(at.saturating_sub(KEPT), 500).unwrap() > 0 {}
        each(day);
    }
}

fn side_by_side<A: Clone + Send + Sync, B: Send>(
    threads: usize,
    all: Vec<A>,
    work: impl Fn(A) -> B + Sync,
) -> Vec<B> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let take = || all.get(next.fetch_add(1, Ordering::Relaxed)).cloned();
                    std::iter::from_fn(take).map(&work).collect::<Vec<_>>()
                })
            })
            .collect();
        let done = workers.into_iter().flat_map(|w| w.join().unwrap());
        done.collect()
    })
}

/// Tables of what is in work, and of what is kept for some time.
const WORK: [Table; 14] = [
    REQUESTS,
    STRAYS,
    IN_WORK,
    READY,
    PROOFS,
    LEFT_CHAIN,
    BODIES,
    ENDED,
    MESSAGES_OPEN,
    MESSAGES_WATCHED,
    RESERVATIONS,
    POSTS,
    POSTS_OPEN,
    LOOKED,
];

fn count(db: &Db, table: Table) -> usize {
    let (mut count, mut from) = (0, Span::all());
    loop {
        let page = db.read::<_, StoreError>(|t| t.scan(table, &from, 10_000));
        let page = page.unwrap();
        count += page.len();
        match page.last() {
            Some(last) => from = from.after(last.key()),
            None => return count,
        }
    }
}

#[test]
fn many_days_leave_the_tables_of_work_as_they_were() {
    let db = Db::in_memory();
    let mut seen = Vec::new();
    days(&db, 64, 4, 1, |day| {
        // what goes after a while has begun to go
        if [34, 44, 64].contains(&day) {
            seen.push(WORK.map(|table| (table.0, count(&db, table))));
        }
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[1], seen[2]);
    let of = |table: Table| seen[2].iter().find(|(name, _)| *name == table.0).unwrap().1;
    assert_eq!(
        (of(IN_WORK), of(RESERVATIONS), of(MESSAGES_WATCHED)),
        (8, 4, 4)
    );
    // of the last thirty days, and the day itself
    assert_eq!(of(PROOFS), 4 * 31);
    assert_eq!(of(POSTS_OPEN), 0);
    assert_eq!(count(&db, SECTORS), 64 * 4, "their records stay");
    assert_eq!(faults(&db, Mend::Nothing), []);
}

#[test]
#[ignore = "a measurement, minutes: LIVES_PER_DAY=3300 cargo test -p damocles-manager --lib lives -- --ignored --nocapture"]
fn thirty_days_of_a_fleet() {
    let per_day = std::env::var("LIVES_PER_DAY").map_or(3300, |n| n.parse().unwrap());
    let dir = tempfile::tempdir_in(".").unwrap();
    // of many sectors, as `damocles-bench manager --keep` leaves one
    let place = std::env::var_os("LIVES_DB").map_or(dir.path().to_owned(), PathBuf::from);
    let db = Db::open(&place).unwrap();
    let began = Instant::now();
    days(&db, 40, per_day, 32, |day| {
        if [1, 3, 10, 30, 35, 40].contains(&day) {
            println!("day {day}, {:.0} s", began.elapsed().as_secs_f64());
            for table in WORK.into_iter().chain([SECTORS, MESSAGES, TIMELINES, OVER]) {
                println!("  {:<20} {:>9}", table.0, count(&db, table));
            }
        }
    });
}

/// On a database that others write to meanwhile.
fn a_check_beside_writers(db: &Db, others: &[Db]) {
    let lives = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (n, other) in others.iter().enumerate() {
            let lives = &lives;
            scope.spawn(move || {
                for day in 1..=10 {
                    let miner = 1000 + n as u64;
                    let id = begin(other, miner);
                    let proof = seal(other, id, day * DAY);
                    finish(other, id, proof);
                    let given_up = begin(other, miner);
                    let done = other.change(given_up, Durability::Synced, |record| {
                        record.online = false;
                        Ok::<_, DbError>(())
                    });
                    done.unwrap();
                    lives.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut looks = 0;
        while lives.load(Ordering::SeqCst) < 10 * others.len() {
            assert_eq!(faults(db, Mend::Nothing), []);
            looks += 1;
        }
        assert!(looks > 1, "it was over before it was looked at twice");
    });
    assert_eq!(faults(db, Mend::Nothing), []);
}

#[test]
fn a_look_through_the_database_beside_writers_finds_nothing() {
    let db = Db::in_memory();
    a_check_beside_writers(&db, &[db.clone(), db.clone()]);
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    a_check_beside_writers(&db, &[db.clone(), db.clone()]);
    let Some(server) = damocles_test_postgres::shared() else {
        return;
    };
    let place = Postgres {
        dsn: server.dsn(),
        password: None,
        schema: "checked beside writers".into(),
        connections: 8,
        authorities: None,
    };
    let open = || Db::on_server(&place, true).unwrap();
    a_check_beside_writers(&open(), &[open(), open()]);
}
