//! One WindowPoSt, and what a thread that proves is made of: where the sectors lie here, the proof
//! in a child process, a word every few seconds that it is under way, and the answer, which is kept
//! until the manager has it.

use super::thread::Over;
use crate::{
    config::ThreadPlan,
    control::Control,
    manager::{CallError, Manager},
    stores::AttachedStores,
    view::{Board, Doing, Task},
};
use damocles_api::{
    attempts::{Attempt, AttemptEnd},
    wdpost::{AllocatedWdPoStJob, WdPoStInput, WdPoStOutput},
};
use damocles_processor::{
    Note, Pool, ProcessorError, Stage,
    task::{Replica, WindowPost},
};
use damocles_types::{Commitment, Failure, PoStProof, SectorId};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// Between two words to the manager; upstream's workers say them as often.
const BEAT: Duration = Duration::from_secs(3);
/// How soon it is seen that the worker stops.
const LOOK: Duration = Duration::from_millis(500);
/// Between two attempts at handing the answer in.
const AGAIN: Duration = Duration::from_secs(3);
/// So often a manager may refuse to hear the answer before it is given up.
const MOST_REFUSALS: u32 = 5;

/// A thread that proves.
#[derive(Debug)]
pub struct Prover {
    pub manager: Manager,
    pub pool: Pool,
    pub attached: Arc<AttachedStores>,
    pub control: Arc<Control>,
    pub board: Arc<Board>,
}

/// A job under way.
pub(super) struct Job<'a> {
    thread: &'a Prover,
    input: WdPoStInput,
    attempt: Attempt,
    /// The process that computes it, once one does.
    computes_in: Mutex<Option<u32>>,
    /// Nobody wants it any more.
    unwanted: AtomicBool,
    /// It was given back, as the worker stops.
    given_back: AtomicBool,
}

/// The task of a job, on the stores that are attached here.
fn task(input: &WdPoStInput, attached: &AttachedStores) -> Result<WindowPost, String> {
    let proof_type = PoStProof::from_name(&input.proof_type)
        .ok_or_else(|| format!("{:?} is no proof type that is known here", input.proof_type))?;
    let names = input.sectors.iter().map(|sector| &sector.accesses);
    let names: BTreeSet<_> = names
        .flat_map(|places| [&places.sealed_file, &places.cache_dir])
        .collect();
    for name in names {
        let store = attached.get(name);
        let store = store.ok_or_else(|| format!("the store {name:?} is not attached here"))?;
        let there = store.look(None);
        there.map_err(|error| format!("the store {name:?} is away here: {error}"))?;
    }
    let replica = |sector: &damocles_api::wdpost::WdPoStSector| {
        let id = SectorId::new(input.miner_id, sector.sector_id);
        Some(Replica {
            sector_id: sector.sector_id,
            comm_r: Commitment(sector.comm_r),
            sealed_file: attached
                .get(&sector.accesses.sealed_file)?
                .sealed(id, sector.upgrade),
            cache_dir: attached
                .get(&sector.accesses.cache_dir)?
                .cache(id, sector.upgrade),
        })
    };
    let replicas = input.sectors.iter().filter_map(replica);
    Ok(WindowPost {
        miner_id: input.miner_id,
        proof_type,
        replicas: replicas.collect(),
        seed: input.seed,
    })
}

impl<'a> Job<'a> {
    pub(super) fn of(thread: &'a Prover, job: AllocatedWdPoStJob) -> Self {
        Self {
            thread,
            input: job.input,
            attempt: Attempt {
                id: job.id,
                attempt: job.attempt,
            },
            computes_in: Mutex::new(None),
            unwanted: AtomicBool::new(false),
            given_back: AtomicBool::new(false),
        }
    }

