//! What to think of an answer, and when to ask again. Pure.

use fvm_shared::error::ExitCode;
use std::time::Duration;

/// What an exit code means for whoever wanted the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// Another message may succeed: gas or funds were short.
    Retryable,
    /// Another one would fail as well; a person must look.
    Permanent,
}

/// Judges an exit code as upstream does: out of gas and the two kinds of insufficient funds
/// are worth another message.
pub fn of_exit_code(code: i64) -> Verdict {
    let code = u32::try_from(code).map(ExitCode::new);
    match code {
        Ok(ExitCode::OK) => Verdict::Done,
        Ok(
            ExitCode::SYS_OUT_OF_GAS
            | ExitCode::SYS_INSUFFICIENT_FUNDS
            | ExitCode::USR_INSUFFICIENT_FUNDS,
        ) => Verdict::Retryable,
        _ => Verdict::Permanent,
    }
}

/// What a refusal by the node says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The actor that it is for, run on today's state, says no with this exit code.
    Actor(i64),
    /// No chain takes it as it is: it is too large.
    Unfit,
    /// Something is missing that may come: funds, room in the pool, a key, a synced node.
    Wait,
}

/// Sorts a refusal. Only what an actor says by an exit code speaks against a message, and of
/// that not a lack of funds; every other refusal is about the node, its wallet or its pool.
pub(super) fn of_refusal(message: &str) -> Refusal {
    match exit_code(message).map(|code| (code, of_exit_code(code))) {
        Some((_, Verdict::Done)) | None => {}
        // funds come; gas does not get more by waiting
        Some((code, _)) if code == OUT_OF_GAS => return Refusal::Actor(code),
        Some((_, Verdict::Retryable)) => return Refusal::Wait,
        Some((code, Verdict::Permanent)) => return Refusal::Actor(code),
    }
    // Lotus: "mpool message too large", "… cannot be greater than a block's gas limit"
    let unfit = ["message too large", "block's gas limit"];
    if unfit.iter().any(|words| message.contains(words)) {
        return Refusal::Unfit;
    }
    Refusal::Wait
}

/// Whether a refusal says that the actor itself does not take the message.
pub(super) fn is_the_actors(message: &str) -> bool {
    matches!(of_refusal(message), Refusal::Actor(_))
}

const OUT_OF_GAS: i64 = 7;

/// The exit code in the words of an estimate: Lotus says `(exit=[ErrIllegalArgument(16)], …
/// (RetCode=16)])`, others `exit 16` or `exit code: 16`.
fn exit_code(message: &str) -> Option<i64> {
    let number = |text: &str| -> Option<i64> {
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit());
        digits[..end.unwrap_or(digits.len())].parse().ok()
    };
    if let Some((_, rest)) = message.rsplit_once("RetCode=") {
        return number(rest);
    }
    let (_, rest) = message.split_once("exit")?;
    // the number stands close by, or it is not the code
    let near = rest
        .char_indices()
        .nth(48)
        .map_or(rest, |(at, _)| &rest[..at]);
    number(near)
}

/// After an actor's no at so many heads in a row a message is given up.
pub(super) const MOST_REFUSALS: u32 = 5;

/// The longest pause between two attempts.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// How long to wait after the `tries`th failed attempt in a row: up to a minute where the
/// node said no, a few seconds where nobody answered.
pub(super) fn pause(tries: u32, refused: bool) -> Duration {
    let longest = if refused { 6 } else { 3 };
    Duration::from_secs(1 << tries.clamp(1, longest)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        for (code, verdict) in [
            (0, Verdict::Done),
            (6, Verdict::Retryable),
            (7, Verdict::Retryable),
            (19, Verdict::Retryable),
            (16, Verdict::Permanent),
            (18, Verdict::Permanent),
            (1000, Verdict::Permanent),
            (-1, Verdict::Permanent),
        ] {
            assert_eq!(of_exit_code(code), verdict, "{code}");
        }
    }

    /// The first ones are a real Lotus node's words.
    #[test]
    fn only_an_actors_no_speaks_against_a_message() {
        let lotus = |name: &str, code: i64| {
            format!(
                "message execution failed (exit=[{name}({code})], vm error=[message failed with backtrace:\n00: f01014 (method 34) -- no ({code})\n (RetCode={code})])"
            )
        };
        for (words, want) in [
            (lotus("ErrSerialization", 21), Refusal::Actor(21)),
            (lotus("ErrIllegalArgument", 16), Refusal::Actor(16)),
            (lotus("SysErrOutOfGas", 7), Refusal::Actor(7)),
            (lotus("SysErrInsufficientFunds", 6), Refusal::Wait),
            (lotus("ErrInsufficientFunds", 19), Refusal::Wait),
            (
                "message execution failed: exit 16, reason: sector 5 is not precommitted".into(),
                Refusal::Actor(16),
            ),
            ("mpool push: not enough funds: 5 < 7".into(), Refusal::Wait),
            ("gas fee cap too low".into(), Refusal::Wait),
            ("too many pending messages for actor".into(), Refusal::Wait),
            (
                "failed to load tipset: get block bafy16: ipld: could not find bafy16".into(),
                Refusal::Wait,
            ),
            ("failed to sign message: key not found".into(), Refusal::Wait),
            (
                "mpool push: failed to push message: mpool message too large".into(),
                Refusal::Unfit,
            ),
            (
                "message not valid for block inclusion: 'GasLimit' field cannot be greater than a block's gas limit (20000000000 > 10000000000)".into(),
                Refusal::Unfit,
            ),
            ("".into(), Refusal::Wait),
        ] {
            assert_eq!(of_refusal(&words), want, "{words}");
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let tries = [0, 1, 2, 3, 6, 7, u32::MAX];
        let refused = tries.map(|t| pause(t, true).as_secs());
        assert_eq!(refused, [2, 2, 4, 8, 64, 64, 64]);
        let unanswered = tries.map(|t| pause(t, false).as_secs());
        assert_eq!(unanswered, [2, 2, 4, 8, 8, 8, 8]);
    }
}
