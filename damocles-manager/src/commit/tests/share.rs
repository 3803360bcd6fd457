//! Two managers that share miners: each miner's sectors are put into messages by one of them, and by
//! another one when that is gone.

use super::*;
use crate::roles::{Role, Roles, Scope as _};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One manager's share.
struct Manager {
    commit: Commit,
    served: Served,
    task: JoinHandle<anyhow::Result<()>>,
}

fn start(house: &House, name: &str, miners: &[u64]) -> Manager {
    let rig = &house.rig;
    let served = Served::new(miners.iter().map(|m| miner(*m)).collect());
    let commit = Commit::new(
        rig.db.clone(),
        rig.chain.clone(),
        Facts::new(rig.chain.clone()),
        rig.another(),
        house.says.clone(),
        served.clone(),
    );
    let roles = Roles::new(rig.db.clone(), name, Role::ALL);
    let running = run(commit.clone(), roles, CancellationToken::new());
    Manager {
        commit,
        served,
        task: tokio::spawn(running),
    }
}

/// A sector whose precommit is handed to that manager.
async fn submitted(house: &House, to: &Manager, miner: u64) -> SectorId {
    let db = &house.rig.db;
    let sector = db.allocate(miner, PROOF, 0, 999, Some).unwrap().unwrap();
    let key = house.rig.chain.head().await.unwrap().cids;
    let of = entropy(miner);
    let tag = DomainTag::SealRandomness;
    let ticket = house.rig.chain.ticket_randomness(tag, 4000, &of, &key);
    let info = PreCommitOnChainInfo {
        ticket: Ticket {
            ticket: ticket.await.unwrap(),
            epoch: 4000,
        },
        ..house.info().await
    };
    let allocated = AllocatedSector {
        id: sector.id,
        proof_type: PROOF,
    };
    let taken = to.commit.submit_pre_commit(allocated, info, false).await;
    assert_eq!(taken.unwrap().res, R::Accepted);
    sector.id
}

async fn carried(house: &House, id: SectorId) {
    while house.messages(id).is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn held(house: &House, miner: u64, by: &str) {
    let is = || {
        let roles = house.rig.db.roles().unwrap();
        let ours = |h: &damocles_kv::Held| h.role == "commit" && h.scope == miner.name();
        let by = format!("{by} ");
        roles.iter().any(|h| ours(h) && h.by.starts_with(&by))
    };
    while !is() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_managers_share_miners_and_one_takes_over_when_the_other_is_gone() {
    let house = House::on(Rig::shared(5000), |_| {});
    house.rig.chain.add_miner(1001);
    let a = start(&house, "a", &[1000]);
    let b = start(&house, "b", &[1001]);
    held(&house, 1000, "a").await;
    held(&house, 1001, "b").await;
    for manager in [&a, &b] {
        manager.served.replace(vec![miner(1000), miner(1001)]);
    }
    // whoever is asked
    let mut all = Vec::new();
    for of in [1000, 1001] {
        for manager in [&a, &b] {
            all.push(submitted(&house, manager, of).await);
        }
    }
    for id in &all {
        carried(&house, *id).await;
    }
    b.task.abort();
    for of in [1000, 1001] {
        let id = submitted(&house, &a, of).await;
        carried(&house, id).await;
        all.push(id);
    }
    held(&house, 1001, "a").await;
    for id in all {
        assert_eq!(house.messages(id).len(), 1, "{id}");
    }
    a.task.abort();
}

/// Its operator sees why its sectors wait.
#[tokio::test]
async fn sectors_of_a_miner_that_left_the_configuration_are_told_so() {
    let house = House::on(Rig::shared(5000), |_| {});
    let before = Manager {
        commit: house.commit.clone(),
        served: Served::new(Vec::new()),
        task: tokio::spawn(async { Ok(()) }),
    };
    let id = submitted(&house, &before, 1000).await;
    let after = start(&house, "after", &[1001]);
    let told = || {
        let record = house.rig.db.sector(id).unwrap().unwrap();
        match record.carriage(Commitment::PreCommit) {
            Some(Carriage::Ready { error, .. }) => error.clone(),
            other => panic!("{other:?}"),
        }
    };
    while told().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(told().unwrap().contains("not in the config"));
    after.task.abort();
}
