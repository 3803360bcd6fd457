//! What must hold of every table: reachable, no dead ends, no two edges for one event; the
//! rendered documents agree; stored and spoken names are frozen.

use damocles_flow::{
    Ev, Finding, PlanName, State,
    block::{BlockEvent, BlockFlow, BlockState},
    deal::{DealEvent, DealFlow, DealState},
    job::{JobEvent, JobFlow, JobState},
    message::{MessageEvent, MessageFlow, MessageState},
    post::{PostEvent, PostFlow, PostState},
    recovery::{RecoveryEvent, RecoveryFlow, RecoveryState},
    seal::{self, Seal},
    table::{Table, render},
};
use std::{collections::BTreeSet, path::PathBuf, str::FromStr};
use strum::IntoEnumIterator;

fn sound<T: Table>(ends: &[T::State]) {
    for state in T::reachable() {
        let edges = T::edges(state);
        assert_eq!(
            edges.is_empty(),
            ends.contains(&state),
            "{state:?}: ends are exactly the declared ends"
        );
        let events: BTreeSet<_> = edges.iter().map(|(e, _)| *e).collect();
        assert_eq!(
            events.len(),
            edges.len(),
            "{state:?}: one event has two edges"
        );
    }
    for end in ends {
        assert!(T::reachable().contains(end), "{end:?} is never reached");
    }
}

#[test]
fn tables_are_sound() {
    sound::<Seal>(&[State::Finished, State::Aborted]);
    sound::<MessageFlow>(&[
        MessageState::Final,
        MessageState::FailedFinal,
        MessageState::Rejected,
    ]);
    sound::<PostFlow>(&[PostState::Covered, PostState::Failed, PostState::Expired]);
    sound::<JobFlow>(&[JobState::Over]);
    sound::<DealFlow>(&[
        DealState::Cancelled,
        DealState::Expired,
        DealState::Returned,
    ]);
    sound::<RecoveryFlow>(&[
        RecoveryState::Landed,
        RecoveryState::Cleared,
        RecoveryState::Passed,
    ]);
    sound::<BlockFlow>(&[
        BlockState::Included,
        BlockState::Orphaned,
        BlockState::Refused,
        BlockState::Lost,
    ]);
}

#[test]
fn every_event_is_used_somewhere() {
    let sealing: BTreeSet<_> = Seal::reachable()
        .iter()
        .flat_map(|s| Seal::edges(*s))
        .map(|(e, _)| *e)
        .collect();
    assert_eq!(sealing, Ev::iter().collect());
    let messages: BTreeSet<_> = MessageFlow::reachable()
        .iter()
        .flat_map(|s| MessageFlow::edges(*s))
        .map(|(e, _)| *e)
        .collect();
    assert_eq!(messages, MessageEvent::iter().collect());
    let posts: BTreeSet<_> = PostFlow::reachable()
        .iter()
        .flat_map(|s| PostFlow::edges(*s))
        .map(|(e, _)| *e)
        .collect();
    assert_eq!(posts, PostEvent::iter().collect());
    let jobs: BTreeSet<_> = JobFlow::reachable()
        .iter()
        .flat_map(|s| JobFlow::edges(*s))
        .map(|(e, _)| *e)
        .collect();
    assert_eq!(jobs, JobEvent::iter().collect());
    let deals: BTreeSet<_> = DealFlow::reachable()
        .iter()
        .flat_map(|s| DealFlow::edges(*s))
        .map(|(e, _)| *e)
        .collect();
    assert_eq!(deals, DealEvent::iter().collect());
    let recoveries: BTreeSet<_> = RecoveryFlow::reachable()
        .iter()
        .flat_map(|s| RecoveryFlow::edges(*s))
        .map(|(e, _)| *e)
        .collect();
    assert_eq!(recoveries, RecoveryEvent::iter().collect());
    let blocks: BTreeSet<_> = BlockFlow::reachable()
        .iter()
        .flat_map(|s| BlockFlow::edges(*s))
        .map(|(e, _)| *e)
        .collect();
    assert_eq!(blocks, BlockEvent::iter().collect());
}

#[test]
fn every_state_with_a_sector_that_is_not_an_end_can_be_given_up() {
    for state in Seal::reachable() {
        let given_up = PlanName::Sealer.next(state, Ev::Abort);
        assert_eq!(
            given_up.is_ok(),
            !matches!(state, State::Empty | State::Finished | State::Aborted),
            "{state}"
        );
    }
}

#[test]
fn a_step_is_known_by_where_it_leads() {
    for state in Seal::reachable() {
        for &(event, next) in Seal::edges(state) {
            assert_eq!(
                PlanName::Sealer.between(state, next),
                Some(event),
                "{state} -> {next}: two events lead there"
            );
        }
    }
}

#[test]
fn whatever_a_state_needs_was_there_before_or_comes_with_the_event() {
    let needs = |state| BTreeSet::from_iter(seal::needs(state).unwrap_or_default());
    for state in Seal::reachable() {
        for &(event, next) in Seal::edges(state) {
            let mut there: BTreeSet<_> = needs(state);
            let found = seal::finds(event);
            there.extend(found.iter());
            assert!(
                next == State::Aborted || needs(next).is_subset(&there),
                "{state} -{event}-> {next}"
            );
            assert!(
                found.is_none_or(|f| needs(next).contains(&f)),
                "{event} finds what {next} does not need"
            );
        }
    }
    let found: BTreeSet<_> = Ev::iter().filter_map(seal::finds).collect();
    assert_eq!(found, Finding::iter().collect());
    assert_eq!(seal::needs(State::Unsealed), None);
}

