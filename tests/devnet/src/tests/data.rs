//! Sectors with data: allocations that they claim, deals that they activate, and how every
//! refusal ends, as it does on builtin-actors v18.
use fvm_ipld_encoding::to_vec;
use fvm_shared::clock::ChainEpoch;
use num_traits::Zero;

use super::*;
use crate::market::{DealProposal, Label};
use crate::orders::Wanted;
use crate::registry::Allocation;
use crate::tree::MARKET;

/// An account that exists from genesis on.
const CLIENT: u64 = 100;
const DAY: ChainEpoch = 2880;
/// The market did not take a piece that it was told of.
const REJECTED: u32 = 1004;

fn piece(byte: u8, size: u64) -> PieceInfo {
    PieceInfo {
        size: PaddedPieceSize(size),
        cid: piece_commitment_v1_to_cid(&[byte; 32]).unwrap(),
    }
}

impl House {
    fn height(&self) -> ChainEpoch {
        self.network.head().height
    }

    /// Orders without the checks that come before: what they would refuse may be on a chain.
    fn order(&self, wanted: Wanted) -> u64 {
        self.network.inner.ordered.lock().data.add(wanted)
    }

    fn allocation_for(&self, piece: &PieceInfo) -> Allocation {
        Allocation {
            client: CLIENT,
            provider: GENESIS_MINER,
            data: piece.cid,
            size: piece.size,
            term_min: 180 * DAY,
            term_max: 540 * DAY,
            expiration: self.height() + 10 * DAY,
        }
    }

    fn deal_for(&self, piece: &PieceInfo, label: &str) -> DealProposal {
        DealProposal {
            piece_cid: piece.cid,
            piece_size: piece.size,
            verified_deal: false,
            client: Address::new_id(CLIENT),
            provider: MINER,
            label: Label::String(label.to_owned()),
            start_epoch: self.height() + 10 * DAY,
            end_epoch: self.height() + 250 * DAY,
            storage_price_per_epoch: TokenAmount::from_atto(7),
            provider_collateral: TokenAmount::from_atto(8),
            client_collateral: TokenAmount::from_atto(9),
        }
    }

    fn is_active(&self, sector: u64) -> bool {
        let state = self.state();
        let active = state.sector_info(&MINER, sector).unwrap().is_some();
        let waits = state.precommit_info(&MINER, sector).unwrap().is_some();
        assert_ne!(active, waits, "sector {sector}");
        active
    }
}

fn plain(piece: &PieceInfo) -> PieceActivationManifest {
    PieceActivationManifest {
        cid: piece.cid,
        size: piece.size,
        verified_allocation_key: None,
        notify: vec![],
    }
}

fn claiming(piece: &PieceInfo, id: u64) -> PieceActivationManifest {
    PieceActivationManifest {
        verified_allocation_key: Some(VerifiedAllocationKey { client: CLIENT, id }),
        ..plain(piece)
    }
}

fn telling(piece: &PieceInfo, payload: Vec<u8>) -> PieceActivationManifest {
    PieceActivationManifest {
        notify: vec![DataActivationNotification {
            address: Address::new_id(MARKET),
            payload: RawBytes::new(payload),
        }],
        ..plain(piece)
    }
}

fn with_deal(piece: &PieceInfo, deal: u64) -> PieceActivationManifest {
    telling(piece, to_vec(&deal).unwrap())
}

/// Good proofs of sectors 1.. with these pieces in them.
fn sectors(manifests: Vec<Vec<PieceActivationManifest>>) -> ProveCommitSectors3Params {
    let mut params = proofs(&vec![1; manifests.len()]);
    for (sector, pieces) in params.sector_activations.iter_mut().zip(manifests) {
        sector.pieces = pieces;
    }
    params
}

fn failed(of: u32, fail_codes: Vec<FailCode>) -> BatchReturn {
    BatchReturn {
        success_count: of - fail_codes.len() as u32,
        fail_codes,
    }
}

