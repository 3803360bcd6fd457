//! A sector number and, if wanted, its deals.

use crate::{
    event::Event,
    plans::{Step, Stop, stop::database_failed},
    stores::StoreError,
};
use damocles_api::sector::{AcquireDealsSpec, AllocateSectorSpec};
use damocles_types::{Classify, Failure};

const NOTHING_TO_SEAL: &str =
    "disable_cc is set but enable_deals is not, so there is nothing to seal";

/// Asks for a sector number. No answer is no failure: the thread is idle and asks again.
pub fn sector(step: &mut Step<'_>) -> Result<Event, Stop> {
    // a number that nothing could be done with would be held for ever
    if step.settings.disable_cc && !step.settings.enable_deals {
        return Err(Stop::Idle(NOTHING_TO_SEAL.to_owned()));
    }
    make_room(step)?;
    let mut spec = AllocateSectorSpec {
        allowed_miners: step.settings.allowed_miners.clone(),
        allowed_proof_types: step.settings.allowed_proofs(step.world.programs.synthetic),
        request_id: None,
    };
    // written down first: an answer that is lost is asked for again, and costs no second number
    spec.request_id = Some(step.meta.request_id(&spec).map_err(database_failed)?);
    match step.ask(|manager| manager.allocate_sector(spec)) {
        Ok(Some(allocated)) => Ok(Event::Allocate(allocated, step.heard.manager.take())),
        Ok(None) => {
            let wanted = step.settings.wanted(step.world.programs.synthetic);
            Err(Stop::Idle(format!(
                "the manager has no sector to give; {wanted}"
            )))
        }
        Err(Stop::NotNow(failure)) => Err(Stop::Idle(match failure.hint {
            Some(hint) => format!("{} ({hint})", failure.message),
            None => failure.message,
        })),
        Err(Stop::Failed(failure)) => Err(Stop::Idle(failure.message)),
        // there is none yet that could be dropped
        Err(Stop::Drop { said, .. }) => Err(Stop::Idle(said)),
        Err(stop @ (Stop::Idle(_) | Stop::Interrupted(_))) => Err(stop),
    }
}

/// Clears what a sector before this one may have left. Before the question: a disk that cannot
/// be written to must not cost a sector number each time. What a database has no memory of is
/// nobody's leavings: the right database may be lost.
fn make_room(step: &Step<'_>) -> Result<(), Stop> {
    let blank = step.meta.is_blank().map_err(database_failed)?;
    let lost = |e: StoreError| {
        let message = format!("making room in the sealing store: {e}");
        Stop::Failed(Failure::critical(message).hint(e.hint()))
    };
    step.store
        .belongs_to(&step.meta.id(), !blank)
        .map_err(lost)?;
    step.store
        .clear_data()
        .crit("making room in the sealing store")
        .map_err(Stop::Failed)
}

/// Asks for deals, if the thread takes them.
pub fn deals(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    let settings = step.settings;
    fits(step)?;
    if !settings.enable_deals {
        if settings.disable_cc {
            return Err(Stop::Idle(NOTHING_TO_SEAL.to_owned()));
        }
        return Ok(Event::AcquireDeals(Vec::new()));
    }
    let spec = AcquireDealsSpec {
        max_deals: settings.max_deals,
        min_used_space: settings.min_deal_space,
    };
    let deals = step.ask(|manager| manager.acquire_deals(sector, spec))?;
    let deals = deals.unwrap_or_default();
    if deals.is_empty() && settings.disable_cc {
        return Err(Stop::Idle(
            "the manager has no deals for this sector".to_owned(),
        ));
    }
    Ok(Event::AcquireDeals(deals))
}

/// Whether the sector is of a kind that this thread takes. Here and not at the allocation: by
/// then it has a document, so that it is listed and its number is not lost.
fn fits(step: &Step<'_>) -> Result<(), Stop> {
    let kind = step.allocated()?.proof_type;
    let takes = step.settings.allowed_proofs(step.world.programs.synthetic);
    if takes.contains(&kind) {
        return Ok(());
    }
    let takes: Vec<_> = takes.iter().map(ToString::to_string).collect();
    Err(Stop::Failed(
        Failure::permanent(format!(
            "the manager gave a sector of the kind {kind}, and this thread takes {}",
            takes.join(", ")
        ))
        .hint("let the two agree: [sealing] allowed_sizes and allowed_miners here, UseSyntheticPoRep of [Miners.Sealing] at the manager; then resume the thread, or give the sector up with resume --state Aborted"),
    ))
}
