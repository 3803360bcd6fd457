//! A scenario: a test over a whole house. One runs at a time, for proofs take every core. A
//! failed one keeps its folder and shows the ends of the logs; a passed one has left no
//! process behind.

use crate::house::{Files, House};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until no other scenario of this program runs.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `story` in a new house, at most `limit` long, then closes the house: everything must
/// stop when asked and be gone.
pub fn scenario(
    name: &str,
    files: Files,
    sectors: u64,
    limit: Duration,
    story: impl AsyncFnOnce(&House) -> Result<()>,
) {
    let _turn = turn();
    let dir = tempfile::Builder::new()
        .prefix(&format!("damocles-{name}-"))
        .tempdir()
        .expect("a folder for the scenario");
    let house = House::new(dir.path(), files, sectors).expect("an empty house");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let result = runtime.block_on(async {
        match tokio::time::timeout(limit, story(&house)).await {
            Ok(told) => told?,
            Err(_) => bail!("not over after {} s", limit.as_secs()),
        }
        house.close().await
    });
    if let Err(error) = result {
        let tails = house.tails(40);
        drop(house);
        let kept = dir.keep();
        panic!("{name}: {error:#}\nkept: {}\n{tails}", kept.display());
    }
}

/// The test's side of a `gated-processor`.
#[derive(Debug)]
pub struct Gate {
    dir: PathBuf,
}

impl Gate {
    /// The gate of a stage in a house started from [`Files::gated`].
    pub fn of(house: &House, stage: &str) -> Self {
        Self {
            dir: house.path("gates").join(stage),
        }
    }

    /// Holds tasks before they reach the stage (`before`) or answers before they are given
    /// (`after`).
    pub fn shut(&self, side: &str) -> Result<()> {
        match fs::remove_file(self.dir.join("held")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::write(self.dir.join("hold"), side).context("the gate cannot be shut")
    }

    /// Lets everything pass.
    pub fn open(&self) -> Result<()> {
        fs::remove_file(self.dir.join("hold")).context("the gate was not shut")
    }

    /// Whether something stands at the shut gate.
    pub fn holds(&self) -> bool {
        self.dir.join("held").exists()
    }

    /// How many tasks came, and how many answers were given.
    pub fn calls(&self) -> (usize, usize) {
        let notes = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        let count = |what| notes.lines().filter(|line| *line == what).count();
        (count("task"), count("answer"))
    }

    /// Process id of the real stage behind the gate, the newest one.
    pub fn stage_pid(&self) -> Option<u32> {
        let notes = fs::read_to_string(self.dir.join("stage")).ok()?;
        notes.lines().last()?.parse().ok()
    }
}
