//! The only map from a room's failure to a JSON-RPC error: one sentence for the caller, the
//! whole chain of causes for the log.

use crate::{
    actor::OrderError,
    chain::ChainError,
    commit::CommitError,
    db::{DbError, backup::BackupError},
    deals::DealError,
    messages::EngineError,
    post::AskError,
    profiles::ProfileError,
    sealing::SealingError,
    storage::StorageError,
};
use damocles_api::code::{
    FAILED, NOT_NOW, NOT_OWNER, error, sector_state_not_found, sector_unknown,
};
use damocles_daemon::seldom::Seldom;
use damocles_kv::KvError;
use damocles_types::{SectorId, chain};
use jsonrpsee::types::ErrorObjectOwned;
use std::time::Duration;

/// What the sentence of every failed read or write begins with.
const DATABASE_FAILED: &str = "the database failed";

/// What a failure means to the worker that hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The record says that the sector is over.
    Over(SectorId),
    /// There is no record of the sector: nothing follows from that.
    Unknown(SectorId),
    /// Another sealing thread has it.
    NotOwner(SectorId),
    /// Something is waited for, and nothing has failed.
    NotNow,
    Failed,
}

/// A failure that reaches a caller.
pub(super) trait ToRpc: std::error::Error + Sized {
    fn meaning(&self) -> Meaning;

    /// As workers hear it. What is over is code 11001, on which they may clear it.
    fn to_worker(self) -> ErrorObjectOwned {
        match self.meaning() {
            Meaning::Over(sector) => {
                tracing::info!(%sector, "a worker asked for a sector that is over");
                sector_state_not_found(sector)
            }
            Meaning::Unknown(sector) => sector_unknown(sector),
            Meaning::NotOwner(_) => error(NOT_OWNER, self),
            Meaning::NotNow => {
                // the room that waits says it once; a fleet would repeat it without end
                tracing::debug!("not now: {}", chain(&self));
                error(NOT_NOW, self)
            }
            Meaning::Failed => failed(&self),
        }
    }

    /// As operators hear it: a missing sector is an ordinary failure, as upstream answers.
    fn to_operator(self) -> ErrorObjectOwned {
        match self.meaning() {
            Meaning::Over(sector) | Meaning::Unknown(sector) => {
                error(FAILED, format!("sector {sector}: key not found"))
            }
            Meaning::NotOwner(_) | Meaning::NotNow | Meaning::Failed => failed(&self),
        }
    }
}

fn failed(failure: &dyn std::error::Error) -> ErrorObjectOwned {
    // a database that cannot be written is told once, and not for every call that it fails
    static SAME: Seldom = Seldom::new(Duration::from_secs(10));
    let text = chain(failure);
    let of_database = text.contains(DATABASE_FAILED);
    match if of_database { SAME.now() } else { Some(0) } {
        Some(0) => tracing::warn!("a call failed: {text}"),
        Some(more) => tracing::warn!(more, "calls failed: {text}"),
        None => {}
    }
    error(FAILED, failure)
}

impl ToRpc for DbError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::NoSector(sector) => Meaning::Over(*sector),
            Self::Unknown(sector) => Meaning::Unknown(*sector),
            Self::NotOwner { sector, .. } => Meaning::NotOwner(*sector),
            // a full disk, say: the sector has nothing to do with it
            Self::Kv(KvError::Storage { .. }) => Meaning::NotNow,
            other if other.is_wait() => Meaning::NotNow,
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for BackupError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::Db(e) => e.meaning(),
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for ProfileError {
    fn meaning(&self) -> Meaning {
        Meaning::Failed
    }
}

impl ToRpc for ChainError {
    /// Whatever keeps the node from answering, it is no failure of a sector: a node that syncs
    /// refuses with many words, and a token is the operator's to correct.
    fn meaning(&self) -> Meaning {
        Meaning::NotNow
    }
}

