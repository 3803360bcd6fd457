//! The ticket that PC1 is bound to. It is written down before PC1 begins, so that an
//! interrupted PC1 finds its finished layers again.

use crate::{
    event::Event,
    plans::{Step, Stop, steps::tree_d::renew},
};
use damocles_types::Classify;

/// Draws a ticket. Whatever an older ticket left in the cache goes first.
pub fn assign(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (sector, paths) = (step.sector()?, step.paths()?);
    renew(&paths.cache)
        .crit("clearing the cache directory")
        .map_err(Stop::Failed)?;
    let ticket = step.ask(|manager| manager.assign_ticket(sector))?;
    Ok(Event::AssignTicket(ticket, step.world.clock.now_ms()))
}
