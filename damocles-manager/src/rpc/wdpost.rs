//! WindowPoSts that workers prove: `Venus.WdPoSt*` as upstream has them, and what workers of ours
//! say besides.

use super::{caller, error::ToRpc, rooms::Rooms};
use crate::{
    db::jobs::{Ended, JobRecord, Taking},
    model::seconds,
};
use damocles_api::{
    attempts::{Attempt, AttemptEnd, DamoclesAttemptsServer, TakeWindowPosts},
    code,
    wdpost::{
        AllWdPoStJobs, AllocatePoStSpec, AllocatedWdPoStJob, WdPoStInput, WdPoStJob, WdPoStOutput,
        WdPoStServer,
    },
};
use damocles_flow::job::JobState;
use damocles_types::shown;
use jsonrpsee::{
    core::{RpcResult, async_trait},
    types::{ErrorObjectOwned, error::METHOD_NOT_FOUND_CODE},
};
use std::time::Duration;

/// Characters of what a worker says of a failure that are kept.
const LONGEST_REASON: usize = 2000;
/// A worker's name is no longer.
const LONGEST_NAME: usize = 200;
/// Jobs that a worker can say in one call that it is at.
const MOST_BEATS: usize = 256;

/// The state as upstream calls it.
const fn upstreams(state: JobState) -> &'static str {
    match state {
        JobState::Ready => "ready2run",
        JobState::Running => "running",
        JobState::Finished | JobState::Failed | JobState::Over => "finished",
    }
}

fn listed(job: JobRecord) -> WdPoStJob {
    let at = |ms: Option<u64>| u64::try_from(ms.map_or(0, seconds)).unwrap_or(0);
    let faults = job.output.as_ref().map_or(0, |output| output.faults.len());
    WdPoStJob {
        state: upstreams(job.state).to_owned(),
        deadline_idx: job.deadline,
        partitions: job.partitions,
        input: WdPoStInput {
            sectors: Vec::new(),
            miner_id: job.miner,
            proof_type: String::new(),
            seed: [0; 32],
        },
        output: Some(WdPoStOutput::default()),
        try_num: u32::try_from(job.attempt).unwrap_or(u32::MAX),
        error_reason: job.error.unwrap_or_default(),
        worker_name: job.worker.unwrap_or_default(),
        started_at: at(job.started_at),
        heartbeat_at: at(job.beaten_at),
        finished_at: at(job.ended_at),
        created_at: at(Some(job.created_at)),
        updated_at: at(Some(job.updated_at)),
        sectors: job.sectors,
        faults: u32::try_from(faults).unwrap_or(u32::MAX),
        open: job.open,
        close: job.close,
        id: job.id,
    }
}

fn allocated((job, input): (JobRecord, WdPoStInput)) -> AllocatedWdPoStJob {
    AllocatedWdPoStJob {
        id: job.id,
        input,
        attempt: job.attempt,
        close: job.close,
    }
}

fn taking(worker: String, spec: AllocatePoStSpec, count: u32) -> Taking {
    Taking {
        worker,
        miners: spec.allowed_miners.unwrap_or_default(),
        proof_types: spec.allowed_proof_types.unwrap_or_default(),
        count: usize::try_from(count).unwrap_or(usize::MAX),
        ..Taking::default()
    }
}

/// What a worker says went wrong, as much of it as is kept.
fn reason(text: &str) -> String {
    match text.trim() {
        "" => "the worker does not say why".to_owned(),
        text => shown(text, LONGEST_REASON).to_string(),
    }
}

impl Rooms {
    /// Refuses where workers prove nothing, as upstream does there, and who speaks for another.
    fn serves(&self, method: &str, worker: Option<&str>) -> Result<(), ErrorObjectOwned> {
        if !self.jobs.are_offered() {
            let text = format!(
                "method '{method}' not found: this manager runs without --worker-prover, and gives WindowPoSts to no worker"
            );
            return Err(code::error(METHOD_NOT_FOUND_CODE, text));
        }
        let Some(worker) = worker else { return Ok(()) };
        if worker.is_empty() || worker.len() > LONGEST_NAME {
            let text = format!("a worker's name has 1 to {LONGEST_NAME} bytes");
            return Err(code::error(code::FAILED, text));
        }
        caller::may_speak_for(worker)
    }
}

#[async_trait]
impl WdPoStServer for Rooms {
    async fn wd_post_allocate_jobs(
        &self,
        spec: AllocatePoStSpec,
        num: u32,
        worker: String,
    ) -> RpcResult<Vec<AllocatedWdPoStJob>> {
        self.serves("Venus.WdPoStAllocateJobs", Some(&worker))?;
        let taken = self.jobs.take(taking(worker, spec, num), Duration::ZERO);
        let taken = taken.await.map_err(ToRpc::to_worker)?;
        Ok(taken.into_iter().map(allocated).collect())
    }

    async fn wd_post_heartbeat_jobs(&self, ids: Vec<String>, worker: String) -> RpcResult<()> {
        self.serves("Venus.WdPoStHeartbeatJobs", Some(&worker))?;
        for id in ids.into_iter().take(MOST_BEATS) {
            let beat = self.jobs.beat(id, worker.clone(), None).await;
            beat.map_err(ToRpc::to_worker)?;
        }
        Ok(())
    }

