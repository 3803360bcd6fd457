//! Which round is tried when: a pure function from the head, the last round that was tried and the
//! clock. Everything follows from the block delay that the node tells.
//!
//! ```text
//! block time of the parents      + settle      block time of the round      + grace
//! ──────────┼───────────────────────┼────────────────────┼─────────────────────┼──►
//!           parents still come in     base, election,      sent                  lost
//!                                     proof, block
//! ```
//! What the election and the proof are drawn from depends on the epoch and the miner, not on the parents:
//! those are looked at once more before the block is made. While the tipset of the epoch before is not
//! there, the block is made a third of a delay before its time only, as that may still come in.
//!
//! A round lasts from one third of a delay after its parents' time, when all of them that count have
//! come in, to a third after its own, when others begin to build without it. So the end of one round
//! is the beginning of the next. An epoch without a block is a null round: the same parents are tried
//! for the next one.

use crate::model::millis;
use damocles_node::TipSetKey;
use damocles_types::Epoch;
use std::time::Duration;

/// A tipset to build upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) height: Epoch,
    pub(super) key: TipSetKey,
    /// Unix time in seconds of its blocks.
    pub(super) timestamp: u64,
}

/// How a network's rounds lie in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// Milliseconds between two epochs.
    delay: u64,
    /// Whether blocks come when their time says so; else rounds go by heads.
    by_the_clock: bool,
}

/// A round that is to be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) base: Tip,
    /// The epoch of the block.
    pub(super) height: Epoch,
    /// Unix time in seconds of the block.
    pub(super) timestamp: u64,
    /// Milliseconds since 1970 before which better parents are waited for.
    pub(super) build_at: u64,
    /// Milliseconds since 1970 before which no node takes it.
    pub(super) send_at: u64,
    /// Milliseconds since 1970 from which nobody waits for it any more. None: it is lost when the
    /// chain has come to its epoch.
    pub(super) cutoff: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Try(Round),
    /// Nothing before that time (milliseconds since 1970), or another head.
    At(u64),
    /// Nothing before another head.
    Head,
}

impl Timing {
    pub(super) fn new(delay: Duration, by_the_clock: bool) -> Self {
        Self {
            delay: millis(delay).max(1),
            by_the_clock,
        }
    }

    /// How long parents come in after their time, and a block is waited for after its own.
    fn grace(self) -> u64 {
        self.delay / 3
    }

    /// Whether a block of that time and epoch may still be sent.
    pub(super) fn in_time(self, timestamp: u64, height: Epoch, head: Epoch, now: u64) -> bool {
        if self.by_the_clock {
            now < timestamp.saturating_mul(1000).saturating_add(self.grace())
        } else {
            head < height
        }
    }

    /// So much time in epochs.
    pub(super) fn epochs(self, time: Duration) -> Epoch {
        Epoch::try_from(millis(time) / self.delay).unwrap_or(Epoch::MAX)
    }

    /// The round after so many null ones.
    fn round(self, tip: &Tip, nulls: u64, now: u64) -> Round {
        let after = (nulls + 1).saturating_mul(self.delay);
        let block_time = tip.timestamp.saturating_mul(1000).saturating_add(after);
        Round {
            base: tip.clone(),
            height: tip.height.saturating_add_unsigned(nulls + 1),
            timestamp: block_time / 1000,
            build_at: if self.by_the_clock && nulls > 0 {
                block_time.saturating_sub(self.grace())
            } else {
                now
            },
            send_at: if self.by_the_clock { block_time } else { now },
            cutoff: self.by_the_clock.then(|| block_time + self.grace()),
        }
    }
}

