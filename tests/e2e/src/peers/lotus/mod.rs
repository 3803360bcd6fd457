//! The house on a private network of real Lotus nodes: sectors are sealed and proven while
//! everything befalls the chain, the node and the daemons that befalls them outside. What came of
//! it is told in a table and in `report.json`.

mod chain;
mod network;
mod branch;
mod people;
mod contract;
mod report;
mod trial;
mod acts;
mod story;

use super::{program, report as written};
use crate::{
    alone,
    house::{Files, House},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What somebody brought: a 2k build.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `lotus`
    pub node: PathBuf,
    /// `lotus-miner`, who makes the blocks.
    pub miner: PathBuf,
    /// `lotus-seed`, who makes the genesis.
    pub seed: PathBuf,
}

impl Programs {
    /// Looks into the folder; the error is a sentence.
    pub fn find(dir: &str) -> Result<Self, String> {
        Ok(Self {
            node: program(dir, "lotus")?,
            miner: program(dir, "lotus-miner")?,
            seed: program(dir, "lotus-seed")?,
        })
    }
}

/// Sectors of each miner.
const SECTORS: u64 = 3;

/// Plays the story, writes `report.json` into `out`, and prints the table. An error if any step
/// failed.
pub async fn run(programs: &Programs, out: &Path) -> Result<()> {
    fvm_shared::address::set_current_network(fvm_shared::address::Network::Testnet);
    fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let _lock = alone::hold(out)?;
    let home = out.join("home");
    if home.exists() {
        fs::remove_dir_all(&home)
            .with_context(|| format!("{} of an earlier run cannot be removed", home.display()))?;
    }
    let house = House::new(&home, Files::elsewhere(), SECTORS)?;
    let told = story::tell(programs, &house).await;
    let path = out.join("report.json");
    written::write(&path, &told)?;
    println!("{}", told.table());
    println!("{}", path.display());
    house.wait_until_empty().await?;
    let failed = told.steps.failed();
    ensure!(
        failed.is_empty(),
        "failed: {}. hint: logs are in {}",
        failed.join(", "),
        house.home().display()
    );
    Ok(())
}
