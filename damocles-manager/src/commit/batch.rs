//! Which waiting sectors go into messages now. Pure.

use crate::{
    model::{Commitment, UnixMs},
    policy::BatchPolicy,
};

/// A sector that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// When it became ready.
    pub(super) since: UnixMs,
    /// To go in a message of its own.
    pub(super) alone: bool,
}

/// Most sectors of one message. Precommits: the miner actor's former limit, which keeps a
/// message far below a block's gas. Proofs that are not aggregated: some 70M gas each, so
/// that a full message takes a third of a block. (Aggregates may take 819, by
/// `MAX_AGGREGATED_SECTORS`; they come with a stage of their own.)
pub(super) const fn cap(kind: Commitment) -> usize {
    match kind {
        Commitment::PreCommit => 256,
        Commitment::Proof => 48,
    }
}

/// Groups of positions in `waiting`, one per message to be made now. Sectors go when there
/// are `threshold` of them, or when the oldest has waited for `max_wait`; then all of them go.
pub(super) fn plan(
    waiting: &[Waiting],
    policy: &BatchPolicy,
    cap: usize,
    now: UnixMs,
) -> Vec<Vec<usize>> {
    let (alone, mut together): (Vec<usize>, Vec<usize>) =
        (0..waiting.len()).partition(|i| waiting[*i].alone || policy.threshold <= 1);
    let mut out: Vec<Vec<usize>> = alone.into_iter().map(|i| vec![i]).collect();
    together.sort_by_key(|i| waiting[*i].since);
    let max_wait = u64::try_from(policy.max_wait.as_millis()).unwrap_or(u64::MAX);
    let overdue = together
        .first()
        .is_some_and(|i| now.saturating_sub(waiting[*i].since) >= max_wait);
    if overdue || together.len() >= policy.threshold {
        out.extend(together.chunks(cap.max(1)).map(<[usize]>::to_vec));
    }
    out
}

/// When the oldest of these will have waited long enough, unless more come before.
pub(super) fn due(waiting: &[Waiting], policy: &BatchPolicy) -> Option<UnixMs> {
    let max_wait = u64::try_from(policy.max_wait.as_millis()).unwrap_or(u64::MAX);
    let oldest = waiting.iter().map(|w| w.since).min()?;
    Some(oldest.saturating_add(max_wait))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::miner;
    use std::time::Duration;

    fn policy(threshold: usize, max_wait: u64) -> BatchPolicy {
        BatchPolicy {
            threshold,
            max_wait: Duration::from_secs(max_wait),
            ..miner(1).pre.batch
        }
    }

    fn at(seconds: &[u64]) -> Vec<Waiting> {
        seconds
            .iter()
            .map(|s| Waiting {
                since: s * 1000,
                alone: false,
            })
            .collect()
    }

    #[test]
    fn batches() {
        let none: [&[usize]; 0] = [];
        // (since, threshold, max wait, cap, now) → groups
        let plan_at = |since: &[u64], threshold, max_wait, cap, now: u64| {
            plan(&at(since), &policy(threshold, max_wait), cap, now * 1000)
        };
        assert_eq!(plan_at(&[], 2, 10, 256, 100), none, "nothing waits");
        assert_eq!(plan_at(&[], 1, 10, 256, 100), none);
        assert_eq!(plan_at(&[95], 2, 10, 256, 100), none, "too few, not long");
        assert_eq!(plan_at(&[90], 2, 10, 256, 100), [[0]], "too long");
        assert_eq!(plan_at(&[99, 98], 2, 10, 256, 100), [[1, 0]], "enough");
        assert_eq!(plan_at(&[99, 98], 1, 10, 256, 100), [[0], [1]], "singly");
        assert_eq!(plan_at(&[99, 98], 0, 10, 256, 100), [[0], [1]]);
        assert_eq!(
            plan_at(&[1, 2, 99], 9, 10, 256, 100),
            [[0, 1, 2]],
            "the young one goes along with the old ones"
        );
        assert_eq!(
            plan_at(&[5, 4, 3, 2, 1], 2, 10, 2, 6),
            [vec![4, 3], vec![2, 1], vec![0]],
            "no message above its cap"
        );
        assert_eq!(plan_at(&[200], 2, 10, 256, 100), none, "a clock set back");
    }

    #[test]
    fn the_oldest_decides_when_to_look_again() {
        assert_eq!(due(&[], &policy(9, 10)), None);
        assert_eq!(due(&at(&[7, 5, 9]), &policy(9, 10)), Some(15_000));
        assert_eq!(due(&at(&[7]), &policy(9, u64::MAX / 1000)), Some(u64::MAX));
    }

    #[test]
    fn what_failed_before_goes_alone_and_at_once() {
        let mut waiting = at(&[99, 99, 99]);
        waiting[1].alone = true;
        assert_eq!(plan(&waiting, &policy(4, 10), 256, 100_000), [vec![1]]);
        assert_eq!(
            plan(&waiting, &policy(2, 10), 256, 100_000),
            [vec![1], vec![0, 2]]
        );
    }
}
