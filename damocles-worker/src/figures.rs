//! What is counted while sectors are sealed, for monitoring. Threads and calls to the manager write
//! here and `metrics` registers it; nobody reads it to decide something.

use damocles_api::timeline::TimelineEntry;
use damocles_types::Level;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// A step by its stage label, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: String,
}

impl Stage {
    fn of(entry: &TimelineEntry) -> Self {
        Self {
            stage: entry.stage.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    stage: String,
    class: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    method: &'static str,
    kind: &'static str,
}

/// From seconds to days.
fn of_stages() -> Histogram {
    Histogram::new([
        0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0,
        57_600.0, 115_200.0, 230_400.0,
    ])
}

/// From a millisecond to the time-out.
fn of_calls() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0])
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// The steps of all sealing threads; clones count together.
#[derive(Clone, Debug)]
pub struct Figures {
    ran: Times<Stage>,
    waited: Times<Stage>,
    failures: Family<Failed, Counter>,
    retries: Family<Stage, Counter>,
    not_now: Family<Stage, Counter>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            ran: Family::new_with_constructor(of_stages as fn() -> Histogram),
            waited: Family::new_with_constructor(of_stages as fn() -> Histogram),
            failures: Family::default(),
            retries: Family::default(),
            not_now: Family::default(),
        }
    }
}

impl Figures {
    /// A step came to its outcome.
    pub fn done(&self, entry: &TimelineEntry) {
        let stage = Stage::of(entry);
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        self.ran
            .get_or_create(&stage)
            .observe(seconds(entry.ran_ms()));
        let waited = seconds(entry.waited_ms());
        self.waited.get_or_create(&stage).observe(waited);
    }

    /// A step failed; `again`: it is tried again by itself.
    pub fn failed(&self, entry: &TimelineEntry, level: Level, again: bool) {
        let failed = Failed {
            stage: entry.stage.clone(),
            class: level.to_string(),
        };
        self.failures.get_or_create(&failed).inc();
        if again {
            self.retries.get_or_create(&Stage::of(entry)).inc();
        }
    }

    /// What a step depends on was not there, which is no failure.
    pub fn not_now(&self, entry: &TimelineEntry) {
        self.not_now.get_or_create(&Stage::of(entry)).inc();
    }

    /// One of each, for the page that lists them and for tests.
    pub(crate) fn example(&self) {
        let entry = TimelineEntry {
            seq: 0,
            state: "PC1Done".to_owned(),
            stage: "PC2".to_owned(),
            queued_at: 1_000,
            started_at: Some(3_000),
            ended_at: Some(10_500),
            child: None,
            kernel: None,
            ending: None,
        };
        self.done(&entry);
        self.failed(&entry, Level::Temporary, true);
        self.failed(&entry, Level::Permanent, false);
        self.not_now(&entry);
    }

    /// Makes them known by their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "stage_duration_seconds",
            "How long steps ran that came to their outcome",
            self.ran.clone(),
        );
        registry.register(
            "stage_wait_seconds",
            "How long they had waited for their turn before",
            self.waited.clone(),
        );
        registry.register(
            "stage_failures",
            "Failed steps, by what the failure means (temporary, permanent, critical)",
            self.failures.clone(),
        );
        registry.register(
            "stage_retries",
            "Failed steps that were tried again without a person",
            self.retries.clone(),
        );
        registry.register(
            "stage_waits",
            "Steps that found what they depend on not there (the manager, its node, a store), and waited",
            self.not_now.clone(),
        );
    }
}

/// Calls to the manager; clones count together.
#[derive(Clone, Debug)]
pub struct Calls {
    time: Times<Method>,
    calls: Family<Method, Counter>,
    errors: Family<Refused, Counter>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            time: Family::new_with_constructor(of_calls as fn() -> Histogram),
            calls: Family::default(),
            errors: Family::default(),
        }
    }
}

impl Calls {
    /// A call has ended. `kind`: of its error, if it had one.
    pub fn ended(&self, method: &'static str, took: Duration, kind: Option<&'static str>) {
        let of = Method { method };
        self.calls.get_or_create(&of).inc();
        self.time.get_or_create(&of).observe(took.as_secs_f64());
        if let Some(kind) = kind {
            self.errors.get_or_create(&Refused { method, kind }).inc();
        }
    }

    /// Makes them known by their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("rpc_calls", "Calls to the manager", self.calls.clone());
        registry.register(
            "rpc_errors",
            "Those that got no answer or an error, by its kind",
            self.errors.clone(),
        );
        registry.register(
            "rpc_duration_seconds",
            "Time until the answer",
            self.time.clone(),
        );
    }
}
