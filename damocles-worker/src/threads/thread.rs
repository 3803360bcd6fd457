//! A sealing thread: what it is made of, how it stands still for a person, and what a person's
//! command does to its sector. What it works at is in `engine` and `transition`.

use super::{
    drain::Drain,
    probe::{Point, Probe},
    report::Reports,
};
use crate::{
    config::{MainFile, ThreadConfig, ThreadSettings},
    control::{Because, Control, Entrance},
    document::Document,
    giving_up::Word,
    metadb::{MetaDb, Transition},
    plans::{self, Plan, World},
    stores::SealingStore,
    view::{Board, Doing},
};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_flow::{State, seal::stage_label};
use damocles_types::{Failure, Level};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A sealing thread; `run` is its life.
pub struct Engine {
    /// As it was started.
    pub config: ThreadConfig,
    /// What the main file says of it now.
    pub main: Arc<MainFile>,
    pub drain: Drain,
    pub world: World,
    pub reports: Reports,
    pub control: Arc<Control>,
    pub board: Arc<Board>,
    pub probe: Option<Probe>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine(sealing thread {})", self.config.index)
    }
}

/// Why the thread's life is over.
pub(super) struct Over;

/// A round's fixed surroundings.
pub(super) struct Desk<'a> {
    pub(super) store: &'a SealingStore,
    pub(super) meta: &'a MetaDb,
    pub(super) settings: &'a ThreadSettings,
    pub(super) plan: &'a dyn Plan,
}

/// A sector on its way through a round.
pub(super) struct Course {
    /// None: there is no sector yet.
    pub(super) document: Option<Document>,
    /// The attempt that goes on over several tries.
    pub(super) open: Option<TimelineEntry>,
    /// The manager said that the sector is over, and when it did first.
    pub(super) said: Option<(Word, Instant)>,
    /// What is waited for, as it was logged.
    pub(super) waits: String,
}

impl Course {
    pub(super) fn state(&self) -> State {
        self.document.as_ref().map_or(State::Empty, |d| d.state)
    }
}

/// What becomes of a sector after an attempt.
pub(super) enum After {
    /// Go on with the loop.
    On,
    /// The sector is done with.
    Ended,
    /// Nothing to do; ask again later.
    Idle,
    /// A person has looked: begin the round anew from what is on disk.
    Reload,
}

impl Engine {
    /// Tries until it works, standing paused in between: a person must look.
    pub(super) fn until<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Over> {
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    self.log_failure(&failure);
                    self.board.error(Some(failure));
                    self.paused(Because::Failed, Vec::new())?;
                }
            }
        }
    }

    pub(super) fn probe(&self, point: Point) -> Result<(), Over> {
        match &self.probe {
            Some(probe) if probe(point) => Err(Over),
            _ => Ok(()),
        }
    }

    pub(super) fn log_failure(&self, failure: &Failure) {
        let hint = failure.hint.as_deref();
        match failure.level {
            Level::Temporary => tracing::warn!(hint, "{failure}"),
            Level::Permanent | Level::Critical | Level::Abort => tracing::error!(hint, "{failure}"),
        }
    }

    /// Waits visibly. Whatever interrupts it is dealt with at the top of the loop.
    pub(super) fn rest(&self, duration: Duration) {
        let _ = self.control.wait_about(duration);
    }

    /// An attempt that goes on or was interrupted; nobody acts upon it.
    pub(super) fn note(&self, desk: &Desk<'_>, entry: &TimelineEntry) {
        if let Err(error) = desk.meta.note(entry) {
            tracing::warn!("the timeline could not be written: {error}");
        }
    }

    /// The entry of the attempt that begins, or the one that goes on.
    pub(super) fn begin_entry(&self, desk: &Desk<'_>, course: &mut Course) -> TimelineEntry {
        let state = course.state();
        let goes_on = course.open.take().filter(|e| e.state == state.to_string());
        if let Some(entry) = goes_on {
            return entry;
        }
        // a sector's first entry is that of its allocation
        let (last, seq) = match course.document {
            Some(_) => last_entry(desk.meta),
            None => (None, 0),
        };
        // A step without an outcome (no deals yet) is asked for again round after round; that
        // is one attempt, not a timeline that grows for days.
        let still_open = |e: &TimelineEntry| e.ending.is_none() && e.state == state.to_string();
        if let Some(open) = last.filter(still_open) {
            return open;
        }
        let entry = TimelineEntry {
            seq,
            state: state.to_string(),
            stage: stage_label(state).to_owned(),
            queued_at: self.world.clock.now_ms(),
            started_at: None,
            ended_at: None,
            child: None,
            kernel: None,
            ending: None,
        };
        if course.document.is_some() {
            self.note(desk, &entry);
        }
        entry
    }

    /// Stands still until resumed; where to go on, if elsewhere.
    pub(super) fn paused(
        &self,
        because: Because,
        entrances: Vec<Entrance>,
    ) -> Result<Option<State>, Over> {
        self.board.doing(Doing::Paused);
        tracing::info!("paused");
        let resumed = self.control.stay_paused(because, entrances);
        let resumed = resumed.map_err(|_| Over)?;
        tracing::info!("resumed");
        self.board.error(None);
        self.board.doing(Doing::Running(None));
        Ok(resumed)
    }

    /// Paused by a failure: a person must look. The sector stays as it is.
    pub(super) fn stand(
        &self,
        desk: &Desk<'_>,
        course: &mut Course,
        failure: Failure,
    ) -> Result<After, Over> {
        let failure = with_the_way_on(failure, self.config.index);
        self.log_failure(&failure);
        self.board.error(Some(failure));
        self.pause_here(desk, Because::Failed, course.document.as_mut())?;
        Ok(After::Reload)
    }

    /// Stands still, and does what the person says at the end of it. What cannot be written down
    /// is not done: it stands still again.
    pub(super) fn pause_here(
        &self,
        desk: &Desk<'_>,
        mut because: Because,
        mut document: Option<&mut Document>,
    ) -> Result<(), Over> {
        loop {
            let entrances = document
                .as_deref()
                .map_or_else(Vec::new, |d| entrances(desk.meta, d));
            let resumed = self.paused(because, entrances)?;
            let Some(document) = document.as_deref_mut() else {
                return Ok(());
            };
            // a sector that is given up already may need a person's word for it
            let elsewhere = |to: &State| *to != document.state || *to == State::Aborted;
            let written = match resumed.filter(elsewhere) {
                Some(to) => self.jump(desk, document, to),
                None => go_on(desk, document),
            };
            match written {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    self.log_failure(&failure);
                    self.board.error(Some(failure));
                    because = Because::Failed;
                }
            }
        }
    }

    /// To another state, because a person says so.
    fn jump(&self, desk: &Desk<'_>, document: &mut Document, to: State) -> Result<(), Failure> {
        let from = document.state;
        let mut moved = document.clone();
        let drop = moved.rewind(to);
        if to == State::Aborted {
            let mut reason = "given up by the operator".to_owned();
            if let Some(said) = self.control.take_reason() {
                reason.push_str(&format!(" ({said})"));
            }
            if let Some(remains) = document.remains() {
                reason.push_str(&format!("; {remains}"));
            }
            moved.abort_reason = Some(reason);
            moved.given_up_by_person = true;
        }
        // whatever was begun before is overtaken
        let closed = desk.meta.close_interrupted();
        closed.map_err(|e| e.failure())?;
        let now = self.world.clock.now_ms();
        let entry = TimelineEntry {
            seq: last_entry(desk.meta).1,
            state: from.to_string(),
            stage: "SetState".to_owned(),
            queued_at: now,
            started_at: Some(now),
            ended_at: Some(now),
            child: None,
            kernel: None,
            ending: Some(Ending::Done {
                next: to.to_string(),
            }),
        };
        let with = Transition {
            drop: &drop,
            entry: Some(&entry),
            ..Transition::default()
        };
        let written = desk.meta.commit(&moved, &with);
        written.map_err(|e| e.failure())?;
        tracing::info!(sector = %moved.sector(), "{from} -> {to} (by the operator)");
        *document = moved;
        self.reports.due(self.config.index);
        Ok(())
    }
}

