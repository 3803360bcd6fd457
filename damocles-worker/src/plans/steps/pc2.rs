//! PC2: the trees, and the replica encoded in place. The stage is told where the staged file
//! is, so that a replica that an interrupted run left half-encoded is made again from it.
//! And the synthetic proofs that some proof types want after it.

use crate::{
    document::Output,
    event::Event,
    plans::{
        Step, Stop,
        steps::ticket::{anew, spent},
    },
    stores::SectorPaths,
};
use damocles_processor::{
    disk::{remove_if_there, sync, write_whole},
    prover_id, stage,
    task::{Pc2, SynthProof, Transfer, TransferEnd, TransferRoute},
};
use damocles_types::{Classify, Failure};
use std::{cell::RefCell, collections::BTreeMap, path::Path};

pub fn run(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (allocated, paths) = (step.allocated()?, step.paths()?);
    let pc1out = step.output(Output::Pc1, "the output of PC1")?;
    let foreign = step.world.programs.foreign_pc2;
    if foreign {
        repair(step, &paths)?;
    }
    let (world, document, old) = (step.world, step.document()?.clone(), RefCell::new(None));
    let output = step.compute_with(|| {
        if let Some(why) = spent(world, &document) {
            old.replace(Some(why.clone()));
            return Err(Stop::Idle(why));
        }
        if foreign {
            // before the program touches anything, and in upstream's own way
            write_whole(&paths.cache.join(stage::PC2_RUNNING), b"")
                .crit("marking PC2 as begun")
                .map_err(Stop::Failed)?;
        }
        Ok(Pc2 {
            pc1out,
            cache_dir: paths.cache,
            sealed_file: paths.sealed,
            staged_file: Some(paths.staged),
        })
    });
    if let Some(why) = old.into_inner() {
        return anew(step, why);
    }
    let output = output?;
    if output.registered_proof != allocated.proof_type {
        return Err(Stop::Failed(
            Failure::permanent(format!(
                "PC2 answered for the kind {}, and the sector is of the kind {}",
                output.registered_proof, allocated.proof_type
            ))
            .hint("the programs of [[processors.pc1]] and [[processors.pc2]] must seal the kind that they are asked for; correct them, then resume from TreeDBuilt to seal the sector again"),
        ));
    }
    Ok(if allocated.proof_type.is_synthetic() {
        Event::PC2NeedSyntheticProof(output)
    } else {
        Event::PC2(output)
    })
}

/// Somebody else's program encodes the sealed file in place and looks at no marks. After a
/// run that was begun, whatever became of it, the file is made again from the staged one and
/// the trees are removed. The mark stays until both are done; it also stays after a run that
/// ended well, since the file is encoded then and no second run may start from it either.
fn repair(step: &mut Step<'_>, paths: &SectorPaths) -> Result<(), Stop> {
    let mark = paths.cache.join(stage::PC2_RUNNING);
    // one that cannot be looked at is no sign that nothing was begun
    let begun = mark
        .try_exists()
        .crit("looking for the mark of an earlier PC2")
        .map_err(Stop::Failed)?;
    if !begun {
        return Ok(());
    }
    tracing::warn!("an earlier PC2 was begun; the sealed file is made again from the staged one");
    let end = |path: &Path| TransferEnd {
        store_name: None,
        uri: path.to_owned(),
    };
    step.compute(&Transfer {
        stores: BTreeMap::new(),
        routes: vec![TransferRoute {
            src: end(&paths.staged),
            dest: end(&paths.sealed),
            opt: None,
        }],
    })?;
    stage::clear_trees(&paths.cache)
        .and_then(|()| remove_if_there(&mark))
        .and_then(|()| sync(&paths.cache))
        .crit("clearing up after an interrupted PC2")
        .map_err(Stop::Failed)
}

pub fn synthetic(step: &mut Step<'_>) -> Result<Event, Stop> {
    // the stage tries what it makes before the layers go: no look of `verify_after_pc2` is needed
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
