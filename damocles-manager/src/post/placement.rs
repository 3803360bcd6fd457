//! Who proves a WindowPoSt that was put down for workers, and when it is proven here as well: a
//! pure function from what is known of its job. Time is what was seen by this process, never what
//! another one wrote down.

use crate::{db::jobs::JobRecord, policy::WorkerProverPolicy, post::schedule::margin};
use damocles_flow::job::JobState;
use damocles_types::Epoch;
use std::time::{Duration, Instant};

/// A job that nobody has taken for so long, while no worker is at another one, waits for workers
/// that are not there, or that may not have it.
const UNTAKEN: Duration = Duration::from_secs(60);

/// While a worker is at the job, a child of ours that failed at it is left alone for so long.
const REST: Duration = Duration::from_secs(30);

/// The last epoch at which a proof that is begun here still lands for sure. A manager's host may be
/// slower than the workers that proved lately, so a third of the window is left to it at least.
pub(super) fn begin_by(open: Epoch, close: Epoch, usual: Option<Epoch>) -> Epoch {
    let window = close - open;
    let takes = usual.unwrap_or(0).max(window / 3);
    close - takes - margin(window)
}

/// Since when a job is as it is, by this process's own clock.
#[derive(Debug)]
pub(super) struct Watched {
    last: (JobState, u64, u64),
    since: Instant,
}

impl Watched {
    pub(super) fn new(job: &JobRecord, now: Instant) -> Self {
        Self {
            last: (job.state, job.attempt, job.beats),
            since: now,
        }
    }

    /// How long nothing has changed.
    pub(super) fn still(&mut self, job: &JobRecord, now: Instant) -> Duration {
        let is = (job.state, job.attempt, job.beats);
        if is != self.last {
            (self.last, self.since) = (is, now);
        }
        now.saturating_duration_since(self.since)
    }
}

/// Whether it is proven by a child of this manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// It could be.
    Idle,
    Runs,
    /// It was tried in vain, so long ago.
    Failed(Duration),
}

/// What is known of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) state: JobState,
    pub(super) failures: u32,
    /// Nothing has changed for so long: its worker is silent, or nobody has taken it.
    pub(super) still: Duration,
    /// Workers are at other jobs.
    pub(super) busy: bool,
    pub(super) head: Epoch,
    /// See [`begin_by`].
    pub(super) begin_by: Epoch,
    pub(super) here: Here,
    pub(super) policy: &'a WorkerProverPolicy,
}

/// Why it is proven here as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub(super) enum Reason {
    #[strum(to_string = "no worker has taken it for a minute, and none is at work")]
    Untaken,
    #[strum(to_string = "no worker would be done in time any more")]
    Late,
    #[strum(to_string = "workers have failed at it")]
    Failed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    /// Look at what the worker answered.
    Use,
    /// Its worker is silent: another one may have it.
    Lose,
    /// Another attempt.
    Retry,
    /// A child proves it; whoever is first, counts.
    Here(Reason),
    /// Nobody will prove it.
    GiveUp,
}