impl ToRpc for AskError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::Chain(e) => e.meaning(),
            Self::Db(e) => e.meaning(),
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for OrderError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::Chain(e) => e.meaning(),
            Self::Engine(e) => e.meaning(),
            Self::Db(e) => e.meaning(),
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for SealingError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::NoSector(sector) => Meaning::Over(*sector),
            Self::Chain(e) => e.meaning(),
            Self::Db(e) => e.meaning(),
            Self::NotPreCommitted(_) | Self::NotProven(_) => Meaning::NotNow,
            Self::Deal(e) => e.meaning(),
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for CommitError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::NoSector(sector) => Meaning::Over(*sector),
            Self::Chain(e) => e.meaning(),
            Self::Db(e) => e.meaning(),
            Self::Engine(e) => e.meaning(),
            Self::Deal(e) => e.meaning(),
            other if other.is_wait() => Meaning::NotNow,
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for DealError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::Chain(e) => e.meaning(),
            Self::Db(e) => e.meaning(),
            other if other.is_wait() => Meaning::NotNow,
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for StorageError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::Db(e) => e.meaning(),
            Self::Unreachable(_) => Meaning::NotNow,
            _ => Meaning::Failed,
        }
    }
}

impl ToRpc for EngineError {
    fn meaning(&self) -> Meaning {
        match self {
            Self::Chain(e) => e.meaning(),
            Self::Db(e) => e.meaning(),
            // its operator corrects it; nothing of a sector is wrong
            Self::NoSender { .. }
            | Self::Venus(_)
            | Self::NoMessager
            | Self::OnItsWay
            | Self::Unheard { .. }
            | Self::Locked(_)
            | Self::KeyGone(_)
            | Self::Spent(_) => Meaning::NotNow,
            Self::Cursor(_)
            | Self::NoMessage(_)
            | Self::NoAmount
            | Self::Over { .. }
            | Self::Entrusted { .. } => Meaning::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::{caller::Caller, code::SECTOR_STATE_NOT_FOUND};

    const ID: SectorId = SectorId::new(1000, 1);

    fn down() -> ChainError {
        ChainError::Unreachable {
            method: "ChainHead".into(),
            reason: "refused".into(),
        }
    }

    #[test]
    fn a_wait_is_told_from_a_failure_and_only_what_is_over_is_11001() {
        let owner = Caller {
            worker: "w1".into(),
            location: "/s".into(),
            store: "aa".into(),
        };
        let not_owner = DbError::NotOwner {
            sector: ID,
            taken: false,
            owner: Box::new(owner),
        };
        let refused = ChainError::Refused {
            method: "StateMinerInfo".into(),
            code: 1,
            message: "no".into(),
        };
        let full = KvError::Storage {
            doing: "writing",
            table: "sectors",
            reason: "No space left on device".into(),
        };
        let behind = CommitError::Behind { head: 1, ticket: 2 };
        let lost = CommitError::Lost {
            sector: ID,
            why: "its ticket expired".into(),
        };
        for (code, given) in [
            (SECTOR_STATE_NOT_FOUND, DbError::NoSector(ID).to_worker()),
            (11404, DbError::Unknown(ID).to_worker()),
            (11404, CommitError::from(DbError::Unknown(ID)).to_worker()),
            (11404, SealingError::from(DbError::Unknown(ID)).to_worker()),
            (11404, StorageError::from(DbError::Unknown(ID)).to_worker()),
            (NOT_OWNER, SealingError::from(not_owner).to_worker()),
            (NOT_NOW, DbError::Changed(ID).to_worker()),
            (NOT_NOW, DbError::Kv(full).to_worker()),
            (NOT_NOW, SealingError::Chain(down()).to_worker()),
            (
                NOT_NOW,
                CommitError::Engine(EngineError::Chain(down())).to_worker(),
            ),
            (NOT_NOW, SealingError::NotPreCommitted(ID).to_worker()),
            (NOT_NOW, SealingError::NotProven(ID).to_worker()),
            (NOT_NOW, behind.to_worker()),
            (NOT_NOW, CommitError::NotSeen(ID).to_worker()),
            // a node that syncs refuses, and knows no better
            (NOT_NOW, SealingError::Chain(refused).to_worker()),
            (NOT_NOW, CommitError::Unsure(ID).to_worker()),
            (FAILED, lost.to_worker()),
            (FAILED, SealingError::NotStored(ID).to_worker()),
            (FAILED, DbError::Unknown(ID).to_operator()),
        ] {
            assert_eq!(given.code(), code, "{given}");
        }
    }
}