#[test]
fn an_illegal_step_is_refused_with_its_names() {
    let refused = PlanName::Sealer.next(State::PC1Done, Ev::C2).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "plan sealer does not allow C2 in state PC1Done"
    );
    assert!(
        PlanName::Sealer
            .next(State::SnapEncoded, Ev::Abort)
            .is_err(),
        "foreign states have no edges"
    );
}

#[test]
fn names_on_the_wire_are_frozen() {
    let names = [
        "Empty",
        "Allocated",
        "DealsAcquired",
        "PieceAdded",
        "TreeDBuilt",
        "TicketAssigned",
        "PC1Done",
        "PC2Done",
        "SyntheticPoRepNeeded",
        "PCSubmitted",
        "PCLanded",
        "Persisted",
        "PersistanceSubmitted",
        "SeedAssigned",
        "C1Done",
        "C2Done",
        "ProofSubmitted",
        "Finished",
        "Aborted",
        "SnapEncoded",
        "SnapProved",
        "SealedChecked",
        "SnapPieceAdded",
        "SnapTreeDBuilt",
        "SnapDone",
        "Unsealed",
    ];
    assert_eq!(
        State::iter().map(|s| s.to_string()).collect::<Vec<_>>(),
        names
    );
    for (number, name) in names.iter().enumerate() {
        let state = State::from_str(name).unwrap();
        assert_eq!(
            serde_json::to_value(state).unwrap(),
            *name,
            "stored by name"
        );
        assert_eq!(
            State::from_upstream_number(u8::try_from(number).unwrap()),
            Some(state)
        );
    }
    assert_eq!(State::from_upstream_number(26), None);
    let messages: Vec<_> = MessageState::iter().map(|s| s.to_string()).collect();
    assert_eq!(
        messages,
        [
            "Wanted",
            "Pushed",
            "Packed",
            "Landed",
            "Failed",
            "Rejected",
            "Final",
            "FailedFinal"
        ]
    );
    let posts: Vec<_> = PostState::iter().map(|s| s.to_string()).collect();
    assert_eq!(
        posts,
        [
            "Waiting",
            "Challenged",
            "Proving",
            "Proved",
            "Submitted",
            "Landed",
            "Covered",
            "Failed",
            "Expired"
        ]
    );
    let jobs: Vec<_> = JobState::iter().map(|s| s.to_string()).collect();
    assert_eq!(jobs, ["Ready", "Running", "Finished", "Failed", "Over"]);
    let deals: Vec<_> = DealState::iter().map(|s| s.to_string()).collect();
    assert_eq!(
        deals,
        [
            "Waiting",
            "InSector",
            "Sealed",
            "Cancelled",
            "Expired",
            "Returning",
            "Returned"
        ]
    );
    let recoveries: Vec<_> = RecoveryState::iter().map(|s| s.to_string()).collect();
    assert_eq!(
        recoveries,
        ["Looking", "Declared", "Landed", "Cleared", "Passed"]
    );
    let blocks: Vec<_> = BlockState::iter().map(|s| s.to_string()).collect();
    assert_eq!(
        blocks,
        [
            "Won", "Signing", "Signed", "Sent", "Included", "Orphaned", "Refused", "Lost"
        ]
    );
}

fn document_agrees(name: &str, rendered: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/flows")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, rendered).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == rendered,
        "docs/flows/{name} differs from the table; run UPDATE_DOCS=1 cargo test -p damocles-flow"
    );
}

#[test]
fn documents_agree_with_the_tables() {
    document_agrees(
        "sealer.md",
        &render::<Seal>(
            "The sealer plan",
            "One sector on one sealing thread, from a sector number to an accepted proof. A state is named after what \
             is finished; its step leads to the next one. The output of a step is stored in the same batch as the new \
             state, before anything else happens.",
            seal::step_sentence,
        ),
    );
    document_agrees(
        "message.md",
        &render::<MessageFlow>(
            "A chain message",
            "Every message of the manager goes through this table. The intent is stored before the message leaves the \
             process, and pushing it again with the same id gives the same message. What landed is watched until the \
             chain has finalised it.",
            MessageState::sentence,
        ),
    );
    document_agrees(
        "window-post.md",
        &render::<PostFlow>(
            "A WindowPoSt",
            "One record per miner, opening of a deadline, and batch of partitions that one message proves. Every step is \
             stored before the next one begins, so that a restart in the middle of a window goes on where it was.",
            PostState::sentence,
        ),
    );
    document_agrees(
        "job.md",
        &render::<JobFlow>(
            "A WindowPoSt that a worker proves",
            "One record for everything that a proof covers, where workers prove. It is stored before anybody is told of \
             it, so that a restart of the manager or of a worker goes on where it was.",
            JobState::sentence,
        ),
    );
    document_agrees(
        "deal.md",
        &render::<DealFlow>(
            "A deal",
            "One record per allocation of the verified registry or deal of the storage market that a person or a program put \
             into the manager's own queue.",
            DealState::sentence,
        ),
    );
    document_agrees(
        "recovery.md",
        &render::<RecoveryFlow>(
            "Faulty sectors that are declared recovered",
            "One record per miner and opening of a deadline that has faulty sectors. What is declared is stored together \
             with its messages, so that a restart declares nothing twice.",
            RecoveryState::sentence,
        ),
    );
    document_agrees(
        "block.md",
        &render::<BlockFlow>(
            "A block",
            "One record per miner and epoch in which it won the right to make a block. That a signature is asked for is \
             stored before it is, and the block before it is sent, so that a stop anywhere makes no second one.",
            BlockState::sentence,
        ),
    );
}