    /// Proves it and hands the answer in.
    pub(super) fn work(self) -> Result<(), Over> {
        tracing::info!(
            job = self.attempt.id,
            attempt = self.attempt.attempt,
            miner = self.input.miner_id,
            sectors = self.input.sectors.len(),
            "proving a WindowPoSt"
        );
        self.show("Allocated", "Generate");
        let begun = Instant::now();
        // dropped: the job is over
        let (over, ends) = mpsc::channel::<()>();
        let job = &self;
        std::thread::scope(|scope| {
            scope.spawn(move || job.tell(ends));
            let end = self.compute();
            let handed_in = match end {
                None => Ok(()),
                Some(end) => self.hand_in(end, begun),
            };
            drop(over);
            handed_in
        })
    }

    fn show(&self, state: &'static str, stage: &'static str) {
        self.thread.board.job(
            ThreadPlan::WdPost,
            Some(Task {
                id: self.attempt.id.clone(),
                state,
                stage,
            }),
        );
    }

    /// What came of it. None: nobody is to be told.
    fn compute(&self) -> Option<AttemptEnd> {
        let Prover {
            board,
            control,
            pool,
            attached,
            ..
        } = self.thread;
        let task = match task(&self.input, attached) {
            Ok(task) => task,
            Err(why) => {
                let failure = Failure::temporary(&why).hint(
                    "attach and mount every persist store whose sectors this worker is to prove",
                );
                tracing::warn!(
                    job = self.attempt.id,
                    hint = failure.hint.as_deref(),
                    "{why}"
                );
                board.error(Some(failure));
                return Some(AttemptEnd::Failed(why));
            }
        };
        let cancel = control.cancel();
        let outcome = pool.run(&task, &cancel, &mut |note| match note {
            Note::Waiting(what) => board.doing(Doing::Waiting(what)),
            Note::Running { pid, .. } => {
                *self.computes_in.lock() = Some(pid);
                board.doing(Doing::Running(Some(pid)));
            }
            Note::Progress(text) => board.progress(text),
            Note::Doubt(text) => {
                tracing::warn!("{text}");
                board.progress(text);
            }
            Note::Kernel(_) => {}
        });
        self.computes_in.lock().take();
        board.doing(Doing::Running(None));
        if self.given_back.load(Ordering::SeqCst) || self.unwanted.load(Ordering::SeqCst) {
            return None;
        }
        match outcome {
            Ok(outcome) => {
                board.error(None);
                Some(AttemptEnd::Output(WdPoStOutput {
                    proofs: outcome.output.proofs,
                    faults: outcome.output.faults,
                }))
            }
            // a pause, or a stop, while it waited for its turn
            Err(ProcessorError::Cancelled) => Some(AttemptEnd::GivenBack),
            Err(error) => {
                tracing::warn!(job = self.attempt.id, %error, "a WindowPoSt could not be proven");
                board.error(error.failure());
                Some(AttemptEnd::Failed(error.to_string()))
            }
        }
    }

    /// Tells the manager until the manager has heard it, or does not want to.
    fn hand_in(&self, end: AttemptEnd, begun: Instant) -> Result<(), Over> {
        self.show("Generated", "SubmitProof");
        let Prover {
            board,
            control,
            manager,
            ..
        } = self.thread;
        let mut refusals = 0;
        loop {
            match manager.window_post_ended(&self.attempt, end.clone()) {
                Ok(wanted) => {
                    let seconds = begun.elapsed().as_secs();
                    let job = &self.attempt.id;
                    match wanted {
                        true => tracing::info!(job, seconds, "the manager has the answer"),
                        false => {
                            tracing::info!(job, seconds, "nobody waits for the answer any more")
                        }
                    }
                    return Ok(());
                }
                Err(CallError::Stopping) => {
                    if let Err(error) = manager.last_word(&self.attempt, end) {
                        tracing::info!(
                            job = self.attempt.id,
                            "the manager was not told of a WindowPoSt that ended: {error}"
                        );
                    }
                    return Err(Over);
                }
                Err(CallError::Failed { message, .. }) if refusals >= MOST_REFUSALS => {
                    tracing::warn!(job = self.attempt.id, "the answer is given up: {message}");
                    return Ok(());
                }
                Err(error) => {
                    refusals += u32::from(matches!(error, CallError::Failed { .. }));
                    tracing::debug!("{error}");
                    board.error(Some(Failure::temporary(error)));
                    board.doing(Doing::Waiting("the manager to take the answer".to_owned()));
                    if control.stops_within(AGAIN) {
                        continue;
                    }
                }
            }
        }
    }

