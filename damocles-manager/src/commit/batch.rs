//! Which waiting sectors go into messages now. Pure.

use crate::{
    model::{Commitment, UnixMs, millis},
    policy::BatchPolicy,
};
use damocles_types::{Epoch, SealProof, SectorSize};
use fvm_shared::econ::TokenAmount;

/// A sector that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// When it became ready.
    pub(super) since: UnixMs,
    /// To go in a message of its own.
    pub(super) alone: bool,
    /// The chain does not take it from this epoch on.
    pub(super) deadline: Epoch,
}

/// What the chain asks of messages now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Market {
    pub(super) head: Epoch,
    pub(super) base_fee: TokenAmount,
    /// How long before its deadline a sector goes whatever it costs, in epochs.
    pub(super) slack: Epoch,
}

/// Most sectors of one message, as many as fit. Precommits: the miner actor's former limit, which
/// keeps a message far below a block's gas and below 64 KiB. Proofs that are not aggregated: some
/// 70M gas each, so that 48 take a third of a block; those of large sectors have 1,920 bytes, and 33
/// of them fill a message (Lotus `MaxMessageSize`). Aggregates may take 819 (`MAX_AGGREGATED_SECTORS`).
pub(super) const fn cap(kind: Commitment, proof: SealProof) -> usize {
    match (kind, proof.size) {
        (Commitment::PreCommit, _) => 256,
        (Commitment::Proof, SectorSize::GiB32 | SectorSize::GiB64) => 33,
        (Commitment::Proof, _) => 48,
    }
}

/// Groups of positions in `waiting`, one per message to be made now. Sectors go when there
/// are `threshold` of them, when the oldest has waited for `max_wait`, or when the deadline of
/// one is near; then all of them go, those first that must. While blocks are dearer than the policy
/// likes, only those go that must.
pub(super) fn plan(
    waiting: &[Waiting],
    policy: &BatchPolicy,
    market: Option<&Market>,
    cap: usize,
    now: UnixMs,
) -> Vec<Vec<usize>> {
    let must = |w: &Waiting| market.is_some_and(|m| w.deadline - m.slack <= m.head);
    let dear = market
        .is_some_and(|m| policy.max_base_fee.is_positive() && m.base_fee > policy.max_base_fee);
    let goes = |i: &usize| !dear || must(&waiting[*i]);
    let (mut alone, mut together): (Vec<usize>, Vec<usize>) =
        (0..waiting.len()).partition(|i| waiting[*i].alone || policy.threshold <= 1);
    alone.retain(goes);
    let mut out: Vec<Vec<usize>> = alone.into_iter().map(|i| vec![i]).collect();
    let max_wait = millis(policy.max_wait);
    let oldest = together.iter().map(|i| waiting[*i].since).min();
    let overdue = oldest.is_some_and(|since| now.saturating_sub(since) >= max_wait);
    let urgent = together.iter().any(|i| must(&waiting[*i]));
    let enough = together.len() >= policy.threshold;
    if overdue || urgent || enough {
        together.retain(goes);
        together.sort_by_key(|i| {
            let w = &waiting[*i];
            (!must(w), w.since)
        });
        out.extend(together.chunks(cap.max(1)).map(<[usize]>::to_vec));
    }
    out
}

/// Why those that are due do not go, if the market is the cause; `goes`: what is planned.
pub(super) fn held_back(
    waiting: &[Waiting],
    policy: &BatchPolicy,
    market: Option<&Market>,
    goes: &[Vec<usize>],
    now: UnixMs,
) -> Option<String> {
    let market = market.filter(|_| goes.is_empty() && policy.max_base_fee.is_positive())?;
    let free = BatchPolicy {
        max_base_fee: TokenAmount::default(),
        ..policy.clone()
    };
    let would = plan(waiting, &free, Some(market), usize::MAX, now);
    (!would.is_empty()).then(|| {
        format!(
            "the base fee is above MaxBaseFee ({} FIL); it goes when that falls, or when its deadline is near",
            policy.max_base_fee
        )
    })
}

