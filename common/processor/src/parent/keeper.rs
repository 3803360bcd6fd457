//! A child by its handle, and the thread that watches it: given requests, ended when it is
//! idle, retired or not wanted, started again for ever when it dies.

use crate::{
    parent::{
        calls::Reply,
        child::{Process, launch},
        pipes::{Event, Live},
        spec::ChildSpec,
    },
    wire::{Request, Response, line},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, never, select};
use parking_lot::{Condvar, Mutex};
use serde_json::value::RawValue;
use std::{
    convert::Infallible,
    io::{self, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Pause before the first restart (upstream's) and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A child that lived this long starts again after the first pause.
const STEADY: Duration = Duration::from_secs(60);
/// How long a child whose stdin was closed may take to end by itself.
const PARTING: Duration = Duration::from_secs(5);
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildError {
    NotStartable {
        reason: String,
    },
    /// The process ended or talked nonsense while the task ran.
    Died {
        pid: u32,
        reason: String,
    },
}

type OnChange = Box<dyn Fn(bool) + Send + Sync>;

/// A child process by its handle; dropping it kills the process group and waits for its end.
pub struct Child {
    shared: Arc<Shared>,
    watcher: Option<thread::JoinHandle<()>>,
}

struct Shared {
    spec: ChildSpec,
    state: Mutex<State>,
    changed: Condvar,
    /// Told whether the child can take work; called outside the state's lock.
    on_change: OnChange,
}

struct State {
    phase: Phase,
    live: Option<Arc<Live>>,
    /// An on-demand child is asked for.
    wanted: bool,
    stopping: bool,
    /// Attempts to start that have ended, so that a caller can tell old news from new.
    attempts: u64,
    restarts: u64,
}

impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Child({}, {:?})", self.name(), self.phase())
    }
}

impl Child {
    /// Starts a child and waits for its ready line; an on-demand child is not started yet.
    pub fn start(spec: ChildSpec, on_change: OnChange) -> Result<Self, ChildError> {
        let on_demand = spec.on_demand.is_some();
        let phase = if on_demand {
            Phase::OnDemand
        } else {
            Phase::Starting
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
            .spawn(move || watch(&watched))
            .map_err(|error| ChildError::NotStartable {
                reason: format!("no thread to watch it: {error}"),
            })?;
        let child = Self {
            shared,
            watcher: Some(watcher),
        };
        if on_demand {
            return Ok(child);
        }
        let mut state = child.shared.state.lock();
        child
            .shared
            .changed
            .wait_while(&mut state, |s| s.attempts == 0);
        let failed = match &state.phase {
            Phase::Down { reason } | Phase::Ended { reason } if state.live.is_none() => {
                Some(reason.clone())
            }
            _ => None,
        };
        drop(state);
        match failed {
            Some(reason) => Err(ChildError::NotStartable { reason }),
            None => Ok(child),
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

    /// Runs one task. Blocks until its answer, however long that takes, or until `give_up`
    /// closes: then the process is killed. `on_start` is told the pid, `on_progress` what the
    /// child says meanwhile.
    pub fn run(
        &self,
        task: &RawValue,
        give_up: Option<&Receiver<Infallible>>,
        on_start: &mut dyn FnMut(u32),
        on_progress: &mut dyn FnMut(String),
    ) -> Result<Response, ChildError> {
        loop {
            let live = self.live()?;
            let Some((id, replies)) = live.calls.open() else {
                // it is being replaced or has just died; wait for what comes
                self.wait_while_same(&live);
                continue;
            };
            let text = line(&Request { id, task }).map_err(|error| ChildError::NotStartable {
                reason: format!("the task has no JSON form: {error}"),
            })?;
            on_start(live.pid);
            let written = match live.stdin.lock().as_mut() {
                Some(stdin) => stdin
                    .write_all(text.as_bytes())
                    .and_then(|()| stdin.flush()),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            };
            if let Err(error) = written {
                tracing::debug!(child = self.name(), "stdin: {error}");
                // closed stdin means a dying process; its watcher ends the call with the reason
                let _ = live
                    .events
                    .try_send(Event::Closed(format!("its stdin broke: {error}")));
            }
            drop(text);
            let never = never();
            let mut give_up = give_up.unwrap_or(&never);
            let died = |reason| {
                Err(ChildError::Died {
                    pid: live.pid,
                    reason,
                })
            };
            loop {
                select! {
                    recv(replies) -> reply => match reply {
                        Ok(Reply::Progress(text)) => on_progress(text),
                        Ok(Reply::Answer(response)) => return Ok(response),
                        Ok(Reply::Died(reason)) => return died(reason),
                        Err(_) => return died("its watcher ended".to_owned()),
                    },
                    recv(give_up) -> _ => {
                        give_up = &never;
                        // the watcher kills it and ends the call; if it is gone, it has done so
                        let _ = live.events.send(Event::Closed(GIVEN_UP.to_owned()));
                    }
                }
            }
        }
    }

    /// The running process; an on-demand child is started.
    fn live(&self) -> Result<Arc<Live>, ChildError> {
        let mut state = self.shared.state.lock();
        let before = state.attempts;
        loop {
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
            state.wanted = true;
            self.shared.changed.notify_all();
            self.shared.changed.wait(&mut state);
        }
    }

    fn wait_while_same(&self, live: &Arc<Live>) {
        let mut state = self.shared.state.lock();
        self.shared.changed.wait_while(&mut state, |s| {
            !s.stopping && s.live.as_ref().is_some_and(|l| Arc::ptr_eq(l, live))
        });
    }

    /// Closes the child's stdin so that it ends by itself; dropping the handle still waits.
    pub fn part(&self) {
        let live = {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            state.live.clone()
        };
        self.shared.changed.notify_all();
        if let Some(live) = live {
            let _ = live.events.try_send(Event::Look);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.part();
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            tracing::error!(child = self.name(), "the thread that watched it panicked");
        }
    }
}

/// The watcher's life: start, attend, reap, pause, again.
fn watch(shared: &Arc<Shared>) {
    let spec = &shared.spec;
    let mut pause = FIRST_PAUSE;
    let reason = loop {
        {
            let mut state = shared.state.lock();
            if spec.on_demand.is_some() {
                shared
                    .changed
                    .wait_while(&mut state, |s| !s.wanted && !s.stopping);
            }
            if state.stopping {
                break "stopped".to_owned();
            }
            state.wanted = false;
            state.phase = Phase::Starting;
        }
        let born = Instant::now();
        let (reason, quietly) = match launch(spec, &|| shared.state.lock().stopping) {
            Ok(process) => {
                shared.set_live(&process.live);
                let live = Arc::clone(&process.live);
                let end = attend(shared, process);
                // down first: a caller that hears of it and comes again must not get it again
                shared.set_down(&end.reason, end.wished);
                live.calls.fail(&end.reason);
                (end.reason, end.wished)
            }
            Err(reason) => {
                tracing::warn!(child = spec.name, "not started: {reason}");
                shared.set_down(&reason, false);
                (reason, false)
            }
        };
        if spec.on_demand.is_some() || (quietly && spec.auto_restart) {
            continue;
        }
        if !spec.auto_restart {
            break reason;
        }
        if born.elapsed() > STEADY {
            pause = FIRST_PAUSE;
        }
        let mut state = shared.state.lock();
        let until = Instant::now() + pause;
        while !state.stopping && !shared.changed.wait_until(&mut state, until).timed_out() {}
        state.restarts += 1;
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    let mut state = shared.state.lock();
    state.attempts += 1;
    state.phase = Phase::Ended { reason };
    drop(state);
    shared.changed.notify_all();
}

impl Shared {
    fn set_live(&self, live: &Arc<Live>) {
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
    fn set_down(&self, reason: &str, wished: bool) {
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
}

struct End {
    reason: String,
    /// We wanted it to end: idle, retired or stopping.
    wished: bool,
}

/// Watches a running process until it is gone.
fn attend(shared: &Shared, process: Process) -> End {
    let spec = &shared.spec;
    let tick = spec
        .on_demand
        .map_or(Duration::from_secs(3600), |idle| idle / 4);
    let mut parting: Option<(Instant, &'static str)> = None;
    let reason = loop {
        let wait = parting.map_or(tick, |(until, _)| {
            until.saturating_duration_since(Instant::now())
        });
        match process.events.recv_timeout(wait) {
            Ok(Event::Closed(reason)) => {
                process.settle();
                break reason;
            }
            Ok(Event::Ready | Event::Look) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break "its reader ended".to_owned(),
        }
        if let Some((until, _)) = parting {
            if Instant::now() >= until {
                break "it did not end when its stdin was closed".to_owned();
            }
            continue;
        }
        let why = if shared.state.lock().stopping {
            process.live.calls.close();
            Some("stopped")
        } else if process.live.calls.close_if_retired() {
            Some("replaced")
        } else if spec
            .on_demand
            .is_some_and(|idle| process.live.calls.close_if_idle(idle))
        {
            Some("idle")
        } else {
            None
        };
        if let Some(why) = why {
            drop(process.live.stdin.lock().take());
            parting = Some((Instant::now() + PARTING, why));
        }
    };
    let pid = process.live.pid;
    let reason = process.end(spec, reason);
    match parting {
        Some((_, why)) => {
            tracing::info!(child = spec.name, pid, "ended: {why}");
            End {
                reason,
                wished: true,
            }
        }
        None => {
            tracing::warn!(child = spec.name, pid, "died: {reason}");
            End {
                reason,
                wished: false,
            }
        }
    }
}
