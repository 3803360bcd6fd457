//! How a sealing thread is commanded: pause, resume, resume elsewhere, stop. What a command
//! means in which standing is a table (`decide`); `Control` is where thread and operator meet.
//!
//! A pause takes effect at the next step boundary, and at once while the thread waits, be it
//! for a processor, a message or the next sector. A running computation is never cut off.

use damocles_flow::{Finding, State};
use damocles_processor::Cancel;
use parking_lot::{Condvar, Mutex};
use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

/// No wait is longer, whatever a config says: what is longer than a year need not be exact.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a thread stands towards its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Working,
    /// A pause was asked for and has not taken effect.
    PauseAsked,
    Paused,
    /// The daemon is stopping.
    Stopping,
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Pause,
    Resume,
    ResumeAt(State),
}

/// What is to be done about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    AskForPause,
    /// The pause that was asked for is not wanted any more.
    WithdrawPause,
    /// Go on, in another state if one is given.
    Continue(Option<State>),
}

/// Why a command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a pause was asked for already; it takes effect when the running step ends")]
    PauseAskedAlready,
    #[error("the thread is paused already")]
    PausedAlready,
    #[error("the thread is not paused")]
    NotPaused,
    #[error("the pause has not taken effect yet, so the state cannot be changed")]
    StillRunning,
    #[error("the worker is stopping")]
    Stopping,
    #[error("{state} is not a state of this thread's plan; its states are {}", names(.known))]
    ForeignState { state: State, known: Vec<State> },
    #[error("the sector cannot go on from {state}: {why}")]
    Closed { state: State, why: Closed },
    #[error("no sector is at work, so there is no state to go on from")]
    NoSector,
}

fn names(states: &[State]) -> String {
    let names: Vec<_> = states.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Why a sector cannot go on from a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("a sector has been allocated already (give it up with Aborted)")]
    Begun,
    #[error("{} is missing", .0.words())]
    Lacks(Finding),
    #[error(
        "its precommit was sent, and the chain takes no other replica of it; go on from PC2Done or a later state, or give it up with Aborted"
    )]
    Precommitted,
}

/// A state in which a paused thread may go on, or why it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrance {
    pub state: State,
    pub closed: Option<Closed>,
}

/// The table of commands. `entrances` are the states of the plan (none: no sector is at work).
pub fn decide(
    standing: Standing,
    command: Command,
    entrances: &[Entrance],
) -> Result<Action, Refused> {
    match (standing, command) {
        (Standing::Working, Command::Pause) => Ok(Action::AskForPause),
        (Standing::PauseAsked, Command::Pause) => Err(Refused::PauseAskedAlready),
        (Standing::Paused, Command::Pause) => Err(Refused::PausedAlready),
        (Standing::Working, Command::Resume | Command::ResumeAt(_)) => Err(Refused::NotPaused),
        (Standing::PauseAsked, Command::Resume) => Ok(Action::WithdrawPause),
        (Standing::PauseAsked, Command::ResumeAt(_)) => Err(Refused::StillRunning),
        (Standing::Paused, Command::Resume) => Ok(Action::Continue(None)),
        (Standing::Paused, Command::ResumeAt(state)) => {
            if entrances.is_empty() {
                return Err(Refused::NoSector);
            }
            match entrances.iter().find(|e| e.state == state) {
                Some(Entrance { closed: None, .. }) => Ok(Action::Continue(Some(state))),
                Some(Entrance {
                    closed: Some(why), ..
                }) => Err(Refused::Closed { state, why: *why }),
                None => Err(Refused::ForeignState {
                    state,
                    known: entrances.iter().map(|e| e.state).collect(),
                }),
            }
        }
        (Standing::Stopping, Command::Pause | Command::Resume | Command::ResumeAt(_)) => {
            Err(Refused::Stopping)
        }
    }
}

/// Why a thread stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// An operator wants it; he may have changed his mind meanwhile.
    Asked,
    /// Something failed, and a person must look.
    Failed,
}

/// Why a wait ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    Pause,
    Stop,
}

