//! Where the tasks of a child meet that can be worked on in step: those of the same kind that
//! come within a short time are handed to one of them, who does the work of all; each takes
//! its own result home. Knows nothing of labels.

use crate::wire::{PC1_BATCH_ENV, PC1_BATCH_WAIT_ENV};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::{env, time::Duration};

const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// What a task waits at least, when it waits at all.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// Whether tasks of this child wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub most: usize,
    pub wait: Duration,
}

impl Default for Batch {
    /// Every task alone.
    fn default() -> Self {
        Self {
            most: 1,
            wait: DEFAULT_WAIT,
        }
    }
}

impl Batch {
    /// As the parent asks by environment.
    pub fn from_env() -> Self {
        let mut batch = Self::default();
        if let Some(most) = env::var(PC1_BATCH_ENV)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            batch.most = most;
        }
        if let Ok(text) = env::var(PC1_BATCH_WAIT_ENV) {
            match humantime::parse_duration(&text) {
                Ok(wait) => batch.wait = wait,
                Err(_) => tracing::warn!(
                    "{PC1_BATCH_WAIT_ENV}={text:?} is not a length of time; write for example \"30s\""
                ),
            }
        }
        batch
    }

    /// What that means for labels that take `alone` when nobody shares the core. Where each
    /// task can have a core of its own, none waits; else not longer than is soon won back.
    pub(super) fn limits(self, cores: usize, alone: Duration) -> Limits {
        let wait = (alone / 20).max(LEAST_WAIT).min(self.wait);
        let most = if self.most > cores { self.most } else { 1 };
        Limits { most, wait }
    }
}

/// How many may meet, and how long the first one waits for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// With this many the work begins at once.
    pub(super) most: usize,
    pub(super) wait: Duration,
}

/// Batches that still wait for tasks. `K`: what must be equal; `J`: a task; `R`: a result.
pub(super) struct Room<K, J, R> {
    open: Mutex<Vec<Open<K, J, R>>>,
}

struct Open<K, J, R> {
    key: K,
    most: usize,
    jobs: Vec<(J, Sender<R>)>,
    full: Sender<Vec<(J, Sender<R>)>>,
}

impl<K: PartialEq + Clone, J, R> Room<K, J, R> {
    pub(super) const fn new() -> Self {
        Self {
            open: Mutex::new(Vec::new()),
        }
    }

    /// Has `job` done together with others of its `key`; `work` gives a result for each job,
    /// in their order. None when whoever did the work panicked.
    pub(super) fn join(
        &self,
        key: &K,
        job: J,
        limits: Limits,
        work: impl FnOnce(Vec<J>) -> Vec<R>,
    ) -> Option<R> {
        let (send, result) = bounded(1);
        let jobs = match self.enter(key, job, limits, send) {
            Entered::Joined => return result.recv().ok(),
            Entered::First(jobs) => jobs,
            Entered::Opened(full) => match full.recv_timeout(limits.wait) {
                Ok(jobs) => jobs,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.close(key, &full)
                }
            },
        };
        let (jobs, results): (Vec<J>, Vec<Sender<R>>) = jobs.into_iter().unzip();
        for (to, result) in results.into_iter().zip(work(jobs)) {
            // a task that is gone needs no result
            let _ = to.send(result);
        }
        result.recv().ok()
    }

    fn enter(&self, key: &K, job: J, limits: Limits, send: Sender<R>) -> Entered<J, R> {
        if limits.most < 2 || limits.wait.is_zero() {
            return Entered::First(vec![(job, send)]);
        }
        let mut open = self.open.lock();
        let Some(at) = open.iter().position(|batch| batch.key == *key) else {
            let (full, filled) = bounded(1);
            open.push(Open {
                key: key.clone(),
                most: limits.most,
                jobs: vec![(job, send)],
                full,
            });
            return Entered::Opened(filled);
        };
        open[at].jobs.push((job, send));
        if open[at].jobs.len() >= open[at].most {
            let batch = open.swap_remove(at);
            let _ = batch.full.send(batch.jobs);
        }
        Entered::Joined
    }

    /// Takes the batch whose time is up; it may have become full at the last moment.
    fn close(&self, key: &K, full: &Receiver<Jobs<J, R>>) -> Jobs<J, R> {
        let mut open = self.open.lock();
        if let Ok(jobs) = full.try_recv() {
            return jobs;
        }
        match open.iter().position(|batch| batch.key == *key) {
            Some(at) => open.swap_remove(at).jobs,
            None => Vec::new(),
        }
    }
}

