//! How a commit ends: for the statement that carries it, and for whoever waits for it.

use super::{row::Told, sql::Fault};
use crate::{
    StoreError,
    table::META,
    transaction::{Failure, Version},
};

/// How a statement that ends transactions did.
#[derive(Clone, Debug)]
pub(super) enum Flown {
    /// What they wrote has this version.
    Applied(Version),
    /// Certainly not applied.
    Not(Fault),
    /// The connection was lost with its commit of that number on the way.
    Open { number: i64, reason: String },
}

impl Flown {
    /// Why nothing can be said to the same connection any more.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Open { reason, .. } => Fault::Lost(reason.clone()),
            Self::Not(fault) => fault.clone(),
            Self::Applied(_) => Fault::Conflict,
        }
    }
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    Applied,
    /// Certainly not applied.
    Not(Fault),
    Unknown {
        reason: String,
    },
}

impl Landing {
    pub(super) fn told(self) -> Result<(), Failure> {
        match self {
            Self::Applied => Ok(()),
            Self::Not(fault) => Err(fault.before_commit("writing", META)),
            Self::Unknown { reason } => Err(Failure::Final(StoreError::UnknownOutcome { reason })),
        }
    }
}

impl Told for Landing {
    fn broken_off() -> Self {
        Self::Unknown {
            reason: "the thread that wrote it broke off".to_owned(),
        }
    }
}