#[derive(Debug)]
struct Inner {
    standing: Standing,
    entrances: Vec<Entrance>,
    resume_at: Option<State>,
    /// Why the sector is given up.
    reason: Option<String>,
    /// The next wait, or the one that is on, ends at once.
    nudged: bool,
    /// Calls off the task that the thread waits for.
    cancel: Option<Cancel>,
}

/// The meeting place of a thread and its operator.
#[derive(Debug)]
pub struct Control {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                standing: Standing::Working,
                entrances: Vec::new(),
                resume_at: None,
                reason: None,
                nudged: false,
                cancel: None,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Inner {
    fn interrupt(&self) -> Option<Interrupt> {
        match self.standing {
            Standing::Working => None,
            Standing::PauseAsked | Standing::Paused => Some(Interrupt::Pause),
            Standing::Stopping => Some(Interrupt::Stop),
        }
    }

    fn call_off(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.cancel();
        }
    }
}

impl Control {
    /// The operator's side: obeys or says why not.
    pub fn command(&self, command: Command) -> Result<Action, Refused> {
        let mut inner = self.inner.lock();
        let action = decide(inner.standing, command, &inner.entrances)?;
        match action {
            Action::AskForPause => {
                inner.standing = Standing::PauseAsked;
                inner.call_off();
            }
            Action::WithdrawPause => inner.standing = Standing::Working,
            Action::Continue(state) => {
                inner.standing = Standing::Working;
                inner.resume_at = state;
            }
        }
        drop(inner);
        self.changed.notify_all();
        Ok(action)
    }

    /// A person gives the paused sector up, and says why.
    pub fn abort(&self, reason: String) -> Result<Action, Refused> {
        let mut inner = self.inner.lock();
        let to = Command::ResumeAt(State::Aborted);
        let action = decide(inner.standing, to, &inner.entrances)?;
        (inner.standing, inner.resume_at) = (Standing::Working, Some(State::Aborted));
        inner.reason = Some(reason);
        drop(inner);
        self.changed.notify_all();
        Ok(action)
    }

    /// What the person said who let the thread go on.
    pub fn take_reason(&self) -> Option<String> {
        self.inner.lock().reason.take()
    }

    /// The daemon stops; for good.
    pub fn stop(&self) {
        let mut inner = self.inner.lock();
        inner.standing = Standing::Stopping;
        inner.call_off();
        drop(inner);
        self.changed.notify_all();
    }

    /// Something has changed that a waiting thread should look at. `leave_off`: what it stands in a
    /// queue for is not wanted any more; a running computation goes on.
    pub fn nudge(&self, leave_off: bool) {
        let mut inner = self.inner.lock();
        inner.nudged = true;
        if leave_off {
            inner.call_off();
        }
        drop(inner);
        self.changed.notify_all();
    }

    pub fn standing(&self) -> Standing {
        self.inner.lock().standing
    }

    /// The thread's side: whether it should leave off now.
    pub fn interrupt(&self) -> Option<Interrupt> {
        self.inner.lock().interrupt()
    }

    /// Waits, unless interrupted. A nudge ends it early.
    pub fn wait(&self, duration: Duration) -> Result<(), Interrupt> {
        let until = Instant::now() + duration.min(LONGEST_WAIT);
        let mut inner = self.inner.lock();
        loop {
            if let Some(interrupt) = inner.interrupt() {
                return Err(interrupt);
            }
            if std::mem::take(&mut inner.nudged) {
                return Ok(());
            }
            if self.changed.wait_until(&mut inner, until).timed_out() {
                return inner.interrupt().map_or(Ok(()), Err);
            }
        }
    }

    /// Waits about that long: a tenth shorter to a tenth longer, so that the threads of many
    /// workers do not ask all at once.
    pub fn wait_about(&self, duration: Duration) -> Result<(), Interrupt> {
        // a hasher with fresh keys is the house's dice where nothing secret is at stake
        self.wait(about(duration, RandomState::new().hash_one(0)))
    }