    /// Says that it is under way, until `ends` is closed. What is not wanted any more is left off.
    fn tell(&self, ends: mpsc::Receiver<()>) {
        let mut last = Instant::now();
        loop {
            match ends.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.thread.control.stops_within(Duration::ZERO) {
                return self.stop();
            }
            if last.elapsed() < BEAT {
                continue;
            }
            last = Instant::now();
            match self.thread.manager.window_post_lives(&self.attempt) {
                Ok(true) => {}
                Ok(false) => return self.leave_off(),
                Err(CallError::Stopping) => return self.stop(),
                Err(error) => tracing::debug!("{error}"),
            }
        }
    }

    /// The worker stops: what is not done by now another one does.
    fn stop(&self) {
        if self.computes_in.lock().is_none() {
            return;
        }
        self.given_back.store(true, Ordering::SeqCst);
        let given = self
            .thread
            .manager
            .last_word(&self.attempt, AttemptEnd::GivenBack);
        if let Err(error) = given {
            tracing::info!(
                job = self.attempt.id,
                "a WindowPoSt could not be given back: {error}"
            );
        }
    }

    /// Ends the computation, unless others would end with it.
    fn leave_off(&self) {
        tracing::info!(
            job = self.attempt.id,
            attempt = self.attempt.attempt,
            "nobody waits for this WindowPoSt any more"
        );
        self.unwanted.store(true, Ordering::SeqCst);
        let pid = *self.computes_in.lock();
        match pid {
            None => self.thread.control.nudge(true),
            Some(pid) => {
                let stages = self.thread.pool.view();
                let here = stages.iter().find(|view| view.stage == Stage::WindowPost);
                if here.is_some_and(|view| view.running == 1) {
                    let why = "nobody waits for its WindowPoSt any more";
                    self.thread.pool.kill(pid, why);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::AttachedStore;
    use damocles_api::{store::SectorAccessStores, wdpost::WdPoStSector};

    #[test]
    fn sectors_are_found_by_the_names_of_their_stores() {
        let dir = tempfile::tempdir().unwrap();
        let mut attached = AttachedStores::default();
        for name in ["a", "b"] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            let store = AttachedStore::open(Some(name), &path, true);
            attached.add(store).unwrap();
        }
        let sector = |sealed: &str, cache: &str, upgrade| WdPoStSector {
            sector_id: 7,
            comm_r: [3; 32],
            upgrade,
            accesses: SectorAccessStores {
                sealed_file: sealed.to_owned(),
                cache_dir: cache.to_owned(),
            },
        };
        let input = |sectors| WdPoStInput {
            sectors,
            miner_id: 1000,
            proof_type: "StackedDrgWindow2KiBV1_2".to_owned(),
            seed: [5; 32],
        };
        let root = dir.path().canonicalize().unwrap();
        for (upgrade, sealed, cache) in [
            (false, "a/sealed/s-t01000-7", "b/cache/s-t01000-7"),
            (true, "a/update/s-t01000-7", "b/update-cache/s-t01000-7"),
        ] {
            let task = task(&input(vec![sector("a", "b", upgrade)]), &attached).unwrap();
            assert_eq!(task.replicas[0].sealed_file, root.join(sealed));
            assert_eq!(task.replicas[0].cache_dir, root.join(cache));
            assert_eq!(task.seed, [5; 32]);
        }
        let why = task(&input(vec![sector("a", "c", false)]), &attached).unwrap_err();
        assert_eq!(why, "the store \"c\" is not attached here");
        std::fs::remove_dir(root.join("b")).unwrap();
        let why = task(&input(vec![sector("a", "b", false)]), &attached).unwrap_err();
        assert!(why.contains("\"b\" is away here"), "{why}");
    }
}
