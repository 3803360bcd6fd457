//! What differs between two configurations, key by key, and when each difference counts.

use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// When a changed key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// As soon as the file is read again.
    Now,
    /// When the daemon is started anew.
    AtStart,
}

/// A key whose value is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// With the name or actor of a table in a list: `Miners[1000].PoSt.Enabled`.
    pub key: String,
    /// As TOML; None: the key was not there.
    pub was: Option<String>,
    /// As TOML; None: it is not there any more.
    pub is: Option<String>,
    pub counts: Counts,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(
            f,
            "{}: {} -> {}",
            self.key,
            shown(&self.was),
            shown(&self.is)
        )
    }
}

/// Whether a key is one of these tables, or in one. Indices and names in brackets do not matter.
pub fn is_in(key: &str, tables: &[&str]) -> bool {
    let inside = |table: &&str| {
        key.strip_prefix(*table)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    tables.iter().any(inside)
}

/// All differences from one effective file to another, in the order of keys. `counts` says of a
/// key when it does.
///
/// # Errors
/// One of the texts is no TOML.
pub fn differences(
    was: &str,
    is: &str,
    counts: impl Fn(&str) -> Counts,
) -> Result<Vec<Difference>, toml::de::Error> {
    let (was, is) = (flat(was.parse()?), flat(is.parse()?));
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let of = |key: &String| Difference {
        key: key.clone(),
        was: was.get(key).cloned(),
        is: is.get(key).cloned(),
        counts: counts(key),
    };
    let changed = keys.into_iter().filter(|key| was.get(*key) != is.get(*key));
    Ok(changed.map(of).collect())
}

/// Every value by its key.
fn flat(table: Table) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    put(&mut all, String::new(), Value::Table(table));
    all
}

fn put(all: &mut BTreeMap<String, String>, key: String, value: Value) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let key = match key.as_str() {
                    "" => name,
                    outer => format!("{outer}.{name}"),
                };
                put(all, key, value);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_table) => {
            for (n, value) in list.into_iter().enumerate() {
                let name = named(&value).unwrap_or_else(|| n.to_string());
                put(all, format!("{key}[{name}]"), value);
            }
        }
        value => drop(all.insert(key, value.to_string())),
    }
}

/// How people tell a table of a list from the others.
fn named(value: &Value) -> Option<String> {
    ["Actor", "Name", "Path", "name", "location"]
        .into_iter()
        .find_map(|key| match value.get(key)? {
            Value::Integer(actor) => Some(actor.to_string()),
            Value::String(name) if !name.is_empty() => Some(name.clone()),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_people_name_them_and_each_says_when_it_counts() {
        let was = "[Common.API]\nChain = \"a\"\nToken = \"\"\n[Common.Retention]\nTimelines = \"1h0m0s\"\n[[Common.PersistStores]]\nName = \"hdd\"\nPath = \"/hdd\"\n[[Miners]]\nActor = 1000\n[Miners.PoSt]\nEnabled = true\n[[Miners]]\nActor = 1001\n";
        let is = "[Common.API]\nChain = \"b\"\nToken = \"\"\n[Common.Retention]\nTimelines = \"2h0m0s\"\n[[Common.PersistStores]]\nName = \"ssd\"\nPath = \"/hdd\"\n[[Miners]]\nActor = 1001\n[[Miners]]\nActor = 1000\n[Miners.PoSt]\nEnabled = false\n";
        let now = ["Miners", "Common.PersistStores", "Common.Retention"];
        let counts = |key: &str| match is_in(key, &now) {
            true => Counts::Now,
            false => Counts::AtStart,
        };
        let told = differences(was, is, counts).unwrap();
        let lines: Vec<_> = told.iter().map(|d| (d.to_string(), d.counts)).collect();
        let line = |text: &str, counts| (text.to_owned(), counts);
        assert_eq!(
            lines,
            [
                line("Common.API.Chain: \"a\" -> \"b\"", Counts::AtStart),
                line(
                    "Common.PersistStores[hdd].Name: \"hdd\" -> nothing",
                    Counts::Now
                ),
                line(
                    "Common.PersistStores[hdd].Path: \"/hdd\" -> nothing",
                    Counts::Now
                ),
                line(
                    "Common.PersistStores[ssd].Name: nothing -> \"ssd\"",
                    Counts::Now
                ),
                line(
                    "Common.PersistStores[ssd].Path: nothing -> \"/hdd\"",
                    Counts::Now
                ),
                line(
                    "Common.Retention.Timelines: \"1h0m0s\" -> \"2h0m0s\"",
                    Counts::Now
                ),
                line("Miners[1000].PoSt.Enabled: true -> false", Counts::Now),
            ]
        );
        assert_eq!(differences(is, is, counts).unwrap(), []);
    }
}
