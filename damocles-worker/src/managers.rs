//! The managers that a worker may speak to: several on one database, of which it speaks to one
//! until that one does not answer.

use crate::endpoint::{ManagerAddr, ManagerAddrError};
use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Their addresses; clones share which one is spoken to.
#[derive(Clone, Debug)]
pub struct Managers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Vec<ManagerAddr>,
    now: AtomicUsize,
}

/// The one that was spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(usize);

impl Managers {
    /// Begins with the first.
    pub fn new(first: ManagerAddr, others: Vec<ManagerAddr>) -> Self {
        let mut all = vec![first];
        all.extend(others);
        Self(Arc::new(Inner {
            all,
            now: AtomicUsize::new(0),
        }))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.all.len()
    }

    /// The one that is spoken to now.
    pub fn now(&self) -> (&ManagerAddr, Turn) {
        let turn = self.0.now.load(Ordering::Relaxed);
        (&self.0.all[turn % self.count()], Turn(turn))
    }

    /// The first with which TLS is spoken, if there is one; else the one that is spoken to now.
    pub fn most_guarded(&self) -> &ManagerAddr {
        let all = &self.0.all;
        let encrypted = all.iter().find(|manager| manager.is_encrypted());
        encrypted.unwrap_or(self.now().0)
    }

    /// The one of this turn did not answer: the next one is spoken to from now on, unless
    /// somebody has said so before.
    pub fn leave(&self, turn: Turn) {
        let next = turn.0.wrapping_add(1);
        let moved = self
            .0
            .now
            .compare_exchange(turn.0, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && self.count() > 1 {
            let left = &self.0.all[turn.0 % self.count()];
            tracing::warn!(manager = %left, next = %self.now().0, "a manager does not answer; going on with the next");
        }
    }
}

impl fmt::Display for Managers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().0.fmt(f)
    }
}

impl FromStr for Managers {
    type Err = ManagerAddrError;

    fn from_str(text: &str) -> Result<Self, ManagerAddrError> {
        Ok(Self::new(text.parse()?, Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_spoken_to_once_however_many_say_that_one_is_away() {
        let addr = |n: u32| format!("http://m{n}:1789").parse::<ManagerAddr>().unwrap();
        let managers = Managers::new(addr(0), vec![addr(1), addr(2)]);
        let shared = managers.clone();
        let (first, turn) = managers.now();
        assert_eq!(*first, addr(0));
        shared.leave(turn);
        managers.leave(turn);
        assert_eq!(*managers.now().0, addr(1));
        managers.leave(managers.now().1);
        managers.leave(managers.now().1);
        assert_eq!(*shared.now().0, addr(0), "round and round");
        assert_eq!(*managers.most_guarded(), addr(0));
        let guarded: ManagerAddr = "https://m9".parse().unwrap();
        let mixed = Managers::new(addr(0), vec![addr(1), guarded.clone()]);
        assert_eq!(*mixed.most_guarded(), guarded);
        let only: Managers = "http://m:1".parse().unwrap();
        only.leave(only.now().1);
        assert_eq!(only.to_string(), "http://m:1");
    }
}
