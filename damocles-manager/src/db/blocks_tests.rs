//! Which blocks may be signed beside which, as a table; records and counts.

use super::*;
use cid::Cid;
use damocles_node::message::chain_cid;

const MINER: ActorId = 1000;

fn key(names: &[&str]) -> TipSetKey {
    TipSetKey(names.iter().map(|n| chain_cid(n.as_bytes())).collect())
}

fn record(height: Epoch, parents: &[&str], base: Epoch) -> BlockRecord {
    BlockRecord::won(MINER, height, (key(parents), base))
}

/// A block of that name which was signed and, in the end, sent.
fn signed(db: &Db, height: Epoch, parents: &[&str], base: Epoch, name: &str) -> BlockRecord {
    let asked = db.may_sign(&record(height, parents, base)).unwrap();
    let MaySign::Yes(asked) = asked else {
        panic!("refused: {asked:?}");
    };
    let cid: Option<Cid> = Some(chain_cid(name.as_bytes()));
    let signed = BlockRecord { cid, ..*asked };
    let signed = signed.step(BlockEvent::Sign).unwrap();
    db.put_block(&signed).unwrap()
}

#[test]
fn no_two_blocks_of_a_miner_are_signed_that_would_be_a_consensus_fault() {
    let cases: [(&str, BlockRecord, Option<&str>); 7] = [
        (
            "another one of this epoch",
            record(11, &["c"], 10),
            Some("double-fork"),
        ),
        (
            "the same once more",
            record(11, &["a", "b"], 10),
            Some("double-fork"),
        ),
        (
            "the same parents later",
            record(12, &["a", "b"], 10),
            Some("time-offset"),
        ),
        (
            "beside its own block",
            record(12, &["other"], 11),
            Some("parent grinding"),
        ),
        ("on its own block", record(12, &["mine"], 11), None),
        (
            "on its own block and others",
            record(13, &["other", "mine"], 11),
            None,
        ),
        ("on a later tipset", record(14, &["other"], 12), None),
    ];
    for (what, new, fault) in cases {
        let db = Db::in_memory();
        signed(&db, 11, &["a", "b"], 10, "mine");
        // what was written of the epoch before it was asked for
        let stored = db.block(MINER, new.height).unwrap();
        let new = BlockRecord {
            writes: stored.map_or(0, |r| r.writes),
            ..new
        };
        match (db.may_sign(&new).unwrap(), fault) {
            (MaySign::Yes(record), None) => {
                assert_eq!(
                    db.block(MINER, new.height).unwrap(),
                    Some(*record),
                    "{what}"
                );
            }
            (MaySign::Fault { with: 11, why }, Some(word)) => assert!(why.contains(word), "{why}"),
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn an_epoch_is_used_up_when_a_signature_may_exist_and_not_before() {
    let db = Db::in_memory();
    // lost before it was asked for: the round may be tried again
    let won = db.put_block(&record(11, &["a"], 10)).unwrap();
    let lost = won.step(BlockEvent::Lose).unwrap();
    let lost = db.put_block(&lost).unwrap();
    let again = BlockRecord {
        writes: lost.writes,
        ..record(11, &["b"], 10)
    };
    let MaySign::Yes(asked) = db.may_sign(&again).unwrap() else {
        panic!("nothing was signed");
    };
    // the answer was lost: nobody knows whether there is a block
    let lost = db
        .put_block(&asked.step(BlockEvent::Lose).unwrap())
        .unwrap();
    assert!(lost.asked && lost.block.is_none());
    for parents in [["b"], ["c"]] {
        let again = BlockRecord {
            writes: lost.writes,
            ..record(11, &parents, 10)
        };
        let refused = db.may_sign(&again).unwrap();
        assert!(
            matches!(refused, MaySign::Fault { with: 11, .. }),
            "{refused:?}"
        );
    }
    // but whoever builds on that epoch leaves out nothing that anybody has
    let on_it = db.may_sign(&record(12, &["other"], 11));
    assert!(matches!(on_it, Ok(MaySign::Yes(_))));
    // another miner's rounds are its own
    let other = BlockRecord::won(1001, 11, (key(&["b"]), 10));
    assert!(matches!(db.may_sign(&other), Ok(MaySign::Yes(_))));
}

#[test]
fn who_has_seen_an_older_record_writes_nothing() {
    let db = Db::in_memory();
    let won = db.put_block(&record(11, &["a"], 10)).unwrap();
    db.put_block(&won).unwrap();
    let stale = db.may_sign(&won);
    assert!(matches!(
        stale,
        Err(DbError::BlockChanged { height: 11, .. })
    ));
}

#[test]
fn records_are_listed_newest_first_and_forgotten_and_the_rest_is_counted() {
    let db = Db::in_memory();
    for height in [30, 10, 20] {
        signed(
            &db,
            height,
            &[&format!("on {height}")],
            height - 1,
            &format!("mine {height}"),
        );
    }
    let heights = |records: Vec<BlockRecord>| records.iter().map(|r| r.height).collect::<Vec<_>>();
    assert_eq!(heights(db.recent_blocks(MINER, 2).unwrap()), [30, 20]);
    let sent = db.block(MINER, 20).unwrap().unwrap();
    let sent = sent.step(BlockEvent::Send).unwrap();
    let sent = db.put_block(&sent).unwrap();
    db.put_block(&sent.step(BlockEvent::Include).unwrap())
        .unwrap();
    assert_eq!(heights(db.unfinished_blocks(MINER).unwrap()), [30, 10]);
    db.forget_blocks(MINER, 30).unwrap();
    assert_eq!(heights(db.recent_blocks(MINER, 9).unwrap()), [30]);

    assert_eq!(db.rounds(MINER).unwrap(), Rounds::default());
    db.count_round(MINER, 7, |r| r.not_won += 1).unwrap();
    db.count_round(MINER, 8, |r| r.not_eligible += 1).unwrap();
    let rounds = db.rounds(MINER).unwrap();
    assert_eq!((rounds.since, rounds.last, rounds.tried), (7, 8, 2));
    assert_eq!((rounds.not_won, rounds.not_eligible), (1, 1));
}
