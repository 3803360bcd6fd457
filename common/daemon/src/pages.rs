//! Reference pages that a test prints from the code and compares, so that they cannot lie:
//! a program's commands, and its metrics.

use crate::metrics::Metrics;
use std::fmt::Write;

/// What `--help` says, for every command that is not hidden. `how`: what prints the page anew.
pub fn commands(mut root: clap::Command, how: &str) -> String {
    let mut out = format!(
        "# Commands of {}\n\nThis page is generated from `--help` (`{how}`).\n\n",
        root.get_name()
    );
    root = root.term_width(100);
    root.build();
    command(&mut root, "", &mut out);
    out
}

fn command(command_: &mut clap::Command, path: &str, out: &mut String) {
    let path = format!("{path}{}", command_.get_name());
    let help = command_.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let help = lines.join("\n");
    // writing to a String cannot fail
    let _ = write!(out, "## `{path}`\n\n```text\n{}\n```\n\n", help.trim_end());
    for sub in command_.get_subcommands_mut() {
        if !sub.is_hide_set() && sub.get_name() != "help" {
            command(sub, &format!("{path} "), out);
        }
    }
}

/// A table of what is registered: name, kind, labels and meaning. A metric by label must have
/// been touched once, or it is not there yet.
pub fn metrics(metrics: &Metrics) -> String {
    let text = metrics.render();
    let mut out = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for line in text.lines() {
        let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("# TYPE {name} ")))
            .unwrap_or_default();
        let labels = labels(&text, name);
        let name = match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{name}` | {kind} | {labels} | {} |",
            help.trim_end_matches('.')
        );
    }
    out
}

/// A page with the part under `## heading` replaced, or added at its end. So two programs can
/// each keep their own part of one page.
pub fn with_part(page: &str, heading: &str, part: &str) -> String {
    let title = format!("## {heading}\n");
    let (before, after) = match page.find(&title) {
        Some(at) => {
            let rest = &page[at + title.len()..];
            let end = rest.find("\n## ").map_or(rest.len(), |end| end + 1);
            (&page[..at], &rest[end..])
        }
        None => (page, ""),
    };
    let gap = if after.is_empty() { "" } else { "\n" };
    format!("{before}{title}\n{}\n{gap}{after}", part.trim_end())
}

/// Names of the labels that a metric's first sample has, but for a histogram's bound.
fn labels(text: &str, name: &str) -> String {
    let sample = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
    });
    let inside = sample
        .and_then(|line| line.split_once('{'))
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or("", |(inside, _)| inside);
    let names: Vec<String> = inside
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(label, _)| label)
        .filter(|label| *label != "le")
        .map(|label| format!("`{label}`"))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

    #[test]
    fn hidden_commands_stay_hidden_and_others_are_printed_with_their_way() {
        let named = |name: &'static str| <clap::Command>::new(name);
        let outer = named("outer")
            .subcommand(named("inner").about("Does it"))
            .subcommand(named("secret").hide(true));
        let root = named("prog").subcommand(outer);
        let page = commands(root, "how");
        assert!(page.contains("(`how`)"), "{page}");
        assert!(
            page.contains("## `prog outer inner`\n\n```text\nDoes it"),
            "{page}"
        );
        assert!(!page.contains("secret`"), "{page}");
        assert!(page.lines().all(|line| line == line.trim_end()));
    }

    #[test]
    fn a_part_of_a_page_is_replaced_and_the_rest_stays() {
        let page = "# T\n\n## a\n\nold\n\n## b\n\nkept\n";
        let new = with_part(page, "a", "new\n");
        assert_eq!(new, "# T\n\n## a\n\nnew\n\n## b\n\nkept\n");
        assert_eq!(with_part(&new, "a", "new"), new);
        assert_eq!(with_part(&new, "b", "kept"), new);
        assert!(with_part(&new, "c", "x").ends_with("kept\n## c\n\nx\n"));
    }

    #[test]
    fn metrics_are_listed_with_kind_labels_and_meaning() {
        let all = Metrics::new("p");
        let (up, calls): (Gauge, Counter) = Default::default();
        all.with(|r| {
            r.register("up", "1 while it runs", up);
            r.register("calls", "Calls answered", calls);
        });
        assert_eq!(
            metrics(&all),
            "| metric | kind | labels | meaning |\n|---|---|---|---|\n\
             | `p_up` | gauge |  | 1 while it runs |\n\
             | `p_calls_total` | counter |  | Calls answered |\n"
        );
    }
}
