//! When something is done for a WindowPoSt: a pure function from the head and what is stored
//! to a list of actions. All lengths come from the node; nothing here knows a clock.

use crate::{
    db::posts::{PostKey, PostRecord},
    policy::PostPolicy,
};
use damocles_flow::post::PostState;
use damocles_node::DeadlineInfo;
use damocles_types::Epoch;
use std::collections::HashSet;

/// One opening of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Window {
    pub(super) index: u64,
    /// Epoch of the challenge's randomness.
    pub(super) challenge: Epoch,
    /// First epoch in which a proof is taken.
    pub(super) open: Epoch,
    /// First epoch in which no proof is taken any more.
    pub(super) close: Epoch,
}

/// The deadline that the node named, and those after it whose challenge is drawn already.
/// (The challenge lies before the opening, so a window may be worked on while the one before
/// it is still open.)
pub(super) fn windows(di: &DeadlineInfo, head: Epoch) -> Vec<Window> {
    let length = di.wpost_challenge_window;
    if length <= 0 || di.wpost_period_deadlines == 0 || di.close <= di.open {
        return Vec::new();
    }
    let mut at = Window {
        index: di.index,
        challenge: di.challenge,
        open: di.open,
        close: di.close,
    };
    let mut period_start = di.period_start;
    let mut out = Vec::new();
    // no more than a whole period: beyond that a deadline would stand in the list twice
    for _ in 0..di.wpost_period_deadlines {
        if at.challenge > head {
            break;
        }
        if head < at.close {
            out.push(at);
        }
        let (index, open) = if at.index + 1 >= di.wpost_period_deadlines {
            period_start += di.wpost_proving_period;
            (0, period_start)
        } else {
            (at.index + 1, at.close)
        };
        at = Window {
            index,
            challenge: open - di.wpost_challenge_lookback,
            open,
            close: open + length,
        };
    }
    out
}

/// How long the poster waits for the chain to settle, scaled to the network's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// Epochs from the challenge to the start of proving.
    challenge_confidence: Epoch,
    /// Epochs from the opening to the sending.
    submit_confidence: Epoch,
    /// Most epochs between two attempts.
    longest_pause: Epoch,
}

impl Timing {
    /// Upstream's defaults are 10 of a lookback of 20 epochs and 4 of a window of 60; other
    /// networks get the same share. What the operator sets is cut so that proving begins with
    /// the opening at the latest, and sending in the window's first half.
    pub(super) fn new(policy: &PostPolicy, di: &DeadlineInfo) -> Self {
        let lookback = di.wpost_challenge_lookback.max(0);
        let window = di.wpost_challenge_window.max(1);
        let chosen = |set: Option<Epoch>, default: Epoch, most: Epoch| {
            set.filter(|n| *n > 0).unwrap_or(default).min(most)
        };
        Self {
            challenge_confidence: chosen(policy.challenge_confidence, lookback / 2, lookback),
            submit_confidence: chosen(policy.submit_confidence, window * 4 / 60, window / 2),
            longest_pause: (window / 10).max(1),
        }
    }

    fn start(self, challenge: Epoch) -> Epoch {
        challenge + self.challenge_confidence
    }

    fn send(self, open: Epoch) -> Epoch {
        open + self.submit_confidence
    }

    /// The epoch of the next attempt after `tries` failed ones: pauses double, and the last
    /// epoch of the window is always tried.
    pub(super) fn retry_at(self, head: Epoch, tries: u32, close: Epoch) -> Epoch {
        let pause = (1_i64 << tries.saturating_sub(1).min(20)).min(self.longest_pause);
        let next = head + pause;
        if next >= close && head < close - 1 {
            close - 1
        } else {
            next
        }
    }
}

/// The epoch up to which sectors on a store that does not answer are waited for. Until the
/// opening it costs nothing; in the window the wait leaves room to prove twice, for as long as
/// a proof of this miner took lately, and to send. Without that figure nothing is risked.
pub(super) fn wait_until(open: Epoch, close: Epoch, proving: Option<Epoch>) -> Epoch {
    let Some(proving) = proving else {
        return open;
    };
    let margin = margin(close - open);
    let needed = proving.max(1).saturating_mul(2).saturating_add(margin);
    close.saturating_sub(needed).max(open)
}

/// The pause before an attempt, and the message's way.
pub(super) fn margin(window: Epoch) -> Epoch {
    (window / 5).max(2)
}

/// Whether a proof that is begun now comes in time, if it takes as long as one usually does. Where
/// nobody knows, half of what there was is left.
pub(super) fn fits(now: Epoch, close: Epoch, usual: Option<Epoch>) -> bool {
    usual.is_none_or(|usual| now.saturating_add(usual).saturating_add(2) < close)
}

/// Epochs that such a proof takes at most, from what proofs took lately: the longest but one, since
/// one that hung for a while says nothing of the others.
pub(super) fn longest(
    lately: impl IntoIterator<Item = (usize, Epoch)>,
    partitions: usize,
) -> Option<Epoch> {
    let epochs = as_long_as(lately, partitions);
    let at = epochs
        .len()
        .checked_sub(if epochs.len() > 2 { 2 } else { 1 })?;
    epochs.get(at).copied()
}

