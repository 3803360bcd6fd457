//! What a worker makes of the manager's answers to submissions and polls. Pure. The reason's
//! code decides; sentences are read of managers only that send no codes (upstream's).

use crate::{event::Event, plans::Stop};
use damocles_api::{
    reason::Reason,
    submit::{OnChainState, PollStateResp, SubmitResp, SubmitResult},
};
use damocles_types::Failure;
use std::fmt;
use strum::EnumIter;

/// What is handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Thing {
    PreCommit,
    Proof,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreCommit => "the precommit",
            Self::Proof => "the proof",
        })
    }
}

/// What has to be made anew before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Cure {
    /// Only the message.
    Message,
    Ticket,
    Seed,
    Proof,
    /// The precommit of a proof.
    PreCommit,
}

impl Cure {
    /// The event that leads there; none where it is no cure.
    pub const fn event(self, of: Thing) -> Option<Event> {
        match (of, self) {
            (Thing::PreCommit, Self::Message | Self::PreCommit) => Some(Event::ReSubmitPC),
            (Thing::PreCommit, Self::Ticket) => Some(Event::TicketExpired),
            (Thing::PreCommit, Self::Seed | Self::Proof) => None,
            (Thing::Proof, Self::Message) => Some(Event::ReSubmitProof),
            (Thing::Proof, Self::Seed) => Some(Event::SeedChanged),
            (Thing::Proof, Self::Proof) => Some(Event::ProofInvalid),
            (Thing::Proof, Self::PreCommit) => Some(Event::PreCommitGone),
            (Thing::Proof, Self::Ticket) => None,
        }
    }
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Taken, or landed.
    Good,
    /// Not yet; what is waited for.
    Wait(String),
    /// It failed in a way that has a cure.
    Again(Cure, String),
    /// The manager takes the sector for lost.
    Lost(String),
    Failed(Failure),
}

fn words(desc: Option<String>) -> String {
    desc.filter(|d| !d.is_empty())
        .unwrap_or_else(|| "the manager gave no reason".to_owned())
}

/// What a reason means by itself, whatever it comes with. None: it does not decide.
fn by_reason(thing: Thing, reason: Reason, said: &str) -> Option<Meaning> {
    Some(match reason {
        Reason::TicketExpired | Reason::TicketNotOnChain => {
            Meaning::Again(Cure::Ticket, said.to_owned())
        }
        Reason::SeedChanged => Meaning::Again(Cure::Seed, said.to_owned()),
        Reason::ProofInvalid => Meaning::Again(Cure::Proof, said.to_owned()),
        Reason::PreCommitGone => Meaning::Again(Cure::PreCommit, said.to_owned()),
        Reason::NotSubmitted => Meaning::Again(Cure::Message, said.to_owned()),
        Reason::NumberUsed => Meaning::Lost(said.to_owned()),
        Reason::Differs => Meaning::Failed(differs(thing, said)),
        Reason::NotNow => Meaning::Wait(said.to_owned()),
        Reason::Unknown => return None,
    })
}

/// The same of a manager without codes, by its sentence.
fn by_words(thing: Thing, said: &str) -> Option<Meaning> {
    let cure = match thing {
        Thing::PreCommit if ticket_expired(said) => Cure::Ticket,
        Thing::Proof if seed_changed(said) => Cure::Seed,
        Thing::PreCommit | Thing::Proof => return None,
    };
    Some(Meaning::Again(cure, said.to_owned()))
}

fn decisive(thing: Thing, reason: Option<Reason>, said: &str) -> Option<Meaning> {
    match reason {
        Some(reason) => by_reason(thing, reason, said),
        None => by_words(thing, said),
    }
}

fn differs(thing: Thing, said: &str) -> Failure {
    Failure::permanent(format!("{thing} differs from what the manager has: {said}")).hint(
        "compare with `damocles-manager util sealer sectors state`; resume when it is settled, or give the sector up with resume --state Aborted",
    )
}

/// Reads the answer to a submission.
pub fn submitted(thing: Thing, answer: SubmitResp) -> Meaning {
    let said = words(answer.desc);
    let decisive = || decisive(thing, answer.reason, &said);
    match answer.res {
        SubmitResult::Accepted | SubmitResult::DuplicateSubmit => Meaning::Good,
        SubmitResult::Rejected => {
            decisive().unwrap_or_else(|| Meaning::Lost(format!("{thing} was rejected: {said}")))
        }
        SubmitResult::MismatchedSubmission => {
            decisive().unwrap_or_else(|| Meaning::Failed(differs(thing, &said)))
        }
        SubmitResult::FilesMissed => Meaning::Failed(
            Failure::permanent(format!(
                "{thing} was not taken because files are missing: {said}"
            ))
            .hint("check the persist store; resume --state PCLanded moves the files again"),
        ),
    }
}

