//! Tells the manager where sectors stand: one thread per worker, fed from what the sealing
//! threads have stored. So it never stands in their way (law 9), and nothing is lost when the
//! manager is away or the daemon ends: what has not arrived is still on disk.

use crate::{
    giving_up::{Who, Word},
    manager::{CallError, Manager},
    metadb::{MetaDb, MetaError, Unsent},
    view::Board,
};
use damocles_api::{
    sector::{ReportStateReq, ReportedFailure, SectorStanding, StateChange, WorkerIdentifier},
    timeline::{Ending, TimelineEntry},
};
use damocles_flow::{PlanName, State};
use damocles_types::{Level, SectorId};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use strum::IntoEnumIterator;

/// Pause before what did not arrive is sent again.
const AGAIN: Duration = Duration::from_secs(5);

/// Entries of a timeline in one report. After a day without the manager there are many, and their
/// failures may be long; managers take requests of 1 MiB and 1000 entries.
const AT_ONCE: usize = 100;

/// What the manager said of a sector when it was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) sector: SectorId,
    pub(super) word: Word,
    pub(super) said: String,
}

#[derive(Debug, Default)]
struct Inner {
    /// Sealing threads that have stored something new.
    due: BTreeSet<usize>,
    notes: BTreeMap<usize, Note>,
    busy: bool,
    stopped: bool,
}

/// Where sealing threads and the reporter meet; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<(Mutex<Inner>, Condvar)>);

impl Reports {
    /// A sealing thread has stored something that the manager does not know.
    pub(super) fn due(&self, index: usize) {
        self.0.0.lock().due.insert(index);
        self.0.1.notify_all();
    }

    /// What the manager said of this sector since the last question, if it said "drop it".
    pub(super) fn note(&self, index: usize, sector: SectorId) -> Option<Note> {
        let note = self.0.0.lock().notes.remove(&index)?;
        Some(note).filter(|note| note.sector == sector)
    }

    /// Whether everything that was stored has been told.
    pub fn quiet(&self) -> bool {
        let inner = self.0.0.lock();
        inner.due.is_empty() && !inner.busy
    }

    /// The reporter ends, at once or after the call that it makes.
    pub fn stop(&self) {
        self.0.0.lock().stopped = true;
        self.0.1.notify_all();
    }

    /// The next threads to report for. None: stop.
    fn next(&self) -> Option<BTreeSet<usize>> {
        let mut inner = self.0.0.lock();
        self.0
            .1
            .wait_while(&mut inner, |i| i.due.is_empty() && !i.stopped);
        if inner.stopped {
            return None;
        }
        inner.busy = true;
        Some(std::mem::take(&mut inner.due))
    }

    /// These are done but for `later`.
    fn done(&self, later: BTreeSet<usize>) {
        let mut inner = self.0.0.lock();
        let wait = !later.is_empty();
        inner.due.extend(later);
        inner.busy = false;
        if wait {
            let not_stopped = |i: &mut Inner| !i.stopped;
            self.0.1.wait_while_for(&mut inner, not_stopped, AGAIN);
        }
    }
}

/// The reporter of a worker.
#[derive(Debug)]
pub struct Reporter {
    pub manager: Manager,
    /// Name of this worker.
    pub instance: String,
    pub boards: Vec<Arc<Board>>,
    pub reports: Reports,
}

/// What could not be told now; it is tried again.
struct Later;

impl Reporter {
    /// Works until stopped.
    pub fn run(self) {
        while let Some(due) = self.reports.next() {
            let later = due.into_iter().filter(|index| self.tell(*index).is_err());
            let later = later.collect();
            self.reports.done(later);
        }
    }

    fn tell(&self, index: usize) -> Result<(), Later> {
        let board = self.boards.iter().find(|b| b.index() == index);
        let Some((board, meta)) = board.and_then(|b| Some((b, b.database()?))) else {
            return Ok(());
        };
        // one at a time, each in the name of its store
        self.manager.speak_for(&board.location(), &meta.id());
        let unsent = meta.unsent().map_err(unreadable)?;
        for parcel in unsent {
            self.tell_sector(board, &meta, parcel)?;
        }
        Ok(())
    }

    fn tell_sector(&self, board: &Board, meta: &MetaDb, parcel: Unsent) -> Result<(), Later> {
        let Unsent {
            sector,
            manager,
            entries,
        } = parcel;
        let now = self
            .manager
            .identity()
            .map_err(|e| later("who it is", &e))?;
        if Who::between(manager.as_deref(), now.as_ref()) == Who::Other {
            // it would take it for news of a sector of its own
            return Err(Later);
        }
        for part in entries.chunks(AT_ONCE) {
            let instance = self.instance.clone();
            let told = self
                .manager
                .report_timeline(sector, instance, part.to_vec());
            passed("the timeline", told.map(|_| ()))?;
        }
        for entry in &entries {
            if let Some(report) = self.report(board, entry) {
                let standing = match self.manager.report_state(sector, report) {
                    Ok(standing) => closed(&standing),
                    Err(CallError::SectorOver(said)) => Some((Word::Over, said)),
                    Err(error) => passed("the state", Err(error)).map(|()| None)?,
                };
                if let Some((word, said)) = standing {
                    let note = Note { sector, word, said };
                    self.reports.0.0.lock().notes.insert(board.index(), note);
                }
            }
            meta.sent(sector, entry.seq + 1).map_err(unreadable)?;
        }
        Ok(())
    }

