//! The post campaign: three miners are kept proven for many proving periods, unattended, while a
//! seeded script kills, cuts off, hangs and damages. No deadline is missed, nothing is proven
//! twice, the two sectors that were damaged are faulty and nothing else, they recover when they
//! are repaired, and penalties are theirs alone.
//!
//! `make post-campaign SEED=1 PERIODS=100` runs the long form, twenty-two minutes a period.

mod blows;
mod ledger;
mod people;
mod plan;
mod report;

use crate::{chance::asked_for, mounts, road::SOON};
use anyhow::{Context, Result, ensure};
use blows::Field;
use damocles_api::sealer_cli::SealerCliClient;
use damocles_e2e::{
    house::{Files, House, MINER, checkout},
    managers::Managers,
    scenario::scenario,
    wait,
};
use damocles_test_postgres::Server;
use damocles_types::{ActorId, Epoch, SectorId};
use ledger::Ledger;
use plan::Shape;
use report::{Report, sum};
use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const STORES: u64 = 3;
/// attoFIL that each miner gets, of which it pays its daily fees.
const ALLOWANCE: u128 = 10_000_000_000_000_000_000;

#[test]
fn a_short_post_campaign_misses_nothing() {
    campaign(asked_for("SEED", 1), Shape::short(), None);
}

#[test]
#[ignore = "twenty-two minutes a proving period; make post-campaign"]
fn a_long_post_campaign_misses_nothing() {
    let shape = Shape::long(asked_for("PERIODS", 100), asked_for("DEADLINES", 48));
    let report = checkout().join("target/post-campaign/report.json");
    campaign(asked_for("SEED", 1), shape, Some(report));
}

fn campaign(seed: u64, shape: Shape, report: Option<PathBuf>) {
    // with its syncs: it is killed
    let server = Server::start("");
    let dir = tempfile::tempdir().expect("a folder for the policy");
    let policy = dir.path().join("devnet.toml");
    fs::write(&policy, shape.policy()).expect("the policy is written");
    let files = Files::campaign(&policy);
    let config = files.manager.clone();
    // a second each, twice that on a busy machine, and the sealing of the genesis
    let epochs = shape.length() + 2 * shape.period() + 10 * shape.window;
    let limit = Duration::from_secs(2 * epochs as u64 + 1800);
    scenario("campaign", files, 0, limit, async |house| {
        let stores = prepare(house, &shape, server.as_ref()).await?;
        let count = if server.is_some() { 2 } else { 1 };
        let managers = Managers::new(house, config, count)?;
        for n in 0..managers.count() {
            managers.start(n).await?;
        }
        let field = Field {
            house,
            managers: &managers,
            server: server.as_ref(),
            shape,
            miners: miners(&shape).collect(),
            stores,
            node: house.node()?,
            witness: house.second_node()?,
            kills: Cell::new(0),
            report,
        };
        run(&field, seed).await?;
        managers.stop()
    });
}

fn miners(shape: &Shape) -> impl Iterator<Item = ActorId> + use<> {
    MINER..MINER + shape.miners
}

/// The chain, its sectors in several stores, and the database that the managers share.
async fn prepare(house: &House, shape: &Shape, server: Option<&Server>) -> Result<Vec<PathBuf>> {
    let (miners_, sectors) = (shape.miners.to_string(), shape.sectors.to_string());
    house.devnet_with(&["--miners", &miners_, "--preseal", &sectors]);
    house.devnet_with(&["--second", "127.0.0.1:0"]);
    house.start_devnet().await?;
    let node = house.node()?;
    node.set_block_time(Duration::from_secs(1)).await?;
    node.mine(shape.past() as u64).await?;
    let key = node.key().await?;
    let mut stores = Vec::new();
    for n in 0..STORES {
        let store = house.path(&format!("stores/{n}"));
        for dir in ["sealed", "cache"] {
            fs::create_dir_all(store.join(dir))?;
        }
        mounts::mark(&store)?;
        stores.push(store);
    }
    for miner in miners(shape) {
        node.send(ALLOWANCE, &key, &format!("t0{miner}")).await?;
        for number in 0..shape.sectors {
            let sector = SectorId::new(miner, number);
            let store = store_of(&stores, sector);
            for file in ["sealed", "cache"] {
                let place = format!("{file}/{sector}");
                let from = house.path("devnet/presealed").join(&place);
                fs::rename(from, store.join(&place))?;
            }
        }
    }
    let (driver, dsn) = match server {
        Some(server) => ("postgres", server.dsn()),
        None => ("rocksdb", String::new()),
    };
    house.fill("DRIVER", driver);
    house.fill("DSN", &dsn);
    Ok(stores)
}

