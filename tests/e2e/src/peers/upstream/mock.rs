//! Upstream's manager in its mock mode: it hands out sectors without end, gives tickets and seeds
//! of its own, and has every message for landed at once. There is no chain.

use super::scene::{A_SECTOR, person_called};
use crate::{
    house::{House, Role},
    process::{self, Daemon},
    rpc::Rpc,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeSet, fs, path::Path, time::Duration};

/// How long it may take until it answers, or ends.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(60);
/// What its log says of a sector that is done, before the sector.
const DONE: &str = "report finalized for ";

/// The running daemon; dropped, it is killed.
#[derive(Debug)]
pub(super) struct Mock {
    daemon: RefCell<Daemon>,
    address: String,
    /// As it answers.
    pub(super) version: String,
}

impl Mock {
    /// Starts it for the house's miner: the daemon that answers, or the words that it ended with.
    pub(super) async fn start(program: &Path, house: &House) -> Result<Result<Self, String>> {
        let address = format!("127.0.0.1:{}", damocles_test_ports::port());
        let mut command = process::foreign(program);
        command
            .arg("--home")
            .arg(house.path("upstream-mock"))
            .args(["mock", "--miner", "1000", "--sector-size", "2KiB"])
            .args(["--listen", &address]);
        let daemon = RefCell::new(house.start_beside("upstream-mock", command)?);
        let door = Rpc::new(&format!("http://{address}/rpc/v0"), None)?;
        let answer = house
            .until("upstream's mock to answer or to end", START, async || {
                let ended = daemon.borrow_mut().ended()?;
                if ended.is_some() {
                    let words = daemon.borrow().tail(1);
                    return Ok(Some(Err(words_of(&words))));
                }
                Ok(Some(Ok(door.call("Venus.Version", []).await?)))
            })
            .await?;
        Ok(answer.map(|version| Self {
            daemon,
            address,
            version,
        }))
    }

    /// Has our worker seal under it until so many sectors were reported as done, and looks at what
    /// was stored of them. The mock is stopped after that.
    pub(super) async fn seal(self, house: &House, sectors: u64) -> Result<String> {
        house.stand_before(Role::Manager, &self.address);
        house.start_worker().await?;
        let limit = A_SECTOR * sectors as u32;
        let what = format!("{sectors} sectors to be reported as done");
        let done = house
            .until(what, limit, async || {
                if let Err(dead) = self.daemon.borrow_mut().check_alive() {
                    return Ok(Some(Err(dead)));
                }
                let worker = house.worker()?;
                let threads: Vec<Value> = worker.call("VenusWorker.WorkerList", []).await?;
                if let Some(stands) = threads.iter().find_map(person_called) {
                    return Ok(Some(Err(stands)));
                }
                let done = done(&fs::read_to_string(self.daemon.borrow().log())?);
                Ok((done.len() as u64 >= sectors).then_some(Ok(done)))
            })
            .await??;
        for number in &done {
            for kind in ["sealed", "cache"] {
                let stored = house.path(&format!("persist/{kind}/s-t01000-{number}"));
                ensure!(
                    stored.exists(),
                    "sector {number} is reported as done, and {} is not there",
                    stored.display()
                );
            }
        }
        // it hands out sectors for ever, and the worker is in the next ones
        house.stop(Role::Worker)?;
        let Self { daemon, .. } = self;
        daemon.into_inner().stop(STOP)?;
        let left = house.wait_until_empty().await;
        left.context("a stopped house must be empty")?;
        Ok(format!(
            "{} sectors sealed, stored and reported as done",
            done.len()
        ))
    }
}

/// Numbers of the sectors that its log has for done.
fn done(log: &str) -> BTreeSet<u64> {
    let sectors = log.lines().filter_map(|line| line.split_once(DONE));
    let numbers = sectors.filter_map(|(_, sector)| sector.trim().rsplit_once('-'));
    numbers
        .filter_map(|(_, number)| number.parse().ok())
        .collect()
}

/// A line of its log without time, level and place, which stand before it in columns.
fn words_of(line: &str) -> String {
    let words = line.rsplit_once('\t').map_or(line, |(_, words)| words);
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_that_are_done_are_counted_once() {
        let log = "2026-11-30T10:00:00.000Z\tWARN\tmock\tmock/sealer.go:198\t\
                   report finalized for m-1000-s-1\n\
                   2026-11-30T10:00:01.000Z\tWARN\tmock\tmock/sealer.go:190\t\
                   report state change for m-1000-s-2: x\n\
                   2026-11-30T10:00:02.000Z\tWARN\tmock\tmock/sealer.go:198\t\
                   report finalized for m-1000-s-1\n";
        assert_eq!(done(log), BTreeSet::from([1]));
    }
}
