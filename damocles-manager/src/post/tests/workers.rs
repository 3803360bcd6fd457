//! WindowPoSts that workers prove; the test plays the workers.

use super::{prover::proof_of, *};
use crate::{
    db::jobs::{Ended, JobRecord, Taking},
    jobs::Jobs,
    policy::WorkerProverPolicy,
    post::WorkerProver,
};
use damocles_api::wdpost::{WdPoStInput, WdPoStOutput};
use damocles_flow::job::JobState;
use damocles_types::Base64;
use tokio_util::sync::CancellationToken;

/// A miner whose sectors workers prove.
struct Works {
    house: House,
    jobs: Jobs,
}

type Taken = (JobRecord, WdPoStInput);

impl Works {
    async fn new(partitions: &[&[SectorNumber]]) -> Self {
        let house = House::new(partitions).await;
        let policy = WorkerProverPolicy {
            heartbeat_timeout: Duration::from_millis(1500),
            ..WorkerProverPolicy::default()
        };
        let (db, head) = (house.db.clone(), house.head.subscribe());
        let jobs = Jobs::new(db, head, policy, true, CancellationToken::new());
        Self { house, jobs }
    }

    /// The poster after a start of the manager.
    fn start(&self) -> MinerLoop {
        let house = &self.house;
        let (here, head) = (house.prover.clone(), house.head.subscribe());
        let prover = WorkerProver::new(self.jobs.clone(), here, head, ProvingPolicy::default());
        let parts = Parts {
            prover: Arc::new(prover),
            ..house.parts()
        };
        let served = Served::new(vec![house.policy.clone()]);
        MinerLoop::new(parts, served, Arc::new(house.policy.clone()))
    }

    async fn take(&self, worker: &str) -> Taken {
        let taking = Taking {
            worker: worker.to_owned(),
            numbered: true,
            count: 1,
            ..Taking::default()
        };
        let mut taken = self.jobs.take(taking, Duration::from_secs(20)).await;
        taken.as_mut().unwrap().pop().expect("there is a job")
    }

    async fn end(&self, worker: &str, job: &JobRecord, ended: Ended) -> bool {
        let (id, attempt) = (job.id.clone(), Some(job.attempt));
        let ended = self.jobs.end(id, Some(worker.to_owned()), attempt, ended);
        ended.await.unwrap()
    }

    /// A worker is at a job until the poster has seen it, which looks as often.
    async fn live(&self, worker: &str, job: &JobRecord) {
        for _ in 0..3 {
            let (id, attempt) = (job.id.clone(), Some(job.attempt));
            let lives = self.jobs.beat(id, worker.to_owned(), attempt);
            assert!(lives.await.unwrap());
            self.jobs.change().await;
        }
    }

    /// The only job.
    fn job(&self) -> JobRecord {
        let mut jobs = self.house.db.jobs().unwrap();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    }
}

fn good(input: &WdPoStInput) -> Ended {
    let replicas = input.sectors.iter();
    let replicas = replicas.map(|s| (s.sector_id, Commitment(s.comm_r)));
    Ended::Output(WdPoStOutput {
        proofs: vec![Base64(proof_of(input.seed, &replicas.collect()))],
        faults: vec![],
    })
}

fn names(faults: &[SectorNumber]) -> Ended {
    Ended::Output(WdPoStOutput {
        proofs: vec![],
        faults: faults.to_vec(),
    })
}

#[tokio::test]
async fn a_silent_workers_job_goes_to_another_and_its_late_answer_is_refused() {
    let works = Works::new(&[&[1, 2], &[3]]).await;
    let mut poster = works.start();
    let workers = async {
        let (first, input) = works.take("w1").await;
        assert_eq!(input.sectors.len(), 3);
        assert_eq!(input.sectors[0].accesses.sealed_file, "a");
        assert_eq!((first.deadline, first.close), (1, CLOSE));
        // it says nothing any more
        let (second, input) = works.take("w2").await;
        assert_eq!((second.id.as_str(), second.attempt), (&*first.id, 2));
        assert!(!works.end("w1", &first, good(&input)).await);
        assert!(works.end("w2", &second, good(&input)).await);
    };
    tokio::join!(works.house.at(&mut poster, START), workers);
    assert_eq!(works.house.one().state, PostState::Proved);
    assert!(works.house.proven().is_empty(), "nothing is proven here");
    works.house.at(&mut poster, SEND).await;
    assert_eq!(works.house.messages().len(), 1);
}

