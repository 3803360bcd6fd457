//! What a step has at hand: the document, the store, the manager, and children that compute.

use super::stop::{Stop, call_failed, database_failed};
use crate::{
    config::Sealing,
    control::{Control, Interrupt},
    document::{Document, Output},
    figures::Figures,
    giving_up::{Who, stranger},
    manager::{CallError, Manager},
    metadb::MetaDb,
    pieces::PieceSource,
    stores::{AttachedStores, SealingStore, SectorPaths},
    view::{Board, Doing},
};
use damocles_api::{damocles::ManagerIdentity, sector::AllocatedSector, timeline::TimelineEntry};
use damocles_daemon::clock::Clock;
use damocles_processor::{Cancel, Note, Opaque, Outcome, Pool, ProcessorError, Task};
use damocles_types::{Failure, Level, SectorId, SectorSize};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// What all threads share.
#[derive(Clone)]
pub struct World {
    pub manager: Manager,
    pub pool: Pool,
    pub attached: Arc<AttachedStores>,
    pub pieces: PieceSource,
    pub clock: Arc<dyn Clock>,
    /// Ready-made tree-d files of sectors without data.
    pub static_trees: BTreeMap<SectorSize, PathBuf>,
    pub programs: Programs,
    /// What happens is counted here.
    pub figures: Figures,
}

/// What the configured programs can do and what they leave to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// There is a program that makes synthetic proofs.
    pub synthetic: bool,
    /// PC2 may be somebody else's program, which knows nothing of `staged_file`: an
    /// interrupted run must be prepared for the next one here.
    pub foreign_pc2: bool,
}

impl World {
    /// Who the manager is that answers now; an end for a sector that another one allocated.
    pub fn same_manager(
        &self,
        document: Option<&Document>,
    ) -> Result<Option<ManagerIdentity>, Stop> {
        let now = self.manager.identity().map_err(call_failed)?;
        if let Some(document) = document
            && let Some(then) = &document.manager
            && Who::of(document, now.as_ref()) == Who::Other
        {
            let addr = self.manager.addr().to_string();
            return Err(Stop::NotNow(stranger(document.sector(), then, &addr)));
        }
        Ok(now)
    }

    pub fn static_tree(&self, size: SectorSize) -> Option<PathBuf> {
        self.static_trees.get(&size).cloned()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World({})", self.manager.addr())
    }
}

/// A step's surroundings.
#[derive(Debug)]
pub struct Step<'a> {
    pub world: &'a World,
    pub settings: &'a Sealing,
    pub store: &'a SealingStore,
    pub meta: &'a MetaDb,
    /// None only while there is no sector yet.
    pub document: Option<&'a Document>,
    pub control: &'a Control,
    pub board: &'a Board,
    /// The attempt as the timeline will have it.
    pub entry: TimelineEntry,
    /// The document as the step has written it in between, if it has.
    pub amended: Option<Document>,
    /// What was heard of the manager meanwhile.
    pub heard: Heard,
}

/// What an attempt heard of the manager before it ended.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// A poll was answered well: failures before it do not count any more.
    pub polled_well: bool,
    /// Who gave the last good answer about the sector.
    pub manager: Option<String>,
}

/// After the death of a child, so long is waited whether the daemon is to stop: who stops a whole
/// unit signals the children first.
const STOP_FOLLOWS: Duration = Duration::from_millis(500);

/// Why a task was not done: for want of the task itself, or in the pool.
enum Undone {
    Make(Stop),
    Pool(ProcessorError),
}

impl From<ProcessorError> for Undone {
    fn from(error: ProcessorError) -> Self {
        Self::Pool(error)
    }
}

