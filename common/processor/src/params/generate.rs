//! Makes missing Groth parameters of test networks, under a lock, in a temporary directory on
//! the same file system, named only when whole. The work itself runs in a child of its own,
//! because the proofs library reads its directory's name once per process.

use super::{
    DIR_ENV, ParamSet, ParamsError, circuits, directory, is_made_here,
    manifest::Manifest,
    porep_config, post_config,
    show::{Event, Watcher},
};
use crate::{
    disk::{WorkLock, at, put, sync, sync_dir_files},
    kind::Stage,
    parent::{Cancel, Child, ChildSpec},
    serve::TaskError,
    task::{Circuit, MakeParams},
};
use damocles_types::SectorSize;
use filecoin_proofs::{
    DefaultPieceHasher, MerkleTreeTrait, PoStType,
    parameters::{public_params, window_post_public_params, winning_post_public_params},
    with_shape,
};
use rand::rngs::OsRng;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use storage_proofs_core::{
    compound_proof::CompoundProof,
    parameter_cache::{CacheableParameters, read_cached_params},
};
use storage_proofs_porep::stacked::{StackedCircuit, StackedCompound, StackedDrg};
use storage_proofs_post::fallback::{FallbackPoSt, FallbackPoStCircuit, FallbackPoStCompound};
use storage_proofs_update::{
    EmptySectorUpdate, PublicParams as UpdateParams, circuit::EmptySectorUpdateCircuit,
    compound::EmptySectorUpdateCompound, constants::TreeRHasher,
};

const LOCK: &str = ".making.lock";
const WORK: &str = ".making-";

/// Makes what is missing for these sizes (PoRep, winning and window; the snap update on
/// request) in the library's directory. `program processor make_params` must serve
/// `stage::run_processor`. Returns the circuits that were made.
pub fn generate(
    sizes: &[SectorSize],
    snap: bool,
    program: &Path,
    watcher: &dyn Watcher,
) -> Result<Vec<(Circuit, SectorSize)>, ParamsError> {
    generate_in(&directory(), sizes, snap, program, watcher)
}

/// The same in another directory.
pub fn generate_in(
    dir: &Path,
    sizes: &[SectorSize],
    snap: bool,
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
                watcher.event(Event::Have {
                    circuit,
                    size: *size,
                });
            } else {
                missing.push(set);
            }
        }
    }
    if missing.is_empty() {
        note(dir, sizes, snap);
        return Ok(Vec::new());
    }
    fs::create_dir_all(dir).map_err(at(dir))?;
    let _lock = take_lock(dir, watcher)?;
    clean(dir)?;
    let mut made = Vec::new();
    for set in missing {
        // somebody may have made it while we waited for the lock
        if is_whole(dir, &set) {
            watcher.event(Event::Have {
                circuit: set.circuit,
                size: set.size,
            });
            continue;
        }
        watcher.event(Event::Making {
            circuit: set.circuit,
            size: set.size,
        });
        let started = Instant::now();
        make_set(dir, &set, program)?;
        watcher.event(Event::Made {
            circuit: set.circuit,
            size: set.size,
            took: started.elapsed(),
        });
        made.push((set.circuit, set.size));
    }
    note(dir, sizes, snap);
    Ok(made)
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
    fs::File::open(params)?.read_exact(&mut head)?;
    Ok(head == key)
}

/// Notes whole sets that nobody noted (made by another program, or by a run that was killed
/// between naming and noting).
fn adopt(dir: &Path, sizes: &[SectorSize], snap: bool) -> Result<(), ParamsError> {
    let mut manifest = Manifest::load(dir);
    let known = manifest.0.len();
    for size in sizes {
        for circuit in circuits(snap) {
            for name in ParamSet::of(circuit, *size)?.files() {
                if !manifest.0.contains_key(&name) {
                    manifest.add(dir, &name)?;
                }
            }
        }
    }
    if manifest.0.len() > known {
        manifest.store(dir)?;
    }
    Ok(())
}

fn make_set(dir: &Path, set: &ParamSet, program: &Path) -> Result<(), ParamsError> {
    let work = dir.join(format!("{WORK}{}", std::process::id()));
    fs::create_dir(&work).map_err(at(&work))?;
    let made = run_maker(&work, set, program).and_then(|()| put_set(dir, &work, set));
    let cleaned = fs::remove_dir_all(&work).map_err(at(&work));
    made?;
    Ok(cleaned?)
}

