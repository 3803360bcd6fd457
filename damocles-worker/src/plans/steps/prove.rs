//! The proof: handed to the manager, then waited for.

use super::{
    precommit::BEFORE_RESUBMIT,
    submit::{Polled, Submitted, again, polled, seed_changed, submitted},
};
use crate::{
    event::Event,
    plans::step::{Step, Stop},
};
use damocles_api::submit::ProofOnChainInfo;
use damocles_types::Failure;

const WHAT: &str = "the proof";

fn lost(step: &Step<'_>, reason: String) -> Result<Event, Stop> {
    if seed_changed(&reason) {
        return another(step, Event::SeedChanged, reason);
    }
    Err(Stop::Failed(Failure::abort(reason)))
}

fn another(step: &Step<'_>, event: Event, reason: String) -> Result<Event, Stop> {
    let failed = step.document()?.phases.proofs_failed;
    again(event, reason, failed, step.settings.max_resubmits)
}

pub fn submit(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    let phases = &step.document()?.phases;
    let proof = phases
        .proof
        .clone()
        .ok_or_else(|| Stop::lacking("the output of C2"))?;
    let reset = phases.c2_re_submit;
    let answer =
        step.ask(|manager| manager.submit_proof(sector, ProofOnChainInfo { proof }, reset))?;
    match submitted(WHAT, answer) {
        Submitted::Taken => Ok(Event::SubmitProof),
        Submitted::Rejected(reason) => lost(step, reason),
        Submitted::Failed(failure) => Err(Stop::Failed(failure)),
    }
}

pub fn wait_landed(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    if step.settings.ignore_proof_check {
        return Ok(Event::Finish);
    }
    loop {
        let answer = step.ask(|manager| manager.poll_proof_state(sector))?;
        match polled(WHAT, answer) {
            Polled::Landed => return Ok(Event::Finish),
            Polled::Wait(what) => {
                step.wait(step.settings.rpc_polling_interval, format!("{WHAT} {what}"))?;
            }
            Polled::TryAgain(reason) => {
                let event = another(step, Event::ReSubmitProof, reason.clone())?;
                let pause = BEFORE_RESUBMIT.min(step.settings.rpc_polling_interval);
                step.wait(pause, format!("another try: {reason}"))?;
                return Ok(event);
            }
            Polled::Lost(reason) => return lost(step, reason),
            Polled::Failed(failure) => return Err(Stop::Failed(failure)),
        }
    }
}
