//! Tables of epochs and partitions: which faulty sectors are declared recovered, and when.

use super::*;

/// 48 deadlines of 60 epochs from epoch 0, cut-off 70 before the opening, at a head.
fn mainnet(head: Epoch) -> DeadlineInfo {
    network(head, 48, 60, 70)
}

fn network(head: Epoch, count: u64, window: Epoch, cutoff: Epoch) -> DeadlineInfo {
    let period = window * count as Epoch;
    let period_start = head.div_euclid(period) * period;
    let index = (head - period_start) / window;
    let open = period_start + index * window;
    DeadlineInfo {
        current_epoch: head,
        period_start,
        index: index as u64,
        open,
        close: open + window,
        challenge: open - 20,
        fault_cutoff: open - cutoff,
        wpost_period_deadlines: count,
        wpost_proving_period: period,
        wpost_challenge_window: window,
        wpost_challenge_lookback: 20,
        fault_declaration_cutoff: cutoff,
    }
}

fn looked_at(di: &DeadlineInfo, head: Epoch) -> Vec<(u64, Epoch, Epoch)> {
    let all = openings(di, head).into_iter();
    all.map(|o| (o.index, o.from, o.cutoff)).collect()
}

#[test]
fn faulty_sectors_are_looked_at_for_a_window_before_each_cut_off() {
    // the deadline 5 opens at 300: declarations are taken below 230
    for (head, expected) in [
        (169, vec![(4, 110, 170)]),
        (170, vec![(5, 170, 230)]),
        (229, vec![(5, 170, 230)]),
        (230, vec![(6, 230, 290)]),
        // of the next period
        (2829, vec![(1, 2810, 2870)]),
        (2749, vec![(47, 2690, 2750)]),
        (2750, vec![(0, 2750, 2810)]),
    ] {
        assert_eq!(looked_at(&mainnet(head), head), expected, "head {head}");
    }
}

#[test]
fn every_deadline_has_its_turn_in_each_period_and_none_while_it_is_open() {
    for (count, window, cutoff) in [(48, 60, 70), (4, 10, 11), (3, 12, 14), (5, 20, 22)] {
        let period = window * count as Epoch;
        let mut turns = std::collections::BTreeMap::<(u64, Epoch), u32>::new();
        for head in 2 * period..4 * period {
            let di = network(head, count, window, cutoff);
            for o in openings(&di, head) {
                let open = (o.open - period..o.open - period + window).contains(&head);
                assert!(!open, "{o:?} at {head}");
                assert!(head < o.cutoff && o.cutoff < o.open);
                *turns.entry((o.index, o.open)).or_default() += 1;
            }
        }
        for index in 0..count {
            let mine = turns.keys().filter(|(i, _)| *i == index).count();
            assert!((2..=3).contains(&mine), "deadline {index}: {turns:?}");
        }
    }
}

#[test]
fn nonsense_from_a_node_gives_no_openings() {
    for di in [network(5, 1, 60, 70), network(5, 48, 60, -9)] {
        assert!(openings(&di, 5).iter().all(|o| o.cutoff > 5));
    }
    let mut di = mainnet(5);
    di.wpost_period_deadlines = 0;
    assert_eq!(openings(&di, 5), []);
    let mut di = mainnet(5);
    di.wpost_challenge_window = 0;
    assert_eq!(openings(&di, 5), []);
}

#[test]
fn every_state_has_its_hour() {
    use RecoveryState as S;
    let opening = Opening {
        index: 5,
        open: 300,
        cutoff: 230,
        from: 170,
    };
    let none = HashSet::new();
    let at = |head, records: &[RecoveryRecord], healthy: &HashSet<_>, busy: &HashSet<_>| {
        steps(head, &[opening], records, healthy, busy)
    };
    let this = HashSet::from([300]);
    assert_eq!(at(170, &[], &none, &none), [Recover::Begin(opening)]);
    assert_eq!(at(170, &[], &this, &none), []);
    assert_eq!(at(170, &[], &none, &this), []);
    for (state, retry_at, head, expected) in [
        (S::Looking, None, 170, Some(Recover::Look(300))),
        (S::Looking, Some(180), 179, None),
        (S::Looking, Some(180), 180, Some(Recover::Look(300))),
        (S::Looking, Some(500), 230, Some(Recover::Pass(300))),
        (S::Declared, None, 180, Some(Recover::Follow(300))),
        (S::Declared, None, 400, Some(Recover::Follow(300))),
        (S::Landed, None, 180, None),
        (S::Cleared, None, 180, None),
        (S::Passed, None, 180, None),
    ] {
        let record = RecoveryRecord {
            state,
            retry_at,
            ..RecoveryRecord::begun(1000, 5, 300, (170, 230))
        };
        let found = at(head, std::slice::from_ref(&record), &none, &none);
        assert_eq!(found, Vec::from_iter(expected), "{state} at {head}");
        assert_eq!(at(head, &[record], &none, &this), [], "{state}, busy");
    }
}

