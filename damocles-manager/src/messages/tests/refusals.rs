//! What is waited for, what is given up, and what is withdrawn.

use super::*;

/// Lotus' words for what an actor says in an estimate.
fn actor_says(code: i64) -> String {
    format!(
        "message execution failed (exit=[ErrIllegalArgument({code})], vm error=[message failed with backtrace: … (RetCode={code})])"
    )
}

#[tokio::test]
async fn what_the_actor_refuses_at_head_after_head_is_given_up_and_says_why() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.chain.edit().estimate_refusal = Some(actor_says(16));
    for _ in 0..4 {
        // again and again at one head is one answer
        for _ in 0..3 {
            rig.round().await;
        }
        assert_eq!(rig.state(id), S::Wanted);
        rig.advance(1);
    }
    rig.round().await;
    let over = rig.get(id);
    assert_eq!(over.state, S::Rejected);
    assert!(over.error.unwrap().contains("RetCode=16"));
    rig.round().await;
    assert!(rig.chain.edit().pushed.is_empty());
    assert!(rig.db.open_messages().unwrap().is_empty());
}

#[tokio::test]
async fn a_days_wait_for_funds_room_or_a_synced_node_costs_one_message_nothing() {
    for words in [
        "mpool push: not enough funds: 1 < 2",
        "too many pending messages for actor",
        "gas fee cap too low",
        "failed to load tipset: ipld: could not find bafy2",
        "failed to sign message: key not found",
    ] {
        let mut rig = Rig::new(100);
        let id = rig.wanted().await;
        for day in 0..100 {
            rig.chain.edit().refusals = vec![words.into()];
            rig.round().await;
            let waits = rig.get(id);
            assert_eq!((waits.state, waits.refusals), (S::Wanted, 0), "{words}");
            assert!(waits.error.unwrap().contains(words));
            rig.advance(1);
            if day == 50 {
                rig.restart();
            }
        }
        rig.round().await;
        let pushed = rig.get(id);
        assert_eq!((pushed.state, pushed.error), (S::Pushed, None), "{words}");
        assert_eq!(rig.chain.edit().pushed.len(), 1, "{words}");
    }
}

#[tokio::test]
async fn a_message_that_no_chain_takes_is_given_up() {
    let rig = Rig::new(100);
    let id = MessageId::new();
    let params = RawBytes::new(vec![7; 64 << 10]);
    let large = Intent { params, ..intent() };
    rig.engine.want(id, large).await.unwrap();
    rig.round().await;
    let over = rig.get(id);
    assert_eq!(over.state, S::Rejected);
    assert!(over.error.unwrap().contains("65536 bytes"));
}

#[tokio::test]
async fn nothing_is_sent_while_no_head_is_believed() {
    let rig = Rig::new(100);
    let id = rig.wanted().await;
    rig.chain.edit().behind = Some("its head is 3 days old".into());
    rig.round().await;
    let waits = rig.get(id);
    assert_eq!(waits.state, S::Wanted);
    assert!(waits.error.unwrap().contains("3 days old"));
    assert!(rig.chain.edit().pushes.is_empty());
    rig.chain.edit().behind = None;
    rig.round().await;
    assert_eq!(rig.state(id), S::Pushed);
}

#[tokio::test]
async fn what_is_pointless_is_not_sent_and_gives_up_its_nonce() {
    let rig = Rig::new(100);
    let until = |deadline| Intent {
        deadline: Some(deadline),
        ..intent()
    };
    let (late, sent) = (MessageId::new(), MessageId::new());
    rig.engine.want(sent, until(130)).await.unwrap();
    rig.round().await;
    assert_eq!(rig.state(sent), S::Pushed);
    rig.advance(30);
    rig.engine.want(late, until(130)).await.unwrap();
    rig.round().await;
    assert_eq!(rig.state(late), S::Rejected);
    assert_eq!(rig.chain.edit().pushed.len(), 1);
    let withdrawal = rig.get(sent).withdrawal.unwrap().signed;
    assert_eq!(withdrawal.message.method, 0);
    assert_eq!(
        rig.chain.edit().republished,
        [withdrawal.cid()],
        "a message of nothing"
    );
}

#[tokio::test]
async fn what_was_not_pushed_when_its_sector_was_given_up_is_withdrawn() {
    use crate::{
        db::record::{Carriage, PreCommit},
        model::Commitment,
    };
    use damocles_kv::Durability;
    use damocles_types::{Randomness, SealProof, SectorSize, Ticket};
    let rig = Rig::new(100);
    rig.chain.set_down(true);
    let proof = SealProof::interactive(SectorSize::KiB2);
    let change = |id, change: &dyn Fn(&mut crate::db::record::SectorRecord)| {
        rig.db
            .change(id, Durability::Synced, |record| {
                change(record);
                Ok::<_, DbError>(())
            })
            .unwrap();
    };
    let mut sectors = Vec::new();
    for _ in 0..2 {
        let id = rig
            .db
            .allocate(1000, proof, 0, 9, Some)
            .unwrap()
            .unwrap()
            .id;
        change(id, &|record| {
            record.pre = Some(PreCommit {
                comm_r: damocles_types::Commitment([1; 32]),
                comm_d: damocles_types::Commitment([2; 32]),
                ticket: Ticket {
                    ticket: Randomness([3; 32]),
                    epoch: 1,
                },
                carriage: Carriage::Ready {
                    since: 1,
                    alone: false,
                    error: None,
                },
            });
        });
        sectors.push(id);
    }
    let of = |sectors: &[SectorId]| {
        Intent {
            kind: MessageKind::PreCommit,
            sectors: sectors.to_vec(),
            ..intent()
        }
        .record(MessageId::new())
    };
    let message = of(&sectors);
    rig.db
        .send_commitments(Commitment::PreCommit, &message)
        .unwrap();
    rig.round().await;
    assert_eq!(rig.state(message.id), S::Wanted);
    change(sectors[0], &|record| record.online = false);
    rig.chain.set_down(false);
    rig.round().await;
    let over = rig.get(message.id);
    assert_eq!(over.state, S::Rejected);
    assert!(over.error.unwrap().contains("given up"));
    assert!(rig.chain.edit().pushes.is_empty());
    // the other one waits for a message of its own
    let ready = rig.db.ready(Commitment::PreCommit, None).unwrap();
    assert_eq!(ready.iter().map(|r| r.id).collect::<Vec<_>>(), [sectors[1]]);
}
