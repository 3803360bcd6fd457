//! The storage market: deals that were published and their activation. Its state is kept by the
//! actors' own code (`fil_actor_market_state::v18`); the rules, which that crate leaves out,
//! follow builtin-actors v18 (`actors/market/src/lib.rs`). No money moves: prices and collaterals
//! are on record and nobody locks, pays or loses them. A deal is published because a test orders
//! it, and a deal that was activated stays so, whatever becomes of its sector.
use std::collections::HashSet;

use fil_actor_market_state::v18::policy::detail::DEAL_MAX_LABEL_SIZE;
use fil_actor_market_state::v18::{EX_DEAL_EXPIRED, find_deal_state, get_proposal, is_piece_cid};
use fil_actor_miner_state::v18::{PieceChange, SectorChanges};
use fil_actors_shared::v18::ActorError;
use fil_actors_shared::v18::runtime::Policy;
use fvm_ipld_encoding::from_slice;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::{ChainEpoch, EPOCH_UNDEFINED};
use fvm_shared::deal::DealID;
use fvm_shared::error::ExitCode;

pub use fil_actor_market_state::v18::{DealProposal, DealState, Label, State};

use crate::message::cbor_cid;
use crate::registry::Allocation;
use crate::store::Store;
use crate::tree::{MARKET, Tree};

/// Epochs that a deal may last at the least and at the most.
const DURATIONS: std::ops::RangeInclusive<ChainEpoch> = 180 * 2880..=1278 * 2880;

/// The market's state. A network that was made before it had one begins with an empty one.
pub fn load(tree: &Tree) -> anyhow::Result<State> {
    if tree.is_blank(MARKET)? {
        return Ok(State::new(tree.store())?);
    }
    tree.state(MARKET)
}

/// The allocation of a verified deal that was not activated yet.
pub fn pending_allocation(
    store: &Store,
    state: &mut State,
    deal: DealID,
) -> anyhow::Result<Option<u64>> {
    let pending = state.load_pending_deal_allocation_ids(store)?;
    Ok(pending.get(&deal)?.copied())
}

/// Why the market would not publish a deal at `epoch`; None if it would. Whether it was
/// published before, and whether its parties exist, is not asked here.
pub fn fault_of(proposal: &DealProposal, epoch: ChainEpoch) -> Option<String> {
    let label = proposal.label.len();
    let faults = [
        (
            label > DEAL_MAX_LABEL_SIZE,
            format!("deal label can be at most {DEAL_MAX_LABEL_SIZE} bytes, is {label}"),
        ),
        (
            proposal.piece_size.validate().is_err(),
            format!("proposal piece size is invalid: {}", proposal.piece_size.0),
        ),
        (
            !is_piece_cid(&proposal.piece_cid),
            "proposal PieceCID undefined".to_owned(),
        ),
        (
            proposal.end_epoch <= proposal.start_epoch,
            "proposal end before proposal start".to_owned(),
        ),
        (
            epoch > proposal.start_epoch,
            "Deal start epoch has already elapsed.".to_owned(),
        ),
        (
            !DURATIONS.contains(&proposal.duration()),
            "Deal duration out of bounds.".to_owned(),
        ),
    ];
    faults
        .into_iter()
        .find_map(|(wrong, why)| wrong.then_some(why))
}

/// The allocation that is made for a verified deal published at `epoch`; the parties are IDs.
pub fn allocation_for(
    proposal: &DealProposal,
    policy: &Policy,
    epoch: ChainEpoch,
) -> anyhow::Result<Allocation> {
    let term_min = proposal.duration();
    Ok(Allocation {
        client: proposal.client.id()?,
        provider: proposal.provider.id()?,
        data: proposal.piece_cid,
        size: proposal.piece_size,
        term_min,
        term_max: (term_min + policy.market_default_allocation_term_buffer)
            .min(policy.maximum_verified_allocation_term),
        expiration: proposal
            .start_epoch
            .min(epoch + policy.maximum_verified_allocation_expiration),
    })
}

