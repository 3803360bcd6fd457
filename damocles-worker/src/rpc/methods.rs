//! What each method does. What a caller may is decided before.

use crate::{
    config::ThreadPlan,
    control::{Command, Control, Refused, Standing},
    disks::Disks,
    draining::{DrainTo, Fate, Order},
    stores::look,
    threads::drain::Drain,
    view::Board,
};
use damocles_api::{
    code::error,
    timeline::TimelineEntry,
    worker::{ChildInfo, DiskInfo, Draining, StageInfo, ThreadInfo, WorkerServer},
};
use damocles_daemon::{
    build,
    clock::{Clock, SystemClock},
};
use damocles_flow::State as SectorState;
use damocles_processor::{
    Pool,
    parent::{ChildView, Phase, StageView},
};
use damocles_types::shown;
use jsonrpsee::{
    core::{RpcResult, async_trait},
    types::{
        ErrorObjectOwned,
        error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
    },
};
use std::{fmt, path::PathBuf, sync::Arc};
use strum::IntoEnumIterator;

/// Of a person's reason so many characters are kept.
const LONGEST_REASON: usize = 500;

/// A sealing thread as operators reach it.
#[derive(Clone, Debug)]
pub struct Seat {
    pub control: Arc<Control>,
    pub board: Arc<Board>,
}

impl Seat {
    /// The thread as lists show it.
    fn info(&self, drains: Option<DrainTo>) -> ThreadInfo {
        let draining = drains.and_then(|to| self.board.draining(to, SystemClock.now_ms()));
        ThreadInfo {
            pause_asked: self.control.standing() == Standing::PauseAsked,
            draining,
            ..self.board.info()
        }
    }
}

/// The methods.
#[derive(Clone, Debug)]
pub struct WorkerRpc {
    pub seats: Arc<Vec<Seat>>,
    pub drain: Drain,
    /// None: nothing computes here.
    pub pool: Option<Pool>,
    pub disks: Option<Disks>,
}

impl WorkerRpc {
    fn threads(&self) -> Vec<ThreadInfo> {
        let drains = self.drain.to();
        self.seats.iter().map(|seat| seat.info(drains)).collect()
    }

    /// Written down, then told: whoever is to stand leaves the queue that it stands in, and whoever
    /// stands goes on.
    async fn order(&self, order: Order) -> Result<(), ErrorObjectOwned> {
        let databases: Vec<_> = self
            .seats
            .iter()
            .filter_map(|s| s.board.database())
            .collect();
        let drain = self.drain.clone();
        let failed = |e: &dyn fmt::Display| error(INTERNAL_ERROR_CODE, e);
        tokio::task::spawn_blocking(move || drain.order(order, &databases))
            .await
            .map_err(|e| failed(&e))?
            .map_err(|e| failed(&e))?;
        match order.to {
            Some(to) => tracing::info!("asked for: draining, sectors go on to: {to}"),
            None => tracing::info!("asked for: draining no more"),
        }
        for seat in self.seats.iter() {
            let fate = order.to.and_then(|to| seat.board.fate(to));
            seat.control.nudge(fate == Some(Fate::Stands));
        }
        for thread in self.threads() {
            if let (Some(sector), Some(Draining { fate, .. })) = (thread.job_id, thread.draining) {
                tracing::info!(index = thread.index, sector, "draining: {fate}");
            }
        }
        Ok(())
    }

    /// By the index that the list shows: the position in the config file.
    fn seat(&self, index: u64) -> Result<&Seat, ErrorObjectOwned> {
        let found = self.seats.iter().find(|s| s.board.index() as u64 == index);
        found.ok_or_else(|| {
            let last = self.seats.last().map_or(0, |s| s.board.index());
            error(
                INVALID_PARAMS_CODE,
                format!("thread #{index} not found; there are #0 to #{last}"),
            )
        })
    }
}

#[async_trait]
impl WorkerServer for WorkerRpc {
    async fn worker_list(&self) -> RpcResult<Vec<ThreadInfo>> {
        Ok(self.threads())
    }

    async fn worker_pause(&self, index: u64) -> RpcResult<bool> {
        let asked = self.seat(index)?.control.command(Command::Pause);
        tracing::info!(index, "asked to pause: {}", told(&asked));
        Ok(asked.is_ok())
    }

    async fn worker_resume(&self, index: u64, state: Option<String>) -> RpcResult<bool> {
        let seat = self.seat(index)?;
        let command = match state.as_deref().filter(|s| !s.is_empty()) {
            None => Command::Resume,
            Some(name) => Command::ResumeAt(name.parse::<SectorState>().map_err(|_| {
                error(
                    INVALID_PARAMS_CODE,
                    format!("{name:?} is not a state; write for example PC1Done or Aborted"),
                )
            })?),
        };
        let asked = seat.control.command(command);
        tracing::info!(index, state, "asked to resume: {}", told(&asked));
        went_on(asked)
    }

    async fn worker_abort(&self, index: u64, reason: String) -> RpcResult<bool> {
        let reason = shown(reason.trim(), LONGEST_REASON).into_owned();
        if reason.is_empty() {
            return Err(error(INVALID_PARAMS_CODE, "say why the sector is given up"));
        }
        let asked = self.seat(index)?.control.abort(reason.clone());
        tracing::info!(
            index,
            reason,
            "asked to give the sector up: {}",
            told(&asked)
        );
        went_on(asked)
    }

