//! Sealing threads: one OS thread, one directory, one sector at a time.
//!
//! `report` tells the manager, from a thread of its own; `thread` is what a sealing thread is made
//! of and how a person commands it; `open` how it comes by its store; `drain` lets no thread begin a sector; `planless` waits where its
//! plan is not in this version; `prover` is the life of a thread that proves WindowPoSts, `post_job` one of these; `transition` what follows from the end of a step; `ends` what
//! is asked before a sector is dropped; `engine` the one loop that takes a sector through its
//! plan; `probe` is where tests stop it. A thread knows nothing of other threads.

pub mod probe;
pub mod drain;
mod report;
mod thread;
mod open;
mod planless;
mod post_job;
mod prover;
mod transition;
mod ends;
mod engine;

pub use post_job::Prover;
pub use probe::{Point, Probe};
pub use report::{Reporter, Reports};
pub use thread::Engine;
