//! JSON-RPC error codes.

use jsonrpsee::types::ErrorObjectOwned;
use std::fmt::Display;

/// The manager has no (online) record of the sector. A worker that reads this gives the
/// sector up (upstream `core.ErrCodeSectorStateNotFound`).
pub const SECTOR_STATE_NOT_FOUND: i32 = 11001;
/// Any other failure of the request itself (go-jsonrpc's default).
pub const FAILED: i32 = 1;
/// The caller may not do this: no token, or one that does not allow it.
pub const NOT_PERMITTED: i32 = 11403;

/// An error with a code and one sentence.
pub fn error(code: i32, message: impl Display) -> ErrorObjectOwned {
    ErrorObjectOwned::owned::<()>(code, message.to_string(), None)
}

/// The one application error that workers act upon; the prefix is upstream's.
pub fn sector_state_not_found(sector: impl Display) -> ErrorObjectOwned {
    error(
        SECTOR_STATE_NOT_FOUND,
        format!("error code {SECTOR_STATE_NOT_FOUND}: sector state not found: {sector}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
