//! One line in the log for many of a kind: what strangers can cause thousands of times a second
//! must neither fill the disk nor hide what matters.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Says something at most once in a while.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    said: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// At most once in `every`.
    pub const fn new(every: Duration) -> Self {
        Self {
            every,
            state: Mutex::new(State {
                said: None,
                left_out: 0,
            }),
        }
    }

    /// Whether to say it now; and then, how often it was not said since the last time.
    pub fn now(&self) -> Option<u64> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < self.every)
        {
            state.left_out += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_the_next_tells_how_many_were_not() {
        let minute = Duration::from_secs(60);
        let seldom = Seldom::new(minute);
        let begin = Instant::now();
        assert_eq!(seldom.at(begin), Some(0));
        assert_eq!(seldom.at(begin), None);
        assert_eq!(seldom.at(begin + minute / 2), None);
        assert_eq!(seldom.at(begin + minute), Some(2));
        assert_eq!(seldom.at(begin + 2 * minute), Some(0));
    }
}