type Jobs<J, R> = Vec<(J, Sender<R>)>;

enum Entered<J, R> {
    /// Nothing to wait for.
    First(Jobs<J, R>),
    /// Somebody else does the work.
    Joined,
    /// A batch of its own, which may fill.
    Opened(Receiver<Jobs<J, R>>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};

    type Numbers = Room<&'static str, u32, (u32, usize)>;

    fn together(jobs: Vec<u32>) -> Vec<(u32, usize)> {
        let count = jobs.len();
        jobs.into_iter().map(|job| (10 * job, count)).collect()
    }

    fn spawn(
        room: &Arc<Numbers>,
        key: &'static str,
        job: u32,
        limits: Limits,
    ) -> thread::JoinHandle<Option<(u32, usize)>> {
        let room = Arc::clone(room);
        thread::spawn(move || room.join(&key, job, limits, together))
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_full_batch_does_not_wait_and_each_gets_its_own_result() {
        let room = Arc::new(Numbers::new());
        let three = Limits {
            most: 3,
            wait: LONG,
        };
        let tasks: Vec<_> = (0..6).map(|job| spawn(&room, "a", job, three)).collect();
        for (job, task) in (0..).zip(tasks) {
            assert_eq!(task.join().unwrap(), Some((10 * job, 3)));
        }
    }

    #[test]
    fn other_kinds_do_not_mix_and_a_lone_task_works_when_its_time_is_up() {
        let room = Arc::new(Numbers::new());
        let short = Limits {
            most: 2,
            wait: Duration::from_millis(20),
        };
        let long = Limits {
            wait: LONG,
            ..short
        };
        let first = spawn(&room, "a", 1, long);
        assert_eq!(room.join(&"b", 2, short, together), Some((20, 1)));
        assert_eq!(room.join(&"a", 3, long, together), Some((30, 2)));
        assert_eq!(first.join().unwrap(), Some((10, 2)));
        // alone by order
        let alone = Limits {
            most: 1,
            wait: LONG,
        };
        assert_eq!(room.join(&"a", 4, alone, together), Some((40, 1)));
    }

    #[test]
    fn a_panic_of_who_works_is_no_wait_for_ever_of_the_others() {
        let room = Arc::new(Numbers::new());
        let two = Limits {
            most: 2,
            wait: LONG,
        };
        let at_work = Arc::clone(&room);
        let first = thread::spawn(move || at_work.join(&"a", 1, two, |_| panic!("boom")));
        // whichever of the two comes first works
        let second = thread::spawn(move || room.join(&"a", 2, two, |_| panic!("boom")));
        let ends = [first.join(), second.join()];
        assert_eq!(ends.iter().filter(|end| end.is_err()).count(), 1);
        assert_eq!(ends.iter().flatten().copied().collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn tasks_wait_only_where_they_would_share_a_core() {
        let of = |most, wait| Batch {
            most,
            wait: Duration::from_secs(wait),
        };
        let hours = Duration::from_secs(7200);
        let soon = Duration::from_millis(400);
        for (batch, cores, alone, expected) in [
            (of(1, 60), 1, hours, (1, Duration::from_secs(60))),
            (of(16, 60), 16, hours, (1, Duration::from_secs(60))),
            (of(16, 60), 2, hours, (16, Duration::from_secs(60))),
            (of(16, 900), 2, hours, (16, Duration::from_secs(360))),
            (of(16, 60), 2, soon, (16, LEAST_WAIT)),
            (of(16, 0), 2, soon, (16, Duration::ZERO)),
        ] {
            let limits = batch.limits(cores, alone);
            assert_eq!((limits.most, limits.wait), expected, "{batch:?}");
        }
    }
}
