//! A child by its handle: tasks go to it and answers come back, whichever process is behind
//! it at the moment. `watch` keeps that process.

use crate::{
    parent::{
        calls::{Death, Reply},
        cancel::Cancel,
        dump::Dump,
        limits::{Sign, Watch, in_words},
        pipes::{Event, Live},
        spec::ChildSpec,
        watch::{self, PARTING},
    },
    wire::{Request, Response, line},
};
use crossbeam_channel::{never, select_biased};
use damocles_types::SectorSize;
use parking_lot::{Condvar, Mutex};
use serde_json::value::RawValue;
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How often whoever waits for a process looks whether he is called off.
const LOOK: Duration = Duration::from_millis(100);
/// What a child that is dropped may take to its end, before it is left to itself.
const PATIENCE: Duration = PARTING.saturating_add(Duration::from_secs(5));
/// Why a process was killed whose task had no answer in time.
const GIVEN_UP: &str = "its task was not done in time";

/// Where a child is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Started when needed.
    OnDemand,
    Starting,
    Up {
        pid: u32,
    },
    /// Did not start, or died; is started again.
    Down {
        reason: String,
    },
    /// Is not started again.
    Ended {
        reason: String,
    },
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChildError {
    #[error("called off before a process had the task")]
    Cancelled,
    #[error("it cannot be started: {reason}")]
    NotStartable { reason: String },
    /// The process ended, was killed or talked nonsense while the task ran.
    #[error("process {pid} was lost: {}", death.reason)]
    Died { pid: u32, death: Death },
}

/// What is heard of a task while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Started { pid: u32 },
    Progress(String),
    Doubt(String),
}

pub(super) type OnChange = Box<dyn Fn(bool) + Send + Sync>;

/// A child process by its handle; dropping it ends the process group.
pub struct Child {
    shared: Arc<Shared>,
    watcher: Option<thread::JoinHandle<()>>,
}

pub(super) struct Shared {
    pub(super) spec: ChildSpec,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Told whether the child can take work; called outside the state's lock.
    on_change: OnChange,
}

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) live: Option<Arc<Live>>,
    /// An on-demand child is asked for.
    pub(super) wanted: bool,
    pub(super) stopping: bool,
    /// Attempts to start that have ended, so that a caller can tell old news from new.
    attempts: u64,
    pub(super) restarts: u64,
}

impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Child({}, {:?})", self.name(), self.phase())
    }
}

impl Child {
    /// Starts a child; an on-demand child is not started yet.
    pub fn start(spec: ChildSpec, on_change: OnChange) -> Result<Self, ChildError> {
        let phase = match spec.on_demand {
            Some(_) => Phase::OnDemand,
            None => Phase::Starting,
        };
        let shared = Arc::new(Shared {
            spec,
            state: Mutex::new(State {
                phase,
                live: None,
                wanted: false,
                stopping: false,
                attempts: 0,
                restarts: 0,
            }),
            changed: Condvar::new(),
            on_change,
        });
        // The watcher starts the process, because the kernel's death signal to the process
        // is bound to the thread that did.
        let watched = Arc::clone(&shared);
        let watcher = thread::Builder::new()
            .name(format!("child {}", shared.spec.name))
            .spawn(move || watch::watch(&watched))
            .map_err(|error| ChildError::NotStartable {
                reason: format!("no thread to watch it: {error}"),
            })?;
        Ok(Self {
            shared,
            watcher: Some(watcher),
        })
    }

