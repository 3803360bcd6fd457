//! What a market assigns: looked at before a sector gets it, and given back when that is given up.

use super::*;
use crate::deals::tests::{House, allocation, cid};
use crate::{policy::tests::miner, venus::script_market::ScriptMarket};
use damocles_api::sector::AcquireDealsSpec;
use damocles_flow::deal::DealState;
use damocles_kv::Durability;
use damocles_types::{Commitment, SealProof, SectorSize};
use std::sync::Arc;

/// An allocation of client 101 as the market assigns it.
fn direct(n: u8, size: u64, offset: u64) -> Assigned {
    Assigned {
        deal_id: 0,
        allocation_id: n.into(),
        piece_cid: cid(n),
        piece_size: size,
        client: Some(Address::new_id(101)),
        provider: Some(Address::new_id(1000)),
        offset,
        payload_size: 100,
    }
}

/// Zeros as droplet writes them: it does not say where they lie.
fn zeros(size: u64) -> Assigned {
    let cid = verify::zero_commitment(PaddedSize(size)).unsealed_cid();
    Assigned {
        allocation_id: 0,
        piece_cid: cid,
        client: None,
        provider: None,
        payload_size: 0,
        ..direct(0, size, 0)
    }
}

struct Fair {
    house: House,
    market: Arc<ScriptMarket>,
}

impl Fair {
    fn new() -> Self {
        let mut house = House::new();
        let market = Arc::new(ScriptMarket::default());
        house.deals = house.deals.with_market(market.clone(), true);
        Self { house, market }
    }

    /// Allocation 1, which the chain has, waits at the market for a sector of 2 KiB.
    fn with_a_deal() -> Self {
        let fair = Self::new();
        let on_chain = allocation(1, 1024);
        fair.house.chain.edit().allocations.insert(1, on_chain);
        fair.market.edit().waiting = vec![direct(1, 1024, 0), zeros(1024)];
        fair
    }

    fn sector(&self) -> SectorId {
        let kind = SealProof::interactive(SectorSize::KiB2);
        let given = self.house.db.allocate(1000, kind, 0, 99, Some).unwrap();
        given.unwrap().id
    }

    async fn acquire(&self, sector: SectorId) -> Result<Vec<SectorPiece>, DealError> {
        let record = self.house.db.sector(sector).unwrap().unwrap();
        let spec = AcquireDealsSpec::default();
        let policy = miner(1000).sector;
        self.house.deals.acquire(&record, &policy, spec).await
    }

    fn give_up(&self, sector: SectorId) {
        let end = |record: &mut SectorRecord| {
            record.online = false;
            Ok::<_, DbError>(())
        };
        self.house
            .db
            .change(sector, Durability::Synced, end)
            .unwrap();
    }

    async fn give_back(&self) -> Result<(), DealError> {
        self.house.deals.give_back_now(&*self.market).await
    }

    fn deal(&self, n: u64) -> DealRecord {
        let id = DealId::Allocation(n);
        self.house.db.deal(id).unwrap().unwrap()
    }
}

