//! Figures for monitoring, read off the threads' boards when somebody asks.

use crate::view::{Board, summary};
use damocles_daemon::metrics::Metrics;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use std::{fmt, sync::Arc};

#[derive(Debug)]
struct Threads(Vec<Arc<Board>>);

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
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::from(count)).encode(metric)?;
        }
        Ok(())
    }
}

/// Lets the boards be read by `/metrics`.
pub fn register(metrics: &Metrics, boards: Vec<Arc<Board>>) {
    metrics.with(|registry| registry.register_collector(Box::new(Threads(boards))));
}

/// The part of docs/metrics.md that lists what this worker registers.
pub fn table() -> String {
    let metrics = Metrics::new("damocles_worker");
    register(&metrics, Vec::new());
    damocles_daemon::pages::metrics(&metrics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ThreadPlan;

    #[test]
    fn the_boards_are_counted_when_asked() {
        let board = Arc::new(Board::new(0, "/t0".into(), ThreadPlan::Sealer));
        let metrics = Metrics::new("damocles_worker");
        register(&metrics, vec![Arc::clone(&board)]);
        assert!(
            metrics
                .render()
                .contains("damocles_worker_threads_paused 0")
        );
        board.doing(crate::view::Doing::Paused);
        let text = metrics.render();
        assert!(text.contains("damocles_worker_threads_paused 1"), "{text}");
    }
}