fn store_of(stores: &[PathBuf], sector: SectorId) -> &Path {
    let n = (sector.miner + sector.number) % stores.len() as u64;
    &stores[n as usize]
}

/// A sector that is damaged, and what it takes to repair it.
struct Damaged {
    sector: SectorId,
    file: PathBuf,
    whole: Vec<u8>,
}

impl Damaged {
    fn of(stores: &[PathBuf], sector: SectorId) -> Result<Self> {
        let file = store_of(stores, sector).join(format!("sealed/{sector}"));
        let whole = fs::read(&file)?;
        Ok(Self {
            sector,
            file,
            whole,
        })
    }

    fn truncate(&self) -> Result<()> {
        let file = fs::File::options().write(true).open(&self.file)?;
        Ok(file.set_len(self.whole.len() as u64 / 2)?)
    }

    fn remove(&self) -> Result<()> {
        Ok(fs::remove_file(&self.file)?)
    }

    /// The whole file is there at once.
    fn repair(&self) -> Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, &self.whole)?;
        Ok(fs::rename(new, &self.file)?)
    }
}

/// The two sectors that are damaged.
struct Damages {
    all: [Damaged; 2],
    /// From when on they are repaired, once both are faulty.
    due: Epoch,
    repaired: bool,
}

impl Damages {
    /// Damages two sectors, which the managers have seen whole. They are put back in the last third,
    /// or as early as it takes for a declaration before the last of their windows.
    async fn of(field: &Field<'_>, seed: u64, ledger: &Ledger, end: Epoch) -> Result<Self> {
        let shape = &field.shape;
        let [one, other] = plan::damages(seed, shape)
            .map(|(miner, number)| SectorId::new(MINER + miner, number))
            .map(|sector| Damaged::of(&field.stores, sector));
        let all = [one?, other?];
        let mut due = end - shape.length() / 3;
        for sector in all.iter().map(|d| d.sector) {
            wait::until(format!("{sector} to be known"), SOON, async || {
                let door = field.house.manager()?;
                let info = door.typed().proving_sector_info(sector).await?;
                Ok((!info.private.accesses.sealed_file.is_empty()).then_some(()))
            })
            .await?;
            let open = ledger.last_opening(sector, end).await?;
            due = due.min(open - shape.cutoff() - shape.window);
        }
        all[0].truncate()?;
        all[1].remove()?;
        println!(
            "{} is truncated, {} is missing",
            all[0].sector, all[1].sector
        );
        Ok(Self {
            all,
            due,
            repaired: false,
        })
    }

    fn repair(&mut self, now: Epoch) -> Result<()> {
        for one in &self.all {
            one.repair()?;
            println!("epoch {now}: {} is repaired", one.sector);
        }
        self.repaired = true;
        Ok(())
    }

    /// Waits until that epoch, and repairs them when it is time.
    async fn until(&mut self, field: &Field<'_>, epoch: Epoch) -> Result<()> {
        loop {
            let now = field.witness.epoch().await?;
            if !self.repaired
                && now >= self.due
                && self.faulty(field).await?.len() == self.all.len()
            {
                self.repair(now)?;
            }
            if now >= epoch {
                return Ok(());
            }
            field.until(now + 1).await?;
        }
    }

