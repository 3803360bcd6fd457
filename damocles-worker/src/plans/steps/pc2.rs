//! PC2: the trees, and the replica encoded in place. The stage is told where the staged file
//! is, so that a replica that an interrupted run left half-encoded is made again from it.
//! And the synthetic proofs that some proof types want after it.

use crate::{
    document::Output,
    event::Event,
    plans::{
        step::{Step, Stop},
        steps::c1,
    },
};
use damocles_processor::{
    prover_id,
    task::{Pc2, SynthProof},
};
use damocles_types::{Failure, Level};

pub fn run(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let pc1out = step.output(Output::Pc1, "the output of PC1")?;
    let output = step.compute(&Pc2 {
        pc1out,
        cache_dir: paths.cache,
        sealed_file: paths.sealed,
        staged_file: Some(paths.staged),
    })?;
    if step.settings.verify_after_pc2 {
        // any seed will do: what is found here would be found after the precommit otherwise
        let task = c1::task(step, [0; 32], output)?;
        if let Err(stop) = step.compute(&task) {
            return Err(match stop {
                Stop::Failed(failure) if failure.level == Level::Permanent => Stop::Failed(
                    Failure::permanent(format!("the sealed sector does not hold: {}", failure.message))
                        .hint("check memory and disk of this machine, then resume from TreeDBuilt to seal the sector again"),
                ),
                other => other,
            });
        }
    }
    Ok(if allocated.proof_type.is_synthetic() {
        Event::PC2NeedSyntheticProof(output)
    } else {
        Event::PC2(output)
    })
}

pub fn synthetic(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let phases = &step.document()?.phases;
    let ticket = phases.ticket.ok_or_else(|| Stop::lacking("the ticket"))?;
    let output = phases
        .pc2
        .ok_or_else(|| Stop::lacking("the output of PC2"))?;
    let piece_infos = phases
        .piece_infos
        .clone()
        .ok_or_else(|| Stop::lacking("the pieces"))?;
    step.compute(&SynthProof {
        registered_proof: allocated.proof_type,
        cache_path: paths.cache,
        sealed_file: paths.sealed,
        prover_id: prover_id(allocated.id.miner),
        sector_id: allocated.id.number,
        ticket: ticket.ticket.0,
        pre_commit_output: output,
        piece_infos,
    })?;
    Ok(Event::SyntheticPoRep)
}
