//! The one loop: do the step of the state → ask the table what follows → write state, output
//! and timeline in one synced batch → report → look whether to pause or stop → again.
//!
//! Nothing comes between the end of a step and its batch (law 1). Whatever kills the daemon
//! costs at most the step that was running.

use super::{probe::Probe, report::Reporter};
use crate::{
    config::{HotFile, ThreadConfig, ThreadSettings},
    control::{Control, Entrance, Interrupt},
    document::{Document, Output},
    event::Event,
    metadb::{MetaDb, Transition},
    plans::{self, Have, Plan, Step, Stop, World, step::call_failed},
    stores::SealingStore,
    view::{Board, Doing},
};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_flow::{PlanName, State, seal::stage_label};
use damocles_types::{Failure, Level};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A sealing thread; `run` is its life.
pub struct Engine {
    pub config: ThreadConfig,
    pub world: World,
    pub reporter: Reporter,
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

/// How a round ended.
enum Round {
    /// The sector is done with.
    Rest,
    /// There was no work to be had.
    Idle,
    /// Paused and resumed: begin anew, since settings and document may have changed.
    Again,
}

/// A round's fixed surroundings.
pub(super) struct Desk<'a> {
    pub(super) store: &'a SealingStore,
    pub(super) meta: &'a MetaDb,
    pub(super) settings: &'a ThreadSettings,
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
    /// Works until the daemon stops.
    pub fn run(self) {
        let span = tracing::info_span!("thread", index = self.config.index);
        let _entered = span.enter();
        // `Over` is how stopping travels up; there is nothing to say about it
        while let Err(_panic) = catch_unwind(AssertUnwindSafe(|| self.live())) {
            let failure = Failure::critical("the sealing thread panicked between two steps")
                .hint("see the log for where, report it, then resume the thread; it goes on from what is on disk");
            self.log_failure(&failure);
            self.board.error(Some(failure));
            if self.paused(Vec::new()).is_err() {
                return;
            }
        }
    }

    fn live(&self) -> Result<(), Over> {
        let (store, meta) = self.until(|| self.open())?;
        self.board.meta(meta.clone());
        let mut hot = HotFile::new(&store.hot_config(), &self.config);
        self.reporter.timeline(&meta);
        loop {
            let settings = self.until(|| hot.settings(&self.config).cloned())?;
            let document = self.until(|| meta.load().map_err(|e| e.failure()))?;
            let desk = Desk {
                store: &store,
                meta: &meta,
                settings: &settings,
            };
            let round = self.round(&desk, document)?;
            if let Round::Rest = round {
                self.board.sector(settings.plan, None);
                self.board.idle("resting between two sectors");
            }
            if let Round::Rest | Round::Idle = round {
                // an interrupt is dealt with at the top of the next round
                let _ = self.control.wait(settings.sealing.seal_interval);
            }
        }
    }