#[test]
fn pieces_fill_a_sector_as_a_sector_is_filled() {
    let changed = |change: &dyn Fn(&mut Assigned)| {
        let mut piece = zeros(1024);
        change(&mut piece);
        vec![direct(1, 1024, 0), piece]
    };
    for (pieces, says) in [
        (vec![direct(1, 1024, 0), zeros(1024)], None),
        (vec![direct(1, 2048, 0)], None),
        (vec![direct(1, 1024, 0)], Some("fill 1024 of 2048")),
        (vec![direct(1, 4096, 0)], Some("4096 padded bytes")),
        (vec![direct(1, 1000, 0)], Some("1000 padded bytes")),
        (
            vec![direct(1, 1024, 1024), zeros(1024)],
            Some("lies at 1024"),
        ),
        (changed(&|p| p.piece_cid = cid(9)), Some("not zeros")),
        (
            changed(&|p| p.payload_size = 1017),
            Some("1017 bytes of a client"),
        ),
        // zeros before it, and none at the right place
        (vec![zeros(1024), direct(1, 1024, 1024)], None),
        (vec![zeros(1024), direct(1, 1024, 512)], Some("lies at 512")),
        (
            vec![zeros(512), direct(1, 1024, 512), zeros(512)],
            Some("lies at 512"),
        ),
        (
            vec![zeros(512), zeros(1024), zeros(512)],
            Some("lies at 512"),
        ),
    ] {
        let told = misfit(&pieces, 2048);
        match says {
            None => assert_eq!(told, None),
            Some(says) => assert!(
                told.as_deref().is_some_and(|t| t.contains(says)),
                "{told:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_sector_gets_what_the_market_assigned_and_gives_it_back_when_it_is_given_up() {
    let fair = Fair::with_a_deal();
    let sector = fair.sector();
    let pieces = fair.acquire(sector).await.unwrap();
    assert_eq!(pieces.len(), 2);
    let info = pieces[0].deal_info.as_ref().unwrap();
    assert_eq!((info.allocation_id, info.payload_size), (1, 100));
    assert!(!pieces[1].has_deal());
    let after = pieces[1].deal_info.as_ref().unwrap();
    assert_eq!(after.rest["Offset"], 1024, "the worker is told where");
    // asked again it is the same, and nobody else is asked
    assert_eq!(fair.acquire(sector).await.unwrap(), pieces);
    assert_eq!(fair.market.edit().specs.len(), 1);
    // the chain is told of it as of every deal: what the market said is what the chain has
    let record = fair.house.db.sector(sector).unwrap().unwrap();
    let head = crate::chain::Chain::head(&*fair.house.chain).await.unwrap();
    let manifest = fair
        .house
        .deals
        .manifest(&record, 600_000, &head)
        .await
        .unwrap();
    assert!(manifest[0].is_verified());
    let commitments: Vec<_> = pieces
        .iter()
        .map(|p| {
            let comm = Commitment::from_unsealed_cid(&p.piece.cid.cid).unwrap();
            (PaddedSize(p.piece.size), comm)
        })
        .collect();
    assert_eq!(commitments.len(), 2, "its CommD is computed from these");

    // the precommit is refused, its worker gives it up; the market is away for a while
    fair.give_up(sector);
    assert_eq!(fair.deal(1).state, DealState::Returning);
    fair.market.edit().down = true;
    assert!(fair.give_back().await.unwrap_err().is_wait());
    assert_eq!(fair.deal(1).state, DealState::Returning);
    fair.market.edit().down = false;
    fair.give_back().await.unwrap();
    assert_eq!(fair.deal(1).state, DealState::Returned);
    assert!(fair.market.edit().assigned.is_empty());

    // and another sector gets it
    fair.market.edit().waiting.push(zeros(1024));
    let other = fair.sector();
    assert_eq!(fair.acquire(other).await.unwrap().len(), 2);
    assert_eq!(
        (fair.deal(1).state, fair.deal(1).sector),
        (DealState::InSector, Some(other))
    );
}

#[tokio::test]
async fn what_does_not_go_into_the_sector_goes_back() {
    type Change = fn(&Fair);
    let changes: [(Change, &str); 6] = [
        (
            |f| f.market.edit().waiting[0].piece_cid = cid(2),
            "for piece",
        ),
        (
            |f| f.market.edit().waiting[0].client = None,
            "client is missing",
        ),
        (|f| f.market.edit().waiting.truncate(1), "fill 1024 of 2048"),
        (
            |f| {
                f.house
                    .chain
                    .edit()
                    .allocations
                    .get_mut(&1)
                    .unwrap()
                    .provider = 1001
            },
            "provider 1001",
        ),
        (
            |f| {
                f.house
                    .chain
                    .edit()
                    .allocations
                    .get_mut(&1)
                    .unwrap()
                    .expiration = 900
            },
            "before epoch 901",
        ),
        (
            |f| f.house.chain.edit().allocations.clear(),
            "no such allocation",
        ),
    ];
    for (change, says) in changes {
        let fair = Fair::with_a_deal();
        change(&fair);
        let sector = fair.sector();
        assert_eq!(fair.acquire(sector).await.unwrap(), [], "{says}");
        let deal = fair.deal(1);
        assert_eq!(deal.state, DealState::Returning, "{says}");
        assert!(deal.note.as_ref().unwrap().contains(says), "{deal:?}");
        fair.give_back().await.unwrap();
        assert!(fair.market.edit().assigned.is_empty(), "{says}");
    }
}

/// The market would assign the same ones to the next sector.
#[tokio::test]
async fn a_deal_that_does_not_go_into_the_sector_leaves_the_others_in_it() {
    let assigned = || {
        let fair = Fair::new();
        for n in [1, 3] {
            let on_chain = allocation(n, 512);
            fair.house
                .chain
                .edit()
                .allocations
                .insert(n.into(), on_chain);
        }
        let [first, gone, third] = [1, 2, 3].map(|n| direct(n, 512, 512 * u64::from(n - 1)));
        fair.market.edit().waiting = vec![first, gone, third, zeros(512)];
        fair
    };
    let fair = assigned();
    let sector = fair.sector();
    let pieces = fair.acquire(sector).await.unwrap();
    let of = |piece: &SectorPiece| {
        let info = piece.deal_info.as_ref().unwrap();
        let offset = info.rest["Offset"].as_u64().unwrap();
        (info.allocation_id, piece.piece.size, offset)
    };
    let want = [(1, 512, 0), (0, 512, 512), (3, 512, 1024), (0, 512, 1536)];
    assert_eq!(pieces.iter().map(of).collect::<Vec<_>>(), want);
    let states = [1, 2, 3].map(|n| fair.deal(n).state);
    let (stays, back) = (DealState::InSector, DealState::Returning);
    assert_eq!(states, [stays, back, stays]);
    fair.give_back().await.unwrap();
    let there = |fair: &Fair| {
        let script = fair.market.edit();
        let left = script.assigned.iter().map(|(_, deal)| deal.allocation_id);
        left.collect::<Vec<_>>()
    };
    assert_eq!(there(&fair), [1, 3]);

    // what is left is less than a worker seals a sector for
    let fair = assigned();
    let sector = fair.sector();
    let record = fair.house.db.sector(sector).unwrap().unwrap();
    let spec = AcquireDealsSpec {
        min_used_space: Some(1536),
        ..AcquireDealsSpec::default()
    };
    let policy = miner(1000).sector;
    let got = fair.house.deals.acquire(&record, &policy, spec).await;
    assert_eq!(got.unwrap(), []);
    assert!(fair.deal(1).note.unwrap().contains("min_deal_space"));
    assert!(fair.deal(2).note.unwrap().contains("no such allocation"));
    fair.give_back().await.unwrap();
    assert!(there(&fair).is_empty());
}

#[tokio::test]
async fn a_deal_that_is_here_already_stays_where_it_is_and_the_others_go_in() {
    let fair = Fair::with_a_deal();
    let has = fair.sector();
    fair.acquire(has).await.unwrap();
    let on_chain = allocation(2, 1024);
    fair.house.chain.edit().allocations.insert(2, on_chain);
    fair.market.edit().waiting = vec![direct(1, 1024, 0), direct(2, 1024, 1024)];
    let sector = fair.sector();
    let pieces = fair.acquire(sector).await.unwrap();
    assert_eq!(
        pieces.iter().map(SectorPiece::has_deal).collect::<Vec<_>>(),
        [false, true]
    );
    let is = |n| (fair.deal(n).state, fair.deal(n).sector);
    assert_eq!(is(1), (DealState::InSector, Some(has)));
    assert_eq!(is(2), (DealState::InSector, Some(sector)));
}

#[tokio::test]
async fn a_node_that_is_away_costs_no_deal_and_a_market_that_is_away_is_a_wait() {
    let fair = Fair::with_a_deal();
    let sector = fair.sector();
    fair.house.chain.edit().down_for = Some("StateGetAllocation");
    assert!(fair.acquire(sector).await.unwrap_err().is_wait());
    assert_eq!(fair.deal(1).state, DealState::Returning);
    fair.house.chain.edit().down_for = None;
    fair.market.edit().down = true;
    assert!(fair.acquire(sector).await.unwrap_err().is_wait());
    // one that nobody named is passed over
    let deals = fair
        .house
        .deals
        .clone()
        .with_market(fair.market.clone(), false);
    let record = fair.house.db.sector(sector).unwrap().unwrap();
    let policy = miner(1000).sector;
    let none = deals.acquire(&record, &policy, AcquireDealsSpec::default());
    assert_eq!(none.await.unwrap(), []);
}

/// Asked again the market would assign the next deals to it, and so on.
#[tokio::test]
async fn a_sector_whose_assignment_was_not_heard_is_sealed_without() {
    for named in [true, false] {
        let mut fair = Fair::with_a_deal();
        fair.house.deals = fair.house.deals.with_market(fair.market.clone(), named);
        fair.market.edit().lose_answer = true;
        let sector = fair.sector();
        assert_eq!(fair.acquire(sector).await.unwrap(), []);
        let on_chain = allocation(2, 2048);
        fair.house.chain.edit().allocations.insert(2, on_chain);
        fair.market.edit().waiting = vec![direct(2, 2048, 0)];
        assert_eq!(fair.acquire(sector).await.unwrap(), []);
        assert_eq!(fair.market.edit().specs.len(), 1, "named: {named}");
        let other = fair.sector();
        assert_eq!(fair.acquire(other).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_the_market_assigns_to_a_worker_that_is_gone_is_there_when_it_comes_back() {
    let fair = Fair::with_a_deal();
    let sector = fair.sector();
    let gate = Arc::new(tokio::sync::Notify::new());
    fair.market.edit().gate = Some(gate.clone());
    let asked = async {
        while fair.market.edit().specs.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = fair.acquire(sector) => panic!("the market has not answered"),
        () = asked => {}
    }
    gate.notify_one();
    assert_eq!(fair.acquire(sector).await.unwrap().len(), 2);
    assert_eq!(fair.market.edit().specs.len(), 1);
}

#[tokio::test]
async fn a_sector_that_ended_meanwhile_keeps_nothing() {
    let fair = Fair::with_a_deal();
    let sector = fair.sector();
    let record = fair.house.db.sector(sector).unwrap().unwrap();
    fair.give_up(sector);
    let policy = miner(1000).sector;
    let got = fair
        .house
        .deals
        .acquire(&record, &policy, AcquireDealsSpec::default());
    assert_eq!(got.await.unwrap(), []);
    assert_eq!(fair.deal(1).state, DealState::Returning);
}

#[tokio::test]
async fn a_deal_that_the_market_does_not_take_back_is_told_to_it_so_often_and_then_to_a_person() {
    let fair = Fair::with_a_deal();
    let sector = fair.sector();
    fair.acquire(sector).await.unwrap();
    fair.give_up(sector);
    // it took it, and nobody heard
    fair.market.edit().lose_answer = true;
    assert!(fair.give_back().await.is_err());
    for _ in 1..MOST_REFUSALS {
        assert!(fair.give_back().await.is_err());
        assert_eq!(fair.deal(1).state, DealState::Returning);
    }
    fair.give_back().await.unwrap();
    let deal = fair.deal(1);
    assert_eq!(deal.state, DealState::Returned);
    assert!(deal.note.unwrap().contains("cannot release"));
    fair.give_back().await.unwrap();
}