fn bits(bits: &[u64]) -> BitField {
    BitField::try_from_bits(bits.iter().copied()).unwrap()
}

#[test]
fn faulty_is_what_lives_and_does_not_recover() {
    let partition = |live: &[u64], faulty: &[u64], recovering: &[u64]| Partition {
        all_sectors: bits(live),
        faulty_sectors: bits(faulty),
        recovering_sectors: bits(recovering),
        live_sectors: bits(live),
        active_sectors: bits(&[]),
    };
    let found = faulty(&[
        partition(&[1, 2, 3], &[2, 3], &[3]),
        partition(&[4], &[], &[]),
        // a terminated one that still stands among the faulty
        partition(&[5, 6], &[5, 9], &[]),
    ]);
    let found: Vec<_> = found
        .into_iter()
        .map(|(i, s)| (i, s.iter().collect::<Vec<_>>()))
        .collect();
    assert_eq!(found, [(0, vec![2]), (2, vec![5])]);
}

#[test]
fn messages_hold_what_the_operator_and_the_protocol_allow() {
    let faulty = [(0, bits(&[1, 2])), (3, bits(&[3])), (7, bits(&[4, 5]))];
    let by = |max_partitions, max_sectors| {
        let d = declared(&faulty, |n| n != 4, max_partitions, max_sectors);
        let message = |m: Vec<Recovered>| -> Vec<_> {
            m.into_iter().map(|r| (r.partition, r.sectors)).collect()
        };
        let messages: Vec<_> = d.messages.into_iter().map(message).collect();
        (messages, d.left)
    };
    let (a, b, c) = ((0, vec![1, 2]), (3, vec![3]), (7, vec![5]));
    for (max_partitions, max_sectors, messages, left) in [
        (0, 0, vec![vec![a.clone(), b.clone(), c.clone()]], vec![]),
        (
            2,
            0,
            vec![vec![a.clone(), b.clone()], vec![c.clone()]],
            vec![],
        ),
        (1, 3, vec![vec![a.clone()], vec![b.clone()]], vec![5]),
        (0, 1, vec![vec![(0, vec![1])]], vec![2, 3, 5]),
    ] {
        assert_eq!(
            by(max_partitions, max_sectors),
            (messages, left),
            "{max_partitions} partitions, {max_sectors} sectors"
        );
    }
    let none = declared(&faulty, |_| false, 0, 0);
    assert_eq!(none, Declared::default());
    let many: Vec<_> = (0..4_000).map(|i| (i, bits(&[i]))).collect();
    assert_eq!(declared(&many, |_| true, 0, 0).messages.len(), 2);
    let large = BitField::try_from_bits(0..20_000).unwrap();
    let large = [(0, large.clone()), (1, large)];
    assert_eq!(declared(&large, |_| true, 0, 0).messages.len(), 2);
}

#[test]
fn parameters_are_read_back_by_the_actors_type() {
    let partitions = [Recovered {
        partition: 2,
        sectors: vec![4, 5],
    }];
    let raw = params(3, &partitions).unwrap();
    let back: DeclareFaultsRecoveredParams = raw.deserialize().unwrap();
    let [recovery] = &back.recoveries[..] else {
        panic!("{} recoveries", back.recoveries.len())
    };
    assert_eq!((recovery.deadline, recovery.partition), (3, 2));
    assert_eq!(recovery.sectors.iter().collect::<Vec<_>>(), [4, 5]);
    let huge = [Recovered {
        partition: 2,
        sectors: vec![u64::MAX],
    }];
    assert!(params(3, &huge).is_err());
}

#[test]
fn away_is_waited_for_half_of_the_time() {
    assert!(waits_for_away(170, 170, 230));
    assert!(waits_for_away(199, 170, 230));
    assert!(!waits_for_away(200, 170, 230));
    assert!(!waits_for_away(170, 170, 171));
}

#[test]
fn a_debt_is_paid_with_a_tenth_more() {
    for (available, pays) in [(5, 0), (0, 0), (-1, 2), (-10, 11), (-1000, 1100)] {
        let pays = TokenAmount::from_atto(pays);
        assert_eq!(
            payment(&TokenAmount::from_atto(available)),
            pays,
            "{available}"
        );
    }
}