/// Reads the answer to a poll for the message.
pub fn polled(thing: Thing, answer: PollStateResp) -> Meaning {
    // why it waits, where the manager says it
    let waits = |what: &str| {
        let why = answer.desc.as_deref().filter(|d| !d.is_empty());
        Meaning::Wait(why.map_or_else(
            || format!("{thing} {what}"),
            |why| format!("{thing} {what}: {why}"),
        ))
    };
    let said = words(answer.desc.clone());
    let decisive = || decisive(thing, answer.reason, &said);
    match answer.state {
        OnChainState::Landed => Meaning::Good,
        OnChainState::Pending => waits("to go on chain"),
        OnChainState::Packed => waits("to lie deep enough"),
        OnChainState::Failed => decisive()
            .unwrap_or_else(|| Meaning::Again(Cure::Message, format!("{thing} failed: {said}"))),
        OnChainState::ShouldAbort => decisive()
            .unwrap_or_else(|| Meaning::Lost(format!("{thing} cannot be made any more: {said}"))),
        OnChainState::NotFound => decisive().unwrap_or_else(|| {
            Meaning::Failed(
                Failure::permanent(format!("the manager has no message of {thing}: {said}")).hint(
                    "see `damocles-manager util sealer sectors state`, then resume the thread",
                ),
            )
        }),
        OnChainState::PermFailed => decisive().unwrap_or_else(|| {
            Meaning::Failed(
                Failure::permanent(format!("{thing} failed for good: {said}"))
                    .hint("see the message's error at the manager; resume when it is settled"),
            )
        }),
    }
}

/// The way to another message after one that failed, or, when `failed` are as many as may be,
/// to a person: every message costs gas, and a new ticket or seed hours of work.
pub fn again(event: Event, reason: String, failed: u32, allowed: u32) -> Result<Event, Stop> {
    if failed < allowed {
        return Ok(event);
    }
    let tries = u64::from(failed) + 1;
    Err(Stop::Failed(
        Failure::permanent(format!("given up after {tries} messages; of the last one: {reason}"))
            .hint("see `damocles-manager util sealer sectors state` for the messages; when the cause is gone, `worker resume` sends another one ([sealing] max_resubmits is the limit)"),
    ))
}

/// Whether a refusal says that another ticket would do: this one is too old, or lies on a
/// branch that the chain has left (upstream's words: "ticket expired: …").
fn ticket_expired(said: &str) -> bool {
    speaks_of(said, "ticket", &["expired", "too old", "not the chain's"])
}

/// Whether a refusal says that the proof answers a seed which the chain no longer has, after
/// a reorganisation (upstream's: "bad seed …").
fn seed_changed(said: &str) -> bool {
    speaks_of(
        said,
        "seed",
        &["bad", "changed", "mismatch", "not the chain's"],
    )
}

