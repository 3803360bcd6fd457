//! How values look in a terminal.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

/// An empty table with these headings.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headings.iter().map(|h| h.to_uppercase()));
    table
}

/// Prints a table without blanks at line ends.
pub(super) fn print(table: &Table) {
    for line in table.to_string().lines() {
        println!("{}", line.trim());
    }
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

/// `850 ms`, `42.1 s`, `3m05s`, `2h07m`, `3d04h`.
pub(super) fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms / 1000 % 60),
        3_600_000..86_400_000 => format!("{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{}d{:02}h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

/// `—` for nothing.
pub(super) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "—".to_owned(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_in_words() {
        assert_eq!(bytes(2048), "2.0 KiB");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(32 << 30), "32.0 GiB");
        for (ms, text) in [
            (850, "850 ms"),
            (42_100, "42.1 s"),
            (185_000, "3m05s"),
            (7_620_000, "2h07m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(millis(ms), text);
        }
    }
}
