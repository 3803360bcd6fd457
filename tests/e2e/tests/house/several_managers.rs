//! Three managers on one database, and whoever has the role that matters is killed when it
//! matters; the database is killed as well. Nothing is done twice, and nothing is left undone.

use crate::road::{
    SOON, Sectors, all_finished, all_land, all_wait_in_the_pool, stay_proven, until,
};
use anyhow::{Context as _, Result, bail, ensure};
use damocles_api::{code, sealer::SealerClient as _};
use damocles_e2e::{
    house::{Files, House, MINER, Role},
    managers::Managers,
    node::{PRE_COMMIT, PROVE_COMMIT},
    scenario::scenario,
    wait,
};
use damocles_test_postgres::{Server, Wire};
use damocles_types::SectorId;
use jsonrpsee::core::ClientError;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const SECTORS: Sectors = Sectors(2);

#[test]
fn several_managers_on_one_database_seal_and_prove_as_one() {
    // with its syncs: it is killed
    let Some(server) = Server::start("") else {
        return;
    };
    let limit = Duration::from_secs(1800);
    let files = Files::shared();
    let config = files.manager.clone();
    scenario("several-managers", files, SECTORS.0, limit, async |house| {
        let wires: Vec<Wire> = (0..3)
            .map(|_| Wire::to(server.port()))
            .collect::<std::io::Result<_>>()?;
        let dsns = wires.iter().map(|wire| server.dsn_over(wire.port()));
        let managers = Managers::new(house, config, 3)?.reaching(dsns.collect());
        house.start_devnet().await?;
        for n in 0..managers.count() {
            managers.start(n).await?;
        }
        cut_off(&managers, &wires[1]).await?;
        let node = house.node()?;
        node.hold_messages(true).await?;
        house.start_worker().await?;

        all_wait_in_the_pool(house, PRE_COMMIT, SECTORS).await?;
        falls(house, &managers, "messages").await?;
        node.hold_messages(false).await?;
        all_land(house, PRE_COMMIT, SECTORS).await?;

        falls(house, &managers, "commit").await?;
        server.kill();
        server.up("");
        node.hold_messages(true).await?;
        all_wait_in_the_pool(house, PROVE_COMMIT, SECTORS).await?;
        falls(house, &managers, "messages").await?;
        server.kill();
        server.up("");
        node.hold_messages(false).await?;
        all_land(house, PROVE_COMMIT, SECTORS).await?;
        all_finished(house, SECTORS, SOON).await?;

        falls(house, &managers, "post").await?;
        stay_proven(house, SECTORS).await?;
        nothing_twice(house, SECTORS).await?;
        house.stop(Role::Worker)?;
        managers.stop()
    });
}

/// The second manager is cut off from the database for a while. It says so wherever it is asked,
/// what it cannot do it will be able to do later, and nobody has to start it again.
async fn cut_off(managers: &Managers<'_>, wire: &Wire) -> Result<()> {
    const IT: usize = 1;
    let ready = async |is: bool| {
        let (status, body) = managers.page(IT, "/readiness").await?;
        Ok(((status == 200) == is).then_some(body))
    };
    wait::until("readiness", SOON, async || ready(true).await).await?;
    wire.cut();
    let cut_off = async || ready(false).await;
    let why = wait::until("a manager that is cut off", SOON, cut_off).await?;
    ensure!(why.contains("database"), "{why}");
    let (alive, _) = managers.page(IT, "/healthcheck").await?;
    ensure!(alive == 200, "it is not to be killed for that: {alive}");
    let asked = managers.door(IT)?;
    let sector = SectorId::new(MINER, 1);
    let refused = asked.typed().poll_pre_commit_state(sector).await;
    match refused {
        Err(ClientError::Call(told)) if told.code() == code::NOT_NOW => {}
        other => bail!("a worker was told {other:?}"),
    }
    wire.mend();
    wait::until("readiness", SOON, async || ready(true).await).await?;
    Ok(())
}

/// Kills the manager that has the role, waits until another one has it, and starts the one
/// again.
async fn falls(house: &House, managers: &Managers<'_>, role: &str) -> Result<()> {
    let (first, fence) = until(house, &format!("a holder of {role}"), SOON, async || {
        managers.holder(role).await
    })
    .await?;
    managers.kill9(first)?;
    let killed = Instant::now();
    let (next, higher) = until(
        house,
        &format!("another holder of {role}"),
        SOON,
        async || {
            let holder = managers.holder(role).await?;
            Ok(holder.filter(|(next, _)| *next != first))
        },
    )
    .await?;
    println!(
        "{role}: manager {first} was killed, manager {next} had the role after {:.1} s",
        killed.elapsed().as_secs_f64()
    );
    ensure!(
        higher > fence,
        "{role}: fence {fence} was followed by {higher}"
    );
    managers.start(first).await.context("started again")
}

/// One message of each kind for each sector, and every number once.
pub(crate) async fn nothing_twice(house: &House, sectors: Sectors) -> Result<()> {
    let node = house.node()?;
    for number in sectors.numbers() {
        for method in [PRE_COMMIT, PROVE_COMMIT] {
            let sent = node.messages(MINER, method, number).await?;
            ensure!(sent.len() == 1, "method {method} of {number}: {sent:#?}");
        }
    }
    let known = house.sectors().await?;
    let numbers: BTreeSet<u64> = known.iter().map(|s| s.id.number).collect();
    ensure!(
        numbers == sectors.numbers().collect() && known.len() as u64 == sectors.0,
        "sectors {numbers:?}"
    );
    Ok(())
}
