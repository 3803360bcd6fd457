//! The one loop: do the step of the state → ask the table what follows → write state, output
//! and timeline in one synced batch → look whether to pause or stop → again. The manager is told
//! by another thread.
//!
//! Nothing comes between the end of a step and its batch (law 1). Whatever kills the daemon
//! costs at most the step that was running.

use super::{
    drain::DRAINING,
    post_job::Prover,
    thread::{After, Course, Desk, Engine, Over},
};
use crate::{
    config::HotFile,
    control::{Because, Interrupt},
    document::Document,
    draining::{Fate, fate},
    event::Event,
    plans::{self, Heard, Step, Stop},
    view::Doing,
};
use damocles_api::timeline::{Ending, TimelineEntry};
use damocles_flow::State;
use damocles_types::{Failure, Level};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tracing::span::EnteredSpan;

/// How a round ended.
enum Round {
    /// The sector is done with.
    Rest,
    /// There was no work to be had.
    Idle,
    /// Paused and resumed: begin anew, since settings and document may have changed.
    Again,
}

/// A step that has ended.
struct Attempt {
    /// `Ok(None)`: the sector's end has been told, and it may be cleared.
    result: Result<Option<Event>, Stop>,
    entry: TimelineEntry,
    amended: Option<Document>,
    heard: Heard,
}

