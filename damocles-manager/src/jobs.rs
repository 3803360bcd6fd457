//! WindowPoSts that workers prove: where the poster puts a job down, workers take it up, say that
//! they live, and answer. All of it is in the database; here is who waits for what, and who asked
//! lately.

use crate::{
    chain::Head,
    db::{
        Db, DbError,
        jobs::{Ended, JobRecord, Offer, Speaks, Taking},
    },
    model::{millis, unix_ms},
    policy::WorkerProverPolicy,
};
use damocles_api::wdpost::WdPoStInput;
use damocles_flow::job::JobEvent;
use damocles_types::Epoch;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What another manager on the same database did is seen after so long.
const LOOK: Duration = Duration::from_secs(1);
/// A question waits no longer: an answer without a job tells the worker that the manager lives.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// A worker that asked within this time is there; upstream's ask once a minute.
const THERE: Duration = Duration::from_secs(150);
/// Whoever has asked in vain for so long may have a job again at which it failed: the others that
/// ask may not have it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Names of workers that are remembered.
const MOST_WORKERS: usize = 1024;
/// At most so many jobs are given out at once.
const MOST_AT_ONCE: usize = 16;
/// Between two looks for jobs whose deadline has closed.
const SWEEP: Duration = Duration::from_secs(30);

/// The jobs; clones share them.
#[derive(Clone, Debug)]
pub struct Jobs {
    db: Db,
    head: watch::Receiver<Option<Head>>,
    policy: WorkerProverPolicy,
    /// Whether workers may ask at this manager.
    offered: bool,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    /// Grows with every change that was made here.
    changed: watch::Sender<u64>,
    /// Workers that ask for jobs.
    asked: Mutex<HashMap<String, Asking>>,
}

/// A worker that asks for jobs.
#[derive(Clone, Copy, Debug)]
struct Asking {
    /// Since when in vain.
    since: Instant,
    last: Instant,
}

impl Jobs {
    /// `offered`: workers are served (`--worker-prover`). `stop` ends all waits.
    pub fn new(
        db: Db,
        head: watch::Receiver<Option<Head>>,
        policy: WorkerProverPolicy,
        offered: bool,
        stop: CancellationToken,
    ) -> Self {
        Self {
            db,
            head,
            policy,
            offered,
            shared: Arc::new(Shared {
                changed: watch::channel(0).0,
                asked: Mutex::default(),
            }),
            stop,
        }
    }

    /// Whether workers may ask at this manager.
    pub fn are_offered(&self) -> bool {
        self.offered
    }

    pub fn policy(&self) -> &WorkerProverPolicy {
        &self.policy
    }

    fn height(&self) -> Option<Epoch> {
        self.head.borrow().as_ref().map(|head| head.height)
    }

    /// Tells all that wait that something has changed.
    fn tell(&self) {
        self.shared.changed.send_modify(|n| *n += 1);
    }

    /// Returns when something has changed here, or may have elsewhere.
    pub async fn change(&self) {
        let mut changed = self.shared.changed.subscribe();
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }

    /// Notes that a worker asks; whether others go before it where it failed already.
    fn asks(&self, worker: &str) -> bool {
        let now = Instant::now();
        let mut asked = self.shared.asked.lock();
        asked.retain(|_, asking| now - asking.last < THERE);
        if !asked.contains_key(worker) && asked.len() >= MOST_WORKERS {
            return false;
        }
        let asking = asked.entry(worker.to_owned()).or_insert(Asking {
            since: now,
            last: now,
        });
        asking.last = now;
        now - asking.since < PATIENCE && asked.len() > 1
    }

    /// A worker was given a job.
    fn served(&self, worker: &str) {
        self.shared.asked.lock().remove(worker);
    }

    /// Puts a job down, or finds the one that there is.
    pub async fn offer(&self, offer: Offer) -> Result<JobRecord, DbError> {
        let job = self.db.call(move |db| db.offer_job(&offer)).await?;
        self.tell();
        Ok(job)
    }

    pub async fn job(&self, id: &str) -> Result<Option<JobRecord>, DbError> {
        let id = id.to_owned();
        self.db.call(move |db| db.job(&id)).await
    }

    pub async fn all(&self) -> Result<Vec<JobRecord>, DbError> {
        self.db.call(Db::jobs).await
    }

    pub async fn open(&self) -> Result<Vec<JobRecord>, DbError> {
        self.db.call(Db::open_jobs).await
    }

    /// Jobs for a worker, as soon as there are some; none when it has waited so long.
    pub async fn take(
        &self,
        mut taking: Taking,
        wait: Duration,
    ) -> Result<Vec<(JobRecord, WdPoStInput)>, DbError> {
        let until = tokio::time::Instant::now() + wait.min(LONGEST_WAIT);
        taking.count = taking.count.min(MOST_AT_ONCE);
        taking.max_tries = Some(self.policy.max_tries);
        loop {
            let mut changed = self.shared.changed.subscribe();
            taking.others_ask = self.asks(&taking.worker);
            // without a head nobody knows what is late; the poster has one, or there is no job
            taking.head = self.height().unwrap_or(Epoch::MIN);
            let asked = taking.clone();
            let jobs = self.db.call(move |db| db.take_jobs(&asked)).await?;
            for (job, _) in &jobs {
                tracing::info!(
                    job = job.id,
                    worker = taking.worker,
                    attempt = job.attempt,
                    miner = job.miner,
                    deadline = job.deadline,
                    close = job.close,
                    "a worker takes a WindowPoSt"
                );
            }
            if !jobs.is_empty() {
                self.served(&taking.worker);
                self.tell();
                return Ok(jobs);
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(Vec::new()),
                _ = changed.changed() => {}
                () = tokio::time::sleep(left.min(LOOK)) => {}
            }
        }
    }

