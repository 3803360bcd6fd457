//! Makes missing Groth parameters of test networks, under a lock, in a temporary directory on
//! the same file system, named only when whole. The work itself (`stage/make_params.rs`) runs in a child of its own:
//! the proofs library reads its directory's name once per process, and the secrets end with it.

use super::{
    DIR_ENV, ParamSet, ParamsError, circuits, directory, is_made_here,
    manifest::Manifest,
    show::{Event, Watcher},
    srs,
};
use crate::{
    disk::{WorkLock, at, put, sync, sync_dir_files},
    footprint::MOST_AGGREGATED,
    kernel::KernelChoice,
    kind::Stage,
    parent::{Cancel, Child, ChildSpec, Heard},
    task::{Circuit, MakeParams},
};
use damocles_types::SectorSize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use storage_proofs_core::parameter_cache::read_cached_params;

const LOCK: &str = ".making.lock";
const WORK: &str = ".making-";

/// Makes what is missing for these sizes (PoRep, winning and window; the snap update on
/// request) in the library's directory, by `kernel`: our own arithmetic, or the library's
/// generator. `program processor make_params` must serve `stage::run_processor`. Returns the
/// circuits that were made.
pub fn generate(
    sizes: &[SectorSize],
    snap: bool,
    kernel: KernelChoice,
    program: &Path,
    watcher: &dyn Watcher,
) -> Result<Vec<(Circuit, SectorSize)>, ParamsError> {
    generate_in(&directory(), sizes, snap, kernel, program, watcher)
}

/// The same in another directory.
pub fn generate_in(
    dir: &Path,
    sizes: &[SectorSize],
    snap: bool,
    kernel: KernelChoice,
    program: &Path,
    watcher: &dyn Watcher,
) -> Result<Vec<(Circuit, SectorSize)>, ParamsError> {
    let mut missing = Vec::new();
    for size in sizes {
        if !is_made_here(*size) {
            return Err(ParamsError::NotMadeHere(*size));
        }
        for circuit in circuits(snap) {
            let set = ParamSet::of(circuit, *size)?;
            if is_whole(dir, &set) {
                watcher.event(Event::Have { what: named(&set) });
            } else {
                missing.push(set);
            }
        }
    }
    let mut made = Vec::new();
    if !missing.is_empty() {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let _lock = take_lock(dir, watcher)?;
        clean(dir)?;
        for set in missing {
            let whole = || is_whole(dir, &set);
            if make_if_missing(dir, &Wanted::set(&set), whole, kernel, program, watcher)? {
                made.push((set.circuit, set.size));
            }
        }
    }
    note(dir, sizes, snap);
    Ok(made)
}

/// Makes the reference string of aggregates for a test network, if it is missing. Whether it was
/// made.
pub fn generate_srs(program: &Path, watcher: &dyn Watcher) -> Result<bool, ParamsError> {
    generate_srs_in(&directory(), program, watcher)
}

/// The same in another directory.
pub fn generate_srs_in(
    dir: &Path,
    program: &Path,
    watcher: &dyn Watcher,
) -> Result<bool, ParamsError> {
    let wanted = Wanted::reference_string();
    let whole = || srs::is_whole(dir);
    let made = if whole() {
        watcher.event(Event::Have { what: wanted.what });
        false
    } else {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let _lock = take_lock(dir, watcher)?;
        clean(dir)?;
        // the library's generator is the only one there is
        make_if_missing(dir, &wanted, whole, KernelChoice::Auto, program, watcher)?
    };
    if let Err(error) = adopt_files(dir, [srs::file_name()]) {
        tracing::debug!("the reference string is not noted as made here: {error}");
    }
    Ok(made)
}

/// What is to be made.
struct Wanted {
    task: MakeParams,
    /// In words.
    what: String,
    /// In the order in which they get their names: it is whole when it has the last one.
    files: Vec<String>,
}

impl Wanted {
    fn set(set: &ParamSet) -> Self {
        Self {
            task: MakeParams::Circuit {
                circuit: set.circuit,
                sector_size: set.size,
            },
            what: named(set),
            files: set.files().into(),
        }
    }

    fn reference_string() -> Self {
        Self {
            task: MakeParams::ReferenceString {
                proofs: srs::PROOFS,
            },
            what: format!("reference string for aggregates of up to {MOST_AGGREGATED} sectors"),
            files: vec![srs::file_name()],
        }
    }

    fn failed(&self, reason: String) -> ParamsError {
        ParamsError::Make {
            what: self.what.clone(),
            reason,
        }
    }
}

fn named(set: &ParamSet) -> String {
    format!("{} parameters of {} sectors", set.circuit, set.size)
}

/// We hold the lock. Whether it was made here.
fn make_if_missing(
    dir: &Path,
    wanted: &Wanted,
    is_whole: impl Fn() -> bool,
    kernel: KernelChoice,
    program: &Path,
    watcher: &dyn Watcher,
) -> Result<bool, ParamsError> {
    let what = || wanted.what.clone();
    // somebody may have made it while we waited for the lock
    if is_whole() {
        watcher.event(Event::Have { what: what() });
        return Ok(false);
    }
    watcher.event(Event::Making { what: what() });
    let started = Instant::now();
    make(dir, wanted, kernel, program, watcher)?;
    let took = started.elapsed();
    watcher.event(Event::Made { what: what(), took });
    Ok(true)
}

/// The notes serve `check` only; a directory that cannot be written to is fine without.
fn note(dir: &Path, sizes: &[SectorSize], snap: bool) {
    if let Err(error) = adopt(dir, sizes, snap) {
        tracing::debug!("parameters not noted as made here: {error}");
    }
}

