//! The daemon's side: bounded, pinned child processes. `slots` and `placement` decide and
//! do nothing; `child` and `pool` act and decide nothing.

mod calls;
pub mod child;
pub mod placement;
pub mod pool;
pub mod slots;

pub use child::{Child, ChildError, ChildSpec, Phase};
pub use pool::{Cancel, ChildView, Note, Outcome, Pool, ProcessorError, StageView, StartOptions};