    /// Whether the daemon begins to stop within that time.
    pub fn stops_within(&self, duration: Duration) -> bool {
        let mut inner = self.inner.lock();
        let stopping = |inner: &mut Inner| inner.standing != Standing::Stopping;
        let until = Instant::now() + duration;
        self.changed.wait_while_until(&mut inner, stopping, until);
        inner.standing == Standing::Stopping
    }

    /// A token that a pause or stop calls off; for the next task only.
    pub fn cancel(&self) -> Cancel {
        let cancel = Cancel::new();
        let mut inner = self.inner.lock();
        if inner.interrupt().is_some() {
            cancel.cancel();
        } else {
            inner.cancel = Some(cancel.clone());
        }
        cancel
    }

    /// Stands still until resumed (with the state to go on from, if another) or stopped. A
    /// pause that was asked for and withdrawn before the thread came here is none.
    pub fn stay_paused(
        &self,
        because: Because,
        entrances: Vec<Entrance>,
    ) -> Result<Option<State>, Interrupt> {
        let mut inner = self.inner.lock();
        match (inner.standing, because) {
            (Standing::Working, Because::Asked) => return Ok(None),
            (Standing::Working | Standing::PauseAsked | Standing::Paused, _) => {
                inner.standing = Standing::Paused;
            }
            (Standing::Stopping, _) => {}
        }
        inner.entrances = entrances;
        (inner.resume_at, inner.reason) = (None, None);
        self.changed
            .wait_while(&mut inner, |i| i.standing == Standing::Paused);
        match inner.standing {
            Standing::Stopping => Err(Interrupt::Stop),
            Standing::Working | Standing::PauseAsked | Standing::Paused => {
                Ok(inner.resume_at.take())
            }
        }
    }
}

