//! A deal is in one sector at most, and free again when that is given up.

use super::*;
use crate::{
    db::{listed::lists, record::LeftChain},
    deal::Terms,
};
use damocles_api::sector::{DealInfo, Piece};
use damocles_types::{Commitment, SealProof, SectorSize};

fn deal(number: u64) -> DealRecord {
    let terms = Terms {
        provider: 1000,
        client: 101,
        piece: Commitment([1; 32]).unsealed_cid(),
        size: 1024,
        start_by: 5000,
        length: crate::deal::Length::Until(9000),
    };
    DealRecord::new(DealId::Allocation(number), terms, 1000, None)
}

fn piece(allocation_id: u64) -> SectorPiece {
    SectorPiece {
        piece: Piece {
            size: 1024,
            cid: Commitment([1; 32]).unsealed_cid().into(),
        },
        deal_info: Some(DealInfo {
            deal_id: 0,
            allocation_id,
            payload_size: 1000,
            is_builtin_market: false,
            rest: serde_json::Map::new(),
        }),
    }
}

fn sector(db: &Db) -> SectorId {
    let kind = SealProof::interactive(SectorSize::KiB2);
    db.allocate(1000, kind, 0, 99, Some).unwrap().unwrap().id
}

fn end(db: &Db, id: SectorId, finalized: bool) {
    db.change(id, Durability::Synced, |record| {
        (record.online, record.finalized) = (false, finalized);
        Ok::<_, DbError>(())
    })
    .unwrap();
}

fn state(db: &Db, number: u64) -> (DealState, Option<SectorId>) {
    let deal = db.deal(DealId::Allocation(number)).unwrap().unwrap();
    (deal.state, deal.sector)
}

#[test]
fn a_deal_is_in_one_sector_at_most_and_free_when_that_is_given_up() {
    let db = Db::in_memory();
    for number in 1..=3 {
        assert_eq!(
            db.add_deal(&deal(number)).unwrap().state,
            DealState::Waiting
        );
    }
    let (a, b) = (sector(&db), sector(&db));
    let taken = db.take_deals(a, &[piece(1), piece(2)]).unwrap();
    assert_eq!(taken.len(), 2);
    assert_eq!(state(&db, 1), (DealState::InSector, Some(a)));
    // again it gets the same, and nobody else gets one of them
    assert_eq!(db.take_deals(a, &[piece(3)]).unwrap(), taken);
    let theirs = db.take_deals(b, &[piece(3), piece(2)]);
    assert!(matches!(
        theirs,
        Err(DbError::DealTaken(DealId::Allocation(2)))
    ));
    assert_eq!(
        state(&db, 3).0,
        DealState::Waiting,
        "nothing of it was done"
    );
    assert_eq!(db.sector(b).unwrap().unwrap().pieces, None);
    let waiting = |limit| {
        let all = db.waiting_deals(1000, limit).unwrap();
        all.into_iter().map(|deal| deal.id).collect::<Vec<_>>()
    };
    assert_eq!(waiting(9), [DealId::Allocation(3)]);
    assert!(db.waiting_deals(1001, 9).unwrap().is_empty());

    end(&db, a, false);
    assert_eq!(state(&db, 1), (DealState::Waiting, None));
    assert_eq!(
        waiting(2),
        [1, 2].map(DealId::Allocation),
        "as many as were asked for"
    );
    let c = sector(&db);
    db.take_deals(c, &[piece(1), piece(2)]).unwrap();
    end(&db, c, true);
    assert_eq!(state(&db, 2), (DealState::Sealed, Some(c)));
    // not claimed: the chain still has it open
    assert_eq!(db.add_deal(&deal(1)).unwrap().state, DealState::Waiting);
    let over = db.take_deals(c, &[piece(3)]);
    assert!(matches!(over, Err(DbError::NoSector(of)) if of == c));
    // it leaves the chain, and the work on it begins again
    db.change(c, Durability::Synced, |record| {
        let left = LeftChain {
            since: 1,
            why: "a branch is gone".to_owned(),
            stays: false,
        };
        (record.finalized, record.left_chain) = (true, Some(left));
        Ok::<_, DbError>(())
    })
    .unwrap();
    assert_eq!(state(&db, 2), (DealState::Sealed, Some(c)));
    db.change(c, Durability::Synced, |record| {
        (record.finalized, record.left_chain) = (false, None);
        Ok::<_, DbError>(())
    })
    .unwrap();
    assert_eq!(state(&db, 2), (DealState::Waiting, None));
    let nobody = SectorId::new(1000, 77);
    let unknown = db.take_deals(nobody, &[piece(3)]);
    assert!(matches!(unknown, Err(DbError::Unknown(of)) if of == nobody));
}

