//! The worker's configuration: read strictly, checked whole before anything is touched.
//!
//! `raw` is the image of the file, `checked` what the code works with, `hot` the file of one
//! thread that is read anew between two sectors, `overlap` keeps directories apart. To add a key: declare it in `raw`, take it
//! apart in `checked`, then `UPDATE_DOCS=1 cargo test -p damocles-worker`.

mod checked;
mod hot;
mod overlap;
mod raw;

pub use checked::{AttachedConfig, Config, ManagerConfig, Sealing, ThreadConfig, ThreadSettings};
pub use hot::HotFile;
pub use raw::RawConfig;

use crate::stores::{AttachedStore, AttachedStores, SealingStore, StoreError};
use damocles_daemon::{
    config::{Faults, Notice, Report, parse_file},
    exit::Fatal,
};
use std::path::Path;

/// A checked configuration and what the operator should know of.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub notices: Vec<Notice>,
    /// Keys that mean nothing any more, with the reason.
    pub retired: Vec<String>,
}

/// Reads and checks a file, and each thread's own file with it.
///
/// # Errors
/// `Exit::Config`, naming every fault with its line.
pub fn load(path: &Path) -> Result<Loaded, Fatal> {
    let (raw, mut report) = parse_file::<RawConfig>(path, &raw::RULES)?;
    let raw = raw.unwrap_or_default();
    let retired = raw.processors.0.retired_keys();
    let config = checked::check(&raw, &mut report);
    if let Some(config) = &config {
        check_surroundings(config, &mut report);
    }
    let notices = report.finish()?;
    let config = config.ok_or_else(|| {
        Fatal::new(
            damocles_daemon::exit::Exit::Config,
            format!("{} has no usable configuration", path.display()),
        )
    })?;
    Ok(Loaded {
        config,
        notices,
        retired,
    })
}

/// Parts of a file that a command needs, without the rest being right: where the worker
/// listens.
pub fn listen_of(path: &Path) -> Result<(Option<String>, Option<u16>), Fatal> {
    let (raw, _) = parse_file::<RawConfig>(path, &raw::RULES)?;
    let server = raw.unwrap_or_default().worker.rpc_server;
    Ok((server.host, server.port))
}

/// What the file names outside itself: sealing stores, threads' own files, attached stores.
/// Nothing is made or changed. (Room for `plan_check`: whether all processors together fit
/// the machine's cores, memory and GPUs is asked here too, once it is known how.)
fn check_surroundings(config: &Config, report: &mut Report) {
    for thread in &config.threads {
        let key = format!("sealing_thread[{}].location", thread.index);
        if let Err(error) = SealingStore::inspect(&thread.location) {
            report.fault(&key, format!("{error}; {}", error.hint()));
            continue;
        }
        let hot = thread.location.join("config.toml");
        if let Ok(text) = std::fs::read_to_string(&hot)
            && let Err(faults) = thread.with_hot_file(&hot, &text)
        {
            report.fault(&key, flat(&faults));
        }
    }
    // a missing directory has been named already
    let all_there = config.attached.iter().all(|store| store.location.is_dir());
    let attached = match all_there.then(|| attached_stores(config)) {
        Some(Err(error)) => {
            let key = match error {
                StoreError::Pattern { .. } | StoreError::Description { .. } => {
                    "worker.scan_persist_stores"
                }
                _ => "attached",
            };
            report.fault(key, format!("{error}; {}", error.hint()));
            None
        }
        Some(Ok(stores)) => Some(stores),
        None => None,
    };
    overlap::check(config, attached.as_ref(), report);
}

fn flat(faults: &Faults) -> String {
    faults.to_string().replace("\n ", ";")
}

/// Opens the attached stores, configured and scanned.
pub fn attached_stores(config: &Config) -> Result<AttachedStores, StoreError> {
    let mut stores = AttachedStores::default();
    for store in &config.attached {
        stores.add(AttachedStore::open(
            store.name.as_deref(),
            &store.location,
            store.readonly,
        )?)?;
    }
    for pattern in &config.scan {
        stores.scan(pattern)?;
    }
    Ok(stores)
}

/// The reference page of all keys.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration of damocles-worker\n\n\
         Made from the declarations in `damocles-worker/src/config/raw.rs`; a test compares it. \
         Rewrite with `UPDATE_DOCS=1 cargo test -p damocles-worker`.\n\n\
         The file is TOML; keys are written exactly as below. An unknown key is an error. \
         `damocles-worker daemon -c FILE --config-check` checks a file and starts nothing.\n\n",
    );
    out.push_str(&damocles_daemon::config::markdown::<RawConfig>());
    out.push_str(
        "## `<location>/config.toml`\n\nA thread's own file: the keys `plan` and `[sealing]` as above, \
         laid over the main file's when the thread begins its next sector. Removing the file goes back to the main file's. \
         A fault in it pauses the thread, with the fault as its last error.\n",
    );
    out
}

#[cfg(test)]
mod tests;
