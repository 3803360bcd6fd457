//! Who may start now. Pure: no clock, no process, no thread; the pool asks and acts.
//!
//! One queue per stage, first come first served. A task takes the first child (in config
//! order) that is up, has a free slot and whose locks are all free; the stage's limit and its
//! spacing between starts hold as well. Child and locks are taken in one step, so nobody
//! holds one thing while waiting for another. Locks that the head of a stage's queue waits
//! for are kept for it: heads of other stages that came later do not overtake it, so a stage
//! that shares a GPU with a busier one is not starved. Stages for which a deadline of the chain
//! waits come before all others, whenever they came; what runs already is not ended for them.

use crate::kind::Stage;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// A waiting or running task.
pub type Ticket = u64;

/// What the scheduler knows of a child.
#[derive(Clone, Debug)]
pub struct ChildSlots {
    pub name: String,
    /// Tasks at once; none: no limit.
    pub capacity: Option<u32>,
    /// Indices into the lock list.
    pub locks: Vec<usize>,
}

/// What the scheduler knows of a stage.
#[derive(Clone, Debug, Default)]
pub struct StageSlots {
    pub concurrent: Option<u32>,
    pub staggered: Option<Duration>,
    pub children: Vec<ChildSlots>,
}

/// A named counting lock.
#[derive(Clone, Debug)]
pub struct Lock {
    pub name: String,
    pub holders: u32,
}

/// A task may start on this child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub ticket: Ticket,
    pub stage: Stage,
    pub child: usize,
}

/// Why the head of a queue does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Others came first.
    Turn { ahead: usize },
    /// The stage runs as many tasks as it may.
    Limit { limit: u32 },
    /// The spacing between two starts.
    Stagger { until: Instant },
    /// All children that are up are busy.
    Child,
    /// No child is up.
    NoChild,
    /// A free child needs locks that others hold or wait for.
    Lock { names: Vec<String> },
    /// The stage has no children at all.
    Unknown,
}

#[derive(Debug)]
struct ChildState {
    slots: ChildSlots,
    up: bool,
    busy: u32,
}

#[derive(Debug)]
struct StageState {
    concurrent: Option<u32>,
    staggered: Option<Duration>,
    children: Vec<ChildState>,
    running: u32,
    last_start: Option<Instant>,
    queue: VecDeque<Ticket>,
}

/// All stages with their queues, children and the locks that they share.
#[derive(Debug)]
pub struct Scheduler {
    stages: BTreeMap<Stage, StageState>,
    locks: Vec<(Lock, u32)>,
    running: BTreeMap<Ticket, (Stage, usize)>,
    next_ticket: Ticket,
}

impl Scheduler {
    pub fn new(stages: BTreeMap<Stage, StageSlots>, locks: Vec<Lock>) -> Self {
        let stages = stages
            .into_iter()
            .map(|(stage, slots)| {
                let children = slots.children.into_iter();
                let state = StageState {
                    concurrent: slots.concurrent,
                    staggered: slots.staggered,
                    children: children
                        .map(|slots| ChildState {
                            slots,
                            up: true,
                            busy: 0,
                        })
                        .collect(),
                    running: 0,
                    last_start: None,
                    queue: VecDeque::new(),
                };
                (stage, state)
            })
            .collect();
        Self {
            stages,
            locks: locks.into_iter().map(|lock| (lock, 0)).collect(),
            running: BTreeMap::new(),
            next_ticket: 1,
        }
    }

    /// Queues a task; none when the stage has no children.
    pub fn enqueue(&mut self, stage: Stage) -> Option<Ticket> {
        let state = self
            .stages
            .get_mut(&stage)
            .filter(|s| !s.children.is_empty())?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        state.queue.push_back(ticket);
        Some(ticket)
    }

