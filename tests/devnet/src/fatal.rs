//! Errors of the lower floors, which say sentence and hint in one text, as the end of the program.

use damocles_daemon::exit::{Exit, Fatal};

/// Splits `sentence; hint: what to do` into the two.
pub fn fatal(exit: Exit, error: impl std::fmt::Display) -> Fatal {
    let text = error.to_string();
    match text.split_once("; hint: ") {
        Some((sentence, hint)) => Fatal::new(exit, sentence).hint(hint),
        None => Fatal::new(exit, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_told_apart() {
        let both = fatal(Exit::Data, "it is broken; hint: mend it");
        assert_eq!(both.message, "it is broken");
        assert_eq!(both.hint.as_deref(), Some("mend it"));
        assert_eq!(fatal(Exit::Data, "it is broken").hint, None);
    }
}
