//! Multiexponentiation in lanes: what is added plainly, what in windows, and by whom.

use super::{
    buckets::Summing,
    digits::Windows,
    points::{Point, converted},
};
use crate::run::Run;
use blstrs::{G1Affine, G1Projective};
use damocles_kernels::{
    crew::{Cancelled, share},
    field::limbs::Words,
};
use group::{Group, prime::PrimeCurveAffine};
use std::{ops::Range, sync::Mutex};

/// Scalars of one round. More would need more memory, and would not be faster.
const ROUND: usize = 1 << 22;

#[derive(Debug)]
pub(super) struct InLanes {
    points: Vec<Point>,
    /// Those at infinity, in order: they count as if their scalars were 0.
    infinite: Vec<u32>,
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

impl InLanes {
    pub(super) fn new(points: &[G1Affine]) -> Self {
        let mut into = vec![Point::ZERO; points.len()];
        into_points(points, &mut into);
        let infinite = (0..)
            .zip(points)
            .filter(|(_, p)| bool::from(p.is_identity()));
        Self {
            points: into,
            infinite: infinite.map(|(i, _)| i).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn multiexp(
        &self,
        scalars: &[Words],
        run: Run<'_>,
    ) -> Result<G1Projective, Cancelled> {
        let mut sum = G1Projective::identity();
        for (number, scalars) in scalars.chunks(ROUND).enumerate() {
            sum += self.round(number * ROUND, scalars, run)?;
        }
        Ok(sum)
    }

    fn round(
        &self,
        begin: usize,
        scalars: &[Words],
        run: Run<'_>,
    ) -> Result<G1Projective, Cancelled> {
        let mut round = self.sorted_out(begin, scalars);
        let windows = Windows::for_points(round.others.len());
        windows.prepared(&mut round.others);
        let parts = round.parts(windows, run.threads.get());
        let sums = Mutex::new(vec![G1Projective::identity(); windows.count()]);
        share(parts.len() as u64, run.threads, run.cancel, |turns| {
            let mut summing = new_summing();
            while let Some(turn) = turns.take()? {
                let part = &parts[turn as usize];
                let sum = self.part(&mut summing, &round, windows, part);
                let window = match part {
                    Part::Ones(_) => 0,
                    Part::Window(window, _) => *window,
                };
                let mut sums = sums.lock().unwrap_or_else(|e| e.into_inner());
                sums[window] += sum;
            }
            Ok(())
        })?;
        let sums = sums.into_inner().unwrap_or_else(|e| e.into_inner());
        let mut total = G1Projective::identity();
        for sum in sums.iter().rev() {
            for _ in 0..windows.bits() {
                total = total.double();
            }
            total += sum;
        }
        Ok(total)
    }

    fn sorted_out(&self, begin: usize, scalars: &[Words]) -> Round {
        let mut round = Round::default();
        let mut infinite = self.infinite.iter().skip_while(|i| (**i as usize) < begin);
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

    #[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
    fn part(
        &self,
        summing: &mut Summing,
        round: &Round,
        windows: Windows,
        part: &Part,
    ) -> G1Projective {
        match part {
            // SAFETY: these bases exist only where the CPU has AVX-512 with IFMA
            Part::Ones(range) => unsafe { summing.plain(&self.points, &round.ones[range.clone()]) },
            Part::Window(window, range) => {
                let Round { names, others, .. } = round;
                summing
                    .sorted
                    .sort(windows, *window, others, names, range.clone());
                // SAFETY: as above
                unsafe { summing.window(&self.points) }
            }
        }
    }
}

impl Round {
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

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
fn into_points(points: &[G1Affine], into: &mut [Point]) {
    // SAFETY: `InLanes` are made only where the CPU has AVX-512 with IFMA
    unsafe { converted(points, into) }
}

#[expect(unsafe_code, reason = "the CPU has been asked what it can do")]
fn new_summing() -> Summing {
    // SAFETY: as above
    unsafe { Summing::new() }
}
