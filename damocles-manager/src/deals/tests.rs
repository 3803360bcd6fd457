//! The queue on a scripted chain: what is taken into it, what goes into a sector, and what the
//! chain is told of that.

use super::*;
use crate::{
    chain::script::ScriptChain,
    deal::{Activation, Lifetime},
    policy::{SectorPolicy, tests::miner},
};
use cid::Cid;
use damocles_api::sector::{AcquireDealsSpec, SectorPiece};
use damocles_flow::deal::DealState;
use damocles_kv::Durability;
use damocles_node::{Allocation, MarketDeal};
use damocles_types::{Commitment, SealProof, SectorId, SectorSize};
use fvm_shared::address::Address;
use serde_json::json;

const KIND: SealProof = SealProof::interactive(SectorSize::KiB2);

pub(crate) struct House {
    pub(crate) db: Db,
    pub(crate) chain: Arc<ScriptChain>,
    pub(crate) deals: Deals,
}

pub(crate) fn cid(n: u8) -> Cid {
    Commitment([n; 32]).unsealed_cid()
}

/// An allocation of client 101 for miner 1000, to be claimed until epoch 5000.
pub(crate) fn allocation(n: u8, size: u64) -> Allocation {
    Allocation {
        client: 101,
        provider: 1000,
        data: cid(n),
        size,
        term_min: 518_400,
        term_max: 1_000_000,
        expiration: 5000,
    }
}

fn market_deal(n: u8, size: u64) -> MarketDeal {
    serde_json::from_value(json!({
        "Proposal": {"PieceCID": {"/": cid(n).to_string()}, "PieceSize": size, "VerifiedDeal": true,
            "Client": "t0101", "Provider": "t01000", "Label": "", "StartEpoch": 4000,
            "EndEpoch": 700_000, "StoragePricePerEpoch": "0", "ProviderCollateral": "0",
            "ClientCollateral": "0"},
        "State": {"SectorNumber": 0, "SectorStartEpoch": -1, "LastUpdatedEpoch": -1, "SlashEpoch": -1},
    }))
    .unwrap()
}

impl House {
    pub(crate) fn new() -> Self {
        let chain = Arc::new(ScriptChain::at(1000));
        chain.add_miner(1000);
        let db = Db::in_memory();
        let facts = Facts::new(chain.clone());
        let deals = Deals::new(db.clone(), chain.clone(), facts);
        Self { db, chain, deals }
    }

    fn allocate(&self, n: u8, size: u64) {
        let mut chain = self.chain.edit();
        chain.allocations.insert(n.into(), allocation(n, size));
    }

    /// An allocation of that size in the queue.
    async fn waiting(&self, n: u8, size: u64) {
        self.allocate(n, size);
        self.deals.add(new(n, size)).await.unwrap();
    }

    fn sector(&self) -> SectorId {
        let given = self.db.allocate(1000, KIND, 0, 99, Some).unwrap();
        given.unwrap().id
    }

    async fn acquire(&self, id: SectorId, spec: AcquireDealsSpec) -> Vec<SectorPiece> {
        let record = self.db.sector(id).unwrap().unwrap();
        self.deals.acquire(&record, &policy(), spec).await.unwrap()
    }

    fn state(&self, n: u8) -> DealState {
        let id = DealId::Allocation(n.into());
        self.db.deal(id).unwrap().unwrap().state
    }

    fn note(&self, n: u8) -> String {
        let id = DealId::Allocation(n.into());
        self.db.deal(id).unwrap().unwrap().note.unwrap_or_default()
    }
}

fn policy() -> SectorPolicy {
    miner(1000).sector
}

pub(crate) fn new(n: u8, size: u64) -> NewDeal {
    NewDeal {
        id: DealId::Allocation(n.into()),
        provider: 1000,
        client: Some(Address::new_id(101)),
        piece: cid(n),
        size,
        payload: None,
        place: None,
    }
}

/// (size, allocation, offset) of each piece.
fn shape(pieces: &[SectorPiece]) -> Vec<(u64, u64, u64)> {
    let of = |p: &SectorPiece| {
        let info = p.deal_info.as_ref().unwrap();
        let offset = info.rest["Offset"].as_u64().unwrap();
        (p.piece.size, info.allocation_id, offset)
    };
    pieces.iter().map(of).collect()
}

