//! Figures for monitoring: what was counted, and what is read off the threads' boards, the pool and
//! the disks when somebody asks.

use crate::{
    disks::Disks,
    figures::{Calls, Figures},
    threads::drain::Drain,
    view::{Board, summary},
};
use damocles_api::worker::DiskInfo;
use damocles_daemon::metrics::Metrics;
use damocles_processor::{
    Pool, Stage,
    parent::{ChildView, Phase, StageView},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use std::{fmt, sync::Arc};

/// Everything that is told.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub boards: Vec<Arc<Board>>,
    pub drain: Drain,
    pub figures: Figures,
    pub calls: Calls,
    pub pool: Option<Pool>,
    pub disks: Option<Disks>,
}

#[derive(Debug)]
struct Threads(Vec<Arc<Board>>, Drain);

impl Collector for Threads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sum = summary(self.0.iter().map(Arc::as_ref));
        for (name, help, count) in [
            ("threads", "Sealing threads", sum.threads),
            (
                "threads_empty",
                "Sealing threads without a sector",
                sum.empty,
            ),
            (
                "threads_paused",
                "Sealing threads that are paused",
                sum.paused,
            ),
            (
                "threads_running",
                "Sealing threads whose step is running",
                sum.running,
            ),
            (
                "threads_waiting",
                "Sealing threads that wait for something",
                sum.waiting,
            ),
            (
                "threads_errors",
                "Sealing threads with a last error",
                sum.errors,
            ),
            (
                "draining",
                "1 while no sector is begun",
                u32::from(self.1.to().is_some()),
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::from(count)).encode(metric)?;
        }
        Ok(())
    }
}

/// A way to the pool, or to what a page shows of one.
struct View(Box<dyn Fn() -> Vec<StageView> + Send + Sync>);

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("View")
    }
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stages = (self.0)();
        let up = |stage: &StageView| {
            let up = |child: &&ChildView| matches!(child.phase, Phase::Up { .. });
            stage.children.iter().filter(up).count() as u64
        };
        type Count = fn(&StageView) -> u64;
        let counts: [(&str, &str, Count); 3] = [
            (
                "processor_queue",
                "Tasks that wait for their turn",
                |stage| stage.waiting as u64,
            ),
            ("processor_running", "Tasks that run", |stage| {
                u64::from(stage.running)
            }),
            (
                "processor_children",
                "Child processes that are configured",
                |stage| stage.children.len() as u64,
            ),
        ];
        for (name, help, count) in counts {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for stage in &stages {
                let labels = [("stage", stage.stage.name())];
                let one = metric.encode_family(&labels)?;
                ConstGauge::new(signed(count(stage))).encode(one)?;
            }
        }
        let (name, help) = ("processor_children_up", "Child processes that are there");
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for stage in &stages {
            let labels = [("stage", stage.stage.name())];
            let one = metric.encode_family(&labels)?;
            ConstGauge::new(signed(up(stage))).encode(one)?;
        }
        let (name, help) = (
            "processor_restarts",
            "How often a child was started again because it had died",
        );
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for stage in &stages {
            for child in &stage.children {
                let labels = [
                    ("stage", stage.stage.name()),
                    ("child", child.name.as_str()),
                ];
                let one = metric.encode_family(&labels)?;
                ConstCounter::new(child.restarts).encode(one)?;
            }
        }
        Ok(())
    }
}

