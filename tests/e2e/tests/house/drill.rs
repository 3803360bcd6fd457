//! A drill, not part of `make test`: three managers on one database, two workers, twelve sectors,
//! and every few seconds one of the managers is killed or cut off from the database, which is
//! itself killed twice. `make drill` runs it.

use crate::{
    chance::{Chance, asked_for},
    road::{SOON, Sectors, all_finished, landed, stay_proven},
    several_managers::nothing_twice,
};
use anyhow::{Result, ensure};
use damocles_e2e::{
    house::{Files, House, Role},
    managers::Managers,
    node::{PRE_COMMIT, PROVE_COMMIT},
    process,
    scenario::scenario,
    wait,
};
use damocles_test_postgres::{Server, Wire};
use std::{
    fs,
    time::{Duration, Instant},
};

const SECTORS: Sectors = Sectors(12);
/// Between two blows.
const PACE: Duration = Duration::from_secs(5);
/// So long one stays cut off: longer than a role lasts.
const CUT: Duration = Duration::from_secs(8);

/// What befalls a manager, by turns that depend on the seed.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    Cut,
}

#[test]
#[ignore = "ten minutes of deaths; make drill"]
fn twelve_sectors_live_through_the_deaths_of_their_managers() {
    let server = Server::start("").expect("PostgreSQL is installed");
    let wires: Vec<Wire> = (0..3).map(|_| Wire::to(server.port()).unwrap()).collect();
    let seed = asked_for("DRILL_SEED", 1);
    println!("DRILL_SEED={seed}");
    let limit = Duration::from_secs(3600);
    let files = Files::shared();
    let config = files.manager.clone();
    scenario("drill", files, SECTORS.0, limit, async |house| {
        let dsns = wires.iter().map(|wire| server.dsn_over(wire.port()));
        let managers = Managers::new(house, config, 3)?.reaching(dsns.collect());
        house.start_devnet().await?;
        for n in 0..managers.count() {
            managers.start(n).await?;
        }
        house.start_worker().await?;
        let mut second = second_worker(house)?;

        let mut drill = Drill {
            house,
            managers: &managers,
            server: &server,
            wires: &wires,
            chance: Chance::new(seed),
            takeovers: Vec::new(),
            blows: 0,
        };
        drill.until_all_are_finished().await?;
        drill.report();

        stay_proven(house, SECTORS).await?;
        nothing_twice(house, SECTORS).await?;
        let ended = second.stop(Duration::from_secs(30))?;
        ensure!(ended.success(), "the second worker ended with {ended}");
        house.stop(Role::Worker)?;
        managers.stop()
    });
}

/// The same file with another name, port and places.
fn second_worker(house: &House) -> Result<process::Daemon> {
    let first = fs::read_to_string(house.path("worker.toml"))?;
    let port = damocles_test_ports::port();
    let mut text = first.replace("name = \"worker\"", "name = \"second\"");
    text = text.replace("/threads/0\"", "/threads/2\"");
    text = text.replace("/threads/1\"", "/threads/3\"");
    let old = house.worker_address();
    let old = old.rsplit(':').next().unwrap_or_default();
    text = text.replace(
        &format!("rpc_server.port = {old}"),
        &format!("rpc_server.port = {port}"),
    );
    let config = house.path("second.toml");
    fs::write(&config, text)?;
    for n in [2, 3] {
        let mut init = process::command(Role::Worker.program())?;
        init.args(["store", "sealing-init", "-l"])
            .arg(house.path(&format!("threads/{n}")));
        let out = init.output()?;
        ensure!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let mut command = process::command(Role::Worker.program())?;
    command.args(["daemon", "-c"]).arg(&config);
    house.start_beside("second-worker", command)
}

struct Drill<'a> {
    house: &'a House,
    managers: &'a Managers<'a>,
    server: &'a Server,
    wires: &'a [Wire],
    chance: Chance,
    /// Which role, and after how long another one had it.
    takeovers: Vec<(String, Duration)>,
    blows: u32,
}

impl Drill<'_> {
    async fn until_all_are_finished(&mut self) -> Result<()> {
        let node = self.house.node()?;
        let mut restarts = vec![PROVE_COMMIT, PRE_COMMIT];
        loop {
            let done = all_finished(self.house, SECTORS, PACE).await;
            if done.is_ok() {
                return Ok(());
            }
            self.house.check_alive()?;
            // the database dies when a third of the sectors is that far
            if let Some(method) = restarts.last() {
                let some = landed(&node, *method, Sectors(SECTORS.0 / 3)).await?;
                if some.is_some() {
                    restarts.pop();
                    println!("the database is killed");
                    self.server.kill();
                    self.server.up("");
                    continue;
                }
            }
            self.blow().await?;
        }
    }

    async fn blow(&mut self) -> Result<()> {
        let n = self.chance.below(self.managers.count() as u64) as usize;
        let blow = match self.chance.below(3) {
            0 => Blow::Cut,
            _ => Blow::Kill,
        };
        self.blows += 1;
        let mut had = Vec::new();
        for role in ["commit", "messages", "post"] {
            let holder = self.managers.holder(role).await.ok().flatten();
            had.extend(holder.filter(|(by, _)| *by == n).map(|_| role));
        }
        println!("{blow:?}: manager {n}, which had {had:?}");
        match blow {
            Blow::Kill => self.managers.kill9(n)?,
            Blow::Cut => {
                self.wires[n].cut();
                // questions go to one that can answer
                self.managers.ask(if n == 0 { 1 } else { 0 });
            }
        }
        let struck = Instant::now();
        for role in had {
            let next = wait::until(format!("another holder of {role}"), SOON, async || {
                let holder = self.managers.holder(role).await?;
                Ok(holder.filter(|(by, _)| *by != n))
            });
            next.await?;
            self.takeovers.push((role.to_owned(), struck.elapsed()));
        }
        match blow {
            Blow::Kill => self.managers.start(n).await,
            Blow::Cut => {
                let left = CUT.saturating_sub(struck.elapsed());
                let _ = all_finished(self.house, SECTORS, left).await;
                self.wires[n].mend();
                Ok(())
            }
        }
    }

    fn report(&self) {
        let mut times: Vec<f64> = self
            .takeovers
            .iter()
            .map(|(_, t)| t.as_secs_f64())
            .collect();
        times.sort_by(f64::total_cmp);
        let shown = |at: usize| times.get(at).map_or(0.0, |t| *t);
        println!(
            "{} blows; {} takeovers, median {:.1} s, longest {:.1} s",
            self.blows,
            times.len(),
            shown(times.len() / 2),
            shown(times.len().saturating_sub(1))
        );
    }
}
