//! What differs between two configurations of the manager, key by key, and when each difference
//! counts.

use damocles_daemon::config::{Counts, Difference, is_in};

/// The same, and that something differs which is not shown, unless a key tells so already.
pub fn with_secrets(mut found: Vec<Difference>, same: bool) -> Vec<Difference> {
    let masked = |value: &Option<String>| value.as_ref().is_some_and(|text| text.contains("***"));
    if !same && !found.iter().any(|d| masked(&d.was) || masked(&d.is)) {
        found.push(Difference {
            key: "a token or password in Common".into(),
            was: Some("***".into()),
            is: Some("another one".into()),
            counts: Counts::AtStart,
        });
    }
    found
}

/// Tables whose keys count as soon as they are read.
const NOW: [&str; 6] = [
    "Miners",
    "Common.PersistStores",
    "Common.ScanPersistStores",
    "Common.Retention",
    "Common.Auth",
    "Common.API.Tls",
];

/// All differences from one effective file to another, in the order of keys.
///
/// # Errors
/// One of the texts is no TOML.
pub fn differences(was: &str, is: &str) -> Result<Vec<Difference>, toml::de::Error> {
    damocles_daemon::config::differences(was, is, |key| match is_in(key, &NOW) {
        true => Counts::Now,
        false => Counts::AtStart,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn miners_and_stores_count_at_once_and_the_node_at_the_start() {
        let was = "[Common.API]\nChain = \"a\"\n[[Miners]]\nActor = 1000\n[Miners.PoSt]\nEnabled = true\n";
        let is = was.replace("\"a\"", "\"b\"").replace("true", "false");
        let told = differences(was, &is).unwrap();
        let lines: Vec<_> = told.iter().map(|d| (d.to_string(), d.counts)).collect();
        let line = |text: &str, counts| (text.to_owned(), counts);
        assert_eq!(
            lines,
            [
                line("Common.API.Chain: \"a\" -> \"b\"", Counts::AtStart),
                line("Miners[1000].PoSt.Enabled: true -> false", Counts::Now),
            ]
        );
    }
}
