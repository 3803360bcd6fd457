//! All stages' children and the queue before them. `Pool::run` is a blocking call for a
//! sealing thread: it waits for its turn, hands the task to a child and waits for the answer.

use crate::{
    config::Processors,
    kind::Stage,
    parent::{
        cancel::Cancel,
        error::ProcessorError,
        keeper::{Child, ChildError, Heard, Phase},
        slots::{ChildSlots, Lock, Scheduler, StageSlots, Start, Ticket, Wait},
        spec::{ChildSpec, StartOptions, daemon_spec, plan},
        start::{Asked, clear_leftovers, start_all},
    },
    task::Task,
    wire::Response,
};
use crossbeam_channel::{Sender, bounded, select_biased};
use damocles_types::{Level, SectorSize};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// A waiting task looks again at least this often, so that what it reports stays true.
const LOOK: Duration = Duration::from_secs(1);

/// What happens to a task meanwhile, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Waits, in words: "the lock gpu", "3 tasks that came first".
    Waiting(String),
    Running {
        child: String,
        pid: u32,
    },
    /// What the child says about its progress, at the moment when it is heard.
    Progress(String),
    /// What makes one doubt that the task goes on: the process is stopped by a signal, or has
    /// told nothing for long after it had told of its progress. Until the next word of it.
    Doubt(String),
    /// The task has ended, well or not, and this implementation computed it.
    Kernel(String),
}

/// A finished task with its times.
#[derive(Clone, Debug)]
pub struct Outcome<T> {
    pub output: T,
    pub queued_at: SystemTime,
    pub started_at: SystemTime,
    pub ended_at: SystemTime,
    /// From `queued_at` to `started_at`, by a clock that nobody sets.
    pub waited: Duration,
    pub ran: Duration,
    /// `pc1-0`.
    pub child: String,
    pub pid: u32,
}

/// One child as an operator sees it.
#[derive(Clone, Debug)]
pub struct ChildView {
    pub name: String,
    pub phase: Phase,
    pub restarts: u64,
    /// Where its bad answers are kept.
    pub dump: Option<PathBuf>,
}

/// One stage as an operator sees it.
#[derive(Clone, Debug)]
pub struct StageView {
    pub stage: Stage,
    pub waiting: usize,
    pub running: u32,
    pub children: Vec<ChildView>,
}

/// The pool; clones share it. The last one dropped kills all children.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    board: Arc<Board>,
    children: BTreeMap<Stage, Vec<Child>>,
    /// Only kept running.
    daemons: Vec<Child>,
}

impl Drop for Inner {
    /// All are told first, so that they end side by side; each is waited for then.
    fn drop(&mut self) {
        let children = self.children.values().flatten();
        children.chain(&self.daemons).for_each(Child::part);
    }
}

/// Queues and slots, and who waits for them.
#[derive(Debug)]
struct Board(Mutex<BoardState>);

#[derive(Debug)]
struct BoardState {
    scheduler: Scheduler,
    waiting: BTreeMap<Ticket, Sender<Start>>,
}

impl Board {
    fn look(&self, change: impl FnOnce(&mut Scheduler)) {
        let mut state = self.0.lock();
        change(&mut state.scheduler);
        for start in state.scheduler.start(Instant::now()) {
            if let Some(caller) = state.waiting.remove(&start.ticket) {
                // one slot and one message: this cannot block, and a caller that has just
                // been called off gives the slot back itself
                let _ = caller.send(start);
            }
        }
    }
}

/// A place in the queue, then a slot; given back when dropped.
struct Lease<'a> {
    board: &'a Board,
    ticket: Ticket,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.board.0.lock();
        state.waiting.remove(&self.ticket);
        drop(state);
        self.board.look(|scheduler| {
            if !scheduler.cancel(self.ticket) {
                scheduler.finish(self.ticket);
            }
        });
    }
}

