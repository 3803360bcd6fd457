//! What `worker list` shows: each thread writes here what it does, anybody reads. No thread
//! waits for a reader.

use crate::{document::Document, metadb::MetaDb};
use damocles_api::{
    worker::{ThreadInfo, ThreadState},
    workers::WorkerSummary,
};
use damocles_flow::{PlanName, State, seal::stage_label};
use damocles_types::{Failure, SectorId};
use parking_lot::Mutex;
use std::{path::PathBuf, time::Instant};

/// What a thread is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Between two sectors, or without work.
    Idle,
    /// For what, in words.
    Waiting(String),
    /// Which process computes, if one does.
    Running(Option<u32>),
    Paused,
}

#[derive(Debug)]
struct Inner {
    plan: PlanName,
    sector: Option<SectorId>,
    state: Option<State>,
    doing: Doing,
    since: Instant,
    /// Why an idle thread is idle.
    idle_reason: Option<String>,
    last_error: Option<Failure>,
    meta: Option<MetaDb>,
}

/// The board of one thread.
#[derive(Debug)]
pub struct Board {
    index: usize,
    location: PathBuf,
    inner: Mutex<Inner>,
}

impl Board {
    pub fn new(index: usize, location: PathBuf, plan: PlanName) -> Self {
        Self {
            index,
            location,
            inner: Mutex::new(Inner {
                plan,
                sector: None,
                state: None,
                doing: Doing::Idle,
                since: Instant::now(),
                idle_reason: None,
                last_error: None,
                meta: None,
            }),
        }
    }

    pub fn index(&self) -> usize {
        self.index
    }

    /// What the thread does from now on.
    pub fn doing(&self, doing: Doing) {
        let mut inner = self.inner.lock();
        if inner.doing != doing {
            inner.doing = doing;
            inner.since = Instant::now();
        }
    }

    /// Without work, and why.
    pub fn idle(&self, reason: impl Into<String>) {
        self.doing(Doing::Idle);
        self.inner.lock().idle_reason = Some(reason.into());
    }

    /// The sector at work and where it stands.
    pub fn sector(&self, plan: PlanName, document: Option<&Document>) {
        let mut inner = self.inner.lock();
        inner.plan = document.map_or(plan, |d| d.plan);
        inner.sector = document.map(Document::sector);
        inner.state = document.map(|d| d.state);
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

    pub fn info(&self) -> ThreadInfo {
        let inner = self.inner.lock();
        let elapsed = inner.since.elapsed().as_secs();
        let (thread_state, waiting_for) = match &inner.doing {
            Doing::Idle => (ThreadState::Idle, inner.idle_reason.clone()),
            Doing::Waiting(what) => (ThreadState::Waiting { elapsed }, Some(what.clone())),
            Doing::Running(pid) => {
                let proc = pid.map(|pid| format!("ext(pid: {pid})"));
                (ThreadState::Running { elapsed, proc }, None)
            }
            Doing::Paused => (ThreadState::Paused { elapsed }, None),
        };
        ThreadInfo {
            location: self.location.display().to_string(),
            plan: inner.plan.to_string(),
            job_id: inner.sector.map(|s| s.to_string()),
            index: self.index as u64,
            thread_state,
            job_state: inner.state.map(|s| s.to_string()).unwrap_or_default(),
            job_stage: inner.state.map(|s| stage_label(s).to_owned()),
            last_error: inner.last_error.as_ref().map(ToString::to_string),
            waiting_for,
            hint: inner.last_error.as_ref().and_then(|f| f.hint.clone()),
        }
    }
}

/// Counts over all threads, as pings carry them.
pub fn summary<'a>(boards: impl IntoIterator<Item = &'a Board>) -> WorkerSummary {
    let mut sum = WorkerSummary::default();
    for board in boards {
        let inner = board.inner.lock();
        sum.threads += 1;
        sum.empty += u32::from(inner.sector.is_none());
        sum.errors += u32::from(inner.last_error.is_some());
        match inner.doing {
            Doing::Idle => {}
            Doing::Waiting(_) => sum.waiting += 1,
            Doing::Running(_) => sum.running += 1,
            Doing::Paused => sum.paused += 1,
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_and_counted() {
        let board = Board::new(1, "/nvme/t1".into(), PlanName::Sealer);
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
        let sum = summary([&board]);
        assert_eq!(
            (sum.threads, sum.empty, sum.running, sum.errors),
            (1, 1, 1, 1)
        );
    }
}