fn speaks_of(said: &str, thing: &str, words: &[&str]) -> bool {
    let said = said.to_lowercase();
    said.contains(thing) && words.iter().any(|word| said.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::Level;
    use strum::IntoEnumIterator;

    fn submit(res: SubmitResult, reason: Option<Reason>, desc: &str) -> Meaning {
        let desc = Some(desc.to_owned());
        submitted(Thing::Proof, SubmitResp { res, desc, reason })
    }

    fn poll(state: OnChainState, reason: Option<Reason>, desc: &str) -> Meaning {
        let desc = Some(desc.to_owned());
        polled(
            Thing::PreCommit,
            PollStateResp {
                state,
                desc,
                reason,
            },
        )
    }

    #[test]
    fn submissions() {
        let answer = |res| submit(res, None, "why");
        assert_eq!(answer(SubmitResult::Accepted), Meaning::Good);
        assert_eq!(answer(SubmitResult::DuplicateSubmit), Meaning::Good);
        assert_eq!(
            answer(SubmitResult::Rejected),
            Meaning::Lost("the proof was rejected: why".into())
        );
        for res in [
            SubmitResult::MismatchedSubmission,
            SubmitResult::FilesMissed,
        ] {
            let Meaning::Failed(failure) = answer(res) else {
                panic!("{res:?}")
            };
            assert_eq!(failure.level, Level::Permanent);
            assert!(failure.hint.is_some() && failure.message.contains("why"));
        }
    }

    #[test]
    fn polls() {
        let answer = |state| poll(state, None, "");
        assert_eq!(answer(OnChainState::Landed), Meaning::Good);
        assert_eq!(
            answer(OnChainState::Packed),
            Meaning::Wait("the precommit to lie deep enough".into())
        );
        assert_eq!(
            poll(OnChainState::Pending, None, "no sender may act for it"),
            Meaning::Wait("the precommit to go on chain: no sender may act for it".into())
        );
        assert!(matches!(
            answer(OnChainState::Failed),
            Meaning::Again(Cure::Message, _)
        ));
        assert!(matches!(
            answer(OnChainState::ShouldAbort),
            Meaning::Lost(_)
        ));
        for state in [OnChainState::NotFound, OnChainState::PermFailed] {
            assert!(matches!(answer(state), Meaning::Failed(f) if f.level == Level::Permanent));
        }
    }

    #[test]
    fn a_code_decides_whatever_the_sentence_and_the_state_say() {
        let bad = [
            OnChainState::Failed,
            OnChainState::PermFailed,
            OnChainState::ShouldAbort,
            OnChainState::NotFound,
        ];
        for (reason, expected) in [
            (
                Reason::TicketExpired,
                Meaning::Again(Cure::Ticket, "x".into()),
            ),
            (
                Reason::TicketNotOnChain,
                Meaning::Again(Cure::Ticket, "x".into()),
            ),
            (Reason::SeedChanged, Meaning::Again(Cure::Seed, "x".into())),
            (
                Reason::ProofInvalid,
                Meaning::Again(Cure::Proof, "x".into()),
            ),
            (
                Reason::PreCommitGone,
                Meaning::Again(Cure::PreCommit, "x".into()),
            ),
            (
                Reason::NotSubmitted,
                Meaning::Again(Cure::Message, "x".into()),
            ),
            (Reason::NotNow, Meaning::Wait("x".into())),
            (Reason::NumberUsed, Meaning::Lost("x".into())),
        ] {
            assert_eq!(submit(SubmitResult::Rejected, Some(reason), "x"), expected);
            for state in bad {
                assert_eq!(poll(state, Some(reason), "x"), expected, "{state:?}");
            }
        }
        let misleading = "ticket expired: bad seed";
        assert!(matches!(
            poll(OnChainState::Failed, Some(Reason::Differs), misleading),
            Meaning::Failed(f) if f.level == Level::Permanent
        ));
        // a code of a newer manager: the result decides, and still no word is read
        assert!(matches!(
            poll(OnChainState::Failed, Some(Reason::Unknown), misleading),
            Meaning::Again(Cure::Message, _)
        ));
        assert!(matches!(
            submit(SubmitResult::Rejected, Some(Reason::Unknown), misleading),
            Meaning::Lost(_)
        ));
        for reason in [None, Some(Reason::ProofInvalid), Some(Reason::NumberUsed)] {
            assert_eq!(submit(SubmitResult::Accepted, reason, "x"), Meaning::Good);
        }
    }

    #[test]
    fn every_cure_leads_somewhere_for_one_of_the_two() {
        for cure in Cure::iter() {
            assert!(
                Thing::iter().any(|thing| cure.event(thing).is_some()),
                "{cure:?}"
            );
        }
    }

    #[test]
    fn after_so_many_messages_a_person_is_asked() {
        let next = |failed, allowed| again(Event::ReSubmitPC, "out of gas".into(), failed, allowed);
        assert_eq!(next(0, 2), Ok(Event::ReSubmitPC));
        assert_eq!(next(1, 2), Ok(Event::ReSubmitPC));
        for (failed, allowed) in [(2, 2), (0, 0), (u32::MAX, 2)] {
            let Err(Stop::Failed(failure)) = next(failed, allowed) else {
                panic!("{failed} of {allowed}")
            };
            assert_eq!(failure.level, Level::Permanent);
            assert!(failure.message.contains("out of gas") && failure.hint.is_some());
        }
    }

    #[test]
    fn sentences_of_managers_without_codes() {
        for said in [
            "ticket expired: seal height: 5, head: 9000",
            "the precommit was rejected: the ticket of epoch 7 expired: it is 3800 epochs old, and 3780 are allowed",
            "the ticket is not the chain's of epoch 7",
        ] {
            assert!(ticket_expired(said), "{said}");
            assert!(matches!(
                poll(OnChainState::PermFailed, None, said),
                Meaning::Again(Cure::Ticket, _)
            ));
        }
        for said in [
            "deal expired",
            "its seed of epoch 5 is not the chain's any more",
        ] {
            assert!(!ticket_expired(said), "{said}");
        }
        for said in [
            "bad seed: epoch 5",
            "its seed of epoch 5 is not the chain's any more (a reorganisation moved the precommit to epoch 9)",
        ] {
            assert!(seed_changed(said), "{said}");
            assert!(matches!(
                submit(SubmitResult::Rejected, None, said),
                Meaning::Again(Cure::Seed, _)
            ));
        }
        for said in ["the proof is wrong", "no seed was handed out for it"] {
            assert!(!seed_changed(said), "{said}");
        }
    }
}
