//! Who has a job, and whose word counts.

use super::*;
use damocles_api::{store::SectorAccessStores, wdpost::WdPoStSector};
use damocles_types::Base64;

pub(crate) fn offer(id: &str, partitions: &[u64], close: Epoch, store: &str) -> Offer {
    let accesses = SectorAccessStores {
        sealed_file: store.to_owned(),
        cache_dir: store.to_owned(),
    };
    Offer {
        id: id.to_owned(),
        deadline: 1,
        partitions: partitions.to_vec(),
        open: close - 60,
        close,
        input: WdPoStInput {
            sectors: vec![WdPoStSector {
                sector_id: 1,
                comm_r: [1; 32],
                upgrade: false,
                accesses,
            }],
            miner_id: 1000,
            proof_type: "StackedDrgWindow2KiBV1_2".to_owned(),
            seed: [2; 32],
        },
    }
}

fn asks(worker: &str) -> Taking {
    Taking {
        worker: worker.to_owned(),
        numbered: true,
        count: 1,
        ..Taking::default()
    }
}

fn take(db: &Db, taking: &Taking) -> Option<JobRecord> {
    db.take_jobs(taking).unwrap().pop().map(|(job, _)| job)
}

fn speaks(worker: &str, attempt: u64) -> Speaks<'_> {
    Speaks {
        worker: Some(worker),
        attempt: Some(attempt),
    }
}

fn proof(byte: u8) -> Ended {
    Ended::Output(WdPoStOutput {
        proofs: vec![Base64(vec![byte; 192])],
        faults: vec![],
    })
}

#[test]
fn what_closes_first_is_given_out_first_and_what_is_late_never() {
    let db = Db::in_memory();
    for (id, close) in [("c", 180), ("a", 120), ("b", 60)] {
        db.offer_job(&offer(id, &[0], close, "s")).unwrap();
    }
    let at = Taking {
        head: 60,
        ..asks("w")
    };
    let ids: Vec<_> = std::iter::from_fn(|| take(&db, &at))
        .map(|job| job.id)
        .collect();
    assert_eq!(ids, ["a", "c"], "b has closed");
}

#[test]
fn a_worker_gets_what_it_may_have_and_can_read() {
    let db = Db::in_memory();
    db.offer_job(&offer("x", &[0], 120, "s")).unwrap();
    let stores = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    for (taking, gets) in [
        (
            Taking {
                miners: vec![1001],
                ..asks("w")
            },
            false,
        ),
        (
            Taking {
                proof_types: vec!["StackedDrgWindow32GiBV1_2".to_owned()],
                ..asks("w")
            },
            false,
        ),
        (
            Taking {
                stores: stores(&["t"]),
                ..asks("w")
            },
            false,
        ),
        (
            Taking {
                miners: vec![1000],
                stores: stores(&["s", "t"]),
                ..asks("w")
            },
            true,
        ),
    ] {
        assert_eq!(take(&db, &taking).is_some(), gets, "{taking:?}");
    }
}

#[test]
fn an_answer_of_a_former_attempt_is_refused() {
    let db = Db::in_memory();
    db.offer_job(&offer("x", &[0], 120, "s")).unwrap();
    let first = take(&db, &asks("w1")).unwrap();
    assert_eq!(first.attempt, 1);
    assert!(take(&db, &asks("w2")).is_none(), "it is at w1");
    db.step_job("x", JobEvent::Lose, Some(1), Some("silent"))
        .unwrap();
    // nobody else has it: it may come back
    assert!(db.beat_job("x", speaks("w1", 1)).unwrap());
    assert!(!db.beat_job("x", speaks("w2", 1)).unwrap());
    db.step_job("x", JobEvent::Lose, Some(1), Some("silent"))
        .unwrap();
    let second = take(&db, &asks("w2")).unwrap();
    assert_eq!(second.attempt, 2);
    // also of a process of the same name that was started anew
    for worker in ["w1", "w2"] {
        for ended in [proof(1), Ended::Failed("late".into()), Ended::GivenBack] {
            assert!(!db.end_attempt("x", speaks(worker, 1), &ended).unwrap());
        }
        assert!(!db.beat_job("x", speaks(worker, 1)).unwrap());
    }
    // another worker's token, or an upstream worker without any
    assert!(!db.end_attempt("x", speaks("w1", 2), &proof(1)).unwrap());
    assert!(!db.end_attempt("x", Speaks::default(), &proof(1)).unwrap());
    assert_eq!(db.job("x").unwrap().unwrap().state, JobState::Running);
    assert!(db.end_attempt("x", speaks("w2", 2), &proof(2)).unwrap());
    assert!(
        db.end_attempt("x", speaks("w2", 2), &proof(2)).unwrap(),
        "said twice"
    );
    let job = db.job("x").unwrap().unwrap();
    assert_eq!(job.output.unwrap().proofs, [Base64(vec![2; 192])]);
    assert!(db.end_attempt("y", speaks("w2", 2), &proof(2)).is_err());
}

