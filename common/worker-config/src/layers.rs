//! One file laid over another. Pure.
//!
//! * Tables are laid over each other key by key; any other value of the upper file takes the place of
//!   the lower one's.
//! * A list of tables (`[[sealing_thread]]`, `[[attached]]`, `[[processors.pc1]]`) takes the place of
//!   the lower one as a whole, unless one of its tables says `extend = true`: then all of them come
//!   after those of the lower file.

use std::collections::BTreeMap;
use toml::{Table, Value};

/// The key by which a list says that it comes after the lower one.
pub const EXTEND: &str = "extend";

/// What came of two files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Laid {
    pub table: Table,
    /// Lists of tables that the upper file replaced, by key.
    pub replaced: Vec<String>,
    /// Lists of tables that it extended, with how many the lower one has.
    pub extended: BTreeMap<String, usize>,
}

/// `over` laid over `under`.
pub fn lay_over(under: Table, over: Table) -> Laid {
    let mut laid = Laid::default();
    let table = merge(under, over, "", &mut laid);
    laid.table = table;
    laid
}

fn merge(mut under: Table, over: Table, path: &str, laid: &mut Laid) -> Table {
    for (key, value) in over {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let merged = match (under.remove(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => {
                Value::Table(merge(under, over, &path, laid))
            }
            (Some(Value::Array(mut under)), Value::Array(over)) if tables(&over) => {
                if over.iter().any(extends) {
                    laid.extended.insert(path, under.len());
                    under.extend(over);
                    Value::Array(under)
                } else {
                    laid.replaced.push(path);
                    Value::Array(over)
                }
            }
            (_, value) => value,
        };
        under.insert(key, merged);
    }
    under
}

fn tables(list: &[Value]) -> bool {
    list.iter().any(Value::is_table)
}

fn extends(table: &Value) -> bool {
    table.get(EXTEND).and_then(Value::as_bool).unwrap_or(false)
}

impl Laid {
    /// The key under which a key of the upper file stands now.
    pub fn moved(&self, key: &str) -> String {
        for (list, before) in &self.extended {
            let inside = key.strip_prefix(list.as_str());
            let index = inside.and_then(|rest| rest.strip_prefix('[')?.split_once(']'));
            if let Some((index, rest)) = index
                && let Ok(index) = index.parse::<usize>()
            {
                return format!("{list}[{}]{rest}", index + before);
            }
        }
        key.to_owned()
    }

    /// Whether a key of the lower file stands there still.
    pub fn keeps(&self, key: &str) -> bool {
        let inside = |list: &&String| {
            let rest = key.strip_prefix(list.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        !self.replaced.iter().any(|list| inside(&list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(under: &str, over: &str) -> Laid {
        lay_over(under.parse().unwrap(), over.parse().unwrap())
    }

    #[test]
    fn a_table_of_two_files_and_what_comes_of_them() {
        for (under, over, both) in [
            ("a = 1\nb = 2", "b = 3\nc = 4", "a = 1\nb = 3\nc = 4"),
            (
                "[t]\na = 1\n[t.u]\nx = 1",
                "[t.u]\ny = 2",
                "[t]\na = 1\n[t.u]\nx = 1\ny = 2",
            ),
            // a list of plain values is one value
            ("s = [\"32GiB\"]", "s = [\"64GiB\"]", "s = [\"64GiB\"]"),
            ("[[l]]\nn = 1\n[[l]]\nn = 2", "[[l]]\nn = 3", "[[l]]\nn = 3"),
            (
                "[[l]]\nn = 1",
                "[[l]]\nn = 2\nextend = true\n[[l]]\nn = 3",
                "[[l]]\nn = 1\n[[l]]\nn = 2\nextend = true\n[[l]]\nn = 3",
            ),
            // nothing to extend
            (
                "",
                "[[l]]\nn = 2\nextend = true",
                "[[l]]\nn = 2\nextend = true",
            ),
            // an empty list of the upper file is a value like any other
            ("[p]\npc1 = [{ x = 1 }]", "[p]\npc1 = []", "[p]\npc1 = []"),
            (
                "[p]\npc1 = [{ x = 1 }]\npc2 = [{ y = 1 }]",
                "[p]\npc1 = [{ x = 2 }]",
                "[p]\npc1 = [{ x = 2 }]\npc2 = [{ y = 1 }]",
            ),
            // a value of another kind
            ("a = 1", "[a]\nb = 1", "[a]\nb = 1"),
        ] {
            let expected: Table = both.parse().unwrap();
            assert_eq!(
                laid(under, over).table,
                expected,
                "{under:?} under {over:?}"
            );
        }
    }

    #[test]
    fn keys_of_both_files_are_found_again() {
        let laid = laid(
            "[[t]]\na = 1\n[[t]]\na = 2\n[[r]]\nb = 1\n[p]\n[[p.x]]\nc = 1",
            "[[t]]\nextend = true\n[[r]]\nb = 2\n[p]\n[[p.x]]\nextend = true",
        );
        for (key, now) in [
            ("t[0].a", "t[2].a"),
            ("t[1]", "t[3]"),
            ("r[0].b", "r[0].b"),
            ("p.x[0]", "p.x[1]"),
            ("tt[0]", "tt[0]"),
        ] {
            assert_eq!(laid.moved(key), now);
        }
        for (key, kept) in [
            ("t[0].a", true),
            ("r[0].b", false),
            ("r", false),
            ("rr", true),
        ] {
            assert_eq!(laid.keeps(key), kept, "{key}");
        }
    }
}
