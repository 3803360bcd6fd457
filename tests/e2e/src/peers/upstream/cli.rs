//! Upstream's command line against its own manager and against ours: what each command that reads
//! says, and whether the two say it in the same shape.

use super::{
    commands::{COMMANDS, Command},
    manager::Manager,
    shape,
};
use crate::process::Said;
use anyhow::Result;
use std::fmt::Write as _;

/// What every command of the table said to one manager, in the table's order.
pub(super) type Record = Vec<Said>;

/// How a command does against our manager, measured by upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Same,
    /// Our manager does not serve the method, which is known.
    Refused(&'static str),
    Differs(Vec<String>),
}

/// Tries all of them. `deadline` is the one that holds sector 1.
pub(super) async fn record(manager: &Manager, deadline: u64) -> Result<Record> {
    let mut record = Record::new();
    for command in COMMANDS {
        let words = command.words.replace("@DEADLINE@", &deadline.to_string());
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        record.push(manager.util(&words).await?);
    }
    Ok(record)
}

/// What was said, word for word, for whoever wonders about a difference.
pub(super) fn told(record: &Record) -> String {
    let mut text = String::new();
    for (command, said) in COMMANDS.iter().zip(record) {
        // writing into a String cannot fail
        let _ = writeln!(text, "$ util {}\n{}{}", command.words, said.out, said.err);
        let _ = writeln!(text, "({})\n", said.status);
    }
    text
}

/// Every command with its outcome.
pub(super) fn compare(theirs: &Record, ours: &Record) -> Vec<(Command, Outcome)> {
    let pairs = theirs.iter().zip(ours);
    let all = COMMANDS.iter().zip(pairs);
    all.map(|(command, (theirs, ours))| (*command, outcome(*command, theirs, ours)))
        .collect()
}

fn outcome(command: Command, theirs: &Said, ours: &Said) -> Outcome {
    if let Some(method) = command.refused
        && not_found(ours, method)
    {
        return Outcome::Refused(method);
    }
    let mut differences = shape::differences(&all_of(theirs), &all_of(ours));
    differences.retain(|line| {
        let mut known = command.may_differ.iter();
        !known.any(|beginning| said_first(line).starts_with(beginning))
    });
    if differences.is_empty() {
        return Outcome::Same;
    }
    Outcome::Differs(differences)
}

/// The line of a difference, without the word on whose it is.
fn said_first(difference: &str) -> &str {
    difference
        .split_once(": ")
        .map_or(difference, |(_, line)| line)
}

/// Output, how it ended, and what it said on the way: a line of the log without its time.
fn all_of(said: &Said) -> Vec<String> {
    let mut lines = shape::of(&said.out);
    lines.push(format!("exit {}", said.status.code().unwrap_or(-1)));
    let words = said.err.lines().map(|line| match line.split_once('\t') {
        Some((time, rest)) if time.starts_with(|c: char| c.is_ascii_digit()) => rest,
        Some(_) | None => line,
    });
    lines.extend(shape::of(&words.collect::<Vec<_>>().join("\n")));
    lines
}

fn not_found(said: &Said, method: &str) -> bool {
    let words = format!("{}{}", said.out, said.err).to_lowercase();
    !method.is_empty() && words.contains("not found") && words.contains(&method.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn said(out: &str, err: &str) -> Said {
        Said {
            status: std::process::ExitStatus::from_raw(0),
            out: out.to_owned(),
            err: err.to_owned(),
        }
    }

    #[test]
    fn a_refusal_that_is_known_is_told_from_a_difference() {
        let command = |refused| Command {
            words: "x",
            refused,
            may_differ: &[],
        };
        let theirs = said("Not Found\n", "");
        let ours = said(
            "",
            "rpc: (error code -32601) method 'Venus.Find' not found\n",
        );
        assert_eq!(
            outcome(command(Some("Find")), &theirs, &ours),
            Outcome::Refused("Find")
        );
        let Outcome::Differs(lines) = outcome(command(None), &theirs, &ours) else {
            panic!("a difference");
        };
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            outcome(command(Some("Find")), &theirs, &theirs),
            Outcome::Same
        );
    }

    #[test]
    fn the_time_of_a_line_in_the_log_is_no_difference() {
        let command = COMMANDS[0];
        let one = said("", "2026-11-29T10:00:00.000Z\tINFO\tcmd\tts 12\n");
        let two = said("", "2026-11-30T11:00:00.000Z\tINFO\tcmd\tts 7\n");
        assert_eq!(outcome(command, &one, &two), Outcome::Same);
    }
}
