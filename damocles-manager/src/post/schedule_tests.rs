//! Tables of epochs: what the poster does when.

use super::*;

#[test]
fn one_proof_that_hung_says_nothing_of_how_long_the_next_one_takes() {
    for (lately, partitions, epochs) in [
        (&[][..], 1, None),
        (&[(1, 9)], 1, Some(9)),
        (&[(1, 9), (1, 40), (1, 8)], 1, Some(40)),
        (&[(1, 9), (1, 40), (1, 8), (1, 9)], 1, Some(9)),
        (&[(2, 9), (2, 9), (2, 60), (2, 60), (2, 8)], 2, Some(60)),
        // a larger proof takes longer, a smaller one no longer
        (&[(1, 9)], 3, Some(27)),
        (&[(2, 9)], 3, Some(18)),
        (&[(3, 9)], 1, Some(9)),
        (&[(0, 9)], 0, Some(9)),
    ] {
        assert_eq!(
            usual(lately.iter().copied(), partitions),
            epochs,
            "{lately:?}"
        );
    }
}

#[test]
fn stores_are_waited_for_as_long_as_a_slow_proof_leaves_room() {
    for (lately, epochs) in [
        (&[][..], None),
        (&[(1, 9)], Some(9)),
        (&[(1, 40), (1, 9)], Some(40)),
        // one that hung is passed over, and those that are slow every day are not
        (&[(1, 9), (1, 60), (1, 8)], Some(9)),
        (
            &[(1, 9), (1, 9), (1, 9), (1, 45), (1, 9), (1, 45)],
            Some(45),
        ),
    ] {
        assert_eq!(longest(lately.iter().copied(), 1), epochs, "{lately:?}");
    }
}

#[test]
fn a_proof_is_begun_anew_only_where_it_comes_in_time() {
    for (now, usual, comes) in [
        (107, Some(15), false),
        (102, Some(15), true),
        (103, Some(15), false),
        (107, None, true),
    ] {
        assert_eq!(fits(now, 120, usual), comes, "{now} {usual:?}");
    }
}

#[test]
fn a_prover_is_doubted_while_there_is_time_to_prove_again() {
    // of the mainnet: proving begins ten epochs before the opening
    for (began, close, usual, at) in [
        (50, 120, Some(9), 68),
        (50, 120, Some(30), 85),
        (50, 120, None, 73),
        (100, 120, Some(9), 110),
        (118, 120, Some(9), 119),
        (119, 120, Some(9), 120),
        (119, 120, None, 120),
    ] {
        assert_eq!(doubt_at(began, close, usual), at, "{began} {usual:?}");
    }
    for (now, usual, hung) in [
        (86, Some(9), true),
        (85, Some(9), false),
        // no time for another one
        (91, Some(9), false),
        (86, None, false),
        (119, Some(1), false),
        (60, Some(0), true),
    ] {
        assert_eq!(hangs(50, now, (60, 120), usual), hung, "{now} {usual:?}");
    }
    assert_eq!(doubt_again(50, 68), 86);
    assert_eq!(doubt_again(50, 50), 51);
}
use crate::policy::FeePolicy;

fn policy(challenge: Option<Epoch>, submit: Option<Epoch>) -> PostPolicy {
    PostPolicy {
        enabled: true,
        senders: vec![],
        fee: FeePolicy::default(),
        confidence: 10,
        submit_confidence: submit,
        challenge_confidence: challenge,
        max_partitions_per_message: 0,
        strict_check: true,
        max_recovered_sectors: 0,
        max_partitions_per_recovery: 0,
    }
}

/// A deadline of mainnet's lengths: 48 windows of 60 epochs, challenge 20 epochs before.
fn mainnet(index: u64, period_start: Epoch) -> DeadlineInfo {
    deadline(index, period_start, 48, 60, 20)
}