/// A duration within a tenth of the given one; `dice` decides.
fn about(duration: Duration, dice: u64) -> Duration {
    let percent = 90 + u32::try_from(dice % 21).unwrap_or_default();
    (duration / 100).saturating_mul(percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};

    #[test]
    fn waits_differ_a_little() {
        let hour = Duration::from_secs(3600);
        let waits: Vec<_> = (0..21).map(|dice| about(hour, dice)).collect();
        assert!(waits.iter().all(|w| (*w).abs_diff(hour) <= hour / 10));
        assert_eq!(waits.iter().min(), Some(&(hour / 10 * 9)));
        assert_eq!(waits.iter().max(), Some(&(hour / 10 * 11)));
        assert!(about(Duration::MAX, 20) > Duration::from_secs(u64::MAX / 100));
    }

    #[test]
    fn a_pause_that_was_withdrawn_before_it_took_effect_is_none() {
        let control = Control::default();
        control.command(Command::Pause).unwrap();
        // the thread has seen it, and is on its way to stand still
        assert_eq!(control.interrupt(), Some(Interrupt::Pause));
        assert_eq!(control.command(Command::Resume), Ok(Action::WithdrawPause));
        assert_eq!(control.stay_paused(Because::Asked, Vec::new()), Ok(None));
        assert_eq!(control.standing(), Standing::Working);
    }

    #[test]
    fn every_command_in_every_standing() {
        use Command::{Pause, Resume, ResumeAt};
        use Standing::{PauseAsked, Paused, Stopping, Working};
        let entrances = [
            Entrance {
                state: State::TreeDBuilt,
                closed: None,
            },
            Entrance {
                state: State::C1Done,
                closed: Some(Closed::Lacks(Finding::C1)),
            },
        ];
        let known = vec![State::TreeDBuilt, State::C1Done];
        let at = ResumeAt(State::TreeDBuilt);
        for (standing, command, expected) in [
            (Working, Pause, Ok(Action::AskForPause)),
            (Working, Resume, Err(Refused::NotPaused)),
            (Working, at, Err(Refused::NotPaused)),
            (PauseAsked, Pause, Err(Refused::PauseAskedAlready)),
            (PauseAsked, Resume, Ok(Action::WithdrawPause)),
            (PauseAsked, at, Err(Refused::StillRunning)),
            (Paused, Pause, Err(Refused::PausedAlready)),
            (Paused, Resume, Ok(Action::Continue(None))),
            (Paused, at, Ok(Action::Continue(Some(State::TreeDBuilt)))),
            (
                Paused,
                ResumeAt(State::C1Done),
                Err(Refused::Closed {
                    state: State::C1Done,
                    why: Closed::Lacks(Finding::C1),
                }),
            ),
            (
                Paused,
                ResumeAt(State::Unsealed),
                Err(Refused::ForeignState {
                    state: State::Unsealed,
                    known,
                }),
            ),
            (Stopping, Pause, Err(Refused::Stopping)),
            (Stopping, Resume, Err(Refused::Stopping)),
            (Stopping, at, Err(Refused::Stopping)),
        ] {
            assert_eq!(
                decide(standing, command, &entrances),
                expected,
                "{standing:?} {command:?}"
            );
        }
        assert_eq!(decide(Paused, at, &[]), Err(Refused::NoSector));
    }

    #[test]
    fn a_pause_ends_a_wait_and_a_resume_ends_the_pause() {
        let control = Arc::new(Control::default());
        let waiting = Arc::clone(&control);
        let thread = thread::spawn(move || {
            let first = waiting.wait(Duration::from_secs(600));
            let entrances = vec![Entrance {
                state: State::Allocated,
                closed: None,
            }];
            let resumed = waiting.stay_paused(Because::Asked, entrances);
            (first, resumed)
        });
        control.command(Command::Pause).unwrap();
        let begun = Instant::now();
        while control.standing() != Standing::Paused {
            assert!(begun.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
        control
            .command(Command::ResumeAt(State::Allocated))
            .unwrap();
        let (first, resumed) = thread.join().unwrap();
        assert_eq!(first, Err(Interrupt::Pause));
        assert_eq!(resumed, Ok(Some(State::Allocated)));
        assert_eq!(control.standing(), Standing::Working);
    }

    #[test]
    fn only_a_paused_sector_is_given_up_and_its_reason_is_for_that_pause() {
        let control = Control::default();
        assert_eq!(control.abort("x".into()), Err(Refused::NotPaused));
        assert_eq!(control.take_reason(), None);
        let control = Arc::new(control);
        let paused = Arc::clone(&control);
        let entrances = vec![Entrance {
            state: State::Aborted,
            closed: None,
        }];
        let thread = thread::spawn(move || paused.stay_paused(Because::Failed, entrances));
        let begun = Instant::now();
        while control.standing() != Standing::Paused {
            assert!(begun.elapsed() < Duration::from_secs(60));
            thread::yield_now();
        }
        let to = Action::Continue(Some(State::Aborted));
        assert_eq!(control.abort("its disk fails".into()), Ok(to));
        assert_eq!(thread.join().unwrap(), Ok(Some(State::Aborted)));
        assert_eq!(control.take_reason().as_deref(), Some("its disk fails"));
        assert_eq!(control.take_reason(), None);
    }

    #[test]
    fn a_nudge_ends_one_wait_also_one_that_begins_later() {
        let control = Control::default();
        let cancel = control.cancel();
        control.nudge(false);
        assert_eq!(control.wait(Duration::from_secs(600)), Ok(()));
        assert!(!cancel.is_cancelled());
        assert_eq!(control.wait(Duration::ZERO), Ok(()));
        control.nudge(true);
        assert!(cancel.is_cancelled(), "what it stands in a queue for");
        assert_eq!(control.interrupt(), None, "it goes on");
    }

    #[test]
    fn stopping_is_final_and_calls_off_what_is_waited_for() {
        let control = Control::default();
        let cancel = control.cancel();
        control.stop();
        assert!(cancel.is_cancelled() && control.cancel().is_cancelled());
        assert_eq!(control.wait(Duration::from_secs(600)), Err(Interrupt::Stop));
        for because in [Because::Asked, Because::Failed] {
            assert_eq!(
                control.stay_paused(because, Vec::new()),
                Err(Interrupt::Stop)
            );
        }
    }
}
