//! Whether something of a sector may be destroyed because a manager says so (law 13). Pure; every
//! place that would drop a sector asks here.
//!
//! A sector is hours of work, and from its precommit on a deposit. One answer ends none: it may
//! come from another manager, or from one whose database was lost or restored. So the manager is
//! asked who it is and what its record says, and what it says must fit to where the sector
//! stands here. Whatever does not fit is kept, and a person looks.

use crate::document::Document;
use damocles_api::damocles::{AbortedBy, ManagerIdentity, SectorFate};
use damocles_flow::State;
use damocles_types::{Failure, SectorId};
use strum::EnumIter;

/// What a manager said that means "drop it".
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Word {
    /// Its record of the sector is closed (code 11001, or a report answered with a reason).
    Over,
    /// A report was answered with "finalized".
    Finished,
    /// What was handed in can never be taken (`Rejected`, `ShouldAbort`).
    Refused,
}

/// Where the sector stands here, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum At {
    /// No precommit was sent: computing time is at stake.
    BeforePrecommit,
    /// A precommit was sent: a deposit is at stake as well.
    Precommitted,
    /// The proof was sent, too, and the files lie in a persist store.
    Proven,
}

impl At {
    pub fn of(document: &Document) -> Self {
        match document.state {
            State::ProofSubmitted | State::Finished => Self::Proven,
            _ if document.precommit_sent() => Self::Precommitted,
            _ => Self::BeforePrecommit,
        }
    }
}

/// Whether the manager that answers is the one that allocated the sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Who {
    Same,
    Other,
    /// It names itself, and the sector's document is older than the question.
    Unlearned,
    /// Neither names itself: an upstream manager.
    Nameless,
}

impl Who {
    /// `now`: who answers; none for a manager that has no name.
    pub fn of(document: &Document, now: Option<&ManagerIdentity>) -> Self {
        Self::between(document.manager.as_deref(), now)
    }

    pub fn between(then: Option<&str>, now: Option<&ManagerIdentity>) -> Self {
        match (then, now) {
            (Some(then), Some(now)) if then == now.database => Self::Same,
            (Some(_), _) => Self::Other,
            (None, Some(_)) => Self::Unlearned,
            (None, None) => Self::Nameless,
        }
    }
}

/// What the manager's record says when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Record {
    /// It gave no answer now.
    NotAnswered,
    /// It has no such question (upstream).
    NotOffered,
    /// There is none.
    Missing,
    Online,
    Finished,
    AbortedByPerson,
    /// By the worker, or by nobody knows whom.
    Aborted,
}

