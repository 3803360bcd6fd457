//! C1: the vanilla proofs that answer the seed.

use crate::{
    event::Event,
    plans::{Step, Stop},
};
use damocles_processor::{
    prover_id,
    task::{C1, Pc2Output},
};

/// The task over the local cache and replica.
pub fn task(step: &Step<'_>, seed: [u8; 32], output: Pc2Output) -> Result<C1, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let phases = &step.document()?.phases;
    let ticket = phases.ticket.ok_or_else(|| Stop::lacking("the ticket"))?;
    let piece_infos = phases
        .piece_infos
        .clone()
        .ok_or_else(|| Stop::lacking("the pieces"))?;
    Ok(C1 {
        registered_proof: allocated.proof_type,
        cache_path: paths.cache,
        sealed_file: paths.sealed,
        prover_id: prover_id(allocated.id.miner),
        sector_id: allocated.id.number,
        ticket: ticket.ticket.0,
        seed,
        pre_commit_output: output,
        piece_infos,
    })
}

pub fn run(step: &mut Step<'_>) -> Result<Event, Stop> {
    let phases = &step.document()?.phases;
    let seed = phases.seed.ok_or_else(|| Stop::lacking("the seed"))?;
    let output = phases
        .pc2
        .ok_or_else(|| Stop::lacking("the output of PC2"))?;
    let task = task(step, seed.seed.0, output)?;
    Ok(Event::C1(step.compute(&task)?))
}
