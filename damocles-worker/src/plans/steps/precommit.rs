//! The precommit: handed to the manager, then waited for.

use super::{
    message::settle,
    submit::{Thing, polled, submitted},
    verify,
};
use crate::{
    event::Event,
    plans::{Step, Stop},
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
    loop {
        let answer = step.poll(|manager| manager.submit_pre_commit(allocated, info, reset))?;
        let meaning = submitted(Thing::PreCommit, answer);
        if let Some(event) = settle(step, Thing::PreCommit, meaning, Event::SubmitPC)? {
            return Ok(event);
        }
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
