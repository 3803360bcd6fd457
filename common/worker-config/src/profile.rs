//! Profiles: a file of the worker's keys, kept by the manager for many hosts of one kind.

use crate::raw::{RULES, RawConfig};
use damocles_daemon::config::{Report, parse};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// Longest name.
const LONGEST: usize = 64;
/// A profile is a page or two.
pub const LARGEST: usize = 256 << 10;
/// The name that stands for the profile which the manager has assigned to the worker.
pub const ASSIGNED: &str = "assigned";
/// Tables that belong to the host's own file: how it finds the manager, and what it is called.
const OWN: [(&str, &str); 2] = [
    ("sector_manager", "says how a host finds its manager"),
    ("worker.name", "is one host's name"),
];

/// A name that may be a file's, or why not.
///
/// # Errors
/// One sentence.
pub fn check_name(name: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(fine) || name.starts_with('.') {
        return Err(format!(
            "{name:?} is no name of a profile; it has letters, digits, '-', '_' and '.', {LONGEST} at most"
        ));
    }
    Ok(())
}

/// What a profile is told from another by: SHA-256 of its text, in hex.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Reads a profile strictly. `path` is for messages. Its image, and all that is wrong with it; what
/// only the machine can tell (whether a file is there) is not asked.
pub fn read(path: &Path, text: &str) -> (RawConfig, Report) {
    let (raw, mut report) = parse::<RawConfig>(path, text, &RULES);
    let raw = raw.unwrap_or_default();
    for (key, why) in OWN {
        if report.line_of(key).is_some() {
            report.fault(
                key,
                format!("{why}, so it stands in the host's own file and not in a profile"),
            );
        }
    }
    for fault in raw.processors.0.check().err().into_iter().flatten() {
        // files of the hosts
        if !fault.key.starts_with("processors.static_tree_d") {
            report.fault(&fault.key, fault.message);
        }
    }
    (raw, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names_and_nothing_else() {
        for good in ["epyc-2gpu", "a", "A_1.x"] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            ".",
            "../x",
            "a/b",
            "a b",
            ".hidden",
            &"x".repeat(65),
            "ä",
        ] {
            check_name(bad).unwrap_err();
        }
    }

    #[test]
    fn a_profile_is_read_as_strictly_as_a_file_and_keeps_out_what_is_a_hosts_own() {
        let faults = |text: &str| -> Vec<String> {
            let (_, report) = read(Path::new("p.toml"), text);
            report
                .faults
                .iter()
                .map(|f| format!("{}: {}", f.key, f.message))
                .collect()
        };
        let good = "[sealing]\nallowed_sizes = [\"32GiB\"]\n[worker]\nping_interval = \"5s\"\n[processors.static_tree_d]\n32GiB = \"/none\"\n[[processors.pc1]]\nconcurrent = 2\n";
        assert_eq!(faults(good), [""; 0]);
        for (bad, words) in [
            (
                "[sealing]\nallowed_size = []\n",
                "did you mean \"allowed_sizes\"?",
            ),
            (
                "[sector_manager]\npiece_token = \"x\"\n",
                "stands in the host's own file",
            ),
            ("[worker]\nname = \"x\"\n", "is one host's name"),
            (
                "[[processors.pc1]]\nconcurrent = 0\n",
                "nothing could ever run",
            ),
            ("x = ", "not TOML"),
        ] {
            let found = faults(bad);
            assert!(
                found.iter().any(|f| f.contains(words)),
                "{words:?} is not in {found:?}"
            );
        }
        assert_ne!(digest("a"), digest("b"));
    }
}
