//! The reference string by which seal proofs are aggregated (SnarkPack): one file for sectors of
//! every size. Networks have one from a ceremony; on a test network one is made that nobody need trust.

use super::{
    ParamsError,
    check::{FileCheck, FileState, state},
    directory, is_made_here,
    manifest::Manifest,
    require_verifying_key,
    show::{Event, Silent, Watcher},
};
use crate::{
    footprint::{MOST_AGGREGATED, partitions},
    task::Circuit,
};
use damocles_types::SectorSize;
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    path::Path,
    sync::OnceLock,
};
use storage_proofs_core::parameter_cache::parameter_cache_srs_key_path;

/// Proofs that one made here can aggregate: those of the largest message of a test network.
pub(super) const PROOFS: u32 =
    (MOST_AGGREGATED * partitions(SectorSize::MiB512)).next_power_of_two() as u32;

/// Its name, as the library gives it.
pub fn file_name() -> String {
    let path = parameter_cache_srs_key_path("", 0);
    let name = path.file_name().unwrap_or(OsStr::new(""));
    name.to_string_lossy().into_owned()
}

/// Bytes of a file with so many points in each of its four rows: two of 48 bytes each, two of 96,
/// and before each row its number.
pub const fn length(points: u32) -> u64 {
    4 * 4 + points as u64 * (2 * 48 + 2 * 96)
}

/// Whether there is a file at all: a daemon that has none need not try.
pub fn is_there() -> bool {
    fs::metadata(directory().join(file_name())).is_ok_and(|meta| meta.is_file() && meta.len() > 0)
}

/// What the file is; reads every byte of it.
pub fn check_srs(watcher: &dyn Watcher) -> Result<FileCheck, ParamsError> {
    check_srs_in(&directory(), watcher)
}

/// The same in another directory.
pub fn check_srs_in(dir: &Path, watcher: &dyn Watcher) -> Result<FileCheck, ParamsError> {
    let name = file_name();
    watcher.event(Event::Checking { name: name.clone() });
    let state = state(dir, &name, &Manifest::load(dir))?;
    Ok(FileCheck { name, state })
}

/// Says at once whether proofs of that size can be aggregated with what there is: where nobody makes
/// parameters by himself, with the network's own only. The library reads the file once per process,
/// and so does this.
pub(crate) fn require(size: SectorSize) -> Result<(), ParamsError> {
    require_verifying_key(Circuit::PoRep, size)?;
    require_string(size)
}

fn require_string(size: SectorSize) -> Result<(), ParamsError> {
    static GOOD: OnceLock<FileState> = OnceLock::new();
    if GOOD.get().is_some_and(|state| fits(state, size)) {
        return Ok(());
    }
    let dir = directory();
    let state = check_srs_in(&dir, &Silent)?.state;
    if fits(&state, size) {
        let _ = GOOD.set(state);
        return Ok(());
    }
    Err(ParamsError::ReferenceString {
        path: dir.join(file_name()),
        state: state.to_string(),
        size,
    })
}

fn fits(state: &FileState, size: SectorSize) -> bool {
    match state {
        FileState::Official => true,
        FileState::MadeHere => is_made_here(size),
        _ => false,
    }
}

/// Whether there is one already: of the network, or as long as it says and long enough. What another
/// program made is as good as ours: a network whose proofs it made knows it.
pub(super) fn is_whole(dir: &Path) -> bool {
    let path = dir.join(file_name());
    let points = || -> std::io::Result<(u32, u64)> {
        let mut file = File::open(&path)?;
        let mut first = [0; 4];
        file.read_exact(&mut first)?;
        Ok((u32::from_be_bytes(first), file.metadata()?.len()))
    };
    points().is_ok_and(|(points, bytes)| points >= 2 * PROOFS && bytes == length(points))
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage_proofs_core::parameter_cache::SRS_PARAMETERS;

    #[test]
    fn its_name_is_that_of_the_official_list() {
        assert!(SRS_PARAMETERS.contains_key(&file_name()), "{}", file_name());
    }

    #[test]
    fn one_made_here_proves_nothing_of_the_networks_sectors() {
        for (state, test, real) in [
            (FileState::Official, true, true),
            (FileState::MadeHere, true, false),
            (FileState::Missing, false, false),
            (FileState::Differs { found: "x".into() }, false, false),
        ] {
            assert_eq!(fits(&state, SectorSize::MiB512), test, "{state}");
            assert_eq!(fits(&state, SectorSize::GiB32), real, "{state}");
        }
    }

    #[test]
    fn a_short_or_cut_file_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let put = |points: u32, bytes: u64| {
            let mut text = points.to_be_bytes().to_vec();
            text.resize(usize::try_from(bytes).unwrap(), 7);
            fs::write(dir.path().join(file_name()), text).unwrap();
            is_whole(dir.path())
        };
        assert!(!is_whole(dir.path()), "there is none");
        assert!(put(2048, length(2048)));
        assert!(!put(2048, length(2048) - 1));
        assert!(!put(16, length(16)), "for eight proofs");
        assert!(!put(0, 4));
    }
}