/// A way to the disks, or to what a page shows of some.
struct Room(Box<dyn Fn() -> Vec<DiskInfo> + Send + Sync>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl Collector for Room {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let disks = (self.0)();
        type Bytes = fn(&DiskInfo) -> Option<u64>;
        let figures: [(&str, &str, Bytes); 4] = [
            (
                "disk_total_bytes",
                "Size of the file system behind a sealing or persist store",
                |disk| disk.problem.is_none().then_some(disk.total),
            ),
            (
                "disk_free_bytes",
                "What of it is free for this worker",
                |disk| disk.problem.is_none().then_some(disk.free),
            ),
            (
                "disk_used_bytes",
                "What the sector of a sealing store takes of it",
                |disk| disk.used,
            ),
            ("disk_away", "1 while a store cannot be looked at", |disk| {
                Some(u64::from(disk.problem.is_some()))
            }),
        ];
        for (name, help, bytes) in figures {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for disk in &disks {
                let Some(bytes) = bytes(disk) else { continue };
                let labels = [("kind", disk.kind.as_str()), ("store", disk.name.as_str())];
                let one = metric.encode_family(&labels)?;
                ConstGauge::new(signed(bytes)).encode(one)?;
            }
        }
        Ok(())
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Lets all of it be read by `/metrics`.
pub fn register(metrics: &Metrics, sources: Sources) {
    let Sources {
        boards,
        drain,
        figures,
        calls,
        pool,
        disks,
    } = sources;
    let stages = View(Box::new(move || {
        pool.as_ref().map(Pool::view).unwrap_or_default()
    }));
    let room = Room(Box::new(move || {
        disks.as_ref().map(Disks::now).unwrap_or_default()
    }));
    put(
        metrics,
        Threads(boards, drain),
        &figures,
        &calls,
        stages,
        room,
    );
}

fn put(
    metrics: &Metrics,
    threads: Threads,
    figures: &Figures,
    calls: &Calls,
    stages: View,
    room: Room,
) {
    metrics.with(|registry| {
        registry.register_collector(Box::new(threads));
        figures.register(registry);
        calls.register(registry);
        registry.register_collector(Box::new(stages));
        registry.register_collector(Box::new(room));
    });
}

/// The part of docs/metrics.md that lists what this worker registers. By label there is nothing
/// before something has happened: here, one of each has.
pub fn table() -> String {
    let metrics = Metrics::new("damocles_worker");
    let (figures, calls) = (Figures::default(), Calls::default());
    figures.example();
    calls.ended("AllocateSector", Default::default(), Some("away"));
    let stages = View(Box::new(|| {
        vec![StageView {
            stage: Stage::Pc1,
            waiting: 0,
            running: 0,
            children: vec![ChildView {
                name: "pc1-0".to_owned(),
                phase: Phase::Starting,
                restarts: 0,
                dump: None,
            }],
        }]
    }));
    let room = Room(Box::new(|| {
        vec![DiskInfo {
            kind: "sealing".to_owned(),
            name: "/nvme/0".to_owned(),
            path: "/nvme/0".to_owned(),
            total: 1,
            free: 1,
            used: Some(0),
            problem: None,
        }]
    }));
    let threads = Threads(Vec::new(), Drain::default());
    put(&metrics, threads, &figures, &calls, stages, room);
    damocles_daemon::pages::metrics(&metrics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ThreadPlan,
        draining::{DrainTo, Order},
    };

    #[test]
    fn the_boards_are_counted_when_asked() {
        let board = Arc::new(Board::new(0, "/t0".into(), ThreadPlan::Sealer));
        let metrics = Metrics::new("damocles_worker");
        let sources = Sources {
            boards: vec![Arc::clone(&board)],
            ..Sources::default()
        };
        let drain = sources.drain.clone();
        register(&metrics, sources);
        let has = |line: &str| {
            let text = metrics.render();
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        };
        has("damocles_worker_threads_paused 0");
        has("damocles_worker_draining 0");
        board.doing(crate::view::Doing::Paused);
        let order = Order {
            to: Some(DrainTo::End),
            at: 1,
        };
        drain.order(order, []).unwrap();
        has("damocles_worker_threads_paused 1");
        has("damocles_worker_draining 1");
    }

    #[test]
    fn what_happens_is_counted_by_stage_class_and_method() {
        let metrics = Metrics::new("damocles_worker");
        let sources = Sources::default();
        let (figures, calls) = (sources.figures.clone(), sources.calls.clone());
        register(&metrics, sources);
        figures.example();
        calls.ended("WaitSeed", std::time::Duration::from_millis(3), None);
        calls.ended("WaitSeed", std::time::Duration::from_secs(3), Some("away"));
        let text = metrics.render();
        for line in [
            "damocles_worker_stage_duration_seconds_count{stage=\"PC2\"} 1",
            "damocles_worker_stage_duration_seconds_sum{stage=\"PC2\"} 7.5",
            "damocles_worker_stage_wait_seconds_sum{stage=\"PC2\"} 2.0",
            "damocles_worker_stage_failures_total{stage=\"PC2\",class=\"temporary\"} 1",
            "damocles_worker_stage_failures_total{stage=\"PC2\",class=\"permanent\"} 1",
            "damocles_worker_stage_retries_total{stage=\"PC2\"} 1",
            "damocles_worker_stage_waits_total{stage=\"PC2\"} 1",
            "damocles_worker_rpc_calls_total{method=\"WaitSeed\"} 2",
            "damocles_worker_rpc_errors_total{method=\"WaitSeed\",kind=\"away\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
    }
}
