//! The election against the figures of Lotus' own tests, and against its law.

use super::*;

/// Lines of the figures that begin with that word, as numbers.
fn vectors(word: &str) -> Vec<Vec<BigInt>> {
    let lines = include_str!("election_vectors.txt").lines();
    let wanted = lines.filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    let numbers = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect();
    wanted.map(numbers).collect()
}

#[test]
fn every_place_is_the_one_of_lotus() {
    let poisson = vectors("more-than");
    assert_eq!(poisson.len(), 7);
    for line in poisson {
        let [base, shift, more @ ..] = &line[..] else {
            panic!("a rate without figures");
        };
        let shift = usize::try_from(shift.clone()).unwrap();
        let mut ours = MoreThan::none(base << (PLACES - shift));
        for (wins, expected) in more.iter().enumerate() {
            assert_eq!(&ours.more, expected, "more than {wins} at {base}/2^{shift}");
            ours.one_more();
        }
    }
    for line in vectors("exp-neg") {
        assert_eq!(exp_neg(&line[0]), line[1], "e^-{}", line[0]);
    }
    for line in vectors("rate") {
        assert_eq!(rate(&line[0], &line[1]), line[2]);
    }
}

#[test]
fn a_fifth_of_the_power_wins_once_an_epoch_on_the_average() {
    let (power, total) = (BigInt::from(20), BigInt::from(100));
    let mut wins = 0;
    const ROUNDS: u32 = 20_000;
    for round in 0..ROUNDS {
        wins += win_count(&round.to_le_bytes(), &power, &total);
    }
    let average = wins as f64 / f64::from(ROUNDS);
    assert!((0.97..1.03).contains(&average), "{average}");
    assert!((expected_wins(&power, &total) - 1.0).abs() < 1e-9);
}

#[test]
fn who_has_no_power_wins_nothing_and_nobody_wins_more_than_three_times_a_full_epoch() {
    let (none, all) = (BigInt::default(), BigInt::from(1000));
    assert_eq!(win_count(b"proof", &none, &all), 0);
    assert_eq!(
        win_count(b"proof", &all, &none),
        0,
        "a network without power"
    );
    assert!(ElectionProof::won(b"proof".to_vec(), &none, &all).is_none());
    // far beyond what there can be
    let (mine, theirs) = (BigInt::from(3), BigInt::from(1));
    let most = (0..200_u32).map(|n| win_count(&n.to_le_bytes(), &mine, &theirs));
    assert!(most.max().unwrap() <= MOST_WINS);
}

#[test]
fn randomness_is_bound_to_its_purpose_its_round_and_its_miner() {
    let drawn = draw(b"beacon", 8, 77, b"miner");
    assert_eq!(drawn, draw(b"beacon", 8, 77, b"miner"));
    for other in [
        draw(b"beacon", 1, 77, b"miner"),
        draw(b"beacon", 8, 78, b"miner"),
        draw(b"beacon", 8, 77, b"other"),
        draw(b"another", 8, 77, b"miner"),
    ] {
        assert_ne!(drawn, other);
    }
}
