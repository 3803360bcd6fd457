//! The daemon's side: bounded, pinned child processes. `slots` and `placement` decide and
//! do nothing; `child`, `keeper` and `pool` act and decide nothing.

pub mod slots;
pub mod placement;
pub mod spec;
mod calls;
mod pipes;
mod child;
pub mod keeper;
pub mod pool;

pub use keeper::{Child, ChildError, Phase};
pub use pool::{Cancel, ChildView, Note, Outcome, Pool, ProcessorError, StageView};
pub use spec::{ChildSpec, StartOptions};
