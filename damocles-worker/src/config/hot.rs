//! `<location>/config.toml`: settings of one thread, read anew before each sector. A faulty
//! file is a fault each time it is looked at, until somebody corrects or removes it.

use super::{ThreadConfig, ThreadSettings};
use damocles_types::{Classify, Failure};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Watches one thread's file.
#[derive(Debug)]
pub struct HotFile {
    path: PathBuf,
    /// The main file's part of it.
    thread: ThreadConfig,
    /// Change time of the file whose settings are in `settings`; none: there was no file.
    seen: Option<SystemTime>,
    settings: ThreadSettings,
}

impl HotFile {
    pub fn new(path: &Path, thread: &ThreadConfig) -> Self {
        Self {
            path: path.to_owned(),
            thread: thread.clone(),
            seen: None,
            settings: thread.settings.clone(),
        }
    }

    /// The settings that hold now.
    pub fn settings(&mut self, thread: &ThreadConfig) -> Result<&ThreadSettings, Failure> {
        let changed = match fs::metadata(&self.path) {
            // a pipe or a device would never end
            Ok(meta) if !meta.is_file() => {
                return Err(Failure::critical(format!(
                    "{} is no regular file",
                    self.path.display()
                ))
                .hint("put a file there or remove it, then resume the thread"));
            }
            Ok(meta) => Some(
                meta.modified()
                    .crit("reading the time of the thread's config.toml")?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).crit("looking at the thread's config.toml"),
        };
        if changed != self.seen || self.thread != *thread {
            self.settings = match changed {
                None => thread.settings.clone(),
                Some(_) => {
                    let text =
                        fs::read_to_string(&self.path).crit("reading the thread's config.toml")?;
                    let own = thread.with_hot_file(&self.path, &text).map_err(|faults| {
                        Failure::critical(format!(
                            "the thread's own settings are wrong: {}",
                            super::flat(&faults)
                        ))
                        .hint(format!(
                            "correct or remove {}, then resume the thread",
                            self.path.display()
                        ))
                    })?;
                    own.settings
                }
            };
            // only after it was understood: a faulty file must not pass for read
            self.seen = changed;
            self.thread = thread.clone();
            tracing::info!(file = %self.path.display(), "the thread's settings changed");
        }
        Ok(&self.settings)
    }
}
