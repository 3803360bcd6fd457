//! `StateMiner*` and `StateSector*`: what a miner's state says.

use damocles_node::{MinerSectors, SectorExpiration, SectorLocation, SectorPreCommitInfo, W};
use fvm_ipld_bitfield::BitField;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::sector::{SectorNumber, SectorSize};

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;
use super::{shapes, state};
use crate::view::StateView;

/// The miner in the first parameter and the state in the parameter at `tsk`.
fn miner(node: &Node, params: &Params, tsk: usize) -> Result<(Address, StateView), RpcError> {
    let W(miner) = params.get(0)?;
    Ok((miner, state::view(node, params, tsk)?))
}

/// The same with a sector number in between.
fn sector_of(node: &Node, params: &Params) -> Result<(Address, SectorNumber, StateView), RpcError> {
    let (miner, view) = miner(node, params, 2)?;
    Ok((miner, params.get(1)?, view))
}

pub(super) fn info(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    answer(shapes::miner_info(&view.miner_info(&miner)?))
}

pub(super) fn power(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    answer(shapes::power(&view.miner_power(&miner)?))
}

pub(super) fn available_balance(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    answer(W(view.available_balance(&miner)?))
}

pub(super) fn deadlines(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    let deadlines = view.deadlines(&miner)?;
    answer(deadlines.iter().map(shapes::deadline).collect::<Vec<_>>())
}

pub(super) fn partitions(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 2)?;
    let partitions = view.partitions(&miner, params.get(1)?)?;
    // none is Go's nil slice
    let some = (!partitions.is_empty()).then_some(partitions);
    answer(some.map(|all| all.iter().map(shapes::partition).collect::<Vec<_>>()))
}

pub(super) fn proving_deadline(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    answer(shapes::deadline_info(&view.proving_deadline(&miner)?))
}

pub(super) fn sectors(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 2)?;
    let W(filter): W<Option<BitField>> = params.get(1)?;
    let sectors = view.sectors(&miner, filter.as_ref())?;
    answer(sectors.iter().map(shapes::sector).collect::<Vec<_>>())
}

pub(super) fn active_sectors(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    let sectors = view.active_sectors(&miner)?;
    answer(sectors.iter().map(shapes::sector).collect::<Vec<_>>())
}

pub(super) fn sector_count(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    let (live, active, faulty) = view.sector_count(&miner)?;
    answer(MinerSectors {
        live,
        active,
        faulty,
    })
}

pub(super) fn faults(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    answer(W(view.faults(&miner)?))
}

pub(super) fn recoveries(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    answer(W(view.recoveries(&miner)?))
}

pub(super) fn allocated(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 1)?;
    answer(W(view.allocated(&miner)?))
}

pub(super) fn sector_allocated(node: &Node, params: Params) -> Answer {
    let (miner, sector, view) = sector_of(node, &params)?;
    answer(view.allocated(&miner)?.get(sector))
}

pub(super) fn sector_info(node: &Node, params: Params) -> Answer {
    let (miner, sector, view) = sector_of(node, &params)?;
    answer(
        view.sector_info(&miner, sector)?
            .as_ref()
            .map(shapes::sector),
    )
}

pub(super) fn precommit_info(node: &Node, params: Params) -> Answer {
    let (miner, sector, view) = sector_of(node, &params)?;
    let info = view.precommit_info(&miner, sector)?;
    answer(info.as_ref().map(shapes::precommit))
}

pub(super) fn sector_partition(node: &Node, params: Params) -> Answer {
    let (miner, sector, view) = sector_of(node, &params)?;
    let location = view.sector_partition(&miner, sector)?;
    answer(SectorLocation {
        deadline: location.deadline,
        partition: location.partition,
    })
}

pub(super) fn sector_expiration(node: &Node, params: Params) -> Answer {
    let (miner, sector, view) = sector_of(node, &params)?;
    let expiration = view.sector_expiration(&miner, sector)?;
    answer(SectorExpiration {
        on_time: expiration.on_time,
        early: expiration.early,
    })
}

pub(super) fn precommit_deposit(node: &Node, params: Params) -> Answer {
    let (miner, view) = miner(node, &params, 2)?;
    let info = shapes::to_precommit_info(params.get(1)?)?;
    answer(W(view.precommit_deposit_for_power(&miner, &info)?))
}

pub(super) fn pledge_collateral(node: &Node, params: Params) -> Answer {
    let (_, view) = miner(node, &params, 2)?;
    let info: SectorPreCommitInfo = params.get(1)?;
    let expiration = info.expiration;
    let size = shapes::to_precommit_info(info)?
        .seal_proof
        .sector_size()
        .map_err(RpcError::failed)?;
    let duration = expiration.saturating_sub(view.epoch());
    answer(W(view.initial_pledge_for_sector(duration, size, 0)?))
}

pub(super) fn pledge_for_sector(node: &Node, params: Params) -> Answer {
    let duration: ChainEpoch = params.get(0)?;
    let bytes: u64 = params.get(1)?;
    let verified: u64 = params.get(2)?;
    let view = state::view(node, &params, 3)?;
    if duration <= 0 {
        return Err(RpcError::failed("sector duration must be greater than 0"));
    }
    let size = [
        SectorSize::_2KiB,
        SectorSize::_8MiB,
        SectorSize::_512MiB,
        SectorSize::_32GiB,
        SectorSize::_64GiB,
    ]
    .into_iter()
    .find(|s| *s as u64 == bytes)
    .ok_or_else(|| RpcError::failed(format!("{bytes} is not a sector size")))?;
    if verified > bytes {
        return Err(RpcError::failed(
            "verified deal size cannot be larger than sector size",
        ));
    }
    answer(W(view.initial_pledge_for_sector(duration, size, verified)?))
}

pub(super) fn creation_deposit(node: &Node, params: Params) -> Answer {
    answer(W(state::view(node, &params, 0)?.creation_deposit()))
}
