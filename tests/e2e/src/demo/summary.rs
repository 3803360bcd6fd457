//! What came of a demo: a table for people, `summary.json` for programs.

use crate::demo::view::Sector;
use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use damocles_api::timeline::TimelineEntry;
use damocles_types::Epoch;
use serde::Serialize;
use std::{collections::BTreeMap, fs, path::Path};

/// `target/demo/summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub ok: bool,
    /// Why not, and where to look, when not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// From the start of the devnet to the last WindowPoSt.
    pub seconds: f64,
    pub sectors: Vec<SectorSummary>,
}

/// A sector; what has not happened is null.
#[derive(Clone, Debug, Serialize)]
pub struct SectorSummary {
    /// `s-t01000-1`
    pub id: String,
    /// As on chain: the CID of the sealed sector.
    pub comm_r: Option<String>,
    pub precommit_cid: Option<String>,
    pub commit_cid: Option<String>,
    pub activation_epoch: Option<Epoch>,
    /// Seconds that each stage ran, over all attempts.
    pub stages: BTreeMap<String, f64>,
    pub window_post: Option<WindowPost>,
    /// Stages in the order in which they ran.
    #[serde(skip)]
    order: Vec<String>,
}

/// The first accepted WindowPoSt that covers a sector.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WindowPost {
    pub deadline: u64,
    pub partition: u64,
    pub epoch: Epoch,
}

impl SectorSummary {
    pub fn of(sector: &Sector) -> Self {
        let chain = &sector.chain;
        let mut stages = BTreeMap::new();
        let mut order = Vec::new();
        for entry in sector.timeline.iter().filter(|entry| entry.stage != "-") {
            let key = key(&entry.stage);
            if !order.contains(&key) {
                order.push(key.clone());
            }
            *stages.entry(key).or_insert(0.0) += seconds(entry);
        }
        Self {
            id: sector.id().to_string(),
            comm_r: sector.state.pre.map(|pre| pre.comm_r.cid.to_string()),
            precommit_cid: chain.precommit.as_ref().map(|m| m.cid.to_string()),
            commit_cid: chain.commit.as_ref().map(|m| m.cid.to_string()),
            activation_epoch: chain.activation,
            stages,
            window_post: chain.post.as_ref().map(|post| WindowPost {
                deadline: post.deadline,
                partition: post.partition,
                epoch: post.epoch,
            }),
            order,
        }
    }
}

fn seconds(entry: &TimelineEntry) -> f64 {
    entry.ran_ms() as f64 / 1000.0
}

/// A stage's label as a key: `WaitPCLanded` is `wait_pc_landed`, `PC1` is `pc1`.
fn key(label: &str) -> String {
    let letters: Vec<char> = label.chars().collect();
    let mut out = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let after_lower = i > 0 && letters[i - 1].is_lowercase();
        let before_lower = letters.get(i + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && i > 0 && (after_lower || before_lower) {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// A CID that fits into a column: its end tells it from others.
fn short(cid: &Option<String>) -> String {
    match cid {
        Some(cid) if cid.len() > 20 => format!("{}…{}", &cid[..8], &cid[cid.len() - 8..]),
        Some(cid) => cid.clone(),
        None => "-".to_owned(),
    }
}

impl Summary {
    /// Two tables: what the chain holds, and where the time went.
    pub fn tables(&self) -> String {
        let mut chain = Table::new();
        chain.load_preset(presets::UTF8_BORDERS_ONLY).set_header([
            "sector",
            "CommR",
            "precommit",
            "commit",
            "active since epoch",
            "WindowPoSt",
        ]);
        for sector in &self.sectors {
            chain.add_row([
                sector.id.clone(),
                short(&sector.comm_r),
                short(&sector.precommit_cid),
                short(&sector.commit_cid),
                sector
                    .activation_epoch
                    .map_or("-".to_owned(), |epoch| epoch.to_string()),
                sector.window_post.map_or("-".to_owned(), |post| {
                    format!(
                        "deadline {}, partition {}, epoch {}",
                        post.deadline, post.partition, post.epoch
                    )
                }),
            ]);
        }
        let mut time = Table::new();
        let ids = self.sectors.iter().map(|sector| sector.id.clone());
        time.load_preset(presets::UTF8_BORDERS_ONLY)
            .set_header(std::iter::once("seconds in".to_owned()).chain(ids));
        for stage in self.stages() {
            let cells = self.sectors.iter().map(|sector| {
                sector
                    .stages
                    .get(stage)
                    .map_or("-".to_owned(), |seconds| format!("{seconds:.2}"))
            });
            time.add_row(std::iter::once(stage.clone()).chain(cells));
        }
        format!("{chain}\n{time}")
    }

    /// Every stage of any sector, in the order in which the first one met it.
    fn stages(&self) -> Vec<&String> {
        let mut all = Vec::new();
        for stage in self.sectors.iter().flat_map(|sector| &sector.order) {
            if !all.contains(&stage) {
                all.push(stage);
            }
        }
        all
    }

    /// Writes it as JSON, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let next = path.with_extension("json.new");
        fs::write(&next, text)
            .and_then(|()| fs::rename(&next, path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_keys() {
        for (label, expected) in [
            ("PC1", "pc1"),
            ("C2", "c2"),
            ("AddPieces", "add_pieces"),
            ("TreeD", "tree_d"),
            ("SubmitPreCommit", "submit_pre_commit"),
            ("WaitPCLanded", "wait_pc_landed"),
            ("SyntheticPoRep", "synthetic_po_rep"),
        ] {
            assert_eq!(key(label), expected, "{label}");
        }
    }

    #[test]
    fn the_json_has_the_agreed_keys_and_the_table_the_same_facts() {
        let summary = Summary {
            ok: true,
            error: None,
            logs: None,
            seconds: 100.0,
            sectors: vec![SectorSummary {
                id: "s-t01000-1".into(),
                comm_r: Some("bagboea4b5abcdefghijklmnopqrstuvwxyz".into()),
                precommit_cid: Some("bafy1".into()),
                commit_cid: None,
                activation_epoch: Some(143),
                stages: [("pc1".to_owned(), 0.125)].into(),
                window_post: Some(WindowPost {
                    deadline: 2,
                    partition: 0,
                    epoch: 171,
                }),
                order: vec!["pc1".into()],
            }],
        };
        let json = serde_json::to_value(&summary).unwrap();
        let sector = &json["sectors"][0];
        assert_eq!(json["ok"], true);
        assert!(json.get("error").is_none());
        assert_eq!(sector["stages"]["pc1"], 0.125);
        assert_eq!(sector["commit_cid"], serde_json::Value::Null);
        assert_eq!(
            sector["window_post"],
            serde_json::json!({"deadline":2,"partition":0,"epoch":171})
        );
        let table = summary.tables();
        for fact in [
            "s-t01000-1",
            "bagboea4…stuvwxyz",
            "bafy1",
            "143",
            "0.12",
            "epoch 171",
        ] {
            assert!(table.contains(fact), "{fact} in\n{table}");
        }
    }
}
