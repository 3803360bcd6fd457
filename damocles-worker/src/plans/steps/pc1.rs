//! PC1: the layers. The cache directory is kept over interruptions: the stage goes on after
//! the last finished layer of the same ticket.

use crate::{
    event::Event,
    plans::{
        step::{Step, Stop},
        steps::tree_d,
    },
    stores::sealing::TREE_D,
};
use damocles_processor::{prover_id, task::Pc1};
use damocles_types::Classify;

pub fn run(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let phases = &step.document()?.phases;
    let ticket = phases.ticket.ok_or_else(|| Stop::lacking("the ticket"))?;
    let piece_infos = phases
        .piece_infos
        .clone()
        .ok_or_else(|| Stop::lacking("the pieces"))?;
    step.store
        .make_room(allocated.id)
        .crit("making room in the sealing store")
        .map_err(Stop::Failed)?;
    // The library takes a tree of the right length as it is, instead of building it again.
    tree_d::link(
        &paths.prepared_tree_d(),
        &paths.cache.join(TREE_D),
        allocated.proof_type.size,
    )
    .crit("handing tree-d to PC1")
    .map_err(|failure| {
        Stop::Failed(failure.hint("resume the thread from PieceAdded to build tree-d again"))
    })?;
    let output = step.compute(&Pc1 {
        registered_proof: allocated.proof_type,
        cache_path: paths.cache,
        in_path: paths.staged,
        out_path: paths.sealed,
        prover_id: prover_id(allocated.id.miner),
        sector_id: allocated.id.number,
        ticket: ticket.ticket.0,
        piece_infos,
    })?;
    Ok(Event::PC1(output))
}
