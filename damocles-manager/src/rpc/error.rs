//! The only map from a room's failure to a JSON-RPC error: one sentence for the caller, the
//! whole chain of causes for the log.

use crate::{
    commit::CommitError, db::DbError, messages::EngineError, sealing::SealingError,
    storage::StorageError,
};
use damocles_api::code::{FAILED, error, sector_state_not_found};
use damocles_types::SectorId;
use jsonrpsee::types::ErrorObjectOwned;

/// A failure that reaches a caller.
pub(super) trait ToRpc: std::error::Error + Sized {
    /// The sector that has no (online) record, if that is the failure.
    fn missing(&self) -> Option<SectorId>;

    /// As workers hear it: a missing sector is code 11001, on which they give it up.
    fn to_worker(self) -> ErrorObjectOwned {
        match self.missing() {
            Some(sector) => {
                tracing::info!(%sector, "a worker asked for a sector that is not online");
                sector_state_not_found(sector)
            }
            None => failed(&self),
        }
    }

    /// As operators hear it: a missing sector is an ordinary failure, as upstream answers.
    fn to_operator(self) -> ErrorObjectOwned {
        match self.missing() {
            Some(sector) => error(FAILED, format!("sector {sector}: key not found")),
            None => failed(&self),
        }
    }
}

fn failed(failure: &dyn std::error::Error) -> ErrorObjectOwned {
    let mut causes = String::new();
    let mut cause = failure.source();
    while let Some(c) = cause {
        causes.push_str(&format!(": {c}"));
        cause = c.source();
    }
    tracing::warn!("a call failed: {failure}{causes}");
    error(FAILED, failure)
}

impl ToRpc for DbError {
    fn missing(&self) -> Option<SectorId> {
        match self {
            Self::NoSector(sector) => Some(*sector),
            _ => None,
        }
    }
}

impl ToRpc for SealingError {
    fn missing(&self) -> Option<SectorId> {
        match self {
            Self::NoSector(sector) => Some(*sector),
            _ => None,
        }
    }
}

impl ToRpc for CommitError {
    fn missing(&self) -> Option<SectorId> {
        match self {
            Self::NoSector(sector) => Some(*sector),
            _ => None,
        }
    }
}

impl ToRpc for StorageError {
    fn missing(&self) -> Option<SectorId> {
        match self {
            Self::Db(e) => e.missing(),
            _ => None,
        }
    }
}

impl ToRpc for EngineError {
    fn missing(&self) -> Option<SectorId> {
        match self {
            Self::Db(e) => e.missing(),
            _ => None,
        }
    }
}
