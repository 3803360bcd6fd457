//! PC1: the layers. The cache directory is kept over interruptions: the stage goes on after
//! the last finished layer of the same ticket. A ticket that grew old while the sector waited
//! for its turn is drawn anew when the turn has come, before anything is built upon it; one with which
//! no precommit could land any more, also after that.

use crate::{
    document::Document,
    event::Event,
    metadb::{MetaDb, Transition},
    plans::{
        Step, Stop, World,
        steps::{
            ticket::{anew, spent},
            tree_d,
        },
        stop::{call_failed, database_failed},
    },
    stores::sealing::TREE_D,
};
use damocles_processor::{prover_id, stage, task::Pc1};
use damocles_types::{Classify, Ticket};
use std::{cell::RefCell, fs::File, path::Path, time::Duration};

/// From this age on a ticket is not begun with. The chain takes a ticket for about a day
/// (its MaxPreCommitRandomnessLookback, which no node tells), and PC1 and PC2 take their hours
/// of that.
const STALE: Duration = Duration::from_secs(3600);

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
    let (world, meta, document) = (step.world, step.meta, step.document()?.clone());
    let (amended, old) = (RefCell::new(None), RefCell::new(None));
    let output = step.compute_with(|| {
        let ticket = match look(world, meta, &document, &paths.cache)? {
            Look::GoOn => ticket,
            Look::Renewed(ticket, document) => {
                amended.replace(Some(*document));
                ticket
            }
            Look::Spent(why) => {
                old.replace(Some(why.clone()));
                return Err(Stop::Idle(why));
            }
        };
        // PC1's programs look for the file that they are to fill, as the library does
        File::create(&paths.sealed)
            .crit("making the sealed file for PC1")
            .map_err(Stop::Failed)?;
        Ok(Pc1 {
            registered_proof: allocated.proof_type,
            cache_path: paths.cache,
            in_path: paths.staged,
            out_path: paths.sealed,
            prover_id: prover_id(allocated.id.miner),
            sector_id: allocated.id.number,
            ticket: ticket.ticket.0,
            piece_infos,
        })
    });
    // however it ended: that is what is written down now
    step.amended = amended.into_inner();
    if let Some(why) = old.into_inner() {
        return anew(step, why);
    }
    Ok(Event::PC1(output?))
}

/// What is to be done with the ticket, when the turn has come.
enum Look {
    GoOn,
    /// Nothing was built upon the one before, and this one is written down (a run that is
    /// interrupted must find its layers again).
    Renewed(Ticket, Box<Document>),
    /// There are layers, and the chain would not take what comes of them.
    Spent(String),
}

fn look(world: &World, meta: &MetaDb, document: &Document, cache: &Path) -> Result<Look, Stop> {
    let now = world.clock.now_ms();
    let begun = stage::has_layers(cache)
        .crit("looking for finished layers")
        .map_err(Stop::Failed)?;
    let spent = spent(world, document);
    match (begun, spent) {
        (true, Some(why)) => return Ok(Look::Spent(why)),
        (true, None) => return Ok(Look::GoOn),
        (false, None) if !is_stale(document.phases.ticket_at, now) => return Ok(Look::GoOn),
        (false, Some(_) | None) => {}
    }
    let sector = document.sector();
    world.same_manager(Some(document))?;
    let ticket = world.manager.assign_ticket(sector).map_err(call_failed)?;
    let mut document = document.clone();
    document.phases.ticket = Some(ticket);
    document.phases.ticket_at = Some(now);
    meta.commit(&document, &Transition::default())
        .map_err(database_failed)?;
    tracing::info!(%sector, epoch = ticket.epoch, "the ticket had grown old and was drawn anew");
    Ok(Look::Renewed(ticket, Box::new(document)))
}

/// Of a ticket without a time nobody knows how old it is.
fn is_stale(drawn_at: Option<u64>, now: u64) -> bool {
    drawn_at.is_none_or(|at| u128::from(now.saturating_sub(at)) >= STALE.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_grow_old() {
        let hour = 3_600_000;
        for (drawn_at, now, stale) in [
            (Some(5), 5, false),
            (Some(0), hour - 1, false),
            (Some(0), hour, true),
            // a clock that was set back
            (Some(hour), 0, false),
            (None, 0, true),
        ] {
            assert_eq!(is_stale(drawn_at, now), stale, "{drawn_at:?} {now}");
        }
    }
}