#[test]
fn a_sector_takes_two_allocations_and_a_deal() {
    // a gap of 256 bytes before the last one
    let [deal, first, second] = [piece(5, 1024), piece(6, 256), piece(7, 512)];
    let house = House::precommitted(1, &[deal.clone(), first.clone(), second.clone()]);
    for (number, piece) in [(1, &first), (2, &second)] {
        let wanted = house.allocation_for(piece);
        assert_eq!(house.network.allocate(wanted).unwrap(), number);
    }
    let proposal = house.deal_for(&deal, "");
    assert_eq!(house.network.publish_deal(proposal.clone()).unwrap(), 0);
    house.network.mine(2).unwrap();
    let client = Address::new_id(CLIENT);
    assert!(house.state().allocation(&client, 2).unwrap().is_some());
    assert_eq!(house.state().deal(0).unwrap(), (proposal, None));

    let mut params = sectors(vec![vec![
        with_deal(&deal, 0),
        claiming(&first, 1),
        claiming(&second, 2),
    ]]);
    params.require_activation_success = true;
    params.require_notification_success = true;
    let receipt = house.prove(&params);
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert_eq!(batch(&receipt), BatchReturn::ok(1));

    let state = house.state();
    let sector = state.sector_info(&MINER, 1).unwrap().unwrap();
    let duration = sector.expiration - sector.activation;
    assert_eq!(sector.deal_weight, (1024 * duration).into());
    assert_eq!(sector.verified_deal_weight, (768 * duration).into());
    for (number, piece) in [(1, &first), (2, &second)] {
        assert_eq!(state.allocation(&client, number).unwrap(), None);
        let claim = state.claim(&MINER, number).unwrap().unwrap();
        assert_eq!((claim.client, claim.provider), (CLIENT, GENESIS_MINER));
        assert_eq!((claim.data, claim.size), (piece.cid, piece.size));
        assert_eq!((claim.term_min, claim.term_max), (180 * DAY, 540 * DAY));
        assert_eq!((claim.term_start, claim.sector), (sector.activation, 1));
    }
    assert_eq!(state.claim(&MINER, 3).unwrap(), None);
    let deal = state.deal(0).unwrap().1.unwrap();
    assert_eq!(
        (deal.sector_number, deal.sector_start_epoch),
        (1, sector.activation)
    );
    assert_eq!((deal.last_updated_epoch, deal.slash_epoch), (-1, -1));
}

#[test]
fn verified_data_weighs_ten_times_in_power_and_pledge() {
    let data = piece(5, 2048);
    let house = House::precommitted(2, std::slice::from_ref(&data));
    house.network.allocate(house.allocation_for(&data)).unwrap();
    let receipt = house.prove(&sectors(vec![vec![claiming(&data, 1)], vec![plain(&data)]]));
    assert_eq!(batch(&receipt), BatchReturn::ok(2));
    let state = house.state();
    let [verified, plain] = [1, 2].map(|n| state.sector_info(&MINER, n).unwrap().unwrap());
    assert!(plain.verified_deal_weight.is_zero() && verified.deal_weight.is_zero());
    assert!(verified.initial_pledge > plain.initial_pledge);
    assert!(verified.daily_fee > plain.daily_fee);
    assert_eq!(house.post(1, 1).exit_code, ExitCode::OK);
    let power = house.state().miner_power(&MINER).unwrap().miner;
    assert_eq!(power.raw, (2 * 2048).into());
    assert_eq!(power.qa, (11 * 2048).into());
}

/// An allocation that does not fit, or another key than that of an allocation that does.
type Spoil = fn(&House, &mut Allocation, &mut PieceActivationManifest);

