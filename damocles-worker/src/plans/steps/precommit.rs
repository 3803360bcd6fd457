//! The precommit: handed to the manager, then waited for.

use super::submit::{Polled, Submitted, again, polled, submitted, ticket_expired};
use crate::{
    event::Event,
    plans::step::{Step, Stop},
};
use damocles_api::sector::PreCommitOnChainInfo;
use damocles_types::Failure;
use std::time::Duration;

/// Pause before a failed message is asked for anew; gives the chain time to settle. Never
/// longer than the polling interval.
pub const BEFORE_RESUBMIT: Duration = Duration::from_secs(30);

const WHAT: &str = "the precommit";

fn lost(step: &Step<'_>, reason: String) -> Result<Event, Stop> {
    if ticket_expired(&reason) {
        return another(step, Event::TicketExpired, reason);
    }
    Err(Stop::Failed(Failure::abort(reason)))
}

fn another(step: &Step<'_>, event: Event, reason: String) -> Result<Event, Stop> {
    let failed = step.document()?.phases.precommits_failed;
    again(event, reason, failed, step.settings.max_resubmits)
}

pub fn submit(step: &mut Step<'_>) -> Result<Event, Stop> {
    let allocated = step.allocated()?;
    let phases = &step.document()?.phases;
    let ticket = phases.ticket.ok_or_else(|| Stop::lacking("the ticket"))?;
    let output = phases
        .pc2
        .ok_or_else(|| Stop::lacking("the output of PC2"))?;
    let reset = phases.pc2_re_submit;
    let info = PreCommitOnChainInfo {
        comm_r: output.comm_r,
        comm_d: output.comm_d,
        ticket,
    };
    let answer = step.ask(|manager| manager.submit_pre_commit(allocated, info, reset))?;
    match submitted(WHAT, answer) {
        Submitted::Taken => Ok(Event::SubmitPC),
        Submitted::Rejected(reason) => lost(step, reason),
        Submitted::Failed(failure) => Err(Stop::Failed(failure)),
    }
}

pub fn wait_landed(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    loop {
        let answer = step.ask(|manager| manager.poll_pre_commit_state(sector))?;
        match polled(WHAT, answer) {
            Polled::Landed => return Ok(Event::CheckPC),
            Polled::Wait(what) => {
                step.wait(step.settings.rpc_polling_interval, format!("{WHAT} {what}"))?;
            }
            Polled::TryAgain(reason) => {
                if ticket_expired(&reason) {
                    return another(step, Event::TicketExpired, reason);
                }
                let event = another(step, Event::ReSubmitPC, reason.clone())?;
                let pause = BEFORE_RESUBMIT.min(step.settings.rpc_polling_interval);
                step.wait(pause, format!("another try: {reason}"))?;
                return Ok(event);
            }
            Polled::Lost(reason) => return lost(step, reason),
            Polled::Failed(failure) if ticket_expired(&failure.message) => {
                return another(step, Event::TicketExpired, failure.message);
            }
            Polled::Failed(failure) => return Err(Stop::Failed(failure)),
        }
    }
}