impl Step<'_> {
    pub fn document(&self) -> Result<&Document, Stop> {
        self.document.ok_or_else(|| Stop::lacking("everything"))
    }

    /// The document as it is on disk now, the step's own changes included.
    pub fn latest(&self) -> Result<&Document, Stop> {
        self.amended.as_ref().map_or_else(|| self.document(), Ok)
    }

    pub fn allocated(&self) -> Result<AllocatedSector, Stop> {
        self.document().map(|d| d.allocated)
    }

    pub fn sector(&self) -> Result<SectorId, Stop> {
        self.document().map(Document::sector)
    }

    pub fn paths(&self) -> Result<SectorPaths, Stop> {
        self.sector().map(|sector| self.store.paths(sector))
    }

    /// A large output of an earlier step.
    pub fn output(&self, which: Output, name: &'static str) -> Result<Opaque, Stop> {
        let output = self.meta.output(which).map_err(database_failed)?;
        output.ok_or_else(|| Stop::lacking(name))
    }

    /// Waits, visibly, unless paused or stopped.
    pub fn wait(&self, duration: Duration, what: impl Into<String>) -> Result<(), Stop> {
        self.board.doing(Doing::Waiting(what.into()));
        let waited = self.control.wait_about(duration);
        self.board.doing(Doing::Running(None));
        Ok(waited?)
    }

    /// A call to the manager about the sector, its failure classified. Nothing is asked of a
    /// manager that has not allocated the sector: whatever it answers is about another one.
    pub fn ask<T>(
        &mut self,
        call: impl FnOnce(&Manager) -> Result<T, CallError>,
    ) -> Result<T, Stop> {
        let now = self.world.same_manager(self.document)?;
        let answer = call(&self.world.manager).map_err(call_failed)?;
        self.heard.manager = now.map(|identity| identity.database);
        // whatever was wrong before, it has answered
        self.board.error(None);
        Ok(answer)
    }

    /// The same in a loop that asks until something has happened: once it was answered well,
    /// failures before do not count any more.
    pub fn poll<T>(
        &mut self,
        call: impl FnOnce(&Manager) -> Result<T, CallError>,
    ) -> Result<T, Stop> {
        let answer = self.ask(call)?;
        self.heard.polled_well = true;
        Ok(answer)
    }

    /// Computes in a child process. A pause or stop ends the waiting for it, never the work.
    pub fn compute<T: Task>(&mut self, task: &T) -> Result<T::Output, Stop> {
        self.watched(|pool, cancel, observe| Ok(pool.run(task, cancel, observe)?))
    }

    /// The same with a task that is made when the child is ours. `make` must be quick: the
    /// child stands still meanwhile.
    pub fn compute_with<T: Task>(
        &mut self,
        make: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<T::Output, Stop> {
        let make = || make().map_err(Undone::Make);
        self.watched(|pool, cancel, observe| pool.run_with(make, cancel, observe))
    }

    fn watched<O>(
        &mut self,
        run: impl FnOnce(&Pool, &Cancel, &mut dyn FnMut(Note)) -> Result<Outcome<O>, Undone>,
    ) -> Result<O, Stop> {
        let cancel = self.control.cancel();
        let (board, clock) = (self.board, &*self.world.clock);
        let (meta, entry, has_sector) = (self.meta, &mut self.entry, self.document.is_some());
        let outcome = run(&self.world.pool, &cancel, &mut |note| match note {
            Note::Waiting(what) => board.doing(Doing::Waiting(what)),
            Note::Running { child, pid } => {
                tracing::debug!(child, pid, "handed over");
                board.doing(Doing::Running(Some(pid)));
                entry.started_at.get_or_insert_with(|| clock.now_ms());
                entry.child = Some(format!("ext(pid: {pid})"));
                if has_sector && let Err(error) = meta.note(entry) {
                    tracing::warn!("the timeline could not be written: {error}");
                }
            }
            Note::Progress(text) => {
                tracing::debug!("{text}");
                board.progress(text);
            }
            Note::Doubt(text) => {
                tracing::warn!("{text}");
                board.progress(text);
            }
            // the step's own task comes first; one that checks its output does not count
            Note::Kernel(name) => {
                entry.kernel.get_or_insert(name);
            }
        });
        board.doing(Doing::Running(None));
        match outcome {
            Ok(outcome) => Ok(outcome.output),
            Err(Undone::Make(stop)) => Err(stop),
            // a pause that was withdrawn meanwhile is no reason to stay
            Err(Undone::Pool(ProcessorError::Cancelled)) => Err(Stop::Interrupted(
                self.control.interrupt().unwrap_or(Interrupt::Pause),
            )),
            // killed with us, not before its time
            Err(Undone::Pool(ProcessorError::ChildDied { .. }))
                if self.control.stops_within(STOP_FOLLOWS) =>
            {
                Err(Stop::Interrupted(Interrupt::Stop))
            }
            Err(Undone::Pool(error)) => Err(Stop::Failed(
                error
                    .failure()
                    .unwrap_or_else(|| Failure::new(Level::Temporary, &error)),
            )),
        }
    }
}
