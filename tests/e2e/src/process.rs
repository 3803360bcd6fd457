//! A daemon as a real process: its own process group, its output in a file, and never left
//! behind, neither by a failed test nor by a killed one.

use crate::usage::{self, MARK, Usage};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A program of this workspace, built beside the running one.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    // tests lie one folder deeper than programs
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "{name} is not built beside {}. hint: make build",
            own.display()
        ),
    }
}

/// A command for a program of this workspace.
pub fn command(name: &str) -> Result<Command> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the house under test starts daemons; nothing here runs inside one"
    )]
    let command = Command::new(program(name)?);
    Ok(command)
}

/// A command for a program that somebody brought.
pub fn foreign(program: &Path) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the house is run beside it; nothing here runs inside a daemon"
    )]
    let command = Command::new(program);
    command
}

/// A command as a person types it.
pub fn typed(line: &str) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests do what people are told to do; nothing here runs inside a daemon"
    )]
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// What a program that has ended left behind.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

/// Runs a program to its end without holding up this thread, which may have to answer it; one
/// that has not ended in time is killed, and that is an error.
pub async fn run(mut command: Command, limit: Duration) -> Result<Said> {
    command.stdin(Stdio::null());
    let what = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output();
    let output = match tokio::time::timeout(limit, output).await {
        Ok(output) => output.with_context(|| format!("{what} cannot be started"))?,
        Err(_) => bail!("{what} has not ended within {} s", limit.as_secs()),
    };
    Ok(Said {
        status: output.status,
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A running daemon. Dropped: its whole group is killed.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Starts the command in a process group of its own, marked with the house's id; what it
    /// says is appended to `log`. It dies with the thread that started it.
    pub fn start(name: &str, house: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("{} cannot be written", log.display()))?;
        command
            .env(MARK, house)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .process_group(0);
        die_with_parent(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            ended: None,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What the process itself uses, without its children.
    pub fn usage(&self) -> Result<Usage> {
        usage::of(self.pid())
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// An error with the end of the log, if the daemon has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended ({status}); its last words:\n{}",
                self.name,
                self.tail(15)
            ),
        }
    }

    /// `kill -9` of the daemon alone: its children are left to themselves, as in real life.
    pub fn kill9(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.child.kill()?;
            self.ended = Some(self.child.wait()?);
        }
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits; one that does not stop in time is killed, and
    /// that is an error.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.signal(Signal::TERM);
        }
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() >= limit {
                self.signal_group(Signal::KILL);
                self.ended = Some(self.child.wait()?);
                bail!(
                    "{} did not stop within {:.0} s of SIGTERM and was killed; its last words:\n{}",
                    self.name,
                    limit.as_secs_f64(),
                    self.tail(15)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the process stand where it is, until [`Daemon::go_on`].
    pub fn stand_still(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            // it may have ended by itself meanwhile
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
        // reap it, so that no zombie is counted as left behind
        let _ = self.child.wait();
    }
}

/// The last lines of a file, indented; or why there are none.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return format!("    ({}: {error})", path.display()),
    };
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all[from..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Allows the command only so many files and sockets; it cannot raise the limit again.
pub fn limit_descriptors(command: &mut Command, most: u64) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    let lower = move || Ok(setrlimit(Resource::Nofile, limit)?);
    #[expect(unsafe_code, reason = "pre_exec has no safe form")]
    // SAFETY: the closure runs between fork and exec; it makes one system call, allocates
    // nothing and takes no lock.
    unsafe {
        command.pre_exec(lower);
    }
}

/// Has the kernel kill the child when the thread that starts it ends, however it ends.
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // the parent may have died before the request
        if rustix::process::getppid() != Some(parent) {
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "pre_exec has no safe form")]
    // SAFETY: the closure runs between fork and exec; it makes two system calls, allocates
    // nothing and takes no lock.
    unsafe {
        command.pre_exec(ask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_end_and_a_missing_log_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&path, 2), "    two\n    three");
        assert!(tail(&dir.path().join("none"), 2).contains("No such file"));
    }

    #[test]
    fn a_program_that_is_not_built_is_named() {
        let error = program("damocles-nothing").unwrap_err().to_string();
        assert!(error.contains("damocles-nothing is not built"), "{error}");
        assert!(error.contains("make build"), "{error}");
    }
}
