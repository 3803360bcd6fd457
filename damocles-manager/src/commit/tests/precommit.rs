//! Precommits.

use super::*;

#[test]
fn submissions_after_submissions() {
    let message = |state| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records/message-v1.json");
        let text = std::fs::read_to_string(path).unwrap();
        let mut record: MessageRecord = serde_json::from_str(&text).unwrap();
        record.state = state;
        Stage::In(Box::new(record))
    };
    let take = |alone| Again::Take { alone };
    use MessageState as S;
    // before, (same, no reset), (same, reset), (other, no reset), (other, reset)
    let table = [
        (None, [take(false); 4]),
        (
            Some(Stage::Waits(None)),
            [Again::Accept, Again::Accept, Again::Mismatch, take(false)],
        ),
        (
            Some(Stage::Found),
            [take(false), take(false), Again::Mismatch, Again::Mismatch],
        ),
        (
            Some(message(S::Pushed)),
            [
                Again::Accept,
                Again::Accept,
                Again::Mismatch,
                Again::Mismatch,
            ],
        ),
        (
            Some(message(S::Landed)),
            [
                Again::Accept,
                Again::Accept,
                Again::Mismatch,
                Again::Mismatch,
            ],
        ),
        (
            Some(message(S::Final)),
            [
                Again::Accept,
                Again::Accept,
                Again::Mismatch,
                Again::Mismatch,
            ],
        ),
        (
            Some(message(S::Failed)),
            [Again::Accept, take(true), Again::Mismatch, take(true)],
        ),
        (
            Some(message(S::Rejected)),
            [Again::Accept, take(true), Again::Mismatch, take(true)],
        ),
        (
            Some(Stage::Dropped("x".into(), None)),
            [Again::Accept, take(false), Again::Mismatch, take(false)],
        ),
    ];
    for (before, wants) in table {
        let cases = [(true, false), (true, true), (false, false), (false, true)];
        for ((same, reset), want) in cases.into_iter().zip(wants) {
            let got = again(before.as_ref(), same, reset);
            assert_eq!(got, want, "{before:?} same={same} reset={reset}");
        }
    }
}

#[tokio::test]
async fn a_precommit_goes_on_chain() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Pending);
    house.push().await;

    let messages = house.messages(id);
    assert_eq!(messages.len(), 1);
    let message = &messages[0];
    assert_eq!((message.method, message.miner), (28, 1000));
    assert_eq!(message.value, TokenAmount::from_whole(1));
    let params: PreCommitSectorBatchParams2 = RawBytes::new(message.params.0.clone())
        .deserialize()
        .unwrap();
    assert_eq!(params.sectors.len(), 1);
    let sector = &params.sectors[0];
    assert_eq!(sector.sector_number, id.number);
    assert_eq!(sector.sealed_cid, COMM_R.sealed_cid());
    assert_eq!(sector.seal_rand_epoch, 4000);
    assert!(sector.unsealed_cid.is_zero());
    assert_eq!(sector.expiration, 5000 + 538 * 2880);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Pending);

    house.precommitted(id);
    house.run(message, 0, RawBytes::default()).await;
    assert_eq!(house.pre_state(id).await.0, OnChainState::Landed);
    // and after the sector is proven it still has
    house.active(id);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Landed);
    // what is not there any more is looked at again before a worker hears of it
    house.rig.chain.edit().sectors.clear();
    for _ in 0..3 {
        let waits = (OnChainState::Packed, Some(Reason::NotNow));
        assert_eq!(house.pre_poll(id).await, waits);
    }
    house.rig.advance(5);
    let lost = (OnChainState::ShouldAbort, Some(Reason::NumberUsed));
    assert_eq!(house.pre_poll(id).await, lost);
    // not on the word of a node of another network, or of one that does not say
    for genesis in [Some("another".to_owned()), None] {
        house.rig.chain.edit().genesis = genesis;
        assert_eq!(house.pre_state(id).await.0, OnChainState::Packed);
    }
    // a node that never saw the number is behind
    house.rig.chain.edit().allocated.clear();
    assert_eq!(house.pre_state(id).await.0, OnChainState::Packed);
}

#[tokio::test]
async fn repeated_and_restarted_submissions_make_one_message() {
    let mut house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    for reset in [false, true, false] {
        assert_eq!(house.submit(id, info, reset).await.res, R::Accepted);
    }
    // the daemon starts again between the submission and its message
    house.rig.restart();
    house.commit.engine = house.rig.engine.clone();
    for reset in [false, true] {
        house.push().await;
        assert_eq!(house.submit(id, info, reset).await.res, R::Accepted);
    }
    house.push().await;
    assert_eq!(house.messages(id).len(), 1);
    assert_eq!(house.rig.chain.edit().pushed.len(), 1);
    let other = PreCommitOnChainInfo {
        comm_r: Comm([1; 32]),
        ..info
    };
    for reset in [false, true] {
        let resp = house.submit(id, other, reset).await;
        assert_eq!(resp.res, R::MismatchedSubmission);
    }
    assert_eq!(house.messages(id).len(), 1);
}

