//! How a manager carries a fleet: a database of many finished sectors with their history, thousands
//! of sealing threads that ask, and how long answers take. For docs/benchmarks.md.
//!
//! ```text
//! fill ──lines──► damocles-manager db import ──► daemon ◄──calls at a steady pace── load
//! ```

mod fill;
mod load;
mod report;

pub use report::Report;

use crate::{
    house::{Files, House, Role, manager_at},
    process, usage,
};
use anyhow::{Result, ensure};
use damocles_api::{
    lists::{DamoclesListsClient, SectorFilter, Want},
    sealer_cli::SealerCliClient,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wish {
    /// How the PostgreSQL is reached; None: RocksDB in the home.
    pub dsn: Option<String>,
    /// Finished sectors in the database.
    pub sectors: u64,
    /// Sealing threads, each with a sector in work.
    pub threads: u64,
    /// Calls a second of all threads together.
    pub pace: u64,
    pub seconds: u64,
}

const PAGES: u32 = 21;

/// Measures in a house in `dir`, which must be new.
///
/// # Errors
/// Whatever fails; what was begun is stopped.
pub async fn measure(dir: &Path, checkout: &Path, wish: &Wish) -> Result<Report> {
    let mut files = Files::idle(checkout);
    if wish.dsn.is_some() {
        files.manager = Files::shared().manager;
    }
    let house = House::new(dir, files, 1)?;
    if let Some(dsn) = &wish.dsn {
        house.fill("DSN", dsn);
    }
    house.start_devnet().await?;
    house.prepare_manager()?;
    let lines = dir.join("lines.jsonl");
    eprintln!("writing {} sectors", wish.sectors + wish.threads);
    fill::write(&lines, wish)?;
    eprintln!("importing them");
    let began = Instant::now();
    import(&house, &lines).await?;
    let import_s = began.elapsed().as_secs_f64();

    let began = Instant::now();
    house.start_manager().await?;
    let start_s = began.elapsed().as_secs_f64();
    let manager = house.manager()?;
    let mut pages = Vec::new();
    let mut want = Want::default();
    for _ in 0..PAGES {
        let began = Instant::now();
        let filter = SectorFilter {
            in_work: false,
            ..SectorFilter::default()
        };
        let page = manager.typed().sectors(filter, want.clone()).await?;
        pages.push(began.elapsed());
        ensure!(
            page.items.len() == 100,
            "a page has {} items",
            page.items.len()
        );
        want.cursor = page.next;
    }
    pages.sort();
    let page_ms = pages[pages.len() / 2].as_secs_f64() * 1000.0;

    eprintln!("{} calls a second for {} s", wish.pace, wish.seconds);
    let address = house.manager_address()?;
    let load = load::steady(&address, wish).await?;
    house.kill9(Role::Manager)?;
    house.start_manager().await?;
    eprintln!("{} first reports at once", wish.threads);
    let burst_s = load::burst(&address, wish).await?.as_secs_f64();
    let rss = usage::of(house.pid(Role::Manager)?)?.rss;
    manager.typed().version().await?;
    house.stop(Role::Manager)?;
    house.close().await?;
    Ok(Report::new(
        wish, &load, page_ms, start_s, rss, import_s, burst_s,
    ))
}

async fn import(house: &House, lines: &Path) -> Result<()> {
    let mut command = manager_at(&house.path("manager"))?;
    command.args(["db", "import"]).arg(lines);
    let said = process::run(command, Duration::from_secs(4 * 3600)).await?;
    ensure!(said.status.success(), "{}{}", said.out, said.err);
    Ok(())
}
