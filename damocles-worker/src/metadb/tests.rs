//! A thread's database: what is written stays, what cannot be read is told.

use super::*;
use crate::plans::{Stop, stop::database_failed};
use damocles_api::sector::AllocatedSector;
use damocles_flow::{PlanName, State};
use damocles_types::{Level, SealProof, SectorSize};
use std::{sync::mpsc, thread};

fn document() -> Document {
    let allocated = AllocatedSector {
        id: SectorId::new(1000, 7),
        proof_type: SealProof::interactive(SectorSize::KiB2),
    };
    Document::new(PlanName::Sealer, allocated, None)
}

fn entry(seq: u64) -> TimelineEntry {
    TimelineEntry {
        seq,
        state: "Empty".into(),
        stage: "Allocate".into(),
        queued_at: 1,
        started_at: Some(1),
        ended_at: None,
        child: None,
        kernel: None,
        ending: None,
    }
}

fn ended(seq: u64) -> TimelineEntry {
    TimelineEntry {
        ending: Some(Ending::Interrupted),
        ..entry(seq)
    }
}

/// The document as it lies there.
fn raw(db: &MetaDb) -> String {
    let record = db.record(SECTOR, NOW).unwrap();
    String::from_utf8(record.bytes().unwrap().to_vec()).unwrap()
}

#[test]
fn a_transition_survives_reopening_and_the_state_is_stored_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut doc = document();
    {
        let db = MetaDb::open(dir.path()).unwrap();
        assert_eq!(db.load().unwrap(), None);
        db.begin(&doc, &entry(0)).unwrap();
        doc.advance(State::PC1Done);
        let output = Opaque::from_text("{\"x\":1}").unwrap();
        let with = Transition {
            keep: Some((Output::Pc1, &output)),
            entry: Some(&entry(1)),
            ..Transition::default()
        };
        db.commit(&doc, &with).unwrap();
        assert!(raw(&db).contains("\"state\":\"PC1Done\""));
    }
    let db = MetaDb::open(dir.path()).unwrap();
    assert_eq!(db.load().unwrap(), Some(doc));
    assert_eq!(db.output(Output::Pc1).unwrap().unwrap().text(), "{\"x\":1}");
    db.close_interrupted().unwrap();
    let endings: Vec<_> = db
        .timeline()
        .unwrap()
        .into_iter()
        .map(|e| e.ending)
        .collect();
    assert_eq!(
        endings,
        [Some(Ending::Interrupted), Some(Ending::Interrupted)]
    );

    db.end(None).unwrap();
    assert_eq!(db.load().unwrap(), None);
    assert_eq!(db.output(Output::Pc1).unwrap(), None);
    assert_eq!(
        db.timeline().unwrap().len(),
        2,
        "the last sector's timeline stays"
    );
    db.begin(&document(), &entry(0)).unwrap();
    assert_eq!(db.timeline().unwrap().len(), 1);
}

/// What a file system check, a half-done backup or a wrong `mv` leaves behind.
#[test]
fn a_sealed_sector_without_its_database_is_never_taken_for_leavings() {
    let dir = tempfile::tempdir().unwrap();
    let store = SealingStore::init(&dir.path().join("t0")).unwrap();
    let sealed = store.paths(document().sector()).sealed;
    let meta = MetaDb::of(&store).unwrap();
    meta.begin(&document(), &entry(0)).unwrap();
    store.make_room(document().sector()).unwrap();
    std::fs::write(&sealed, b"32 GiB").unwrap();
    drop(meta);
    drop(MetaDb::of(&store).unwrap());
    let away = store.root().join("away");
    let id = store.root().join(".database");
    for known in [true, false] {
        if !known {
            // a store of a version that kept no id
            std::fs::remove_file(&id).unwrap();
        }
        std::fs::rename(store.meta(), &away).unwrap();
        for emptied in [false, true] {
            if emptied {
                std::fs::create_dir(store.meta()).unwrap();
            }
            let failure = MetaDb::of(&store).unwrap_err().failure();
            assert_eq!(failure.level, Level::Critical);
            assert!(failure.message.contains("is lost"), "{failure}");
            assert!(failure.hint.unwrap().contains("lost+found"));
            assert!(!store.meta().join("CURRENT").exists(), "none was made");
        }
        // one that was made anew by somebody else does not own the data either
        drop(MetaDb::open(&store.meta()).unwrap());
        let failure = MetaDb::of(&store).unwrap_err().failure();
        assert_eq!(failure.level, Level::Critical, "{failure}");
        std::fs::remove_dir_all(store.meta()).unwrap();
        std::fs::rename(&away, store.meta()).unwrap();
        let found = MetaDb::of(&store).unwrap().load().unwrap();
        assert_eq!(found, Some(document()));
        assert!(sealed.is_file() && id.is_file());
    }
}