impl Pool {
    /// Starts the configured children of these stages and waits until each is ready. A stage
    /// without children gets one default child, which is started when it is first needed.
    pub fn start(
        stages: &[Stage],
        config: &Processors,
        options: &StartOptions,
    ) -> Result<Self, ProcessorError> {
        let names: Vec<_> = config.locks.keys().cloned().collect();
        let locks = config.locks.iter().map(|(name, holders)| Lock {
            name: name.clone(),
            holders: holders.get(),
        });
        let plans: BTreeMap<Stage, Vec<(ChildSpec, ChildSlots)>> = stages
            .iter()
            .map(|stage| (*stage, plan(*stage, config, &names, options)))
            .collect();
        let slots = plans.iter().map(|(stage, children)| {
            let limits = config.stages.get(stage);
            let slots = StageSlots {
                concurrent: limits.and_then(|l| l.concurrent).map(|n| n.get()),
                staggered: limits.and_then(|l| l.staggered),
                children: children.iter().map(|(_, slots)| slots.clone()).collect(),
            };
            (*stage, slots)
        });
        let board = Arc::new(Board(Mutex::new(BoardState {
            scheduler: Scheduler::new(slots.collect(), locks.collect()),
            waiting: BTreeMap::new(),
        })));

        let mut asked: Vec<Asked> = Vec::new();
        for (stage, plan) in plans {
            for (index, (spec, _)) in plan.into_iter().enumerate() {
                let told = Arc::clone(&board);
                asked.push(Asked {
                    of: Some(stage),
                    spec,
                    on_change: Box::new(move |up| told.look(|s| s.set_up(stage, index, up))),
                });
            }
        }
        for (index, daemon) in config.daemons.iter().enumerate() {
            asked.push(Asked {
                of: None,
                spec: daemon_spec(daemon, index, options),
                on_change: Box::new(|_| {}),
            });
        }
        clear_leftovers(&asked);
        let mut children: BTreeMap<Stage, Vec<Child>> = BTreeMap::new();
        let mut daemons = Vec::new();
        let started = start_all(asked, &options.stop).map_err(|(of, error)| {
            not_startable(of.map_or("sealing_daemons", Stage::name), error)
        })?;
        for (of, child) in started {
            match of {
                Some(stage) => children.entry(stage).or_default().push(child),
                None => daemons.push(child),
            }
        }
        Ok(Self(Arc::new(Inner {
            board,
            children,
            daemons,
        })))
    }

    /// Runs a task: waits for the stage's limits, a free child and its locks, then for the
    /// answer. Blocks the calling thread all the while; `cancel` ends the waiting only, unless
    /// it kills.
    pub fn run<T: Task>(
        &self,
        task: &T,
        cancel: &Cancel,
        observer: &mut dyn FnMut(Note),
    ) -> Result<Outcome<T::Output>, ProcessorError> {
        self.run_text::<T, _>(|| text_of(task), cancel, observer)
    }

    /// The same for a task that is made when its turn has come: waiting may take hours, and
    /// what was true before may not be true then. The slot is held while `make` works; an
    /// error of `make` gives it back.
    pub fn run_with<T: Task, E: From<ProcessorError>>(
        &self,
        make: impl FnOnce() -> Result<T, E>,
        cancel: &Cancel,
        observer: &mut dyn FnMut(Note),
    ) -> Result<Outcome<T::Output>, E> {
        self.run_text::<T, E>(|| Ok(text_of(&make()?)?), cancel, observer)
    }

