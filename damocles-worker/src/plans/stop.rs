//! Why a step has no outcome; and what a call to the manager that gave no good answer means for
//! the sector: the one table of what is waited for, what is counted, and what a person must
//! look at (law 14). Pure.

use crate::{control::Interrupt, giving_up::Word, manager::CallError, metadb::MetaError};
use damocles_types::Failure;

/// Why a step has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There is no work now; the reason in words.
    Idle(String),
    Failed(Failure),
    /// What it depends on is not there yet (the manager, its node, a store): a wait, tried again
    /// for as long as it takes, and never counted. With a hint where a person can do something.
    NotNow(Failure),
    /// The manager says that the sector is over; whether it is, `giving_up` decides.
    Drop {
        word: Word,
        said: String,
    },
    Interrupted(Interrupt),
}

impl From<Interrupt> for Stop {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

impl Stop {
    /// A document that lacks what its state promises.
    pub fn lacking(what: &str) -> Self {
        Self::Failed(
            Failure::permanent(format!("the sector's document lacks {what}")).hint(
                "resume the thread from an earlier state: damocles-worker worker resume --state …",
            ),
        )
    }
}

/// What a failed write of a step means for the sector.
pub fn database_failed(error: MetaError) -> Stop {
    if error.is_wait() {
        return Stop::NotNow(error.failure());
    }
    Stop::Failed(error.failure())
}

/// Only what a retry may cure but did not is counted (`Failed`, temporary). Whatever says that
/// nothing was decided yet is a wait, for as long as it takes.
pub fn call_failed(error: CallError) -> Stop {
    let text = error.to_string();
    match error {
        CallError::Stopping => Stop::Interrupted(Interrupt::Stop),
        CallError::NotNow { .. } => Stop::NotNow(Failure::temporary(text)),
        CallError::Away { .. } => Stop::NotNow(
            Failure::temporary(text)
                .hint("is the manager running, and rpc_client.addr right? It is tried again by itself"),
        ),
        CallError::Garbled { .. } => Stop::NotNow(
            Failure::temporary(text)
                .hint("does something else answer at rpc_client.addr, a proxy perhaps? It is tried again by itself"),
        ),
        CallError::Denied { .. } => Stop::NotNow(
            Failure::temporary(text)
                .hint("check [sector_manager] rpc_client.token_file; the manager makes tokens with `damocles-manager util auth create-token --perm write`"),
        ),
        CallError::Failed { .. } => Stop::Failed(Failure::temporary(text)),
        CallError::SectorOver(said) => Stop::Drop {
            word: Word::Over,
            said,
        },
        CallError::SectorUnknown(_) => Stop::Failed(
            Failure::permanent(text)
                .hint("everything is kept. Let rpc_client.addr name the manager that allocated the sector, or restore its database, then resume the thread; or give the sector up: damocles-worker worker resume --state Aborted"),
        ),
        CallError::NotOwner(_) => Stop::Failed(
            Failure::permanent(text)
                .hint("if this worker is to have it: `damocles-manager util sealer sectors hand-over`, then resume the thread; if not, give up what is here: damocles-worker worker resume --state Aborted"),
        ),
        CallError::Unsupported(_) => Stop::Failed(
            Failure::permanent(text).hint("manager and worker may be of versions that do not go together"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::Level;

    #[derive(Debug, PartialEq)]
    enum Means {
        Wait,
        Counted,
        Person,
        Drop,
        Ends,
    }

    fn means(error: CallError) -> Means {
        match call_failed(error) {
            Stop::NotNow(_) => Means::Wait,
            Stop::Failed(f) if f.level == Level::Temporary => Means::Counted,
            Stop::Failed(f) if f.level == Level::Permanent && f.hint.is_some() => Means::Person,
            Stop::Drop {
                word: Word::Over, ..
            } => Means::Drop,
            Stop::Interrupted(Interrupt::Stop) => Means::Ends,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bad_answer_has_its_meaning_and_waits_are_never_counted() {
        let (addr, method, text) = (|| "http://m".to_owned(), "WaitSeed", || "why".to_owned());
        for (error, expected) in [
            (
                CallError::NotNow {
                    method,
                    message: text(),
                },
                Means::Wait,
            ),
            (
                CallError::Away {
                    addr: addr(),
                    reason: text(),
                },
                Means::Wait,
            ),
            (
                CallError::Garbled {
                    addr: addr(),
                    method,
                    reason: text(),
                },
                Means::Wait,
            ),
            (
                CallError::Denied {
                    addr: addr(),
                    reason: text(),
                },
                Means::Wait,
            ),
            (
                CallError::Failed {
                    method,
                    message: text(),
                },
                Means::Counted,
            ),
            (CallError::SectorUnknown(text()), Means::Person),
            (CallError::NotOwner(text()), Means::Person),
            (CallError::Unsupported("Damocles.X"), Means::Person),
            (CallError::SectorOver(text()), Means::Drop),
            (CallError::Stopping, Means::Ends),
        ] {
            assert_eq!(means(error.clone()), expected, "{error}");
        }
    }
}
