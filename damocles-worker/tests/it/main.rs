//! The worker under test, in one binary: engines in this process with a real pool of fake
//! children and a fake manager over real HTTP, and the real program with bad input.

mod drain;
mod ends;
mod engine;
mod fake_manager;
mod fake_posts;
mod fake_profiles;
mod midway;
mod orders;
mod posts;
mod program;
mod restart;
mod rig;
mod trouble;
mod wire;

use std::time::{Duration, Instant};

/// Longest time that anything here may take before it counts as never.
const NEVER: Duration = Duration::from_secs(60);

/// Looks until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < NEVER, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}