#[tokio::test]
async fn a_proof_that_came_while_the_manager_was_away_is_used() {
    let works = Works::new(&[&[1]]).await;
    let mut poster = works.start();
    let (job, input) = tokio::select! {
        () = works.house.at(&mut poster, START) => panic!("nobody has proven it"),
        taken = works.take("w1") => taken,
    };
    drop(poster);
    assert!(works.end("w1", &job, good(&input)).await);
    let mut poster = works.start();
    works.house.at(&mut poster, START + 1).await;
    assert_eq!(works.house.one().state, PostState::Proved);
    assert_eq!((works.job().attempt, works.job().id), (1, job.id));
}

#[tokio::test]
async fn workers_may_ask_any_manager_on_the_database() {
    let works = Works::new(&[&[1]]).await;
    let mut poster = works.start();
    let elsewhere = Works {
        jobs: Jobs::new(
            works.house.db.clone(),
            works.house.head.subscribe(),
            *works.jobs.policy(),
            true,
            CancellationToken::new(),
        ),
        house: House::new(&[]).await,
    };
    let workers = async {
        let (job, input) = elsewhere.take("w1").await;
        let (id, attempt) = (job.id.clone(), Some(job.attempt));
        // it lives for longer than its silence would be borne
        for _ in 0..4 {
            works.jobs.change().await;
            let lives = elsewhere.jobs.beat(id.clone(), "w1".to_owned(), attempt);
            assert!(lives.await.unwrap());
        }
        assert!(elsewhere.end("w1", &job, good(&input)).await);
    };
    tokio::join!(works.house.at(&mut poster, START), workers);
    assert_eq!(works.house.one().state, PostState::Proved);
    assert!(works.house.proven().is_empty());
}

#[tokio::test]
async fn what_workers_say_is_not_believed_where_it_can_be_seen_to_be_wrong() {
    let works = Works::new(&[&[1, 2]]).await;
    let mut poster = works.start();
    let workers = async {
        let (job, _) = works.take("liar").await;
        let lie = WdPoStOutput {
            proofs: vec![Base64(b"lie".to_vec())],
            faults: vec![],
        };
        assert!(works.end("liar", &job, Ended::Output(lie)).await);
        // the liar asks again and gets nothing while there is another one
        let (job, input) = works.take("w2").await;
        assert_eq!((job.attempt, job.failures), (2, 1));
        assert_eq!(job.failed_by, ["liar"]);
        assert!(works.end("w2", &job, good(&input)).await);
    };
    tokio::join!(works.house.at(&mut poster, START), workers);
    assert_eq!(works.house.one().state, PostState::Proved);
    assert!(works.house.proven().is_empty());
}

#[tokio::test]
async fn a_worker_without_the_stores_costs_no_sector() {
    let works = Works::new(&[&[1, 2]]).await;
    let mut poster = works.start();
    let workers = async {
        for n in 1..=2 {
            let (job, _) = works.take(&format!("blind-{n}")).await;
            assert!(works.end(&format!("blind-{n}"), &job, names(&[1, 2])).await);
        }
    };
    tokio::join!(works.house.at(&mut poster, START), workers);
    let record = works.house.one();
    assert_eq!((record.state, record.skipped), (PostState::Proved, vec![]));
    assert_eq!(works.house.proven(), [vec![1, 2]], "in the end it is here");
}

#[tokio::test]
async fn a_sector_that_nobody_can_read_is_left_out_and_the_others_are_proven() {
    let works = Works::new(&[&[1, 2]]).await;
    let mut poster = works.start();
    let workers = async {
        let (job, _) = works.take("w1").await;
        // it went bad after it was looked at
        let bad = ("its tree is damaged".to_owned(), true);
        works.house.prover.unread.lock().insert(2, bad);
        assert!(works.end("w1", &job, names(&[2])).await);
        let (job, input) = works.take("w1").await;
        assert_eq!(input.sectors.len(), 1);
        assert!(works.end("w1", &job, good(&input)).await);
    };
    tokio::join!(works.house.at(&mut poster, START), workers);
    let record = works.house.one();
    assert_eq!(record.state, PostState::Proved);
    assert_eq!(record.skipped, [(2, "its tree is damaged".to_owned())]);
    let states: Vec<_> = works.house.db.jobs().unwrap();
    let over = states.iter().filter(|job| job.state == JobState::Over);
    assert_eq!(over.count(), 1, "what nobody wants any more: {states:?}");
}

