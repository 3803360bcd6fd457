//! What `worker list` shows: each thread writes here what it does, anybody reads. No thread
//! waits for a reader.

use crate::{
    config::ThreadPlan,
    document::Document,
    draining::{DrainTo, Fate, fate},
    metadb::MetaDb,
};
use damocles_api::{
    worker::{Draining, Progress, ThreadInfo, ThreadState},
    workers::WorkerSummary,
};
use damocles_flow::{State, seal::stage_label};
use damocles_types::{Failure, SectorId};
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// What a thread works at that has no sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// As the manager calls it.
    pub id: String,
    /// The words of upstream's workers.
    pub state: &'static str,
    pub stage: &'static str,
}

/// What a thread is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Between two sectors, or without work.
    Idle,
    /// For what, in words.
    Waiting(String),
    /// With its sector until the worker drains no more; in words.
    Standing(String),
    /// Which process computes, if one does.
    Running(Option<u32>),
    Paused,
}

#[derive(Debug)]
struct Inner {
    /// In words: the thread's, or that of its sector.
    plan: String,
    sector: Option<SectorId>,
    task: Option<Task>,
    state: Option<State>,
    document: Option<Document>,
    doing: Doing,
    since: Instant,
    /// What is waited for and since when, over the questions in between.
    waits: Option<(String, Instant)>,
    /// What the running child last said of its task, and when.
    progress: Option<(String, Instant)>,
    /// Why an idle thread is idle.
    idle_reason: Option<String>,
    last_error: Option<Failure>,
    meta: Option<MetaDb>,
}

impl Inner {
    fn has_work(&self) -> bool {
        self.sector.is_some() || self.task.is_some()
    }

    fn job_id(&self) -> Option<String> {
        let task = || self.task.as_ref().map(|task| task.id.clone());
        self.sector.map(|s| s.to_string()).or_else(task)
    }

    fn job_state(&self) -> String {
        let task = || self.task.as_ref().map(|task| task.state.to_owned());
        let state = self.state.map(|s| s.to_string());
        state.or_else(task).unwrap_or_default()
    }

    fn job_stage(&self) -> Option<String> {
        let task = || self.task.as_ref().map(|task| task.stage.to_owned());
        self.state.map(|s| stage_label(s).to_owned()).or_else(task)
    }
}

/// The board of one thread.
#[derive(Debug)]
pub struct Board {
    index: usize,
    location: PathBuf,
    inner: Mutex<Inner>,
}

impl Board {
    pub fn new(index: usize, location: PathBuf, plan: ThreadPlan) -> Self {
        Self {
            index,
            location,
            inner: Mutex::new(Inner {
                plan: plan.to_string(),
                sector: None,
                task: None,
                state: None,
                document: None,
                doing: Doing::Idle,
                since: Instant::now(),
                waits: None,
                progress: None,
                idle_reason: None,
                last_error: None,
                meta: None,
            }),
        }
    }

    pub fn index(&self) -> usize {
        self.index
    }

    /// The sealing store's path, as it is shown and reported.
    pub fn location(&self) -> String {
        self.location.display().to_string()
    }

    /// What the thread does from now on.
    pub fn doing(&self, doing: Doing) {
        let mut inner = self.inner.lock();
        if inner.doing == doing {
            return;
        }
        let now = Instant::now();
        inner.since = match &doing {
            Doing::Waiting(what) => {
                // one wait, however often it is asked whether it is over
                let what = waited_for(what);
                let begun = inner.waits.take().filter(|(before, _)| before == what);
                let (_, since) = *inner.waits.insert(begun.unwrap_or((what.to_owned(), now)));
                since
            }
            // a question between two waits
            Doing::Running(None) => now,
            Doing::Idle | Doing::Standing(_) | Doing::Running(Some(_)) | Doing::Paused => {
                inner.waits = None;
                now
            }
        };
        inner.doing = doing;
        inner.progress = None;
    }

    /// What the child that computes says of its task.
    pub fn progress(&self, text: String) {
        self.inner.lock().progress = Some((text, Instant::now()));
    }

    /// Without work, and why.
    pub fn idle(&self, reason: impl Into<String>) {
        self.doing(Doing::Idle);
        self.inner.lock().idle_reason = Some(reason.into());
    }

    /// The sector at work and where it stands.
    pub fn sector(&self, plan: ThreadPlan, document: Option<&Document>) {
        let mut inner = self.inner.lock();
        inner.plan = document.map_or_else(|| plan.to_string(), |d| d.plan.to_string());
        inner.sector = document.map(Document::sector);
        inner.task = None;
        let state = document.map(|d| d.state);
        if inner.state != state {
            inner.waits = None;
        }
        inner.state = state;
        inner.document = document.cloned();
    }