#[test]
fn a_claim_that_fails_costs_its_sector_or_the_whole_message_if_all_must_succeed() {
    let (forbidden, not_found) = (ExitCode::USR_FORBIDDEN, ExitCode::USR_NOT_FOUND);
    let cases: [(&str, ExitCode, Spoil); 8] = [
        ("expired", forbidden, |house, a, _| {
            a.expiration = house.height() + 1;
        }),
        ("of another provider", forbidden, |_, a, _| a.provider += 1),
        ("of another size", forbidden, |_, a, _| {
            a.size = PaddedPieceSize(512);
        }),
        ("for other data", forbidden, |_, a, _| {
            a.data = piece(9, 1024).cid;
        }),
        ("sector too short", forbidden, |_, a, _| {
            a.term_min = 310 * DAY;
        }),
        ("sector too long", forbidden, |_, a, _| {
            a.term_max = 200 * DAY;
        }),
        ("unknown", not_found, |_, _, p| {
            p.verified_allocation_key = Some(VerifiedAllocationKey {
                client: CLIENT,
                id: 9,
            });
        }),
        ("of another client", not_found, |_, _, p| {
            p.verified_allocation_key = Some(VerifiedAllocationKey {
                client: CLIENT + 1,
                id: 1,
            });
        }),
    ];
    let data = piece(5, 1024);
    for (name, code, spoil) in cases {
        let house = House::precommitted(3, &[data.clone(), data.clone()]);
        let mut bad = house.allocation_for(&data);
        let mut key = claiming(&data, 1);
        spoil(&house, &mut bad, &mut key);
        let [first, good, last] = [
            bad,
            house.allocation_for(&data),
            house.allocation_for(&data),
        ]
        .map(|wanted| house.order(Wanted::Allocation(wanted)));
        house.network.mine(2).unwrap();
        let before = house.state().allocation(&Address::new_id(CLIENT), first);
        let before = before.unwrap();
        assert!(before.is_some(), "{name}");
        let mut params = sectors(vec![
            vec![claiming(&data, last), plain(&data)],
            // what fits does not help a sector that has something else
            vec![claiming(&data, good), key],
            vec![plain(&data), plain(&data)],
        ]);
        params.require_activation_success = true;
        let receipt = house.prove(&params);
        assert_eq!(receipt.exit_code, ExitCode::USR_ILLEGAL_ARGUMENT, "{name}");
        assert!(!house.is_active(1), "{name}");

        params.require_activation_success = false;
        let receipt = house.prove(&params);
        assert_eq!(receipt.exit_code, ExitCode::OK, "{name}");
        let code = FailCode { idx: 1, code };
        assert_eq!(batch(&receipt), failed(3, vec![code]), "{name}");
        let active = [1, 2, 3].map(|sector| house.is_active(sector));
        assert_eq!(active, [true, false, true], "{name}");
        let state = house.state();
        let is = |number| state.allocation(&Address::new_id(CLIENT), number).unwrap();
        assert_eq!(is(first), before, "{name}");
        assert!(is(good).is_some() && is(last).is_none(), "{name}");
        let claimed = [first, good, last].map(|n| state.claim(&MINER, n).unwrap().is_some());
        assert_eq!(claimed, [false, false, true], "{name}");
    }
}

#[test]
fn an_allocation_is_claimed_once() {
    let data = piece(5, 1024);
    let house = House::precommitted(2, &[data.clone(), data.clone()]);
    house.network.allocate(house.allocation_for(&data)).unwrap();
    let twice = vec![claiming(&data, 1), claiming(&data, 1)];
    let receipt = house.prove(&sectors(vec![twice, vec![plain(&data), plain(&data)]]));
    assert_eq!(
        receipt.exit_code,
        ExitCode::USR_ILLEGAL_ARGUMENT,
        "twice in one sector ends all"
    );
    let once = vec![claiming(&data, 1), plain(&data)];
    let receipt = house.prove(&sectors(vec![once.clone(), once]));
    let second = FailCode {
        idx: 1,
        code: ExitCode::USR_NOT_FOUND,
    };
    assert_eq!(batch(&receipt), failed(2, vec![second]));
    assert_eq!(house.state().claim(&MINER, 1).unwrap().unwrap().sector, 1);
    assert!(house.is_active(1) && !house.is_active(2));
}

/// A deal that does not fit, or another payload than that of a deal that does.
type SpoilDeal = fn(&House, &mut DealProposal, &mut PieceActivationManifest);

