//! Our daemons with upstream's, each in the place of the other, on a devnet that is of the network
//! version that upstream knows.

mod children;
mod cli;
mod commands;
mod manager;
mod messager;
mod mock;
mod scene;
mod shape;
mod story;

pub use story::run;

use super::program;
use std::path::PathBuf;

/// What somebody brought of upstream; at least one of them.
#[derive(Clone, Debug)]
pub struct Programs {
    pub manager: Option<PathBuf>,
    pub worker: Option<PathBuf>,
    /// A build of the manager whose mock mode serves, where that of `manager` does not.
    pub mock: Option<PathBuf>,
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
                mock: program(dir, "damocles-manager-mock").ok(),
            }),
        }
    }
}