#[tokio::test]
async fn a_deal_is_taken_only_as_the_chain_has_it() {
    let house = House::new();
    house.allocate(1, 1024);
    let add = async |change: &dyn Fn(&mut NewDeal)| {
        let mut deal = new(1, 1024);
        change(&mut deal);
        house.deals.add(deal).await.map_err(|e| e.to_string())
    };
    for (change, why) in [
        (
            &(|d: &mut NewDeal| d.size = 1000) as &dyn Fn(&mut NewDeal),
            "power of two",
        ),
        (&|d| d.size = 2048, "1024 padded bytes, not 2048"),
        (&|d| d.payload = Some(1017), "room for 1016"),
        (&|d| d.payload = Some(0), "0 bytes"),
        (&|d| d.piece = cid(2), "for piece"),
        (&|d| d.provider = 1001, "provider 1000, not 1001"),
        (&|d| d.client = None, "client's address is missing"),
        (
            &|d| d.client = Some(Address::new_id(102)),
            "no such allocation",
        ),
        (&|d| d.id = DealId::Allocation(7), "no such allocation"),
        (&|d| d.id = DealId::Market(7), "no such deal"),
        (&|d| d.place = Some("ftp://x".into()), "no place of a piece"),
        (
            &|d| d.place = Some("secret.car".into()),
            "no place of a piece",
        ),
    ] {
        let error = add(change).await.unwrap_err();
        assert!(error.contains(why), "{error}, not {why}");
    }
    assert!(add(&|_| {}).await.is_ok());
    house.chain.edit().height = 5001;
    house.allocate(2, 1024);
    let late = house.deals.add(new(2, 1024)).await.unwrap_err().to_string();
    assert!(late.contains("before epoch 5001"), "{late}");
    house.chain.set_down(true);
    let away = house.deals.add(new(2, 1024)).await.unwrap_err();
    assert!(away.is_wait());
}

#[tokio::test]
async fn a_sector_gets_what_fits_and_the_same_when_it_asks_again() {
    let house = House::new();
    for (n, size) in [(1, 256), (2, 1024), (3, 512), (4, 1024)] {
        house.waiting(n, size).await;
    }
    let a = house.sector();
    let pieces = house.acquire(a, AcquireDealsSpec::default()).await;
    // the larger ones first among equals, each at a multiple of its size
    assert_eq!(shape(&pieces), [(1024, 2, 0), (1024, 4, 1024)]);
    assert_eq!(house.acquire(a, AcquireDealsSpec::default()).await, pieces);
    assert_eq!(house.state(2), DealState::InSector);
    let b = house.sector();
    let spec = |max_deals, min_used_space| AcquireDealsSpec {
        max_deals,
        min_used_space,
    };
    assert_eq!(
        house.acquire(b, spec(None, Some(1024))).await,
        [],
        "too little"
    );
    let pieces = house.acquire(b, spec(Some(1), None)).await;
    assert_eq!(
        shape(&pieces),
        [(512, 3, 0), (512, 0, 512), (1024, 0, 1024)]
    );
    let zeros = pieces[2].piece.cid.cid;
    let nothing = damocles_processor::verify::piece_commitment(&mut std::io::empty(), 0, 1024);
    assert_eq!(zeros, nothing.unwrap().unsealed_cid());

    // another miner's sector gets none of them, and a given-up one gives its deals back
    let foreign = house.db.allocate(1001, KIND, 0, 99, Some).unwrap().unwrap();
    assert_eq!(
        house.acquire(foreign.id, AcquireDealsSpec::default()).await,
        []
    );
    house
        .db
        .change(a, Durability::Synced, |r| {
            r.online = false;
            Ok::<_, DbError>(())
        })
        .unwrap();
    let c = house.sector();
    let again = house.acquire(c, AcquireDealsSpec::default()).await;
    assert_eq!(shape(&again), [(1024, 2, 0), (1024, 4, 1024)]);
}

#[tokio::test]
async fn what_the_chain_has_no_more_is_passed_over_and_the_others_go() {
    let house = House::new();
    for n in 1..=3 {
        house.waiting(n, 512).await;
    }
    house.chain.edit().allocations.remove(&1);
    house.chain.edit().allocations.get_mut(&2).unwrap().term_min = 5;
    let pieces = house
        .acquire(house.sector(), AcquireDealsSpec::default())
        .await;
    assert_eq!(shape(&pieces)[0], (512, 3, 0));
    assert_eq!(
        (house.state(1), house.state(2)),
        (DealState::Waiting, DealState::Waiting)
    );
    assert!(
        house.note(1).contains("no such allocation"),
        "{}",
        house.note(1)
    );
    assert!(house.note(2).contains("other terms"), "{}", house.note(2));
    assert_eq!(
        house
            .acquire(house.sector(), AcquireDealsSpec::default())
            .await,
        []
    );
    // a person looks, and adds it again as it is now
    house.deals.add(new(2, 512)).await.unwrap();
    let pieces = house
        .acquire(house.sector(), AcquireDealsSpec::default())
        .await;
    assert_eq!(shape(&pieces)[0], (512, 2, 0));
}

