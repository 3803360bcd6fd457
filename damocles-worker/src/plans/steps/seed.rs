//! The seed that C1 answers: asked for again and again until the chain has it.

use crate::{
    event::Event,
    plans::{Step, Stop},
};
use damocles_types::Failure;
use std::time::Duration;

/// The shortest pause between two questions.
const SHORTEST: Duration = Duration::from_millis(200);

pub fn wait(step: &mut Step<'_>) -> Result<Event, Stop> {
    let allocated = step.allocated()?;
    loop {
        let answer = step.poll(|manager| manager.wait_seed(allocated.id, allocated.proof_type))?;
        if let Some(seed) = answer.seed {
            return Ok(Event::AssignSeed(seed));
        }
        if !answer.should_wait || answer.delay == 0 {
            // an answer that is no answer, each time, is a fault of the manager's
            step.heard.polled_well = false;
            return Err(Stop::Failed(Failure::temporary(
                "the manager gave no seed and did not say how long to wait",
            )));
        }
        let pause = pause(answer.delay, step.settings.rpc_polling_interval);
        step.wait(pause, format!("the seed (about {} s more)", answer.delay))?;
    }
}

/// Never longer than the polling interval: the manager's estimate may be wrong, and a chain
/// may be faster than it says.
fn pause(delay_seconds: u64, polling: Duration) -> Duration {
    Duration::from_secs(delay_seconds)
        .min(polling)
        .max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_the_shorter_of_the_two() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(4500, seconds(180)), seconds(180));
        assert_eq!(pause(5, seconds(180)), seconds(5));
        assert_eq!(pause(5, Duration::from_millis(1)), SHORTEST);
    }
}
