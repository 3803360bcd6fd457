//! What is asked and said of WindowPoSts that this worker proves. A manager of ours is waited for
//! and knows attempts; upstream's is asked and believes a name.

use super::{CallError, Client, Manager};
use damocles_api::{
    attempts::{Attempt, AttemptEnd, DamoclesAttemptsClient, TakeWindowPosts},
    wdpost::{AllocatePoStSpec, AllocatedWdPoStJob, WdPoStClient},
};
use jsonrpsee::core::ClientError;
use std::time::Duration;

/// While the worker stops, the manager may take so long to hear of a job.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A word that a job lives is said to the next manager when it is not heard for so long. Managers
/// give a job to another worker after 15 seconds without one, unless their operators say otherwise.
const LONGEST_BEAT: Duration = Duration::from_secs(4);

/// A job that was offered, or that there is none.
#[derive(Debug)]
pub enum Offered {
    Job(Box<AllocatedWdPoStJob>),
    /// The manager was waited for, and had none.
    None,
    /// The manager does not wait: it is asked again after a while.
    AskAgain,
}

impl Offered {
    fn of(mut jobs: Vec<AllocatedWdPoStJob>, none: Self) -> Self {
        jobs.pop().map_or(none, |job| Self::Job(Box::new(job)))
    }
}

impl Manager {
    /// A WindowPoSt to prove whose sectors lie in `stores`.
    pub fn take_window_post(
        &self,
        spec: AllocatePoStSpec,
        stores: Vec<String>,
        wait: Duration,
    ) -> Result<Offered, CallError> {
        let worker = self.worker.to_string();
        if self.identity()?.is_none() {
            let asked = self.call("WdPoStAllocateJobs", async |rpc| {
                rpc.wd_post_allocate_jobs(spec, 1, worker).await
            });
            return asked.map(|jobs| Offered::of(jobs, Offered::AskAgain));
        }
        let wait = wait.min(self.shared.connection.timeout / 2);
        let want = TakeWindowPosts {
            worker,
            spec,
            stores,
            count: 1,
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let asked = self.call("TakeWindowPosts", async |rpc| {
            rpc.take_window_posts(want).await
        });
        asked.map(|jobs| Offered::of(jobs, Offered::None))
    }

    /// Says that this worker is at a job. False: it is not wanted any more.
    pub fn window_post_lives(&self, attempt: &Attempt) -> Result<bool, CallError> {
        let (worker, id) = (self.worker.to_string(), attempt.id.clone());
        if attempt.attempt == 0 {
            let beat = self.beat("WdPoStHeartbeatJobs", async |rpc| {
                rpc.wd_post_heartbeat_jobs(vec![id], worker).await
            });
            return beat.map(|()| true);
        }
        let attempts = vec![attempt.clone()];
        let unwanted = self.beat("WindowPostsLive", async |rpc| {
            rpc.window_posts_live(worker, attempts).await
        })?;
        Ok(!unwanted.contains(attempt))
    }

    /// A call whose answer is not waited for as long as for others: the next one is due.
    fn beat<T>(
        &self,
        method: &'static str,
        call: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, CallError> {
        let shared = &self.shared;
        let limit = shared.connection.timeout.min(LONGEST_BEAT);
        shared.runtime.block_on(async {
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => Err(CallError::Stopping),
                said = self.answer_within(limit, method, call) => said,
            }
        })
    }

    /// Says how an attempt ended. False: nobody wants to know.
    pub fn window_post_ended(&self, attempt: &Attempt, end: AttemptEnd) -> Result<bool, CallError> {
        self.shared.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => Err(CallError::Stopping),
                said = self.say_ended(attempt, end) => said,
            }
        })
    }

    /// The same while the worker stops.
    pub fn last_word(&self, attempt: &Attempt, end: AttemptEnd) -> Result<bool, CallError> {
        self.shared.runtime.block_on(async {
            let said = tokio::time::timeout(LAST_WORD, self.say_ended(attempt, end));
            said.await.unwrap_or(Err(CallError::Stopping))
        })
    }

    async fn say_ended(&self, attempt: &Attempt, end: AttemptEnd) -> Result<bool, CallError> {
        let (worker, attempt) = (self.worker.to_string(), attempt.clone());
        if attempt.attempt > 0 {
            return self
                .answer("WindowPostEnded", async |rpc| {
                    rpc.window_post_ended(worker, attempt, end).await
                })
                .await;
        }
        let (output, why) = match end {
            AttemptEnd::Output(output) => (Some(output), String::new()),
            AttemptEnd::Failed(why) => (None, why),
            AttemptEnd::GivenBack => (None, "the worker gives it back".to_owned()),
        };
        self.answer("WdPoStFinishJob", async |rpc| {
            rpc.wd_post_finish_job(attempt.id, output, why).await
        })
        .await
        .map(|()| true)
    }
}
