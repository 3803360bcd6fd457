//! AddPieces: the sector's data, fr32-padded, into the staged file.

use crate::{
    event::Event,
    plans::{Step, Stop},
};
use damocles_processor::task::AddPieces;
use damocles_types::Classify;

pub fn add(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let deals = step.document()?.phases.deals.clone().unwrap_or_default();
    step.store
        .make_room(allocated.id)
        .crit("making room in the sealing store")
        .map_err(Stop::Failed)?;
    let pieces = step.world.pieces.locate(&deals).map_err(Stop::Failed)?;
    let infos = step.compute(&AddPieces {
        seal_proof_type: allocated.proof_type,
        pieces,
        staged_filepath: paths.staged,
    })?;
    Ok(Event::AddPiece(infos))
}
