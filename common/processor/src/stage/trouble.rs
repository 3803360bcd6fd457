//! What an error of a disk means for a task.

use crate::{disk::advice, serve::TaskError};
use std::io;

/// A failure of disk or network below a stage: worth another try.
pub(super) fn disk(error: io::Error) -> TaskError {
    TaskError {
        hint: advice(&error),
        ..TaskError::temporary(error)
    }
}