fn deadline(
    index: u64,
    period_start: Epoch,
    deadlines: u64,
    window: Epoch,
    lookback: Epoch,
) -> DeadlineInfo {
    let open = period_start + index as Epoch * window;
    DeadlineInfo {
        current_epoch: open,
        period_start,
        index,
        open,
        close: open + window,
        challenge: open - lookback,
        fault_cutoff: open - 70,
        wpost_period_deadlines: deadlines,
        wpost_proving_period: deadlines as Epoch * window,
        wpost_challenge_window: window,
        wpost_challenge_lookback: lookback,
        fault_declaration_cutoff: 70,
    }
}

fn opens(di: &DeadlineInfo, head: Epoch) -> Vec<(u64, Epoch)> {
    windows(di, head)
        .iter()
        .map(|w| (w.index, w.open))
        .collect()
}

#[test]
fn the_next_window_is_worked_on_from_its_challenge() {
    let di = mainnet(3, 1000); // opens at 1180, closes at 1240; the next challenge is at 1220
    for (head, expected) in [
        (1159, vec![]),
        (1160, vec![(3, 1180)]),
        (1180, vec![(3, 1180)]),
        (1219, vec![(3, 1180)]),
        (1220, vec![(3, 1180), (4, 1240)]),
        (1239, vec![(3, 1180), (4, 1240)]),
        (1240, vec![(4, 1240)]),
    ] {
        assert_eq!(opens(&di, head), expected, "head {head}");
    }
}

#[test]
fn after_the_last_deadline_comes_the_first_of_the_next_period() {
    let di = mainnet(47, 0);
    assert_eq!(
        windows(&di, 2870),
        [
            Window {
                index: 47,
                challenge: 2800,
                open: 2820,
                close: 2880
            },
            Window {
                index: 0,
                challenge: 2860,
                open: 2880,
                close: 2940
            },
        ]
    );
}

#[test]
fn a_lookback_longer_than_the_window_gives_several_windows_but_none_twice() {
    let di = deadline(0, 100, 4, 10, 25);
    assert_eq!(opens(&di, 100), [(0, 100), (1, 110), (2, 120)]);
    let absurd = deadline(0, 100, 2, 10, 1000);
    assert_eq!(opens(&absurd, 100), [(0, 100), (1, 110)]);
}

#[test]
fn nonsense_from_a_node_gives_no_windows() {
    for di in [
        deadline(0, 0, 0, 60, 20),
        deadline(0, 0, 48, 0, 20),
        deadline(0, 0, 48, -60, 20),
    ] {
        assert_eq!(windows(&di, 5), []);
    }
}

#[test]
fn confidence_keeps_its_share_of_the_window() {
    let timing = |window, lookback, challenge, submit| {
        let t = Timing::new(
            &policy(challenge, submit),
            &deadline(0, 0, 4, window, lookback),
        );
        (t.challenge_confidence, t.submit_confidence, t.longest_pause)
    };
    for (window, lookback, challenge, submit, expected) in [
        (60, 20, None, None, (10, 4, 6)),
        (60, 20, Some(0), Some(0), (10, 4, 6)),
        (60, 20, Some(15), Some(8), (15, 8, 6)),
        (10, 5, None, None, (2, 0, 1)),
        (20, 10, None, None, (5, 1, 2)),
        // an operator's wish that would miss the window is cut
        (10, 5, Some(10), Some(30), (5, 5, 1)),
        (1, 0, None, None, (0, 0, 1)),
    ] {
        assert_eq!(
            timing(window, lookback, challenge, submit),
            expected,
            "window {window}, lookback {lookback}"
        );
    }
}

#[test]
fn pauses_double_up_to_a_bound_and_the_last_epoch_is_always_tried() {
    let timing = Timing::new(&policy(None, None), &mainnet(0, 0));
    for (head, tries, expected) in [
        (10, 1, 11),
        (10, 2, 12),
        (10, 3, 14),
        (10, 4, 16),
        (10, 90, 16),
        (56, 4, 59),
        (58, 4, 59),
        (59, 4, 65),
    ] {
        assert_eq!(
            timing.retry_at(head, tries, 60),
            expected,
            "head {head}, {tries} tries"
        );
    }
}

fn record(state: PostState) -> PostRecord {
    let key = PostKey {
        miner: 1000,
        open: 1180,
        first: 0,
    };
    PostRecord {
        state,
        partitions: vec![0],
        ..PostRecord::planned(key, 3, 1160, 1240)
    }
}

