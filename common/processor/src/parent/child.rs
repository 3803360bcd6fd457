//! One child process: started, ready within its time, killed with its whole process group
//! and reaped. The only file of the house that starts processes; it does not start them again.
//!
//! Nothing here waits for a process longer than a moment. One that hangs in the kernel (a dead
//! disk, a dead file server) does not end when it is killed; a thread of its own waits for it.

use crate::{
    kind::ready_line,
    parent::{
        calls::Death,
        leftovers::{CHILD_OF_ENV, Mark},
        limits::later,
        pipes::{Event, Live, spawn_stderr, spawn_stdin, spawn_stdout},
        spec::ChildSpec,
    },
    pin::{CGROUP_ROOT, cgroup},
    sys,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How long a process may take from the end of its stdout to its own end, and from its
/// kill to its end, before those who wait for it are told.
const SETTLE: Duration = Duration::from_millis(500);
/// How often it is asked whether a starting process is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// How a process group is killed; a test's may fail to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill(pub(super) fn(Pid));

impl Default for Kill {
    fn default() -> Self {
        Self(|group| {
            let _ = kill_process_group(group, Signal::KILL);
        })
    }
}

/// A running process that nobody has reaped yet. Dropping it kills it.
pub(super) struct Process {
    pub(super) live: Arc<Live>,
    /// Taken when it is reaped.
    child: Option<std::process::Child>,
    pub(super) events: Receiver<Event>,
    /// Disconnects when stderr is read to its end.
    stderr: Option<Receiver<()>>,
    name: String,
    kill: Kill,
    cgroup: Option<String>,
    /// The group whose killings tell whether one was for memory, and how many there were before.
    watched: Option<(String, u64)>,
}

/// What has become of a process that was ended.
pub(super) struct Ended {
    pub(super) death: Death,
    /// Gives its status once it has ended, or is closed; none when it has ended already.
    reaped: Option<Receiver<Exit>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
struct Exit {
    status: ExitStatus,
    /// The kernel has killed it, or something of its group, for memory.
    for_memory: bool,
}

/// A process as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Runs,
    /// Stopped by a signal; it lives but does nothing.
    Stands,
    Over,
}

/// Starts the process and waits for its ready line. Kills it when that does not come, or
/// when nobody wants it any more. To be called by the thread that will outlive the process:
/// the kernel kills it when that thread ends.
pub(super) fn launch(spec: &ChildSpec, unwanted: &dyn Fn() -> bool) -> Result<Process, Ended> {
    #[expect(clippy::disallowed_methods, reason = "this is the one door")]
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(name) = &spec.called {
        command.arg0(name);
    }
    if !spec.environment.inherit {
        command.env_clear();
    }
    if let Some(mark) = Mark::own() {
        command.env(CHILD_OF_ENV, mark.to_string());
    }
    command.envs(&spec.environment.set);
    // Programs of others do not ask for it themselves, and one that went on writing after
    // this daemon was killed would write into what the next daemon's child is writing.
    sys::die_with_this_thread(&mut command);
    let mut child = command.spawn().map_err(|error| {
        let program = spec.called.as_ref().unwrap_or(&spec.program);
        Ended::before_it_began(format!("{} cannot be run: {error}", program.display()))
    })?;
    let (live, events, lines) = Live::new(child.id());
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut process = Process {
        live,
        child: Some(child),
        events,
        stderr: None,
        name: spec.name.clone(),
        kill: spec.kill,
        cgroup: spec.cgroup.clone(),
        watched: watched(spec.cgroup.as_deref()),
    };
    let live = &process.live;
    let write = stdin.map_or(Ok(()), |stdin| spawn_stdin(spec, live, lines, stdin));
    let read = stdout.map_or(Ok(()), |out| spawn_stdout(spec, Arc::clone(live), out));
    let log = stderr.map(|err| spawn_stderr(spec, Arc::clone(live), err));
    match write.and(read).and_then(|()| log.transpose()) {
        Ok(done) => process.stderr = done,
        Err(error) => {
            return Err(process.end(Event::closed(format!("no thread for its pipes: {error}"))));
        }
    }
    let until = later(Instant::now(), spec.stable_wait);
    loop {
        match process
            .events
            .recv_timeout(until.saturating_duration_since(Instant::now()).min(LOOK))
        {
            Ok(Event::Ready) => {
                let (child, pid) = (&spec.name, process.live.pid);
                match spec.on_demand {
                    // comes and goes with the tasks
                    Some(_) => tracing::debug!(child, pid, "ready"),
                    None => tracing::info!(child, pid, "ready"),
                }
                return Ok(process);
            }
            Ok(closed @ Event::Closed(_)) => {
                process.settle();
                return Err(process.end(closed));
            }
            Ok(Event::Look | Event::Kill(_)) | Err(_) => {}
        }
        if unwanted() {
            return Err(process.end(Event::closed("stopped while it started")));
        }
        if process.life() == Life::Over && process.events.is_empty() {
            return Err(process.end(Event::closed("it ended before it was ready")));
        }
        if Instant::now() >= until {
            let wait = spec.stable_wait.as_secs_f32();
            let ready = ready_line(&spec.stage);
            let reason = format!("it did not say {ready:?} within {wait} s");
            return Err(process.end(Event::closed(reason)));
        }
    }
}

impl Process {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.live.pid).ok().and_then(Pid::from_raw)
    }

    /// Whether it lives. A process that has ended is told from its pipes: what it started may
    /// hold those open for ever.
    pub(super) fn life(&self) -> Life {
        let look = WaitIdOptions::EXITED
            | WaitIdOptions::STOPPED
            | WaitIdOptions::NOWAIT
            | WaitIdOptions::NOHANG;
        let Some(pid) = self.pid() else {
            return Life::Over;
        };
        match waitid(WaitId::Pid(pid), look) {
            Ok(Some(status)) if status.stopped() => Life::Stands,
            Ok(None) => Life::Runs,
            Ok(Some(_)) | Err(_) => Life::Over,
        }
    }

    /// A process that closes its stdout is mostly about to end. It gets a moment for that, so
    /// that the reason told is its own and not our signal.
    pub(super) fn settle(&self) {
        let until = Instant::now() + SETTLE;
        while self.life() != Life::Over && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits a moment for what it said before it ended, and gives that as the reason.
    pub(super) fn last_event(&self) -> Event {
        let until = Instant::now() + SETTLE;
        loop {
            match self.events.recv_deadline(until) {
                Ok(closed @ (Event::Closed(_) | Event::Kill(_))) => return closed,
                Ok(Event::Ready | Event::Look) => {}
                Err(_) => {
                    return Event::closed(
                        "it ended, though something that it started holds its stdout",
                    );
                }
            }
        }
    }

    /// Kills the group and has it reaped. Returns the whole reason, soon: whether or not the
    /// process has ended by then.
    pub(super) fn end(mut self, why: Event) -> Ended {
        let mut death = match why {
            Event::Closed(death) | Event::Kill(death) => death,
            Event::Ready | Event::Look => Death::default(),
        };
        let by_itself = self.life() == Life::Over;
        let mut reaped = Some(self.kill_and_reap());
        let status = reaped.as_ref().and_then(|r| r.recv_timeout(SETTLE).ok());
        if let Some(exit) = status {
            reaped = None;
            death.reason = format!("{}; {}", death.reason, describe(exit));
            if by_itself && death.hint.is_none() {
                death.hint = advice(exit).map(str::to_owned);
            }
            if let Some(stderr) = &self.stderr {
                // what it wrote last is often why it died; it is in the pipe already
                let _ = stderr.recv_timeout(SETTLE);
            }
        } else {
            death.reason.push_str(
                "; it was killed and has not ended yet (does a disk or a file server hang?)",
            );
        }
        let words = self.live.last_words();
        if !words.is_empty() {
            death.reason = format!("{}; last lines: {words}", death.reason);
        }
        Ended { death, reaped }
    }

    /// Kills the group; a thread waits for the end, however long that takes.
    fn kill_and_reap(&mut self) -> Receiver<Exit> {
        self.live.calls.close();
        self.live.input.close();
        let (tell, reaped) = bounded(1);
        let Some(mut child) = self.child.take() else {
            return reaped;
        };
        if let Some(group) = self.pid() {
            // The leader is not reaped yet, so the number cannot be anybody else's. Those
            // that it started itself go with it.
            (self.kill.0)(group);
        }
        let (name, group) = (self.name.clone(), self.cgroup.take());
        let watched = self.watched.take();
        let reaper = move || {
            let Ok(status) = child.wait() else { return };
            // before the group goes, and its count with it
            let for_memory = watched.is_some_and(|(group, before)| {
                let now = cgroup::killed_for_memory(Path::new(CGROUP_ROOT), &group);
                now.is_some_and(|now| now > before)
            });
            if let Some(group) = group
                && let Err(error) = cgroup::remove(Path::new(CGROUP_ROOT), &group)
            {
                tracing::debug!(child = name, "its cgroup {group} stays: {error}");
            }
            let _ = tell.send(Exit { status, for_memory });
        };
        let started = thread::Builder::new()
            .name(format!("reap {}", self.name))
            .spawn(reaper);
        if let Err(error) = started {
            tracing::warn!(child = self.name, "nobody waits for its end: {error}");
        }
        reaped
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

impl Ended {
    fn before_it_began(reason: String) -> Self {
        Self {
            death: Death { reason, hint: None },
            reaped: None,
        }
    }

    /// Whether the process has ended, within that time.
    pub(super) fn is_over(&self, within: Duration) -> bool {
        self.reaped.as_ref().is_none_or(|reaped| {
            !matches!(reaped.recv_timeout(within), Err(RecvTimeoutError::Timeout))
        })
    }
}

/// Its own group, which is made anew for it; else the one that it shares with this daemon.
fn watched(own: Option<&str>) -> Option<(String, u64)> {
    match own {
        Some(group) => Some((group.to_owned(), 0)),
        None => {
            let group = cgroup::own(Path::new("/proc"))?;
            let before = cgroup::killed_for_memory(Path::new(CGROUP_ROOT), &group)?;
            Some((group, before))
        }
    }
}

fn describe(exit: Exit) -> String {
    let status = exit.status;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(libc::SIGKILL)) if exit.for_memory => {
            "killed by the kernel for want of memory".to_owned()
        }
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// What the signal that ended a process tells, when it was none of ours.
fn advice(exit: Exit) -> Option<&'static str> {
    match exit.status.signal()? {
        libc::SIGKILL if exit.for_memory => Some(
            "let fewer tasks run at once, give it more (`cgroup.memory_max`, systemd's MemoryMax), or see `damocles-worker plan check` for what stages hold",
        ),
        libc::SIGKILL => Some(
            "somebody killed it, or it ran out of memory: `dmesg` names what the kernel killed for that; fewer tasks at once need less",
        ),
        libc::SIGILL => {
            Some("the program uses instructions that this CPU has not; build it for this machine")
        }
        libc::SIGBUS => Some(
            "memory that lies in a file could not be had: is a disk or the huge pages full, or a file shortened?",
        ),
        _ => None,
    }
}

#[cfg(test)]
#[path = "child_tests.rs"]
mod tests;
