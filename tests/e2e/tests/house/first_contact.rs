//! How a manager meets its node: it waits for one that is not there, and refuses one that it
//! can never work with, with a sentence and an exit code of its own.

use anyhow::{Result, ensure};
use damocles_e2e::{
    house::{Files, House, Role},
    scenario::scenario,
};
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(60);
/// Refused by the other side, and not found (docs: exit codes in `common/daemon/src/exit.rs`).
const REFUSED: i32 = 5;
const NOT_FOUND: i32 = 7;

#[test]
fn a_manager_waits_for_its_node_and_says_so() {
    let limit = Duration::from_secs(180);
    scenario("late-node", Files::gated(), 1, limit, async |house| {
        // once, so that address and token are known
        house.start_devnet().await?;
        house.stop(Role::Devnet)?;
        house.spawn_manager()?;
        house
            .until("the manager to say what it waits for", SOON, async || {
                Ok(house
                    .said(Role::Manager)
                    .contains("waiting for the Filecoin node")
                    .then_some(()))
            })
            .await?;
        house.start_devnet().await?;
        house
            .until("the manager to find its node", SOON, async || {
                Ok(house
                    .said(Role::Manager)
                    .contains("the Filecoin node answers")
                    .then_some(()))
            })
            .await?;
        house.manager_answers().await
    });
}

#[test]
fn a_manager_refuses_what_can_never_work() {
    let limit = Duration::from_secs(180);
    scenario("wrong-node", Files::gated(), 1, limit, async |house| {
        house.start_devnet().await?;
        let token = house.node_token()?;
        let foreign = format!("{}AAAA", &token[..token.len() - 4]);
        refuses(
            house,
            &token,
            &foreign,
            REFUSED,
            "does not accept the token",
        )
        .await?;
        refuses(house, "Actor = 1000", "Actor = 4711", NOT_FOUND, "4711").await
    });
}

/// With `from` changed to `to` in its config, the manager ends with that code and sentence.
async fn refuses(house: &House, from: &str, to: &str, code: i32, sentence: &str) -> Result<()> {
    house.write_manager_config()?;
    let config = fs::read_to_string(house.manager_config())?;
    ensure!(config.contains(from), "the config holds {from:?}");
    fs::write(house.manager_config(), config.replace(from, to))?;
    house.run_manager()?;
    let status = house.ended(Role::Manager, SOON).await?;
    ensure!(status.code() == Some(code), "{to:?} ended with {status}");
    let said = house.said(Role::Manager);
    ensure!(said.contains(sentence), "no {sentence:?} in:\n{said}");
    ensure!(said.contains("hint: "), "no hint in:\n{said}");
    Ok(())
}
