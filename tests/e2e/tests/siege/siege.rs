//! The story: the house is built and a sector proven, then case after case, then everything must
//! end well.

use crate::{
    attack::{self, Door},
    damage,
    liar::{Liar, Lie},
    report::{Report, Row, machine},
    wire,
    witness::Witnesses,
};
use anyhow::{Context, Result, ensure};
use damocles_e2e::{
    house::{Files, House, MINER, Role},
    scenario::{Gate, scenario},
};
use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

/// The sector that is proven throughout.
const PROVEN: u64 = 1;
/// How long a crowd stays.
const HOLD: Duration = Duration::from_secs(20);
/// For each kind of lie.
const LIE: Duration = Duration::from_secs(10);
/// After an attack, for what it took to be given back.
const REST: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(120);
/// A C2 takes most of a minute on two cores, and longer on a busy machine.
const A_C2: Duration = Duration::from_secs(600);
/// No daemon may ever have more memory. Some 40 MiB idle, 4,096 connections of 16 KiB, the room for
/// large requests three times, a message that comes in each of 256 WebSockets: half of it. The other
/// half is for a node's list of sectors, which may be as large.
const MOST_MEMORY: u64 = 1 << 30;
/// What shells and systemd begin with.
const FEW: u64 = 1024;

#[test]
#[ignore = "slow ring: twenty minutes, and ten thousand sockets"]
fn a_house_stands_under_siege() {
    raise_descriptors();
    let checkout = damocles_e2e::house::checkout();
    let files = Files {
        worker: checkout.join("tests/e2e/config/worker.siege.toml"),
        ..Files::gated()
    };
    let limit = Duration::from_secs(3600);
    scenario("siege", files, 1_000_000, limit, async |house| {
        let only = std::env::var("SIEGE_CASES").ok();
        let mut siege = Siege::begin(house, only).await?;
        let told = siege.story().await;
        if let Err(error) = &told {
            siege
                .report
                .faults
                .push(format!("the story broke off: {error:#}"));
        }
        siege.sum_up()?;
        told?;
        ensure!(siege.report.faults.is_empty(), "{:#?}", siege.report.faults);
        Ok(())
    });
}

fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).expect("the hard limit is allowed");
}

type Attack = fn(usize, Door, Duration) -> String;

/// Cases of both doors, with the size of the crowd.
const AT_A_DOOR: [(&str, usize, Attack); 6] = [
    ("5,000 silent connections", 5000, attack::silent),
    ("5,000 that asked once and idle", 5000, attack::asked_once),
    ("3,000 half requests", 3000, attack::half_said),
    ("200 deaf to large answers", 200, attack::deaf),
    (
        "1,000 deaf to a MiB of their own",
        1000,
        attack::deaf_to_itself,
    ),
    ("16 posting the largest bodies", 16, attack::bodies),
];
const OF_SESSIONS: [(&str, usize, Attack); 2] = [
    ("4,096 silent WebSockets", 4096, attack::sessions),
    ("256 deaf WebSockets with MiBs", 256, attack::deaf_sessions),
];

struct Siege<'a> {
    house: &'a House,
    only: Option<String>,
    witnesses: Witnesses,
    node_liar: Liar,
    manager_liar: Liar,
    report: Report,
}

impl<'a> Siege<'a> {
    /// Builds the house; with all cases to come, until two sectors are sealed and two on their
    /// way.
    async fn begin(house: &'a House, only: Option<String>) -> Result<Self> {
        house.start_devnet().await?;
        let node_liar = Liar::before(house.node_address()?.parse()?)?;
        house.stand_before(Role::Devnet, &node_liar.address().to_string());
        house.start_manager().await?;
        let manager = house.manager_address()?.parse()?;
        let manager_liar = Liar::before(manager)?;
        house.stand_before(Role::Manager, &manager_liar.address().to_string());
        let (pc2, c2) = (Gate::of(house, "pc2"), Gate::of(house, "c2"));
        if only.is_some() {
            pc2.shut("before")?;
        }
        house.start_worker().await?;
        if only.is_none() {
            house
                .until("two PC2 to be done", SOON, async || {
                    Ok((pc2.calls().1 >= 2).then_some(()))
                })
                .await?;
            pc2.shut("before")?;
            finished(house, 2, A_C2).await?;
            c2.shut("before")?;
        }
        house
            .until("the next sectors to stand on their way", SOON, async || {
                Ok(pc2.holds().then_some(()))
            })
            .await?;
        // as the network says of itself
        let node = house.node()?;
        node.set_block_time(Duration::from_secs(1)).await?;
        let witnesses = Witnesses::call(manager, house.worker_address().parse()?);
        for role in Role::ALL {
            witnesses.watch(role, house.pid(role)?);
        }
        Ok(Self {
            house,
            only,
            witnesses,
            node_liar,
            manager_liar,
            report: Report {
                machine: machine(),
                ..Report::default()
            },
        })
    }

