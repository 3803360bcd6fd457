//! The worker's configuration: read strictly, checked whole before anything is touched.
//!
//! The image of the file is in the crate `damocles-worker-config`, since the manager keeps profiles of
//! it; `profile` lays a host's file over one. `checked`, `sealing` and `threads` what the code works with; `hot` the file of one
//! thread that is read anew between two sectors, `overlap` keeps directories apart, `show` says
//! where each value comes from. To add a key: declare it in `damocles_worker_config::raw`, take it apart in `checked`, then `UPDATE_DOCS=1 cargo test -p damocles-worker`.

mod checked;
mod hot;
mod main_file;
mod overlap;
mod profile;
mod sealing;
pub mod show;
mod threads;

pub use checked::{AttachedConfig, Config, ManagerConfig, Resource};
pub use hot::HotFile;
pub use main_file::MainFile;
pub use profile::{Profile, ProfileSource, WantedProfile};
pub use sealing::Sealing;
pub use threads::{OwnFile, PlacelessThread, ThreadConfig, ThreadPlan, ThreadSettings};

use crate::stores::{AttachedStore, AttachedStores, SealingStore, StoreError, look};
use damocles_daemon::{
    config::{Faults, Notice, Report, parse_file},
    exit::{Exit, Fatal},
};
use damocles_processor::machine::{self, Machine};
use damocles_worker_config::{RawConfig, raw};
use std::{collections::BTreeMap, fmt, fs, path::Path};

/// Key of what is found by scanning.
const SCAN: &str = "worker.scan_persist_stores";

/// A checked configuration and what the operator should know of.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub notices: Vec<Notice>,
    /// Keys that mean nothing any more, with the reason.
    pub retired: Vec<String>,
    /// Directories that are not there now, or do not answer.
    pub away: Vec<Away>,
    /// Threads' own files that could be read, by the thread's index.
    pub own: BTreeMap<usize, OwnFile>,
    /// The image of the file, laid over its profile.
    pub raw: RawConfig,
    /// Where its keys stand.
    pub places: Report,
    /// The profile that was wanted, and the one that was got.
    pub profile: Option<(WantedProfile, Profile)>,
}

impl Loaded {
    /// Whether a thread's directory is not there now.
    pub fn is_away(&self, thread: &ThreadConfig) -> bool {
        let key = location_key(thread.index);
        self.away.iter().any(|away| away.key == key)
    }

    /// By what a thread goes: its own file laid over the main one.
    pub fn settings<'a>(&'a self, thread: &'a ThreadConfig) -> &'a ThreadSettings {
        let own = self.own.get(&thread.index);
        own.map_or(&thread.settings, |own| &own.settings)
    }
}

fn location_key(index: usize) -> String {
    format!("sealing_thread[{index}].location")
}

/// A directory of the config that cannot be used now. A disk may be dead or not mounted: no
/// reason to keep the others idle.
#[derive(Debug)]
pub struct Away {
    pub key: String,
    pub error: StoreError,
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.error)
    }
}

/// Who cannot be asked for a profile: the one that was kept counts.
///
/// # Errors
/// None was kept.
pub fn kept_profiles(wanted: &WantedProfile) -> Result<Profile, Fatal> {
    wanted.kept("the manager was not asked")
}

/// Reads and checks a file as [`load`] does. What is away is a fault as well.
///
/// # Errors
/// `Exit::Config`, naming every fault with its line.
pub fn check(path: &Path, profiles: ProfileSource<'_>) -> Result<Loaded, Fatal> {
    Ok(examine(path, profiles)??)
}

/// The same, with all faults one by one.
///
/// # Errors
/// The file, or its profile, cannot be read at all.
pub fn examine(path: &Path, profiles: ProfileSource<'_>) -> Result<Result<Loaded, Faults>, Fatal> {
    read(path, profiles, |config, report| {
        let mut found = check_surroundings(config, report);
        for Away { key, error } in found.away.drain(..) {
            report.fault(&key, format!("{error}; {}", error.hint()));
        }
        found
    })
}

/// Reads and checks a file, and each thread's own file with it. Directories that are away are
/// told apart from faults: the worker starts without them and waits for them.
///
/// # Errors
/// `Exit::Config`, naming every fault with its line.
pub fn load(path: &Path, profiles: ProfileSource<'_>) -> Result<Loaded, Fatal> {
    Ok(read(path, profiles, check_surroundings)??)
}

/// Reads and checks the file alone, for a machine that is not this one.
///
/// # Errors
/// `Exit::Config`, naming every fault with its line.
pub fn load_for_elsewhere(path: &Path, profiles: ProfileSource<'_>) -> Result<Loaded, Fatal> {
    Ok(read(path, profiles, |_, _| Surroundings::default())??)
}