#[tokio::test]
async fn what_is_left_of_a_ticket_follows_the_head() {
    let house = House::new(|_| {});
    let id = house.sector();
    assert_eq!(house.commit.ticket_left(id).await.unwrap(), None);
    let head = house.rig.chain.head().await.unwrap().height;
    let life =
        fil_actors_shared::v18::runtime::policy_constants::MAX_PRE_COMMIT_RANDOMNESS_LOOKBACK;
    let delay = house.commit.facts.block_delay().await.unwrap().as_secs();
    for (epoch, epochs) in [
        (head - 900, life - 900),
        (head - life, 0),
        (head - life - 5, -5),
    ] {
        let ticket = house.ticket(epoch).await;
        let db = &house.rig.db;
        db.change_online(id, Durability::Synced, |record| {
            record.ticket = Some(ticket);
            Ok::<_, crate::db::DbError>(())
        })
        .unwrap();
        let left = house.commit.ticket_left(id).await.unwrap().unwrap();
        assert_eq!((left.epoch, left.epochs), (epoch, epochs));
        assert_eq!(left.seconds, epochs.max(0) as u64 * delay);
    }
}

#[tokio::test]
async fn submissions_that_can_never_be_taken_are_rejected_with_a_reason() {
    let house = House::new(|_| {});
    let good = house.info().await;
    let old = PreCommitOnChainInfo {
        ticket: house.ticket(1000).await,
        ..good
    };
    let mut forged = good;
    forged.ticket.ticket.0[0] ^= 1;
    let data = PreCommitOnChainInfo {
        comm_d: Comm([1; 32]),
        ..good
    };
    for (info, twice, res, reason, word) in [
        (old, false, R::Rejected, Reason::TicketExpired, "expired"),
        (
            forged,
            true,
            R::Rejected,
            Reason::TicketNotOnChain,
            "ticket",
        ),
        (
            data,
            false,
            R::MismatchedSubmission,
            Reason::Differs,
            "CommD",
        ),
    ] {
        let id = house.sector();
        let resp = match twice {
            true => house.submit_twice(id, info).await,
            false => house.submit(id, info, false).await,
        };
        assert_eq!((resp.res, resp.reason), (res, Some(reason)));
        assert!(resp.desc.unwrap().contains(word));
        house.push().await;
        assert!(house.messages(id).is_empty());
    }
    let used = house.sector();
    let bits = BitField::try_from_bits([used.number]).unwrap();
    house.rig.chain.edit().allocated.insert(1000, bits);
    let resp = house.submit_twice(used, good).await;
    let over = (R::Rejected, Some(Reason::NumberUsed));
    assert_eq!((resp.res, resp.reason), over);

    let wrong = AllocatedSector {
        id: house.sector(),
        proof_type: SealProof::interactive(SectorSize::MiB8),
    };
    let resp = house.commit.submit_pre_commit(wrong, good, false).await;
    assert_eq!(resp.unwrap().res, R::MismatchedSubmission);
    let unknown = SectorId::new(1000, 998);
    let sector = AllocatedSector {
        id: unknown,
        proof_type: PROOF,
    };
    let e = house.commit.submit_pre_commit(sector, good, false).await;
    assert!(matches!(e, Err(CommitError::Db(DbError::Unknown(id))) if id == unknown));
    let e = house.commit.poll_pre_commit(unknown).await;
    assert!(matches!(e, Err(CommitError::Db(DbError::Unknown(_)))));
}

#[tokio::test]
async fn a_node_that_lost_a_part_of_the_chain_costs_no_sector() {
    let house = House::new(|_| {});
    let (waiting, late) = (house.sector(), house.sector());
    let info = house.info().await;
    house.submit(waiting, info, false).await;
    // it syncs anew, from below the ticket
    let height = house.rig.chain.edit().height;
    house.rig.chain.edit().height = info.ticket.epoch - 1;
    let submit = async |info| {
        let sector = AllocatedSector {
            id: late,
            proof_type: PROOF,
        };
        house.commit.submit_pre_commit(sector, info, false).await
    };
    let behind = submit(info).await;
    assert!(matches!(behind, Err(CommitError::Behind { .. })));
    let mut nonsense = info;
    nonsense.ticket.epoch = Epoch::MIN;
    assert_eq!(submit(nonsense).await.unwrap().res, R::Rejected);
    house.push().await;
    let (state, why) = house.pre_state(waiting).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(why.unwrap().contains("may be behind"));

    house.rig.chain.edit().height = height;
    assert_eq!(submit(info).await.unwrap().res, R::Accepted);
    house.push().await;
    for id in [waiting, late] {
        assert_eq!(house.messages(id).len(), 1);
    }
}