#[test]
fn stores_are_remembered_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let seen = |id: &str| Seen {
        name: "hdd".into(),
        root: "/mnt/hdd".into(),
        id: id.into(),
    };
    let db = MetaDb::open(dir.path()).unwrap();
    assert_eq!(db.seen("hdd").unwrap(), None);
    db.remember(&seen("a")).unwrap();
    drop(db);
    let db = MetaDb::open(dir.path()).unwrap();
    assert_eq!(db.seen("hdd").unwrap(), Some(seen("a")));
    db.remember(&seen("b")).unwrap();
    assert_eq!(db.all_seen().unwrap(), [seen("b")]);
}

#[test]
fn a_question_keeps_its_id_until_a_sector_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let spec = AllocateSectorSpec::default();
    let first = {
        let db = MetaDb::open(dir.path()).unwrap();
        let first = db.request_id(&spec).unwrap();
        assert_eq!(db.request_id(&spec).unwrap(), first);
        first
    };
    let db = MetaDb::open(dir.path()).unwrap();
    assert_eq!(db.request_id(&spec).unwrap(), first, "over a restart");
    let other = AllocateSectorSpec {
        allowed_miners: vec![1000],
        ..AllocateSectorSpec::default()
    };
    assert_ne!(db.request_id(&other).unwrap(), first, "another wish");
    let second = db.request_id(&spec).unwrap();
    db.begin(&document(), &entry(0)).unwrap();
    assert_ne!(db.request_id(&spec).unwrap(), second);
}

#[test]
fn what_was_not_sent_outlasts_its_sector() {
    let dir = tempfile::tempdir().unwrap();
    let db = MetaDb::open(dir.path()).unwrap();
    let unsent = || -> Vec<(u64, Vec<u64>)> {
        let all = db.unsent().unwrap().into_iter();
        all.map(|u| {
            let seqs = u.entries.iter().map(|e| e.seq).collect();
            (u.sector.number, seqs)
        })
        .collect()
    };
    let mut doc = document();
    db.begin(&doc, &ended(0)).unwrap();
    db.note(&ended(1)).unwrap();
    db.note(&entry(2)).unwrap();
    db.note(&ended(3)).unwrap();
    assert_eq!(unsent(), [(7, vec![0, 1])], "one that goes on holds back");
    db.sent(doc.sector(), 1).unwrap();
    db.note(&ended(2)).unwrap();
    assert_eq!(unsent(), [(7, vec![1, 2, 3])]);
    let first = doc.sector();
    doc.allocated.id = SectorId::new(1000, 8);
    db.begin(&doc, &ended(0)).unwrap();
    assert_eq!(unsent(), [(7, vec![1, 2, 3]), (8, vec![0])]);
    db.sent(first, 3).unwrap();
    assert_eq!(unsent(), [(7, vec![3]), (8, vec![0])]);
    db.sent(first, 4).unwrap();
    db.sent(doc.sector(), 1).unwrap();
    assert_eq!(unsent(), []);
}

