//! What is counted of blocks, for whoever watches from outside.

use crate::db::blocks::Times;
use damocles_daemon::metrics::Metrics;
use damocles_types::ActorId;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    miner: ActorId,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    miner: ActorId,
    step: &'static str,
}

/// Counters of rounds and blocks; clones count together.
#[derive(Clone, Debug)]
pub struct Counts {
    rounds: Family<Outcome, Counter>,
    blocks: Family<Outcome, Counter>,
    steps: Family<Step, Histogram>,
}

impl Default for Counts {
    fn default() -> Self {
        let buckets =
            || Histogram::new([0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 25.0, 35.0]);
        Self {
            rounds: Family::default(),
            blocks: Family::default(),
            steps: Family::new_with_constructor(buckets as fn() -> Histogram),
        }
    }
}

impl Counts {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.with(|r| {
            r.register(
                "block_rounds",
                "Epochs in which a miner tried to win a block: won, not_won, not_eligible, late before that was known, or used_up by a block of before",
                this.rounds.clone(),
            );
            r.register(
                "blocks",
                "Blocks that were won, by what became of them: included, orphaned, refused, slow_read, slow_proof, node_late, stopped, fault",
                this.blocks.clone(),
            );
            r.register(
                "block_step_seconds",
                "Time that each step towards a block took",
                this.steps.clone(),
            );
        });
        this
    }

    pub(super) fn round(&self, miner: ActorId, outcome: &str) {
        self.rounds.get_or_create(&labels(miner, outcome)).inc();
    }

    pub(super) fn block(&self, miner: ActorId, outcome: &str) {
        self.blocks.get_or_create(&labels(miner, outcome)).inc();
    }

    /// How long the steps of a block took. What lies between the making and the sending of it is
    /// mostly the wait for its time, and not told.
    pub(super) fn took(&self, miner: ActorId, times: &Times) {
        let ends = [
            ("base", Some(0), times.base),
            ("election", times.base, times.elected),
            ("read", times.elected, times.read),
            ("proof", times.read, times.proven),
            ("messages", times.proven, times.chosen),
            ("block", times.chosen, times.made),
        ];
        for (step, from, to) in ends {
            if let (Some(from), Some(to)) = (from, to) {
                let seconds = to.saturating_sub(from) as f64 / 1000.0;
                self.steps
                    .get_or_create(&Step { miner, step })
                    .observe(seconds);
            }
        }
    }

    /// Makes each metric visible, for the page that lists them.
    pub fn touch(&self) {
        self.round(0, "");
        self.block(0, "");
        let (miner, step) = (0, "");
        drop(self.steps.get_or_create(&Step { miner, step }));
    }
}

fn labels(miner: ActorId, outcome: &str) -> Outcome {
    Outcome {
        miner,
        outcome: outcome.to_owned(),
    }
}
