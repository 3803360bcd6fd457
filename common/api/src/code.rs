//! JSON-RPC error codes.

use jsonrpsee::types::ErrorObjectOwned;
use std::fmt::Display;

/// The manager's record says that the sector is over: given up, finished or removed. Upstream's
/// workers clear the sector on it (upstream `core.ErrCodeSectorStateNotFound`), so it is never
/// said of a sector that there is merely no record of: that is [`SECTOR_UNKNOWN`].
pub const SECTOR_STATE_NOT_FOUND: i32 = 11001;
/// This manager has no record of the sector. It may be the wrong manager, or one whose database
/// was lost: nothing may be destroyed on it. To upstream's workers it is a passing failure.
pub const SECTOR_UNKNOWN: i32 = 11404;
/// Another worker, or another sealing thread, owns the sector.
pub const NOT_OWNER: i32 = 11409;
/// Not now: what the answer depends on (the node, a store, a record that changed meanwhile) is
/// not there yet. A wait and no failure: ask again later, and count nothing.
pub const NOT_NOW: i32 = 11503;
/// Any other failure of the request itself (go-jsonrpc's default).
pub const FAILED: i32 = 1;
/// The caller may not do this: no token, or one that does not allow it.
pub const NOT_PERMITTED: i32 = 11403;

/// An error with a code and one sentence.
pub fn error(code: i32, message: impl Display) -> ErrorObjectOwned {
    ErrorObjectOwned::owned::<()>(code, message.to_string(), None)
}

/// The one application error that upstream's workers act upon; the prefix is upstream's.
pub fn sector_state_not_found(sector: impl Display) -> ErrorObjectOwned {
    error(
        SECTOR_STATE_NOT_FOUND,
        format!("error code {SECTOR_STATE_NOT_FOUND}: sector state not found: {sector}"),
    )
}

/// There is no record of the sector: whoever has files of it keeps them.
pub fn sector_unknown(sector: impl Display) -> ErrorObjectOwned {
    error(
        SECTOR_UNKNOWN,
        format!(
            "sector {sector} is unknown to this manager; keep its files, and check that the worker speaks to the manager that allocated it"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_sector_has_no_word_on_which_an_upstream_worker_clears_it() {
        let e = sector_unknown("s-t01000-1");
        assert_ne!(e.code(), SECTOR_STATE_NOT_FOUND);
        assert!(!e.message().contains("sector state not found"));
        assert!(e.message().contains("keep"));
    }

    #[test]
    fn not_found_carries_the_code_that_workers_act_upon() {
        let e = sector_state_not_found("s-t01000-1");
        assert_eq!(e.code(), 11001);
        assert!(
            e.message()
                .starts_with("error code 11001: sector state not found")
        );
    }
}