    /// Waits for the ready line of one that is started now, as long as it is wanted.
    pub(super) fn wait_until_ready(&self, unwanted: &dyn Fn() -> bool) -> Result<(), ChildError> {
        if self.shared.spec.on_demand.is_some() {
            return Ok(());
        }
        let mut state = self.shared.state.lock();
        while state.attempts == 0 {
            if unwanted() {
                return Err(ChildError::Cancelled);
            }
            self.shared.changed.wait_for(&mut state, LOOK);
        }
        match &state.phase {
            Phase::Down { reason } | Phase::Ended { reason } if state.live.is_none() => {
                Err(ChildError::NotStartable {
                    reason: reason.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    pub fn name(&self) -> &str {
        &self.shared.spec.name
    }

    pub fn phase(&self) -> Phase {
        self.shared.state.lock().phase.clone()
    }

    /// How often the process was started again.
    pub fn restarts(&self) -> u64 {
        self.shared.state.lock().restarts
    }

    /// Ends the process, with all that runs in it; another one is started then. False: there is none,
    /// or another one by now.
    pub fn kill(&self, pid: u32, reason: &str) -> bool {
        let live = self.shared.state.lock().live.clone();
        let Some(live) = live.filter(|live| live.pid == pid) else {
            return false;
        };
        let death = Death {
            reason: reason.to_owned(),
            hint: None,
        };
        live.events.send(Event::Kill(death)).is_ok()
    }

    /// Where its bad answers are kept.
    pub fn dump(&self) -> &Dump {
        &self.shared.spec.dump
    }

    /// Runs one task. Blocks until its answer, or until the child's limits are reached or a
    /// `cancel` that kills is called off: then the process is killed. Any `cancel` ends the
    /// wait for a process.
    pub(crate) fn run(
        &self,
        task: &RawValue,
        size: Option<SectorSize>,
        cancel: &Cancel,
        hears: &mut dyn FnMut(Heard),
    ) -> Result<Response, ChildError> {
        loop {
            let live = self.live(cancel)?;
            let Some((id, replies)) = live.calls.open() else {
                // it is being replaced or has just died; wait for what comes
                self.wait_while_same(&live, cancel)?;
                continue;
            };
            let text = line(&Request { id, task }).map_err(|error| ChildError::NotStartable {
                reason: format!("the task has no JSON form: {error}"),
            })?;
            hears(Heard::Started { pid: live.pid });
            // a closed stdin is that of a dying process; its watcher ends the call
            live.input.send(text);
            let never = never();
            let mut gives_up = cancel.gives_up().unwrap_or(&never);
            let mut watch = Some(Watch::new(self.shared.spec.limits.at(size), Instant::now()));
            let kill = |death| {
                // the watcher kills it and ends the call; if it is gone, it has done so
                let _ = live.events.send(Event::Kill(death));
            };
            loop {
                let now = Instant::now();
                let next = watch
                    .as_ref()
                    .map_or(PARTING, |watch| watch.next().saturating_duration_since(now));
                select_biased! {
                    recv(replies) -> reply => match reply {
                        Ok(Reply::Progress(text)) => {
                            if let Some(watch) = &mut watch {
                                watch.hears(Instant::now());
                            }
                            hears(Heard::Progress(text));
                        }
                        Ok(Reply::Doubt(text)) => hears(Heard::Doubt(text)),
                        Ok(Reply::Answer(response)) => return Ok(response),
                        Ok(Reply::Died(death)) => return Err(ChildError::Died { pid: live.pid, death }),
                        Err(_) => {
                            let reason = "its watcher ended".to_owned();
                            let death = Death { reason, hint: None };
                            return Err(ChildError::Died { pid: live.pid, death });
                        }
                    },
                    recv(gives_up) -> _ => {
                        gives_up = &never;
                        kill(Death { reason: GIVEN_UP.to_owned(), hint: None });
                    }
                    default(next) => {
                        let sign = watch.as_mut().map_or(Sign::Good, |w| w.look(Instant::now()));
                        match sign {
                            Sign::Good => {}
                            Sign::Silent(time) => {
                                hears(Heard::Doubt(format!("no sign of it for {}", in_words(time))));
                            }
                            Sign::TooLong(most) => {
                                watch = None;
                                kill(self.over("it took longer than", "longest", most));
                            }
                            Sign::TooSilent(most) => {
                                watch = None;
                                kill(self.over("there was no sign of it for", "silent", most));
                            }
                        }
                    }
                }
            }
        }
    }

    fn over(&self, what: &str, key: &str, most: Duration) -> Death {
        let stage = &self.shared.spec.stage;
        Death {
            reason: format!("its task was given up: {what} {}", in_words(most)),
            hint: Some(format!(
                "if tasks like this need more, raise `{key}` in [[processors.{stage}]], or limitation.{key}.{stage} for all"
            )),
        }
    }

    /// The running process; an on-demand child is started.
    fn live(&self, cancel: &Cancel) -> Result<Arc<Live>, ChildError> {
        let mut state = self.shared.state.lock();
        let before = state.attempts;
        loop {
            if cancel.is_cancelled() {
                return Err(ChildError::Cancelled);
            }
            if state.stopping {
                return Err(ChildError::NotStartable {
                    reason: "it is being stopped".to_owned(),
                });
            }
            if let Some(live) = &state.live {
                return Ok(Arc::clone(live));
            }
            match &state.phase {
                Phase::Ended { reason } => {
                    return Err(ChildError::NotStartable {
                        reason: reason.clone(),
                    });
                }
                Phase::Down { reason } if state.attempts > before => {
                    return Err(ChildError::NotStartable {
                        reason: reason.clone(),
                    });
                }
                _ => {}
            }
            if !state.wanted {
                state.wanted = true;
                self.shared.changed.notify_all();
            }
            self.shared.changed.wait_for(&mut state, LOOK);
        }
    }

    fn wait_while_same(&self, live: &Arc<Live>, cancel: &Cancel) -> Result<(), ChildError> {
        let mut state = self.shared.state.lock();
        while !state.stopping && state.live.as_ref().is_some_and(|l| Arc::ptr_eq(l, live)) {
            if cancel.is_cancelled() {
                return Err(ChildError::Cancelled);
            }
            self.shared.changed.wait_for(&mut state, LOOK);
        }
        Ok(())
    }

    /// Closes the child's stdin so that it ends by itself; dropping the handle still waits.
    pub(super) fn part(&self) {
        let live = {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            state.live.clone()
        };
        self.shared.changed.notify_all();
        if let Some(live) = live {
            let _ = live.events.send(Event::Look);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.part();
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock();
        while !state.is_over() {
            let late = self.shared.changed.wait_until(&mut state, until);
            if late.timed_out() && !state.is_over() {
                // it hangs where its program is read from; it must not hold us up as well
                tracing::error!(
                    child = self.name(),
                    "it does not stop; it is left to itself"
                );
                return;
            }
        }
        drop(state);
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            tracing::error!(child = self.name(), "the thread that watched it panicked");
        }
    }
}

impl State {
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    pub(super) fn set_live(&self, live: &Arc<Live>) {
        let mut state = self.state.lock();
        state.attempts += 1;
        state.phase = Phase::Up { pid: live.pid };
        state.live = Some(Arc::clone(live));
        // whoever asked has it now; it must not be started again for that when it ends
        state.wanted = false;
        drop(state);
        self.changed.notify_all();
        (self.on_change)(true);
    }

    /// The process is gone. An on-demand child that ended as it should is simply idle again.
    pub(super) fn set_down(&self, reason: &str, wished: bool) {
        let mut state = self.state.lock();
        if state.live.take().is_none() {
            state.attempts += 1;
        }
        state.phase = match self.spec.on_demand {
            Some(_) if wished => Phase::OnDemand,
            _ => Phase::Down {
                reason: reason.to_owned(),
            },
        };
        drop(state);
        self.changed.notify_all();
        // an on-demand child can always take work: taking it starts it
        if self.spec.on_demand.is_none() {
            (self.on_change)(false);
        }
    }

    /// It is not started again, whatever happens.
    pub(super) fn set_ended(&self, reason: String) {
        let mut state = self.state.lock();
        state.attempts += 1;
        state.phase = Phase::Ended { reason };
        state.live = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until it is to stop, but not longer than that; whether it is.
    pub(super) fn stops_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.stopping && !self.changed.wait_until(&mut state, until).timed_out() {}
        state.stopping
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