    /// Those that are faulty now.
    async fn faulty(&self, field: &Field<'_>) -> Result<Vec<SectorId>> {
        let mut out = Vec::new();
        for SectorId { miner, number } in self.all.iter().map(|d| d.sector) {
            if field.witness.faults(miner).await?.contains(&number) {
                out.push(SectorId::new(miner, number));
            }
        }
        Ok(out)
    }

    /// Waits until a window of theirs ends without a faulty sector: a period and two windows at
    /// most.
    async fn until_healthy(&self, field: &Field<'_>, ledger: &mut Ledger) -> Result<()> {
        let shape = &field.shape;
        let end = field.witness.epoch().await? + shape.period() + 2 * shape.window;
        loop {
            let now = field.witness.epoch().await?;
            // what is open now is not judged
            ledger.look(now).await?;
            let mut clean = true;
            for SectorId { miner, number } in self.all.iter().map(|d| d.sector) {
                let place = field.witness.location(miner, number).await?;
                clean &= ledger.ended_clean(miner, place.deadline);
            }
            if clean || now >= end {
                return Ok(());
            }
            field.until(now + 1).await?;
        }
    }
}

async fn run(field: &Field<'_>, seed: u64) -> Result<()> {
    let shape = field.shape;
    let begin = field.witness.epoch().await?;
    let end = begin + shape.length();
    println!("SEED={seed}: {shape:?} from epoch {begin} to {end}");
    let mut ledger = Ledger::new(field.witness.clone(), shape, &field.miners, begin);
    let mut damages = Damages::of(field, seed, &ledger, end).await?;
    let mut rested = begin;
    for blow in plan::plan(seed, &shape, field.server.is_some()) {
        // one may have waited for its moment
        let at = rested.max(begin + blow.at).min(end);
        damages.until(field, at).await?;
        let now = field.at_stake(end).await?;
        damages.until(field, now).await?;
        if now >= end {
            break;
        }
        println!("epoch {now}: {:?}", blow.trouble);
        let struck = field.strike(blow).await;
        struck.with_context(|| format!("{blow:?} at epoch {now}"))?;
        rested = field.witness.epoch().await? + shape.window / 4;
        // a branch may still open those anew that closed a moment ago
        ledger.look(now - shape.window).await?;
    }
    damages.until(field, end).await?;
    if !damages.repaired {
        damages.repair(end)?;
    }
    damages.until_healthy(field, &mut ledger).await?;
    judge(field, seed, &ledger, &damages).await?;
    people::look(field, damages.all[0].sector).await
}

async fn judge(field: &Field<'_>, seed: u64, ledger: &Ledger, damages: &Damages) -> Result<()> {
    let duplicates = ledger.duplicates().await?;
    let damaged = &damages.all;
    let left = damages.faulty(field).await?;
    let names = |all: &mut dyn Iterator<Item = SectorId>| -> BTreeSet<String> {
        all.map(|sector| sector.to_string()).collect()
    };
    let report = Report {
        seed,
        periods: field.shape.periods,
        deadlines: ledger.closed.len(),
        missed: ledger.missed().len(),
        duplicates: duplicates.len(),
        kills: field.kills.get(),
        faults: names(&mut ledger.faults().into_iter()),
        expected_faults: names(&mut damaged.iter().map(|d| d.sector)),
        recovered: damaged.len() - left.len(),
        penalty_atto: sum(&ledger.penalties())?,
    };
    println!("{}", report.told(ledger, ledger.failed().await?));
    if let Some(path) = &field.report {
        report.write(path)?;
        println!("the report for programs is {}", path.display());
    }
    report.judge(ledger, &duplicates)?;
    ensure!(report.kills > 0, "nobody was killed");
    Ok(())
}
