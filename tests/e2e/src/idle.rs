//! What manager and worker use while there is nothing to seal.

use crate::{
    house::{Files, House, Role},
    usage::Usage,
};
use anyhow::Result;
use std::{path::Path, time::Duration};

/// Time to settle before measuring.
const SETTLE: Duration = Duration::from_secs(15);
/// Time measured.
const WINDOW: Duration = Duration::from_secs(60);

/// Share of one core, and memory, of one daemon.
#[derive(Clone, Debug)]
pub struct Figure {
    pub who: &'static str,
    /// 1.0 is a whole core.
    pub cores: f64,
    /// Bytes, at the end.
    pub rss: u64,
}

/// Starts a house whose manager hands out no sector numbers, and watches it.
pub async fn measure(dir: &Path, checkout: &Path) -> Result<Vec<Figure>> {
    let house = House::new(dir, Files::idle(checkout), 0)?;
    house.start_devnet().await?;
    house.start_manager().await?;
    house.start_worker().await?;
    tokio::time::sleep(SETTLE).await;
    let before = usages(&house)?;
    tokio::time::sleep(WINDOW).await;
    let after = usages(&house)?;
    let figures = before
        .into_iter()
        .zip(after)
        .map(|((who, before), (_, after))| Figure {
            who,
            cores: (after.cpu - before.cpu).as_secs_f64() / WINDOW.as_secs_f64(),
            rss: after.rss,
        })
        .collect();
    house.close().await?;
    Ok(figures)
}

fn usages(house: &House) -> Result<Vec<(&'static str, Usage)>> {
    [Role::Manager, Role::Worker]
        .into_iter()
        .map(|role| Ok((role.program(), crate::usage::of(house.pid(role)?)?)))
        .collect()
}

impl Figure {
    /// A line for the table of docs/benchmarks.md.
    pub fn line(&self) -> String {
        format!(
            "{}, idle: {:.2} % of a core, {:.0} MiB",
            self.who,
            self.cores * 100.0,
            self.rss as f64 / f64::from(1 << 20)
        )
    }
}
