//! Configuration files: read strictly, all faults at once, each with file, line and the nearest
//! known key (design law 11).
//!
//! A section is a plain struct, declared by [`crate::section`] (which also keeps the documents)
//! or by serde alone; `#[serde(default)]` on every field, required ones as `Option` to be
//! checked later, so that one fault does not hide the others. No `flatten`, no `untagged`:
//! they hide the list of known keys.

mod fault;
mod section;
mod doc;
mod rules;
mod tree;
mod quoted;
mod read;
mod difference;
mod shown;

pub use difference::{Counts, Difference, differences, is_in};
pub use doc::{commented_default, markdown};
pub use fault::{Fault, Faults, Notice, Report};
pub use quoted::quoted;
pub use read::{parse, parse_file, text_of};
pub use rules::{Kept, Legacy, Rules};
pub use section::{KeyDoc, Kind, Sheet, Value, defaults_of};
pub use shown::{check_json, differences_json};
