//! Places at which a test may end a thread as if its daemon had been killed there.

use damocles_flow::{Ev, State};
use std::sync::Arc;

/// A place in the engine's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The step is done; nothing of it has been written.
    BeforeCommit { state: State, event: Ev },
    /// It has been written; nothing else has happened.
    AfterCommit { state: State, event: Ev },
    /// The manager has been told of the end; nothing has been cleared.
    BeforeClear { state: State },
    /// The sector's files are gone; its document is not.
    Cleared { state: State },
}

/// Asked at every point; true ends the thread there and then.
pub type Probe = Arc<dyn Fn(Point) -> bool + Send + Sync>;