    async fn story(&mut self) -> Result<()> {
        let opens = self.next_window().await?;
        let manager = Door::manager(self.house.manager_address()?.parse()?);
        let worker = Door::worker(self.house.worker_address().parse()?);
        for (role, door) in [(Role::Manager, manager), (Role::Worker, worker)] {
            self.case("nobody", role, |hold| {
                thread::sleep(hold);
                String::new()
            })
            .await?;
            for (name, size, attack) in AT_A_DOOR {
                self.case(name, role, |hold| attack(size, door, hold))
                    .await?;
            }
        }
        for (name, size, attack) in OF_SESSIONS {
            self.case(name, Role::Manager, |hold| attack(size, manager, hold))
                .await?;
        }
        self.lies().await?;
        if self.wanted("damage") {
            self.damages().await?;
        }
        if self.wanted("descriptors") {
            self.few_descriptors(manager, worker).await?;
        }
        if self.only.is_none() {
            self.all_windows_since(opens).await?;
            self.sectors_are_finished().await?;
        }
        self.numbers().await
    }

    fn wanted(&self, case: &str) -> bool {
        let mut only = self.only.iter().flat_map(|only| only.split(','));
        self.only.is_none() || only.any(|only| case.contains(only))
    }

    fn fault(&mut self, what: String) {
        eprintln!("FAULT: {what}");
        self.report.faults.push(what);
    }

    /// Runs an attack and looks at what came of it.
    async fn case(
        &mut self,
        name: &str,
        role: Role,
        attack: impl FnOnce(Duration) -> String,
    ) -> Result<()> {
        self.case_of(name, role, HOLD, attack).await
    }

    async fn case_of(
        &mut self,
        name: &str,
        role: Role,
        hold: Duration,
        attack: impl FnOnce(Duration) -> String,
    ) -> Result<()> {
        if !self.wanted(name) {
            return Ok(());
        }
        self.witnesses.forget_most(role);
        let begun = Instant::now();
        let what = attack(hold);
        let asked = self.witnesses.asked(role, begun);
        let most = self.witnesses.most(role);
        thread::sleep(REST);
        let mut row = Row::new(name, role.program(), &asked, most);
        row.after_mib = damocles_e2e::usage::of(self.house.pid(role)?)?.rss >> 20;
        let (numbers, refused) = self.witnesses.numbers_since(begun);
        row.numbers = numbers;
        row.what = what;
        eprintln!("{row:?}");
        self.house.check_alive()?;
        if row.asked == 0 {
            self.fault(format!("{name}: nobody had an answer"));
        }
        if let Some(failed) = asked.iter().find_map(|asked| asked.failed.clone()) {
            let of = row.of;
            self.fault(format!(
                "{name}, {of}: {} of {} had no answer: {failed}",
                row.failed, row.asked
            ));
        }
        if most.rss > MOST_MEMORY {
            self.fault(format!("{name}: {} MiB", row.peak_mib));
        }
        // whose question to the node meets silence is answered later than a case lasts
        if numbers == 0 && !name.ends_with("Silence") {
            let why = self.witnesses.last_refusal();
            self.fault(format!(
                "{name}: no number was handed out, {refused} times none: {why:?}"
            ));
        }
        let faulty = self.house.node()?.faults(MINER).await?;
        if !faulty.is_empty() {
            self.fault(format!("{name}: faulty sectors {faulty:?}"));
        }
        self.report.cases.push(row);
        Ok(())
    }