#[tokio::test]
async fn a_sector_that_a_worker_names_and_that_cannot_be_read_once_is_not_left_out() {
    let works = Works::new(&[&[1, 2]]).await;
    let mut poster = works.start();
    let workers = async {
        let (job, _) = works.take("w1").await;
        works.house.prover.passing.lock().push(2);
        assert!(works.end("w1", &job, names(&[2])).await);
    };
    tokio::join!(works.house.at(&mut poster, START), workers);
    let record = works.house.one();
    assert_eq!((record.state, record.tries), (PostState::Proving, 1));
    let workers = async {
        let (job, input) = works.take("w2").await;
        assert_eq!((input.sectors.len(), job.failures), (2, 1));
        assert_eq!(job.failed_by, ["w1"]);
        assert!(works.end("w2", &job, good(&input)).await);
    };
    tokio::join!(works.house.at(&mut poster, START + 1), workers);
    let record = works.house.one();
    assert_eq!((record.state, record.skipped), (PostState::Proved, vec![]));
}

#[tokio::test]
async fn a_disk_that_hangs_under_a_sector_that_a_worker_names_does_not_hold_the_others() {
    let works = Works::new(&[&[1, 2]]).await;
    let mut poster = works.start();
    let world = async {
        let (job, _) = works.take("w1").await;
        works.house.prover.stuck.lock().push(2);
        assert!(works.end("w1", &job, names(&[2])).await);
        // each look takes half of what is left of the window
        for height in [90, 105, 113] {
            works.house.prover.hanging.notified().await;
            works.house.tell(height);
        }
        std::future::pending().await
    };
    tokio::select! {
        () = works.house.at(&mut poster, START) => {}
        () = world => {}
    }
    let record = works.house.one();
    let skipped: Vec<_> = record.skipped.iter().map(|(number, _)| *number).collect();
    assert_eq!((record.state, skipped), (PostState::Proved, vec![2]));
    assert_eq!(works.house.proven(), [vec![1]]);
}

#[tokio::test]
async fn a_fresh_attempt_is_not_taken_for_one_that_hangs() {
    let works = Works::new(&[&[1]]).await;
    let before = PostKey {
        miner: MINER,
        open: 0,
        first: 0,
    };
    let record = PostRecord {
        partitions: vec![0],
        state: PostState::Landed,
        proving_epochs: Some(5),
        ..PostRecord::planned(before, 0, -20, 60)
    };
    works.house.db.plan_posts(&[record]).unwrap();
    let mut poster = works.start();
    let workers = async {
        let (job, _) = works.take("w1").await;
        works.live("w1", &job).await;
        // it is doubted, and says nothing any more
        let reads = || works.house.prover.reads.lock().len();
        let known = reads();
        works.house.tell(60);
        while reads() == known {
            works.jobs.change().await;
        }
        works.house.tell(65);
        let (job, input) = works.take("w2").await;
        works.live("w2", &job).await;
        // four times as long as usual, for both together
        works.house.tell(70);
        works.live("w2", &job).await;
        assert_eq!(works.job().state, JobState::Running);
        assert!(works.end("w2", &job, good(&input)).await);
    };
    tokio::join!(works.house.at(&mut poster, START), workers);
    let record = works.house.records().pop().unwrap();
    assert_eq!(record.state, PostState::Proved);
    assert_eq!(record.proving_epochs, Some(6), "only the last attempt");
    assert_eq!(works.job().failed_by, ["w1"]);
}

#[tokio::test]
async fn what_no_worker_takes_in_time_is_proven_here() {
    let works = Works::new(&[&[1]]).await;
    let mut poster = works.start();
    let chain = async {
        works.jobs.change().await;
        // a third of the window, and the margin, before its close
        works.house.tell(CLOSE - 20 - 12);
    };
    tokio::join!(works.house.at(&mut poster, START), chain);
    assert_eq!(works.house.one().state, PostState::Proved);
    assert_eq!(works.house.proven(), [vec![1]]);
    assert_eq!(works.job().state, JobState::Over);
}

#[tokio::test]
async fn a_proof_that_fails_here_is_tried_again_while_the_window_is_open() {
    let works = Works::new(&[&[1]]).await;
    let mut poster = works.start();
    works.house.order(Order::Die);
    // so late that it is not left to workers, of whom there are none
    let late = CLOSE - 20 - 12;
    works.house.at(&mut poster, late).await;
    let record = works.house.one();
    assert_eq!((record.state, record.tries), (PostState::Proving, 1));
    assert!(record.error.unwrap().contains("killed by a test"));
    works.house.at(&mut poster, late + 1).await;
    assert_eq!(works.house.one().state, PostState::Submitted);
    assert_eq!(works.house.proven(), [vec![1], vec![1]]);
}