    /// What it works at that is no sector. Another one begins by being asked for.
    pub fn job(&self, plan: ThreadPlan, task: Option<Task>) {
        let mut inner = self.inner.lock();
        (inner.sector, inner.state, inner.document) = (None, None, None);
        (inner.plan, inner.task) = (plan.to_string(), task);
    }

    /// The process that computes for it, if one does.
    pub fn computes_in(&self) -> Option<u32> {
        match self.inner.lock().doing {
            Doing::Running(pid) => pid,
            Doing::Idle | Doing::Waiting(_) | Doing::Standing(_) | Doing::Paused => None,
        }
    }

    /// The same sector as it has been written down meanwhile.
    pub fn document(&self, document: &Document) {
        self.inner.lock().document = Some(document.clone());
    }

    /// What becomes of its sector when the worker drains.
    pub fn fate(&self, to: DrainTo) -> Option<Fate> {
        self.inner.lock().document.as_ref().map(|d| fate(to, d))
    }

    /// The same in words, for lists. `now`: milliseconds since the Unix epoch.
    pub fn draining(&self, to: DrainTo, now: u64) -> Option<Draining> {
        let inner = self.inner.lock();
        let document = inner.document.as_ref()?;
        let fate = fate(to, document);
        let paused = inner.doing == Doing::Paused;
        let mut words = fate.words(document, now);
        if paused && fate != Fate::Stands {
            words.push_str("; but it is paused: resume it");
        }
        Some(Draining {
            stands: fate == Fate::Stands && (paused || matches!(inner.doing, Doing::Standing(_))),
            fate: words,
        })
    }

    pub fn error(&self, failure: Option<Failure>) {
        self.inner.lock().last_error = failure;
    }

    pub fn meta(&self, meta: MetaDb) {
        self.inner.lock().meta = Some(meta);
    }

    /// The thread's database, once it is open.
    pub fn database(&self) -> Option<MetaDb> {
        self.inner.lock().meta.clone()
    }

    /// What a stop that comes now gives up, in words.
    pub fn given_up(&self) -> Option<String> {
        let inner = self.inner.lock();
        let (Doing::Running(pid), Some(sector), Some(state)) =
            (&inner.doing, inner.sector, inner.state)
        else {
            return None;
        };
        let stage = stage_label(state);
        let ran = humantime::format_duration(Duration::from_secs(inner.since.elapsed().as_secs()));
        let process = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        Some(format!(
            "{stage} of {sector}{process} is given up after {ran}; it runs again after the next start, and what was finished before is kept"
        ))
    }

    pub fn info(&self) -> ThreadInfo {
        let inner = self.inner.lock();
        let elapsed = inner.since.elapsed().as_secs();
        let (thread_state, waiting_for) = match &inner.doing {
            Doing::Idle => (ThreadState::Idle, inner.idle_reason.clone()),
            Doing::Waiting(what) | Doing::Standing(what) => {
                (ThreadState::Waiting { elapsed }, Some(what.clone()))
            }
            Doing::Running(pid) => {
                let proc = pid.map(|pid| format!("ext(pid: {pid})"));
                (ThreadState::Running { elapsed, proc }, None)
            }
            Doing::Paused => (ThreadState::Paused { elapsed }, None),
        };
        ThreadInfo {
            location: self.location(),
            plan: inner.plan.clone(),
            job_id: inner.job_id(),
            index: self.index as u64,
            thread_state,
            job_state: inner.job_state(),
            job_stage: inner.job_stage(),
            last_error: inner.last_error.as_ref().map(ToString::to_string),
            waiting_for,
            hint: inner.last_error.as_ref().and_then(|f| f.hint.clone()),
            // the one whom an operator commands knows
            pause_asked: false,
            draining: None,
            progress: inner.progress.as_ref().map(|(text, at)| Progress {
                text: text.clone(),
                ago: at.elapsed().as_secs(),
            }),
        }
    }
}

/// A wait without what changes from one question to the next.
fn waited_for(what: &str) -> &str {
    what.split_once(" (").map_or(what, |(what, _)| what)
}

