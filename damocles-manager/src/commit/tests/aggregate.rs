//! Proofs as one aggregate, made by somebody who does what the test says: when it goes, and that no
//! proof is lost when it does not.

use super::*;
use crate::{
    chain::script::ProofGas,
    db::record::Carriage,
    model::Commitment as Kind,
    policy::{Aggregate, AggregatePolicy},
};
use async_trait::async_trait;
use damocles_flow::message::MessageState;
use damocles_processor::task::{self, AggregateOutput};
use std::collections::VecDeque;
use tokio::sync::Notify;

const MADE: &[u8] = b"one of all";

/// What the next call comes to.
#[derive(Debug)]
enum Order {
    /// These proofs are wrong.
    Wrong(Vec<u64>),
    /// It fails; whether the same may succeed later.
    Fail(bool),
    Hang,
    /// It goes on when it is told to.
    Pause,
}

#[derive(Debug, Default)]
struct Packs {
    orders: Mutex<VecDeque<Order>>,
    /// What it was given, in order.
    given: Mutex<Vec<task::Aggregate>>,
    hanging: Notify,
    go_on: Notify,
    unready: Mutex<Option<String>>,
}

#[async_trait]
impl Aggregator for Packs {
    fn ready(&self) -> Result<(), String> {
        self.unready.lock().clone().map_or(Ok(()), Err)
    }

    async fn aggregate(&self, task: task::Aggregate) -> Result<AggregateOutput, AggregateError> {
        self.given.lock().push(task);
        let order = self.orders.lock().pop_front();
        match order {
            None => Ok(made()),
            Some(Order::Pause) => {
                self.hanging.notify_one();
                self.go_on.notified().await;
                Ok(made())
            }
            Some(Order::Wrong(wrong)) => Ok(AggregateOutput {
                proof: Base64::default(),
                wrong,
            }),
            Some(Order::Fail(again)) => Err(AggregateError {
                why: "it was killed".into(),
                again,
            }),
            Some(Order::Hang) => {
                self.hanging.notify_one();
                std::future::pending().await
            }
        }
    }
}

fn made() -> AggregateOutput {
    AggregateOutput {
        proof: Base64(MADE.to_vec()),
        wrong: vec![],
    }
}

/// A house whose proofs take so much gas.
fn house(packs: &Arc<Packs>, when: Aggregate, single: i64, aggregate: i64) -> House {
    let mut house = House::new(|m| {
        m.prove.batch.threshold = 4;
        m.prove.batch.aggregate = AggregatePolicy {
            when,
            above_base_fee: TokenAmount::from_nano(2),
        };
    });
    house.commit = house.commit.clone().with_aggregator(packs.clone());
    let mut chain = house.rig.chain.edit();
    chain.base_fee = TokenAmount::from_nano(2);
    chain.proof_gas = Some(ProofGas {
        single,
        aggregate,
        refuses_aggregates: false,
    });
    drop(chain);
    house
}

impl House {
    /// So many sectors with a proof each.
    async fn proven(&self, count: usize) -> Vec<SectorId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.seeded().await);
        }
        for id in &ids {
            assert_eq!(
                self.prove(*id, &proof_of(*id), false).await.res,
                R::Accepted
            );
        }
        ids
    }

    fn params(&self, id: SectorId) -> (MessageRecord, ProveCommitSectors3Params) {
        let message = self.messages(id).pop().unwrap();
        assert_eq!(message.method, 34);
        let params = RawBytes::new(message.params.0.clone());
        (message, params.deserialize().unwrap())
    }

    /// They went singly in one message; what is said of it.
    fn singly(&self, ids: &[SectorId]) -> String {
        let (message, params) = self.params(ids[0]);
        assert_eq!(message.sectors, ids);
        assert!(params.aggregate_proof.is_empty() && params.aggregate_proof_type.is_none());
        let proofs: Vec<_> = params.sector_proofs.iter().map(|p| p.to_vec()).collect();
        let expected: Vec<_> = ids.iter().map(|id| proof_of(*id)).collect();
        assert_eq!(proofs, expected);
        message.note.unwrap_or_default()
    }

    /// They went as one aggregate; what is said of it.
    fn aggregated(&self, ids: &[SectorId]) -> String {
        let (message, params) = self.params(ids[0]);
        assert_eq!(message.sectors, ids);
        let numbers: Vec<_> = params
            .sector_activations
            .iter()
            .map(|a| a.sector_number)
            .collect();
        assert_eq!(numbers, ids.iter().map(|id| id.number).collect::<Vec<_>>());
        assert!(params.sector_proofs.is_empty());
        assert_eq!(params.aggregate_proof.to_vec(), MADE);
        let snark_pack = fvm_shared::sector::RegisteredAggregateProof::SnarkPackV2;
        assert_eq!(params.aggregate_proof_type, Some(snark_pack));
        message.note.unwrap()
    }
}

