//! The systemd units: every line is a directive of its section that systemd knows, and what they start
//! exists.

use crate::{none, text};
use std::collections::BTreeMap;

/// Directives that our units use, as `systemd.unit`, `systemd.service`, `systemd.exec`, `systemd.kill`
/// and `systemd.resource-control` name them.
const KNOWN: [(&str, &[&str]); 3] = [
    (
        "Unit",
        &["Description", "Wants", "After", "RequiresMountsFor"],
    ),
    (
        "Service",
        &[
            "Type",
            "User",
            "Environment",
            "LoadCredentialEncrypted",
            "ExecStart",
            "ExecReload",
            "StateDirectory",
            "KillMode",
            "TimeoutStopSec",
            "WatchdogSec",
            "Restart",
            "RestartSec",
            "RestartPreventExitStatus",
            "OOMPolicy",
            "Delegate",
            "LimitNOFILE",
            "LimitMEMLOCK",
            "NoNewPrivileges",
            "ProtectSystem",
            "ProtectHome",
            "ProtectHostname",
            "ProtectKernelModules",
            "ProtectKernelLogs",
            "RestrictSUIDSGID",
            "RestrictRealtime",
            "LockPersonality",
            "RestrictAddressFamilies",
            "SystemCallArchitectures",
            "UMask",
            "MemoryMax",
            "CPUWeight",
            "IOWeight",
            "Nice",
        ],
    ),
    ("Install", &["WantedBy"]),
];

/// Section, directive and value of each line; a comment that hides a directive counts as one.
fn lines(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let line = match line.strip_prefix('#') {
            Some(hidden) if hidden.starts_with(|c: char| c.is_ascii_uppercase()) => hidden,
            Some(_) => continue,
            None => line,
        };
        if let Some((directive, value)) = line.split_once('=') {
            found.push((section.clone(), directive.to_owned(), value.to_owned()));
        } else if !line.trim().is_empty() {
            found.push((section.clone(), line.to_owned(), String::new()));
        }
    }
    found
}

#[test]
fn every_line_of_a_unit_is_a_directive_of_its_section() {
    let units = text::files("packaging/systemd", &[".service", ".conf"]);
    assert!(units.len() >= 3, "{units:?}");
    let mut faults = Vec::new();
    for unit in units {
        for (section, directive, _) in lines(&text::read(&unit)) {
            let known = KNOWN.iter().find(|(name, _)| *name == section);
            if !known.is_some_and(|(_, known)| known.contains(&directive.as_str())) {
                faults.push(format!("{unit}: [{section}] {directive} is not known"));
            }
        }
    }
    none(faults);
}

#[test]
fn a_unit_stops_in_order_lives_by_a_watchdog_and_is_not_started_in_vain() {
    for daemon in ["damocles-manager", "damocles-worker"] {
        let unit = text::read(&format!("packaging/systemd/{daemon}.service"));
        let all: BTreeMap<String, String> = lines(&unit)
            .into_iter()
            .map(|(_, directive, value)| (directive, value))
            .collect();
        let of = |directive: &str| all.get(directive).map_or("", String::as_str);
        assert_eq!(of("Type"), "notify", "{daemon}");
        assert_eq!(of("KillMode"), "mixed", "{daemon}");
        assert!(
            of("ExecStart").contains(&format!("/{daemon} daemon ")),
            "{daemon}"
        );
        assert!(of("ExecReload").ends_with("-HUP $MAINPID"), "{daemon}");
        for directive in ["TimeoutStopSec", "RestartSec"] {
            assert!(of(directive).parse::<u32>().is_ok(), "{daemon} {directive}");
        }
        // a unit with a watchdog whose daemon never speaks to it would be killed for ever
        let source = text::read(&format!("{daemon}/src/daemon.rs"));
        let speaks = source.contains("systemd::watchdog(");
        assert_eq!(all.contains_key("WatchdogSec"), speaks, "{daemon}");
        // what a start cannot mend: every exit code but "unexpected", "unreachable" and "database"
        assert_eq!(of("RestartPreventExitStatus"), "2 3 5 6 7 8 9", "{daemon}");
    }
}