/// Enters a deal; its number.
pub fn publish(
    store: &Store,
    state: &mut State,
    policy: &Policy,
    proposal: &DealProposal,
    allocation: Option<u64>,
) -> anyhow::Result<DealID> {
    let deal = state.generate_storage_deal_id();
    state.put_pending_deals(store, &[cbor_cid(proposal)?])?;
    state.put_deal_proposals(store, &[(deal, proposal.clone())])?;
    if let Some(allocation) = allocation {
        state.put_pending_deal_allocation_ids(store, &[(deal, allocation)])?;
    }
    let due = update_epoch(deal, policy.deal_updates_interval, proposal.start_epoch);
    state.put_deals_by_epoch(store, &[(due, deal)])?;
    Ok(deal)
}

/// The first epoch from `earliest` on in which the market looks after a deal; deals are spread
/// over the interval by their number.
fn update_epoch(deal: DealID, interval: i64, earliest: ChainEpoch) -> ChainEpoch {
    let offset = deal as i64 % interval;
    earliest + (offset - earliest).rem_euclid(interval)
}

/// The end of the epoch (CronTick): deals that nobody activated in time are forgotten, and with
/// them their claim on an allocation. False when nothing was due.
pub fn tick(store: &Store, state: &mut State, epoch: ChainEpoch) -> anyhow::Result<bool> {
    let due = state.get_deals_for_epoch(store, epoch)?;
    if due.is_empty() {
        return Ok(false);
    }
    for deal in due {
        let Some(proposal) = state.find_proposal(store, deal)? else {
            continue;
        };
        state.remove_pending_deal(store, cbor_cid(&proposal)?)?;
        if state.find_deal_state(store, deal)?.is_none() {
            state.remove_proposal(store, deal)?;
            state.remove_pending_deal_allocation_id(store, deal)?;
        }
    }
    state.remove_deals_by_epoch(store, &[epoch])?;
    Ok(true)
}

/// What a miner's sectors hold from now on (SectorContentChanged): for each sector and piece of
/// it whether a deal was activated by it. The payload is the deal's number in CBOR. After an
/// error the state must be thrown away.
pub fn sector_content_changed(
    store: &Store,
    state: &mut State,
    miner: ActorID,
    epoch: ChainEpoch,
    sectors: &[SectorChanges],
) -> Result<Vec<Vec<bool>>, ActorError> {
    let mut activated = HashSet::new();
    let mut states = Vec::new();
    let mut by_sector = Vec::with_capacity(sectors.len());
    let mut answers = Vec::with_capacity(sectors.len());
    for sector in sectors {
        let mut deals = Vec::new();
        let mut accepted = Vec::with_capacity(sector.added.len());
        for piece in &sector.added {
            let judged = match from_slice::<DealID>(piece.payload.bytes()) {
                Err(e) => Err(format!("the payload is no deal's number: {e}")),
                Ok(deal) if activated.contains(&deal) => Err(format!("deal {deal} is given twice")),
                Ok(deal) => judge(store, state, deal, miner, epoch, sector, piece)?.map(|()| deal),
            };
            match judged {
                Ok(deal) => {
                    activated.insert(deal);
                    deals.push(deal);
                    let state = DealState {
                        sector_number: sector.sector,
                        sector_start_epoch: epoch,
                        last_updated_epoch: EPOCH_UNDEFINED,
                        slash_epoch: EPOCH_UNDEFINED,
                    };
                    states.push((deal, state));
                    accepted.push(true);
                }
                Err(why) => {
                    tracing::info!("sector {} activates no deal: {why}", sector.sector);
                    accepted.push(false);
                }
            }
        }
        by_sector.push((sector.sector, deals));
        answers.push(accepted);
    }
    for deal in &activated {
        state.remove_pending_deal_allocation_id(store, *deal)?;
    }
    state.put_deal_states(store, &states)?;
    state.put_sector_deal_ids(store, miner, &by_sector)?;
    Ok(answers)
}

