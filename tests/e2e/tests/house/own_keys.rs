//! The miner's worker key lies in the manager's key store and nowhere else. A sector goes its
//! whole way by it, through a restart with a password of yesterday: until the right one is there
//! nothing is sent, nothing is lost and nobody is called; and no secret is in anything that the
//! house has said or stored.

use crate::road::{A_C2, SOON, until};
use anyhow::{Context, Result, ensure};
use damocles_api::damocles::DamoclesClient;
use damocles_e2e::{
    house::{Files, House, MINER, Role, manager_at},
    node::{PRE_COMMIT, PROVE_COMMIT},
    process,
    scenario::{Gate, scenario},
};
use damocles_node::{KeyInfo, method};
use damocles_types::{Base64, SectorId};
use serde_json::{Value, json};
use std::{fs, time::Duration};

const SECTOR: SectorId = SectorId::new(MINER, 1);
const PASSWORD: &str = "correct horse battery staple";
const YESTERDAYS: &str = "the password of yesterday";

#[test]
fn a_sector_goes_its_way_by_a_key_that_the_node_does_not_have() {
    let limit = Duration::from_secs(900);
    scenario("own-keys", Files::own_keys(), 1, limit, async |house| {
        let c2 = Gate::of(house, "c2");
        c2.shut("before")?;
        house.start_devnet().await?;
        fs::write(house.path("password"), PASSWORD)?;
        let key = move_key(house).await?;

        house.start_manager().await?;
        house.start_worker().await?;
        let node = house.node()?;
        until(house, "the precommit on chain", A_C2, async || {
            let sent = node.messages(MINER, PRE_COMMIT, SECTOR.number).await?;
            Ok(sent.into_iter().find(|m| m.exit_code == 0))
        })
        .await?;

        fs::write(house.path("password"), YESTERDAYS)?;
        house.stop(Role::Manager)?;
        house.start_manager().await?;
        c2.open()?;
        until(
            house,
            "the proof to wait for the key store",
            A_C2,
            async || {
                let manager = house.manager()?;
                let messages = manager.typed().sector_messages(SECTOR).await?;
                let proof = messages.into_iter().find(|m| m.kind == "ProveCommit");
                let waits = |m: &damocles_api::damocles::MessageView| {
                    let said = m.last_error.as_deref().unwrap_or_default();
                    m.state == "Wanted" && said.contains("the password does not open it")
                };
                Ok(proof.filter(waits).map(drop))
            },
        )
        .await?;
        let pending = node.pending(MINER, PROVE_COMMIT).await?;
        ensure!(pending.is_empty(), "nothing is sent: {pending:?}");

        fs::write(house.path("password"), PASSWORD)?;
        until(house, "the sector to be finished", SOON, async || {
            let sectors = house.sectors().await?;
            Ok(sectors.first().filter(|s| s.finalized).map(drop))
        })
        .await?;
        let proofs = node.messages(MINER, PROVE_COMMIT, SECTOR.number).await?;
        ensure!(proofs.len() == 1 && proofs[0].exit_code == 0, "{proofs:?}");
        nothing_is_told(house, &key)
    });
}

/// From the node's wallet into the manager's key store, as an operator does it.
async fn move_key(house: &House) -> Result<KeyInfo> {
    let node = house.node()?;
    let address = node.key().await?;
    let key: KeyInfo = node
        .rpc
        .call(method::WALLET_EXPORT, [json!(address)])
        .await?;
    let home = house.prepare_manager()?;
    let file = house.path("key.hex");
    fs::write(&file, hex::encode(serde_json::to_vec(&key)?))?;
    let mut import = manager_at(&home)?;
    import.args(["util", "wallet", "import"]).arg(&file);
    let said = process::run(import, SOON).await?;
    ensure!(said.status.success(), "{said:?}");
    ensure!(said.out.trim()[1..] == address[1..], "{said:?}");
    fs::remove_file(file)?;
    node.rpc
        .call::<Value>(method::WALLET_DELETE, [json!(address)])
        .await?;
    let has: bool = node.rpc.call(method::WALLET_HAS, [json!(address)]).await?;
    ensure!(!has, "the node has the key no more");
    Ok(key)
}

/// No log and no record has the key or a password in it.
fn nothing_is_told(house: &House, key: &KeyInfo) -> Result<()> {
    house.stop(Role::Worker)?;
    house.stop(Role::Manager)?;
    let mut export = manager_at(&house.path("manager"))?;
    let out = house.path("all.jsonl");
    export.args(["db", "export", "--out"]).arg(&out);
    let done = export.output()?;
    ensure!(done.status.success(), "{done:?}");
    let mut told = fs::read_to_string(out)?;
    for role in [Role::Manager, Role::Worker] {
        told.push_str(&fs::read_to_string(house.log(role))?);
    }
    let base64 = serde_json::to_value(Base64(key.private_key.clone()))?;
    let base64 = base64.as_str().context("base64")?.to_owned();
    let lotus = hex::encode(serde_json::to_vec(key)?);
    let bare = hex::encode(&key.private_key);
    for (secret, what) in [
        (&*base64, "the key in base64"),
        (&lotus, "the key as it is exported"),
        (&bare, "the key in hexadecimal"),
        (PASSWORD, "the password"),
        (YESTERDAYS, "the password of yesterday"),
    ] {
        ensure!(!told.contains(secret), "{what} is told");
    }
    Ok(())
}
