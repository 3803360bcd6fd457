//! The daemon's side: bounded, pinned child processes. `slots` and `placement` decide and
//! do nothing; `child` and `pool` act and decide nothing.

pub mod slots;
pub mod placement;
pub mod spec;
mod calls;
mod pipes;
pub mod child;
pub mod pool;

pub use child::{Child, ChildError, Phase};
pub use pool::{Cancel, ChildView, Note, Outcome, Pool, ProcessorError, StageView, StartOptions};
pub use spec::ChildSpec;
