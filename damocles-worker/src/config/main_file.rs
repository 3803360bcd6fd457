//! What the main file says of threads that run: replaced when the file is read again, looked at by
//! each thread between two sectors.

use super::ThreadConfig;
use parking_lot::RwLock;
use std::{collections::BTreeMap, path::PathBuf};

/// Settings of the threads, by the index with which they were started.
#[derive(Debug, Default)]
pub struct MainFile(RwLock<BTreeMap<usize, ThreadConfig>>);

impl MainFile {
    /// Of threads that are started.
    pub fn of(threads: &[ThreadConfig]) -> Self {
        let by_index = threads.iter().map(|thread| (thread.index, thread.clone()));
        Self(RwLock::new(by_index.collect()))
    }

    /// What holds for a thread now; `started`: what it was started with.
    pub fn now(&self, started: &ThreadConfig) -> ThreadConfig {
        let known = self.0.read().get(&started.index).cloned();
        known.unwrap_or_else(|| started.clone())
    }

    /// Their directories.
    pub fn locations(&self) -> Vec<PathBuf> {
        let threads = self.0.read();
        threads
            .values()
            .map(|thread| thread.location.clone())
            .collect()
    }

    /// Takes what is said of the same threads. One that is not in the file any more goes on as
    /// before until the worker is started anew.
    pub fn replace(
        &self,
        threads: &[ThreadConfig],
        same: impl Fn(&ThreadConfig, &ThreadConfig) -> bool,
    ) {
        let mut known = self.0.write();
        for (index, now) in known.iter_mut() {
            if let Some(new) = threads.iter().find(|new| same(now, new)) {
                *now = new.clone();
                now.index = *index;
            }
        }
    }
}
