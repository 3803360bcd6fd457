//! A sector with what a market assigned: its precommit is refused, it is given up, and the market
//! has its deals back.

use super::*;
use crate::{
    deal::DealId,
    deals::tests::{allocation, cid},
    venus::{Assigned, script_market::ScriptMarket},
};
use damocles_api::{damocles::AbortedBy, sector::AcquireDealsSpec};
use damocles_flow::deal::DealState;
use damocles_processor::verify;
use fvm_shared::address::Address;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_refused_precommit_frees_what_the_market_assigned() {
    let house = House::new(|_| {});
    let (db, chain) = (&house.rig.db, &house.rig.chain);
    let mut on_chain = allocation(1, 2048);
    on_chain.expiration = 9000;
    chain.edit().allocations.insert(1, on_chain);
    let market = Arc::new(ScriptMarket::default());
    market.edit().waiting.push(Assigned {
        deal_id: 0,
        allocation_id: 1,
        piece_cid: cid(1),
        piece_size: 2048,
        client: Some(Address::new_id(101)),
        provider: Some(Address::new_id(1000)),
        offset: 0,
        payload_size: 2000,
    });
    let deals = Deals::new(db.clone(), chain.clone(), Facts::new(chain.clone()));
    let deals = deals.with_market(market.clone(), true);
    let state = || db.deal(DealId::Allocation(1)).unwrap().unwrap().state;

    let id = house.sector();
    let record = db.sector(id).unwrap().unwrap();
    let policy = miner(1000).sector;
    let pieces = deals.acquire(&record, &policy, AcquireDealsSpec::default());
    assert_eq!(pieces.await.unwrap().len(), 1);
    // CommD is computed from the pieces, whatever the worker says
    let wrong = house.submit(id, house.info().await, false).await;
    assert_eq!(wrong.res, R::MismatchedSubmission, "{:?}", wrong.desc);
    let comm = Comm::from_unsealed_cid(&cid(1)).unwrap();
    let info = PreCommitOnChainInfo {
        comm_d: verify::sector_commitment(PROOF, &[(2048, comm)]).unwrap(),
        ..house.info().await
    };
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);

    chain.edit().poison = [id.number].into();
    for _ in 0..8 {
        house.rig.advance(1);
        house.push().await;
    }
    let [message] = house.messages(id).try_into().unwrap();
    assert_eq!(message.state, MessageState::Rejected);
    assert_eq!(state(), DealState::InSector, "its worker decides");

    let given_up = |record: &mut SectorRecord| {
        (record.online, record.aborted_by) = (false, Some(AbortedBy::Worker));
        Ok::<_, crate::db::DbError>(())
    };
    db.change(id, Durability::Synced, given_up).unwrap();
    assert_eq!(state(), DealState::Returning);
    let stop = CancellationToken::new();
    let service = tokio::spawn(deals.give_back(stop.clone()));
    while state() != DealState::Returned {
        tokio::task::yield_now().await;
    }
    assert!(market.edit().assigned.is_empty());
    assert_eq!(market.edit().waiting.len(), 1);
    stop.cancel();
    service.await.unwrap().unwrap();
}