#[tokio::test]
async fn a_sector_that_is_given_up_while_its_message_is_made_is_not_sent() {
    let house = House::new(|_| {});
    let id = house.sector();
    house.submit(id, house.info().await, false).await;
    // the driver has listed it and is asking the node; then the worker gives it up
    let db = &house.rig.db;
    db.change(id, Durability::Synced, |record| {
        record.online = false;
        Ok::<_, DbError>(())
    })
    .unwrap();
    let message = crate::messages::Intent {
        kind: Commitment::PreCommit.message_kind(),
        miner: 1000,
        from: fvm_shared::address::Address::new_id(100),
        value: TokenAmount::from_whole(1),
        method: 28,
        params: RawBytes::default(),
        fee: crate::policy::FeePolicy::default(),
        confidence: 10,
        sectors: vec![id],
        deadline: None,
        note: None,
    }
    .record(crate::model::MessageId::new());
    let sent = db.send_commitments(Commitment::PreCommit, &message);
    assert!(matches!(sent, Err(DbError::Changed(changed)) if changed == id));
    assert!(db.open_messages().unwrap().is_empty());
}

#[tokio::test]
async fn a_precommit_that_is_on_chain_already_is_remembered_as_landed() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.precommitted(id);
    assert_eq!(house.submit(id, info, false).await.res, R::Accepted);
    house.push().await;
    assert!(house.messages(id).is_empty());
    assert_eq!(house.pre_state(id).await.0, OnChainState::Packed);
    house.rig.advance(10);
    assert_eq!(house.pre_state(id).await.0, OnChainState::Landed);
    assert!(house.rig.db.online(id).unwrap().pre.is_some());

    let other = PreCommitOnChainInfo {
        comm_r: Comm([1; 32]),
        ..info
    };
    let another = house.sector();
    house.precommitted(another);
    let resp = house.submit(another, other, false).await;
    assert_eq!(resp.res, R::MismatchedSubmission);
}

#[tokio::test]
async fn a_batch_waits_for_its_threshold_and_goes_as_one() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let (a, b) = (house.sector(), house.sector());
    let info = house.info().await;
    house.submit(b, info, false).await;
    house.push().await;
    assert!(house.messages(b).is_empty());
    assert_eq!(house.pre_state(b).await.0, OnChainState::Pending);
    house.submit(a, info, false).await;
    house.push().await;
    let message = &house.messages(a)[0];
    assert_eq!(message.sectors, [a, b]);
    assert_eq!(house.messages(b)[0].id, message.id);
    assert_eq!(message.value, TokenAmount::from_whole(2));
}

#[tokio::test]
async fn a_failed_message_is_followed_by_one_of_its_own_when_asked_for() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let (a, b) = (house.sector(), house.sector());
    let info = house.info().await;
    for id in [a, b] {
        house.submit(id, info, false).await;
    }
    house.push().await;
    let first = house.messages(a)[0].clone();
    house.run(&first, 7, RawBytes::default()).await;
    let (state, desc) = house.pre_state(a).await;
    assert_eq!(state, OnChainState::Failed, "{desc:?}");
    // without reset nothing new is sent
    assert_eq!(house.submit(a, info, false).await.res, R::Accepted);
    house.push().await;
    assert_eq!(house.messages(a).len(), 1);
    for id in [a, b] {
        assert_eq!(house.submit(id, info, true).await.res, R::Accepted);
    }
    house.push().await;
    for id in [a, b] {
        let messages = house.messages(id);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1].sectors, [id], "what failed goes alone");
    }
    house
        .run(&house.messages(a)[1], 16, RawBytes::default())
        .await;
    assert_eq!(house.pre_state(a).await.0, OnChainState::PermFailed);
}

#[tokio::test]
async fn a_person_may_want_another_message_and_gets_none_while_one_lives() {
    let house = House::new(|_| {});
    let id = house.sector();
    let never = house.commit.resend(id, false).await.unwrap_err();
    assert!(never.to_string().contains("never submitted"), "{never}");
    house.submit(id, house.info().await, false).await;
    house.push().await;
    let first = house.messages(id)[0].clone();
    house.commit.resend(id, false).await.unwrap();
    house.push().await;
    assert_eq!(house.messages(id).len(), 1, "it lives");
    house.run(&first, 7, RawBytes::default()).await;
    let again = house.commit.resend(id, false).await.unwrap();
    assert_eq!(again.res, R::Accepted);
    house.push().await;
    assert_eq!(house.messages(id).len(), 2);
    // of a proof there is nothing yet
    assert!(house.commit.resend(id, true).await.is_err());
}