/// What a proof of so many partitions would have taken each time, the shortest first. One of fewer
/// partitions counts as often as they go into it.
fn as_long_as(lately: impl IntoIterator<Item = (usize, Epoch)>, partitions: usize) -> Vec<Epoch> {
    let alike = |(proven, epochs): (usize, Epoch)| {
        let parts = partitions.div_ceil(proven.max(1)).max(1);
        epochs.saturating_mul(Epoch::try_from(parts).unwrap_or(Epoch::MAX))
    };
    let mut epochs: Vec<_> = lately.into_iter().map(alike).collect();
    epochs.sort_unstable();
    epochs
}

/// Epochs that a proof of so many partitions takes, from what proofs took lately (partitions and
/// epochs): three of four took no longer. Of two or three the
/// longest counts.
pub(super) fn usual(
    lately: impl IntoIterator<Item = (usize, Epoch)>,
    partitions: usize,
) -> Option<Epoch> {
    let epochs = as_long_as(lately, partitions);
    // the highest quarter, without what is left over, is passed over
    let at = epochs.len().checked_sub(1 + epochs.len() / 4)?;
    epochs.get(at).copied()
}

/// The epoch at which a prover that has not answered is doubted: it takes twice as long as a proof
/// took lately, or half of what there was to the close, whichever comes first. Where nothing is
/// known of it a third of that.
pub(super) fn doubt_at(began: Epoch, close: Epoch, usual: Option<Epoch>) -> Epoch {
    let left = close - began;
    let patience = usual.map_or(left / 3, |usual| usual.saturating_mul(2));
    began + patience.min(left / 2).max(1)
}

/// The epoch at which it is doubted again, as all that it proves could be read: after as long as
/// it took until then.
pub(super) fn doubt_again(began: Epoch, doubted: Epoch) -> Epoch {
    doubted + (doubted - began).max(1)
}

/// Whether a prover that was begun at `began` and whose sectors can all be read is given up for
/// another one: it has taken four times as long as a proof took lately, and there is room in the
/// window to prove twice, and to send.
pub(super) fn hangs(
    began: Epoch,
    now: Epoch,
    (open, close): (Epoch, Epoch),
    usual: Option<Epoch>,
) -> bool {
    usual.is_some_and(|usual| {
        let usual = usual.max(1);
        now - began >= usual.saturating_mul(4) && now < wait_until(open, close, Some(usual))
    })
}

/// What is to be done now. Each is done by a task of its own, and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Ask the chain which partitions must be proven, and write the records.
    Plan(Window),
    /// Draw the challenge, find the sectors, have them proven and verify it.
    Prove(PostKey),
    /// Hand the proof to the message engine.
    Submit(PostKey),
    /// Look what became of the message.
    Follow(PostKey),
    /// The window closed.
    Expire(PostKey),
}

impl Action {
    /// What is done by it: "a WindowPoSt could not be …".
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Plan(_) => "planned",
            Self::Prove(_) => "proven",
            Self::Submit(_) => "sent",
            Self::Follow(_) => "followed",
            Self::Expire(_) => "closed",
        }
    }
}

/// What the poster knows of one miner at a head.
pub(super) struct View<'a> {
    pub(super) head: Epoch,
    pub(super) windows: &'a [Window],
    pub(super) timing: Timing,
    /// Unfinished records.
    pub(super) records: &'a [PostRecord],
    /// Openings whose records are written (by this process).
    pub(super) planned: &'a HashSet<Epoch>,
    /// Records that a task is working on.
    pub(super) busy: &'a HashSet<PostKey>,
}

/// Decides what to do at a head.
pub(super) fn actions(view: &View<'_>) -> Vec<Action> {
    let View { head, timing, .. } = *view;
    let plans = view.windows.iter().filter(|w| {
        head >= timing.start(w.challenge) && head < w.close && !view.planned.contains(&w.open)
    });
    let mut out: Vec<_> = plans.map(|w| Action::Plan(*w)).collect();
    let idle = |r: &&PostRecord| !view.busy.contains(&r.key);
    out.extend(
        view.records
            .iter()
            .filter(idle)
            .filter_map(|r| step(head, timing, r)),
    );
    out
}

fn step(head: Epoch, timing: Timing, record: &PostRecord) -> Option<Action> {
    let key = record.key;
    let rests = record.retry_at.is_some_and(|at| head < at);
    match record.state {
        PostState::Submitted => Some(Action::Follow(key)),
        PostState::Landed | PostState::Covered | PostState::Failed | PostState::Expired => None,
        _ if head >= record.close => Some(Action::Expire(key)),
        _ if rests => None,
        // `Proving` without a task: the process ended meanwhile
        PostState::Waiting | PostState::Challenged | PostState::Proving => {
            (head >= timing.start(record.challenge)).then_some(Action::Prove(key))
        }
        PostState::Proved => (head >= timing.send(key.open)).then_some(Action::Submit(key)),
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
