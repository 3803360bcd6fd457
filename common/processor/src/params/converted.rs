//! Decoded parameters beside the official ones, in files of our own: made on first use, mapped by
//! all processes of the host. A file that is damaged, or that was made from other parameters than
//! those beside it, is refused and made anew. Where none can be kept (a full disk, a directory that
//! may only be read) parameters are decoded in memory.

use super::{
    ParamSet, ParamsError, circuits, directory,
    manifest::digest,
    require_files,
    show::{Event, Watcher},
};
use crate::disk::{WorkLock, at, put, remove_if_there, sibling};
use damocles_kernels::cpu::Cpu;
use damocles_prover::{
    parameters::Parameters,
    run::Run,
    stored::{self, Form, Unusable},
};
use damocles_types::SectorSize;
use serde::{Deserialize, Serialize};
use std::{
    cell::OnceCell,
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};
use storage_proofs_core::parameter_cache::read_cached_params;

/// The largest sectors that our prover proves. Their circuits have a few million constraints; those
/// of 32GiB have 130 million, and stay with the library as long as nobody has tried one.
pub(crate) const LARGEST: SectorSize = SectorSize::MiB512;

/// A file is written by so much at a time: the system keeps it in pages no larger than what it gets at
/// once, and in large ones a point is found without a walk through the page tables.
const PIECE: usize = 8 << 20;

/// How long another process may take to make a file that is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where parameters come from: the official file, as it was when they were decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    size: u64,
    /// Seconds and nanoseconds since 1970. A file of this time and size is taken for the same.
    modified: (u64, u32),
    /// As in the official list.
    digest: String,
}

/// What of a converted file is known.
#[derive(Debug)]
pub(super) enum Found {
    Good,
    Missing,
    Unusable(Unusable),
}

/// The name of the converted file, beside that of the official one.
pub(super) fn beside(params: &Path, cpu: Cpu) -> PathBuf {
    let mut name = params.as_os_str().to_owned();
    name.push(format!(".{}", Form::of(cpu).name()));
    name.into()
}

impl Origin {
    fn of(params: &Path) -> io::Result<Self> {
        let meta = fs::metadata(params).map_err(at(params))?;
        let modified = meta.modified()?.duration_since(UNIX_EPOCH);
        let modified = modified.map(|time| (time.as_secs(), time.subsec_nanos()));
        Ok(Self {
            size: meta.len(),
            modified: modified.unwrap_or_default(),
            digest: String::new(),
        })
    }

    /// Whether these bytes tell of this file. Its digest is asked only where the time is another.
    fn fits(&self, told: &[u8], digest: impl FnOnce() -> Option<String>) -> bool {
        serde_json::from_slice(told).is_ok_and(|told: Self| {
            told.size == self.size
                && (told.modified == self.modified || Some(told.digest) == digest())
        })
    }
}

/// Maps the converted file; `whole` has the official one read and compared, too.
fn map(params: &Path, cpu: Cpu, whole: bool) -> Result<Option<Parameters>, Unusable> {
    let path = beside(params, cpu);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path)(error).into()),
    };
    let mut origin = Origin::of(params)?;
    if whole {
        origin.modified = Default::default();
    }
    let fits = |told: &[u8]| origin.fits(told, || digest(params).ok());
    stored::map(&file, cpu, fits, Run::whole()).map(Some)
}

/// Looks at a converted file, every byte of it and of what it was made from.
pub(super) fn look(params: &Path, cpu: Cpu) -> Found {
    match map(params, cpu, true) {
        Ok(Some(_)) => Found::Good,
        Ok(None) => Found::Missing,
        Err(error) => Found::Unusable(error),
    }
}

/// The parameters of that file, mapped where that is possible. `told` hears what goes on.
pub(crate) fn parameters(
    params: &Path,
    cpu: Cpu,
    told: &dyn Fn(String),
) -> anyhow::Result<Parameters> {
    let decoded = OnceCell::new();
    match convert(params, cpu, told, &decoded) {
        Ok(parameters) => Ok(parameters),
        Err(error) => {
            tracing::warn!("the decoded parameters are kept in memory only: {error:#}");
            match decoded.into_inner() {
                Some(parameters) => Ok(parameters),
                None => decode(params, cpu, told),
            }
        }
    }
}

/// The converted file, mapped; made where it is not there or of no use.
pub(super) fn convert(
    params: &Path,
    cpu: Cpu,
    told: &dyn Fn(String),
    decoded: &OnceCell<Parameters>,
) -> anyhow::Result<Parameters> {
    if let Some(parameters) = good(params, cpu) {
        return Ok(parameters);
    }
    let path = beside(params, cpu);
    let _lock = wait_for_lock(&sibling(&path, "lock")?, told)?;
    // somebody may have made it meanwhile
    if let Some(parameters) = good(params, cpu) {
        return Ok(parameters);
    }
    let origin = Origin::of(params)?;
    let parameters = decode(params, cpu, told)?;
    let written = write(&path, params, origin, &parameters, told);
    // for the caller, should it not do with a file
    let _ = decoded.set(parameters);
    written?;
    match map(params, cpu, false)? {
        Some(parameters) => Ok(parameters),
        None => anyhow::bail!("{} was removed as soon as it was made", path.display()),
    }
}