/// The reporter notes what has arrived while sector after sector is begun: nothing that it has
/// noted comes again, and nothing is passed over.
#[test]
fn the_thread_and_the_reporter_do_not_lose_what_the_other_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let db = MetaDb::open(dir.path()).unwrap();
    let (sectors, attempts) = (100, 5);
    let told = thread::scope(|scope| {
        // a reporter that is far behind may lose sectors
        let (ahead, room) = mpsc::sync_channel(MOST_FORMER / 2);
        let db = &db;
        let sealing = scope.spawn(move || {
            for number in 1..=sectors {
                ahead.send(()).unwrap();
                let mut doc = document();
                doc.allocated.id = SectorId::new(1000, number);
                db.begin(&doc, &ended(0)).unwrap();
                for seq in 1..attempts {
                    db.note(&ended(seq)).unwrap();
                }
            }
        });
        let mut told = Vec::new();
        loop {
            let over = sealing.is_finished();
            let unsent = db.unsent().unwrap();
            if over && unsent.is_empty() {
                return told;
            }
            for Unsent {
                sector, entries, ..
            } in unsent
            {
                for entry in entries {
                    told.push((sector.number, entry.seq));
                    db.sent(sector, entry.seq + 1).unwrap();
                    if entry.seq == 0 {
                        room.recv().unwrap();
                    }
                }
            }
        }
    });
    let all = (1..=sectors).flat_map(|n| (0..attempts).map(move |seq| (n, seq)));
    assert_eq!(told, all.collect::<Vec<_>>());
}

#[test]
fn a_database_of_an_older_worker_is_taken_over_and_closed_to_it() {
    const OLDER: Schema = Schema {
        migrations: &[],
        ..SCHEMA
    };
    let dir = tempfile::tempdir().unwrap();
    let older = Store::open(dir.path(), &OLDER).unwrap();
    let done: Result<(), TransactionError> =
        older.transact(Synced, |t| t.insert_json(SECTOR, NOW, &document()));
    done.unwrap();
    drop(older);
    let db = MetaDb::open(dir.path()).unwrap();
    assert_eq!(db.load().unwrap(), Some(document()));
    drop(db);
    let refused = Store::open(dir.path(), &OLDER).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
}

#[test]
fn a_wait_is_no_failure_of_the_database() {
    let wait = MetaError::from(TransactionError::Conflict { attempts: 50 });
    assert_eq!(wait.failure().level, Level::Temporary);
    assert!(matches!(database_failed(wait), Stop::NotNow(_)));
    let broken = KvError::Storage {
        doing: "writing",
        table: "sector",
        reason: "IO error: Input/output error".into(),
    };
    let broken = MetaError::from(TransactionError::Kv(broken));
    assert_eq!(broken.failure().level, Level::Critical);
    assert!(matches!(database_failed(broken), Stop::Failed(_)));
}

#[test]
fn every_transition_is_on_the_disk_when_it_has_happened() {
    let dir = tempfile::tempdir().unwrap();
    let db = MetaDb::open(dir.path()).unwrap();
    let doc = document();
    let synced = || db.records.synced_writes().unwrap();
    let before = synced();
    db.begin(&doc, &entry(0)).unwrap();
    assert_eq!(synced(), before + 1);
    db.commit(&doc, &Transition::default()).unwrap();
    assert_eq!(synced(), before + 2);
    db.note(&entry(1)).unwrap();
    assert_eq!(synced(), before + 2, "nobody acts upon a note");
    db.end(None).unwrap();
    assert_eq!(synced(), before + 3);
}

#[test]
fn what_cannot_be_read_is_reported_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let db = MetaDb::open(dir.path()).unwrap();
    let whole = serde_json::to_vec(&document()).unwrap();
    let newer = br#"{"version":2,"anything":[]}"#.to_vec();
    for (bytes, words) in [
        (whole[..whole.len() / 2].to_vec(), "is damaged"),
        (b"".to_vec(), "is damaged"),
        (newer, "has version 2"),
    ] {
        db.damage(&bytes);
        let failure = db.load().unwrap_err().failure();
        assert_eq!(failure.level, Level::Critical);
        assert!(failure.message.contains(words), "{failure}");
        assert!(failure.hint.is_some());
        assert_eq!(raw(&db).as_bytes(), bytes);
    }
    let busy = MetaDb::open(dir.path()).unwrap_err();
    assert!(
        matches!(busy, MetaError::Open(OpenError::Busy { .. })),
        "{busy}"
    );
}
