//! How much memory the proofs of a child may hold, beside the parameters that it has mapped: a
//! ceiling of which each task takes what it plans for, before it begins.
//!
//! Who has not set one gets half of what the machine and the cgroups have free when the child begins to
//! prove: a second child that begins at the same time finds the same, and there is room for both.

use super::{
    context::Context,
    free_memory::{Shown, left},
};
use crate::serve::TaskError;
use damocles_prover::batch::{Need, Plan};
use damocles_types::ByteSize;
use parking_lot::{Condvar, Mutex};
use std::{env, num::NonZeroUsize};

/// The ceiling, as `160GiB`; the environment of the child, so
/// `[[processors.c2]] envs = { DAMOCLES_PROOF_MEMORY = "160GiB" }`.
const CEILING_ENV: &str = "DAMOCLES_PROOF_MEMORY";

/// What is proven in this process together holds no more than its ceiling.
static BUDGET: Budget = Budget::new();

/// A task's partitions, and who proves them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partitions {
    /// Of one partition.
    pub(super) need: Need,
    pub(super) count: usize,
    pub(super) threads: NonZeroUsize,
    /// Bytes of mapped parameters, which are to stay where they are.
    pub(super) mapped: u64,
}

/// The memory of a process that proves.
#[derive(Debug)]
struct Budget {
    taken: Mutex<Taken>,
    freed: Condvar,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    bytes: u64,
    /// As long as anything is taken.
    ceiling: u64,
}

/// A plan, and the memory for it until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) plan: Plan,
    budget: &'static Budget,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.give_back(self.plan.bytes);
    }
}

/// Where a ceiling comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ceiling {
    /// Somebody has set it, and it holds.
    Set(u64),
    /// Half of what is free. A proof that does not fit is made all the same, alone: a deadline may
    /// wait for it, and the library would not even ask.
    Found(u64),
}

impl Ceiling {
    fn of(set: Option<&str>, shown: &Shown, mapped: u64) -> Result<Self, TaskError> {
        let Some(text) = set else {
            let free = left(shown).unwrap_or(u64::MAX);
            return Ok(Self::Found(free.saturating_sub(mapped) / 2));
        };
        text.parse()
            .map(|ByteSize(bytes)| Self::Set(bytes))
            .map_err(|error| TaskError::permanent(format!("{CEILING_ENV}: {error}")))
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Set(bytes) | Self::Found(bytes) => bytes,
        }
    }

    /// Whether one partition may be proven below it, were nothing else there.
    fn allows(self, need: &Need) -> Result<(), TaskError> {
        match self {
            Self::Set(bytes) if bytes < need.alone() => Err(TaskError::permanent(format!(
                "the proof of a partition takes {}, and {CEILING_ENV} allows {}",
                mib(need.alone()),
                ByteSize(bytes)
            ))
            .hint(format!("set {CEILING_ENV} higher, or leave it out"))),
            _ => Ok(()),
        }
    }
}

/// Takes the memory of all, or of as many as fit below the ceiling; waits for other tasks of this
/// process where they hold too much.
pub(super) fn reserve(all: &Partitions, context: &Context<'_>) -> Result<Reserved, TaskError> {
    let set = env::var(CEILING_ENV).ok();
    let ceiling = Ceiling::of(set.as_deref(), &Shown::default(), all.mapped)?;
    ceiling.allows(&all.need)?;
    let plan = BUDGET.take(all, ceiling, || {
        context.note("waiting for the memory of other proofs of this process");
    });
    let text = told(all, &plan, ceiling);
    match ceiling {
        Ceiling::Found(bytes) if bytes < plan.bytes => tracing::warn!("{text}"),
        _ => tracing::info!("{text}"),
    }
    context.note(&text);
    Ok(Reserved {
        plan,
        budget: &BUDGET,
    })
}

/// The plan in words.
fn told(all: &Partitions, plan: &Plan, ceiling: Ceiling) -> String {
    let ceiling = match ceiling {
        Ceiling::Set(bytes) => format!("the {} of {CEILING_ENV}", mib(bytes)),
        Ceiling::Found(bytes) => format!("{} (half of what was free)", mib(bytes)),
    };
    let what = match all.count {
        1 => "one partition".to_owned(),
        count => format!(
            "{count} partitions, of which {} are held and {} proven at a time",
            plan.held, plan.proven
        ),
    };
    format!("{what}: {} at most, of {ceiling}", mib(plan.bytes))
}

/// Whole MiB: bytes of a formula have many digits.
fn mib(bytes: u64) -> ByteSize {
    ByteSize(bytes.next_multiple_of(1 << 20))
}

impl Budget {
    const fn new() -> Self {
        Self {
            taken: Mutex::new(Taken {
                bytes: 0,
                ceiling: 0,
            }),
            freed: Condvar::new(),
        }
    }

    /// `waits` is called once, if it must be waited for others.
    fn take(&self, all: &Partitions, ceiling: Ceiling, waits: impl FnOnce()) -> Plan {
        let mut waits = Some(waits);
        let mut taken = self.taken.lock();
        loop {
            if taken.bytes == 0 {
                taken.ceiling = ceiling.bytes();
            }
            let left = taken.ceiling.saturating_sub(taken.bytes);
            let plan = all.need.plan(all.count, all.threads, left);
            let alone = (taken.bytes == 0).then(|| Plan::one_by_one(&all.need));
            if let Some(plan) = plan.or(alone) {
                taken.bytes += plan.bytes;
                return plan;
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            self.freed.wait(&mut taken);
        }
    }

    fn give_back(&self, bytes: u64) {
        self.taken.lock().bytes -= bytes;
        self.freed.notify_all();
    }
}

#[cfg(test)]
#[path = "proof_memory_tests.rs"]
mod tests;
