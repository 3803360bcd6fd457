//! Every command that people are told to type exists: texts, comments, documents and examples
//! are walked down the commands' trees, as the generated pages print them from clap.

use crate::{
    none,
    text::{files, read, told},
};
use std::collections::{BTreeMap, BTreeSet};

/// The programs, and the page that a test of theirs compares with what clap says.
const PROGRAMS: [(&str, &str); 2] = [
    ("damocles-manager", "docs/cli-manager.md"),
    ("damocles-worker", "docs/cli-worker.md"),
];

/// Started by the daemons themselves; not on the pages.
const HIDDEN: [&str; 1] = ["damocles-manager processor"];

/// A program's commands by their whole path, each with its options and whether they take a value.
struct Tree(BTreeMap<String, BTreeMap<String, bool>>);

impl Tree {
    fn parse<'a>(pages: impl IntoIterator<Item = &'a str>) -> Self {
        let mut tree = BTreeMap::new();
        let mut here = String::new();
        for line in pages.into_iter().flat_map(str::lines) {
            if let Some(path) = line
                .strip_prefix("## `")
                .and_then(|rest| rest.strip_suffix('`'))
            {
                path.clone_into(&mut here);
                tree.insert(here.clone(), BTreeMap::new());
            } else if line.trim_start().starts_with('-') && !here.is_empty() {
                let options = tree.get_mut(&here).unwrap();
                let takes = line.contains('<');
                for name in line
                    .split([',', ' '])
                    .filter(|w| w.starts_with('-') && w.len() > 1)
                {
                    options.insert(name.to_owned(), takes);
                }
            }
        }
        for hidden in HIDDEN {
            tree.insert(hidden.to_owned(), BTreeMap::new());
        }
        Self(tree)
    }

    fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// What can be typed after a command.
    fn below(&self, path: &str) -> BTreeSet<&str> {
        self.0
            .keys()
            .filter_map(|known| known.strip_prefix(path)?.strip_prefix(' '))
            .filter(|rest| !rest.contains(' '))
            .collect()
    }

    /// Whether an option may stand after a command; Some(true): a value follows.
    fn option(&self, path: &str, name: &str) -> Option<bool> {
        let mut path = path;
        loop {
            if let Some(takes) = self.0.get(path).and_then(|options| options.get(name)) {
                return Some(*takes);
            }
            path = path.rsplit_once(' ')?.0;
        }
    }

    fn is_somewhere(&self, word: &str) -> bool {
        self.0
            .keys()
            .any(|path| path.split(' ').skip(1).any(|part| part == word))
    }

    fn is_pair(&self, first: &str, second: &str) -> bool {
        self.0
            .keys()
            .any(|path| path.ends_with(&format!(" {first} {second}")))
    }

    /// Walks down from `start`; what is wrong with it, if anything. `whole`: the text is a
    /// command and nothing else, as between back-quotes; else it may go on as a sentence.
    fn walk(&self, start: &str, text: &str, whole: bool) -> Result<(), String> {
        let mut here = start.to_owned();
        // columns of an example: the command, blanks, what it does
        let text = text.split("  ").next().unwrap_or_default();
        let mut words = text.split_whitespace();
        let mut first = true;
        while let Some(word) = words.next() {
            let bare = word.trim_end_matches(['.', ',', ';', ':', ')', '\'', '"', '`']);
            let ends = bare.len() < word.len();
            if bare.is_empty() || bare.starts_with(['|', '#', '&', '>', '…', '<', '(', '—', '·'])
            {
                return Ok(());
            }
            if bare.starts_with('-') {
                let (name, value) = match bare.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (bare, None),
                };
                match self.option(&here, name) {
                    Some(true) if value.is_none() => _ = words.next(),
                    Some(_) => {}
                    None => return Err(format!("`{here}` has no option {name}")),
                }
            } else if self.below(&here).is_empty() {
                // a value; a word of the sentence ends the command
                let sentence = bare.chars().all(|c| c.is_ascii_lowercase());
                if !whole && sentence {
                    return Ok(());
                }
            } else if bare
                .split('|')
                .all(|one| self.has(&format!("{here} {one}")))
            {
                // `abort|hand-over`: either; what follows is looked up under the first
                let first = bare.split('|').next().unwrap_or_default();
                here = format!("{here} {first}");
            } else if bare.starts_with(|c: char| !c.is_ascii_lowercase()) || bare == "help" {
                return Ok(());
            } else if first && !whole && !self.is_somewhere(bare) {
                return Ok(()); // the program's name in a sentence
            } else {
                return Err(format!("`{here}` has no command {bare:?}"));
            }
            first = false;
            if ends {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The back-quoted part that begins at `at`, and whether it is one.
fn quoted_rest(text: &str, at: usize) -> (&str, bool) {
    let inside = text[..at].matches('`').count() % 2 == 1;
    let rest = &text[at..];
    match rest.find('`') {
        Some(end) if inside => (&rest[..end], true),
        _ => (rest, false),
    }
}

/// What is wrong with the commands in a text.
fn faults(tree: &Tree, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (program, _) in PROGRAMS {
        for (at, _) in text.match_indices(&format!("{program} ")) {
            // part of a longer name, or what `cargo` is told to build
            if text[..at].ends_with('-') || text[..at].ends_with("-p ") {
                continue;
            }
            let (rest, whole) = quoted_rest(text, at + program.len());
            faults.extend(tree.walk(program, rest, whole).err());
        }
    }
    let manager = PROGRAMS[0].0;
    for (at, _) in text.match_indices("util ") {
        let begins = text[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '-');
        let follows_program = text[..at].ends_with(&format!("{manager} "));
        let next = text[at + 5..].split_whitespace().next().unwrap_or_default();
        if begins && !follows_program && tree.has(&format!("{manager} util {next}")) {
            let (rest, whole) = quoted_rest(text, at);
            faults.extend(tree.walk(manager, rest, whole).err());
        }
    }
    // back-quoted without the program's name, as in `worker list`
    for inside in text.split('`').skip(1).step_by(2) {
        let mut words = inside.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else {
            continue;
        };
        let second = second.trim_end_matches(['.', ',']);
        let plain = |word: &str| {
            word.chars()
                .all(|c| c.is_ascii_lowercase() || "-|".contains(c))
        };
        let option = first.starts_with('-') || second.starts_with('-');
        // what begins with `util` was looked at above
        if !plain(first) || !plain(second) || option || first == "util" {
            continue;
        }
        let homes: Vec<&str> = PROGRAMS
            .iter()
            .map(|(program, _)| *program)
            .filter(|program| !tree.below(&format!("{program} {first}")).is_empty())
            .collect();
        if homes.is_empty() && tree.is_pair(first, second) {
            faults.push(format!("`{inside}` is not the whole command"));
        }
        let wrong: Vec<String> = homes
            .iter()
            .filter_map(|program| tree.walk(program, inside, true).err())
            .collect();
        if !homes.is_empty() && wrong.len() == homes.len() {
            faults.extend(wrong.into_iter().next());
        }
    }
    faults
}

fn tree() -> Tree {
    let pages: Vec<String> = PROGRAMS.iter().map(|(_, page)| read(page)).collect();
    Tree::parse(pages.iter().map(String::as_str))
}

#[test]
fn every_command_that_people_are_told_exists() {
    let tree = tree();
    let mut found = 0;
    let mut all = Vec::new();
    for run in told() {
        found += usize::from(PROGRAMS.iter().any(|(name, _)| run.text.contains(name)));
        for fault in faults(&tree, &run.text) {
            all.push(format!("{}: {fault}: {}", run.place, run.text));
        }
    }
    assert!(found > 100, "only {found} texts name a program");
    none(all);
}

/// Exit codes after which starting again may help: unexpected, somebody not reachable, and a
/// database that could not be written any more.
const WORTH_A_START: [&str; 3] = ["Unexpected", "Unreachable", "Database"];

#[test]
fn the_units_start_again_after_what_passes_and_after_nothing_else() {
    let codes: Vec<String> = read("common/daemon/src/exit.rs")
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .filter(|(name, _)| !WORTH_A_START.contains(name))
        .map(|(_, code)| code.to_owned())
        .collect();
    assert_eq!(codes.len(), 7, "{codes:?}");
    let line = format!("RestartPreventExitStatus={}", codes.join(" "));
    let mut faults = Vec::new();
    for unit in files("config-examples", &[".service"]) {
        let text = read(&unit);
        let needed = [
            "Type=notify",
            "KillMode=mixed",
            "RequiresMountsFor=/",
            &line,
        ];
        for needed in needed {
            if !text.lines().any(|line| line.starts_with(needed)) {
                faults.push(format!("{unit} lacks {needed}"));
            }
        }
    }
    none(faults);
}

#[test]
fn commands_are_walked_as_a_person_types_them() {
    let tree = Tree::parse([
        "## `damocles-manager`\n## `damocles-manager util`\n  --api <A>\n## `damocles-manager util auth`\n## `damocles-manager util auth create-token`\n      --perm <PERM>\n",
        "## `damocles-worker`\n## `damocles-worker worker`\n  -H, --host <IP>\n## `damocles-worker worker list`\n## `damocles-worker daemon`\n  -c, --config <FILE>\n",
    ]);
    for right in [
        "run `damocles-manager util auth create-token --perm write` there",
        "it is made by damocles-manager util auth create-token --perm write, then given",
        "  damocles-worker worker -H 10.0.0.7:1 list     what threads do",
        "damocles-worker seals sectors; a damocles-manager answers",
        "`worker list` shows it, (util auth create-token) too",
        "damocles-worker daemon -c x.toml | head",
        "`damocles-manager util …`",
        "`worker list|list`: either",
    ] {
        assert_eq!(faults(&tree, right), Vec::<String>::new(), "{right}");
    }
    for wrong in [
        "run damocles-manager auth create-token --perm write",
        "`auth create-token --perm write`",
        "tell the manager (util auth revoke)",
        "`damocles-worker daemon --poster`",
        "`damocles-worker start`",
        "see `worker show`",
        "see `worker list|show`",
        "`util auth create-token --permission write`",
    ] {
        assert_eq!(faults(&tree, wrong).len(), 1, "{wrong}");
    }
}