fn read(
    path: &Path,
    profiles: ProfileSource<'_>,
    around: impl FnOnce(&Config, &mut Report) -> Surroundings,
) -> Result<Result<Loaded, Faults>, Fatal> {
    let profile::Layers {
        raw,
        mut report,
        profile,
    } = profile::read(path, profiles)?;
    let retired = raw.processors.0.retired_keys();
    let config = checked::check(&raw, &mut report);
    let found = config.as_ref().map(|config| around(config, &mut report));
    let Surroundings { away, own } = found.unwrap_or_default();
    let places = report.clone();
    let notices = match report.finish() {
        Ok(notices) => notices,
        Err(faults) => return Ok(Err(faults)),
    };
    let config = config.ok_or_else(|| {
        Fatal::new(
            Exit::Config,
            format!("{} has no usable configuration", path.display()),
        )
    })?;
    Ok(Ok(Loaded {
        config,
        notices,
        retired,
        away,
        own,
        raw,
        places,
        profile,
    }))
}

/// Parts of a file that a command needs, without the rest being right: where the worker
/// listens.
pub fn listen_of(path: &Path) -> Result<(Option<String>, Option<u16>), Fatal> {
    let (raw, _) = parse_file::<RawConfig>(path, &raw::RULES)?;
    let server = raw.unwrap_or_default().worker.rpc_server;
    Ok((server.host, server.port))
}

/// What was found outside the file.
#[derive(Debug, Default)]
struct Surroundings {
    away: Vec<Away>,
    own: BTreeMap<usize, OwnFile>,
}

/// What the file names outside itself: sealing stores, threads' own files, attached stores.
/// Nothing is made or changed, and nothing is waited for that hangs.
fn check_surroundings(config: &Config, report: &mut Report) -> Surroundings {
    let mut own = BTreeMap::new();
    let mut away = Vec::new();
    let mut told = |key: &str, error: StoreError, report: &mut Report| {
        if error.is_away() {
            let key = key.to_owned();
            away.push(Away { key, error });
        } else {
            report.fault(key, format!("{error}; {}", error.hint()));
        }
    };
    // a system that shows nothing of itself has no faults either
    if let Ok(machine) = Machine::look(Path::new(machine::SYS)) {
        for fault in config.processors.check_machine(&machine) {
            report.fault(&fault.key, fault.message);
        }
    }
    for thread in &config.threads {
        let key = location_key(thread.index);
        let (location, hot) = (thread.location.clone(), thread.location.join("config.toml"));
        let file = hot.clone();
        let looked = look::within(look::LIMIT, &thread.location, move || {
            let found = SealingStore::inspect(&location);
            // a pipe or a device would never end
            let regular = fs::metadata(&file).is_ok_and(|about| about.is_file());
            (
                found,
                regular.then(|| fs::read_to_string(&file).ok()).flatten(),
            )
        });
        match looked {
            Err(error) | Ok((Err(error), _)) => told(&key, error, report),
            Ok((Ok(_), Some(text))) => match thread.with_hot_file(&hot, &text) {
                Ok(file) => _ = own.insert(thread.index, file),
                Err(faults) => report.fault(&key, flat(&faults)),
            },
            Ok((Ok(_), None)) => {}
        }
    }
    let attached = match attached_stores(config) {
        Ok(Attached { stores, keys, away }) => {
            for store in stores.iter() {
                let key = keys.get(&store.name).map_or(SCAN, String::as_str);
                if let Err(error) = store.look(None) {
                    told(key, error, report);
                }
            }
            for error in away {
                told(SCAN, error, report);
            }
            Some(stores)
        }
        Err(error) => {
            let key = match error {
                StoreError::Pattern { .. } => SCAN,
                _ => "attached",
            };
            told(key, error, report);
            None
        }
    };
    overlap::check(config, attached.as_ref(), report);
    Surroundings { away, own }
}

fn flat(faults: &Faults) -> String {
    faults.to_string().replace("\n ", ";")
}

/// The attached stores of a config.
#[derive(Debug, Default)]
pub struct Attached {
    /// Those with a name: configured, whether they are there or not, and found by scanning.
    pub stores: AttachedStores,
    /// Keys of the configured ones in the file, by name.
    pub keys: BTreeMap<String, String>,
    /// Places that were to be scanned and could not be looked at.
    pub away: Vec<StoreError>,
}

/// Opens the attached stores, configured and scanned.
pub fn attached_stores(config: &Config) -> Result<Attached, StoreError> {
    let mut attached = Attached::default();
    for setting in &config.attached {
        let name = setting.name.as_deref();
        let store = AttachedStore::open(name, &setting.location, setting.readonly);
        let key = format!("attached[{}].location", setting.index);
        attached.keys.insert(store.name.clone(), key);
        attached.stores.add(store)?;
    }
    for pattern in &config.scan {
        attached.away.extend(attached.stores.scan(pattern)?);
    }
    Ok(attached)
}

/// The reference page of all keys.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration of damocles-worker\n\n\
         Made from the declarations in `common/worker-config/src/raw.rs`; a test compares it. \
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
