//! What follows from the end of a step: a transition, another try, a pause, or the sector's
//! end. Every way writes first and talks afterwards.

use super::{
    engine::{After, Desk, Engine, Over},
    probe::Point,
    report::Wanted,
};
use crate::{
    document::{Document, Stopped},
    event::Event,
    metadb::{MetaError, Transition},
    plans::Plan,
    view::Doing,
};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_flow::State;
use damocles_types::{Classify, Failure, Level};

impl Engine {
    /// The transition: table, batch, report.
    pub(super) fn advance(
        &self,
        desk: &Desk<'_>,
        plan: &dyn Plan,
        document: &mut Option<Document>,
        state: State,
        event: Event,
        mut entry: TimelineEntry,
    ) -> Result<After, Over> {
        let ev = event.name();
        let next = match plan.name().next(state, ev) {
            Ok(next) => next,
            Err(illegal) => {
                let failure =
                    Failure::critical(illegal).hint("this is a fault in the program; report it");
                return self.failed(desk, plan, document, state, failure, entry);
            }
        };
        entry.ending.get_or_insert(Ending::Done {
            next: next.to_string(),
        });
        self.probe(Point::BeforeCommit { state, event: ev })?;
        let written = match (document.as_ref(), event) {
            (None, Event::Allocate(allocated)) => {
                let new = Document::new(plan.name(), allocated);
                desk.meta.begin(&new, &entry).map(|()| new)
            }
            (None, _) => unreachable_without_sector(state),
            (Some(old), event) => {
                let mut new = old.clone();
                let outputs = event.apply(&mut new);
                new.advance(next);
                let with = Transition {
                    keep: outputs
                        .keep
                        .as_ref()
                        .map(|(which, output)| (*which, output)),
                    drop: &outputs.drop,
                    entry: Some(&entry),
                };
                desk.meta.commit(&new, &with).map(|()| new)
            }
        };
        let new = match written {
            Ok(new) => new,
            // The output is lost with this attempt, but nothing false is on disk.
            Err(error) => return self.stand(desk, plan, document, error.failure()),
        };
        self.probe(Point::AfterCommit { state, event: ev })?;
        tracing::info!(sector = %new.sector(), event = %ev, "{state} -> {next}");
        let new = document.insert(new);
        self.board.error(None);
        self.show(plan.name(), Some(new));
        let wanted = self
            .reporter
            .state(new, (state, next), &ev.to_string(), None);
        self.reporter.timeline(desk.meta);
        self.unless_unwanted(desk, document, wanted)
    }

    fn probe(&self, point: Point) -> Result<(), Over> {
        match &self.probe {
            Some(probe) if probe(point) => Err(Over),
            _ => Ok(()),
        }
    }

    /// A sector that the manager is done with is cleared here as well.
    fn unless_unwanted(
        &self,
        desk: &Desk<'_>,
        document: &mut Option<Document>,
        wanted: Wanted,
    ) -> Result<After, Over> {
        let Some(current) = document.as_ref() else {
            return Ok(After::On);
        };
        match wanted {
            Wanted::Yes => Ok(After::On),
            // its end is told in a step of its own
            Wanted::No(_) if matches!(current.state, State::Finished | State::Aborted) => {
                Ok(After::On)
            }
            Wanted::No(reason) => {
                tracing::warn!(sector = %current.sector(), reason, "the manager is done with the sector; clearing it here");
                self.wipe(desk, document, None)
            }
        }
    }

    pub(super) fn failed(
        &self,
        desk: &Desk<'_>,
        plan: &dyn Plan,
        document: &mut Option<Document>,
        state: State,
        mut failure: Failure,
        entry: TimelineEntry,
    ) -> Result<After, Over> {
        let sealing = &desk.settings.sealing;
        let Some(current) = document.as_mut() else {
            return self.stand(desk, plan, document, failure);
        };
        if failure.level == Level::Abort && state != State::Aborted {
            tracing::error!(sector = %current.sector(), "{failure}");
            let event = Event::Abort(failure.message);
            return self.advance(desk, plan, document, state, event, entry);
        }
        if failure.level == Level::Temporary {
            current.tries += 1;
            if current.tries > sealing.max_retries {
                failure = give_up(failure, current.tries);
                current.tries = 0;
            }
        }
        let temporary = failure.level == Level::Temporary;
        current.stopped = (!temporary).then(|| Stopped {
            since: self.world.clock.now_ms(),
            failure: failure.clone(),
        });
        let with = Transition {
            entry: Some(&entry),
            ..Transition::default()
        };
        if let Err(error) = desk.meta.commit(current, &with) {
            return self.stand(desk, plan, document, error.failure());
        }
        let wanted = self
            .reporter
            .state(current, (state, state), "Failed", Some(&failure));
        self.reporter.timeline(desk.meta);
        if let Wanted::No(_) = wanted {
            return self.unless_unwanted(desk, document, wanted);
        }
        if temporary {
            self.log_failure(&failure);
            let what = format!(
                "another try ({} of {}): {}",
                current.tries, sealing.max_retries, failure.message
            );
            self.board.error(Some(failure));
            self.board.doing(Doing::Waiting(what));
            let _ = self.control.wait(sealing.recover_interval);
            return Ok(After::On);
        }
        self.stand(desk, plan, document, failure)
    }

    /// The end has been told: the sealing store becomes free for the next sector.
    pub(super) fn clear(
        &self,
        desk: &Desk<'_>,
        document: &mut Option<Document>,
        state: State,
        mut entry: TimelineEntry,
    ) -> Result<After, Over> {
        entry.ending = Some(Ending::Done {
            next: State::Empty.to_string(),
        });
        self.probe(Point::BeforeClear { state })?;
        self.wipe(desk, document, Some((state, entry)))
    }

    fn wipe(
        &self,
        desk: &Desk<'_>,
        document: &mut Option<Document>,
        end: Option<(State, TimelineEntry)>,
    ) -> Result<After, Over> {
        self.until(|| {
            desk.store
                .clear_data()
                .crit("clearing the sealing store")
                .map_err(|f| f.hint("check the disk, then resume the thread"))
        })?;
        if let Some((state, _)) = &end {
            self.probe(Point::Cleared { state: *state })?;
        }
        self.until(|| {
            let ended = desk.meta.end(end.as_ref().map(|(_, entry)| entry));
            ended.map_err(|e: MetaError| e.failure())
        })?;
        if let Some(document) = document.take() {
            tracing::info!(sector = %document.sector(), "done with it; the sealing store is free");
        }
        self.board.error(None);
        self.reporter.timeline(desk.meta);
        Ok(After::Ended)
    }
}

/// A temporary failure that came too often.
fn give_up(failure: Failure, tries: u32) -> Failure {
    Failure {
        level: Level::Permanent,
        message: format!("failed {tries} times: {}", failure.message),
        hint: Some(match failure.hint {
            Some(hint) => format!("{hint}; then resume the thread"),
            None => "find out why it keeps failing, then resume the thread".to_owned(),
        }),
    }
}

/// The table lets nothing but `Allocate` happen in `Empty` with an outcome; a plan that
/// answers otherwise is wrong, and is told so instead of being believed.
fn unreachable_without_sector(state: State) -> Result<Document, MetaError> {
    Err(MetaError::Damaged {
        dir: Default::default(),
        reason: format!("a step of {state} ended without a sector"),
    })
}