/// When the oldest of these will have waited long enough, unless more come before.
pub(super) fn due(waiting: &[Waiting], policy: &BatchPolicy) -> Option<UnixMs> {
    let max_wait = millis(policy.max_wait);
    let oldest = waiting.iter().map(|w| w.since).min()?;
    Some(oldest.saturating_add(max_wait))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::miner;
    use std::time::Duration;

    const FAR: Epoch = 1_000_000;

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
                deadline: FAR,
            })
            .collect()
    }

    #[test]
    fn batches() {
        let none: [&[usize]; 0] = [];
        // (since, threshold, max wait, cap, now) → groups
        let plan_at = |since: &[u64], threshold, max_wait, cap, now: u64| {
            plan(
                &at(since),
                &policy(threshold, max_wait),
                None,
                cap,
                now * 1000,
            )
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
        let plan = |threshold| plan(&waiting, &policy(threshold, 10), None, 256, 100_000);
        assert_eq!(plan(4), [vec![1]]);
        assert_eq!(plan(2), [vec![1], vec![0, 2]]);
    }

    /// Deadlines of (200, far, far) at heads before and within the slack of 50 epochs, with a base
    /// fee below and above what the policy likes.
    #[test]
    fn a_deadline_counts_for_more_than_numbers_and_fees() {
        let nano = TokenAmount::from_nano;
        let mut waiting = at(&[99, 98, 97]);
        waiting[0].deadline = 200;
        let plan_at = |threshold, head, base_fee: u64, alone| {
            let policy = BatchPolicy {
                max_base_fee: nano(3),
                ..policy(threshold, 10)
            };
            let base_fee = nano(base_fee);
            let market = Market {
                head,
                base_fee,
                slack: 50,
            };
            let mut waiting = waiting.clone();
            waiting[1].alone = alone;
            let groups = plan(&waiting, &policy, Some(&market), 256, 100_000);
            let held = held_back(&waiting, &policy, Some(&market), &groups, 100_000);
            (groups, held.is_some())
        };
        // (threshold, head, base fee, the second one alone)
        assert_eq!(plan_at(9, 149, 1, false), (vec![], false), "nothing is due");
        assert_eq!(
            plan_at(9, 150, 1, false),
            (vec![vec![0, 2, 1]], false),
            "the others go along"
        );
        assert_eq!(
            plan_at(9, 150, 4, false),
            (vec![vec![0]], false),
            "and not while it is dear"
        );
        assert_eq!(
            plan_at(9, 900, 4, false),
            (vec![vec![0]], false),
            "also past its deadline"
        );
        assert_eq!(
            plan_at(3, 149, 1, false),
            (vec![vec![2, 1, 0]], false),
            "enough"
        );
        assert_eq!(
            plan_at(3, 149, 4, false),
            (vec![], true),
            "enough, and dear: that is said"
        );
        assert_eq!(
            plan_at(9, 149, 4, true),
            (vec![], true),
            "so does one that goes alone"
        );
        assert_eq!(plan_at(9, 149, 3, true), (vec![vec![1]], false));
        let unknown = plan(&waiting, &policy(3, 10), None, 256, 100_000);
        assert_eq!(
            unknown,
            [[2, 1, 0]],
            "without a node nothing is dear and nothing urgent"
        );
    }

    /// The largest parameters of a message are what the network takes, whatever is in them.
    #[test]
    fn a_full_message_is_one_that_the_network_takes() {
        use fil_actor_miner_state::v18::{
            CompactCommD, PreCommitSectorBatchParams2, ProveCommitSectors3Params,
            SectorActivationManifest, SectorPreCommitInfo,
        };
        use fvm_ipld_encoding::RawBytes;
        const MOST: usize = (64 << 10) - 512;
        let cid = damocles_types::Commitment([7; 32]);
        for size in [SectorSize::KiB2, SectorSize::GiB32, SectorSize::GiB64] {
            let proof = SealProof::interactive(size);
            let pre = SectorPreCommitInfo {
                seal_proof: proof.number().into(),
                sector_number: u64::MAX >> 1,
                sealed_cid: cid.sealed_cid(),
                seal_rand_epoch: i64::MAX,
                deal_ids: vec![],
                expiration: i64::MAX,
                unsealed_cid: CompactCommD::new(Some(cid.unsealed_cid())),
            };
            let pre = PreCommitSectorBatchParams2 {
                sectors: vec![pre; cap(Commitment::PreCommit, proof)],
            };
            let manifest = SectorActivationManifest {
                sector_number: u64::MAX >> 1,
                pieces: vec![],
            };
            let partitions = if size == SectorSize::KiB2 { 1 } else { 10 };
            let all = cap(Commitment::Proof, proof);
            let prove = ProveCommitSectors3Params {
                sector_activations: vec![manifest; all],
                sector_proofs: vec![RawBytes::new(vec![1; 192 * partitions]); all],
                aggregate_proof: RawBytes::default(),
                aggregate_proof_type: None,
                require_activation_success: true,
                require_notification_success: true,
            };
            let sizes = [
                RawBytes::serialize(&pre).unwrap().len(),
                RawBytes::serialize(&prove).unwrap().len(),
            ];
            assert!(sizes.iter().all(|n| *n <= MOST), "{size:?} {sizes:?}");
        }
    }
}
