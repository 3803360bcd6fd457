//! What follows from the end of a step: a transition, another try, a pause, or the sector's
//! end. Every way writes first and talks afterwards.

use super::{
    probe::Point,
    thread::{After, Course, Desk, Engine, Over},
};
use crate::{
    document::{Document, Stopped},
    event::Event,
    metadb::{MetaError, Transition},
    plans::Heard,
    view::Doing,
};
use damocles_api::{
    show::span,
    timeline::{Ending, TimelineEntry},
};
use damocles_flow::State;
use damocles_types::{Classify, Failure, Level};

impl Engine {
    /// The transition: table, batch, report.
    pub(super) fn advance(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
        event: Event,
        mut entry: TimelineEntry,
    ) -> Result<After, Over> {
        let (state, ev) = (course.state(), event.name());
        let next = match desk.plan.name().next(state, ev) {
            Ok(next) => next,
            Err(illegal) => {
                let failure =
                    Failure::critical(illegal).hint("this is a fault in the program; report it");
                return self.failed(desk, course, failure, entry);
            }
        };
        entry.ending.get_or_insert(Ending::Done {
            next: next.to_string(),
        });
        self.probe(Point::BeforeCommit { state, event: ev })?;
        let written = match (course.document.as_ref(), event) {
            (None, Event::Allocate(allocated, manager)) => {
                let new = Document::new(desk.plan.name(), allocated, manager);
                desk.meta.begin(&new, &entry).map(|()| new)
            }
            (None, _) => without_sector(state),
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
            Err(error) => return self.stand(desk, course, error.failure()),
        };
        self.probe(Point::AfterCommit { state, event: ev })?;
        self.world.figures.done(&entry);
        let took = span(entry.ran_ms());
        tracing::info!(sector = %new.sector(), event = %ev, took, "{state} -> {next}");
        course.said = None;
        let new = course.document.insert(new);
        self.board.error(None);
        self.board.sector(desk.settings.plan, Some(new));
        self.reports.due(self.config.index);
        Ok(After::On)
    }

    /// Who gave good answers about a sector has its record: that is the manager of a sector that
    /// was begun before managers were asked who they are. Written down with what comes next.
    pub(super) fn learn(&self, course: &mut Course, heard: &Heard) {
        if let Some(document) = course.document.as_mut()
            && document.manager.is_none()
        {
            document.manager.clone_from(&heard.manager);
        }
    }

    pub(super) fn failed(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
        mut failure: Failure,
        mut entry: TimelineEntry,
    ) -> Result<After, Over> {
        let sealing = &desk.settings.sealing;
        let Some(current) = course.document.as_mut() else {
            return self.stand(desk, course, failure);
        };
        if failure.level == Level::Abort {
            // no program's word ends a sector
            failure.level = Level::Permanent;
        }
        entry.ended_at.get_or_insert(self.world.clock.now_ms());
        entry.ending = Some(Ending::Failed {
            level: failure.level,
            message: failure.message.clone(),
        });
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
            return self.stand(desk, course, error.failure());
        }
        let figures = &self.world.figures;
        figures.failed(&entry, failure.level, temporary);
        self.reports.due(self.config.index);
        if temporary {
            self.log_failure(&failure);
            let what = format!(
                "another try ({} of {}): {}",
                current.tries, sealing.max_retries, failure.message
            );
            self.board.error(Some(failure));
            self.board.doing(Doing::Waiting(what));
            self.rest(sealing.recover_interval);
            return Ok(After::On);
        }
        self.stand(desk, course, failure)
    }

    /// The end has been told: the sealing store becomes free for the next sector.
    pub(super) fn clear(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
        mut entry: TimelineEntry,
    ) -> Result<After, Over> {
        let state = course.state();
        entry.ending = Some(Ending::Done {
            next: State::Empty.to_string(),
        });
        self.probe(Point::BeforeClear { state })?;
        self.until(|| {
            desk.store
                .clear_data()
                .crit("clearing the sealing store")
                .map_err(|f| f.hint("check the disk, then resume the thread"))
        })?;
        self.probe(Point::Cleared { state })?;
        self.until(|| {
            let ended = desk.meta.end(Some(&entry));
            ended.map_err(|e: MetaError| e.failure())
        })?;
        if let Some(document) = course.document.take() {
            let sector = document.sector();
            tracing::info!(%sector, "done with it; the sealing store is free");
            if let Some(remains) = document.remains().filter(|_| state == State::Aborted) {
                tracing::warn!(%sector, "of the sector that was given up: {remains}");
            }
        }
        self.board.error(None);
        self.reports.due(self.config.index);
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
fn without_sector(state: State) -> Result<Document, MetaError> {
    Err(MetaError::Damaged {
        dir: Default::default(),
        reason: format!("a step of {state} ended without a sector"),
    })
}
