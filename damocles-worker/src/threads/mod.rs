//! Sealing threads: one OS thread, one directory, one sector at a time.
//!
//! `engine` is the one loop that takes a sector through its plan; `transition` what follows
//! from the end of a step; `report` tells the manager;
//! `probe` is where tests stop it. A thread knows nothing of other threads.

pub mod probe;
mod report;
pub mod engine;
mod transition;

pub use engine::Engine;
pub use probe::{Point, Probe};
pub use report::Reporter;
