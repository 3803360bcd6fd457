//! What was made on this machine, with digests, so that a check can tell "made here" from
//! "damaged". A file beside the parameters; losing it loses nothing but that knowledge.

use crate::disk::{at, write_whole};
use blake2b_simd::State;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

const FILE: &str = "made-here.json";

/// Files made here, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest(pub(super) BTreeMap<String, Made>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) size: u64,
    pub(super) digest: String,
}

impl Manifest {
    /// An absent or damaged manifest is an empty one.
    pub(super) fn load(dir: &Path) -> Self {
        let text = fs::read(dir.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        write_whole(&dir.join(FILE), &text)
    }

    /// Notes a file as it is now.
    pub(super) fn add(&mut self, dir: &Path, name: &str) -> io::Result<()> {
        let path = dir.join(name);
        let made = Made {
            size: fs::metadata(&path).map_err(at(&path))?.len(),
            digest: digest(&path)?,
        };
        self.0.insert(name.to_owned(), made);
        Ok(())
    }
}

/// The digest of the official list: the first 16 bytes of blake2b-512, in hex.
pub(super) fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut state = State::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(state.finalize().to_hex()[..32].to_owned()),
            Ok(n) => {
                state.update(&block[..n]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(at(path)(error)),
        }
    }
}
