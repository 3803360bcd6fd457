//! A thread that proves WindowPoSts, with a fake manager and a fake child.

use crate::{
    NEVER,
    fake_manager::FakeManager,
    fake_posts::job,
    rig::{fake_processor, runs, runtime},
    until,
};
use damocles_api::{
    attempts::{Attempt, AttemptEnd},
    worker::ThreadState,
};
use damocles_processor::{Pool, RawProcessors, Stage, StartOptions, fake};
use damocles_worker::{
    config::{Sealing, ThreadPlan},
    control::{Command, Control},
    manager::{Connection, Manager},
    stores::{AttachedStore, AttachedStores},
    threads::Prover,
    view::Board,
};
use std::{fs, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};
use tokio_util::sync::CancellationToken;

/// A worker that proves, with one store and one child.
struct Poster {
    manager: FakeManager,
    orders: PathBuf,
    control: Arc<Control>,
    board: Arc<Board>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Poster {
    fn start(order: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (orders, store) = (dir.path().join("orders"), dir.path().join("hdd"));
        fs::create_dir(&orders).unwrap();
        fs::create_dir(&store).unwrap();
        fs::write(orders.join("window_post.once"), order).unwrap();
        let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
        manager.script().database = "db".into();
        let raw: RawProcessors = toml::from_str(&format!(
            "[[window_post]]\nbin = {:?}\nargs = [\"processor\", \"window_post\"]\nconcurrent = 1\nstable_wait = \"60s\"\nenvs = {{ {} = {:?} }}\n",
            fake_processor().display().to_string(),
            fake::DIR_ENV,
            orders.display().to_string(),
        ))
        .unwrap();
        let options = StartOptions {
            idle: NEVER,
            ..StartOptions::of(fake_processor())
        };
        let pool = Pool::start(&[Stage::WindowPost], &raw.check().unwrap(), &options).unwrap();
        let mut attached = AttachedStores::default();
        let hdd = AttachedStore::open(Some("hdd"), &store, true);
        attached.add(hdd).unwrap();
        let stop = CancellationToken::new();
        let connection = Connection {
            addr: manager.url().parse().unwrap(),
            headers: Default::default(),
            token: None,
            tls: None,
            timeout: NEVER * 10,
        };
        let asked = Manager::new(&connection, runtime().handle().clone(), stop.clone()).unwrap();
        let control = Arc::new(Control::default());
        let board = Arc::new(Board::new(0, "-".into(), ThreadPlan::WdPost));
        let prover = Prover {
            manager: asked.for_another("w1").unwrap(),
            pool,
            attached: Arc::new(attached),
            control: Arc::clone(&control),
            board: Arc::clone(&board),
        };
        let sealing = Sealing {
            recover_interval: Duration::from_millis(50),
            ..Sealing::default()
        };
        Self {
            thread: std::thread::spawn(move || prover.live(0, &sealing)),
            manager,
            orders,
            control,
            board,
            stop,
            _dir: dir,
        }
    }

    fn offer(&self, id: &str, attempt: u64, store: &str) {
        let job = job(id, attempt, store);
        self.manager.script().posts.jobs.push_back(job);
    }

    fn ends(&self) -> Vec<(Attempt, AttemptEnd)> {
        self.manager.script().posts.ends.clone()
    }

    fn computes(&self) -> bool {
        matches!(
            self.board.info().thread_state,
            ThreadState::Running { proc: Some(_), .. }
        )
    }

    fn stop(self) {
        self.control.stop();
        self.stop.cancel();
        self.thread.join().unwrap();
    }
}

fn attempt(id: &str, attempt: u64) -> Attempt {
    Attempt {
        id: id.to_owned(),
        attempt,
    }
}

#[test]
fn a_job_is_proven_and_its_answer_is_kept_until_the_manager_has_it() {
    let poster = Poster::start("");
    poster.manager.script().posts.not_now = 1;
    poster.offer("x", 3, "hdd");
    until("the answer", || poster.ends().len() == 1);
    let (of, end) = poster.ends().remove(0);
    assert_eq!(of, attempt("x", 3));
    let AttemptEnd::Output(output) = end else {
        panic!("{end:?}");
    };
    assert_eq!((output.proofs.len(), output.faults.len()), (1, 0));
    assert_eq!(runs(&poster.orders, Stage::WindowPost), 1);
    let asked = poster.manager.script().posts.asked.clone();
    assert_eq!(
        (asked.worker.as_str(), asked.stores),
        ("w1", vec!["hdd".to_owned()])
    );
    poster.stop();
}

#[test]
fn what_nobody_wants_any_more_is_left_off_and_the_next_is_begun() {
    let poster = Poster::start("silent");
    poster.manager.script().posts.unwanted = true;
    poster.offer("x", 1, "hdd");
    until("the child at its work", || poster.computes());
    let info = poster.board.info();
    assert_eq!(
        (
            info.job_id.as_deref(),
            info.job_state.as_str(),
            info.job_stage.as_deref()
        ),
        (Some("x"), "Allocated", Some("Generate"))
    );
    until("a word to the manager", || {
        poster.manager.script().posts.beats > 0
    });
    poster.manager.script().posts.unwanted = false;
    poster.offer("y", 1, "hdd");
    until("the other's answer", || poster.ends().len() == 1);
    assert_eq!(poster.ends()[0].0, attempt("y", 1));
    poster.stop();
}

#[test]
fn a_job_that_cannot_be_done_is_said_at_once_and_one_under_a_stop_is_given_back() {
    let poster = Poster::start("silent");
    poster.offer("x", 1, "elsewhere");
    until("the failure", || poster.ends().len() == 1);
    let why = AttemptEnd::Failed("the store \"elsewhere\" is not attached here".to_owned());
    assert_eq!(poster.ends()[0], (attempt("x", 1), why));
    poster.offer("y", 2, "hdd");
    until("the child at its work", || poster.computes());
    poster.control.stop();
    poster.stop.cancel();
    until("its word", || poster.ends().len() == 2);
    assert_eq!(poster.ends()[1], (attempt("y", 2), AttemptEnd::GivenBack));
}

#[test]
fn a_store_that_is_away_is_not_named_until_it_is_back() {
    let poster = Poster::start("");
    let store = poster.orders.with_file_name("hdd");
    let aside = poster.orders.with_file_name("aside");
    fs::rename(&store, &aside).unwrap();
    let waits = || {
        let info = poster.board.info();
        let why = info.last_error.unwrap_or_default();
        matches!(info.thread_state, ThreadState::Waiting { .. })
            && why.contains("no attached store")
    };
    until("a word on the store", waits);
    poster.manager.script().posts.asked.stores.clear();
    poster.offer("x", 1, "hdd");
    fs::rename(&aside, &store).unwrap();
    until("the answer", || poster.ends().len() == 1);
    assert!(matches!(poster.ends()[0].1, AttemptEnd::Output(_)));
    assert_eq!(poster.manager.script().posts.asked.stores, ["hdd"]);
    poster.stop();
}

#[test]
fn a_word_that_is_not_heard_is_said_again_while_the_job_is_still_its_own() {
    let poster = Poster::start("silent");
    poster.manager.script().posts.mute = 1;
    poster.offer("x", 1, "hdd");
    until("another word", || poster.manager.script().posts.beats > 1);
    assert!(poster.computes() && poster.ends().is_empty());
    poster.manager.script().posts.unwanted = true;
    until("its end", || !poster.computes());
    poster.stop();
}

#[test]
fn a_pause_lets_what_is_computed_end_and_takes_nothing_new() {
    let poster = Poster::start("");
    let gate = poster.orders.join("gate");
    let order = format!("wait {}", gate.display());
    fs::write(poster.orders.join("window_post.once"), order).unwrap();
    poster.offer("x", 1, "hdd");
    until("the child at its work", || poster.computes());
    poster.control.command(Command::Pause).unwrap();
    poster.offer("y", 1, "hdd");
    fs::write(&gate, "").unwrap();
    until("a pause", || {
        matches!(poster.board.info().thread_state, ThreadState::Paused { .. })
    });
    assert_eq!(poster.ends().len(), 1, "what was computed is handed in");
    poster.control.command(Command::Resume).unwrap();
    until("the next", || poster.ends().len() == 2);
    poster.stop();
}
