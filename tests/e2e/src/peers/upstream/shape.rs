//! The shape of what a command prints: its lines with everything that changes from run to run
//! left out, so that two managers can be compared.

use serde_json::Value;
use std::collections::BTreeSet;

/// A token of so many letters and digits is an id of something.
const ID: usize = 32;

/// Lines in the order of their first appearance. JSON becomes one line for each key: its path and
/// the kind of its value.
pub(super) fn of(text: &str) -> Vec<String> {
    let text = text.trim();
    let mut lines = match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => {
            let mut lines = Vec::new();
            walk("", &value, &mut lines);
            lines
        }
        Ok(_) | Err(_) => text.lines().map(line).collect(),
    };
    let mut seen = BTreeSet::new();
    lines.retain(|line| !line.trim().is_empty() && seen.insert(line.clone()));
    lines
}

/// What only one of the two has, upstream's lines first.
pub(super) fn differences(theirs: &[String], ours: &[String]) -> Vec<String> {
    let only = |these: &[String], others: &[String], who: &str| {
        let missing = these.iter().filter(|line| !others.contains(line));
        missing
            .map(|line| format!("only {who}: {}", line.trim()))
            .collect::<Vec<_>>()
    };
    let mut all = only(theirs, ours, "upstream's");
    all.extend(only(ours, theirs, "ours"));
    all
}

fn walk(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                walk(&format!("{path}.{key}"), value, lines);
            }
        }
        Value::Array(items) if items.is_empty() => lines.push(format!("{path}[]: nothing")),
        Value::Array(items) => {
            for item in items {
                walk(&format!("{path}[]"), item, lines);
            }
        }
        Value::Null => lines.push(format!("{path}: null")),
        Value::Bool(_) => lines.push(format!("{path}: bool")),
        Value::Number(_) => lines.push(format!("{path}: number")),
        Value::String(_) => lines.push(format!("{path}: text")),
    }
}

/// The indent stays, runs of blanks become one, and so do numbers, times, ids and paths.
fn line(text: &str) -> String {
    let body = text.trim_start();
    let indent = &text[..text.len() - body.len()];
    let words: Vec<String> = body.split_whitespace().map(word).collect();
    let mut body = times(&words).join(" ");
    // a moment was or will be, by when one asks
    for when in ["(TIME ago)", "(in TIME)", "(now)"] {
        body = body.replace(when, "(WHEN)");
    }
    format!("{indent}{body}")
}

/// `1 hour 35 minutes` is a time as `16 seconds` is.
fn times(words: &[String]) -> Vec<String> {
    const UNITS: [&str; 6] = ["second", "minute", "hour", "day", "week", "year"];
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let unit = word.trim_end_matches([')', ',']);
        let singular = unit.strip_suffix('s').unwrap_or(unit);
        let number = out.last().and_then(|last| last.strip_suffix('#'));
        let number = number.map(str::to_owned);
        let (true, Some(before)) = (UNITS.contains(&singular), number) else {
            out.push(word.clone());
            continue;
        };
        let time = format!("{before}TIME{}", &word[unit.len()..]);
        out.pop();
        let goes_on = before.is_empty() && out.last().is_some_and(|last| last.ends_with("TIME"));
        match out.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(&word[unit.len()..]),
            None => out.push(time),
        }
    }
    out
}

fn word(text: &str) -> String {
    if text.starts_with('/') || text.contains("(/") {
        return "PATH".to_owned();
    }
    let core = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let letters = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    if core.len() >= ID && core.chars().all(letters) {
        return text.replace(core, "ID");
    }
    if quantity(core) {
        return text.replace(core, "#");
    }
    digits(text)
}

/// `12`, `3.5`, `4KiB`, `0.1%`, `1m0.5s`, `09:30:00`: a number, perhaps with units.
fn quantity(text: &str) -> bool {
    const UNITS: [&str; 16] = [
        "", "B", "KiB", "MiB", "GiB", "TiB", "%", "h", "m", "s", "ms", "µs", "ns", "FIL", "nFIL",
        "aFIL",
    ];
    let number = |c: char| c.is_ascii_digit() || ".:-+".contains(c);
    let mut rest = text;
    let mut any = false;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(number);
        any |= unit.len() < rest.len();
        let next = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        if !UNITS.contains(&&unit[..next]) {
            return false;
        }
        rest = &unit[next..];
    }
    any
}

/// Each run of digits becomes one sign.
fn digits(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            digit if digit.is_ascii_digit() => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_run_to_run_is_left_out() {
        let one =
            "s-t01000-1:\n\tWorker: w @ /a/b\n\tState: C2Done => Finished @Finish\n\nCount: 1\n";
        let two = "s-t01000-2:\n\tWorker: w @ /c\n\tState: C2Done => Finished @Finish\n\
                   \ns-t01000-3:\n\tWorker: w @ /d\n\nCount: 12\n";
        assert_eq!(of(one), of(two));
        assert_eq!(
            of("Free: 4.5GiB\nIt took 1m0.25s"),
            of("Free: 12B\nIt took 3ms")
        );
        assert_eq!(
            of("Cid: bafy2bzaceb2ca5dv47npgrjww4aga4fvlvgykf34b7aq4ti5gfs2qqj2eif4w"),
            ["Cid: ID"]
        );
    }

    #[test]
    fn a_moment_is_one_whenever_it_is_asked_for() {
        let at = |when: &str| of(&format!("Open: 3538 ({when})"));
        let moments = ["now", "16 seconds ago", "1 minute 28 seconds ago"];
        for when in moments
            .into_iter()
            .chain(["in 1 hour 35 minutes", "in 2 weeks"])
        {
            assert_eq!(at(when), ["Open: # (WHEN)"], "{when}");
        }
        assert_eq!(of("within 3 days, 2 hours"), ["within TIME, TIME"]);
        assert_eq!(of("seconds: 3"), ["seconds: #"]);
    }

    #[test]
    fn a_line_or_a_key_that_one_lacks_is_a_difference() {
        let theirs = of("Total: 1\nFree: 2");
        let ours = of("Total: 7\nUsed: 1");
        assert_eq!(
            differences(&theirs, &ours),
            ["only upstream's: Free: #", "only ours: Used: #"]
        );
        let theirs = of(r#"{"A": {"B": 1}, "C": [{"D": null}]}"#);
        let ours = of(r#"{"A": {"B": 2}, "C": [{"D": "x"}]}"#);
        assert_eq!(
            differences(&theirs, &ours),
            ["only upstream's: .C[].D: null", "only ours: .C[].D: text"]
        );
    }
}
