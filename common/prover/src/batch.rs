//! The proofs of several partitions of one circuit, which overlap as far as their memory may: while
//! one is proven by all threads, the circuits of others are synthesised, each by one thread. So no
//! core waits for a synthesis, nor for the last part of a sum.
//!
//! # Memory
//! A partition is held from its synthesis to its proof. How many are, and how many of them are
//! proven at a time, is decided before the first begins ([`Need::plan`]): never more than fit below a
//! ceiling, and where nothing can overlap (one thread, one partition), one.

use crate::{
    parameters::Parameters,
    prove::{Blinding, NoProof, prove},
    run::Run,
    synthesis::{Circuit, Witness},
};
use bellperson::{SynthesisError, groth16::Proof};
use blstrs::{Bls12, Scalar};
use damocles_kernels::{cpu::Cpu, crew::share};
use std::{
    num::NonZeroUsize,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Scalars that a sum sorts at a time.
const ROUND: u64 = 1 << 22;
/// What a thread takes at most: its buckets in G2 and an index for each scalar of a round.
const THREAD: u64 = 48 << 20;
/// How many are proven at a time: with a second one no thread waits for the end of the other's parts,
/// and a third has nothing to add to that.
const PROVEN: usize = 2;

/// How large a circuit is, as its parameters tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Constraints. The parameters do not tell how many there are, only the next power of two.
    pub constraints: u64,
    /// The next power of two.
    pub domain: u64,
    pub variables: u64,
    /// Variables that occur on the left, and on the right.
    pub left: u64,
    pub right: u64,
    /// Whether it is put together out of parts that are synthesised side by side: until they are in
    /// their place, the witness is there twice.
    pub in_parts: bool,
}

impl Size {
    pub fn of(parameters: &Parameters, in_parts: bool) -> Self {
        let domain = parameters.h.len() as u64 + 1;
        Self {
            constraints: domain,
            domain,
            variables: parameters.l.len() as u64,
            left: parameters.a.len() as u64,
            right: parameters.b_g1.len() as u64,
            in_parts,
        }
    }
}

/// What the proof of a partition takes beside the parameters, in bytes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// From the beginning of its synthesis to the end of its proof.
    pub held: u64,
    /// Besides, as long as it is proven.
    pub proven: u64,
}

impl Need {
    /// Of a circuit, by so many threads.
    ///
    /// With m constraints in a domain of n, v variables, of which w occur on the side that has more:
    /// * the witness is 32 bytes for each of three sides of a constraint, and 34 for a variable, its value
    ///   and two marks: 96 m + 34 v;
    /// * during the sums over it, the scalars of one side are there once more, and 36 bytes for each
    ///   scalar of a round (4 million) that is not 0 or 1;
    /// * during h all is gone but the sides, and of these the first when the second is transformed:
    ///   64 m + 92.5 n (see [`Domain::quotient`](crate::fft::Domain::quotient));
    /// * a thread takes 48 MiB.
    pub fn of(size: Size, threads: NonZeroUsize) -> Self {
        let Size {
            constraints: m,
            domain: n,
            variables: v,
            ..
        } = size;
        let witness = 96 * m + 34 * v;
        let sums = witness + 32 * size.left.max(size.right) + 36 * v.min(ROUND);
        let h = 64 * m + 185 * n / 2;
        Self {
            held: if size.in_parts { 2 * witness } else { witness },
            proven: sums.max(h) - witness + THREAD * threads.get() as u64,
        }
    }

    /// What one partition takes.
    pub fn alone(&self) -> u64 {
        self.held + self.proven
    }

    /// How so many partitions are proven below a ceiling; none where not even one fits.
    pub fn plan(&self, partitions: usize, threads: NonZeroUsize, ceiling: u64) -> Option<Plan> {
        let left = ceiling.checked_sub(self.alone())?;
        let more = usize::try_from(left / self.held.max(1)).unwrap_or(usize::MAX);
        // what cannot be synthesised at the same time need not be there at the same time
        let wanted = partitions.min(threads.get());
        let held = more.saturating_add(1).min(wanted).max(1);
        let left = left - self.held * (held as u64 - 1);
        let proven = if held > 1 && left >= self.proven {
            PROVEN
        } else {
            1
        };
        Some(Plan {
            held,
            proven,
            bytes: held as u64 * self.held + proven as u64 * self.proven,
        })
    }
}

/// How partitions overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// So many are there at a time, at most.
    pub held: usize,
    /// So many of these are proven at a time, at most.
    pub proven: usize,
    /// What that takes, at most.
    pub bytes: u64,
}

impl Plan {
    /// One partition after the other, whatever it takes.
    pub fn one_by_one(need: &Need) -> Self {
        Self {
            held: 1,
            proven: 1,
            bytes: need.alone(),
        }
    }
}

/// What happens to the partition of that number, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Synthesis(usize),
    Proof(usize),
    Done(usize),
}

/// Proves partitions, by all threads of the run. `blinding` gives that of a proof, `told` hears from any
/// thread what begins and ends.
///
/// # Errors
/// The first one of a circuit or a proof; what else is in work is brought to its end.
pub fn prove_all<C, E>(
    cpu: Cpu,
    circuits: impl ExactSizeIterator<Item = Result<C, E>> + Send,
    parameters: &Parameters,
    plan: Plan,
    run: Run<'_>,
    blinding: impl Fn() -> Blinding + Sync,
    told: impl Fn(Step) + Sync,
) -> Result<Vec<Proof<Bls12>>, E>
where
    C: Circuit<Scalar>,
    E: From<SynthesisError> + From<NoProof> + Send,
{
    let count = circuits.len();
    let circuits = Mutex::new(circuits.enumerate());
    let made = Mutex::new(vec![None; count]);
    let gate = Gate::of(plan.proven);
    let held = NonZeroUsize::new(plan.held).unwrap_or(NonZeroUsize::MIN);
    share(count as u64, held, run.cancel, |turns| {
        while turns.take().map_err(NoProof::from)?.is_some() {
            let Some((number, circuit)) = locked(&circuits).next() else {
                break;
            };
            told(Step::Synthesis(number));
            let witness = Witness::of(circuit?)?;
            let passed = gate.pass();
            told(Step::Proof(number));
            let proof = prove(cpu, witness, parameters, blinding(), run)?;
            told(Step::Done(number));
            drop(passed);
            locked(&made)[number] = Some(proof);
        }
        Ok::<(), E>(())
    })?;
    let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(made.into_iter().flatten().collect())
}

/// What a panic of another has left is whole: nothing panics while it is held.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets so many through at a time.
struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One that is let through, until it is dropped.
struct Passed<'a>(&'a Gate);

impl Gate {
    fn of(places: usize) -> Self {
        Self {
            free: Mutex::new(places.max(1)),
            freed: Condvar::new(),
        }
    }

    fn pass(&self) -> Passed<'_> {
        let mut free = locked(&self.free);
        while *free == 0 {
            free = self
                .freed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Passed(self)
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        *locked(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod measure;
