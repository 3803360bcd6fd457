//! The proof: handed to the manager, then waited for.

use super::{
    message::settle,
    submit::{Thing, polled, submitted},
};
use crate::{
    event::Event,
    plans::{Step, Stop},
};
use damocles_api::submit::ProofOnChainInfo;

pub fn submit(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    let phases = &step.document()?.phases;
    let proof = phases
        .proof
        .clone()
        .ok_or_else(|| Stop::lacking("the output of C2"))?;
    let reset = phases.c2_re_submit;
    let info = ProofOnChainInfo { proof };
    loop {
        let info = info.clone();
        let answer = step.poll(|manager| manager.submit_proof(sector, info, reset))?;
        let meaning = submitted(Thing::Proof, answer);
        if let Some(event) = settle(step, Thing::Proof, meaning, Event::SubmitProof)? {
            return Ok(event);
        }
    }
}

pub fn wait_landed(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    if step.settings.ignore_proof_check {
        return Ok(Event::Finish);
    }
    loop {
        let answer = step.poll(|manager| manager.poll_proof_state(sector))?;
        let meaning = polled(Thing::Proof, answer);
        if let Some(event) = settle(step, Thing::Proof, meaning, Event::Finish)? {
            return Ok(event);
        }
    }
}