    /// The report of an attempt that ended. None: it is of the timeline only.
    fn report(&self, board: &Board, entry: &TimelineEntry) -> Option<ReportStateReq> {
        let (next, event, failure) = match entry.ending.as_ref()? {
            Ending::Interrupted => return None,
            // the sealing store became free
            Ending::Done { next } if *next == State::Empty.to_string() => return None,
            Ending::Done { next } => (next.clone(), event(&entry.state, next), None),
            Ending::Failed { level, message } => {
                let (next, event) = match level {
                    Level::Abort => (State::Aborted.to_string(), "Abort"),
                    Level::Temporary | Level::Permanent | Level::Critical => {
                        (entry.state.clone(), "Failed")
                    }
                };
                let failure = ReportedFailure {
                    level: level_name(*level).to_owned(),
                    desc: message.clone(),
                };
                (next, event.to_owned(), Some(failure))
            }
        };
        Some(ReportStateReq {
            worker: WorkerIdentifier {
                instance: self.instance.clone(),
                location: board.location(),
            },
            state_change: StateChange {
                prev: entry.state.clone(),
                next,
                event,
            },
            failure,
            // when it happened: what is told late replaces nothing newer
            at: entry.ended_at,
        })
    }
}

/// The event between two states by their names; a person's jump is `SetState`.
fn event(from: &str, to: &str) -> String {
    let states = from.parse::<State>().ok().zip(to.parse::<State>().ok());
    let event = states.and_then(|(from, to)| PlanName::iter().find_map(|p| p.between(from, to)));
    event.map_or_else(|| "SetState".to_owned(), |event| event.to_string())
}

/// What a standing says that is no good news.
fn closed(standing: &SectorStanding) -> Option<(Word, String)> {
    if !standing.abort_reason.is_empty() {
        Some((Word::Over, standing.abort_reason.clone()))
    } else if standing.finalized {
        Some((Word::Finished, "it is finalized".to_owned()))
    } else {
        None
    }
}

/// What a report that was not taken means: later, or not at all.
fn passed(what: &str, told: Result<(), CallError>) -> Result<(), Later> {
    match told {
        Ok(()) => Ok(()),
        Err(
            error @ (CallError::Away { .. }
            | CallError::Garbled { .. }
            | CallError::NotNow { .. }
            | CallError::Denied { .. }
            | CallError::Stopping),
        ) => Err(later(what, &error)),
        // Asked again it would say the same. The step that needs the manager hears it too.
        Err(
            error @ (CallError::SectorOver(_)
            | CallError::SectorUnknown(_)
            | CallError::NotOwner(_)
            | CallError::Unsupported(_)
            | CallError::Failed { .. }),
        ) => {
            tracing::warn!("{what} was not reported: {error}");
            Ok(())
        }
    }
}

fn later(what: &str, error: &CallError) -> Later {
    tracing::debug!("not reported yet ({what}): {error}");
    Later
}

fn unreadable(error: MetaError) -> Later {
    tracing::warn!("what is to be reported cannot be read: {error}");
    Later
}

/// As upstream's managers read it.
const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Temporary => "Temporary",
        Level::Permanent => "Permanent",
        Level::Abort => "Abort",
        Level::Critical => "Critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_known_by_where_they_lead() {
        for (from, to, expected) in [
            ("Empty", "Allocated", "Allocate"),
            ("PCSubmitted", "PC2Done", "ReSubmitPC"),
            ("PCSubmitted", "TreeDBuilt", "TicketExpired"),
            ("C2Done", "PersistanceSubmitted", "SeedChanged"),
            ("C1Done", "Aborted", "Abort"),
            ("PersistanceSubmitted", "PCLanded", "SetState"),
            ("PC9", "PCLanded", "SetState"),
        ] {
            assert_eq!(event(from, to), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn a_reason_counts_more_than_a_flag() {
        let standing = |finalized, reason: &str| SectorStanding {
            id: SectorId::new(1000, 1),
            finalized,
            abort_reason: reason.to_owned(),
        };
        assert_eq!(closed(&standing(false, "")), None);
        for finalized in [false, true] {
            assert_eq!(
                closed(&standing(finalized, "too slow")),
                Some((Word::Over, "too slow".to_owned()))
            );
        }
        assert!(matches!(
            closed(&standing(true, "")),
            Some((Word::Finished, _))
        ));
    }
}