    async fn worker_kill(&self, index: u64) -> RpcResult<bool> {
        let pid = self.seat(index)?.board.computes_in();
        let killed = pid
            .zip(self.pool.as_ref())
            .is_some_and(|(pid, pool)| pool.kill(pid, "its process was killed by the operator"));
        tracing::info!(index, pid, killed, "asked to kill what computes");
        Ok(killed)
    }

    async fn worker_drain(&self, on: bool, to: Option<String>) -> RpcResult<Vec<ThreadInfo>> {
        let to = match to.as_deref() {
            None | Some("") => DrainTo::End,
            Some(name) => name.parse::<DrainTo>().map_err(|_| {
                let all: Vec<String> = DrainTo::iter().map(|to| to.to_string()).collect();
                let all = all.join(", ");
                error(
                    INVALID_PARAMS_CODE,
                    format!("{name:?} is nowhere that a drain goes to; it goes to {all}"),
                )
            })?,
        };
        let to = on.then_some(to);
        if self.drain.to() != to {
            let order = Order {
                to,
                at: SystemClock.now_ms(),
            };
            self.order(order).await?;
        }
        let mut threads = self.threads();
        // what a thread proves is no sector in work, and is given back at a stop
        let proves = ThreadPlan::WdPost.to_string();
        threads.retain(|thread| thread.job_id.is_some() && thread.plan != proves);
        Ok(threads)
    }

    async fn worker_processors(&self) -> RpcResult<Vec<StageInfo>> {
        let stages = self.pool.as_ref().map(Pool::view).unwrap_or_default();
        Ok(stages.into_iter().map(stage_info).collect())
    }

    async fn worker_disks(&self) -> RpcResult<Vec<DiskInfo>> {
        Ok(self.disks.as_ref().map(Disks::now).unwrap_or_default())
    }

    async fn worker_dump(&self, child: String, dir: Option<String>) -> RpcResult<bool> {
        let dir = dir.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        if let Some(dir) = &dir {
            let (at, place) = (dir.clone(), dir.display());
            let look = move || look::within(look::LIMIT, &at, is_a_directory(at.clone()));
            let looked = tokio::task::spawn_blocking(look).await;
            if !looked.is_ok_and(|looked| looked.unwrap_or(false)) {
                let text = format!("{place} is not the whole path of a directory of this host");
                return Err(error(INVALID_PARAMS_CODE, text));
            }
        }
        let known = self
            .pool
            .as_ref()
            .is_some_and(|pool| pool.dump(&child, dir.clone()));
        if !known {
            let text = format!(
                "child {child:?} not found; `damocles-worker worker processors` shows them"
            );
            return Err(error(INVALID_PARAMS_CODE, text));
        }
        match &dir {
            Some(dir) => tracing::info!(
                child,
                "asked for: bad answers are kept in {}",
                dir.display()
            ),
            None => tracing::info!(child, "asked for: bad answers are kept no more"),
        }
        Ok(true)
    }

    async fn worker_version(&self) -> RpcResult<String> {
        Ok(build::version())
    }

    async fn worker_timeline(&self, index: u64) -> RpcResult<Vec<TimelineEntry>> {
        let Some(meta) = self.seat(index)?.board.database() else {
            return Ok(Vec::new());
        };
        let read = tokio::task::spawn_blocking(move || meta.timeline()).await;
        let failed = |e: &dyn fmt::Display| error(INTERNAL_ERROR_CODE, e);
        read.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
    }
}

fn is_a_directory(path: PathBuf) -> impl FnOnce() -> bool + Send + 'static {
    move || path.is_absolute() && path.is_dir()
}

fn stage_info(view: StageView) -> StageInfo {
    let child = |child: ChildView| {
        let (phase, pid, reason) = match child.phase {
            Phase::OnDemand => ("on demand", None, None),
            Phase::Starting => ("starting", None, None),
            Phase::Up { pid } => ("up", Some(pid), None),
            Phase::Down { reason } => ("down", None, Some(reason)),
            Phase::Ended { reason } => ("ended", None, Some(reason)),
        };
        ChildInfo {
            name: child.name,
            phase: phase.to_owned(),
            pid,
            reason,
            restarts: child.restarts,
            dump: child.dump.map(|dir| dir.display().to_string()),
        }
    };
    StageInfo {
        stage: view.stage.to_string(),
        waiting: view.waiting as u64,
        running: u64::from(view.running),
        children: view.children.into_iter().map(child).collect(),
    }
}

/// Whether a paused thread goes on.
fn went_on<T>(asked: Result<T, Refused>) -> RpcResult<bool> {
    match asked {
        Ok(_) => Ok(true),
        // what upstream says with a bare false
        Err(Refused::NotPaused | Refused::Stopping) => Ok(false),
        Err(refused) => Err(error(INVALID_PARAMS_CODE, refused)),
    }
}

fn told<T>(asked: &Result<T, Refused>) -> String {
    match asked {
        Ok(_) => "done".to_owned(),
        Err(refused) => refused.to_string(),
    }
}
