//! The graph's parents cache, which all PC1 of one size on a machine share (56 GiB for 32GiB
//! sectors). The library takes any file of the right name for whole, even one whose making
//! was killed; a mark beside it says which one is: by length and time of the last change, so
//! that it does not vouch for a file that was made after it.

use super::trouble::disk;
use crate::{
    disk::{WorkLock, at, remove_if_there, sync, write_whole},
    proofs::seal_proof,
    serve::{Progress, TaskError},
};
use damocles_types::SealProof;
use filecoin_proofs::{MerkleTreeTrait, PoRepConfig, parameters::public_params, with_shape};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
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
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(at(&dir))
        .map_err(disk)?;
    let config = seal_proof(proof)?.as_v1_config();
    let path = open(&config, progress)?;
    if is_whole(&path).map_err(disk)? {
        return Ok(path);
    }
    if before.contains(&path) {
        progress.note("the parents cache is of unknown origin and made again");
        remove_if_there(&path).map_err(disk)?;
        open(&config, progress)?;
    }
    vouch(&path).map_err(disk)?;
    Ok(path)
}

/// Whether the mark is of this very file.
fn is_whole(path: &Path) -> io::Result<bool> {
    match fs::read(marker(path)) {
        Ok(mark) => Ok(mark == state(path)?.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(&marker(path))(error)),
    }
}

/// Brings the whole file to the disk, then the mark.
fn vouch(path: &Path) -> io::Result<()> {
    sync(path)?;
    write_whole(&marker(path), state(path)?.as_bytes())
}

fn marker(path: &Path) -> PathBuf {
    path.with_extension("whole")
}

/// What changes whenever somebody writes to the file.
fn state(path: &Path) -> io::Result<String> {
    let meta = fs::metadata(path).map_err(at(path))?;
    let (seconds, nanos) = (meta.mtime(), meta.mtime_nsec());
    Ok(format!("{} bytes of {seconds}.{nanos:09}\n", meta.len()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("v28-sdr-parent-1.cache");
        fs::write(&cache, [7; 56]).unwrap();
        assert!(!is_whole(&cache).unwrap(), "no mark");
        vouch(&cache).unwrap();
        assert!(is_whole(&cache).unwrap());

        // removed by hand, and the making of the next one was killed
        let old = fs::metadata(&cache).unwrap().modified().unwrap();
        fs::remove_file(&cache).unwrap();
        fs::write(&cache, [0; 56]).unwrap();
        let file = fs::File::options().write(true).open(&cache).unwrap();
        file.set_modified(old + Duration::from_secs(1)).unwrap();
        assert!(!is_whole(&cache).unwrap());
        vouch(&cache).unwrap();
        assert!(is_whole(&cache).unwrap());
        fs::remove_file(&cache).unwrap();
        assert!(is_whole(&cache).is_err(), "whoever asks has opened it");
    }
}