/// Decides what to do. `last` is the last round that was tried, `now` milliseconds since 1970. One that
/// was tried far ahead of now was tried by a clock that was wrong, and is no measure of what is new.
pub(super) fn next(tip: &Tip, last: Option<Epoch>, now: u64, timing: Timing) -> Next {
    let is_new =
        |round: &Round| last.is_none_or(|last| round.height > last || last > round.height + 1);
    if !timing.by_the_clock {
        let round = timing.round(tip, 0, now);
        return if is_new(&round) {
            Next::Try(round)
        } else {
            Next::Head
        };
    }
    let begins = tip.timestamp.saturating_mul(1000) + timing.grace();
    if now < begins {
        return Next::At(begins);
    }
    let nulls = (now - begins) / timing.delay;
    let round = timing.round(tip, nulls, now);
    if is_new(&round) {
        Next::Try(round)
    } else {
        Next::At(begins + (nulls + 1) * timing.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAINNET: Timing = Timing {
        delay: 30_000,
        by_the_clock: true,
    };
    /// Block time of epoch 100.
    const T: u64 = 1_700_000_000;

    fn tip() -> Tip {
        Tip {
            height: 100,
            key: TipSetKey::HEAD,
            timestamp: T,
        }
    }

    /// What is done so many seconds after the tipset's time: the epoch that is tried, or after how
    /// many seconds it is looked at again.
    fn after(seconds: u64, last: Option<Epoch>) -> Result<Epoch, u64> {
        match next(&tip(), last, (T + seconds) * 1000, MAINNET) {
            Next::Try(round) => Ok(round.height),
            Next::At(at) => Err(at / 1000 - T),
            Next::Head => panic!("a round of the clock always comes"),
        }
    }

    #[test]
    fn every_epoch_is_tried_once_when_its_parents_have_come_in() {
        assert_eq!(after(0, None), Err(10), "parents may still come in");
        assert_eq!(after(9, Some(100)), Err(10));
        assert_eq!(after(10, Some(100)), Ok(101));
        assert_eq!(after(39, Some(100)), Ok(101), "late, but not too late");
        assert_eq!(after(15, Some(101)), Err(40), "tried already");
        let Next::Try(round) = next(&tip(), None, (T + 12) * 1000, MAINNET) else {
            panic!("the first round is due");
        };
        assert_eq!(round.build_at, (T + 12) * 1000, "its parents are there");
        assert_eq!(after(40, Some(101)), Ok(102), "a null round");
        assert_eq!(
            after(165, Some(102)),
            Ok(106),
            "rounds that nobody tried are gone"
        );
    }

    #[test]
    fn a_clock_that_was_ahead_stops_nothing_when_it_is_right_again() {
        assert_eq!(after(10, Some(221)), Ok(101));
        assert_eq!(after(10, Some(102)), Err(40), "by a round it may be off");
    }

    #[test]
    fn a_block_is_sent_at_its_time_and_lost_when_others_begin_to_build() {
        let Next::Try(round) = next(&tip(), None, (T + 70) * 1000, MAINNET) else {
            panic!("the second null round is due");
        };
        assert_eq!((round.height, round.timestamp), (103, T + 90));
        assert_eq!(
            round.build_at,
            (T + 80) * 1000,
            "of epoch 102 there is nothing yet"
        );
        assert_eq!(round.send_at, (T + 90) * 1000);
        assert_eq!(round.cutoff, Some((T + 100) * 1000));
        for (seconds, in_time) in [(89, true), (99, true), (100, false)] {
            let now = (T + seconds) * 1000;
            assert_eq!(MAINNET.in_time(T + 90, 103, 100, now), in_time);
            // it may be in a tipset that is there already
            assert_eq!(MAINNET.in_time(T + 90, 103, 103, now), in_time);
        }
    }

    #[test]
    fn where_blocks_do_not_follow_the_clock_rounds_go_by_heads() {
        let heads = Timing::new(Duration::from_secs(4), false);
        let Next::Try(round) = next(&tip(), Some(100), 5, heads) else {
            panic!("the head is new");
        };
        assert_eq!((round.height, round.timestamp), (101, T + 4));
        assert_eq!((round.send_at, round.cutoff), (5, None));
        assert_eq!(next(&tip(), Some(101), 5, heads), Next::Head);
        assert!(heads.in_time(T + 4, 101, 100, u64::MAX));
        assert!(!heads.in_time(T + 4, 101, 101, 0));
    }

    #[test]
    fn a_clock_that_is_wrong_breaks_nothing() {
        assert!(matches!(next(&tip(), None, 0, MAINNET), Next::At(_)));
        let far = next(&tip(), None, u64::MAX / 2, MAINNET);
        assert!(matches!(far, Next::Try(_)));
        assert_eq!(MAINNET.epochs(Duration::from_secs(86400)), 2880);
    }
}
