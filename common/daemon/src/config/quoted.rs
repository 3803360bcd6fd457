//! Values that are written as a text: who writes a bare number is told what to write.

use serde::{
    Deserializer,
    de::{Error, Visitor},
};
use std::fmt;

/// Reads the text of such a value; `what` says what it should be, with an example in quotes.
///
/// # Errors
/// Anything but a text.
pub fn quoted<'de, D: Deserializer<'de>>(d: D, what: &'static str) -> Result<String, D::Error> {
    d.deserialize_str(Quoted(what))
}

struct Quoted(&'static str);

impl Visitor<'_> for Quoted {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
