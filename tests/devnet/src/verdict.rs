//! How a node words what would become of a message that was only tried, and of one that failed.
use fvm_shared::ActorID;
use fvm_shared::MethodNum;

/// The name that the chain's Go code gives an exit code (go-state-types `exitcode/names.go`).
pub fn exit_name(code: u32) -> Option<&'static str> {
    Some(match code {
        0 => "Ok",
        1 => "SysErrSenderInvalid",
        2 => "SysErrSenderStateInvalid",
        4 => "SysErrIllegalInstruction",
        5 => "SysErrInvalidReceiver",
        6 => "SysErrInsufficientFunds",
        7 => "SysErrOutOfGas",
        9 => "SysErrIllegalExitCode",
        10 => "SysErrFatal",
        11 => "SysErrMissingReturn",
        16 => "ErrIllegalArgument",
        17 => "ErrNotFound",
        18 => "ErrForbidden",
        19 => "ErrInsufficientFunds",
        20 => "ErrIllegalState",
        21 => "ErrSerialization",
        22 => "ErrUnhandledMessage",
        23 => "ErrUnspecified",
        24 => "ErrAssertionFailed",
        25 => "ErrReadOnly",
        26 => "ErrNotPayable",
        _ => return None,
    })
}

/// First exit code of actors; below lie those of the machine.
const FIRST_ACTOR_CODE: u32 = 16;

/// The backtrace of a failed run: where it failed and the actor's words.
pub fn backtrace(to: Option<ActorID>, method: MethodNum, code: u32, reason: &str) -> String {
    let line = match to {
        Some(id) if code >= FIRST_ACTOR_CODE => {
            format!("00: f0{id} (method {method}) -- {reason} ({code})")
        }
        _ => format!("--> caused by: {reason}"),
    };
    format!("message failed with backtrace:\n{line}\n (RetCode={code})")
}

/// What an estimate says of a message that would fail.
pub fn would_fail(code: u32, backtrace: &str) -> String {
    let name = exit_name(code).map_or_else(|| code.to_string(), |name| format!("{name}({code})"));
    format!("message execution failed (exit=[{name}], vm error=[{backtrace}])")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_worded_as_a_node_words_them() {
        let trace = backtrace(Some(1014), 999, 22, "invalid method: 999");
        assert_eq!(
            would_fail(22, &trace),
            "message execution failed (exit=[ErrUnhandledMessage(22)], vm error=[message failed with backtrace:\n00: f01014 (method 999) -- invalid method: 999 (22)\n (RetCode=22)])"
        );
        let trace = backtrace(Some(1000), 0, 6, "send::send -- too poor");
        assert!(trace.contains("\n--> caused by: send::send -- too poor\n (RetCode=6)"));
        assert!(would_fail(1004, "").contains("exit=[1004]"));
    }
}
