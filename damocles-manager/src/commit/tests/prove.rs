//! Proofs.

use super::*;

#[tokio::test]
async fn a_proof_goes_on_chain() {
    let house = House::new(|_| {});
    let id = house.seeded().await;
    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    house.push().await;
    let messages = house.messages(id);
    let message = messages.last().unwrap();
    assert_eq!(message.method, 34);
    assert_eq!(
        message.value,
        TokenAmount::from_whole(2),
        "pledge − deposit"
    );
    let params: ProveCommitSectors3Params = RawBytes::new(message.params.0.clone())
        .deserialize()
        .unwrap();
    assert_eq!(params.sector_activations[0].sector_number, id.number);
    assert_eq!(params.sector_proofs[0].to_vec(), b"proof");
    assert!(params.aggregate_proof.is_empty() && params.aggregate_proof_type.is_none());

    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    assert_eq!(
        house.prove(id, b"other", false).await.res,
        R::MismatchedSubmission
    );
    house.active(id);
    let ok = ProveCommitSectors3Return {
        activation_results: BatchReturn::ok(1),
    };
    let value = RawBytes::serialize(&ok).unwrap();
    house.run(message, 0, value).await;
    assert_eq!(house.proof_state(id).await.0, OnChainState::Landed);
}

#[tokio::test]
async fn proofs_are_checked_before_they_are_taken() {
    let house = House::new(|_| {});
    let id = house.seeded().await;
    *house.says.0.lock() = Ok(SealVerdict::Bad("it does not verify".into()));
    let resp = house.prove(id, b"wrong", false).await;
    let again = (R::Rejected, Some(Reason::ProofInvalid));
    assert_eq!((resp.res, resp.reason), again);
    assert!(resp.desc.unwrap().contains("does not verify"));

    *house.says.0.lock() = Err("the key is missing".into());
    let e = house.commit.submit_proof(id, proof(b"x"), false).await;
    assert!(matches!(e, Err(CommitError::Verify(_))));

    *house.says.0.lock() = Ok(SealVerdict::Good);
    house.rig.chain.edit().fork = 1;
    let resp = house.prove_twice(id).await;
    let moved = (R::Rejected, Some(Reason::SeedChanged));
    assert_eq!((resp.res, resp.reason), moved);
    house.rig.chain.edit().fork = 0;
    house.rig.chain.edit().precommits.clear();
    let resp = house.prove_twice(id).await;
    let over = (R::Rejected, Some(Reason::NumberUsed));
    assert_eq!((resp.res, resp.reason), over);
    // the number is free: it was on a branch that is gone, and no message of ours brings it back
    house.rig.chain.edit().allocated.clear();
    let resp = house.prove(id, b"proof", false).await;
    let again = (R::MismatchedSubmission, Some(Reason::PreCommitGone));
    assert_eq!((resp.res, resp.reason), again);
    assert!(house.rig.db.online(id).unwrap().proof.is_none());
}

#[tokio::test]
async fn a_database_from_an_old_backup_costs_no_sector() {
    let house = House::new(|_| {});
    let id = house.seeded().await;
    let seed = house.rig.db.online(id).unwrap().seed;
    let change = |change: &dyn Fn(&mut SectorRecord)| {
        let changed = house.rig.db.change(id, Durability::Synced, |record| {
            change(record);
            Ok::<_, DbError>(())
        });
        changed.unwrap();
    };
    let asks_for = |resp: SubmitResp, state: &str| {
        assert_eq!(resp.res, R::MismatchedSubmission);
        let why = resp.desc.unwrap();
        assert!(why.contains(&format!("--state {state}")), "{why}");
    };
    change(&|record| {
        record.pre = None;
        record.seed = None;
    });
    asks_for(house.prove(id, b"proof", false).await, "PC2Done");
    assert!(house.rig.db.online(id).unwrap().proof.is_none());

    // what the worker does then: the precommit, found on chain; the seed; the proof
    let sent = house.messages(id).len();
    let info = house.info().await;
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Landed);
    asks_for(
        house.prove(id, b"proof", false).await,
        "PersistanceSubmitted",
    );
    change(&|record| record.seed = seed);
    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    house.push().await;
    assert_eq!(house.messages(id).len(), sent + 1, "the proof's alone");
}

#[tokio::test]
async fn a_batch_of_proofs_may_succeed_in_parts() {
    let house = House::new(|m| m.prove.batch.threshold = 3);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(house.seeded().await);
    }
    for id in ids.iter().rev() {
        assert_eq!(house.prove(*id, b"proof", false).await.res, R::Accepted);
    }
    house.push().await;
    let message = house.messages(ids[0]).last().unwrap().clone();
    assert_eq!(message.sectors, ids, "in the order of numbers");
    house.active(ids[0]);
    let codes = [
        ExitCode::OK,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        ExitCode::USR_INSUFFICIENT_FUNDS,
    ];
    let partly = ProveCommitSectors3Return {
        activation_results: BatchReturn::of(&codes),
    };
    let value = RawBytes::serialize(&partly).unwrap();
    house.run(&message, 0, value).await;
    let mut states = Vec::new();
    for id in &ids {
        states.push(house.proof_state(*id).await.0);
    }
    assert_eq!(
        states,
        [
            OnChainState::Landed,
            OnChainState::PermFailed,
            OnChainState::Failed
        ]
    );
}

#[tokio::test]
async fn a_sector_that_is_active_already_needs_no_message() {
    let house = House::new(|_| {});
    let id = house.seeded().await;
    house.active(id);
    let before = house.messages(id).len();
    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    house.push().await;
    assert_eq!(house.messages(id).len(), before);
    house.rig.advance(10);
    assert_eq!(house.proof_state(id).await.0, OnChainState::Landed);
}
