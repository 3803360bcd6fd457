//! How values look in a terminal.

use damocles_api::show::NOTHING;
pub(super) use damocles_api::show::span as millis;
use damocles_daemon::table::{Table, terminal_width};
use damocles_types::shown_lines;
use serde::Serialize;

/// Prints a table, as wide as the terminal is.
pub(super) fn print(table: &Table) {
    print!("{}", table.render(terminal_width()));
}

/// Prints a text in which others have a word: nothing of it acts upon the terminal, and no line
/// of it can be taken for one of ours.
pub(super) fn say(text: impl std::fmt::Display) {
    println!("{}", shown_lines(&text.to_string(), usize::MAX));
}

/// Prints what is said of one thing, each with its name.
pub(super) fn lines<'a>(lines: impl IntoIterator<Item = (&'a str, String)>) {
    for (name, value) in lines {
        say(format!("{name:<13}{value}"));
    }
}

/// How long ago that was; both in seconds.
pub(super) fn ago(now: i64, at: i64) -> String {
    millis(u64::try_from(now - at).unwrap_or(0) * 1000)
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// `1.5 GiB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// `—` for nothing.
pub(super) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NOTHING.to_owned(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        assert_eq!(bytes(2048), "2.0 KiB");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(32 << 30), "32.0 GiB");
    }
}