/// The converted file, if it is there and as it should be.
fn good(params: &Path, cpu: Cpu) -> Option<Parameters> {
    match map(params, cpu, false) {
        Ok(found) => found,
        Err(error) => {
            let path = beside(params, cpu);
            tracing::warn!("{} is not used: {error}; it is made anew", path.display());
            None
        }
    }
}

fn wait_for_lock(path: &Path, told: &dyn Fn(String)) -> anyhow::Result<WorkLock> {
    let begun = Instant::now();
    let mut waits = false;
    loop {
        if let Some(lock) = WorkLock::try_take(path)? {
            return Ok(lock);
        }
        if !std::mem::replace(&mut waits, true) {
            told("waiting for another process that converts the parameters".to_owned());
        }
        if begun.elapsed() > PATIENCE {
            anyhow::bail!("another process holds {} for too long", path.display());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn decode(params: &Path, cpu: Cpu, told: &dyn Fn(String)) -> anyhow::Result<Parameters> {
    told("decoding the parameters".to_owned());
    let mapped = read_cached_params(params)
        .map_err(|error| error.context(format!("reading the parameters {}", params.display())))?;
    Ok(Parameters::of(cpu, &mapped)?)
}

/// Writes the file beside its place and names it when it is whole and on the disk. The lock is
/// held: what lies there already was left by a process that was killed.
fn write(
    path: &Path,
    params: &Path,
    mut origin: Origin,
    parameters: &Parameters,
    told: &dyn Fn(String),
) -> anyhow::Result<()> {
    let found = digest(params)?;
    // what was decoded is what was digested
    anyhow::ensure!(
        Origin::of(params)? == origin,
        "{} was replaced meanwhile",
        params.display()
    );
    origin.digest = found;
    let origin = serde_json::to_vec(&origin)?;
    let temporary = sibling(path, "new")?;
    remove_if_there(&temporary)?;
    room(path, stored::length(parameters, &origin)?)?;
    let written = File::create_new(&temporary).and_then(|file| {
        let progress = |done: u64, all: u64| {
            told(format!("converting the parameters: {} %", done * 100 / all));
        };
        let out = BufWriter::with_capacity(PIECE, &file);
        stored::write(parameters, &origin, out, progress)?;
        file.sync_all()
    });
    let named = written
        .map_err(at(&temporary))
        .and_then(|()| put(&temporary, path));
    if named.is_err() {
        let _ = remove_if_there(&temporary);
    }
    Ok(named?)
}

/// So that a disk is not filled up before it is found to be too small.
fn room(path: &Path, needed: u64) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let there = rustix::fs::statvfs(dir).map_err(|error| at(dir)(error.into()))?;
    let free = there.f_bavail.saturating_mul(there.f_frsize);
    if free < needed {
        anyhow::bail!(
            "{} has {} MiB free, and {} MiB are needed",
            dir.display(),
            free >> 20,
            needed.div_ceil(1 << 20)
        );
    }
    Ok(())
}

/// A converted file, as a person asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    pub name: String,
    pub bytes: u64,
}

/// Converts what our prover uses of these sizes (that of the snap update on request), for this CPU.
pub fn convert_all(
    sizes: &[SectorSize],
    snap: bool,
    watcher: &dyn Watcher,
) -> Result<Vec<Converted>, ParamsError> {
    convert_all_in(&directory(), sizes, snap, watcher)
}

/// The same in another directory.
pub fn convert_all_in(
    dir: &Path,
    sizes: &[SectorSize],
    snap: bool,
    watcher: &dyn Watcher,
) -> Result<Vec<Converted>, ParamsError> {
    if let Some(size) = sizes.iter().find(|size| **size > LARGEST) {
        return Err(ParamsError::NotConverted(*size));
    }
    let cpu = Cpu::detect();
    let mut all = Vec::new();
    for size in sizes {
        for circuit in circuits(snap) {
            let set = ParamSet::of(circuit, *size)?;
            require_files(dir, &set, [set.params(), set.verifying_key()])?;
            let params = dir.join(set.params());
            watcher.event(Event::Converting { name: set.params() });
            convert(&params, cpu, &|_| {}, &OnceCell::new()).map_err(|error| {
                ParamsError::Convert {
                    name: set.params(),
                    reason: format!("{error:#}"),
                }
            })?;
            let path = beside(&params, cpu);
            let name = path.file_name().unwrap_or_default();
            all.push(Converted {
                name: name.to_string_lossy().into_owned(),
                bytes: fs::metadata(&path).map_err(at(&path))?.len(),
            });
        }
    }
    Ok(all)
}

#[cfg(test)]
#[path = "converted_tests.rs"]
mod tests;
