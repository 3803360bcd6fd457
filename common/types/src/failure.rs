//! Four kinds of failure, named at the call that failed. There is deliberately no `From`:
//! whoever calls something fallible says what its failure means for the sector.

use crate::chain::chain;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// What a failure means for the sector whose step failed. JSON: the variant's name
/// (upstream `Failure.Level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Passes by itself: the step is run again after a while, a bounded number of times.
    Temporary,
    /// A person must look: the thread pauses with the sector as it is.
    Permanent,
    /// The sector cannot be finished: it is given up and its number is not used again.
    Abort,
    /// The machine or its database is in trouble: the thread pauses and nothing is touched.
    Critical,
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
            Self::Abort => "abort",
            Self::Critical => "critical",
        })
    }
}

/// A failed step: how bad, one sentence, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub level: Level,
    pub message: String,
    /// The next step for a person; absent where the program deals with it alone.
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(level: Level, message: impl Display) -> Self {
        Self {
            level,
            message: message.to_string(),
            hint: None,
        }
    }

    pub fn temporary(message: impl Display) -> Self {
        Self::new(Level::Temporary, message)
    }

    pub fn permanent(message: impl Display) -> Self {
        Self::new(Level::Permanent, message)
    }

    pub fn abort(message: impl Display) -> Self {
        Self::new(Level::Abort, message)
    }

    pub fn critical(message: impl Display) -> Self {
        Self::new(Level::Critical, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level, self.message)
    }
}

impl std::error::Error for Failure {}

/// Says at the call what kind of failure an error is. The whole source chain goes into the
/// message, since a failure is stored and shown far from where it happened.
pub trait Classify<T> {
    fn level(self, level: Level, doing: &str) -> Result<T, Failure>;

    fn temp(self, doing: &str) -> Result<T, Failure>
    where
        Self: Sized,
    {
        self.level(Level::Temporary, doing)
    }
    fn perm(self, doing: &str) -> Result<T, Failure>
    where
        Self: Sized,
    {
        self.level(Level::Permanent, doing)
    }
    fn abort(self, doing: &str) -> Result<T, Failure>
    where
        Self: Sized,
    {
        self.level(Level::Abort, doing)
    }
    fn crit(self, doing: &str) -> Result<T, Failure>
    where
        Self: Sized,
    {
        self.level(Level::Critical, doing)
    }
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Classify<T> for Result<T, E> {
    fn level(self, level: Level, doing: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            Failure::new(level, format!("{doing}: {}", chain(error.as_ref())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classified_error_keeps_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open the sector document")]
        struct Outer(#[source] std::io::Error);
        let failed: Result<(), _> = Err(Outer(std::io::Error::other("disk on fire")));
        let failure = failed.crit("load").unwrap_err();
        assert_eq!(failure.level, Level::Critical);
        assert_eq!(
            failure.message,
            "load: cannot open the sector document: disk on fire"
        );
        assert_eq!(serde_json::to_value(Level::Temporary).unwrap(), "Temporary");
    }
}
