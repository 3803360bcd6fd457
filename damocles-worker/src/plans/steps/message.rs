//! What is done about an answer of the manager to a precommit or a proof: go on, wait and ask
//! again, or make anew what has to be made anew.

use super::submit::{Cure, Meaning, Thing, again};
use crate::{
    event::Event,
    giving_up::Word,
    plans::{Step, Stop},
};
use damocles_types::Failure;
use std::time::Duration;

/// Pause before a failed message is asked for anew; gives the chain time to settle. Never
/// longer than the polling interval.
const BEFORE_RESUBMIT: Duration = Duration::from_secs(30);

/// What follows from an answer. None: it was waited; ask again.
pub(super) fn settle(
    step: &Step<'_>,
    thing: Thing,
    meaning: Meaning,
    good: Event,
) -> Result<Option<Event>, Stop> {
    let polling = step.settings.rpc_polling_interval;
    match meaning {
        Meaning::Good => Ok(Some(good)),
        Meaning::Wait(what) => step.wait(polling, what).map(|()| None),
        Meaning::Again(cure, reason) => {
            let event = another(step, thing, cure, reason.clone())?;
            if cure == Cure::Message {
                let pause = BEFORE_RESUBMIT.min(polling);
                step.wait(pause, format!("another try: {reason}"))?;
            }
            Ok(Some(event))
        }
        Meaning::Lost(reason) => Err(Stop::Drop {
            word: Word::Refused,
            said: reason,
        }),
        Meaning::Failed(failure) => Err(Stop::Failed(failure)),
    }
}

/// The event that leads to what has to be made anew.
fn another(step: &Step<'_>, thing: Thing, cure: Cure, reason: String) -> Result<Event, Stop> {
    let document = step.document()?;
    let (plan, state) = (document.plan, document.state);
    let allowed = |event: &Event| plan.next(state, event.name()).is_ok();
    let Some(event) = cure.event(thing).filter(allowed) else {
        // a cure that leads nowhere from here: what was asked is asked again
        return Err(Stop::Failed(Failure::temporary(reason)));
    };
    let phases = &document.phases;
    let failed = match (thing, cure) {
        (Thing::PreCommit, _) | (Thing::Proof, Cure::PreCommit) => phases.precommits_failed,
        (Thing::Proof, Cure::Message | Cure::Ticket | Cure::Seed | Cure::Proof) => {
            phases.proofs_failed
        }
    };
    again(event, reason, failed, step.settings.max_resubmits)
}
