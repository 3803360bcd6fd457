//! C2: the SNARK. Without its parameters the child refuses at once and says which command
//! brings them.

use crate::{
    document::Output,
    event::Event,
    plans::{Step, Stop},
};
use damocles_processor::{prover_id, task::C2};

pub fn run(step: &mut Step<'_>) -> Result<Event, Stop> {
    let allocated = step.allocated()?;
    let c1out = step.output(Output::C1, "the output of C1")?;
    let output = step.compute(&C2 {
        c1out,
        prover_id: prover_id(allocated.id.miner),
        sector_id: allocated.id.number,
        miner_id: allocated.id.miner,
    })?;
    Ok(Event::C2(output.proof))
}