    /// A worker lives and is at a job. False: that attempt is not wanted any more.
    pub async fn beat(
        &self,
        id: String,
        worker: String,
        attempt: Option<u64>,
    ) -> Result<bool, DbError> {
        let verb = move |db: &Db| {
            let speaks = Speaks {
                worker: Some(&worker),
                attempt,
            };
            db.beat_job(&id, speaks)
        };
        self.db.call(verb).await
    }

    /// How an attempt ended. False: nobody wants to know.
    pub async fn end(
        &self,
        id: String,
        worker: Option<String>,
        attempt: Option<u64>,
        ended: Ended,
    ) -> Result<bool, DbError> {
        let (job, by) = (id.clone(), worker.clone());
        let what = match &ended {
            Ended::Output(output) if output.faults.is_empty() => "proof".to_owned(),
            Ended::Output(output) => format!("{} faulty sectors", output.faults.len()),
            Ended::Failed(why) => format!("failed: {why}"),
            Ended::GivenBack => "given back".to_owned(),
        };
        let verb = move |db: &Db| {
            let speaks = Speaks {
                worker: worker.as_deref(),
                attempt,
            };
            db.end_attempt(&id, speaks, &ended)
        };
        let wanted = self.db.call(verb).await?;
        if wanted {
            tracing::info!(job, by, attempt, what, "a worker answers for a WindowPoSt");
            self.tell();
        } else {
            tracing::info!(
                job,
                by,
                attempt,
                what,
                "an answer of a former attempt is not listened to"
            );
        }
        Ok(wanted)
    }

    /// Takes a job along an edge; if `attempt` is given, only while that is the last one.
    pub async fn step(
        &self,
        id: &str,
        event: JobEvent,
        attempt: Option<u64>,
        why: Option<String>,
    ) -> Result<Option<JobRecord>, DbError> {
        let id = id.to_owned();
        let verb = move |db: &Db| db.step_job(&id, event, attempt, why.as_deref());
        let job = self.db.call(verb).await?;
        self.tell();
        Ok(job)
    }

    /// Has a job done anew, because a person says so.
    ///
    /// # Errors
    /// [`DbError::NoJob`], also for one that is over.
    pub async fn reset(&self, id: &str) -> Result<(), DbError> {
        let job = self.step(id, JobEvent::Reset, None, None).await?;
        job.map(drop).ok_or_else(|| DbError::NoJob(id.to_owned()))
    }

    pub async fn remove(&self, id: &str) -> Result<(), DbError> {
        let id = id.to_owned();
        self.db.call(move |db| db.remove_job(&id)).await?;
        self.tell();
        Ok(())
    }

    /// Keeps the list short until `stop`: what is late is over, and what is over is forgotten.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn sweep(self) -> anyhow::Result<()> {
        loop {
            if let Some(head) = self.height() {
                let before = unix_ms().saturating_sub(millis(self.policy.job_lifetime));
                let swept = self.db.call(move |db| db.sweep_jobs(head, before)).await;
                if let Err(error) = swept {
                    tracing::warn!(%error, "old WindowPoSt jobs could not be cleared away");
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> Jobs {
        let (_tell, head) = watch::channel(None);
        let policy = WorkerProverPolicy::default();
        Jobs::new(
            Db::in_memory(),
            head,
            policy,
            true,
            CancellationToken::new(),
        )
    }

    fn asks(worker: &str) -> Taking {
        Taking {
            worker: worker.to_owned(),
            numbered: true,
            count: 1,
            ..Taking::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_waits_has_a_job_as_soon_as_there_is_one() {
        let jobs = jobs();
        let none = jobs.take(asks("w"), Duration::from_millis(10)).await;
        assert!(
            none.unwrap().is_empty(),
            "an answer, though there is nothing"
        );
        let offer = async {
            let offer = crate::db::jobs::tests::offer("x", &[0], 120, "s");
            jobs.offer(offer).await.unwrap();
        };
        let long = Duration::from_secs(600);
        let (taken, ()) = tokio::join!(jobs.take(asks("w"), long), offer);
        assert_eq!(taken.unwrap()[0].0.id, "x");
        // a stop ends the wait
        let stop = async { jobs.stop.cancel() };
        let (none, ()) = tokio::join!(jobs.take(asks("w"), long), stop);
        assert!(none.unwrap().is_empty());
    }

    #[test]
    fn others_go_first_for_a_while_only() {
        let jobs = jobs();
        assert!(!jobs.asks("w1"), "it is alone");
        assert!(jobs.asks("w2") && jobs.asks("w1"));
        let long_ago = Instant::now().checked_sub(PATIENCE).unwrap();
        jobs.shared.asked.lock().get_mut("w1").unwrap().since = long_ago;
        assert!(!jobs.asks("w1"), "the other may not have it");
        assert!(jobs.asks("w2"));
        jobs.served("w1");
        assert!(jobs.asks("w1"));
    }
}