#[test]
fn a_deal_that_does_not_fit_costs_nothing_or_the_whole_message_if_all_must_be_taken() {
    let cases: [(&str, SpoilDeal); 8] = [
        ("start passed", |house, d, _| {
            d.start_epoch = house.height() + 1;
        }),
        ("ends after the sector", |house, d, _| {
            d.end_epoch = house.height() + 301 * DAY;
        }),
        ("of another provider", |_, d, _| {
            d.provider = Address::new_id(GENESIS_MINER + 1);
        }),
        ("for other data", |_, d, _| d.piece_cid = piece(9, 1024).cid),
        ("of another size", |_, d, _| {
            d.piece_size = PaddedPieceSize(512);
        }),
        ("unknown", |_, _, p| *p = with_deal(&piece(5, 1024), 9)),
        ("no number", |_, _, p| {
            *p = telling(&piece(5, 1024), b"garbage".to_vec());
        }),
        ("empty payload", |_, _, p| {
            *p = telling(&piece(5, 1024), vec![]);
        }),
    ];
    let data = piece(5, 1024);
    for (name, spoil) in cases {
        let house = House::precommitted(2, &[data.clone(), data.clone()]);
        let mut bad = house.deal_for(&data, "bad");
        let mut told = with_deal(&data, 0);
        spoil(&house, &mut bad, &mut told);
        assert_eq!(house.order(Wanted::Deal(Box::new(bad))), 0);
        let good = house.deal_for(&data, "good");
        assert_eq!(house.order(Wanted::Deal(Box::new(good))), 1);
        house.network.mine(2).unwrap();
        let mut params = sectors(vec![
            vec![with_deal(&data, 1), told],
            vec![plain(&data), plain(&data)],
        ]);
        params.require_notification_success = true;
        let receipt = house.prove(&params);
        assert_eq!(receipt.exit_code.value(), REJECTED, "{name}");
        assert!(!house.is_active(1) && !house.is_active(2), "{name}");
        assert!(house.state().deal(1).unwrap().1.is_none(), "{name}");

        params.require_notification_success = false;
        let receipt = house.prove(&params);
        assert_eq!(receipt.exit_code, ExitCode::OK, "{name}");
        assert_eq!(batch(&receipt), BatchReturn::ok(2), "{name}");
        assert!(house.is_active(1) && house.is_active(2), "{name}");
        let state = house.state();
        assert!(state.deal(0).unwrap().1.is_none(), "{name}");
        assert_eq!(state.deal(1).unwrap().1.unwrap().sector_number, 1, "{name}");
        let sector = state.sector_info(&MINER, 1).unwrap().unwrap();
        let duration = sector.expiration - sector.activation;
        assert_eq!(
            sector.deal_weight,
            (2048 * duration).into(),
            "{name}: data weighs the same without a deal"
        );
    }
}

#[test]
fn a_deal_is_activated_once_and_a_failed_sector_tells_nobody() {
    let data = piece(5, 1024);
    let house = House::precommitted(3, &[data.clone(), data.clone()]);
    for label in ["a", "b"] {
        let deal = house.deal_for(&data, label);
        house.network.publish_deal(deal).unwrap();
    }
    let receipt = house.prove(&sectors(vec![
        vec![with_deal(&data, 0), with_deal(&data, 0)],
        vec![with_deal(&data, 0), plain(&data)],
        vec![with_deal(&data, 1), claiming(&data, 9)],
    ]));
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert_eq!(batch(&receipt).success_count, 2);
    let state = house.state();
    assert_eq!(state.deal(0).unwrap().1.unwrap().sector_number, 1);
    assert!(state.deal(1).unwrap().1.is_none());

    let mut again = sectors(vec![vec![with_deal(&data, 0), plain(&data)]]);
    again.sector_activations[0].sector_number = 3;
    again.require_notification_success = true;
    assert_eq!(house.prove(&again).exit_code.value(), REJECTED);
}

#[test]
fn a_verified_deal_has_an_allocation_that_goes_with_its_activation() {
    let data = piece(5, 2048);
    let house = House::precommitted(1, std::slice::from_ref(&data));
    house.network.allocate(house.allocation_for(&data)).unwrap();
    let mut deal = house.deal_for(&data, "");
    deal.verified_deal = true;
    assert_eq!(house.network.publish_deal(deal.clone()).unwrap(), 0);
    house.network.mine(2).unwrap();
    let client = Address::new_id(CLIENT);
    assert_eq!(
        house.state().pending_deal_allocation(0).unwrap(),
        Some(2),
        "the first one was ordered before"
    );
    let allocation = house.state().allocation(&client, 2).unwrap().unwrap();
    let duration = deal.end_epoch - deal.start_epoch;
    assert_eq!(allocation.term_min, duration);
    assert_eq!(allocation.term_max, duration + 90 * DAY);
    assert_eq!(allocation.expiration, deal.start_epoch);
    let mut both = with_deal(&data, 0);
    both.verified_allocation_key = Some(VerifiedAllocationKey {
        client: CLIENT,
        id: 2,
    });
    assert_eq!(
        house.prove(&sectors(vec![vec![both]])).exit_code,
        ExitCode::OK
    );
    let state = house.state();
    assert_eq!(state.pending_deal_allocation(0).unwrap(), None);
    assert!(state.claim(&MINER, 2).unwrap().is_some());
    assert!(state.deal(0).unwrap().1.is_some());
    assert!(state.allocation(&client, 1).unwrap().is_some());
}

