//! What a transaction wants to be written, and which of these can be written by one statement.

use super::seen::{Seen, version};
use crate::{Table, change::Change};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Commits of a statement.
const COMPANY: usize = 64;
/// Bytes that the commits of a statement write, but for the first.
const LOAD: usize = 1 << 20;

/// What a closure has seen, and what it wants to be written if that is still so.
pub(super) struct Wish {
    pub(super) seen: Seen,
    pub(super) changes: Vec<Change>,
    shape: Shape,
    bytes: usize,
}

/// The tables that are looked at, written to and deleted from: what the text of a statement
/// depends on. Only those of one shape go together, so that the server has no more of them to plan
/// than there are.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    seen: BTreeSet<Table>,
    put: BTreeSet<Table>,
    deleted: BTreeSet<Table>,
    /// Whether it looked at spans. Each makes the text another one, so these go alone.
    spans: bool,
}

impl Wish {
    pub(super) fn new(seen: Seen, changes: Vec<Change>) -> Self {
        let mut shape = Shape {
            seen: seen.tables().collect(),
            put: BTreeSet::new(),
            deleted: BTreeSet::new(),
            spans: !seen.spans().is_empty(),
        };
        let mut bytes = 0;
        for change in &changes {
            match change {
                Change::Put(table, key, value) => {
                    shape.put.insert(*table);
                    bytes += key.len() + value.len();
                }
                Change::Delete(table, key) => {
                    shape.deleted.insert(*table);
                    bytes += key.len();
                }
            }
        }
        Self {
            seen,
            changes,
            shape,
            bytes,
        }
    }

    fn written(&self) -> impl Iterator<Item = (Table, &[u8])> {
        self.changes.iter().map(Change::place)
    }
}

/// Commits that can be applied by one statement, at one moment.
pub(super) struct Statement<'a> {
    shape: &'a Shape,
    seen: HashMap<(Table, &'a [u8]), i64>,
    written: HashSet<(Table, &'a [u8])>,
    bytes: usize,
    count: usize,
}

impl<'a> Statement<'a> {
    pub(super) fn of(first: &'a Wish) -> Self {
        let mut statement = Self {
            shape: &first.shape,
            seen: HashMap::new(),
            written: HashSet::new(),
            bytes: 0,
            count: 0,
        };
        statement.add(first);
        statement
    }

    /// Takes it along, if it can be applied at the same moment.
    pub(super) fn takes(&mut self, wish: &'a Wish) -> bool {
        let takes = self.bears(wish);
        if takes {
            self.add(wish);
        }
        takes
    }

    /// Neither it nor one of the others writes what the other has seen or writes, and nobody has
    /// seen another version than somebody else.
    fn bears(&self, wish: &Wish) -> bool {
        let free = |place: &(Table, &[u8])| !self.written.contains(place);
        let apart = |place: &(Table, &[u8])| free(place) && !self.seen.contains_key(place);
        !self.shape.spans
            && *self.shape == wish.shape
            && self.count < COMPANY
            && self.bytes + wish.bytes <= LOAD
            && wish.written().all(|place| apart(&place))
            && wish.seen.all().all(|(table, key, stored)| {
                let place = (table, key);
                let same = |before: &i64| *before == version(stored);
                free(&place) && self.seen.get(&place).is_none_or(same)
            })
    }

    fn add(&mut self, wish: &'a Wish) {
        for (table, key, stored) in wish.seen.all() {
            self.seen.insert((table, key), version(stored));
        }
        self.written.extend(wish.written());
        self.bytes += wish.bytes;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::{Range, Stored, Version};

    const A: Table = Table("a");
    const B: Table = Table("b");

    /// Has seen these keys of `a` in these versions (0: nothing was there), and writes those.
    fn wish(seen: &[(&str, u64)], written: &[&str]) -> Wish {
        let mut all = Seen::default();
        for (key, version) in seen {
            let stored = Stored {
                version: Version(*version),
                value: Vec::new(),
            };
            let stored = (*version > 0).then_some(stored);
            all.saw(A, key.as_bytes().to_vec(), stored);
        }
        let put = |key: &&str| Change::Put(A, key.as_bytes().to_vec(), vec![7]);
        Wish::new(all, written.iter().map(put).collect())
    }

    fn go_together(one: &Wish, other: &Wish) -> bool {
        let there = Statement::of(one).takes(other);
        assert_eq!(there, Statement::of(other).takes(one));
        there
    }

    #[test]
    fn those_that_touch_nothing_of_each_other_go_together() {
        let counts = |key| wish(&[("stamp", 3), (key, 1)], &[key]);
        assert!(go_together(&counts("x"), &counts("y")));
        let (one, two, three) = (counts("x"), counts("y"), counts("x"));
        let mut statement = Statement::of(&one);
        assert!(statement.takes(&two));
        assert!(!statement.takes(&three), "it is written already");
    }

    #[test]
    fn who_reads_what_another_writes_waits_for_the_next() {
        let writes = wish(&[("x", 1)], &["x"]);
        let reads = wish(&[("x", 1), ("y", 0)], &["y"]);
        assert!(!go_together(&writes, &reads));
        let blindly = wish(&[("y", 0)], &["x", "y"]);
        assert!(!go_together(&writes, &blindly));
    }

    #[test]
    fn who_has_seen_different_versions_does_not_fail_with_the_other() {
        let old = wish(&[("stamp", 1), ("x", 1)], &["x"]);
        let new = wish(&[("stamp", 2), ("y", 1)], &["y"]);
        assert!(!go_together(&old, &new));
    }

    #[test]
    fn another_text_of_the_statement_is_another_statement() {
        let one = wish(&[("x", 1)], &["x"]);
        let mut elsewhere = Seen::default();
        elsewhere.saw(B, b"y".to_vec(), None);
        let put = Change::Put(A, b"y".to_vec(), Vec::new());
        assert!(!go_together(&one, &Wish::new(elsewhere, vec![put])));
        let mut seen = Seen::default();
        seen.saw(A, b"y".to_vec(), None);
        let deleted = Change::Delete(A, b"y".to_vec());
        assert!(!go_together(&one, &Wish::new(seen, vec![deleted])));

        let scan = |low: &str| {
            let mut seen = Seen::default();
            let range = Range {
                low: low.as_bytes().to_vec(),
                high: None,
            };
            seen.saw_span(A, &range, false, 1, &[]);
            let put = Change::Put(B, low.as_bytes().to_vec(), Vec::new());
            Wish::new(seen, vec![put])
        };
        assert!(!go_together(&scan("a"), &scan("b")), "spans go alone");
    }

    #[test]
    fn a_statement_has_its_limits() {
        let all: Vec<Wish> = (0..100)
            .map(|n| wish(&[(&format!("{n}"), 1)], &[&format!("{n}")]))
            .collect();
        let mut statement = Statement::of(&all[0]);
        let taken = all[1..].iter().filter(|wish| statement.takes(wish)).count();
        assert_eq!(taken + 1, COMPANY);

        let large = |key: &str| {
            let put = Change::Put(A, key.as_bytes().to_vec(), vec![0; LOAD]);
            Wish::new(Seen::default(), vec![put])
        };
        assert!(!go_together(&large("x"), &large("y")));
    }
}
