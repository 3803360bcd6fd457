//! The precommit: handed to the manager, then waited for.

use super::{
    message::settle,
    submit::{Meaning, Thing, polled, submitted},
    verify,
};
use crate::{
    event::Event,
    metadb::Transition,
    plans::{Step, Stop, stop::database_failed},
};
use damocles_api::sector::PreCommitOnChainInfo;

pub fn submit(step: &mut Step<'_>) -> Result<Event, Stop> {
    let allocated = step.allocated()?;
    if !allocated.proof_type.is_synthetic() {
        verify::once(step)?;
    }
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
    let asked_before = step.document()?.phases.precommit_asked;
    if !asked_before {
        write_down_that_it_is_asked(step)?;
    }
    loop {
        let answer = step.poll(|manager| manager.submit_pre_commit(allocated, info, reset));
        if let Err(Stop::Drop { .. }) = answer {
            not_taken(step, asked_before);
        }
        let meaning = submitted(Thing::PreCommit, answer?);
        if let Meaning::Lost(_) = meaning {
            not_taken(step, asked_before);
        }
        if let Some(event) = settle(step, Thing::PreCommit, meaning, Event::SubmitPC)? {
            return Ok(event);
        }
    }
}

/// Before it is asked: an answer may be lost on its way, and the manager have the precommit.
fn write_down_that_it_is_asked(step: &mut Step<'_>) -> Result<(), Stop> {
    let mut document = step.latest()?.clone();
    document.phases.precommit_asked = true;
    step.meta
        .commit(&document, &Transition::default())
        .map_err(database_failed)?;
    step.board.document(&document);
    step.amended = Some(document);
    Ok(())
}

/// The manager has answered that it takes none. What was asked before and lost its answer, it may
/// have taken nevertheless.
fn not_taken(step: &mut Step<'_>, asked_before: bool) {
    if let Some(document) = step.amended.as_mut().filter(|_| !asked_before) {
        document.phases.precommit_asked = false;
    }
}

pub fn wait_landed(step: &mut Step<'_>) -> Result<Event, Stop> {
    let sector = step.sector()?;
    loop {
        let answer = step.poll(|manager| manager.poll_pre_commit_state(sector))?;
        let meaning = polled(Thing::PreCommit, answer);
        if let Some(event) = settle(step, Thing::PreCommit, meaning, Event::CheckPC)? {
            return Ok(event);
        }
    }
}
