//! Who calls the manager: a header that our workers send with every call, so that a sector in
//! work has one owner. Upstream's workers send none; of them the last `ReportState` tells.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The header's name. Its value is the JSON of a [`Caller`] in base64 (URL alphabet, no padding).
pub const CALLER_HEADER: &str = "x-damocles-caller";

/// No header of ours is longer; a longer one is not read.
const LONGEST: usize = 4096;

/// A sealing thread that calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// The worker's name.
    pub worker: String,
    /// The sealing store's path on the worker; empty for a call of the worker itself (a ping).
    pub location: String,
    /// Id of the sealing store's database, made with it and never changed: two workers of one
    /// name, or a store that was made anew at the same path, are told apart by it. Empty for a
    /// call of the worker itself, and for an owner that is known by its reports only.
    pub store: String,
}

impl Caller {
    /// The header's value.
    pub fn to_header(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }

    /// Reads a header's value. None: it is none of ours.
    pub fn from_header(value: &str) -> Option<Self> {
        if value.len() > LONGEST {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(value.trim()).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Whether this is the sealing thread that `other` names: by the store's id where both have
    /// one, else by the worker's name and the store's path.
    pub fn is(&self, other: &Self) -> bool {
        if self.store.is_empty() || other.store.is_empty() {
            (&self.worker, &self.location) == (&other.worker, &other.location)
        } else {
            self.store == other.store
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.location.is_empty() {
            write!(f, "worker {}", self.worker)
        } else {
            write!(f, "worker {} at {}", self.worker, self.location)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(worker: &str, location: &str, store: &str) -> Caller {
        Caller {
            worker: worker.into(),
            location: location.into(),
            store: store.into(),
        }
    }

    #[test]
    fn a_caller_of_any_name_fits_into_a_header_and_comes_back() {
        let one = caller("zürich\n7", "/mnt/nvme 0/s1", "0a1b");
        let value = one.to_header();
        assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{value}");
        assert_eq!(Caller::from_header(&value), Some(one));
        for bad in ["", "%%%", "bm8ganNvbg", &"A".repeat(LONGEST + 1)] {
            assert_eq!(Caller::from_header(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_thread_is_known_by_its_store_and_an_upstream_one_by_name_and_place() {
        let mine = caller("w", "/s1", "aa");
        assert!(mine.is(&caller("renamed", "/elsewhere", "aa")), "moved");
        assert!(!mine.is(&caller("w", "/s1", "bb")), "a copied config");
        assert!(mine.is(&caller("w", "/s1", "")), "reported by upstream");
        assert!(!mine.is(&caller("w", "/s2", "")));
    }
}
