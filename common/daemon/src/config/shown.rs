//! What is found in configurations, as programs read it: the same form for both daemons.

use super::{Counts, Difference, Faults, Notice};
use serde_json::{Value, json};
use std::path::Path;

/// `config check --json`.
pub fn check_json(path: &Path, faults: Option<&Faults>, notices: &[Notice]) -> Value {
    let faults: Vec<Value> = faults
        .into_iter()
        .flat_map(Faults::iter)
        .map(|f| json!({ "Line": f.line, "Key": f.key, "Message": f.message }))
        .collect();
    let notices: Vec<Value> = notices
        .iter()
        .map(|n| json!({ "Line": n.line, "Key": n.key, "Message": n.message }))
        .collect();
    json!({ "Path": path, "Faults": faults, "Warnings": notices })
}

/// `config diff --json`.
pub fn differences_json(found: &[Difference]) -> Value {
    let of = |d: &Difference| {
        let counts = match d.counts {
            Counts::Now => "Now",
            Counts::AtStart => "AtStart",
        };
        json!({ "Key": d.key, "Running": d.was, "File": d.is, "Counts": counts })
    };
    found.iter().map(of).collect()
}
