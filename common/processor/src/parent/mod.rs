//! The daemon's side: bounded, pinned child processes. `slots`, `placement`, `limits` and
//! `words` decide and do nothing; `child`, `watch`, `keeper` and `pool` act and decide nothing.

pub mod slots;
pub mod placement;
pub mod limits;
pub mod cancel;
pub mod dump;
pub mod error;
pub mod spec;
mod words;
mod calls;
mod pipes;
mod leftovers;
mod child;
mod watch;
pub mod keeper;
mod start;
pub mod pool;

pub use calls::Death;
pub use cancel::Cancel;
pub use dump::Dump;
pub use error::ProcessorError;
pub(crate) use keeper::Heard;
pub use keeper::{Child, ChildError, Phase};
pub use limits::{Limits, LimitsBySize};
pub use pool::{ChildView, Note, Outcome, Pool, StageView};
pub use spec::{ChildSpec, StartOptions};
