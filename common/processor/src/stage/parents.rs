//! The graph's parents cache, which all PC1 of one size on a machine share (56 GiB for 32GiB
//! sectors). The library takes any file of the right name for whole, even one whose making
//! was killed; a mark beside it says that ours is.

use super::disk;
use crate::{
    disk::{WorkLock, at, remove_if_there, sync, write_whole},
    proofs::seal_proof,
    serve::{Progress, TaskError},
};
use damocles_types::SealProof;
use filecoin_proofs::{MerkleTreeTrait, PoRepConfig, parameters::public_params, with_shape};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use storage_proofs_core::settings::SETTINGS;

const LOCK: &str = ".sdr-parents.lock";

/// The parents cache of this proof type, whole. Minutes, once per machine.
pub(super) fn ready(proof: SealProof, progress: &Progress) -> Result<PathBuf, TaskError> {
    let dir = PathBuf::from(&SETTINGS.parent_cache);
    fs::create_dir_all(&dir).map_err(at(&dir)).map_err(disk)?;
    let mut told = false;
    let _lock = loop {
        if let Some(lock) = WorkLock::try_take(&dir.join(LOCK)).map_err(disk)? {
            break lock;
        }
        if !told {
            told = true;
            progress.note("another process makes the parents cache");
        }
        thread::sleep(Duration::from_millis(200));
    };
    let before: BTreeSet<PathBuf> = fs::read_dir(&dir)
        .map_err(at(&dir))
        .map_err(disk)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    let config = seal_proof(proof)?.as_v1_config();
    let path = open(&config, progress)?;
    let mark = marker(&path);
    if mark.is_file() {
        return Ok(path);
    }
    if before.contains(&path) {
        progress.note("the parents cache is of unknown origin and made again");
        remove_if_there(&path).map_err(disk)?;
        open(&config, progress)?;
    }
    sync(&path)
        .and_then(|()| write_whole(&mark, b""))
        .map_err(disk)?;
    Ok(path)
}

fn marker(path: &Path) -> PathBuf {
    path.with_extension("whole")
}

/// Opens the cache, which makes it where it is missing (and checks the digest then).
fn open(config: &PoRepConfig, progress: &Progress) -> Result<PathBuf, TaskError> {
    progress.note("opening the parents cache");
    Ok(with_shape!(
        u64::from(config.sector_size),
        open_shape,
        config
    )?)
}

fn open_shape<Tree: 'static + MerkleTreeTrait>(config: &PoRepConfig) -> anyhow::Result<PathBuf> {
    Ok(public_params::<Tree>(config)?.graph.parent_cache()?.path)
}