#[test]
fn a_lost_branch_takes_claims_and_deals_back_and_numbers_stay() {
    let data = piece(5, 1024);
    let house = House::precommitted(1, &[data.clone(), data.clone()]);
    let before = house.height();
    house.network.allocate(house.allocation_for(&data)).unwrap();
    house.network.mine(1).unwrap();
    let deal = house.deal_for(&data, "");
    house.network.publish_deal(deal.clone()).unwrap();
    let mut later = house.allocation_for(&data);
    later.term_max = 541 * DAY;
    assert_eq!(house.network.allocate(later.clone()).unwrap(), 2);
    let params = sectors(vec![vec![claiming(&data, 1), with_deal(&data, 0)]]);
    assert_eq!(house.prove(&params).exit_code, ExitCode::OK);
    assert!(house.is_active(1));

    let lost = house.height() - before;
    house.network.hold_messages(true);
    house.network.reorg(lost, false, 0).unwrap();
    let client = Address::new_id(CLIENT);
    let state = house.state();
    assert!(!house.is_active(1));
    assert_eq!(state.claim(&MINER, 1).unwrap(), None);
    assert_eq!(state.allocation(&client, 1).unwrap(), None);
    assert!(state.deal(0).is_err());

    house.network.mine(2).unwrap();
    let state = house.state();
    assert!(state.allocation(&client, 1).unwrap().is_some());
    assert_eq!(state.allocation(&client, 2).unwrap(), Some(later));
    assert_eq!(state.deal(0).unwrap(), (deal, None));
    house.network.hold_messages(false);
    house.network.mine(2).unwrap();
    assert!(house.is_active(1), "the message landed again");
    assert!(house.state().claim(&MINER, 1).unwrap().is_some());
    assert!(house.state().deal(0).unwrap().1.is_some());
}

type Change<T> = (&'static str, fn(&mut T));

#[test]
fn orders_that_a_real_chain_refuses_are_refused() {
    let data = piece(5, 1024);
    let house = House::new(NetworkPolicy::with_periods(6, 10));
    let refusals: [Change<Allocation>; 8] = [
        ("no actor is the client", |a| a.client = 55),
        ("not a storage miner actor", |a| a.provider = CLIENT),
        ("below minimum 256", |a| a.size = PaddedPieceSize(128)),
        ("below limit 518400", |a| a.term_min -= 1),
        ("above limit", |a| a.term_max = 2000 * DAY),
        ("exceeds term max", |a| a.term_max = a.term_min - 1),
        ("has passed current epoch", |a| a.expiration = 1),
        ("exceeds maximum", |a| a.expiration += 60 * DAY),
    ];
    for (why, spoil) in refusals {
        let mut wanted = house.allocation_for(&data);
        spoil(&mut wanted);
        let error = house.network.allocate(wanted).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let refusals: [Change<DealProposal>; 8] = [
        ("no actor is", |d| d.client = Address::new_id(55)),
        ("not a storage miner actor", |d| d.provider = d.client),
        ("can be at most 256 bytes", |d| {
            d.label = Label::String("x".repeat(257));
        }),
        ("piece size is invalid", |d| {
            d.piece_size = PaddedPieceSize(1000);
        }),
        ("PieceCID undefined", |d| {
            d.piece_cid = replica_commitment_v1_to_cid(&[5; 32]).unwrap();
        }),
        ("end before proposal start", |d| d.end_epoch = d.start_epoch),
        ("has already elapsed", |d| d.start_epoch = 1),
        ("duration out of bounds", |d| {
            d.end_epoch = d.start_epoch + 180 * DAY - 1;
        }),
    ];
    for (why, spoil) in refusals {
        let mut wanted = house.deal_for(&data, "");
        spoil(&mut wanted);
        let error = house.network.publish_deal(wanted).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let deal = house.deal_for(&data, "");
    assert_eq!(house.network.publish_deal(deal.clone()).unwrap(), 0);
    let error = house.network.publish_deal(deal).unwrap_err().to_string();
    assert!(error.contains("duplicate"), "{error}");
}
