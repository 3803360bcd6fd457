//! Tells the manager where a sector stands. Never stands in the way: a report that fails is
//! noted, and what it carried is still on disk. Timeline entries are sent until they arrived.

use crate::{
    document::Document,
    manager::{CallError, Manager},
    metadb::MetaDb,
};
use damocles_api::sector::{ReportStateReq, ReportedFailure, StateChange, WorkerIdentifier};
use damocles_daemon::clock::{Clock, SystemClock};
use damocles_flow::State;
use damocles_types::Failure;

/// What the manager makes of a sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    /// The manager is done with it; the reason if it was given up.
    No(String),
}

/// Reports of one thread.
#[derive(Clone, Debug)]
pub struct Reporter {
    pub manager: Manager,
    /// Name of this worker.
    pub instance: String,
    /// The sealing store's path.
    pub location: String,
}

impl Reporter {
    /// A transition or a failed attempt.
    pub(super) fn state(
        &self,
        document: &Document,
        (prev, next): (State, State),
        event: &str,
        failure: Option<&Failure>,
    ) -> Wanted {
        let report = ReportStateReq {
            worker: WorkerIdentifier {
                instance: self.instance.clone(),
                location: self.location.clone(),
            },
            state_change: StateChange {
                prev: prev.to_string(),
                next: next.to_string(),
                event: event.to_owned(),
            },
            failure: failure.map(|f| ReportedFailure {
                level: level_name(f),
                desc: f.message.clone(),
            }),
            at: Some(SystemClock.now_ms()),
        };
        match self.manager.report_state(document.sector(), report) {
            Ok(standing) if standing.finalized => Wanted::No(standing.abort_reason),
            Ok(_) => Wanted::Yes,
            Err(error) => {
                note("the state was not reported", &error);
                Wanted::Yes
            }
        }
    }

    /// Entries of the timeline that the manager does not have yet.
    pub(super) fn timeline(&self, meta: &MetaDb) {
        let told = (|| {
            let Some(mut last) = meta.last()? else {
                return Ok(());
            };
            let mut entries = meta.timeline()?;
            entries.retain(|e| e.seq >= last.reported && e.ending.is_some());
            let Some(newest) = entries.last().map(|e| e.seq) else {
                return Ok(());
            };
            match self
                .manager
                .report_timeline(last.sector, self.instance.clone(), entries)
            {
                Ok(true) => {
                    last.reported = newest + 1;
                    meta.set_last(&last)?;
                }
                Ok(false) => {}
                Err(error) => note("the timeline was not reported", &error),
            }
            Ok::<(), crate::metadb::MetaError>(())
        })();
        if let Err(error) = told {
            tracing::warn!("the timeline could not be read: {error}");
        }
    }
}

fn note(what: &str, error: &CallError) {
    match error {
        CallError::Stopping => {}
        // the step that needs the manager says it too, and loudly
        CallError::Away { .. } => tracing::debug!("{what}: {error}"),
        _ => tracing::warn!("{what}: {error}"),
    }
}

fn level_name(failure: &Failure) -> String {
    format!("{:?}", failure.level)
}
