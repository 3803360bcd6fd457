//! Threads that prove WindowPoSts for the manager (`plan = "wdpost"`): one job at a time, no
//! directory, nothing on disk. What is lost with the process another worker does again.
//!
//! A pause takes effect between two jobs, and gives back one that waits for its turn; a proof that
//! is computed is finished first, for a deadline waits for it.

use super::{
    post_job::{Job, Prover},
    thread::Over,
};
use crate::{
    config::{Sealing, ThreadPlan},
    control::{Because, Interrupt},
    manager::{CallError, posts::Offered},
    stores::StoreError,
    view::Doing,
};
use damocles_api::wdpost::AllocatePoStSpec;
use damocles_processor::Stage;
use damocles_types::{Failure, PoStProof, SectorSize};
use std::time::{Duration, Instant};

/// So long a manager of ours is waited for at a time; a pause takes effect after that.
const WAIT: Duration = Duration::from_secs(5);
/// A manager that stops does not wait; it is not asked without a pause.
const LEAST: Duration = Duration::from_millis(500);
/// After a question that failed, no longer is waited than that.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Which jobs a thread takes: of the sizes it is allowed, by both of a size's names.
fn spec(sealing: &Sealing) -> AllocatePoStSpec {
    let names = |size: &SectorSize| {
        [PoStProof::WindowV1(*size), PoStProof::WindowV1_1(*size)].map(PoStProof::name)
    };
    AllocatePoStSpec {
        allowed_miners: Some(sealing.allowed_miners.clone()),
        allowed_proof_types: Some(sealing.allowed_sizes.iter().flat_map(names).collect()),
    }
}

impl Prover {
    /// The life of a thread without a directory.
    pub fn live(&self, index: usize, sealing: &Sealing) {
        let span = tracing::info_span!("thread", index);
        let _entered = span.enter();
        let mut said = None;
        while self.round(sealing, &mut said).is_ok() {}
    }

    /// One job, or a rest. `said`: the problem that was logged last.
    pub(super) fn round(&self, sealing: &Sealing, said: &mut Option<String>) -> Result<(), Over> {
        self.board.job(ThreadPlan::WdPost, None);
        match self.control.interrupt() {
            None => {}
            Some(Interrupt::Stop) => return Err(Over),
            Some(Interrupt::Pause) => return self.pause(),
        }
        let asked = Instant::now();
        let offered = self.ready().and_then(|stores| {
            self.board.idle("the manager has no WindowPoSt for it");
            self.manager
                .take_window_post(spec(sealing), stores, WAIT)
                .map_err(Problem::Call)
        });
        match offered {
            Ok(offered) => {
                if said.take().is_some() {
                    self.board.error(None);
                    tracing::info!("WindowPoSts are to be had again");
                }
                match offered {
                    Offered::Job(job) => Job::of(self, *job).work(),
                    Offered::None if asked.elapsed() < LEAST => self.rest(LEAST),
                    Offered::None => Ok(()),
                    Offered::AskAgain => self.rest(sealing.recover_interval),
                }
            }
            Err(Problem::Call(CallError::Stopping)) => Err(Over),
            Err(problem) => {
                let failure = problem.failure();
                let text = failure.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!(hint = failure.hint.as_deref(), "{text}");
                    *said = Some(text);
                }
                self.board.error(Some(failure));
                self.board
                    .doing(Doing::Waiting(problem.waits_for().to_owned()));
                self.rest(sealing.recover_interval.min(LONGEST_REST))
            }
        }
    }

    /// The stores whose sectors it could prove now. One that is away is not named: a job over its
    /// sectors would fail here, and be lost to who can read them.
    fn ready(&self) -> Result<Vec<String>, Problem> {
        let stages = self.pool.view();
        if !stages.iter().any(|view| view.stage == Stage::WindowPost) {
            return Err(Problem::NoProcessor);
        }
        let (mut there, mut away) = (Vec::new(), None);
        for store in self.attached.iter() {
            match store.look(None) {
                Ok(_) => there.push(store.name.clone()),
                Err(error) => away = away.or(Some(error)),
            }
        }
        match away {
            Some(error) if there.is_empty() => Err(Problem::Away(error)),
            None if there.is_empty() => Err(Problem::NoStore),
            _ => Ok(there),
        }
    }

    fn rest(&self, time: Duration) -> Result<(), Over> {
        match self.control.wait_about(time) {
            // a pause is dealt with at the top of the round
            Ok(()) | Err(Interrupt::Pause) => Ok(()),
            Err(Interrupt::Stop) => Err(Over),
        }
    }

    fn pause(&self) -> Result<(), Over> {
        self.board.doing(Doing::Paused);
        tracing::info!("paused");
        let resumed = self.control.stay_paused(Because::Asked, Vec::new());
        resumed.map_err(|_| Over)?;
        tracing::info!("resumed");
        self.board.error(None);
        Ok(())
    }
}

/// Why nothing is proven.
#[derive(Debug)]
enum Problem {
    NoStore,
    /// No attached store is there, this one for one.
    Away(StoreError),
    /// The thread's own file names this plan and the main file did not.
    NoProcessor,
    Call(CallError),
}

impl Problem {
    fn waits_for(&self) -> &'static str {
        match self {
            Self::NoStore | Self::Away(_) => "a store whose sectors it could read",
            Self::NoProcessor => "a window_post processor",
            Self::Call(CallError::Unsupported(_)) => "a manager that lets workers prove",
            Self::Call(_) => "the manager",
        }
    }

    fn failure(&self) -> Failure {
        match self {
            Self::NoStore => Failure::temporary("no store is attached here, so no sector can be proven")
                .hint("add the persist stores as [[attached]], readonly = true, and restart the worker"),
            Self::Away(error) => Failure::temporary(format!("no attached store can be read: {error}"))
                .hint("mount the persist stores whose sectors this worker is to prove; they are looked at again by themselves"),
            Self::NoProcessor => Failure::temporary("this worker was started without a window_post processor")
                .hint("write plan = \"wdpost\" into a [[sealing_thread]] of the worker's file, or add [[processors.window_post]], and restart it"),
            Self::Call(error @ CallError::Unsupported(_)) => Failure::temporary(error)
                .hint("start the manager with --worker-prover, or give this thread another plan"),
            Self::Call(error) => Failure::temporary(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_takes_the_sizes_and_miners_that_it_is_allowed() {
        let sealing = Sealing {
            allowed_miners: vec![1000],
            allowed_sizes: vec![SectorSize::GiB32],
            ..Sealing::default()
        };
        let spec = spec(&sealing);
        assert_eq!(spec.allowed_miners, Some(vec![1000]));
        assert_eq!(
            spec.allowed_proof_types.unwrap(),
            ["StackedDrgWindow32GiBV1", "StackedDrgWindow32GiBV1_2"]
        );
        let any = super::spec(&Sealing::default());
        assert_eq!(any.allowed_proof_types, Some(vec![]));
    }
}
