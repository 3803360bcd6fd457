//! The thread that watches a child: starts its process, ends it when it is idle, retired or
//! not wanted, starts it again for ever when it dies. It never waits for a process that does
//! not end when it is killed.

use crate::parent::{
    calls::Death,
    child::{Ended, Life, Process, launch},
    keeper::{Phase, Shared},
    pipes::{Event, Live},
};
use crossbeam_channel::RecvTimeoutError;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Pause before the first restart (upstream's) and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A child that lived this long starts again after the first pause.
const STEADY: Duration = Duration::from_secs(60);
/// How long a child whose stdin was closed may take to end by itself.
pub(super) const PARTING: Duration = Duration::from_secs(5);
/// How often it is asked whether the process lives.
const TICK: Duration = Duration::from_secs(1);
/// How often it is asked whether a killed process has ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long its successor waits for a killed process to give back its memory and locks.
const HANDOVER: Duration = Duration::from_secs(10);
/// So many killed processes may hang in the kernel before no more is started.
const MOST_HANGING: usize = 4;

/// The watcher's life: start, attend, reap, pause, again.
pub(super) fn watch(shared: &Arc<Shared>) {
    let mut last_will = LastWill {
        shared,
        reason: "the thread that watched it panicked".to_owned(),
    };
    last_will.reason = keep(shared);
}

/// Whoever waits for the child hears of its end even if the watcher's end is a panic.
struct LastWill<'a> {
    shared: &'a Shared,
    reason: String,
}

impl Drop for LastWill<'_> {
    fn drop(&mut self) {
        self.shared.set_ended(std::mem::take(&mut self.reason));
    }
}

/// The same for those whose tasks are in the process.
struct LastWord(Arc<Live>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let reason = "the thread that watched it panicked".to_owned();
        self.0.calls.fail(&Death { reason, hint: None });
    }
}

/// Returns why the child is not started again.
fn keep(shared: &Shared) -> String {
    let spec = &shared.spec;
    let mut pause = FIRST_PAUSE;
    let mut hanging: Vec<Ended> = Vec::new();
    loop {
        if let Some(reason) = wait_until_wanted(shared, &mut hanging) {
            return reason;
        }
        let born = Instant::now();
        let (ended, quietly) = match launch(spec, &|| shared.is_stopping()) {
            Ok(process) => {
                let LastWord(live) = &LastWord(Arc::clone(&process.live));
                shared.set_live(live);
                let (ended, wished) = attend(shared, process);
                // down first: a caller that hears of it and comes again must not get it again
                shared.set_down(&ended.death.reason, wished);
                let told = live.calls.fail(&ended.death);
                log(&spec.name, live.pid, &ended.death, wished, told);
                (ended, wished)
            }
            Err(ended) => {
                if !shared.is_stopping() {
                    tracing::warn!(child = spec.name, "not started: {}", ended.death.reason);
                }
                shared.set_down(&ended.death.reason, false);
                (ended, false)
            }
        };
        let reason = ended.death.reason.clone();
        let until = Instant::now() + HANDOVER;
        while !ended.is_over(LOOK) && Instant::now() < until {
            if shared.is_stopping() {
                return "stopped".to_owned();
            }
        }
        hanging.push(ended);
        if spec.on_demand.is_some() || (quietly && spec.auto_restart) {
            continue;
        }
        if !spec.auto_restart {
            return reason;
        }
        if born.elapsed() > STEADY {
            pause = FIRST_PAUSE;
        }
        if !shared.stops_within(pause) {
            shared.state.lock().restarts += 1;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until there is to be a process; gives a reason when there is never to be one again.
fn wait_until_wanted(shared: &Shared, hanging: &mut Vec<Ended>) -> Option<String> {
    {
        let mut state = shared.state.lock();
        if shared.spec.on_demand.is_some() {
            shared
                .changed
                .wait_while(&mut state, |s| !s.wanted && !s.stopping);
        }
    }
    loop {
        hanging.retain(|ended| !ended.is_over(Duration::ZERO));
        if shared.is_stopping() {
            return Some("stopped".to_owned());
        }
        if hanging.len() < MOST_HANGING {
            let mut state = shared.state.lock();
            state.wanted = false;
            state.phase = Phase::Starting;
            return None;
        }
        let count = hanging.len();
        let reason = format!(
            "{count} processes of it were killed and have not ended (does a disk or a file server hang?)"
        );
        shared.set_down(&reason, false);
        shared.stops_within(TICK);
    }
}

fn log(child: &str, pid: u32, death: &Death, wished: bool, told: usize) {
    let reason = &death.reason;
    match (wished, told) {
        (true, _) => tracing::debug!(child, pid, "ended: {reason}"),
        (false, 0) => tracing::warn!(child, pid, "died: {reason}"),
        // whoever had tasks in it tells of it, with the sector
        (false, _) => tracing::debug!(child, pid, "died: {reason}"),
    }
}

/// Watches a running process until it is to end, and ends it. Whether we wanted that: it was
/// idle, retired, or everything stops.
fn attend(shared: &Shared, process: Process) -> (Ended, bool) {
    let spec = &shared.spec;
    let tick = spec.on_demand.map_or(TICK, |idle| TICK.min(idle / 4));
    let mut parting: Option<Instant> = None;
    let mut stands = false;
    let why = loop {
        let wait = parting.map_or(tick, |until| {
            until.saturating_duration_since(Instant::now()).min(tick)
        });
        match process.events.recv_timeout(wait) {
            Ok(closed @ Event::Closed(_)) => {
                process.settle();
                break closed;
            }
            Ok(kill @ Event::Kill(_)) => break kill,
            Ok(Event::Ready | Event::Look) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Event::closed("its reader ended"),
        }
        match process.life() {
            Life::Over => break process.last_event(),
            Life::Stands if !stands => {
                stands = true;
                let pid = process.live.pid;
                let text = format!("process {pid} is stopped; `kill -CONT {pid}` lets it go on");
                tracing::warn!(child = spec.name, "{text}");
                process.live.calls.doubt(&text);
            }
            Life::Stands => {}
            Life::Runs => stands = false,
        }
        if let Some(until) = parting {
            if Instant::now() >= until {
                break Event::closed("it did not end when its stdin was closed");
            }
            continue;
        }
        let calls = &process.live.calls;
        let wished = if shared.is_stopping() {
            calls.close();
            true
        } else {
            calls.close_if_retired() || spec.on_demand.is_some_and(|idle| calls.close_if_idle(idle))
        };
        if wished {
            process.live.input.close();
            parting = Some(Instant::now() + PARTING);
        }
    };
    (process.end(why), parting.is_some())
}
