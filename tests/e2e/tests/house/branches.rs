//! The chain takes back what it had: a branch of 60 epochs is lost while the node is down, a
//! branch below what landed is lost with everything that waited, another message takes a nonce of
//! ours. Each of it befalls precommits and proofs, each time the manager is killed as it happens;
//! every sector is proven in the end, nobody is called, and nothing is told as finished that the
//! chain does not have.

use crate::road::{
    A_C2, SOON, Sectors, all_finished, all_land, all_wait_in_the_pool, landed,
    nothing_is_told_that_is_not_so, stay_proven, told, until,
};
use anyhow::Result;
use damocles_e2e::{
    house::{Files, House, Role},
    node::{PRE_COMMIT, PROVE_COMMIT},
    scenario::{Gate, scenario},
};
use damocles_node::devnet::MessageRecord;
use std::time::Duration;

const TWO: Sectors = Sectors(2);
const BRANCH: i64 = 60;

#[test]
fn what_the_chain_takes_back_is_brought_there_again() {
    let limit = Duration::from_secs(1500);
    let files = Files::day("worker.two.toml");
    scenario("branches", files, TWO.0, limit, async |house| {
        let c2 = Gate::of(house, "c2");
        c2.shut("before")?;
        house.start_devnet().await?;
        let node = house.node()?;
        // a past that can be lost
        node.mine(2 * BRANCH as u64).await?;
        node.hold_messages(true).await?;
        house.start_manager().await?;
        house.start_worker().await?;

        all_wait_in_the_pool(house, PRE_COMMIT, TWO).await?;
        nonce_taken(house).await?;
        let precommits = all_land(house, PRE_COMMIT, TWO).await?;
        branch_below(house, PRE_COMMIT, &precommits).await?;
        all_land(house, PRE_COMMIT, TWO).await?;
        until(house, "C2 to stand at the gate", SOON, async || {
            Ok(c2.holds().then_some(()))
        })
        .await?;
        branch_with_the_node_down(house, PRE_COMMIT).await?;
        all_land(house, PRE_COMMIT, TWO).await?;

        // however fast a C2 is: a branch with proofs on it begins above the precommits and their
        // seeds
        node.mine(BRANCH as u64 + 20).await?;
        node.hold_messages(true).await?;
        c2.open()?;
        all_wait_in_the_pool(house, PROVE_COMMIT, TWO).await?;
        nonce_taken(house).await?;
        all_land(house, PROVE_COMMIT, TWO).await?;
        all_finished(house, TWO, A_C2).await?;
        nothing_is_told_that_is_not_so(house, TWO).await?;

        let proofs = all_land(house, PROVE_COMMIT, TWO).await?;
        node.hold_messages(true).await?;
        branch_below(house, PROVE_COMMIT, &proofs).await?;
        told_as_open(house).await?;
        node.hold_messages(false).await?;
        all_land(house, PROVE_COMMIT, TWO).await?;
        branch_with_the_node_down(house, PROVE_COMMIT).await?;
        all_land(house, PROVE_COMMIT, TWO).await?;
        stay_proven(house, TWO).await?;
        nothing_is_told_that_is_not_so(house, TWO).await
    });
}

/// While blocks carry no messages: the manager is killed, and another message takes the nonce of
/// the first of its own. With the manager back, blocks carry messages again.
async fn nonce_taken(house: &House) -> Result<()> {
    let node = house.node()?;
    house.kill9(Role::Manager)?;
    node.take_nonce(&node.key().await?).await?;
    node.hold_messages(false).await?;
    house.start_manager().await
}

/// The chain goes back to where none of the messages had landed, and the pool is empty.
async fn branch_below(house: &House, method: u64, messages: &[MessageRecord]) -> Result<()> {
    let node = house.node()?;
    house.kill9(Role::Manager)?;
    let first = messages.iter().map(|message| message.epoch).min();
    let deep = node.epoch().await? - first.expect("messages") + 2;
    node.reorg(deep, true).await?;
    gone(house, method).await?;
    house.start_manager().await
}

/// The node is away, the manager is killed in that time, and when the node is back its chain has
/// gone another way for 60 epochs. What was on the lost branch waits in the pool again.
async fn branch_with_the_node_down(house: &House, method: u64) -> Result<()> {
    // it may ask in vain while the node still goes
    let said = std::fs::metadata(house.log(Role::Manager))?.len();
    house.stop(Role::Devnet)?;
    house
        .until("the manager to miss its node", SOON, async || {
            let log = std::fs::read_to_string(house.log(Role::Manager))?;
            let since = log.get(said as usize..).unwrap_or_default();
            Ok(since.contains("does not answer").then_some(()))
        })
        .await?;
    house.kill9(Role::Manager)?;
    house.start_devnet().await?;
    let node = house.node()?;
    node.hold_messages(true).await?;
    node.reorg(BRANCH, false).await?;
    gone(house, method).await?;
    node.hold_messages(false).await?;
    house.start_manager().await
}

/// The test does what it says: no message of the sectors is on chain any more.
async fn gone(house: &House, method: u64) -> Result<()> {
    let left = landed(&house.node()?, method, TWO).await?;
    anyhow::ensure!(left.is_none(), "message {method} is still there: {left:#?}");
    Ok(())
}

/// What is not on chain is not told as landed.
async fn told_as_open(house: &House) -> Result<()> {
    for sector in TWO.ids() {
        until(house, "the proof to be told as open", SOON, async || {
            let states = told(house, sector, "ProveCommit").await?;
            let over = |state: &String| state == "Landed" || state == "Final";
            Ok((!states.iter().any(over)).then_some(()))
        })
        .await?;
    }
    Ok(())
}
