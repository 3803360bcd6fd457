//! One child process: started, ready within its time, killed with its whole process group
//! and reaped. The only file of the house that starts processes; it does not start them again.

use crate::{
    kind::ready_line,
    parent::{
        calls::Calls,
        pipes::{Event, Live, spawn_stderr, spawn_stdout},
        spec::ChildSpec,
    },
    pin::{CGROUP_ROOT, cgroup},
    sys,
};
use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How long a process may take from the end of its stdout to its own end.
const SETTLE: Duration = Duration::from_millis(500);
/// How often it is asked whether a starting process is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// A running process that nobody has reaped yet.
pub(super) struct Process {
    pub(super) live: Arc<Live>,
    child: std::process::Child,
    pub(super) events: Receiver<Event>,
    /// Disconnects when stderr is read to its end.
    stderr: Option<Receiver<()>>,
}

/// Starts the process and waits for its ready line. Kills it when that does not come, or
/// when nobody wants it any more. To be called by the thread that will outlive the process:
/// the kernel kills it when that thread ends.
pub(super) fn launch(spec: &ChildSpec, unwanted: &dyn Fn() -> bool) -> Result<Process, String> {
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
    // Programs of others do not ask for it themselves, and one that went on writing after
    // this daemon was killed would write into what the next daemon's child is writing.
    sys::die_with_this_thread(&mut command);
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
        if unwanted() {
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
    pub(super) fn settle(&self) {
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
    pub(super) fn end(mut self, spec: &ChildSpec, reason: String) -> String {
        self.live.calls.close();
        let pid = i32::try_from(self.live.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(group) = pid {
            // The leader is not reaped yet, so the number cannot be anybody else's. Those
            // that it started itself go with it.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let status = self.child.wait();
        // Only now: a caller that writes a long request holds it, and goes on waiting for as
        // long as the process neither reads nor ends.
        drop(self.live.stdin.lock().take());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parent::placement::Environment;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn any_program_ends_with_the_thread_that_started_it() {
        let script = "echo pc2 processor ready; exec sleep 600";
        let spec = ChildSpec {
            stage: "pc2".to_owned(),
            name: "pc2-0".to_owned(),
            program: "/bin/sh".into(),
            args: ["-c", script].map(Into::into).to_vec(),
            environment: Environment {
                inherit: true,
                ..Environment::default()
            },
            stable_wait: Duration::from_secs(60),
            auto_restart: true,
            on_demand: None,
            cgroup: None,
        };
        let started = thread::spawn(move || launch(&spec, &|| false).unwrap());
        let mut process = started.join().unwrap();
        let status = process.child.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
}
