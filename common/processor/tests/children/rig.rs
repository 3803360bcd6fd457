//! What the tests of children share: a fake stage that misbehaves on request, and its pool.

use damocles_processor::{
    Cancel, Opaque, Pool, ProcessorError, RawProcessors, Stage, StartOptions, parent::Phase,
    task::C2,
};
use std::{fs, path::PathBuf, time::Duration};

pub(crate) const CHILD: &str = env!("CARGO_BIN_EXE_processor-child");
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Fake {
    pub(crate) dir: tempfile::TempDir,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn tell(&self, name: &str, order: &str) {
        fs::write(self.path(name), order).unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A pool of C2 with one configured child, changed by `change`.
    pub(crate) fn pool(
        &self,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Result<Pool, ProcessorError> {
        self.pool_of(Stage::C2, change)
    }

    /// The same for another stage.
    pub(crate) fn pool_of(
        &self,
        stage: Stage,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Result<Pool, ProcessorError> {
        let mut config = serde_json::json!({stage.name(): [{
            "bin": CHILD, "args": ["processor", stage.name()], "stable_wait": "30s",
            "envs": {"FAKE_PROCESSOR_DIR": self.dir.path()},
        }]});
        change(&mut config);
        let raw: RawProcessors = serde_json::from_value(config).unwrap();
        let options = StartOptions {
            idle: Duration::from_millis(400),
            ..StartOptions::of(CHILD)
        };
        Pool::start(&[stage], &raw.check().unwrap(), &options)
    }
}

pub(crate) fn c2() -> C2 {
    C2 {
        c1out: Opaque::from_text("{}").unwrap(),
        prover_id: [0; 32],
        sector_id: 1,
        miner_id: 1000,
    }
}

pub(crate) fn run(
    pool: &Pool,
) -> Result<damocles_processor::Outcome<damocles_processor::task::C2Output>, ProcessorError> {
    pool.run(&c2(), &Cancel::new(), &mut |_| {})
}

pub(crate) fn alive(pid: u32) -> bool {
    // a zombie of somebody else counts as dead
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}

pub(crate) fn pid_of(pool: &Pool) -> Option<u32> {
    match pool.view()[0].children[0].phase {
        Phase::Up { pid } => Some(pid),
        _ => None,
    }
}

/// Waits until it holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