/// Every line that is logged about a sector names it.
fn named(document: &Document) -> EnteredSpan {
    tracing::info_span!("sector", id = %document.sector()).entered()
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
            if self.paused(Because::Failed, Vec::new()).is_err() {
                return;
            }
        }
    }

    fn live(&self) -> Result<(), Over> {
        let (store, meta) = self.open()?;
        self.board.meta(meta.clone());
        let mut hot = HotFile::new(&store.hot_config(), &self.config);
        self.reports.due(self.config.index);
        let (mut found, mut said, mut problem) = (false, false, None);
        loop {
            let settings = self.until(|| hot.settings(&self.main.now(&self.config)).cloned())?;
            let document = self.until(|| meta.load().map_err(|e| e.failure()))?;
            let plan = document.as_ref().map(|d| d.plan);
            if document.is_none() && settings.plan.proves() {
                self.prover().round(&settings.sealing, &mut problem)?;
                continue;
            }
            let Some(plan) = plan.or_else(|| settings.plan.runs()) else {
                if !said {
                    tracing::warn!("this thread waits: {}", settings.plan.waits());
                }
                said = true;
                self.without_plan(&settings)?;
                continue;
            };
            said = false;
            let desk = Desk {
                store: &store,
                meta: &meta,
                settings: &settings,
                plan: plans::plan(plan),
            };
            if let Some(document) = document.as_ref().filter(|_| !found) {
                tracing::info!(
                    sector = %document.sector(), state = %document.state,
                    "a sector is here and goes on where it stood"
                );
            }
            found = true;
            let round = self.round(&desk, document)?;
            if let Round::Rest = round {
                self.board.sector(settings.plan, None);
                self.board.idle("resting between two sectors");
            }
            if let Round::Rest | Round::Idle = round {
                self.rest(settings.sealing.seal_interval);
            }
        }
    }

    fn prover(&self) -> Prover {
        Prover {
            manager: self.world.manager.clone(),
            pool: self.world.pool.clone(),
            attached: Arc::clone(&self.world.attached),
            control: Arc::clone(&self.control),
            board: Arc::clone(&self.board),
        }
    }

    /// From where the sector stands to its end, or to a rest.
    fn round(&self, desk: &Desk<'_>, document: Option<Document>) -> Result<Round, Over> {
        self.board.sector(desk.settings.plan, document.as_ref());
        let mut course = Course {
            document,
            open: None,
            said: None,
            waits: String::new(),
        };
        let stopped = course.document.as_ref().and_then(|d| d.stopped.clone());
        if let Some(stopped) = stopped {
            // who waits for a person does so over a restart
            let _sector = course.document.as_ref().map(named);
            self.stand(desk, &mut course, stopped.failure)?;
            return Ok(Round::Again);
        }
        let mut idle = 0;
        loop {
            let _sector = course.document.as_ref().map(named);
            match self.control.interrupt() {
                None => {}
                Some(Interrupt::Stop) => return Err(Over),
                Some(Interrupt::Pause) => {
                    self.pause_here(desk, Because::Asked, course.document.as_mut())?;
                    return Ok(Round::Again);
                }
            }
            match self.drain.to().zip(Some(course.document.as_ref())) {
                Some((_, None)) => {
                    self.board.idle(DRAINING);
                    self.rest(desk.settings.sealing.recover_interval);
                    return Ok(Round::Idle);
                }
                Some((to, Some(document))) if fate(to, document) == Fate::Stands => {
                    let words = Fate::Stands.words(document, self.world.clock.now_ms());
                    let standing = Doing::Standing(format!("draining: {words}"));
                    self.board.doing(standing);
                    self.rest(desk.settings.sealing.recover_interval);
                    continue;
                }
                Some((_, Some(_))) | None => {}
            }
            let after = match self.drop_noted(desk, &mut course)? {
                Some(after) => after,
                None => self.attempt(desk, &mut course)?,
            };
            match after {
                After::On => idle = 0,
                After::Ended => return Ok(Round::Rest),
                After::Reload => return Ok(Round::Again),
                After::Idle => {
                    idle += 1;
                    if idle > desk.settings.sealing.request_task_max_retries {
                        return Ok(Round::Idle);
                    }
                    self.rest(desk.settings.sealing.recover_interval);
                }
            }
        }
    }

    /// One attempt at the step of the state, and what follows from its end.
    fn attempt(&self, desk: &Desk<'_>, course: &mut Course) -> Result<After, Over> {
        let mut entry = self.begin_entry(desk, course);
        self.board.doing(Doing::Running(None));
        entry.started_at = None;
        entry.kernel = None;
        let Attempt {
            result,
            mut entry,
            amended,
            heard,
        } = self.step(desk, course, entry);
        if let Some(amended) = amended {
            course.document = Some(amended);
        }
        self.learn(course, &heard);
        entry.started_at.get_or_insert(entry.queued_at);
        match result {
            Ok(Some(event)) => {
                entry.ended_at = Some(self.world.clock.now_ms());
                self.advance(desk, course, event, entry)
            }
            Ok(None) => {
                entry.ended_at = Some(self.world.clock.now_ms());
                self.clear(desk, course, entry)
            }
            Err(Stop::Idle(reason)) => {
                self.board.idle(reason);
                course.open = Some(entry);
                Ok(After::Idle)
            }
            Err(Stop::NotNow(failure)) => {
                if course.waits != failure.message {
                    self.world.figures.not_now(&entry);
                }
                course.open = Some(entry);
                self.wait_for(desk, course, failure);
                Ok(After::On)
            }
            Err(Stop::Drop { word, said }) => self.drop_asked(desk, course, (word, said), entry),
            Err(Stop::Interrupted(_)) => {
                entry.ended_at = Some(self.world.clock.now_ms());
                entry.ending = Some(Ending::Interrupted);
                if course.document.is_some() {
                    self.note(desk, &entry);
                }
                Ok(After::On)
            }
            Err(Stop::Failed(failure)) => {
                if let Some(document) = course.document.as_mut()
                    && failure.level == Level::Temporary
                    && heard.polled_well
                {
                    document.tries = 0;
                }
                self.failed(desk, course, failure, entry)
            }
        }
    }

    /// What the step depends on is not there: shown, said once, and waited for.
    fn wait_for(&self, desk: &Desk<'_>, course: &mut Course, what: Failure) {
        if course.waits != what.message {
            let hint = what.hint.as_deref();
            tracing::warn!(hint, "waiting: {}", what.message);
            course.waits.clone_from(&what.message);
        }
        self.board.doing(Doing::Waiting(what.message.clone()));
        // where a person can do something it is shown as what is wrong, too
        self.board.error(Some(what).filter(|f| f.hint.is_some()));
        self.rest(desk.settings.sealing.recover_interval);
    }

    fn step(&self, desk: &Desk<'_>, course: &Course, entry: TimelineEntry) -> Attempt {
        let (state, document) = (course.state(), course.document.as_ref());
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
            heard: Heard::default(),
        };
        let done = catch_unwind(AssertUnwindSafe(|| match (state, document) {
            (State::Finished | State::Aborted, Some(document)) => {
                self.tell_end(document).map(|()| None)
            }
            _ => desk.plan.step(state, &mut step).map(Some),
        }));
        let result = done.unwrap_or_else(|_| {
            Err(Stop::Failed(
                Failure::critical(format!("the step of {state} panicked"))
                    .hint("see the log for where, report it, then resume the thread"),
            ))
        });
        Attempt {
            result,
            entry: step.entry,
            amended: step.amended,
            heard: step.heard,
        }
    }
}