fn proof_of(id: SectorId) -> Vec<u8> {
    format!("proof of {}", id.number).into_bytes()
}

/// 45M for each singly is what mainnet charges, about.
const DEAR: i64 = 45_000_000;

#[tokio::test]
async fn proofs_go_as_one_where_that_is_cheaper_and_lands_as_others_do() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Auto, DEAR, 150_000_000);
    let ids = house.proven(5).await;
    house.push().await;
    let note = house.aggregated(&ids);
    assert!(
        note.contains("150M gas as one aggregate, 225M singly"),
        "{note}"
    );

    let task = packs.given.lock().pop().unwrap();
    assert_eq!((task.miner_id, task.registered_proof), (1000, PROOF));
    for (sector, id) in task.sectors.iter().zip(&ids) {
        let record = house.rig.db.online(*id).unwrap();
        assert_eq!(sector.sector_id, id.number);
        assert_eq!(sector.comm_r, COMM_R);
        assert_eq!(sector.comm_d, record.pre.as_ref().unwrap().comm_d);
        assert_eq!(sector.ticket, record.pre.unwrap().ticket.ticket.0);
        assert_eq!(sector.seed, record.seed.unwrap().seed.0);
        assert_eq!(sector.proof.0, proof_of(*id));
    }

    for id in &ids {
        house.active(*id);
    }
    let ok = ProveCommitSectors3Return {
        activation_results: BatchReturn::ok(5),
    };
    let (message, _) = house.params(ids[0]);
    let value = RawBytes::serialize(&ok).unwrap();
    house.run(&message, 0, value).await;
    for id in &ids {
        assert_eq!(house.proof_state(*id).await.0, OnChainState::Landed);
    }
}

#[tokio::test]
async fn proofs_go_singly_where_an_aggregate_saves_nothing() {
    // (gas of one, gas of the aggregate, base fee) → whether one was even made
    for (single, aggregate, base_fee, made) in [
        // the tables say that it cannot pay
        (1_000, 1, 2, false),
        // measured, it does not
        (DEAR, 4 * DEAR, 2, true),
        // it would, were blocks not so cheap
        (DEAR, 1, 1, false),
    ] {
        let packs = Arc::new(Packs::default());
        let house = house(&packs, Aggregate::Auto, single, aggregate);
        house.rig.chain.edit().base_fee = TokenAmount::from_nano(base_fee);
        let ids = house.proven(4).await;
        house.push().await;
        let note = house.singly(&ids);
        assert!(note.starts_with("singly: "), "{note}");
        assert_eq!(!packs.given.lock().is_empty(), made, "{note}");
    }
}

