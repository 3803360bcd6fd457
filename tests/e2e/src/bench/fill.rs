//! A database as lines: sectors that are finished, with the messages and attempts that they took,
//! and one in work for every sealing thread.

use super::Wish;
use crate::house::MINER;
use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};
use uuid::Uuid;

/// Attempts at the steps of a sector that is finished.
const STEPS: [&str; 8] = [
    "Allocated",
    "PieceAdded",
    "TreeDBuilt",
    "PC1Done",
    "PC2Done",
    "PCLanded",
    "C1Done",
    "C2Done",
];
/// When the first of them was wanted (ms since 1970), and how far the next.
const BEGAN: u64 = 1_700_000_000_000;
const APART: u64 = 1000;

struct Lines {
    out: BufWriter<File>,
    sum: Sha256,
    records: u64,
}

impl Lines {
    fn line(&mut self, value: &Value) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.sum.update(&line);
        Ok(self.out.write_all(&line)?)
    }

    fn record(&mut self, table: &str, key: &[u8], value: &Value) -> Result<()> {
        self.records += 1;
        self.line(&json!({ "table": table, "key": hex::encode(key), "value": value }))
    }

    /// An entry of a list: there, and empty.
    fn listed(&mut self, table: &str, key: &[u8]) -> Result<()> {
        self.bytes(table, key, &[])
    }

    fn bytes(&mut self, table: &str, key: &[u8], value: &[u8]) -> Result<()> {
        self.records += 1;
        let value = STANDARD.encode(value);
        self.line(&json!({ "table": table, "key": hex::encode(key), "base64": value }))
    }
}

fn sector_key(number: u64) -> Vec<u8> {
    let mut key = MINER.to_be_bytes().to_vec();
    key.extend(number.to_be_bytes());
    key
}

/// Of 32GiB: ten partitions of 192 bytes.
fn proof() -> Vec<u8> {
    vec![5; 1920]
}

/// Numbers from 1 on are finished, those above are in work.
pub(super) fn write(path: &Path, wish: &Wish) -> Result<()> {
    let file =
        File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    let mut lines = Lines {
        out: BufWriter::with_capacity(1 << 20, file),
        sum: Sha256::new(),
        records: 0,
    };
    lines.line(&json!({
        "format": "damocles-database",
        "format_version": 1,
        "owner": "damocles-manager",
        "schema_version": 7,
        "database": Uuid::new_v4(),
        "network": null,
        "exported_at": BEGAN,
    }))?;
    let last = wish.sectors + wish.threads;
    let finished = |number: u64| number <= wish.sectors;
    let ids = |number| [0, 1].map(|kind| id(number, kind));
    // a table after the other, each in the order of its keys
    for number in 1..=last {
        let record = sector(number, finished(number), ids(number));
        lines.record("sectors", &sector_key(number), &record)?;
    }
    for number in 1..=wish.sectors {
        lines.listed("sectors-done", &sector_key(number))?;
    }
    for number in wish.sectors + 1..=last {
        lines.listed("sectors-in-work", &sector_key(number))?;
    }
    for number in 1..=wish.sectors {
        lines.bytes("proofs", &sector_key(number), &proof())?;
    }
    for number in 1..=wish.sectors {
        let mut key = (BEGAN + number * APART).to_be_bytes().to_vec();
        key.extend(sector_key(number));
        lines.listed("sectors-over", &key)?;
    }
    for number in 1..=wish.sectors {
        for (id, kind) in ids(number).into_iter().zip(["PreCommit", "ProveCommit"]) {
            lines.record("messages", id.as_bytes(), &message(number, id, kind))?;
        }
    }
    for number in 1..=wish.sectors {
        for id in ids(number) {
            let mut key = sector_key(number);
            key.extend(id.as_bytes());
            lines.listed("sector-messages", &key)?;
        }
    }
    for number in 1..=wish.sectors {
        for (seq, state) in STEPS.iter().enumerate() {
            let mut at = sector_key(number);
            at.extend((seq as u64).to_be_bytes());
            lines.record("timelines", &at, &entry(number, seq as u64, state))?;
        }
    }
    lines.record("sector-numbers", &MINER.to_be_bytes(), &json!(last))?;
    let end =
        json!({ "records": lines.records, "sha256": hex::encode(lines.sum.finalize_reset()) });
    writeln!(lines.out, "{end}")?;
    lines.out.flush()?;
    Ok(())
}

/// In the order of time, as those of the daemon are.
fn id(number: u64, kind: u64) -> Uuid {
    let at = BEGAN + number * APART + kind;
    Uuid::from_u128((u128::from(at) << 80) | u128::from(number))
}

fn sector(number: u64, finished: bool, [pre, prove]: [Uuid; 2]) -> Value {
    let ticket = json!({ "Ticket": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "Epoch": 10 });
    let comm = |byte: u8| vec![byte; 32];
    let mut record = json!({
        "v": 1,
        "id": { "Miner": MINER, "Number": number },
        "proof_type": 5,
        "online": !finished,
        "allocated_at": BEGAN + number * APART,
        "ticket": ticket,
        "seed": null,
        "pieces": null,
        "pre": null,
        "proof": null,
        "report": null,
        "reported_at": null,
        "finalized": finished,
        "removed": false,
        "abort_reason": "",
    });
    if finished {
        record["pre"] = json!({
            "comm_r": comm(3), "comm_d": comm(4), "ticket": ticket,
            "carriage": { "In": { "message": pre } },
        });
        let digest = hex::encode(Sha256::digest(proof()));
        record["proof"] = json!({
            "digest": digest,
            "carriage": { "In": { "message": prove } },
        });
    }
    record
}

fn message(number: u64, id: Uuid, kind: &str) -> Value {
    json!({
        "v": 1, "id": id, "kind": kind, "miner": MINER,
        "from": "f0100", "to": format!("f0{MINER}"), "value": "5",
        "method": 28,
        "fee": { "gas_over_estimation": 1.2, "gas_over_premium": 0.0, "gas_fee_cap": "5000000000" },
        "confidence": 10,
        "sectors": [{ "Miner": MINER, "Number": number }],
        "wanted_at": BEGAN + number * APART,
        "state": "Final",
        "gas": { "limit": 1200000, "fee_cap": "100", "premium": "10" },
        "cid": null, "nonce": number, "pushed_at": 20, "epoch": 30,
        "exit_code": 0, "gas_used": 900000,
        "tries": 0, "refusals": 0, "retry_at": null, "error": null, "failing_since": null,
    })
}

fn entry(number: u64, seq: u64, state: &str) -> Value {
    let at = BEGAN + number * APART + seq * 10;
    json!({
        "v": 1, "instance": format!("w{}", number % 100),
        "entry": {
            "Seq": seq, "State": state, "Stage": "PC1", "QueuedAt": at, "StartedAt": at + 1,
            "EndedAt": at + 9, "Child": "ext(pid: 4711)", "Kernel": "x86-sha",
            "Ending": { "Result": "Done", "Next": "PC2Done" },
        },
    })
}