/// Counts over all threads, as pings carry them. A thread counts once: paused, without a sector,
/// waiting or running; `errors` counts those of them that have a last error.
pub fn summary<'a>(boards: impl IntoIterator<Item = &'a Board>) -> WorkerSummary {
    let mut sum = WorkerSummary::default();
    for board in boards {
        let inner = board.inner.lock();
        sum.threads += 1;
        sum.errors += u32::from(inner.last_error.is_some());
        let class = match (&inner.doing, inner.has_work()) {
            (Doing::Paused, _) => &mut sum.paused,
            (Doing::Waiting(_) | Doing::Standing(_), _) => &mut sum.waiting,
            (Doing::Idle | Doing::Running(_), false) => &mut sum.empty,
            // with a sector, and nothing of it runs: it waits for its turn
            (Doing::Idle, true) => &mut sum.waiting,
            (Doing::Running(_), true) => &mut sum.running,
        };
        *class += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::sector::AllocatedSector;
    use damocles_flow::PlanName;
    use damocles_types::{SealProof, SectorSize};

    #[test]
    fn what_is_shown() {
        let board = Board::new(1, "/nvme/t1".into(), ThreadPlan::Sealer);
        board.idle("the manager has no sector to give");
        let info = board.info();
        assert_eq!(info.thread_state, ThreadState::Idle);
        assert_eq!(
            info.waiting_for.as_deref(),
            Some("the manager has no sector to give")
        );
        assert_eq!((info.job_state.as_str(), info.job_stage), ("", None));
        board.doing(Doing::Running(Some(7)));
        board.error(Some(Failure::temporary("no route").hint("wait")));
        let info = board.info();
        assert!(
            matches!(info.thread_state, ThreadState::Running { proc: Some(p), .. } if p == "ext(pid: 7)")
        );
        assert_eq!(info.last_error.as_deref(), Some("temporary: no route"));
        assert_eq!(info.hint.as_deref(), Some("wait"));
        board.progress("layer 3 of 11".into());
        let said = |board: &Board| board.info().progress.map(|p| p.text);
        assert_eq!(said(&board).as_deref(), Some("layer 3 of 11"));
        board.doing(Doing::Running(Some(7)));
        assert!(said(&board).is_some(), "nothing has changed");
        board.doing(Doing::Running(Some(8)));
        assert_eq!(said(&board), None, "another task");
    }

    #[test]
    fn a_thread_counts_once() {
        let allocated = AllocatedSector {
            id: SectorId::new(1000, 7),
            proof_type: SealProof::interactive(SectorSize::KiB2),
        };
        let document = Document::new(PlanName::Sealer, allocated, None);
        for (doing, sector, [empty, paused, running, waiting]) in [
            (Doing::Idle, false, [1, 0, 0, 0]),
            (Doing::Running(None), false, [1, 0, 0, 0]),
            (Doing::Waiting("its disk".into()), false, [0, 0, 0, 1]),
            (Doing::Paused, false, [0, 1, 0, 0]),
            (Doing::Idle, true, [0, 0, 0, 1]),
            (Doing::Running(Some(1)), true, [0, 0, 1, 0]),
            (Doing::Waiting("a seed".into()), true, [0, 0, 0, 1]),
            (Doing::Paused, true, [0, 1, 0, 0]),
        ] {
            let board = Board::new(1, "/nvme/t1".into(), ThreadPlan::Sealer);
            board.error(Some(Failure::temporary("no route")));
            board.sector(ThreadPlan::Sealer, sector.then_some(&document));
            board.doing(doing.clone());
            let expected = WorkerSummary {
                threads: 1,
                empty,
                paused,
                running,
                waiting,
                errors: 1,
            };
            assert_eq!(summary([&board]), expected, "{doing:?} {sector}");
        }
    }
    #[test]
    fn one_wait_is_counted_from_its_beginning_over_many_questions() {
        let board = Board::new(1, "/nvme/t1".into(), ThreadPlan::Sealer);
        let since = || board.inner.lock().since;
        let wait = |what: &str| board.doing(Doing::Waiting(what.to_owned()));
        let ask = || board.doing(Doing::Running(None));
        wait("the seed (about 900 s more)");
        let begun = since();
        for left in [600, 300] {
            ask();
            wait(&format!("the seed (about {left} s more)"));
            assert_eq!(since(), begun);
        }
        ask();
        wait("another try (1 of 5): no route");
        assert_ne!(since(), begun, "that is another wait");
        wait("the seed (about 300 s more)");
        let anew = since();
        board.doing(Doing::Paused);
        wait("the seed (about 200 s more)");
        assert_ne!(since(), anew);
    }

    #[test]
    fn a_stop_says_what_it_gives_up() {
        let board = Board::new(1, "/nvme/t1".into(), ThreadPlan::Sealer);
        assert_eq!(board.given_up(), None);
        let allocated = damocles_api::sector::AllocatedSector {
            id: SectorId::new(1000, 7),
            proof_type: damocles_types::SealProof::interactive(damocles_types::SectorSize::KiB2),
        };
        let mut document = Document::new(PlanName::Sealer, allocated, None);
        document.state = State::C1Done;
        board.sector(ThreadPlan::Sealer, Some(&document));
        board.doing(Doing::Running(Some(7)));
        let said = board.given_up().unwrap();
        assert!(
            said.starts_with("C2 of s-t01000-7 (pid 7) is given up after 0s"),
            "{said}"
        );
        board.doing(Doing::Waiting("the seed".into()));
        assert_eq!(board.given_up(), None);
    }
}