#[tokio::test]
async fn the_operator_may_want_it_always_or_never() {
    for (when, cheaper, goes) in [
        (Aggregate::Always, false, true),
        (Aggregate::Never, true, false),
    ] {
        let packs = Arc::new(Packs::default());
        let gas = if cheaper { 1 } else { 9 * DEAR };
        let house = house(&packs, when, DEAR, gas);
        let ids = house.proven(4).await;
        house.push().await;
        match goes {
            true => drop(house.aggregated(&ids)),
            false => drop(house.singly(&ids)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_aggregate_comes_about_its_proofs_go_singly_and_that_is_said() {
    let orders =
        |all: &[bool]| -> VecDeque<Order> { all.iter().map(|again| Order::Fail(*again)).collect() };
    for (orders, tries, said) in [
        (orders(&[false]), 1, "it was killed"),
        (
            orders(&[true, true, true]),
            3,
            "it was tried 3 times: it was killed",
        ),
    ] {
        let packs = Arc::new(Packs {
            orders: Mutex::new(orders),
            ..Packs::default()
        });
        let house = house(&packs, Aggregate::Auto, DEAR, 1);
        let ids = house.proven(4).await;
        house.push().await;
        let note = house.singly(&ids);
        assert!(note.contains(said), "{note}");
        assert_eq!(packs.given.lock().len(), tries);
        assert_eq!(house.messages(ids[0]).len(), 1);
    }

    // one failure is made good
    let packs = Arc::new(Packs {
        orders: Mutex::new([Order::Fail(true)].into()),
        ..Packs::default()
    });
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    let ids = house.proven(4).await;
    house.push().await;
    house.aggregated(&ids);
    assert_eq!(packs.given.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_that_finds_no_end_is_given_up() {
    let packs = Arc::new(Packs {
        orders: Mutex::new([Order::Hang].into()),
        ..Packs::default()
    });
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    let ids = house.proven(4).await;
    house.push().await;
    let note = house.singly(&ids);
    assert!(note.contains("not made within 45 minutes"), "{note}");
}

#[tokio::test]
async fn an_aggregate_that_the_chain_refuses_costs_nobody_anything() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Always, DEAR, 1);
    house
        .rig
        .chain
        .edit()
        .proof_gas
        .as_mut()
        .unwrap()
        .refuses_aggregates = true;
    let ids = house.proven(4).await;
    house.push().await;
    let note = house.singly(&ids);
    assert!(
        note.contains("the chain refuses it") && note.contains("aggregate seal verify failed"),
        "{note}"
    );
}

#[tokio::test]
async fn without_the_reference_string_nothing_is_tried() {
    let packs = Arc::new(Packs::default());
    *packs.unready.lock() = Some("the file is not there".into());
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    let ids = house.proven(4).await;
    house.push().await;
    let note = house.singly(&ids);
    assert!(note.contains("the file is not there"), "{note}");
    assert!(packs.given.lock().is_empty());
}

/// An aggregate may take long, and a deadline passes once.
#[tokio::test]
async fn what_must_go_now_waits_for_no_aggregate() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Always, DEAR, 1);
    let ids = house.proven(4).await;
    // half an hour before the first precommit ends
    let first = house.rig.db.online(ids[0]).unwrap().seed.unwrap().epoch + 30 * 2880;
    let height = house.rig.chain.edit().height;
    house.rig.advance(first - 60 - height);
    house.push().await;
    let note = house.singly(&ids);
    assert!(note.contains("a deadline is too near"), "{note}");
}

#[tokio::test]
async fn one_that_must_go_now_takes_nobody_along() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Always, DEAR, 1);
    let early = house.proven(1).await;
    house.rig.advance(2000);
    let later = house.proven(4).await;
    let first = house.rig.db.online(early[0]).unwrap().seed.unwrap().epoch + 30 * 2880;
    let height = house.rig.chain.edit().height;
    house.rig.advance(first - 60 - height);
    house.push().await;
    let note = house.singly(&early);
    assert!(note.contains("a deadline is too near"), "{note}");
    house.aggregated(&later);
}

#[tokio::test]
async fn where_no_aggregate_is_in_question_what_hurries_goes_with_the_others() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Never, DEAR, 1);
    let mut all = house.proven(1).await;
    house.rig.advance(2000);
    all.extend(house.proven(2).await);
    let first = house.rig.db.online(all[0]).unwrap().seed.unwrap().epoch + 30 * 2880;
    let height = house.rig.chain.edit().height;
    house.rig.advance(first - 60 - height);
    house.push().await;
    assert_eq!(house.singly(&all), "");
}

/// A sector that the chain refuses, and one whose proof turns out wrong, go alone; the others
/// together.
#[tokio::test]
async fn a_wrong_proof_and_a_refused_sector_hold_up_nobody() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    let mut ids = house.proven(7).await;
    house.rig.chain.edit().poison = [ids[6].number].into();
    packs
        .orders
        .lock()
        .push_back(Order::Wrong(vec![ids[2].number]));
    house.commit.reconcile().await;
    let (refused, wrong) = (ids.remove(6), ids.remove(2));
    house.aggregated(&ids);
    assert_eq!(packs.given.lock().len(), 2);
    for (id, said) in [
        (refused, "the chain refuses it"),
        (wrong, "does not verify"),
    ] {
        let record = house.rig.db.sector(id).unwrap().unwrap();
        match record.carriage(Kind::Proof) {
            Some(Carriage::Ready {
                alone: true,
                error: Some(why),
                ..
            }) if why.contains(said) => {}
            other => panic!("{id}: {other:?}"),
        }
    }
    house.push().await;
    let (message, params) = house.params(wrong);
    assert_eq!(message.sectors, [wrong]);
    assert_eq!(params.sector_proofs.len(), 1);
}

