//! What the functions of the stages know besides their task: how the child was started, and
//! where to tell what goes on.

use super::pc1_batch::Batch;
use crate::{kernel::KernelChoice, memory_files::MemoryFiles, serve::Progress};
use damocles_kernels::cpu::Cpu;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a child computes, for all its tasks: made once from its arguments.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub kernel: KernelChoice,
    /// Files on huge pages that PC1 may use as memory.
    pub memory_files: Option<MemoryFiles>,
    /// Whether tasks of PC1 wait for each other.
    pub batch: Batch,
    /// Transfers copy even where a link would do.
    pub no_links: bool,
}

impl From<KernelChoice> for Settings {
    fn from(kernel: KernelChoice) -> Self {
        Self {
            kernel,
            ..Self::default()
        }
    }
}

/// A task's surroundings.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    pub settings: &'a Settings,
    pub progress: &'a Progress,
}

impl Context<'_> {
    /// What our own kernels may use; none when they are not wanted.
    pub fn own_kernels(&self) -> Option<Cpu> {
        (self.settings.kernel == KernelChoice::Auto).then(Cpu::detect)
    }

    /// Tells how far the task is.
    pub fn note(&self, text: impl ToString) {
        self.progress.note(text);
    }

    /// Tells by whole percents how much of `total` is done, from whatever thread.
    pub fn percents(&self, what: &str, total: u64) -> impl Fn(u64) + Sync {
        let told = AtomicU64::new(0);
        move |done| {
            let percent = done * 100 / total;
            if told.fetch_max(percent, Ordering::Relaxed) < percent {
                self.note(format!("{what}: {percent} %"));
            }
        }
    }

    /// Tells which kernel computes the task, by the name that it gives itself.
    pub fn computes(&self, kernel: &str) {
        tracing::debug!(kernel, "computes");
        self.progress.kernel(kernel);
    }

    /// Tells that the proofs library computes the task.
    pub fn filecoin_proofs_computes(&self) {
        self.computes(KernelChoice::FilecoinProofs.name());
    }
}