impl Record {
    pub fn of(fate: &SectorFate) -> Self {
        match (fate.known, fate.aborted_by) {
            (false, _) => Self::Missing,
            (true, Some(AbortedBy::Person)) => Self::AbortedByPerson,
            (true, Some(AbortedBy::Worker | AbortedBy::Unknown)) => Self::Aborted,
            (true, None) if fate.finalized => Self::Finished,
            (true, None) if fate.online => Self::Online,
            // closed, and the record does not say why
            (true, None) => Self::Aborted,
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Verdict {
    /// It is certain: give the sector up, or clear what is finished.
    Destroy,
    /// Not certain yet: ask the same again later.
    AskAgain,
    /// It does not fit: keep everything, a person looks.
    Hold,
}

/// The rule. `again`: the same was said before, an interval ago.
pub fn decide(word: Word, at: At, who: Who, record: Record, again: bool) -> Verdict {
    use Verdict::{AskAgain, Destroy, Hold};
    let twice = if again { Destroy } else { AskAgain };
    match (who, record) {
        (Who::Other, _) => Hold,
        (Who::Same | Who::Unlearned | Who::Nameless, Record::NotAnswered) => AskAgain,
        // a person named this sector at a manager that has it
        (Who::Same | Who::Unlearned, Record::AbortedByPerson) => Destroy,
        (Who::Unlearned, _) => Hold,
        (Who::Same, Record::Aborted) => match (word, at) {
            (Word::Over | Word::Refused, At::BeforePrecommit) => Destroy,
            _ => Hold,
        },
        (Who::Same, Record::Finished) => match (word, at) {
            (Word::Finished, At::Proven) => Destroy,
            _ => Hold,
        },
        (Who::Same, Record::Online) => match (word, at) {
            (Word::Refused, At::BeforePrecommit) => twice,
            (Word::Refused, At::Precommitted | At::Proven) => Hold,
            // word and record differ: whichever is older may catch up
            (Word::Over | Word::Finished, _) if again => Hold,
            (Word::Over | Word::Finished, _) => AskAgain,
        },
        (Who::Same, Record::Missing | Record::NotOffered) => Hold,
        (Who::Nameless, Record::NotOffered) => match (word, at) {
            (Word::Over | Word::Refused, At::BeforePrecommit) => twice,
            (Word::Finished, At::Proven) => twice,
            _ => Hold,
        },
        (Who::Nameless, _) => Hold,
    }
}

/// How the manager took the news of a sector's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub enum Told {
    Taken,
    /// Its record is closed already.
    Over,
    /// It has no record (code 11404), or another worker owns the sector.
    NotOurs,
}

/// Whether a sector that came to its end here may be cleared.
pub fn may_clear(by_person: bool, who: Who, told: Told) -> bool {
    match told {
        Told::Taken => true,
        Told::Over => by_person || who != Who::Other,
        Told::NotOurs => by_person,
    }
}

/// What a person is told of a sector that is kept.
pub fn held(
    sector: SectorId,
    said: &str,
    at: At,
    who: Who,
    record: Record,
    manager: &str,
) -> Failure {
    let why = match (who, record) {
        (Who::Other, _) => "and it is not the manager that allocated the sector",
        (_, Record::Missing) => {
            "and it has no record of it; its database may have been lost or restored"
        }
        (_, Record::Online) => "though its record says that the sector is wanted",
        (_, Record::Finished) => "and its record says that it is finished, which it is not here",
        (_, Record::Aborted | Record::AbortedByPerson) => "and no person gave it up there",
        (_, Record::NotOffered | Record::NotAnswered) => "and it cannot say who gave it up",
    };
    let stake = match at {
        At::BeforePrecommit => "",
        At::Precommitted | At::Proven => ", and its precommit was sent",
    };
    Failure::permanent(format!(
        "the manager at {manager} says of {sector} that it is over ({said}), {why}; everything is kept{stake}"
    ))
    .hint("check that rpc_client.addr names the manager that allocated the sector, and what `damocles-manager util sealer sectors state` says there; then resume the thread, or give the sector up by hand: damocles-worker worker resume --state Aborted")
}

/// A manager that has not allocated the sector: nothing is asked of it, and nothing told.
pub fn stranger(sector: SectorId, then: &str, manager: &str) -> Failure {
    Failure::temporary(format!(
        "the manager at {manager} is not the one that allocated {sector} (its database was {then}); everything is kept until that one answers"
    ))
    .hint("let rpc_client.addr name the manager that allocated the sector, or restore that manager's database; it goes on by itself then. Only if that manager is lost for good: pause the thread, and give the sector up with damocles-worker worker resume --state Aborted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    /// Every case in which something is destroyed, and why that is certain.
    fn certain(word: Word, at: At, who: Who, record: Record, again: bool) -> Option<&'static str> {
        use {At::*, Record as R, Word::*};
        match (word, at, who, record, again) {
            (_, _, Who::Same | Who::Unlearned, R::AbortedByPerson, _) => Some("a person said so"),
            (Over | Refused, BeforePrecommit, Who::Same, R::Aborted, _) => {
                Some("answer and record agree, and only computing time is lost")
            }
            (Refused, BeforePrecommit, Who::Same, R::Online, true) => {
                Some("refused twice, and only computing time is lost")
            }
            (Over | Refused, BeforePrecommit, Who::Nameless, R::NotOffered, true) => {
                Some("an upstream manager says it twice, and only computing time is lost")
            }
            (Finished, Proven, Who::Same, R::Finished, _) => Some("finished here and there"),
            (Finished, Proven, Who::Nameless, R::NotOffered, true) => {
                Some("the proof is sent, and an upstream manager says twice that it landed")
            }
            _ => None,
        }
    }

    #[test]
    fn nothing_is_destroyed_but_in_the_cases_that_are_listed() {
        let mut seen = 0;
        for word in Word::iter() {
            for at in At::iter() {
                for who in Who::iter() {
                    for record in Record::iter() {
                        for again in [false, true] {
                            let verdict = decide(word, at, who, record, again);
                            assert_eq!(
                                verdict == Verdict::Destroy,
                                certain(word, at, who, record, again).is_some(),
                                "{word:?} {at:?} {who:?} {record:?} again={again}: {verdict:?}"
                            );
                            seen += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(seen, 3 * 3 * 4 * 7 * 2);
    }

    #[test]
    fn a_second_question_follows_only_where_it_can_settle_something() {
        for word in Word::iter() {
            for at in At::iter() {
                for who in Who::iter() {
                    for record in Record::iter() {
                        let (first, second) = (
                            decide(word, at, who, record, false),
                            decide(word, at, who, record, true),
                        );
                        let waits_for_an_answer =
                            record == Record::NotAnswered && who != Who::Other;
                        assert_eq!(
                            second == Verdict::AskAgain,
                            waits_for_an_answer,
                            "{word:?} {at:?} {who:?} {record:?}"
                        );
                        if first != Verdict::AskAgain {
                            assert_eq!(first, second, "{word:?} {at:?} {who:?} {record:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn another_manager_and_a_lost_record_destroy_nothing_ever() {
        for word in Word::iter() {
            for at in At::iter() {
                for again in [false, true] {
                    for record in Record::iter() {
                        assert_eq!(decide(word, at, Who::Other, record, again), Verdict::Hold);
                    }
                    for who in Who::iter() {
                        assert_eq!(decide(word, at, who, Record::Missing, again), Verdict::Hold);
                    }
                }
            }
        }
    }

    #[test]
    fn an_end_that_came_about_here_is_cleared_unless_a_stranger_answers() {
        for who in Who::iter() {
            for told in Told::iter() {
                assert!(
                    may_clear(true, who, told),
                    "a person decided: {who:?} {told:?}"
                );
            }
            assert!(may_clear(false, who, Told::Taken));
            assert!(!may_clear(false, who, Told::NotOurs), "{who:?}");
            assert_eq!(may_clear(false, who, Told::Over), who != Who::Other);
        }
    }

    #[test]
    fn managers_are_told_apart_by_their_databases() {
        let now = |database: &str| ManagerIdentity {
            database: database.into(),
            network: None,
            version: String::new(),
            miners: Vec::new(),
        };
        for (then, answers, who) in [
            (Some("a"), Some(now("a")), Who::Same),
            (Some("a"), Some(now("b")), Who::Other),
            (Some("a"), None, Who::Other),
            (None, Some(now("a")), Who::Unlearned),
            (None, None, Who::Nameless),
        ] {
            assert_eq!(
                Who::between(then, answers.as_ref()),
                who,
                "{then:?} {answers:?}"
            );
        }
    }

    #[test]
    fn the_record_is_read_with_care() {
        let fate = |known, online, finalized, aborted_by| SectorFate {
            known,
            online,
            finalized,
            aborted_by,
            abort_reason: String::new(),
            owner: None,
            fence: 0,
        };
        for (fate, record) in [
            (
                fate(false, true, true, Some(AbortedBy::Person)),
                Record::Missing,
            ),
            (fate(true, true, false, None), Record::Online),
            (fate(true, false, true, None), Record::Finished),
            (
                fate(true, false, false, Some(AbortedBy::Person)),
                Record::AbortedByPerson,
            ),
            (
                fate(true, false, false, Some(AbortedBy::Worker)),
                Record::Aborted,
            ),
            (
                fate(true, false, false, Some(AbortedBy::Unknown)),
                Record::Aborted,
            ),
            (fate(true, false, false, None), Record::Aborted),
        ] {
            assert_eq!(Record::of(&fate), record);
        }
    }
}