    fn run_text<T: Task, E: From<ProcessorError>>(
        &self,
        make: impl FnOnce() -> Result<(Box<RawValue>, Option<SectorSize>), E>,
        cancel: &Cancel,
        observer: &mut dyn FnMut(Note),
    ) -> Result<Outcome<T::Output>, E> {
        let stage = T::STAGE;
        let queued = Instant::now();
        let queued_at = SystemTime::now();
        let (start, lease) = self.wait(stage, cancel, observer)?;
        let child = self
            .0
            .children
            .get(&stage)
            .and_then(|children| children.get(start.child))
            .ok_or(ProcessorError::NoStage { stage })?;
        let (task, size) = make()?;

        let mut started = Instant::now();
        let mut started_at = SystemTime::now();
        let mut ran_in = 0;
        let answer = child.run(&task, size, cancel, &mut |heard| {
            observer(match heard {
                Heard::Started { pid } => {
                    ran_in = pid;
                    started = Instant::now();
                    started_at = SystemTime::now();
                    Note::Running {
                        child: child.name().to_owned(),
                        pid,
                    }
                }
                Heard::Progress(text) => Note::Progress(text),
                Heard::Doubt(text) => Note::Doubt(text),
            });
        });
        let ran = started.elapsed();
        drop(lease);
        let answer = answer.map_err(|error| not_done(stage, child.name(), error))?;
        if let Some(kernel) = &answer.kernel {
            observer(Note::Kernel(kernel.clone()));
        }
        Ok(Outcome {
            output: output(stage, answer).map_err(|(error, said)| {
                if let Some(said) = said {
                    child.dump().keep(child.name(), ran_in, said.as_bytes());
                }
                error
            })?,
            queued_at,
            started_at,
            ended_at: SystemTime::now(),
            waited: started.duration_since(queued),
            ran,
            child: child.name().to_owned(),
            pid: ran_in,
        })
    }

    /// Stands in the queue until a child is ours.
    fn wait(
        &self,
        stage: Stage,
        cancel: &Cancel,
        observer: &mut dyn FnMut(Note),
    ) -> Result<(Start, Lease<'_>), ProcessorError> {
        if cancel.is_cancelled() {
            return Err(ProcessorError::Cancelled);
        }
        let board = &*self.0.board;
        let (sender, mine) = bounded(1);
        let ticket = {
            let mut state = board.0.lock();
            let ticket = state
                .scheduler
                .enqueue(stage)
                .ok_or(ProcessorError::NoStage { stage })?;
            state.waiting.insert(ticket, sender);
            ticket
        };
        let lease = Lease { board, ticket };
        let mut told = String::new();
        loop {
            board.look(|_| ());
            let (wait, next) = {
                let now = Instant::now();
                let state = board.0.lock();
                let wake = state
                    .scheduler
                    .wake_at(now)
                    .map_or(LOOK, |at| at.duration_since(now));
                (state.scheduler.waits_for(ticket, now), wake.min(LOOK))
            };
            if wait == Some(Wait::NoChild)
                && let Some(reason) = self.all_ended(stage)
            {
                let name = stage.name().to_owned();
                return Err(ProcessorError::NotStartable { name, reason });
            }
            if let Some(wait) = wait {
                let text = self.in_words(stage, &wait);
                if text != told {
                    told.clone_from(&text);
                    observer(Note::Waiting(text));
                }
            }
            // whoever was called off begins nothing, even if his turn came as well
            select_biased! {
                recv(cancel.called_off()) -> _ => return Err(ProcessorError::Cancelled),
                recv(mine) -> start => {
                    return start.map(|start| (start, lease)).map_err(|_| ProcessorError::Cancelled);
                }
                default(next) => {}
            }
        }
    }

    /// The reason, when no child of the stage will ever come up again.
    fn all_ended(&self, stage: Stage) -> Option<String> {
        let mut reasons = self
            .0
            .children
            .get(&stage)?
            .iter()
            .map(|child| match child.phase() {
                Phase::Ended { reason } => Some(reason),
                _ => None,
            });
        let first = reasons.next()??;
        reasons.all(|reason| reason.is_some()).then_some(first)
    }

    fn in_words(&self, stage: Stage, wait: &Wait) -> String {
        match wait {
            Wait::Turn { ahead: 1 } => "its turn (one came first)".to_owned(),
            Wait::Turn { ahead } => format!("its turn ({ahead} came first)"),
            Wait::Limit { limit: 1 } => format!("the only {stage} that may run at once"),
            Wait::Limit { limit } => format!("one of the {limit} {stage} that may run at once"),
            Wait::Stagger { .. } => format!("the pause between two {stage} starts"),
            Wait::Child => format!("a free {stage} process"),
            Wait::NoChild => {
                let children = self.0.children.get(&stage);
                let reason = children
                    .into_iter()
                    .flatten()
                    .find_map(|child| match child.phase() {
                        Phase::Down { reason } => Some(reason),
                        _ => None,
                    });
                match reason {
                    Some(reason) => format!("a {stage} process to come up again ({reason})"),
                    None => format!("a {stage} process to come up"),
                }
            }
            Wait::Lock { names } if names.len() == 1 => format!("the lock {}", names[0]),
            Wait::Lock { names } => format!("one of the locks {}", names.join(", ")),
            Wait::Unknown => format!("a {stage} process, but none is configured"),
        }
    }

