//! What becomes of a record that cannot be read.

use damocles_kv::{KvError, StoreError};

/// For lists of work: a record that cannot be read is said and passed over, so that it costs
/// what is in it and nothing else. It stays in the database.
pub(in crate::db) fn readable<T>(
    found: Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Kv(error @ KvError::Decode { .. })) => {
            tracing::error!(%error, "a damaged record is passed over; bring it back from a backup");
            Ok(None)
        }
        other => other,
    }
}
