//! Gauges of the fleet, as upstream names them: how many sealing threads are in which state,
//! and how long ago workers pinged.

use crate::{
    model::{seconds, unix_ms},
    sealing::Sealing,
};
use damocles_api::workers::WorkerPingInfo;
use damocles_daemon::metrics::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Category {
    category: &'static str,
}

/// A gauge's categories with their counts.
type Counted = Vec<(&'static str, i64)>;

/// A worker that did not ping for so long (seconds) seals nothing that we know of.
const SILENT: i64 = 600;

/// Threads of living workers by state, and workers by the age of their ping, in seconds.
fn census(workers: &[WorkerPingInfo], now: i64) -> (Counted, Counted) {
    let alive = |w: &&WorkerPingInfo| !w.left && now - w.last_ping <= SILENT;
    let sum = |pick: fn(&WorkerPingInfo) -> u32| {
        workers
            .iter()
            .filter(alive)
            .map(|w| i64::from(pick(w)))
            .sum()
    };
    let silent = |w: &&WorkerPingInfo| !w.left && now - w.last_ping > SILENT;
    let lost = workers.iter().filter(silent);
    let lost = lost.map(|w| i64::from(w.info.summary.threads)).sum();
    let threads = vec![
        ("empty", sum(|w| w.info.summary.empty)),
        ("paused", sum(|w| w.info.summary.paused)),
        ("running", sum(|w| w.info.summary.running)),
        ("waiting", sum(|w| w.info.summary.waiting)),
        ("errors", sum(|w| w.info.summary.errors)),
        ("silent", lost),
    ];
    let mut ages = [
        ("latency<=60s", i64::MIN, 60, 0),
        ("latency<=120s", 60, 120, 0),
        ("latency<=300s", 120, 300, 0),
        ("latency>300s", 300, i64::MAX, 0),
    ];
    for worker in workers.iter().filter(|w| !w.left) {
        let age = now - worker.last_ping;
        for (_, above, upto, count) in &mut ages {
            *count += i64::from(age > *above && age <= *upto);
        }
    }
    (
        threads,
        ages.map(|(name, _, _, count)| (name, count)).to_vec(),
    )
}

/// The two gauges, registered.
pub(super) struct Gauges {
    threads: Family<Category, Gauge>,
    workers: Family<Category, Gauge>,
}

impl Gauges {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let this = Self {
            threads: Family::default(),
            workers: Family::default(),
        };
        metrics.with(|r| {
            r.register(
                "thread_count",
                "Sealing threads by state, as last reported",
                this.threads.clone(),
            );
            r.register(
                "worker_count",
                "Workers by the age of their last ping",
                this.workers.clone(),
            );
        });
        this
    }

    pub(super) fn show(&self, workers: &[WorkerPingInfo], now: i64) {
        let (by_state, by_age) = census(workers, now);
        for (family, counts) in [(&self.threads, by_state), (&self.workers, by_age)] {
            for (category, count) in counts {
                family.get_or_create(&Category { category }).set(count);
            }
        }
    }
}

/// Keeps the gauges up to date until `stop`.
pub async fn watch(
    sealing: Sealing,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let gauges = Gauges::register(&metrics);
    loop {
        match sealing.workers().await {
            Ok(all) => {
                let now = seconds(unix_ms());
                gauges.show(&all, now);
            }
            Err(error) => tracing::warn!(%error, "workers could not be counted"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::workers::{WorkerPing, WorkerSummary};

    #[test]
    fn every_worker_is_in_one_class() {
        let worker = |age: i64| WorkerPingInfo {
            info: WorkerPing {
                name: age.to_string(),
                dest: "h:1".into(),
                version: String::new(),
                summary: WorkerSummary {
                    threads: 3,
                    running: 2,
                    errors: 1,
                    ..Default::default()
                },
            },
            last_ping: 1000 - age,
            left: false,
            twin: None,
        };
        let mut all: Vec<_> = [-5, 60, 61, 120, 121, 301].map(worker).into();
        let (threads, ages) = census(&all, 1000);
        assert_eq!(threads[2], ("running", 12));
        assert_eq!(threads[4], ("errors", 6));
        assert_eq!(ages.iter().map(|a| a.1).collect::<Vec<_>>(), [2, 2, 1, 1]);
        // one that left, and one that was not heard of for long, run nothing
        let left = WorkerPingInfo {
            left: true,
            ..worker(7)
        };
        all.extend([left, worker(601)]);
        let (threads, ages) = census(&all, 1000);
        assert_eq!(threads[2], ("running", 12));
        assert_eq!(threads[5], ("silent", 3));
        assert_eq!(ages.iter().map(|a| a.1).collect::<Vec<_>>(), [2, 2, 1, 2]);
    }
}