    /// Ends the child with that process and all that runs in it: its tasks fail for now, and another
    /// process takes their place. False: no child has it.
    pub fn kill(&self, pid: u32, reason: &str) -> bool {
        let mut children = self.0.children.values().flatten();
        children.any(|child| child.kill(pid, reason))
    }

    /// Keeps the bad answers of a child in a directory, or (none) no more. The child by its name, or by the
    /// id of its present process; false: there is no such child.
    pub fn dump(&self, child: &str, dir: Option<PathBuf>) -> bool {
        let pid = child.parse::<u32>().ok();
        let mut children = self.0.children.values().flatten();
        let found = children.find(|known| {
            let lives = matches!(known.phase(), Phase::Up { pid: now } if Some(now) == pid);
            known.name() == child || lives
        });
        if let Some(found) = found {
            found.dump().set(dir);
        }
        found.is_some()
    }

    /// The stages and their children, for lists.
    pub fn view(&self) -> Vec<StageView> {
        let counts: Vec<(usize, u32)> = {
            let state = self.0.board.0.lock();
            self.0
                .children
                .keys()
                .map(|stage| state.scheduler.counts(*stage))
                .collect()
        };
        let stages = self.0.children.iter().zip(counts);
        stages
            .map(|((stage, children), (waiting, running))| StageView {
                stage: *stage,
                waiting,
                running,
                children: children
                    .iter()
                    .map(|child| ChildView {
                        name: child.name().to_owned(),
                        phase: child.phase(),
                        restarts: child.restarts(),
                        dump: child.dump().dir(),
                    })
                    .collect(),
            })
            .collect()
    }
}

fn not_done(stage: Stage, child: &str, error: ChildError) -> ProcessorError {
    match error {
        ChildError::Died { pid, death } => ProcessorError::ChildDied {
            stage,
            child: child.to_owned(),
            pid,
            reason: death.reason,
            hint: death.hint,
        },
        other => not_startable(stage.name(), other),
    }
}

/// The output, or why there is none; with what was said, where that is no answer to the task.
fn output<T: serde::de::DeserializeOwned>(
    stage: Stage,
    answer: Response,
) -> Result<T, (ProcessorError, Option<String>)> {
    if let Some(message) = answer.err_msg {
        let error = ProcessorError::Task {
            stage,
            message,
            level: answer.err_level.unwrap_or(Level::Permanent),
            hint: answer.hint,
        };
        return Err((error, None));
    }
    let bad = |reason: String| ProcessorError::BadOutput { stage, reason };
    let Some(text) = answer.output else {
        let reason = "neither an output nor an error".to_owned();
        return Err((bad(reason), Some("null".to_owned())));
    };
    serde_json::from_str(text.get())
        .map_err(|error| (bad(error.to_string()), Some(text.get().to_owned())))
}

/// The task as the child reads it, and the size of its sector.
fn text_of<T: Task>(task: &T) -> Result<(Box<RawValue>, Option<SectorSize>), ProcessorError> {
    let text =
        serde_json::value::to_raw_value(task).map_err(|error| ProcessorError::BadOutput {
            stage: T::STAGE,
            reason: format!("the task has no JSON form: {error}"),
        })?;
    Ok((text, task.sector_size()))
}

fn not_startable(name: &str, error: ChildError) -> ProcessorError {
    let reason = match error {
        ChildError::Cancelled => return ProcessorError::Cancelled,
        ChildError::NotStartable { reason } => reason,
        ChildError::Died { death, .. } => death.reason,
    };
    ProcessorError::NotStartable {
        name: name.to_owned(),
        reason,
    }
}
