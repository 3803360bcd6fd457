//! How a sector comes to its end on its thread: what is asked before anything of it is dropped,
//! and how the end is told. Whether it may be dropped is decided in `giving_up`.

use super::thread::{After, Course, Desk, Engine, Over};
use crate::{
    document::Document,
    event::Event,
    giving_up::{At, Record, Told, Verdict, Who, Word, decide, held, may_clear, stranger},
    manager::CallError,
    plans::{Stop, stop::call_failed},
    view::Doing,
};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_flow::State;
use damocles_types::{Failure, Level};
use std::time::Instant;

impl Engine {
    /// A step was answered that the sector is over.
    pub(super) fn drop_asked(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
        (word, said): (Word, String),
        entry: TimelineEntry,
    ) -> Result<After, Over> {
        match self.weigh(desk, course, word, &said) {
            Ok(Verdict::Destroy) => self.give_up(desk, course, (word, said), entry),
            Ok(_) => {
                let what = format!("the manager to say again that the sector is over: {said}");
                tracing::warn!("waiting for {what}");
                self.board.error(Some(
                    Failure::temporary(format!("the manager says that the sector is over: {said}"))
                        .hint("nothing is dropped before it is certain; `damocles-manager util sealer sectors state` shows what the manager's record says"),
                ));
                self.board.doing(Doing::Waiting(what));
                course.open = Some(entry);
                self.rest(desk.settings.sealing.recover_interval);
                Ok(After::On)
            }
            Err(failure) => self.failed(desk, course, failure, entry),
        }
    }

    /// A report was answered that the sector is over. None: the sector goes on.
    pub(super) fn drop_noted(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
    ) -> Result<Option<After>, Over> {
        let Some(document) = course.document.as_ref() else {
            return Ok(None);
        };
        let Some(note) = self.reports.note(self.config.index, document.sector()) else {
            return Ok(None);
        };
        // its end is told in a step of its own
        if matches!(document.state, State::Finished | State::Aborted) {
            return Ok(None);
        }
        let verdict = self.weigh(desk, course, note.word, &note.said);
        if let Ok(Verdict::AskAgain) = verdict {
            // the next report or step hears it again, if it is so
            return Ok(None);
        }
        let entry = self.begin_entry(desk, course);
        match verdict {
            Ok(_) => self.give_up(desk, course, (note.word, note.said), entry),
            Err(failure) => self.failed(desk, course, failure, entry),
        }
        .map(Some)
    }

    /// Asks the manager who it is and what its record says; then decides. An error is a sector
    /// that is kept for a person to look at.
    fn weigh(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
        word: Word,
        said: &str,
    ) -> Result<Verdict, Failure> {
        let Some(document) = course.document.as_ref() else {
            return Ok(Verdict::AskAgain);
        };
        let an_interval_ago =
            |since: Instant| since.elapsed() >= desk.settings.sealing.recover_interval / 2;
        let again = course
            .said
            .is_some_and(|(before, since)| before == word && an_interval_ago(since));
        if course.said.is_none_or(|(before, _)| before != word) {
            course.said = Some((word, Instant::now()));
        }
        let (who, record) = self.second_question(document);
        let at = At::of(document);
        let verdict = decide(word, at, who, record, again);
        tracing::warn!(
            sector = %document.sector(),
            state = %document.state,
            "the manager says that the sector is over ({said}); asked again: {who:?}, {record:?}; {verdict:?}"
        );
        if verdict == Verdict::Hold {
            let addr = self.world.manager.addr().to_string();
            return Err(held(document.sector(), said, at, who, record, &addr));
        }
        Ok(verdict)
    }

    /// Who answers, and what its record says. One that changes in between has not answered.
    fn second_question(&self, document: &Document) -> (Who, Record) {
        let manager = &self.world.manager;
        let asked = || -> Result<(Who, Record), CallError> {
            let now = manager.identity_now()?;
            let who = Who::of(document, now.as_ref());
            if now.is_none() {
                return Ok((who, Record::NotOffered));
            }
            let fate = manager.sector_fate(document.sector())?;
            if manager.identity_now()? != now {
                return Ok((who, Record::NotAnswered));
            }
            Ok((who, fate.as_ref().map_or(Record::NotOffered, Record::of)))
        };
        asked().unwrap_or_else(|error| {
            tracing::warn!("the manager was not asked what its record says: {error}");
            (Who::Unlearned, Record::NotAnswered)
        })
    }

    /// It is certain. A finished sector is cleared, any other given up.
    fn give_up(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
        (word, said): (Word, String),
        mut entry: TimelineEntry,
    ) -> Result<After, Over> {
        let finished =
            word == Word::Finished && course.document.as_ref().map(At::of) == Some(At::Proven);
        let now = self.world.clock.now_ms();
        entry.started_at.get_or_insert(entry.queued_at);
        entry.ended_at = Some(now);
        if finished {
            return self.clear(desk, course, entry);
        }
        entry.ending = Some(Ending::Failed {
            level: Level::Abort,
            message: said.clone(),
        });
        let remains = course.document.as_ref().and_then(Document::remains);
        let reason = match remains {
            Some(remains) => format!("{said}; {remains}"),
            None => said,
        };
        tracing::error!("the sector is given up: {reason}");
        self.advance(desk, course, Event::Abort(reason), entry)
    }

    /// The manager learns of the sector's end. Good: the sector may be cleared.
    pub(super) fn tell_end(&self, document: &Document) -> Result<(), Stop> {
        let sector = document.sector();
        let manager = &self.world.manager;
        let by_person = document.state == State::Aborted && document.given_up_by_person;
        let now = manager.identity().map_err(call_failed)?;
        let who = Who::of(document, now.as_ref());
        if let (Who::Other, Some(then)) = (who, &document.manager) {
            if by_person {
                tracing::warn!(%sector, "the manager that allocated the sector was not told that it is given up; another one answers");
                return Ok(());
            }
            return Err(Stop::NotNow(stranger(
                sector,
                then,
                &manager.addr().to_string(),
            )));
        }
        let answer = if document.state == State::Aborted {
            let reason = document.abort_reason.clone().unwrap_or_default();
            manager.report_aborted(sector, reason)
        } else {
            manager.report_finalized(sector)
        };
        let told = match &answer {
            Ok(()) => Told::Taken,
            Err(CallError::SectorOver(_)) => Told::Over,
            Err(CallError::SectorUnknown(_) | CallError::NotOwner(_)) => Told::NotOurs,
            Err(error) => return Err(call_failed(error.clone())),
        };
        match answer {
            Err(error) if !may_clear(by_person, who, told) => Err(call_failed(error)),
            _ => Ok(()),
        }
    }
}