pub(super) fn next(view: &View<'_>) -> Next {
    let policy = view.policy;
    let may = policy.here_too
        && match view.here {
            Here::Idle => true,
            Here::Runs => false,
            Here::Failed(ago) => view.state == JobState::Running && ago >= REST,
        };
    let pressing = view.head >= view.begin_by;
    let late = may && pressing;
    let untaken = !view.busy && view.still >= UNTAKEN;
    let spent = view.failures >= policy.max_tries;
    match view.state {
        JobState::Finished => Next::Use,
        JobState::Over => Next::GiveUp,
        JobState::Failed if !spent => Next::Retry,
        JobState::Failed if may => Next::Here(Reason::Failed),
        // those that have not failed at it yet may be first
        JobState::Failed if view.here == Here::Runs => Next::Retry,
        JobState::Failed => Next::GiveUp,
        JobState::Running if view.still >= policy.heartbeat_timeout => Next::Lose,
        JobState::Ready | JobState::Running if late => Next::Here(Reason::Late),
        JobState::Ready if may && untaken => Next::Here(Reason::Untaken),
        // whoever wants the proof looks at each of its sectors and begins anew
        JobState::Ready
            if matches!(view.here, Here::Failed(_)) && (pressing || untaken || spent) =>
        {
            Next::GiveUp
        }
        JobState::Ready | JobState::Running => Next::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: WorkerProverPolicy = WorkerProverPolicy {
        max_tries: 2,
        heartbeat_timeout: Duration::from_secs(15),
        job_lifetime: Duration::ZERO,
        here_too: true,
    };

    #[test]
    fn a_proof_that_is_begun_here_lands_on_a_slow_host_too() {
        for (usual, expected) in [(None, 88), (Some(3), 88), (Some(30), 78), (Some(90), 18)] {
            assert_eq!(begin_by(60, 120, usual), expected, "{usual:?}");
        }
        assert_eq!(begin_by(10, 14, None), 11, "a short window");
    }

    #[test]
    fn a_job_whose_worker_is_silent_is_given_to_another() {
        let at = |state, still| View {
            state,
            failures: 0,
            still: Duration::from_secs(still),
            busy: false,
            head: 60,
            begin_by: 88,
            here: Here::Idle,
            policy: &POLICY,
        };
        assert_eq!(next(&at(JobState::Running, 14)), Next::Wait);
        assert_eq!(next(&at(JobState::Running, 15)), Next::Lose);
        // also while a child is at it, so that the next worker may be first
        let view = View {
            here: Here::Runs,
            ..at(JobState::Running, 15)
        };
        assert_eq!(next(&view), Next::Lose);
    }

    #[test]
    fn who_proves_it_in_every_case() {
        use JobState::{Failed, Finished, Over, Ready, Running};
        const JUST_FAILED: Here = Here::Failed(Duration::ZERO);
        let only_workers = WorkerProverPolicy {
            here_too: false,
            ..POLICY
        };
        let (early, late) = (87, 88);
        for (state, failures, still, busy, head, here, expected) in [
            (Ready, 0, 0, false, early, Here::Idle, Next::Wait),
            (Ready, 0, 59, false, early, Here::Idle, Next::Wait),
            (
                Ready,
                0,
                60,
                false,
                early,
                Here::Idle,
                Next::Here(Reason::Untaken),
            ),
            (Ready, 0, 600, true, early, Here::Idle, Next::Wait),
            (
                Ready,
                0,
                0,
                true,
                late,
                Here::Idle,
                Next::Here(Reason::Late),
            ),
            (
                Running,
                0,
                2,
                false,
                late,
                Here::Idle,
                Next::Here(Reason::Late),
            ),
            (Running, 0, 2, false, late, Here::Runs, Next::Wait),
            (Running, 0, 2, false, late, JUST_FAILED, Next::Wait),
            (
                Running,
                0,
                2,
                false,
                late,
                Here::Failed(REST),
                Next::Here(Reason::Late),
            ),
            (Running, 0, 2, false, early, Here::Failed(REST), Next::Wait),
            (Ready, 0, 0, false, early, Here::Failed(REST), Next::Wait),
            (Ready, 0, 0, true, late, JUST_FAILED, Next::GiveUp),
            (Ready, 0, 60, false, early, JUST_FAILED, Next::GiveUp),
            (Failed, 1, 0, false, early, Here::Idle, Next::Retry),
            (Failed, 1, 0, false, late, Here::Runs, Next::Retry),
            (
                Failed,
                2,
                0,
                true,
                early,
                Here::Idle,
                Next::Here(Reason::Failed),
            ),
            (Failed, 2, 0, false, early, Here::Runs, Next::Retry),
            (Ready, 2, 0, false, early, Here::Runs, Next::Wait),
            (Ready, 2, 0, true, early, JUST_FAILED, Next::GiveUp),
            (Failed, 2, 0, false, early, JUST_FAILED, Next::GiveUp),
            (Finished, 0, 0, false, early, Here::Runs, Next::Use),
            (Over, 0, 0, false, early, Here::Idle, Next::GiveUp),
        ] {
            let mut view = View {
                state,
                failures,
                still: Duration::from_secs(still),
                busy,
                head,
                begin_by: 88,
                here,
                policy: &POLICY,
            };
            assert_eq!(next(&view), expected, "{view:?}");
            view.policy = &only_workers;
            let without = match expected {
                Next::Here(Reason::Failed) => Next::GiveUp,
                Next::Here(_) => Next::Wait,
                other => other,
            };
            if here == Here::Idle {
                assert_eq!(next(&view), without, "only workers: {view:?}");
            }
        }
    }
}
