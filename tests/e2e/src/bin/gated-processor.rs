//! `gated-processor`: a processor of somebody else's making, as an operator may plug one in.
//! It speaks the line protocol and passes every line on to the real stage, but stops at its
//! gate when a test says so: before a task reaches the stage (`hold` contains `before`), or
//! when the stage has done its work and the answer has not been given (`after`). It notes
//! each task and each answer in `calls`, so that a test can count them.

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write, stdin, stdout},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(dir), Some(bin)) = (args.next(), args.next()) else {
        bail!("usage: gated-processor DIR PROGRAM [ARGUMENT]…");
    };
    let gate = Gate {
        dir: PathBuf::from(dir),
    };
    // the daemon may be killed while the gate is shut
    set_parent_process_death_signal(Some(Signal::KILL))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a stand-in for a foreign program"
    )]
    let mut stage = Command::new(&bin)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", bin.display()))?;
    gate.note("stage", &stage.id().to_string())?;
    let mut to_stage = stage.stdin.take().context("the stage has an input")?;
    let from_stage = stage.stdout.take().context("the stage has an output")?;
    let answers = Gate {
        dir: gate.dir.clone(),
    };
    std::thread::spawn(move || {
        for line in BufReader::new(from_stage).lines() {
            let line = line?;
            if is_answer(&line) {
                answers.hold("after")?;
                answers.note("calls", "answer")?;
            }
            let mut out = stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()?;
        }
        anyhow::Ok(())
    });
    for line in stdin().lock().lines() {
        let line = line?;
        gate.note("calls", "task")?;
        gate.hold("before")?;
        writeln!(to_stage, "{line}")?;
        to_stage.flush()?;
    }
    drop(to_stage);
    stage.wait()?;
    Ok(())
}

/// Neither the ready line nor a progress line.
fn is_answer(line: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(line)
        .is_ok_and(|value| value.get("id").is_some() && value.get("progress").is_none())
}

/// A folder shared with the test.
struct Gate {
    dir: PathBuf,
}

impl Gate {
    /// Waits while the file `hold` names this side; says so in `held`.
    fn hold(&self, side: &str) -> Result<()> {
        let parent = getppid();
        while shut(&self.dir.join("hold"), side) {
            fs::write(self.dir.join("held"), side)?;
            if getppid() != parent {
                bail!("the daemon is gone");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn note(&self, file: &str, what: &str) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(file))?;
        writeln!(file, "{what}")?;
        Ok(())
    }
}

fn shut(path: &Path, side: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == side)
}
