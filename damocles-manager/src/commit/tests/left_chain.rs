//! Finished sectors whose branch of the chain is gone.

use super::*;

/// What an operator sees of it: whether it is listed as finished, and what is said of it.
fn seen(house: &House, id: SectorId) -> (bool, Option<String>) {
    let record = house.rig.db.sector(id).unwrap().unwrap();
    let listed = house.rig.db.sectors(true).unwrap();
    assert_eq!(listed.iter().any(|r| r.id == id), record.in_work());
    assert_eq!(record.fate().finalized, record.left_chain.is_none());
    let left = record.left_chain.map(|left| left.why);
    (left.is_none(), left)
}

fn last(house: &House, id: SectorId) -> MessageRecord {
    house.messages(id).last().unwrap().clone()
}

/// A finished sector: precommitted at 5000, proven at 5020; its worker is done with it.
async fn finished(house: &House) -> SectorId {
    let id = house.seeded().await;
    assert_eq!(house.prove(id, b"proof", false).await.res, R::Accepted);
    house.push().await;
    prove_on_chain(house, id, 0).await;
    assert_eq!(house.proof_state(id).await.0, OnChainState::Landed);
    let done = |record: &mut SectorRecord| {
        (record.online, record.finalized) = (false, true);
        Ok::<_, DbError>(())
    };
    house.rig.db.change(id, Durability::Synced, done).unwrap();
    assert_eq!(seen(house, id), (true, None));
    id
}

/// Its last message is executed with that exit code.
async fn prove_on_chain(house: &House, id: SectorId, code: i64) {
    if code == 0 {
        house.active(id);
    }
    let ok = ProveCommitSectors3Return {
        activation_results: BatchReturn::ok(1),
    };
    let value = RawBytes::serialize(&ok).unwrap();
    house.run(&last(house, id), code, value).await;
}

/// The branch with the proof is gone, and the precommit is in the state again.
async fn lose_the_proof(house: &House, id: SectorId) {
    house.rig.reorganise(5015, 4);
    house.precommitted_at(id, 5000);
    house.rig.round().await;
}

#[tokio::test]
async fn a_finished_sector_that_left_the_chain_is_not_told_as_finished_until_it_is_back() {
    let house = House::new(|_| {});
    let id = finished(&house).await;
    lose_the_proof(&house, id).await;
    let (finished, why) = seen(&house, id);
    assert!(!finished && why.unwrap().contains("left the chain"));
    house.push().await;
    let (finished, why) = seen(&house, id);
    assert!(!finished && why.unwrap().contains("is sent again"));

    prove_on_chain(&house, id, 0).await;
    house.push().await;
    assert_eq!(seen(&house, id), (true, None), "as it was, and by itself");
    assert_eq!(last(&house, id).state, MessageState::Landed);
}

#[tokio::test]
async fn a_proof_that_fails_on_the_new_branch_gets_another_message_while_its_precommit_stands() {
    let house = House::new(|_| {});
    let id = finished(&house).await;
    lose_the_proof(&house, id).await;
    let before = house.messages(id).len();
    // too early: before its challenge on this branch
    prove_on_chain(&house, id, 16).await;
    assert_eq!(last(&house, id).state, MessageState::Failed);
    assert!(!seen(&house, id).0);
    house.push().await;
    assert_eq!(house.messages(id).len(), before + 1);
    let again = last(&house, id);
    assert_eq!(
        (again.state, again.sectors.as_slice()),
        (MessageState::Pushed, &[id][..])
    );
    assert!(!seen(&house, id).0);
    prove_on_chain(&house, id, 0).await;
    house.push().await;
    assert_eq!(seen(&house, id), (true, None));
}

#[tokio::test]
async fn a_proof_that_fails_again_and_again_waits_for_a_person() {
    let house = House::new(|_| {});
    let id = finished(&house).await;
    lose_the_proof(&house, id).await;
    for _ in 0..9 {
        if last(&house, id).state == MessageState::Pushed {
            prove_on_chain(&house, id, 16).await;
        }
        house.push().await;
    }
    let proofs = house.messages(id);
    let proofs = proofs.iter().filter(|m| m.method == 34).count();
    assert_eq!(proofs, 5);
    let record = house.rig.db.sector(id).unwrap().unwrap();
    let left = record.left_chain.unwrap();
    assert!(left.stays && left.why.contains("hint: "), "{left:?}");
}

#[tokio::test]
async fn where_the_precommit_moved_a_person_hears_that_nothing_proves_it_again() {
    let house = House::new(|_| {});
    let id = finished(&house).await;
    // back below the precommit; it lands again at another epoch, and asks for another seed
    house.rig.reorganise(4990, 40);
    house.precommitted_at(id, 5001);
    house.rig.round().await;
    prove_on_chain(&house, id, 16).await;
    house.push().await;
    let (finished, why) = seen(&house, id);
    assert!(!finished && why.unwrap().contains("again some epochs later"));
    house.rig.advance(5);
    house.push().await;
    let record = house.rig.db.sector(id).unwrap().unwrap();
    let left = record.left_chain.clone().unwrap();
    assert!(
        left.stays && left.why.contains("moved the precommit"),
        "{left:?}"
    );
    assert!(left.why.contains("sectors abort 1000 "), "{left:?}");
    let sent = house.messages(id).len();
    house.push().await;
    assert_eq!(house.messages(id).len(), sent, "nothing is spent on it");
}

#[tokio::test]
async fn a_node_that_is_away_changes_nothing_about_it() {
    let house = House::new(|_| {});
    let id = finished(&house).await;
    lose_the_proof(&house, id).await;
    let before = seen(&house, id);
    house.rig.chain.set_down(true);
    house.commit.reconcile().await;
    assert_eq!(seen(&house, id), before);
}