fn run_maker(work: &Path, set: &ParamSet, program: &Path) -> Result<(), ParamsError> {
    let failed = |reason: String| ParamsError::Make {
        circuit: set.circuit,
        reason,
    };
    let stage = Stage::MakeParams.name();
    let mut spec = ChildSpec::new(stage, stage, program, &["processor", stage]);
    spec.auto_restart = false;
    let set_to = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    spec.environment.set = BTreeMap::from([
        set_to(DIR_ENV, &work.display().to_string()),
        // making is not verifying against the official digests
        set_to("FIL_PROOFS_VERIFY_PRODUCTION_PARAMS", "0"),
        set_to(crate::wire::EVENTS_ENV, "1"),
    ]);
    let task = MakeParams {
        circuit: set.circuit,
        sector_size: set.size,
    };
    let task = serde_json::value::to_raw_value(&task).map_err(|error| failed(error.to_string()))?;
    let child = Child::start(spec, Box::new(|_| {})).map_err(|error| failed(error.to_string()))?;
    let answer = child
        .run(&task, &Cancel::new(), &mut |_| {})
        .map_err(|error| failed(error.to_string()))?;
    match answer.err_msg {
        Some(text) => Err(failed(text)),
        None => Ok(()),
    }
}

/// Names the finished files, the big one last: a set is whole when it has that.
fn put_set(dir: &Path, work: &Path, set: &ParamSet) -> Result<(), ParamsError> {
    sync_dir_files(work)?;
    let mut manifest = Manifest::load(dir);
    for name in set.files() {
        let from: PathBuf = work.join(&name);
        let meta = fs::metadata(&from).map_err(at(&from))?;
        if meta.len() == 0 {
            return Err(ParamsError::Make {
                circuit: set.circuit,
                reason: format!("{name} is empty"),
            });
        }
        // an older file of a set that was not whole, noted or not, is replaced
        manifest.0.remove(&name);
        put(&from, &dir.join(&name))?;
        manifest.add(dir, &name)?;
    }
    manifest.store(dir)?;
    Ok(sync(dir)?)
}

/// The child's side: makes one circuit's parameters in this process's directory.
pub fn make(task: &MakeParams) -> Result<bool, TaskError> {
    let bytes = task.sector_size.bytes();
    let done = match task.circuit {
        Circuit::PoRep => with_shape!(bytes, make_porep, task.sector_size),
        Circuit::WinningPost => with_shape!(bytes, make_post, task.sector_size, PoStType::Winning),
        Circuit::WindowPost => with_shape!(bytes, make_post, task.sector_size, PoStType::Window),
        Circuit::SnapUpdate => with_shape!(bytes, make_update, task.sector_size),
    };
    done.map(|()| true).map_err(TaskError::from)
}

/// Metadata, parameters, then the verifying key out of them. A macro, since naming the bound
/// of the circuit would take two more crates.
macro_rules! store {
    ($compound:ty, $circuit:expr, $params:expr) => {{
        let params = $params;
        <$compound>::get_param_metadata($circuit, params)?;
        <$compound>::get_groth_params(Some(&mut OsRng), $circuit, params)?;
        <$compound>::get_verifying_key(Some(&mut OsRng), $circuit, params)?;
        Ok(())
    }};
}

fn make_porep<Tree: 'static + MerkleTreeTrait>(size: SectorSize) -> anyhow::Result<()> {
    let params = public_params::<Tree>(&porep_config(size))?;
    let circuit = || {
        <StackedCompound<Tree, DefaultPieceHasher> as CompoundProof<
            StackedDrg<'_, Tree, DefaultPieceHasher>,
            StackedCircuit<Tree, DefaultPieceHasher>,
        >>::blank_circuit(&params)
    };
    store!(
        StackedCompound::<Tree, DefaultPieceHasher>,
        circuit(),
        &params
    )
}

fn make_post<Tree: 'static + MerkleTreeTrait>(
    size: SectorSize,
    typ: PoStType,
) -> anyhow::Result<()> {
    let config = post_config(size, typ)?;
    let params = match config.typ {
        PoStType::Winning => winning_post_public_params::<Tree>(&config)?,
        PoStType::Window => window_post_public_params::<Tree>(&config)?,
    };
    let circuit = || {
        <FallbackPoStCompound<Tree> as CompoundProof<
            FallbackPoSt<'_, Tree>,
            FallbackPoStCircuit<Tree>,
        >>::blank_circuit(&params)
    };
    store!(FallbackPoStCompound::<Tree>, circuit(), &params)
}

fn make_update<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    size: SectorSize,
) -> anyhow::Result<()> {
    let params = UpdateParams::from_sector_size(size.bytes());
    let circuit = || {
        <EmptySectorUpdateCompound<Tree> as CompoundProof<
            EmptySectorUpdate<Tree>,
            EmptySectorUpdateCircuit<Tree>,
        >>::blank_circuit(&params)
    };
    store!(EmptySectorUpdateCompound::<Tree>, circuit(), &params)
}