    fn open(&self) -> Result<(SealingStore, MetaDb), Failure> {
        let store = SealingStore::open(&self.config.location)
            .map_err(|e| Failure::critical(&e).hint(e.hint()))?;
        let meta = match self.board.database() {
            Some(meta) => meta,
            None => MetaDb::open(&store.meta()).map_err(|e| e.failure())?,
        };
        meta.close_interrupted().map_err(|e| e.failure())?;
        Ok((store, meta))
    }

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
                    self.paused(Vec::new())?;
                }
            }
        }
    }

    pub(super) fn log_failure(&self, failure: &Failure) {
        let hint = failure.hint.as_deref().unwrap_or_default();
        match failure.level {
            Level::Temporary => tracing::warn!(hint, "{failure}"),
            Level::Permanent | Level::Critical | Level::Abort => tracing::error!(hint, "{failure}"),
        }
    }

    /// Stands still until resumed; where to go on, if elsewhere.
    fn paused(&self, entrances: Vec<Entrance>) -> Result<Option<State>, Over> {
        self.board.doing(Doing::Paused);
        tracing::info!("paused");
        let resumed = self.control.stay_paused(entrances).map_err(|_| Over)?;
        tracing::info!("resumed");
        self.board.error(None);
        self.board.doing(Doing::Running(None));
        Ok(resumed)
    }

    /// From where the sector stands to its end, or to a rest.
    fn round(&self, desk: &Desk<'_>, mut document: Option<Document>) -> Result<Round, Over> {
        let plan = plans::plan(document.as_ref().map_or(desk.settings.plan, |d| d.plan));
        self.show(desk.settings.plan, document.as_ref());
        if let Some(stopped) = document.as_ref().and_then(|d| d.stopped.clone()) {
            self.board.error(Some(stopped.failure));
        }
        let mut idle = 0;
        let mut open_entry: Option<TimelineEntry> = None;
        loop {
            match self.control.interrupt() {
                None => {}
                Some(Interrupt::Stop) => return Err(Over),
                Some(Interrupt::Pause) => {
                    self.pause_here(desk, plan, document.as_mut())?;
                    return Ok(Round::Again);
                }
            }
            let state = document.as_ref().map_or(State::Empty, |d| d.state);
            let entry = match open_entry.take().filter(|e| e.state == state.to_string()) {
                Some(entry) => entry,
                None => self.begin_entry(desk, document.as_ref(), state),
            };
            self.board.doing(Doing::Running(None));
            match self.attempt(desk, plan, &mut document, state, entry, &mut open_entry)? {
                After::On => idle = 0,
                After::Ended => return Ok(Round::Rest),
                After::Reload => return Ok(Round::Again),
                After::Idle => {
                    idle += 1;
                    if idle > desk.settings.sealing.request_task_max_retries {
                        return Ok(Round::Idle);
                    }
                    // an interrupt is dealt with at the top of the loop
                    let _ = self.control.wait(desk.settings.sealing.recover_interval);
                }
            }
        }
    }

    pub(super) fn show(&self, plan: PlanName, document: Option<&Document>) {
        self.board.sector(plan, document);
    }

    /// A pause of the operator's; a new state given at its end is written down.
    fn pause_here(
        &self,
        desk: &Desk<'_>,
        plan: &dyn Plan,
        document: Option<&mut Document>,
    ) -> Result<(), Over> {
        let entrances = document
            .as_deref()
            .map_or_else(Vec::new, |d| entrances(desk.meta, plan, d));
        let resumed = self.paused(entrances)?;
        let Some(document) = document else {
            return Ok(());
        };
        match resumed.filter(|state| *state != document.state) {
            Some(state) => self.jump(desk, document, state),
            None => self.go_on(desk, document),
        }
        Ok(())
    }

    /// Resumed where it stood: what was counted against the sector counts no more.
    fn go_on(&self, desk: &Desk<'_>, document: &mut Document) {
        if document.forgive()
            && let Err(error) = desk.meta.commit(document, &Transition::default())
        {
            let failure = error.failure();
            self.log_failure(&failure);
            self.board.error(Some(failure));
        }
    }

    fn jump(&self, desk: &Desk<'_>, document: &mut Document, to: State) {
        let from = document.state;
        let mut moved = document.clone();
        let drop = moved.rewind(to);
        if to == State::Aborted {
            moved.abort_reason = Some("given up by the operator".to_owned());
        }
        let with = Transition {
            drop: &drop,
            ..Transition::default()
        };
        match desk.meta.commit(&moved, &with) {
            Ok(()) => {
                tracing::info!(sector = %moved.sector(), "{from} -> {to} (by the operator)");
                *document = moved;
                self.reporter.state(document, (from, to), "SetState", None);
            }
            Err(error) => {
                let failure = error.failure();
                self.log_failure(&failure);
                self.board.error(Some(failure));
            }
        }
    }

    fn begin_entry(
        &self,
        desk: &Desk<'_>,
        document: Option<&Document>,
        state: State,
    ) -> TimelineEntry {
        // a sector's first entry is that of its allocation
        let (last, seq) = match document {
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
        if document.is_some()
            && let Err(error) = desk.meta.note(&entry)
        {
            tracing::warn!("the timeline could not be written: {error}");
        }
        entry
    }

    /// One attempt at the step of `state`, and what follows from its end.
    fn attempt(
        &self,
        desk: &Desk<'_>,
        plan: &dyn Plan,
        document: &mut Option<Document>,
        state: State,
        mut entry: TimelineEntry,
        open_entry: &mut Option<TimelineEntry>,
    ) -> Result<After, Over> {
        let sealing = &desk.settings.sealing;
        entry.started_at = None;
        entry.kernel = None;
        let (result, mut entry, amended) = self.step(desk, plan, document.as_ref(), state, entry);
        if let Some(amended) = amended {
            *document = Some(amended);
        }
        let now = self.world.clock.now_ms();
        entry.started_at.get_or_insert(entry.queued_at);
        match result {
            Ok(Some(event)) => {
                entry.ended_at = Some(now);
                self.advance(desk, plan, document, state, event, entry)
            }
            Ok(None) => {
                entry.ended_at = Some(now);
                self.clear(desk, document, state, entry)
            }
            Err(Stop::Idle(reason)) => {
                self.board.idle(reason);
                *open_entry = Some(entry);
                Ok(After::Idle)
            }
            Err(Stop::Away(failure)) => {
                let what = failure.message.clone();
                tracing::warn!("{what}");
                self.board.error(Some(failure));
                self.board.doing(Doing::Waiting(what));
                *open_entry = Some(entry);
                let _ = self.control.wait(sealing.recover_interval);
                Ok(After::On)
            }
            Err(Stop::Interrupted(_)) => {
                entry.ended_at = Some(now);
                entry.ending = Some(Ending::Interrupted);
                if document.is_some()
                    && let Err(error) = desk.meta.note(&entry)
                {
                    tracing::warn!("the timeline could not be written: {error}");
                }
                Ok(After::On)
            }
            Err(Stop::Failed(failure)) => {
                entry.ended_at = Some(now);
                entry.ending = Some(Ending::Failed {
                    level: failure.level,
                    message: failure.message.clone(),
                });
                self.failed(desk, plan, document, state, failure, entry)
            }
        }
    }

    /// Does the step. `Ok(None)`: the sector's end has been told, and it may be cleared.
    fn step(
        &self,
        desk: &Desk<'_>,
        plan: &dyn Plan,
        document: Option<&Document>,
        state: State,
        entry: TimelineEntry,
    ) -> (Result<Option<Event>, Stop>, TimelineEntry, Option<Document>) {
        let mut step = Step {
            world: &self.world,
            settings: &desk.settings.sealing,
            store: desk.store,
            meta: desk.meta,
            document,
            control: &self.control,
            board: &self.board,
            entry,
            amended: None,
        };
        let done = catch_unwind(AssertUnwindSafe(|| match (state, document) {
            (State::Finished | State::Aborted, Some(document)) => {
                self.tell_end(document, state).map(|()| None)
            }
            _ => plan.step(state, &mut step).map(Some),
        }));
        let result = done.unwrap_or_else(|_| {
            Err(Stop::Failed(
                Failure::critical(format!("the step of {state} panicked"))
                    .hint("see the log for where, report it, then resume the thread"),
            ))
        });
        (result, step.entry, step.amended)
    }

    /// The manager learns of the sector's end; one that does not know it (any more) is fine.
    fn tell_end(&self, document: &Document, state: State) -> Result<(), Stop> {
        let sector = document.sector();
        let told = if state == State::Aborted {
            let reason = document.abort_reason.clone().unwrap_or_default();
            self.world.manager.report_aborted(sector, reason)
        } else {
            self.world.manager.report_finalized(sector)
        };
        match told {
            Ok(()) => Ok(()),
            Err(error) => match call_failed(error) {
                Stop::Failed(failure) if failure.level == Level::Abort => Ok(()),
                stop => Err(stop),
            },
        }
    }

    /// Paused by a failure: a person must look. The sector stays as it is.
    pub(super) fn stand(
        &self,
        desk: &Desk<'_>,
        plan: &dyn Plan,
        document: &mut Option<Document>,
        failure: Failure,
    ) -> Result<After, Over> {
        self.log_failure(&failure);
        self.board.error(Some(failure));
        self.pause_here(desk, plan, document.as_mut())?;
        Ok(After::Reload)
    }
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

/// Where a paused sector may go on.
fn entrances(meta: &MetaDb, plan: &dyn Plan, document: &Document) -> Vec<Entrance> {
    let has = |which| matches!(meta.output(which), Ok(Some(_)));
    let have = Have {
        document,
        pc1: has(Output::Pc1),
        c1: has(Output::C1),
    };
    let states = plan.name().states().into_iter();
    states
        .map(|state| Entrance {
            state,
            missing: plan.lacks(state, &have),
        })
        .collect()
}