#[tokio::test]
async fn a_deal_that_nobody_sealed_in_time_is_over_when_that_is_final() {
    let house = House::new();
    house.waiting(1, 512).await;
    house.waiting(2, 512).await;
    // also one that was passed over
    let two = DealId::Allocation(2);
    house.deals.db.pass_over(two, "another branch").unwrap();
    house.chain.edit().height = 5002;
    assert_eq!(
        house
            .acquire(house.sector(), AcquireDealsSpec::default())
            .await,
        []
    );
    assert_eq!(house.state(1), DealState::Waiting, "the chain may go back");
    house.chain.edit().height = 6000;
    assert_eq!(
        house
            .acquire(house.sector(), AcquireDealsSpec::default())
            .await,
        []
    );
    assert_eq!(
        (house.state(1), house.state(2)),
        (DealState::Expired, DealState::Expired)
    );
    assert!(house.note(1).contains("before epoch 5001"));
}

#[tokio::test]
async fn a_deal_in_a_sector_is_not_taken_back_from_it() {
    let house = House::new();
    for n in [1, 2] {
        house.waiting(n, 2048).await;
    }
    let id = house.sector();
    house.acquire(id, AcquireDealsSpec::default()).await;
    let taken = house.deals.cancel(DealId::Allocation(1)).await.unwrap_err();
    assert!(taken.to_string().contains("is being sealed"), "{taken}");
    let gone = house.deals.cancel(DealId::Allocation(2)).await.unwrap();
    assert_eq!(gone.state, DealState::Cancelled);
}

#[tokio::test]
async fn the_chain_is_told_of_what_it_still_has_and_the_rest_is_proven_without() {
    let house = House::new();
    house.waiting(1, 512).await;
    house.waiting(2, 512).await;
    house.chain.edit().deals.insert(9, market_deal(9, 1024));
    let mut deal = new(9, 1024);
    (deal.id, deal.client) = (DealId::Market(9), None);
    house.deals.add(deal).await.unwrap();
    let id = house.sector();
    house.acquire(id, AcquireDealsSpec::default()).await;
    let record = house.db.sector(id).unwrap().unwrap();
    let activation = Activation {
        first: 1010,
        last: 1010 + 86_400,
    };
    let lifetime = house.deals.lifetime(&record, activation).await.unwrap();
    // claimed in epoch 5000 at the latest; the market's deal ends later
    assert_eq!(
        lifetime,
        Lifetime {
            least: 700_000,
            most: 1_001_010
        }
    );

    house.chain.edit().pending_deals.insert(9, 77);
    let stakes = async |expiration| {
        let head = house.chain.head().await.unwrap();
        let all = house
            .deals
            .manifest(&record, expiration, &head)
            .await
            .unwrap();
        all.into_iter()
            .map(|p| (p.size, p.stake))
            .collect::<Vec<_>>()
    };
    let market = Stake::Market {
        deal: 9,
        allocation: Some((101, 77)),
    };
    let direct = |id| Stake::Allocation { client: 101, id };
    let all = stakes(700_000).await;
    assert_eq!(all, [(1024, market), (512, direct(1)), (512, direct(2))]);
    assert_eq!(
        stakes(699_999).await[0].1,
        Stake::Nothing,
        "it expires before the deal's end"
    );
    house.chain.edit().pending_deals.clear();
    let unverified = Stake::Market {
        deal: 9,
        allocation: None,
    };
    assert_eq!(stakes(700_000).await[0].1, unverified);
    // gone at the head alone: a branch may go again
    let head = house.chain.edit().height;
    house.chain.edit().allocations_gone.insert(1, head - 9);
    let at = house.chain.head().await.unwrap();
    let wait = house.deals.manifest(&record, 700_000, &at).await;
    let wait = wait.unwrap_err();
    assert!(matches!(wait, DealError::Unsettled { .. }), "{wait}");
    assert!(wait.is_wait());
    house.chain.edit().allocations_gone.insert(1, head - 10);
    assert_eq!(stakes(700_000).await[1].1, Stake::Nothing);
    assert!(house.note(1).contains("not claimed"), "{}", house.note(1));
    assert_eq!(house.state(1), DealState::InSector);
    house.chain.edit().height = 5001;
    assert_eq!(
        stakes(700_000)
            .await
            .iter()
            .filter(|s| s.1 == Stake::Nothing)
            .count(),
        3
    );
}
