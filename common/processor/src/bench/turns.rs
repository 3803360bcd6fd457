//! Two sides take turns at the same work. Which begins changes from round to round, so that
//! neither always finds the machine as the other has left it.

use std::time::Instant;

/// Rounds end when about this much time has been measured.
const BUDGET: f64 = 90.0;
/// And at the latest after so many.
const MOST: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Reference,
}

/// One run of one side.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// What computed.
    pub(super) kernel: String,
}

/// The work.
pub(super) trait Subject {
    /// Does it once. Only the work itself counts, not what goes before and after.
    fn run(&mut self, side: Side) -> anyhow::Result<Sample>;
    /// The first difference between the two sides' last results.
    fn difference(&mut self) -> anyhow::Result<Option<String>>;
}

/// The runs of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    pub(super) seconds: Vec<f64>,
    pub(super) kernel: String,
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) runs: usize,
    pub(super) median: f64,
    pub(super) iqr: f64,
}

impl Runs {
    fn add(&mut self, sample: Sample) {
        self.seconds.push(sample.seconds);
        self.kernel = sample.kernel;
    }

    /// Zeros when there was no run.
    pub(super) fn summary(&self) -> Summary {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let position = part * sorted.len().saturating_sub(1) as f64;
            let below = sorted.get(position.floor() as usize).copied();
            let above = sorted.get(position.ceil() as usize).copied();
            let (below, above) = (below.unwrap_or(0.0), above.unwrap_or(0.0));
            below + (above - below) * position.fract()
        };
        Summary {
            runs: sorted.len(),
            median: at(0.5),
            iqr: at(0.75) - at(0.25),
        }
    }
}

/// What both sides did.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) ours: Runs,
    pub(super) reference: Runs,
    pub(super) difference: Option<String>,
}

/// Runs both sides in turns, `rounds` times or as often as fits, and compares after each
/// round. Ends at the first difference.
pub(super) fn take(
    subject: &mut dyn Subject,
    rounds: Option<usize>,
    tell: &dyn Fn(String),
) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let began = Instant::now();
    let mut rounds = rounds.map(|rounds| rounds.max(1));
    let mut round = 0;
    while rounds.is_none_or(|rounds| round < rounds) {
        let order = match round % 2 {
            0 => [Side::Reference, Side::Ours],
            _ => [Side::Ours, Side::Reference],
        };
        for side in order {
            let sample = subject.run(side)?;
            tell(format!("{}: {:.3} s", sample.kernel, sample.seconds));
            match side {
                Side::Ours => found.ours.add(sample),
                Side::Reference => found.reference.add(sample),
            }
        }
        found.difference = subject.difference()?;
        if found.difference.is_some() {
            break;
        }
        round += 1;
        rounds.get_or_insert_with(|| affordable(began.elapsed().as_secs_f64()));
    }
    Ok(found)
}

/// How many rounds are worth their time: an odd number, so that the median is one of them.
fn affordable(round: f64) -> usize {
    match (BUDGET / round) as usize {
        0 | 1 => 1,
        rounds => (rounds | 1).min(MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ours is twice as fast; the results differ from round `differs` on.
    struct Scripted {
        log: String,
        differs: usize,
        rounds: usize,
    }

    impl Subject for Scripted {
        fn run(&mut self, side: Side) -> anyhow::Result<Sample> {
            let (letter, seconds, kernel) = match side {
                Side::Ours => ('o', 1.0, "ours"),
                Side::Reference => ('r', 2.0, "theirs"),
            };
            self.log.push(letter);
            Ok(Sample {
                seconds,
                kernel: kernel.to_owned(),
            })
        }
        fn difference(&mut self) -> anyhow::Result<Option<String>> {
            self.rounds += 1;
            Ok((self.rounds >= self.differs).then(|| "byte 7".to_owned()))
        }
    }

    #[test]
    fn sides_take_turns_and_a_difference_ends_it() {
        let mut subject = Scripted {
            log: String::new(),
            differs: 4,
            rounds: 0,
        };
        let found = take(&mut subject, Some(3), &|_| ()).unwrap();
        assert_eq!(subject.log, "roorro");
        assert_eq!((found.difference, found.ours.seconds.len()), (None, 3));
        assert_eq!(
            (&*found.ours.kernel, &*found.reference.kernel),
            ("ours", "theirs")
        );
        let found = take(&mut subject, Some(3), &|_| ()).unwrap();
        assert_eq!(found.difference.as_deref(), Some("byte 7"));
        assert_eq!(found.reference.seconds, [2.0]);
    }

    #[test]
    fn medians_quartiles_and_rounds() {
        let runs = |seconds: &[f64]| Runs {
            seconds: seconds.to_vec(),
            kernel: String::new(),
        };
        let summary = runs(&[5.0, 1.0, 2.0, 4.0, 3.0]).summary();
        assert_eq!((summary.runs, summary.median, summary.iqr), (5, 3.0, 2.0));
        assert_eq!(runs(&[1.0, 2.0]).summary().median, 1.5);
        assert_eq!(runs(&[]).summary().median, 0.0);
        for (round, rounds) in [(400.0, 1), (50.0, 1), (40.0, 3), (10.0, 9), (0.1, 9)] {
            assert_eq!(affordable(round), rounds, "{round}");
        }
    }
}
