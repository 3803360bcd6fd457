//! The real binary under test: started on a temporary home, its log read line by line.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Long enough for a busy machine; nothing waits so long unless it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with nothing inherited that would change what it does.
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program that it tests"
)]
pub(crate) fn manager() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_damocles-manager"));
    for name in [
        "DAMOCLES_PATH",
        "DAMOCLES_CONF_DIR",
        "DAMOCLES_LOG",
        "RUST_LOG",
        "DAMOCLES_MANAGER_API",
        "DAMOCLES_MANAGER_TOKEN",
    ] {
        command.env_remove(name);
    }
    command
}

/// A home with a configuration file in it.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
}

impl Home {
    /// With this file, and begun.
    pub(crate) fn with(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sector-manager.cfg"), config).unwrap();
        let home = Self { dir };
        let begun = home.run(&["daemon", "init"]);
        assert!(begun.status.success(), "{begun:?}");
        home
    }

    /// With a good file, whose node is at that address and whose miner has that id.
    pub(crate) fn good(node: &str, actor: u64) -> Self {
        let home = Self::with("");
        let store = home.path().join("persist");
        fs::create_dir(&store).unwrap();
        let config = format!(
            "[Common.API]\nChain = {node:?}\n[[Common.PersistStores]]\nName = \"persist\"\nPath = {store:?}\n[[Miners]]\nActor = {actor}\n"
        );
        fs::write(home.path().join("sector-manager.cfg"), config).unwrap();
        home
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Runs a command on the home to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        manager()
            .arg("--home")
            .arg(self.dir.path())
            .args(args)
            .output()
            .unwrap()
    }

    /// Starts the daemon on any free port.
    pub(crate) fn start(&self, args: &[&str]) -> Daemon {
        Daemon::start(self.dir.path(), args, &[])
    }

    /// The same with these variables.
    pub(crate) fn start_with(&self, args: &[&str], envs: &[(&str, &Path)]) -> Daemon {
        Daemon::start(self.dir.path(), args, envs)
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Daemon {
    fn start(home: &Path, args: &[&str], envs: &[(&str, &Path)]) -> Self {
        let mut child = manager()
            .arg("--home")
            .arg(home)
            .args(["daemon", "run", "--listen", "127.0.0.1:0"])
            .args(args)
            .envs(envs.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line of the log, if it was not written before: services start side by
    /// side, so two of their lines may come in either order.
    pub(crate) fn until(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("{text:?} was never logged:\n{}", self.seen.join("\n"));
    }

    /// Asks it to stop, and waits.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        self.end()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits until it ends by itself; status and everything it logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        self.end()
    }

    fn end(&mut self) -> (ExitStatus, String) {
        // the log ends with the process
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        let status = self
            .child
            .try_wait()
            .unwrap()
            .or_else(|| (Instant::now() < deadline).then(|| self.child.wait().unwrap()));
        let log = self.seen.join("\n");
        (
            status.unwrap_or_else(|| panic!("it does not end:\n{log}")),
            log,
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code, and the `error:` and `hint:` lines of what was printed.
pub(crate) fn verdict(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// Asserts the exit code, the sentence and the hint of a program that refused.
#[track_caller]
pub(crate) fn refused((code, text): (i32, String), expected: i32, sentence: &str, hint: &str) {
    assert_eq!(code, expected, "{text}");
    let error = text
        .lines()
        .find(|l| l.starts_with("error: "))
        .unwrap_or_else(|| panic!("no sentence in:\n{text}"));
    assert!(error.contains(sentence), "{sentence:?} is not in {error:?}");
    let said = text
        .lines()
        .find(|l| l.starts_with("hint: "))
        .unwrap_or_else(|| panic!("no hint in:\n{text}"));
    assert!(said.contains(hint), "{hint:?} is not in {said:?}");
    assert!(!text.contains("panicked"), "{text}");
}