#[test]
fn upstreams_workers_are_believed_by_their_name() {
    let db = Db::in_memory();
    db.offer_job(&offer("x", &[0], 120, "s")).unwrap();
    let old = Taking {
        numbered: false,
        ..asks("old")
    };
    take(&db, &old).unwrap();
    let by = |worker| Speaks {
        worker,
        attempt: None,
    };
    assert!(db.beat_job("x", by(Some("old"))).unwrap());
    assert!(!db.beat_job("x", by(Some("other"))).unwrap());
    // what it says of the end does not say who it is
    assert!(!db.end_attempt("x", by(Some("other")), &proof(1)).unwrap());
    let failed = Ended::Failed("no parameters".into());
    assert!(db.end_attempt("x", by(None), &failed).unwrap());
    db.step_job("x", JobEvent::Retry, Some(1), None).unwrap();
    assert_eq!(take(&db, &old).unwrap().attempt, 2);
    // it may be another one that failed, which had it before
    assert!(!db.end_attempt("x", by(None), &failed).unwrap());
    assert_eq!(db.job("x").unwrap().unwrap().state, JobState::Running);
    assert!(db.end_attempt("x", by(None), &proof(1)).unwrap());
    db.step_job("x", JobEvent::Reset, None, None).unwrap();
    take(&db, &old).unwrap();
    // its token says who it is
    assert!(db.end_attempt("x", by(Some("old")), &failed).unwrap());
}

#[test]
fn whoever_failed_at_a_job_gets_it_after_the_others() {
    let db = Db::in_memory();
    db.offer_job(&offer("x", &[0], 120, "s")).unwrap();
    take(&db, &asks("w1")).unwrap();
    let failed = Ended::Failed("no parameters".into());
    assert!(db.end_attempt("x", speaks("w1", 1), &failed).unwrap());
    let job = db.job("x").unwrap().unwrap();
    assert_eq!((job.state, job.failures), (JobState::Failed, 1));
    db.step_job("x", JobEvent::Retry, Some(1), None).unwrap();
    let with_others = Taking {
        others_ask: true,
        ..asks("w1")
    };
    assert!(take(&db, &with_others).is_none());
    let spent = Taking {
        max_tries: Some(1),
        ..asks("w1")
    };
    assert!(take(&db, &spent).is_none(), "its tries are used up");
    // another one is at a job, and will ask; in the first half of the window that is waited for
    db.offer_job(&offer("y", &[1], 110, "s")).unwrap();
    let other = take(&db, &asks("w2")).unwrap();
    assert_eq!(other.id, "y");
    let at = |head| Taking { head, ..asks("w1") };
    assert!(take(&db, &at(89)).is_none());
    assert!(take(&db, &at(90)).is_some());
    db.step_job("x", JobEvent::Lose, Some(2), None).unwrap();
    // begun anew it is not forgotten who failed
    db.step_job("x", JobEvent::Reset, None, None).unwrap();
    assert!(take(&db, &at(89)).is_none());
    assert!(db.end_attempt("y", speaks("w2", 1), &proof(1)).unwrap());
    assert!(take(&db, &at(89)).is_some(), "there is nobody else");
}

#[test]
fn the_same_is_proven_once_and_other_sectors_take_its_place() {
    let db = Db::in_memory();
    let job = db.offer_job(&offer("x", &[0, 1], 120, "s")).unwrap();
    take(&db, &asks("w1")).unwrap();
    let again = db.offer_job(&offer("x", &[0, 1], 120, "s")).unwrap();
    assert_eq!(again.state, JobState::Running, "it goes on");
    assert_eq!(again.created_at, job.created_at);
    db.offer_job(&offer("elsewhere", &[2], 120, "s")).unwrap();
    db.offer_job(&offer("y", &[1], 120, "s")).unwrap();
    assert_eq!(db.job("x").unwrap().unwrap().state, JobState::Over);
    assert!(!db.beat_job("x", speaks("w1", 1)).unwrap());
    let open: Vec<_> = db.open_jobs().unwrap().into_iter().map(|j| j.id).collect();
    assert_eq!(open, ["elsewhere", "y"]);
    // wanted again after all: no number is given twice
    db.offer_job(&offer("x", &[0, 1], 120, "s")).unwrap();
    let ids: Vec<_> = std::iter::from_fn(|| take(&db, &asks("w2")))
        .map(|job| (job.id, job.attempt))
        .collect();
    assert!(ids.contains(&("x".to_owned(), 2)), "{ids:?}");
}

#[test]
fn what_is_late_is_over_and_forgotten_and_a_person_may_do_both() {
    let db = Db::in_memory();
    for (id, close) in [("a", 60), ("b", 120)] {
        db.offer_job(&offer(id, &[0], close, "s")).unwrap();
    }
    assert_eq!(db.sweep_jobs(60, 0).unwrap(), 1);
    let a = db.job("a").unwrap().unwrap();
    assert_eq!(a.state, JobState::Over);
    assert_eq!(a.error.as_deref(), Some("its deadline closed"));
    assert_eq!(db.sweep_jobs(60, unix_ms() + 1).unwrap(), 0);
    assert_eq!(db.job("a").unwrap(), None);
    take(&db, &asks("w1")).unwrap();
    db.step_job("b", JobEvent::Reset, None, None).unwrap();
    let b = db.job("b").unwrap().unwrap();
    assert_eq!((b.state, b.attempt, b.worker), (JobState::Ready, 1, None));
    assert!(!db.beat_job("b", speaks("w1", 1)).unwrap());
    db.remove_job("b").unwrap();
    db.remove_job("b").unwrap();
    assert!(db.jobs().unwrap().is_empty() && db.open_jobs().unwrap().is_empty());
}