#[test]
fn a_deal_that_was_added_twice_is_one_and_a_cancelled_one_may_come_again() {
    let db = Db::in_memory();
    let first = db.add_deal(&deal(1)).unwrap();
    let mut other = deal(1);
    other.url = Some("http://elsewhere".into());
    assert_eq!(db.add_deal(&other).unwrap(), first);
    let id = first.id;
    db.note_deal(id, "no room").unwrap();
    assert_eq!(
        db.deal(id).unwrap().unwrap().note.as_deref(),
        Some("no room")
    );
    let gone = db
        .step_deal(id, DealEvent::Cancel, Some("by a person"))
        .unwrap();
    assert_eq!(gone.state, DealState::Cancelled);
    assert!(db.waiting_deals(1000, 9).unwrap().is_empty());
    let again = db.step_deal(id, DealEvent::Cancel, None);
    assert!(matches!(again, Err(DbError::NoDealStep { .. })));
    assert_eq!(db.add_deal(&other).unwrap(), other);
    let nobody = db.step_deal(DealId::Market(1), DealEvent::Cancel, None);
    assert!(matches!(nobody, Err(DbError::NoDeal(DealId::Market(1)))));
    let place = || db.piece_place(Commitment([1; 32])).unwrap();
    assert_eq!(place().as_deref(), Some("http://elsewhere"));
    let page = db.deals_page(&Wanted::first(9), |_| true).unwrap();
    assert_eq!(page.items, [other]);
    db.step_deal(id, DealEvent::Expire, None).unwrap();
    assert_eq!(place(), None);
}

#[test]
fn deals_that_were_passed_over_do_not_hide_those_behind_them() {
    let db = Db::in_memory();
    for number in 1..=4 {
        db.add_deal(&deal(number)).unwrap();
    }
    for number in 1..=2 {
        db.pass_over(DealId::Allocation(number), "gone").unwrap();
    }
    let seen = |limit| {
        let all = db.waiting_deals(1000, limit).unwrap();
        let free = all.iter().filter(|deal| !deal.passed_over).count();
        (all.len(), free)
    };
    assert_eq!(
        seen(1),
        (3, 1),
        "and these are seen when their time is over"
    );
    assert_eq!(seen(2), (4, 2));
    assert_eq!(seen(9), (4, 2));
}

/// Nobody would give them back: they are assigned at the market, and here is no record of them.
#[test]
fn one_deal_that_is_here_already_strands_none_of_those_beside_it() {
    let db = Db::in_memory();
    db.add_deal(&deal(1)).unwrap();
    let id = sector(&db);
    let assigned = [1, 2].map(|n| DealRecord::assigned(deal(n).id, deal(n).terms, 1000, id));
    let (pieces, twice) = db
        .take_assigned(id, &[piece(1), piece(2)], &assigned)
        .unwrap();
    assert_eq!((pieces, twice), (Vec::new(), vec![deal(1).id]));
    assert_eq!(state(&db, 1), (DealState::Waiting, None));
    assert_eq!(state(&db, 2), (DealState::Returning, None));
    assert_eq!(db.sector(id).unwrap().unwrap().pieces, None);
}

/// A sector of another market than ours: nothing of it is in the queue.
#[test]
fn pieces_of_other_deals_and_fillers_are_left_alone() {
    let db = Db::in_memory();
    let id = sector(&db);
    let mut filler = piece(0);
    filler.deal_info = None;
    assert_eq!(of_piece(&filler), None);
    assert_eq!(of_piece(&piece(0)), None);
    db.take_deals(id, &[filler]).unwrap();
    end(&db, id, false);
    assert!(lists(&db.sector(id).unwrap().unwrap()).len() == 1);
}
