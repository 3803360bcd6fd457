//! A sector number and, if wanted, its deals.

use crate::{
    event::Event,
    plans::step::{Step, Stop, call_failed},
};
use damocles_api::sector::{AcquireDealsSpec, AllocateSectorSpec};
use damocles_types::Classify;

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
