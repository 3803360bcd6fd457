//! Allocations, claims and deals: what the chain says of them, and how a test orders them.

use damocles_node::{W, deal};
use fvm_shared::address::Address;
use fvm_shared::piece::PaddedPieceSize;

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;
use super::state;
use crate::market::{DealProposal, DealState, Label};
use crate::registry::{Allocation, Claim};

/// No allocation has this number; it says that a deal has none.
const NO_ALLOCATION: u64 = 0;

pub(super) fn allocation(node: &Node, params: Params) -> Answer {
    let W(client): W<Address> = params.get(0)?;
    let view = state::view(node, &params, 2)?;
    let found = view.allocation(&client, params.get(1)?)?;
    answer(found.map(allocation_shape))
}

pub(super) fn allocation_of_pending_deal(node: &Node, params: Params) -> Answer {
    let view = state::view(node, &params, 1)?;
    let found = view.pending_deal_allocation(params.get(0)?)?;
    answer(found.unwrap_or(NO_ALLOCATION))
}

pub(super) fn claim(node: &Node, params: Params) -> Answer {
    let W(provider): W<Address> = params.get(0)?;
    let view = state::view(node, &params, 2)?;
    let found = view.claim(&provider, params.get(1)?)?;
    answer(found.map(claim_shape))
}

pub(super) fn market_deal(node: &Node, params: Params) -> Answer {
    let view = state::view(node, &params, 1)?;
    let (proposal, state) = view.deal(params.get(0)?)?;
    answer(deal::MarketDeal {
        proposal: proposal_shape(proposal)?,
        state: state.map_or(deal::DealState::PENDING, state_shape),
    })
}

pub(super) fn allocate(node: &Node, params: Params) -> Answer {
    let wanted: deal::Allocation = params.get(0)?;
    answer(node.network.allocate(Allocation {
        client: wanted.client,
        provider: wanted.provider,
        data: wanted.data,
        size: PaddedPieceSize(wanted.size),
        term_min: wanted.term_min,
        term_max: wanted.term_max,
        expiration: wanted.expiration,
    })?)
}

pub(super) fn publish_deal(node: &Node, params: Params) -> Answer {
    let wanted: deal::DealProposal = params.get(0)?;
    answer(node.network.publish_deal(DealProposal {
        piece_cid: wanted.piece_cid,
        piece_size: PaddedPieceSize(wanted.piece_size),
        verified_deal: wanted.verified_deal,
        client: wanted.client,
        provider: wanted.provider,
        label: Label::String(wanted.label),
        start_epoch: wanted.start_epoch,
        end_epoch: wanted.end_epoch,
        storage_price_per_epoch: wanted.storage_price_per_epoch,
        provider_collateral: wanted.provider_collateral,
        client_collateral: wanted.client_collateral,
    })?)
}

fn allocation_shape(from: Allocation) -> deal::Allocation {
    deal::Allocation {
        client: from.client,
        provider: from.provider,
        data: from.data,
        size: from.size.0,
        term_min: from.term_min,
        term_max: from.term_max,
        expiration: from.expiration,
    }
}

fn claim_shape(from: Claim) -> deal::VerifiedClaim {
    deal::VerifiedClaim {
        provider: from.provider,
        client: from.client,
        data: from.data,
        size: from.size.0,
        term_min: from.term_min,
        term_max: from.term_max,
        term_start: from.term_start,
        sector: from.sector,
    }
}

fn state_shape(from: DealState) -> deal::DealState {
    deal::DealState {
        sector_number: from.sector_number,
        sector_start_epoch: from.sector_start_epoch,
        last_updated_epoch: from.last_updated_epoch,
        slash_epoch: from.slash_epoch,
    }
}

fn proposal_shape(from: DealProposal) -> Result<deal::DealProposal, RpcError> {
    let label = match from.label {
        Label::String(text) => text,
        Label::Bytes(_) => return Err(RpcError::failed("a label of bytes has no JSON")),
    };
    Ok(deal::DealProposal {
        piece_cid: from.piece_cid,
        piece_size: from.piece_size.0,
        verified_deal: from.verified_deal,
        client: from.client,
        provider: from.provider,
        label,
        start_epoch: from.start_epoch,
        end_epoch: from.end_epoch,
        storage_price_per_epoch: from.storage_price_per_epoch,
        provider_collateral: from.provider_collateral,
        client_collateral: from.client_collateral,
    })
}
