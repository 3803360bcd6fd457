//! A multiexponentiation whatever its points are made of: what is added plainly, what in windows,
//! and by whom.

use super::digits::{Sorted, Windows};
use crate::run::Run;
use damocles_kernels::{
    crew::{Cancelled, share},
    field::limbs::Words,
};
use group::Group;
use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Scalars of one round. More would need more memory, and would not be faster.
const ROUND: usize = 1 << 22;

/// A thread that sums points.
pub(super) trait Sums {
    type Sum: Group + Send;
    /// The sum of points by their indices.
    fn plain(&mut self, indices: &[u32]) -> Self::Sum;
    /// Σ digit × (sum of the points that have it), of the points as `sort` sorts them.
    fn window(&mut self, sort: impl FnOnce(&mut Sorted)) -> Self::Sum;
}

/// A part of the work.
#[derive(Clone, Debug)]
enum Part {
    /// So many of the points whose scalar is 1.
    Ones(Range<usize>),
    /// A window of so many of the others.
    Window(usize, Range<usize>),
}

/// The scalars of a round, by what they need.
#[derive(Debug, Default)]
struct Round {
    ones: Vec<u32>,
    names: Vec<u32>,
    others: Vec<Words>,
}

/// Σ scalar × point. `infinite` names the points at infinity, in order, where those that sum
/// cannot have them; a bucket costs `bucket` times what a point costs; `begin` makes a thread's
/// memory.
pub(super) fn multiexp<S: Sums>(
    scalars: &[Words],
    infinite: &[u32],
    bucket: usize,
    run: Run<'_>,
    begin: impl Fn() -> S + Sync,
) -> Result<S::Sum, Cancelled> {
    let mut sum = S::Sum::identity();
    for (number, scalars) in scalars.chunks(ROUND).enumerate() {
        let round = Round::new(number * ROUND, scalars, infinite);
        sum += round.sum(bucket, run, &begin)?;
    }
    Ok(sum)
}

impl Round {
    fn new(begin: usize, scalars: &[Words], infinite: &[u32]) -> Self {
        let mut round = Self::default();
        let mut infinite = infinite.iter().skip_while(|i| (**i as usize) < begin);
        let mut next = infinite.next();
        for (name, scalar) in (begin as u32..).zip(scalars) {
            if next == Some(&name) {
                next = infinite.next();
                continue;
            }
            match scalar {
                [0, 0, 0, 0] => {}
                [1, 0, 0, 0] => round.ones.push(name),
                _ => {
                    round.names.push(name);
                    round.others.push(*scalar);
                }
            }
        }
        round
    }

    fn sum<S: Sums>(
        mut self,
        bucket: usize,
        run: Run<'_>,
        begin: &(impl Fn() -> S + Sync),
    ) -> Result<S::Sum, Cancelled> {
        let windows = Windows::for_points(self.others.len(), bucket);
        windows.prepared(&mut self.others);
        let parts = self.parts(windows, run.threads.get());
        let sums = Mutex::new(vec![S::Sum::identity(); windows.count()]);
        share(parts.len() as u64, run.threads, run.cancel, |turns| {
            let mut summing = begin();
            while let Some(turn) = turns.take()? {
                let (window, sum) = match &parts[turn as usize] {
                    Part::Ones(range) => (0, summing.plain(&self.ones[range.clone()])),
                    Part::Window(window, range) => {
                        let sum = summing.window(|sorted| {
                            let (names, others) = (&self.names, &self.others);
                            sorted.sort(windows, *window, others, names, range.clone());
                        });
                        (*window, sum)
                    }
                };
                sums.lock().unwrap_or_else(PoisonError::into_inner)[window] += sum;
            }
            Ok(())
        })?;
        let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut total = S::Sum::identity();
        for sum in sums.iter().rev() {
            for _ in 0..windows.bits() {
                total = total.double();
            }
            total += sum;
        }
        Ok(total)
    }

    /// The largest first, so that nobody waits long for the last.
    fn parts(&self, windows: Windows, threads: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let pieces = threads.div_ceil(windows.count());
        for window in (0..windows.count()).rev() {
            let ranges = pieces_of(self.others.len(), pieces);
            parts.extend(ranges.map(|range| Part::Window(window, range)));
        }
        parts.extend(pieces_of(self.ones.len(), threads).map(Part::Ones));
        parts
    }
}

/// So many ranges of about the same length, without empty ones.
fn pieces_of(count: usize, pieces: usize) -> impl Iterator<Item = Range<usize>> {
    let length = count.div_ceil(pieces).max(1);
    (0..count)
        .step_by(length)
        .map(move |begin| begin..(begin + length).min(count))
}
