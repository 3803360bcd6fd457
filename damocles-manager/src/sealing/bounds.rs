//! How long texts of callers may be. What names something is refused when it is too long; what
//! merely tells something is cut, so that the telling never fails.

use damocles_api::timeline::{Ending, TimelineEntry};

/// Names of workers and stores, addresses, ids; in bytes.
const NAME: usize = 256;
/// Paths, reasons, failures; in bytes.
const TEXT: usize = 4096;
/// Entries in one report of a timeline. A sector has some thirty; the rest comes with the next.
pub(crate) const ENTRIES: usize = 1000;

/// A name that nobody would give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {bytes} bytes, and {NAME} are allowed; give it a shorter one")]
pub struct TooLong {
    what: &'static str,
    bytes: usize,
}

/// A name that may be stored.
pub(super) fn name(what: &'static str, text: &str) -> Result<(), TooLong> {
    let bytes = text.len();
    if bytes > NAME {
        return Err(TooLong { what, bytes });
    }
    Ok(())
}

/// Cuts a text to `limit` bytes, at the end of a character, and says that it was cut.
fn cut_to(text: &mut String, limit: usize) {
    const MORE: &str = " …";
    if text.len() <= limit {
        return;
    }
    let mut end = limit - MORE.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MORE);
}

/// Cuts what tells something.
pub(super) fn text(text: &mut String) {
    cut_to(text, TEXT);
}

/// Cuts what should be a short word.
pub(super) fn word(text: &mut String) {
    cut_to(text, NAME);
}

/// Cuts all texts of an entry.
pub(super) fn entry(entry: &mut TimelineEntry) {
    word(&mut entry.state);
    word(&mut entry.stage);
    for short in [&mut entry.child, &mut entry.kernel].into_iter().flatten() {
        word(short);
    }
    match &mut entry.ending {
        Some(Ending::Done { next }) => word(next),
        Some(Ending::Failed { message, .. }) => text(message),
        Some(Ending::Interrupted) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters_and_long_names_refused() {
        for (given, len) in [("x".repeat(TEXT), TEXT), ("ü".repeat(TEXT), TEXT)] {
            let mut cut = given.clone();
            text(&mut cut);
            assert!(cut.len() <= len && cut.len() > len - 8, "{}", cut.len());
            assert_eq!(cut == given, given.len() <= TEXT);
            assert_eq!(cut.ends_with('…'), given.len() > TEXT);
        }
        assert!(name("the worker's name", &"n".repeat(NAME)).is_ok());
        let refused = name("the worker's name", &"n".repeat(8 << 20)).unwrap_err();
        assert!(refused.to_string().contains("8388608 bytes"), "{refused}");
    }
}
