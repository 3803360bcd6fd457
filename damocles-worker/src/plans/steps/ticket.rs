//! The ticket that PC1 is bound to. It is written down before PC1 begins, so that an
//! interrupted PC1 finds its finished layers again. And how long it lasts: hours are not spent on a
//! replica that the chain will not take.

use crate::{
    document::Document,
    event::Event,
    plans::{Step, Stop, World, steps::tree_d::renew},
};
use damocles_api::{damocles::TicketLeft, show::span};
use damocles_types::{Classify, Failure, SectorSize};
use std::time::Duration;

/// For a manager that does not tell how long a ticket lasts (upstream's): the chain takes one for about
/// a day, and which part of that is left no clock of ours knows better.
const ABOUT_ITS_LIFE: Duration = Duration::from_secs(24 * 3600);

/// So many tickets may grow too old under a sector, and its layers be made again; the next one is a
/// person's.
const SPENT: u32 = 2;

/// Draws a ticket. Whatever an older ticket left in the cache goes first.
pub fn assign(step: &mut Step<'_>) -> Result<Event, Stop> {
    let (sector, paths) = (step.sector()?, step.paths()?);
    renew(&paths.cache)
        .crit("clearing the cache directory")
        .map_err(Stop::Failed)?;
    let ticket = step.ask(|manager| manager.assign_ticket(sector))?;
    Ok(Event::AssignTicket(ticket, step.world.clock.now_ms()))
}

/// Why no precommit with the sector's ticket would land any more. None: one may; or nobody can say, and
/// the chain will.
pub(super) fn spent(world: &World, document: &Document) -> Option<String> {
    if document.precommit_sent() {
        return None;
    }
    // whoever is away, or another manager, says nothing of it; nobody is waited for
    let told = world.same_manager(Some(document)).ok();
    let left = told.and_then(|_| world.manager.ticket_left(document.sector()).ok());
    // a manager whose records are older than the sector's speaks of another ticket
    let ours = document.phases.ticket.as_ref().map(|ticket| ticket.epoch);
    let left = left.flatten().filter(|left| Some(left.epoch) == ours);
    let size = document.allocated.proof_type.size;
    let drawn = document.phases.ticket_at;
    let age = drawn.map(|at| world.clock.now_ms().saturating_sub(at));
    too_old(left, age, size)
}

/// The way to another ticket from layers that were built upon one that is too old; or to a person
/// where that happened as often as it may: where PC1 and PC2 take longer than a ticket lasts, or no
/// precommit is sent for days, it would go on for ever, and all of it is computed for nothing.
pub(super) fn anew(step: &Step<'_>, why: String) -> Result<Event, Stop> {
    let spent = step.document()?.phases.tickets_spent;
    if spent < SPENT {
        tracing::warn!("{why}: the layers are made anew, with another ticket");
        return Ok(Event::TicketExpired);
    }
    let tries = u64::from(spent) + 1;
    Err(Stop::Failed(
        Failure::permanent(format!(
            "{tries} tickets grew too old before a precommit could be sent; of the last one: {why}"
        ))
        .hint("a ticket lasts about a day: see in `worker timeline` how long PC1 and PC2 take and wait, and let fewer sectors be sealed at once; `worker resume` tries it with another ticket"),
    ))
}

/// What PC2 and the precommit's way into a block take at least.
const fn needed(size: SectorSize) -> Duration {
    Duration::from_secs(match size {
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => 60,
        SectorSize::GiB32 => 1800,
        SectorSize::GiB64 => 3600,
    })
}

/// The rule; `age` in milliseconds, by our clock.
fn too_old(left: Option<TicketLeft>, age: Option<u64>, size: SectorSize) -> Option<String> {
    match (left, age) {
        (Some(left), _) if left.epochs <= 0 => {
            Some(format!("the ticket of epoch {} has expired", left.epoch))
        }
        (Some(left), _) if left.seconds < needed(size).as_secs() => Some(format!(
            "the ticket of epoch {} expires in {}, before a precommit could land",
            left.epoch,
            span(left.seconds.saturating_mul(1_000))
        )),
        (None, Some(age)) if u128::from(age) >= ABOUT_ITS_LIFE.as_millis() => {
            Some(format!("the ticket was drawn {} ago", span(age)))
        }
        (Some(_) | None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_spent_when_nothing_could_land_with_it() {
        let left = |epochs, seconds| {
            Some(TicketLeft {
                epoch: 7,
                epochs,
                seconds,
            })
        };
        let day = 24 * 3_600_000;
        let (small, large) = (SectorSize::KiB2, SectorSize::GiB32);
        for (left, age, size, spent) in [
            (left(2000, 60_000), Some(0), large, false),
            // whatever our clock says
            (left(2000, 60_000), Some(9 * day), large, false),
            (left(0, 0), Some(0), small, true),
            (left(-3, 0), None, small, true),
            (left(40, 1200), None, large, true),
            (left(40, 1200), None, small, false),
            (None, Some(day - 1), large, false),
            (None, Some(day), large, true),
            // nobody knows; the chain will say
            (None, None, large, false),
        ] {
            let why = too_old(left, age, size);
            assert_eq!(why.is_some(), spent, "{left:?} {age:?} {size}: {why:?}");
        }
    }
}
