//! Processors: the line protocol between a daemon and its compute children, the pool of
//! bounded and pinned children, and the proof stages themselves.
//!
//! Compute never runs inside a daemon. `parent` is the daemon's side, `serve` the child's;
//! `stage` and `params` pull the proofs library and stand behind the feature `proofs`.
//! From the ground floor up; a module uses only those above it.

pub mod kind;
pub mod kernel;
pub mod opaque;
pub mod task;
pub mod wire;
pub mod cpus;
pub mod footprint;
pub mod numa;
pub mod time_limits;
mod sys;
pub mod pin;
pub mod config;
mod config_check;
pub mod config_keys;
pub mod machine;
pub mod serve;
pub mod parent;
pub mod disk;
pub mod memory_files;
pub mod transfer;
#[cfg(feature = "proofs")]
pub mod proofs;
#[cfg(feature = "proofs")]
mod http;
#[cfg(feature = "proofs")]
pub mod params;
#[cfg(feature = "proofs")]
pub mod verify;
#[cfg(feature = "proofs")]
pub mod stage;
#[cfg(feature = "proofs")]
pub mod bench;
pub mod fake;

pub use config::{ConfigFault, Processors, RawProcessors};
pub use kernel::{KernelChoice, UnknownKernel};
pub use kind::Stage;
pub use machine::Machine;
pub use opaque::Opaque;
pub use parent::{Cancel, Note, Outcome, Pool, ProcessorError, StartOptions};
pub use task::{Task, prover_id};
