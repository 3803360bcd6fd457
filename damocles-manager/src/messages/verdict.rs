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

/// After so many refusals in a row a message is given up. A refused message has never left:
/// the node looks for its id first.
pub(super) const MOST_REFUSALS: u32 = 5;

/// How long to wait after the `tries`th failed attempt in a row: up to a minute where the
/// node said no, a few seconds where nobody answered.
pub(super) fn pause(tries: u32, refused: bool) -> Duration {
    let longest = if refused { 6 } else { 3 };
    Duration::from_secs(1 << tries.clamp(1, longest))
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

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let tries = [0, 1, 2, 3, 6, 7, u32::MAX];
        let refused = tries.map(|t| pause(t, true).as_secs());
        assert_eq!(refused, [2, 2, 4, 8, 64, 64, 64]);
        let unanswered = tries.map(|t| pause(t, false).as_secs());
        assert_eq!(unanswered, [2, 2, 4, 8, 8, 8, 8]);
    }
}
