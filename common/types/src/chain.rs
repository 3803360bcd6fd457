//! An error with its causes in one line. The one place that walks down a chain.

use std::error::Error;

/// The error's sentence and its causes, each said once: a cause whose words stand there already
/// adds nothing.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("the document cannot be read: {0}")]
    struct Says(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("sector 7 waits")]
    struct Hides(#[source] Says);

    #[test]
    fn each_cause_is_said_once() {
        let error = Hides(Says(io::Error::other("disk on fire")));
        assert_eq!(
            chain(&error),
            "sector 7 waits: the document cannot be read: disk on fire"
        );
    }
}
