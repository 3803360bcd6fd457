//! A worker that was away for longer than the chain takes a ticket: it looks before it goes on, and no
//! hours are spent on a replica that would be refused.

use crate::road::{A_C2, SOON, Sectors, all_finished, nothing_is_told_that_is_not_so};
use anyhow::ensure;
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_e2e::{
    house::{Files, MINER, Role},
    node::PRE_COMMIT,
    scenario::{Gate, scenario},
};
use damocles_types::SectorId;
use std::time::Duration;

const SECTOR: SectorId = SectorId::new(MINER, 1);
/// More epochs than the chain takes a ticket for, by its miner actor's policy.
const AWAY: u64 = 4_000;

#[test]
fn a_sector_whose_ticket_died_while_the_worker_was_away_is_labelled_anew_before_pc2() {
    let limit = Duration::from_secs(900);
    scenario("old-ticket", Files::gated(), 1, limit, async |house| {
        let pc2 = Gate::of(house, "pc2");
        pc2.shut("before")?;
        house.start_devnet().await?;
        house.start_manager().await?;
        house.start_worker().await?;
        house
            .until("PC2 to stand at the gate", SOON, async || {
                Ok(pc2.holds().then_some(()))
            })
            .await?;
        house.kill9(Role::Worker)?;
        let node = house.node()?;
        let before = node.epoch().await?;
        node.mine(AWAY).await?;
        let after = node.epoch().await?;
        ensure!(after >= before + 3_800, "{before} to {after}");
        pc2.open()?;
        house.start_worker().await?;

        let one = Sectors(1);
        all_finished(house, one, A_C2 + SOON).await?;
        nothing_is_told_that_is_not_so(house, one).await?;
        let timeline = house.timeline(SECTOR).await?;
        let to = |state: &str, next: &str| ended(&timeline, state, next);
        ensure!(to("PC1Done", "TreeDBuilt") == 1, "{timeline:#?}");
        ensure!(to("PC2Done", "TreeDBuilt") == 0, "{timeline:#?}");
        ensure!(to("TicketAssigned", "PC1Done") == 2, "{timeline:#?}");
        ensure!(to("PC1Done", "PC2Done") == 1, "{timeline:#?}");
        // one task before the kill, and one with the new ticket
        ensure!(pc2.calls() == (2, 1), "{:?} tasks and answers", pc2.calls());
        let sent = node.messages(MINER, PRE_COMMIT, SECTOR.number).await?;
        ensure!(sent.len() == 1 && sent[0].exit_code == 0, "{sent:#?}");
        Ok(())
    });
}

/// How often a step of a state led to another one.
fn ended(timeline: &[TimelineEntry], state: &str, to: &str) -> usize {
    let leads = |entry: &&TimelineEntry| {
        entry.state == state && matches!(&entry.ending, Some(Ending::Done { next }) if next == to)
    };
    timeline.iter().filter(leads).count()
}
