//! What a database says of itself: whose it is and how old.

use serde::{Deserialize, Serialize};

/// Where [`Stamp`] is kept, in [`META`](crate::table::META): as JSON and nothing else, so that
/// every program since the first can read it.
pub(crate) const STAMP_KEY: &[u8] = b"schema";

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub owner: String,
    pub version: u32,
    /// Made with the database and never changed. Databases of an older version get theirs when
    /// they are opened.
    #[serde(default)]
    pub id: Option<uuid::Uuid>,
}