fn take_lock(dir: &Path, watcher: &dyn Watcher) -> Result<WorkLock, ParamsError> {
    let path = dir.join(LOCK);
    let mut told = false;
    loop {
        if let Some(lock) = WorkLock::try_take(&path)? {
            return Ok(lock);
        }
        if !told {
            told = true;
            watcher.event(Event::WaitingForOther {
                lock: path.display().to_string(),
            });
        }
        thread::sleep(Duration::from_millis(300));
    }
}

/// Removes what killed makers left. We hold the lock: nobody is at work there.
fn clean(dir: &Path) -> Result<(), ParamsError> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        let is_work = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with(WORK));
        if is_work && path.is_dir() {
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// All three files are there and whole. Those made here have the size that they had then;
/// others must be readable for the library.
fn is_whole(dir: &Path, set: &ParamSet) -> bool {
    let length = |name: &String| fs::metadata(dir.join(name)).map_or(0, |meta| meta.len());
    let (key, params) = (dir.join(set.verifying_key()), dir.join(set.params()));
    if set.files().iter().any(|name| length(name) == 0)
        || !begins_with(&params, &key).unwrap_or(false)
    {
        return false;
    }
    let manifest = Manifest::load(dir);
    let made: Option<Vec<bool>> = set
        .files()
        .iter()
        .map(|name| Some(manifest.0.get(name)?.size == length(name)))
        .collect();
    match made {
        Some(sizes) => sizes.into_iter().all(|same| same),
        // the library panics over some damaged files
        None => {
            catch_unwind(AssertUnwindSafe(|| read_cached_params(&params).is_ok())).unwrap_or(false)
        }
    }
}

/// The parameters begin with the verifying key; another key belongs to other parameters.
fn begins_with(params: &Path, key: &Path) -> io::Result<bool> {
    let key = fs::read(key)?;
    let mut head = vec![0; key.len()];
    File::open(params)?.read_exact(&mut head)?;
    Ok(head == key)
}

/// Notes whole sets that nobody noted (made by another program, or by a run that was killed
/// between naming and noting).
fn adopt(dir: &Path, sizes: &[SectorSize], snap: bool) -> Result<(), ParamsError> {
    let mut files = Vec::new();
    for size in sizes {
        for circuit in circuits(snap) {
            files.extend(ParamSet::of(circuit, *size)?.files());
        }
    }
    adopt_files(dir, files)
}

fn adopt_files(dir: &Path, files: impl IntoIterator<Item = String>) -> Result<(), ParamsError> {
    let mut manifest = Manifest::load(dir);
    let known = manifest.0.len();
    for name in files {
        if !manifest.0.contains_key(&name) {
            manifest.add(dir, &name)?;
        }
    }
    if manifest.0.len() > known {
        manifest.store(dir)?;
    }
    Ok(())
}

fn make(
    dir: &Path,
    wanted: &Wanted,
    kernel: KernelChoice,
    program: &Path,
    watcher: &dyn Watcher,
) -> Result<(), ParamsError> {
    let work = dir.join(format!("{WORK}{}", std::process::id()));
    fs::create_dir(&work).map_err(at(&work))?;
    let made = run_maker(&work, wanted, kernel, program, watcher);
    let made = made.and_then(|()| put_files(dir, &work, wanted));
    let cleaned = fs::remove_dir_all(&work).map_err(at(&work));
    made?;
    Ok(cleaned?)
}

fn run_maker(
    work: &Path,
    wanted: &Wanted,
    kernel: KernelChoice,
    program: &Path,
    watcher: &dyn Watcher,
) -> Result<(), ParamsError> {
    let failed = |reason: String| wanted.failed(reason);
    let stage = Stage::MakeParams.name();
    let args = ["processor", stage, "--kernel", kernel.name()];
    let mut spec = ChildSpec::new(stage, stage, program, &args);
    spec.auto_restart = false;
    let set_to = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    spec.environment.set = BTreeMap::from([
        set_to(DIR_ENV, &work.display().to_string()),
        // making is not verifying against the official digests
        set_to("FIL_PROOFS_VERIFY_PRODUCTION_PARAMS", "0"),
        set_to(crate::wire::EVENTS_ENV, "1"),
    ]);
    let task = serde_json::value::to_raw_value(&wanted.task);
    let task = task.map_err(|error| failed(error.to_string()))?;
    let child = Child::start(spec, Box::new(|_| {})).map_err(|error| failed(error.to_string()))?;
    let mut hear = |heard| {
        if let Heard::Progress(text) = heard {
            watcher.event(Event::Step { text });
        }
    };
    let answer = child
        .run(&task, None, &Cancel::new(), &mut hear)
        .map_err(|error| failed(error.to_string()))?;
    match answer.err_msg {
        Some(text) => Err(failed(text)),
        None => Ok(()),
    }
}

/// Names the finished files, the last one when all others have their names.
fn put_files(dir: &Path, work: &Path, wanted: &Wanted) -> Result<(), ParamsError> {
    sync_dir_files(work)?;
    let mut manifest = Manifest::load(dir);
    for name in &wanted.files {
        let from: PathBuf = work.join(name);
        let meta = fs::metadata(&from).map_err(at(&from))?;
        if meta.len() == 0 {
            return Err(wanted.failed(format!("{name} is empty")));
        }
        // an older file of a set that was not whole, noted or not, is replaced
        manifest.0.remove(name);
        put(&from, &dir.join(name))?;
        manifest.add(dir, name)?;
    }
    manifest.store(dir)?;
    Ok(sync(dir)?)
}