/// Resumed where it stood: what was counted against the sector counts no more.
fn go_on(desk: &Desk<'_>, document: &mut Document) -> Result<(), Failure> {
    let mut looked = document.clone();
    looked.forgive();
    (looked.stopped, looked.tries) = (None, 0);
    if looked == *document {
        return Ok(());
    }
    let written = desk.meta.commit(&looked, &Transition::default());
    written.map_err(|e| e.failure())?;
    *document = looked;
    Ok(())
}

/// The last entry and the number of the next. A timeline that cannot be read counts as very
/// long, so that no number is given twice.
fn last_entry(meta: &MetaDb) -> (Option<TimelineEntry>, u64) {
    match meta.timeline() {
        Ok(mut entries) => {
            let last = entries.pop();
            let next = last.as_ref().map_or(0, |e| e.seq + 1);
            (last, next)
        }
        Err(error) => {
            tracing::warn!("the timeline cannot be read: {error}");
            (None, 1 << 32)
        }
    }
}

/// A thread that waits for a person goes on by a command, whatever was wrong: its hint says so.
fn with_the_way_on(failure: Failure, index: usize) -> Failure {
    let command = format!("damocles-worker worker resume -i {index}");
    match &failure.hint {
        Some(hint) if hint.contains("resume") => failure,
        Some(hint) => {
            let hint = format!("{hint}; then let the thread go on: {command}");
            failure.hint(hint)
        }
        None => failure.hint(format!(
            "when the cause is gone, let the thread go on: {command}"
        )),
    }
}

/// Where a paused sector may go on.
fn entrances(meta: &MetaDb, document: &Document) -> Vec<Entrance> {
    let beside = |which| matches!(meta.output(which), Ok(Some(_)));
    let states = document.plan.states().into_iter();
    states
        .map(|state| Entrance {
            state,
            closed: plans::closed(state, document, beside),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_a_person_says_how_to_go_on() {
        let hint = |failure: Failure| with_the_way_on(failure, 3).hint.unwrap();
        let command = "damocles-worker worker resume -i 3";
        let bare = hint(Failure::permanent("it broke"));
        assert!(bare.ends_with(command), "{bare}");
        let missing =
            Failure::permanent("parameters are missing").hint("damocles-worker params fetch");
        let twice = with_the_way_on(with_the_way_on(missing, 3), 3)
            .hint
            .unwrap();
        assert_eq!(
            twice,
            format!("damocles-worker params fetch; then let the thread go on: {command}")
        );
    }
}
