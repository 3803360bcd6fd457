//! A look whether the sealed sector holds, where `verify_after_pc2` wants one: it answers
//! challenges as C1 does. What is found here would be found after the precommit otherwise. Done
//! once the output of PC2 is on disk, so that an interrupted look costs no second PC2.

use crate::{
    metadb::Transition,
    plans::{Step, Stop, steps::c1, stop::database_failed},
};
use damocles_types::{Failure, Level};

/// Looks, unless that was done; then writes down that it was.
pub(super) fn once(step: &mut Step<'_>) -> Result<(), Stop> {
    let document = step.document()?.clone();
    if !step.settings.verify_after_pc2 || document.phases.verified {
        return Ok(());
    }
    let output = document
        .phases
        .pc2
        .ok_or_else(|| Stop::lacking("the output of PC2"))?;
    // any seed will do
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
    let mut verified = document;
    verified.phases.verified = true;
    step.meta
        .commit(&verified, &Transition::default())
        .map_err(database_failed)?;
    step.amended = Some(verified);
    Ok(())
}