    /// Takes a waiting task out of its queue; false when it does not wait (any more).
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        self.stages.values_mut().any(|state| {
            let before = state.queue.len();
            state.queue.retain(|t| *t != ticket);
            state.queue.len() < before
        })
    }

    /// Gives back what a running task held.
    pub fn finish(&mut self, ticket: Ticket) {
        let Some((stage, child)) = self.running.remove(&ticket) else {
            return;
        };
        let Some(state) = self.stages.get_mut(&stage) else {
            return;
        };
        state.running -= 1;
        state.children[child].busy -= 1;
        for lock in &state.children[child].slots.locks {
            self.locks[*lock].1 -= 1;
        }
    }

    /// A child came up or went down. A child that is down keeps what runs on it.
    pub fn set_up(&mut self, stage: Stage, child: usize, up: bool) {
        if let Some(child) = self
            .stages
            .get_mut(&stage)
            .and_then(|s| s.children.get_mut(child))
        {
            child.up = up;
        }
    }

    /// Starts everything that may start at `now`.
    pub fn start(&mut self, now: Instant) -> Vec<Start> {
        let mut started = Vec::new();
        // Heads in the order in which they came, urgent ones first. A stage that started one is
        // asked again.
        let mut kept = BTreeSet::new();
        let mut heads: BTreeSet<(bool, Ticket, Stage)> = self
            .stages
            .iter()
            .filter_map(|(stage, s)| Some((!stage.is_urgent(), *s.queue.front()?, *stage)))
            .collect();
        while let Some((later, ticket, stage)) = heads.pop_first() {
            match self.decide(stage, now, &kept) {
                Ok(child) => {
                    self.take(stage, child, ticket, now);
                    started.push(Start {
                        ticket,
                        stage,
                        child,
                    });
                    if let Some(next) = self.stages[&stage].queue.front() {
                        heads.insert((later, *next, stage));
                    }
                }
                Err((Wait::Lock { .. }, wanted)) => kept.extend(wanted),
                Err(_) => {}
            }
        }
        started
    }

    /// Waiting and running tasks of a stage.
    pub fn counts(&self, stage: Stage) -> (usize, u32) {
        self.stages
            .get(&stage)
            .map_or((0, 0), |s| (s.queue.len(), s.running))
    }

    /// When `start` may find something without anybody finishing: the end of a spacing.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.stages
            .values()
            .filter(|s| !s.queue.is_empty())
            .filter_map(|s| s.last_start?.checked_add(s.staggered?))
            .filter(|at| *at > now)
            .min()
    }

    /// What a waiting task waits for; none when it does not wait.
    pub fn waits_for(&self, ticket: Ticket, now: Instant) -> Option<Wait> {
        let (stage, state, ahead) = self.stages.iter().find_map(|(stage, state)| {
            let place = state.queue.iter().position(|t| *t == ticket)?;
            Some((*stage, state, place))
        })?;
        match self.decide(stage, now, &BTreeSet::new()) {
            _ if ahead > 0 && state.children.iter().any(|c| c.up) => Some(Wait::Turn { ahead }),
            Err((wait, _)) => Some(wait),
            // free by itself: then it is a lock that is kept for somebody who came before
            Ok(child) => Some(Wait::Lock {
                names: state.children[child]
                    .slots
                    .locks
                    .iter()
                    .map(|l| self.locks[*l].0.name.clone())
                    .collect(),
            }),
        }
    }

    /// The child on which the head of `stage` may start, or why none (and the locks it wants).
    fn decide(
        &self,
        stage: Stage,
        now: Instant,
        kept: &BTreeSet<usize>,
    ) -> Result<usize, (Wait, Vec<usize>)> {
        let no = |wait| Err((wait, Vec::new()));
        let Some(state) = self.stages.get(&stage) else {
            return no(Wait::Unknown);
        };
        if let Some(limit) = state.concurrent.filter(|limit| state.running >= *limit) {
            return no(Wait::Limit { limit });
        }
        let spaced = state
            .last_start
            .zip(state.staggered)
            .and_then(|(last, pause)| last.checked_add(pause));
        if let Some(until) = spaced.filter(|until| *until > now) {
            return no(Wait::Stagger { until });
        }
        if !state.children.iter().any(|c| c.up) {
            return no(Wait::NoChild);
        }
        let mut wanted = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        for (i, child) in state.children.iter().enumerate() {
            if !child.up
                || child
                    .slots
                    .capacity
                    .is_some_and(|capacity| child.busy >= capacity)
            {
                continue;
            }
            let missing: Vec<usize> = child
                .slots
                .locks
                .iter()
                .copied()
                .filter(|l| self.is_taken(*l, kept))
                .collect();
            if missing.is_empty() {
                free.push(i);
            } else {
                wanted.extend(child.slots.locks.iter().copied());
            }
        }
        // One with a bound is filled before the next: PC1 labels the sectors of one child in
        // step. Those without would never leave the others a task, so they take turns.
        let least_busy = free.into_iter().min_by_key(|i| {
            let child = &state.children[*i];
            child.slots.capacity.map_or(child.busy, |_| 0)
        });
        if let Some(i) = least_busy {
            return Ok(i);
        }
        if wanted.is_empty() {
            return no(Wait::Child);
        }
        wanted.sort_unstable();
        wanted.dedup();
        let names = wanted
            .iter()
            .filter(|l| self.is_taken(**l, kept))
            .map(|l| self.locks[*l].0.name.clone())
            .collect();
        Err((Wait::Lock { names }, wanted))
    }

    fn is_taken(&self, lock: usize, kept: &BTreeSet<usize>) -> bool {
        kept.contains(&lock) || self.locks[lock].1 >= self.locks[lock].0.holders
    }

    fn take(&mut self, stage: Stage, child: usize, ticket: Ticket, now: Instant) {
        let Some(state) = self.stages.get_mut(&stage) else {
            return;
        };
        state.queue.pop_front();
        state.running += 1;
        state.last_start = Some(now);
        state.children[child].busy += 1;
        for lock in &state.children[child].slots.locks {
            self.locks[*lock].1 += 1;
        }
        self.running.insert(ticket, (stage, child));
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