#[tokio::test]
async fn an_empty_wallet_is_waited_for_and_the_worker_hears_of_it() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.rig.chain.edit().refusals = vec!["not enough funds".into(); 50];
    house.submit(id, info, false).await;
    for _ in 0..50 {
        house.push().await;
        house.rig.advance(1);
        let waits = (OnChainState::Pending, Some(Reason::NotNow));
        assert_eq!(house.pre_poll(id).await, waits);
        let (_, desc) = house.pre_state(id).await;
        assert!(desc.unwrap().contains("not enough funds"));
    }
    // funds came: the same message goes
    house.push().await;
    assert_eq!(house.pre_poll(id).await, (OnChainState::Pending, None));
    assert_eq!(house.messages(id).len(), 1);
    assert_eq!(house.rig.chain.edit().pushed.len(), 1);
}

#[tokio::test]
async fn a_message_that_the_actor_refuses_can_be_tried_anew() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    let words = "message execution failed: exit 16, reason: no";
    house.rig.chain.edit().estimate_refusal = Some(words.into());
    house.submit(id, info, false).await;
    for _ in 0..5 {
        house.push().await;
        house.rig.advance(1);
    }
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Failed);
    assert!(desc.unwrap().contains("exit 16"));
    house.rig.chain.edit().estimate_refusal = None;
    house.submit(id, info, true).await;
    house.push().await;
    assert_eq!(house.pre_state(id).await.0, OnChainState::Pending);
    assert_eq!(house.rig.chain.edit().pushed.len(), 1);
}

#[tokio::test]
async fn one_bad_sector_does_not_hold_up_the_batch() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let (good, bad) = (house.sector(), house.sector());
    let info = house.info().await;
    house.rig.chain.edit().no_deposit.insert(bad.number);
    for id in [good, bad] {
        house.submit(id, info, false).await;
    }
    house.push().await;
    assert_eq!(house.messages(good)[0].sectors, [good]);
    assert!(house.messages(bad).is_empty());
    let (state, desc) = house.pre_state(bad).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(desc.unwrap().contains("no such proof type"));
}

#[tokio::test]
async fn a_lost_answer_about_one_sector_holds_up_nobody() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let ids = [house.sector(), house.sector()];
    let info = house.info().await;
    for id in ids {
        house.submit(id, info, false).await;
    }
    let method = "StateSectorPreCommitInfo";
    house.rig.chain.edit().lost.insert(method, 1);
    house.push().await;
    assert_eq!(house.rig.chain.edit().lost[method], 0);
    assert_eq!(house.messages(ids[0])[0].sectors, ids);
    assert_eq!(house.messages(ids[1]).len(), 1);
}

#[tokio::test]
async fn a_node_that_is_away_delays_and_loses_nothing() {
    let house = House::new(|_| {});
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.rig.chain.set_down(true);
    house.push().await;
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(desc.unwrap().contains("does not answer"));
    house.rig.chain.set_down(false);
    house.push().await;
    assert_eq!(house.messages(id).len(), 1);
}

#[tokio::test]
async fn a_ticket_that_expires_while_waiting_is_told() {
    let house = House::new(|m| m.pre.batch.threshold = 2);
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.rig.advance(4000);
    let second = house.sector();
    let fresh = PreCommitOnChainInfo {
        ticket: house.ticket(8000).await,
        ..info
    };
    house.submit(second, fresh, false).await;
    house.push().await;
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Failed);
    assert!(desc.unwrap().contains("expired"));
    assert_eq!(house.submit(id, info, true).await.res, R::Rejected);
    assert_eq!(house.messages(second)[0].sectors, [second]);
}

#[tokio::test]
async fn without_a_valid_sender_sectors_wait_and_say_so() {
    let stranger = fvm_shared::address::Address::new_id(4711);
    let house = House::new(|m| m.pre.senders = vec![stranger]);
    let id = house.sector();
    let info = house.info().await;
    house.submit(id, info, false).await;
    house.push().await;
    let (state, desc) = house.pre_state(id).await;
    assert_eq!(state, OnChainState::Pending);
    assert!(desc.unwrap().contains("4711"));
    // and to operators, before there is any message
    let shown = house.rig.engine.sector_messages(id).await.unwrap();
    assert_eq!((shown.len(), shown[0].state.as_str()), (1, "Ready"));
    assert!(shown[0].last_error.as_ref().unwrap().contains("4711"));
}