fn at(head: Epoch, records: &[PostRecord], planned: bool, busy: bool) -> Vec<Action> {
    let di = mainnet(3, 1000);
    let windows = windows(&di, head);
    let planned = if planned {
        HashSet::from([1180, 1240])
    } else {
        HashSet::new()
    };
    let busy = records
        .iter()
        .filter(|_| busy)
        .map(|r| r.key)
        .collect::<HashSet<_>>();
    actions(&View {
        head,
        windows: &windows,
        timing: Timing::new(&policy(None, None), &di),
        records,
        planned: &planned,
        busy: &busy,
    })
}

#[test]
fn a_window_is_planned_once_when_its_challenge_is_deep_enough() {
    let this = |head| {
        let w = windows(&mainnet(3, 1000), head)[0];
        vec![Action::Plan(w)]
    };
    for (head, expected) in [
        (1159, vec![]),
        (1169, vec![]),
        (1170, this(1170)),
        (1229, this(1229)),
    ] {
        assert_eq!(at(head, &[], false, false), expected, "head {head}");
    }
    assert_eq!(at(1230, &[], false, false).len(), 2, "the next one as well");
    assert_eq!(at(1230, &[], true, false), []);
}

#[test]
fn every_state_has_its_hour() {
    use PostState as S;
    let key = record(S::Waiting).key;
    let (prove, submit) = (Action::Prove(key), Action::Submit(key));
    let (follow, expire) = (Action::Follow(key), Action::Expire(key));
    for (state, head, expected) in [
        // the head went back below the challenge: nothing is known any more
        (S::Waiting, 1150, None),
        (S::Waiting, 1169, None),
        (S::Waiting, 1170, Some(prove)),
        (S::Waiting, 1239, Some(prove)),
        (S::Waiting, 1240, Some(expire)),
        (S::Challenged, 1170, Some(prove)),
        (S::Proving, 1175, Some(prove)),
        (S::Proving, 1240, Some(expire)),
        (S::Proved, 1183, None),
        (S::Proved, 1184, Some(submit)),
        (S::Proved, 1239, Some(submit)),
        (S::Proved, 1240, Some(expire)),
        (S::Submitted, 1184, Some(follow)),
        (S::Submitted, 9999, Some(follow)),
        (S::Landed, 1190, None),
        (S::Covered, 1190, None),
        (S::Failed, 1250, None),
        (S::Expired, 1250, None),
    ] {
        let records = [record(state)];
        let found = at(head, &records, true, false);
        assert_eq!(
            found,
            expected.into_iter().collect::<Vec<_>>(),
            "{state} at {head}"
        );
        assert_eq!(
            at(head, &records, true, true),
            [],
            "{state} at {head}, busy"
        );
    }
}

#[test]
fn a_failed_attempt_rests_but_not_beyond_the_close() {
    let resting = PostRecord {
        retry_at: Some(1200),
        ..record(PostState::Waiting)
    };
    let key = resting.key;
    for (head, expected) in [
        (1199, vec![]),
        (1200, vec![Action::Prove(key)]),
        (1240, vec![Action::Expire(key)]),
    ] {
        let found = at(head, std::slice::from_ref(&resting), true, false);
        assert_eq!(found, expected, "head {head}");
    }
    let beyond = PostRecord {
        retry_at: Some(5000),
        ..record(PostState::Proved)
    };
    assert_eq!(at(1240, &[beyond], true, false), [Action::Expire(key)]);
}

#[test]
fn a_store_that_is_away_is_waited_for_while_a_proof_fits_twice_behind_it() {
    for (proving, until) in [
        // nothing is known of how long it takes
        (None, 60),
        (Some(0), 106),
        (Some(1), 106),
        (Some(10), 88),
        (Some(24), 60),
        (Some(500), 60),
        (Some(Epoch::MAX), 60),
    ] {
        assert_eq!(wait_until(60, 120, proving), until, "{proving:?}");
    }
    assert_eq!(wait_until(10, 12, Some(1)), 10, "a window of two epochs");
}
