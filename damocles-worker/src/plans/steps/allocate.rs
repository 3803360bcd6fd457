//! A sector number and, if wanted, its deals.

use crate::{
    event::Event,
    plans::step::{Step, Stop, call_failed},
};
use damocles_api::sector::{AcquireDealsSpec, AllocateSectorSpec};
use damocles_types::{Classify, Failure};

/// Asks for a sector number. No answer is no failure: the thread is idle and asks again.
pub fn sector(step: &mut Step<'_>) -> Result<Event, Stop> {
    // What a sector before this one may have left. Before the question: a disk that cannot be
    // written to must not cost a sector number each time.
    step.store
        .clear_data()
        .crit("making room in the sealing store")
        .map_err(Stop::Failed)?;
    let spec = AllocateSectorSpec {
        allowed_miners: step.settings.allowed_miners.clone(),
        allowed_proof_types: step.settings.allowed_proofs(step.world.programs.synthetic),
        request_id: None,
    };
    let allocated = match step.world.manager.allocate_sector(spec) {
        Ok(Some(allocated)) => allocated,
        Ok(None) => return Err(Stop::Idle("the manager has no sector to give".to_owned())),
        Err(error) => {
            return Err(match call_failed(error) {
                Stop::Away(failure) => Stop::Idle(match failure.hint {
                    Some(hint) => format!("{} ({hint})", failure.message),
                    None => failure.message,
                }),
                Stop::Failed(failure) => Stop::Idle(failure.message),
                other => other,
            });
        }
    };
    Ok(Event::Allocate(allocated))
}

/// Asks for deals, if the thread takes them.
pub fn deals(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    let settings = step.settings;
    fits(step)?;
    if !settings.enable_deals {
        if settings.disable_cc {
            return Err(Stop::Idle(
                "disable_cc is set but enable_deals is not, so there is nothing to seal".to_owned(),
            ));
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
