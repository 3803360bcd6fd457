//! Compares the parameter files with the official digests and with what was made here.

use super::{
    ParamSet, ParamsError, circuits,
    converted::{self, Found, LARGEST},
    directory,
    manifest::{Manifest, digest},
    show::{Event, Watcher},
};
use crate::disk::at;
use damocles_kernels::cpu::Cpu;
use damocles_types::SectorSize;
use std::{fmt, path::Path};
use storage_proofs_core::parameter_cache::{PARAMETERS, SRS_PARAMETERS};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// The network's own.
    Official,
    /// Made on this machine, unchanged since.
    MadeHere,
    Missing,
    /// Neither the official file nor what was made here.
    Differs {
        found: String,
    },
    /// Decoded from the file beside it, as that is now.
    Converted,
    /// To be decoded again by who needs it next.
    NotUsed {
        why: String,
    },
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Official => f.pad("ok"),
            Self::MadeHere => f.pad("made here"),
            Self::Missing => f.pad("missing"),
            Self::Differs { found } => f.pad(&format!("differs ({found})")),
            Self::Converted => f.pad("converted"),
            Self::NotUsed { why } => f.pad(&format!("not used ({why}; it is made anew)")),
        }
    }
}

impl FileState {
    /// Whether proofs can be made with it.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Official | Self::MadeHere | Self::Converted | Self::NotUsed { .. } => true,
            Self::Missing | Self::Differs { .. } => false,
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck {
    pub name: String,
    pub state: FileState,
}

/// Checks the parameters and verifying keys of these sizes, and what of them is converted for this
/// CPU; reads every byte of them.
pub fn check(
    sizes: &[SectorSize],
    snap: bool,
    watcher: &dyn Watcher,
) -> Result<Vec<FileCheck>, ParamsError> {
    check_in(&directory(), sizes, snap, watcher)
}

/// The same in another directory.
pub fn check_in(
    dir: &Path,
    sizes: &[SectorSize],
    snap: bool,
    watcher: &dyn Watcher,
) -> Result<Vec<FileCheck>, ParamsError> {
    let manifest = Manifest::load(dir);
    let mut found = Vec::new();
    for size in sizes {
        for circuit in circuits(snap) {
            let set = ParamSet::of(circuit, *size)?;
            for name in [set.verifying_key(), set.params()] {
                watcher.event(Event::Checking { name: name.clone() });
                let state = state(dir, &name, &manifest)?;
                found.push(FileCheck { name, state });
            }
            found.extend(converted(dir, &set, watcher));
        }
    }
    Ok(found)
}

/// The file that our prover maps, where there is one.
fn converted(dir: &Path, set: &ParamSet, watcher: &dyn Watcher) -> Option<FileCheck> {
    if set.size > LARGEST {
        return None;
    }
    let (params, cpu) = (dir.join(set.params()), Cpu::detect());
    let name = converted::beside(Path::new(&set.params()), cpu);
    let name = name.display().to_string();
    watcher.event(Event::Checking { name: name.clone() });
    let state = match converted::look(&params, cpu) {
        Found::Missing => return None,
        Found::Good => FileState::Converted,
        Found::Unusable(error) => FileState::NotUsed {
            why: error.to_string(),
        },
    };
    Some(FileCheck { name, state })
}

pub(super) fn state(dir: &Path, name: &str, manifest: &Manifest) -> Result<FileState, ParamsError> {
    let path = dir.join(name);
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_file() => {}
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(at(&path)(error).into());
        }
        Ok(_) | Err(_) => return Ok(FileState::Missing),
    }
    let found = digest(&path)?;
    Ok(
        if PARAMETERS
            .get(name)
            .or_else(|| SRS_PARAMETERS.get(name))
            .is_some_and(|official| official.digest == found)
        {
            FileState::Official
        } else if manifest
            .0
            .get(name)
            .is_some_and(|made| made.digest == found)
        {
            FileState::MadeHere
        } else {
            FileState::Differs { found }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{params::show::Silent, task::Circuit};
    use std::fs;

    #[test]
    fn missing_made_here_and_damaged_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let set = ParamSet::of(Circuit::WinningPost, SectorSize::KiB2).unwrap();
        for name in set.files() {
            fs::write(dir.path().join(&name), name.as_bytes()).unwrap();
        }
        let mut manifest = Manifest::default();
        manifest.add(dir.path(), &set.params()).unwrap();
        manifest.add(dir.path(), &set.verifying_key()).unwrap();
        manifest.store(dir.path()).unwrap();
        fs::write(dir.path().join(set.verifying_key()), b"damaged").unwrap();

        let found = check_in(dir.path(), &[SectorSize::KiB2], false, &Silent).unwrap();
        assert_eq!(found.len(), 6);
        let state = |name: &str| &found.iter().find(|f| f.name == name).unwrap().state;
        assert_eq!(*state(&set.params()), FileState::MadeHere);
        assert!(matches!(
            state(&set.verifying_key()),
            FileState::Differs { .. }
        ));
        let other = ParamSet::of(Circuit::PoRep, SectorSize::KiB2).unwrap();
        assert_eq!(*state(&other.params()), FileState::Missing);
    }
}