    /// A node, and then a manager, of whose answers some are spoiled.
    async fn lies(&mut self) -> Result<()> {
        let pc2 = Gate::of(self.house, "pc2");
        for lie in Lie::ALL {
            let name = format!("a node that lies: {lie:?}");
            self.tell(&name, Role::Manager, lie).await?;
        }
        // the sectors go on, with a manager that lies to them, until they want C2
        if self.only.is_none() {
            pc2.open()?;
        }
        for lie in Lie::ALL {
            let name = format!("a manager that lies: {lie:?}");
            self.tell(&name, Role::Worker, lie).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, name: &str, to: Role, lie: Lie) -> Result<()> {
        let liar = |this: &Self| match to {
            Role::Manager => this.node_liar.told(),
            _ => this.manager_liar.told(),
        };
        let told = liar(self);
        self.case_of(name, to, LIE, move |hold| {
            let before = told.count();
            told.tell(Some(lie));
            thread::sleep(hold);
            told.tell(None);
            let after = told.count();
            format!(
                "{} of {} answers spoiled",
                after.1 - before.1,
                after.0 - before.0
            )
        })
        .await
    }

    async fn damages(&mut self) -> Result<()> {
        self.witnesses.pause();
        let mut given: BTreeSet<u64> = self.witnesses.numbers().0.into_iter().collect();
        given.extend(
            self.house
                .sectors()
                .await?
                .iter()
                .map(|sector| sector.id.number),
        );
        let mut told = damage::of_worker(self.house).await?;
        told.extend(damage::of_manager(self.house, &given).await?);
        self.up_again()?;
        for (damage, outcome) in told {
            let outcome = outcome.unwrap_or_else(|error| {
                self.fault(format!("{damage}: {error:#}"));
                format!("{error:#}")
            });
            self.report.damages.push((damage, outcome));
        }
        Ok(())
    }

    fn up_again(&self) -> Result<()> {
        for role in Role::ALL {
            self.witnesses.watch(role, self.house.pid(role)?);
        }
        self.witnesses.go_on();
        Ok(())
    }

    async fn few_descriptors(&mut self, manager: Door, worker: Door) -> Result<()> {
        self.witnesses.pause();
        self.house.stop(Role::Worker)?;
        self.house.stop(Role::Manager)?;
        self.house.limit_descriptors(Some(FEW));
        self.house.start_manager().await?;
        self.house.start_worker().await?;
        self.up_again()?;
        for (role, door) in [(Role::Manager, manager), (Role::Worker, worker)] {
            self.case("1,024 descriptors, 1,100 silent", role, |hold| {
                attack::silent(1100, door, hold)
            })
            .await?;
            self.case("1,024 descriptors, 1,100 that asked once", role, |hold| {
                attack::asked_once(1100, door, hold)
            })
            .await?;
        }
        let ready = wire::get(manager.address, "/readiness")?;
        let said = String::from_utf8_lossy(&ready.body).into_owned();
        if !ready.head.starts_with("HTTP/1.1 200") {
            self.fault(format!("the manager is not ready: {said}"));
        }
        Ok(())
    }

    /// The epoch of the proven sector's next window.
    async fn next_window(&self) -> Result<i64> {
        if self.only.is_some() {
            return Ok(0);
        }
        self.house.node()?.next_opening(MINER, PROVEN).await
    }

    /// Every window that has closed since has its WindowPoSt.
    async fn all_windows_since(&mut self, first: i64) -> Result<()> {
        let node = self.house.node()?;
        let now = node.deadline(MINER).await?;
        let posts = node.posts(MINER).await?;
        let mut opens = first;
        while opens + now.wpost_challenge_window <= now.current_epoch {
            let window = opens..opens + now.wpost_challenge_window;
            let covered = posts
                .iter()
                .any(|post| window.contains(&post.epoch) && post.sectors.contains(&PROVEN));
            if !covered {
                self.fault(format!("no WindowPoSt of sector {PROVEN} in {window:?}"));
            }
            self.report.windows += usize::from(covered);
            opens += now.wpost_proving_period;
        }
        ensure!(self.report.windows > 0, "no window passed");
        Ok(())
    }

    /// The sectors that stood on their way go it to the end.
    async fn sectors_are_finished(&self) -> Result<()> {
        Gate::of(self.house, "c2").open()?;
        finished(self.house, 4, A_C2).await
    }

    /// No number twice, and none forgotten.
    async fn numbers(&mut self) -> Result<()> {
        self.witnesses.pause();
        let (given, twice) = self.witnesses.numbers();
        self.report.numbers = given.len();
        if !twice.is_empty() {
            self.fault(format!("handed out twice: {twice:?}"));
        }
        let sectors = self.house.sectors().await?;
        let known: BTreeSet<u64> = sectors.iter().map(|sector| sector.id.number).collect();
        let lost: Vec<_> = given.iter().filter(|n| !known.contains(n)).collect();
        if !lost.is_empty() {
            self.fault(format!("the manager has forgotten: {lost:?}"));
        }
        let given: BTreeSet<u64> = given.into_iter().collect();
        for thread in self.house.threads().await? {
            let number = thread
                .job_id
                .as_ref()
                .and_then(|job| job.rsplit('-').next()?.parse().ok());
            if number.is_some_and(|number| given.contains(&number)) {
                self.fault(format!("two have the number of {:?}", thread.job_id));
            }
        }
        Ok(())
    }

    fn sum_up(&mut self) -> Result<()> {
        for role in Role::ALL {
            let log = fs::read(self.house.log(role))?;
            let log = String::from_utf8_lossy(&log);
            if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
                self.fault(format!("{}: {line}", role.program()));
            }
        }
        let path = self.report.write()?;
        println!("{}\nwritten to {}", self.report.table(), path.display());
        Ok(())
    }
}

/// Waits until so many sectors of the worker's are finished.
async fn finished(house: &House, count: usize, limit: Duration) -> Result<()> {
    house
        .until(
            format!("{count} sectors to be finished"),
            limit * count as u32,
            async || {
                let sectors = house.sectors().await?;
                let finished = sectors.iter().filter(|sector| sector.finalized).count();
                Ok((finished >= count).then_some(()))
            },
        )
        .await
        .context("sectors on their way")
}
