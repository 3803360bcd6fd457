//! Texts that came from outside: another program's, a node's, a worker's. What is shown of them,
//! in a log or on a terminal, stays on its line, moves no cursor and does not fill the screen.

use std::{borrow::Cow, fmt::Write};

/// Most characters of one text in a log line or a table's cell, where nothing else is said.
pub const SHOWN: usize = 300;

/// The text as it may be shown: control characters and those that turn the direction of writing
/// are written out (`\u{1b}`), and of more than `most` characters the rest is only counted.
pub fn shown(text: &str, most: usize) -> Cow<'_, str> {
    let mut length = 0;
    let harmless = text.chars().all(|c| {
        length += 1;
        length <= most && !acts(c)
    });
    if harmless {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut left = text.chars();
    for c in left.by_ref().take(most) {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if acts(c) => {
                // writing to a String does not fail
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    let more = left.count();
    if more > 0 {
        let _ = write!(out, "… ({more} characters more)");
    }
    Cow::Owned(out)
}

/// The same for a text that may have several lines: those after the first are set in, so that none
/// of them can be taken for one of ours.
pub fn shown_lines(text: &str, most: usize) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(|line| shown(line.trim_end_matches('\r'), most))
        .collect();
    lines.join("\n  | ")
}

/// Whether a character does something instead of being seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_first_are_set_in() {
        assert_eq!(
            shown_lines("one\r\ntwo\u{1b}[2J\n\nerror: forged", 300),
            "one\n  | two\\u{1b}[2J\n  | \n  | error: forged"
        );
        assert_eq!(shown_lines("one\n", 300), "one");
    }

    #[test]
    fn what_is_shown_stays_on_its_line_and_is_no_longer_than_allowed() {
        for (text, most, expected) in [
            ("plain, Ünicode 扇区", 300, "plain, Ünicode 扇区"),
            ("", 0, ""),
            ("two\nlines\r\tand", 300, "two\\nlines\\r\\tand"),
            (
                "\u{1b}[2J\u{0}\u{7f}\u{9b}",
                300,
                "\\u{1b}[2J\\u{0}\\u{7f}\\u{9b}",
            ),
            ("a\u{202e}b\u{2028}", 300, "a\\u{202e}b\\u{2028}"),
            ("abcdef", 6, "abcdef"),
            ("abcdef", 4, "abcd… (2 characters more)"),
            ("扇区扇区", 2, "扇区… (2 characters more)"),
        ] {
            assert_eq!(shown(text, most), expected, "{text:?}");
        }
        assert!(matches!(shown("plain", SHOWN), Cow::Borrowed("plain")));
    }
}
