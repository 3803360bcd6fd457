//! One child process and the thread that watches it: started, ready within its time, given
//! requests, killed with its whole process group and reaped, started again for ever. The
//! only file of the house that starts processes.

use crate::{
    kind::ready_line,
    parent::{
        calls::{Calls, Reply},
        pipes::{Event, Live, spawn_stderr, spawn_stdout},
        spec::ChildSpec,
    },
    pin::{CGROUP_ROOT, cgroup},
    wire::{Request, Response, line},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::{Condvar, Mutex};
use serde_json::value::RawValue;
use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Pause before the first restart (upstream's) and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A child that lived this long starts again after the first pause.
const STEADY: Duration = Duration::from_secs(60);
/// How long a process may take from the end of its stdout to its own end.
const SETTLE: Duration = Duration::from_millis(500);
/// How often a starting child's handle is asked whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// How long a child whose stdin was closed may take to end by itself.
const PARTING: Duration = Duration::from_secs(5);

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

    /// Runs one task. Blocks until its answer, however long that takes. `on_start` is told
    /// the pid, `on_progress` what the child says meanwhile.
    pub fn run(
        &self,
        task: &RawValue,
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
            for reply in replies {
                match reply {
                    Reply::Progress(text) => on_progress(text),
                    Reply::Answer(response) => return Ok(response),
                    Reply::Died(reason) => {
                        return Err(ChildError::Died {
                            pid: live.pid,
                            reason,
                        });
                    }
                }
            }
            return Err(ChildError::Died {
                pid: live.pid,
                reason: "its watcher ended".to_owned(),
            });
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
        let (reason, quietly) = match launch(shared) {
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

struct Process {
    live: Arc<Live>,
    child: std::process::Child,
    events: Receiver<Event>,
    /// Disconnects when stderr is read to its end.
    stderr: Option<Receiver<()>>,
}

/// Starts the process and waits for its ready line. Kills it when that does not come, or
/// when nobody wants it any more.
fn launch(shared: &Shared) -> Result<Process, String> {
    let spec = &shared.spec;
    #[expect(clippy::disallowed_methods, reason = "this is the one door")]
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if !spec.environment.inherit {
        command.env_clear();
    }
    command.envs(&spec.environment.set);
    let mut child = command
        .spawn()
        .map_err(|error| format!("{} cannot be run: {error}", spec.program.display()))?;
    // room for the few events of one life; a full channel loses a `Look` only
    let (sender, events) = bounded(16);
    let live = Arc::new(Live {
        pid: child.id(),
        stdin: Mutex::new(child.stdin.take()),
        calls: Calls::default(),
        events: sender,
        last_words: Mutex::default(),
    });
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut process = Process {
        live,
        child,
        events,
        stderr: None,
    };
    let read = stdout.map_or(Ok(()), |out| {
        spawn_stdout(spec, Arc::clone(&process.live), out)
    });
    let log = stderr
        .map(|err| spawn_stderr(spec, Arc::clone(&process.live), err))
        .transpose();
    match (read, log) {
        (Ok(()), Ok(done)) => process.stderr = done,
        (Err(error), _) | (_, Err(error)) => {
            return Err(process.end(spec, format!("no thread to read from it: {error}")));
        }
    }
    let until = Instant::now() + spec.stable_wait;
    loop {
        match process
            .events
            .recv_timeout(until.saturating_duration_since(Instant::now()).min(LOOK))
        {
            Ok(Event::Ready) => {
                tracing::info!(child = spec.name, pid = process.live.pid, "ready");
                return Ok(process);
            }
            Ok(Event::Closed(reason)) => {
                process.settle();
                return Err(process.end(spec, reason));
            }
            Ok(Event::Look) | Err(_) => {}
        }
        if shared.state.lock().stopping {
            return Err(process.end(spec, "stopped while it started".to_owned()));
        }
        if Instant::now() >= until {
            let wait = spec.stable_wait.as_secs_f32();
            let reason = format!(
                "it did not say {:?} within {wait} s",
                ready_line(&spec.stage)
            );
            return Err(process.end(spec, reason));
        }
    }
}

impl Process {
    /// A process that closes its stdout is mostly about to end. It gets a moment for that, so
    /// that the reason told is its own and not our signal.
    fn settle(&self) {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let Some(pid) = i32::try_from(self.live.pid).ok().and_then(Pid::from_raw) else {
            return;
        };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let until = Instant::now() + SETTLE;
        while matches!(waitid(WaitId::Pid(pid), look), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the group and reaps. Returns the whole reason.
    fn end(mut self, spec: &ChildSpec, reason: String) -> String {
        self.live.calls.close();
        drop(self.live.stdin.lock().take());
        let pid = i32::try_from(self.live.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(group) = pid {
            // The leader is not reaped yet, so the number cannot be anybody else's. Those
            // that it started itself go with it.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let status = self.child.wait();
        if let Some(name) = &spec.cgroup
            && let Err(error) = cgroup::remove(Path::new(CGROUP_ROOT), name)
        {
            tracing::debug!(child = spec.name, "its cgroup {name} stays: {error}");
        }
        if let Some(stderr) = &self.stderr {
            // what it wrote last is often why it died; it is in the pipe already
            let _ = stderr.recv_timeout(Duration::from_millis(500));
        }
        let words = self
            .live
            .last_words
            .lock()
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(" | ");
        let mut text = reason;
        if let Ok(status) = status {
            text = format!("{text}; {}", describe(status));
        }
        if !words.is_empty() {
            text = format!("{text}; last lines: {words}");
        }
        text
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
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
