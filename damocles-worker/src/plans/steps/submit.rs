//! What a worker makes of the manager's answers to submissions and polls. Pure.

use crate::{event::Event, plans::step::Stop};
use damocles_api::submit::{OnChainState, PollStateResp, SubmitResp, SubmitResult};
use damocles_types::Failure;

/// What an answer to a submission means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    Taken,
    /// Refused, in words: what was submitted can never be taken as it is.
    Rejected(String),
    Failed(Failure),
}

/// What an answer to a poll means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    Landed,
    /// Not yet; what is waited for.
    Wait(&'static str),
    /// It failed in a way that another message may cure.
    TryAgain(String),
    /// The sector cannot be finished as it is.
    Lost(String),
    Failed(Failure),
}

fn words(desc: Option<String>) -> String {
    desc.filter(|d| !d.is_empty())
        .unwrap_or_else(|| "the manager gave no reason".to_owned())
}

/// Reads the answer to a submission of `what`.
pub fn submitted(what: &str, answer: SubmitResp) -> Submitted {
    let desc = words(answer.desc);
    match answer.res {
        SubmitResult::Accepted | SubmitResult::DuplicateSubmit => Submitted::Taken,
        SubmitResult::Rejected => Submitted::Rejected(format!("{what} was rejected: {desc}")),
        SubmitResult::MismatchedSubmission => Submitted::Failed(
            Failure::permanent(format!("{what} differs from what the manager has: {desc}")).hint(
                "compare with `damocles-manager util sealer sectors state`; resume when it is settled, or give the sector up with resume --state Aborted",
            ),
        ),
        SubmitResult::FilesMissed => Submitted::Failed(
            Failure::permanent(format!("{what} was not taken because files are missing: {desc}"))
                .hint("check the persist store; resume --state PCLanded moves the files again"),
        ),
    }
}

/// Reads the answer to a poll for the message of `what`.
pub fn polled(what: &str, answer: PollStateResp) -> Polled {
    let desc = || words(answer.desc.clone());
    match answer.state {
        OnChainState::Landed => Polled::Landed,
        OnChainState::Pending => Polled::Wait("to go on chain"),
        OnChainState::Packed => Polled::Wait("to lie deep enough"),
        OnChainState::Failed => Polled::TryAgain(format!("{what} failed: {}", desc())),
        OnChainState::ShouldAbort => {
            Polled::Lost(format!("{what} cannot be made any more: {}", desc()))
        }
        OnChainState::NotFound => Polled::Failed(
            Failure::permanent(format!("the manager has no message of {what}: {}", desc()))
                .hint("see `damocles-manager util sealer sectors state`, then resume the thread"),
        ),
        OnChainState::PermFailed => Polled::Failed(
            Failure::permanent(format!("{what} failed for good: {}", desc()))
                .hint("see the message's error at the manager; resume when it is settled"),
        ),
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
/// branch that the chain has left. The wire has no code for it; managers say it in words
/// (upstream's: "ticket expired: …").
pub fn ticket_expired(reason: &str) -> bool {
    speaks_of(reason, "ticket", &["expired", "too old", "not the chain's"])
}

/// Whether a refusal says that the proof answers a seed which the chain no longer has, after
/// a reorganisation (upstream's: "bad seed …").
pub fn seed_changed(reason: &str) -> bool {
    speaks_of(
        reason,
        "seed",
        &["bad", "changed", "mismatch", "not the chain's"],
    )
}

fn speaks_of(reason: &str, thing: &str, words: &[&str]) -> bool {
    let reason = reason.to_lowercase();
    reason.contains(thing) && words.iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::Level;

    #[test]
    fn submissions() {
        let answer = |res| {
            submitted(
                "the proof",
                SubmitResp {
                    res,
                    desc: Some("why".into()),
                    reason: None,
                },
            )
        };
        assert_eq!(answer(SubmitResult::Accepted), Submitted::Taken);
        assert_eq!(answer(SubmitResult::DuplicateSubmit), Submitted::Taken);
        assert_eq!(
            answer(SubmitResult::Rejected),
            Submitted::Rejected("the proof was rejected: why".into())
        );
        for res in [
            SubmitResult::MismatchedSubmission,
            SubmitResult::FilesMissed,
        ] {
            let Submitted::Failed(failure) = answer(res) else {
                panic!("{res:?}")
            };
            assert_eq!(failure.level, Level::Permanent);
            assert!(failure.hint.is_some() && failure.message.contains("why"));
        }
    }

    #[test]
    fn polls() {
        let answer = |state| {
            let (desc, reason) = (None, None);
            polled(
                "the precommit",
                PollStateResp {
                    state,
                    desc,
                    reason,
                },
            )
        };
        assert_eq!(answer(OnChainState::Landed), Polled::Landed);
        assert!(matches!(answer(OnChainState::Pending), Polled::Wait(_)));
        assert!(matches!(answer(OnChainState::Packed), Polled::Wait(_)));
        assert!(matches!(answer(OnChainState::Failed), Polled::TryAgain(_)));
        assert!(matches!(answer(OnChainState::ShouldAbort), Polled::Lost(_)));
        for state in [OnChainState::NotFound, OnChainState::PermFailed] {
            assert!(matches!(answer(state), Polled::Failed(f) if f.level == Level::Permanent));
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
    fn reasons_in_words() {
        assert!(ticket_expired("ticket expired: seal height: 5, head: 9000"));
        for reason in [
            "ticket expired: seal height: 5, head: 9000",
            "the precommit was rejected: the ticket of epoch 7 expired: it is 3800 epochs old, and 3780 are allowed",
            "the ticket is not the chain's of epoch 7",
        ] {
            assert!(ticket_expired(reason), "{reason}");
        }
        for reason in [
            "deal expired",
            "its seed of epoch 5 is not the chain's any more",
        ] {
            assert!(!ticket_expired(reason), "{reason}");
        }
        for reason in [
            "bad seed: epoch 5",
            "its seed of epoch 5 is not the chain's any more (a reorganisation moved the precommit to epoch 9)",
        ] {
            assert!(seed_changed(reason), "{reason}");
        }
        for reason in ["the proof is wrong", "no seed was handed out for it"] {
            assert!(!seed_changed(reason), "{reason}");
        }
    }
}