/// Whether a piece activates a deal; the inner error is the market's reason to reject it.
fn judge(
    store: &Store,
    state: &State,
    deal: DealID,
    miner: ActorID,
    epoch: ChainEpoch,
    sector: &SectorChanges,
    piece: &PieceChange,
) -> Result<Result<(), String>, ActorError> {
    let proposal = match get_proposal(&state.load_proposals(store)?, deal, state.next_id) {
        Ok(proposal) => proposal,
        Err(e) if matches!(e.exit_code(), ExitCode::USR_NOT_FOUND | EX_DEAL_EXPIRED) => {
            return Ok(Err(e.msg().to_owned()));
        }
        Err(e) => return Err(e),
    };
    let active = find_deal_state(&state.load_deal_states(store)?, deal)?.is_some();
    let cid = cbor_cid(&proposal).map_err(|e| ActorError::serialization(format!("{e:#}")))?;
    let pending = state.has_pending_deal(store, &cid)?;
    let why = if proposal.provider != Address::new_id(miner) {
        format!("deal {deal} is of provider {}", proposal.provider)
    } else if epoch > proposal.start_epoch {
        format!("deal {deal} had to start at {}", proposal.start_epoch)
    } else if proposal.end_epoch > sector.minimum_commitment_epoch {
        format!(
            "deal {deal} ends at {}, the sector at {}",
            proposal.end_epoch, sector.minimum_commitment_epoch
        )
    } else if active {
        format!("deal {deal} was activated before")
    } else if !pending {
        format!("deal {deal} is not pending")
    } else if piece.data != proposal.piece_cid {
        format!("deal {deal} is for piece {}", proposal.piece_cid)
    } else if piece.size != proposal.piece_size {
        format!("deal {deal} is for {} bytes", proposal.piece_size.0)
    } else {
        return Ok(Ok(()));
    };
    Ok(Err(why))
}

#[cfg(test)]
mod tests {
    use fvm_shared::commcid::piece_commitment_v1_to_cid;
    use fvm_shared::piece::PaddedPieceSize;

    use super::*;

    #[test]
    fn a_deal_is_looked_after_in_the_interval_after_its_start() {
        for (deal, earliest, due) in [(0, 10, 10), (0, 11, 20), (3, 10, 13), (13, 14, 23)] {
            assert_eq!(update_epoch(deal, 10, earliest), due, "{deal} {earliest}");
        }
    }

    #[test]
    fn a_deal_that_nobody_activated_is_forgotten_with_its_allocation() {
        let store = Store::default();
        let mut state = State::new(&store).unwrap();
        let policy = Policy {
            deal_updates_interval: 10,
            ..Policy::default()
        };
        let mut proposal = DealProposal {
            piece_cid: piece_commitment_v1_to_cid(&[5; 32]).unwrap(),
            piece_size: PaddedPieceSize(1024),
            verified_deal: true,
            client: Address::new_id(100),
            provider: Address::new_id(1000),
            label: Label::String("kept".into()),
            start_epoch: 5,
            end_epoch: 50,
            storage_price_per_epoch: Default::default(),
            provider_collateral: Default::default(),
            client_collateral: Default::default(),
        };
        let kept = publish(&store, &mut state, &policy, &proposal, Some(1)).unwrap();
        proposal.label = Label::String("lost".into());
        proposal.start_epoch = 9;
        let lost = publish(&store, &mut state, &policy, &proposal, Some(2)).unwrap();
        let payload = fvm_ipld_encoding::RawBytes::serialize(kept).unwrap();
        let changes = SectorChanges {
            sector: 7,
            minimum_commitment_epoch: 50,
            added: vec![PieceChange {
                data: proposal.piece_cid,
                size: proposal.piece_size,
                payload,
            }],
        };
        // the last epoch and the least lifetime that it may have
        let answers = sector_content_changed(&store, &mut state, 1000, 5, &[changes]).unwrap();
        assert_eq!(answers, [[true]]);
        let mut due = Vec::new();
        for epoch in 6..=30 {
            if tick(&store, &mut state, epoch).unwrap() {
                due.push(epoch);
            }
            let has = |deal| state.find_proposal(&store, deal).unwrap().is_some();
            assert!(has(kept), "{epoch}");
            assert_eq!(has(lost), epoch < 11, "{epoch}");
        }
        assert_eq!(due, [10, 11]);
        assert_eq!(pending_allocation(&store, &mut state, lost).unwrap(), None);
    }
}
