//! How long a task may run, and how long its child may say nothing meanwhile. Pure: whoever
//! waits for the answer asks, and acts.

use damocles_types::SectorSize;
use std::time::{Duration, Instant};

/// When a task that has told of its progress is first said to be silent, and how often again.
const TELL_EVERY: Duration = Duration::from_secs(5 * 60);
/// Nobody waits longer than this; a moment that an `Instant` cannot hold is as good as this one.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

/// `now` and `by` together, however long `by` is.
pub(super) fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now + FAR)
}

/// What the operator allows the tasks of a child. Nothing set: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its answer.
    pub longest: Option<Duration>,
    /// Between two words of the child about it.
    pub silent: Option<Duration>,
}

/// The same by the size of a task's sector; a task that does not tell its size counts as one of
/// the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsBySize([Limits; SectorSize::ALL.len()]);

impl LimitsBySize {
    pub fn of(limits: impl Fn(SectorSize) -> Limits) -> Self {
        Self(SectorSize::ALL.map(limits))
    }

    pub(super) fn at(&self, size: Option<SectorSize>) -> Limits {
        let place = SectorSize::ALL
            .iter()
            .position(|known| Some(*known) == size);
        self.0[place.unwrap_or(SectorSize::ALL.len() - 1)]
    }
}

impl From<Limits> for LimitsBySize {
    fn from(limits: Limits) -> Self {
        Self::of(|_| limits)
    }
}

/// What is to be thought of a running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Good,
    /// It has told of its progress before, and nothing since so long.
    Silent(Duration),
    /// It runs longer than it may.
    TooLong(Duration),
    /// Nothing was heard of it for longer than it may be silent.
    TooSilent(Duration),
}

/// The watch over one task.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    started: Instant,
    heard: Instant,
    /// Whether it ever told of its progress: others are silent by nature.
    spoke: bool,
    tell: Instant,
}

impl Watch {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            started: now,
            heard: now,
            spoke: false,
            tell: later(now, TELL_EVERY),
        }
    }

    /// The child spoke of it.
    pub(super) fn hears(&mut self, now: Instant) {
        self.heard = now;
        self.spoke = true;
        self.tell = later(now, TELL_EVERY);
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        let ends = [
            self.limits.longest.map(|most| later(self.started, most)),
            self.limits.silent.map(|most| later(self.heard, most)),
            self.spoke.then_some(self.tell),
        ];
        let far = later(self.started, FAR);
        ends.into_iter().flatten().min().unwrap_or(far)
    }

    /// What is to be said at `now`.
    pub(super) fn look(&mut self, now: Instant) -> Sign {
        let reached = |from: Instant, most: Duration| now >= later(from, most);
        if let Some(most) = self
            .limits
            .longest
            .filter(|most| reached(self.started, *most))
        {
            return Sign::TooLong(most);
        }
        if let Some(most) = self.limits.silent.filter(|most| reached(self.heard, *most)) {
            return Sign::TooSilent(most);
        }
        if self.spoke && now >= self.tell {
            self.tell = later(now, TELL_EVERY);
            return Sign::Silent(now.saturating_duration_since(self.heard));
        }
        Sign::Good
    }
}

/// A length of time as people say it: `3 h`, `1 h 30 min`, `45 s`.
pub(super) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{} ms", time.as_millis()),
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn a_task_without_limits_that_never_speaks_is_left_alone() {
        let start = Instant::now();
        let mut watch = Watch::new(Limits::default(), start);
        for n in [0, 1, 60, 100_000] {
            assert_eq!(watch.look(start + minutes(n)), Sign::Good, "after {n} min");
        }
        assert!(watch.next() > start + minutes(1_000_000));
    }

    #[test]
    fn the_longest_time_counts_from_the_start_and_words_do_not_lengthen_it() {
        let start = Instant::now();
        let limits = Limits {
            longest: Some(minutes(60)),
            silent: None,
        };
        let mut watch = Watch::new(limits, start);
        assert_eq!(watch.next(), start + minutes(60));
        watch.hears(start + minutes(59));
        assert_eq!(watch.look(start + minutes(59)), Sign::Good);
        assert_eq!(watch.next(), start + minutes(60));
        assert_eq!(watch.look(start + minutes(60)), Sign::TooLong(minutes(60)));
    }

    #[test]
    fn silence_counts_from_the_last_word_and_is_told_now_and_then_before() {
        let start = Instant::now();
        let limits = Limits {
            longest: None,
            silent: Some(minutes(12)),
        };
        let mut watch = Watch::new(limits, start);
        assert_eq!(watch.look(start + minutes(6)), Sign::Good, "it never spoke");
        watch.hears(start + minutes(10));
        let at = |n| start + minutes(n);
        assert_eq!(watch.next(), at(15));
        assert_eq!(watch.look(at(14)), Sign::Good);
        assert_eq!(watch.look(at(15)), Sign::Silent(minutes(5)));
        assert_eq!(watch.look(at(15)), Sign::Good, "told once");
        assert_eq!(watch.look(at(20)), Sign::Silent(minutes(10)));
        assert_eq!(watch.next(), at(22));
        assert_eq!(watch.look(at(22)), Sign::TooSilent(minutes(12)));
    }

    #[test]
    fn times_that_no_clock_can_hold_are_far_away() {
        let start = Instant::now();
        let limits = Limits {
            longest: Some(Duration::MAX),
            silent: Some(Duration::MAX),
        };
        let mut watch = Watch::new(limits, start);
        assert_eq!(watch.look(start + minutes(100_000)), Sign::Good);
        assert!(watch.next() > start);
    }

    #[test]
    fn a_task_has_the_limits_of_its_size_and_one_without_those_of_the_largest() {
        let by_size = LimitsBySize::of(|size| Limits {
            longest: Some(Duration::from_secs(size.bytes())),
            silent: None,
        });
        for size in SectorSize::ALL {
            let most = Some(Duration::from_secs(size.bytes()));
            assert_eq!(by_size.at(Some(size)).longest, most);
        }
        assert_eq!(by_size.at(None), by_size.at(Some(SectorSize::GiB64)));
    }

    #[test]
    fn lengths_of_time_in_words() {
        for (seconds, words) in [
            (45, "45 s"),
            (300, "5 min"),
            (301, "5 min 1 s"),
            (10_800, "3 h"),
            (5400, "1 h 30 min"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
        assert_eq!(in_words(Duration::from_millis(500)), "500 ms");
    }
}
