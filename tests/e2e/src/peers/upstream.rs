//! Our daemons with upstream's, each in the place of the other.

use super::program;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What somebody brought of upstream; at least one of them.
#[derive(Clone, Debug)]
pub struct Programs {
    pub manager: Option<PathBuf>,
    pub worker: Option<PathBuf>,
}

impl Programs {
    /// Looks into the folder; the error is a sentence.
    pub fn find(dir: &str) -> Result<Self, String> {
        let manager = program(dir, "damocles-manager");
        let worker = program(dir, "damocles-worker");
        match (manager, worker) {
            (Err(missing), Err(_)) => Err(missing),
            (manager, worker) => Ok(Self {
                manager: manager.ok(),
                worker: worker.ok(),
            }),
        }
    }
}

/// Runs everything that can be run with what is there.
pub async fn run(programs: &Programs, out: &Path) -> Result<()> {
    anyhow::bail!("{programs:?} {}", out.display())
}