/// Of four, three are too few.
#[tokio::test]
async fn too_few_that_are_left_go_singly() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Always, DEAR, 1);
    let mut ids = house.proven(4).await;
    packs
        .orders
        .lock()
        .push_back(Order::Wrong(vec![ids[0].number]));
    house.commit.reconcile().await;
    ids.remove(0);
    house.singly(&ids);
}

/// Nothing is stored of an aggregate before its message is: whoever is stopped while it is made, or
/// follows after, makes one message of it.
#[tokio::test]
async fn a_stop_while_it_is_made_loses_no_proof_and_makes_no_second_message() {
    let packs = Arc::new(Packs {
        orders: Mutex::new([Order::Hang].into()),
        ..Packs::default()
    });
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    let ids = house.proven(4).await;
    let commit = house.commit.clone();
    let making = tokio::spawn(async move { commit.reconcile().await });
    packs.hanging.notified().await;
    let (state, what) = house.proof_state(ids[0]).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(
        what.unwrap()
            .contains("an aggregate of 4 proofs is being made")
    );
    making.abort();
    assert!(making.await.unwrap_err().is_cancelled());
    assert!(house.messages(ids[0]).is_empty());

    house.push().await;
    house.aggregated(&ids);
    house.push().await;
    for id in &ids {
        assert_eq!(house.messages(*id).len(), 1);
    }
}

/// One that is given up by its worker meanwhile: the aggregate is made again without it.
#[tokio::test]
async fn a_sector_that_is_given_up_meanwhile_is_left_out() {
    let packs = Arc::new(Packs {
        orders: Mutex::new([Order::Pause].into()),
        ..Packs::default()
    });
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    let mut ids = house.proven(5).await;
    let commit = house.commit.clone();
    let making = tokio::spawn(async move { commit.reconcile().await });
    packs.hanging.notified().await;
    let gone = ids.remove(1);
    let change = house.rig.db.change(gone, Durability::Synced, |record| {
        record.online = false;
        Ok::<_, DbError>(())
    });
    change.unwrap();
    packs.go_on.notify_one();
    making.await.unwrap();
    house.aggregated(&ids);
    assert!(house.messages(gone).is_empty());
    let given: Vec<_> = packs.given.lock().iter().map(|t| t.sectors.len()).collect();
    assert_eq!(given, [5, 4]);
}

/// While an aggregate is made, precommits go on.
#[tokio::test]
async fn an_aggregate_holds_up_no_precommit() {
    let packs = Arc::new(Packs {
        orders: Mutex::new([Order::Hang].into()),
        ..Packs::default()
    });
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    house.proven(4).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let driver = tokio::spawn(house.commit.clone().run(stop.clone()));
    packs.hanging.notified().await;
    let id = house.sector();
    let info = house.info().await;
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);
    let stored = async {
        while house.messages(id).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), stored)
        .await
        .unwrap();
    stop.cancel();
    driver.await.unwrap().unwrap();
}

/// A message that failed with all its sectors: each gets one of its own, as without an aggregate.
#[tokio::test]
async fn after_an_aggregate_that_failed_on_chain_each_proof_goes_alone() {
    let packs = Arc::new(Packs::default());
    let house = house(&packs, Aggregate::Auto, DEAR, 1);
    let ids = house.proven(4).await;
    house.push().await;
    let (message, _) = house.params(ids[0]);
    house.run(&message, 16, RawBytes::default()).await;
    let (stored, _) = house.params(ids[0]);
    assert_eq!(stored.state, MessageState::Failed);
    for id in &ids {
        let (state, _) = house.proof_state(*id).await;
        assert_eq!(state, OnChainState::Failed, "worth a message of its own");
        assert_eq!(
            house.prove(*id, &proof_of(*id), true).await.res,
            R::Accepted
        );
    }
    house.push().await;
    for id in &ids {
        assert_eq!(house.params(*id).0.sectors, [*id]);
        house.singly(&[*id]);
    }
    assert_eq!(packs.given.lock().len(), 1);
}