    async fn wd_post_finish_job(
        &self,
        id: String,
        output: Option<WdPoStOutput>,
        error: String,
    ) -> RpcResult<()> {
        self.serves("Venus.WdPoStFinishJob", None)?;
        let ended = match output {
            Some(output) if error.is_empty() => Ended::Output(output),
            _ => Ended::Failed(reason(&error)),
        };
        // it does not say who it is; its token may
        let ended = self.jobs.end(id, caller::bound_to(), None, ended).await;
        ended.map(drop).map_err(ToRpc::to_worker)
    }

    async fn wd_post_reset_job(&self, id: String) -> RpcResult<()> {
        self.serves("Venus.WdPoStResetJob", None)?;
        self.jobs.reset(&id).await.map_err(ToRpc::to_operator)
    }

    async fn wd_post_remove_job(&self, id: String) -> RpcResult<()> {
        self.serves("Venus.WdPoStRemoveJob", None)?;
        self.jobs.remove(&id).await.map_err(ToRpc::to_operator)
    }

    async fn wd_post_all_jobs(&self) -> RpcResult<AllWdPoStJobs> {
        self.serves("Venus.WdPoStAllJobs", None)?;
        let jobs = self.jobs.all().await.map_err(ToRpc::to_operator)?;
        Ok(AllWdPoStJobs {
            jobs: jobs.into_iter().map(listed).collect(),
            max_try: self.jobs.policy().max_tries,
        })
    }
}

#[async_trait]
impl DamoclesAttemptsServer for Rooms {
    async fn take_window_posts(&self, want: TakeWindowPosts) -> RpcResult<Vec<AllocatedWdPoStJob>> {
        self.serves("Damocles.TakeWindowPosts", Some(&want.worker))?;
        let taking = Taking {
            numbered: true,
            stores: Some(want.stores.into_iter().collect()),
            ..taking(want.worker, want.spec, want.count)
        };
        let taken = self.jobs.take(taking, Duration::from_millis(want.wait_ms));
        let taken = taken.await.map_err(ToRpc::to_worker)?;
        Ok(taken.into_iter().map(allocated).collect())
    }

    async fn window_posts_live(
        &self,
        worker: String,
        attempts: Vec<Attempt>,
    ) -> RpcResult<Vec<Attempt>> {
        self.serves("Damocles.WindowPostsLive", Some(&worker))?;
        let mut unwanted = Vec::new();
        for attempt in attempts.into_iter().take(MOST_BEATS) {
            let (id, number) = (attempt.id.clone(), attempt.attempt);
            let beat = self.jobs.beat(id, worker.clone(), Some(number)).await;
            if !beat.map_err(ToRpc::to_worker)? {
                unwanted.push(attempt);
            }
        }
        Ok(unwanted)
    }

    async fn window_post_ended(
        &self,
        worker: String,
        attempt: Attempt,
        end: AttemptEnd,
    ) -> RpcResult<bool> {
        self.serves("Damocles.WindowPostEnded", Some(&worker))?;
        let ended = match end {
            AttemptEnd::Output(output) => Ended::Output(output),
            AttemptEnd::Failed(why) => Ended::Failed(reason(&why)),
            AttemptEnd::GivenBack => Ended::GivenBack,
        };
        let Attempt { id, attempt } = attempt;
        match self.jobs.end(id, Some(worker), Some(attempt), ended).await {
            Err(crate::db::DbError::NoJob(_)) => Ok(false),
            other => other.map_err(ToRpc::to_worker),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scene::rooms, *};
    use crate::{jobs::Jobs, policy::WorkerProverPolicy};
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn where_workers_prove_nothing_the_methods_are_not_there_as_at_upstreams() {
        let (mut rooms, _, _disk, _chain) = rooms().await;
        let (_tell, head) = watch::channel(None);
        let policy = WorkerProverPolicy::default();
        let stop = CancellationToken::new();
        rooms.jobs = Jobs::new(rooms.db.clone(), head, policy, false, stop);
        let asked = rooms.wd_post_allocate_jobs(AllocatePoStSpec::default(), 1, "w".into());
        let refused = asked.await.unwrap_err();
        assert_eq!(refused.code(), METHOD_NOT_FOUND_CODE);
        assert!(refused.message().contains("--worker-prover"), "{refused}");
        let refused = rooms.wd_post_all_jobs().await.unwrap_err();
        assert_eq!(refused.code(), METHOD_NOT_FOUND_CODE);
    }

    #[test]
    fn times_are_seconds_and_nothing_is_zero() {
        let offer = crate::db::jobs::tests::offer("x", &[0], 120, "s");
        let db = crate::db::Db::in_memory();
        let mut job = db.offer_job(&offer).unwrap();
        (job.created_at, job.beaten_at) = (5_999, Some(7_000));
        let shown = listed(job);
        assert_eq!((shown.created_at, shown.heartbeat_at), (5, 7));
        assert_eq!((shown.started_at, shown.finished_at), (0, 0));
        assert_eq!(
            (shown.state.as_str(), shown.input.miner_id),
            ("ready2run", 1000)
        );
        assert_eq!((shown.sectors, shown.open, shown.close), (1, 60, 120));
    }
}
