//! The house beside programs that are not ours: a network of real Lotus nodes, and the daemons of
//! upstream Damocles. Their binaries are brought by whoever runs this; nothing of them is in the
//! repository. docs/compatibility.md says what was run against which version.

pub mod report;
pub mod tap;
pub mod lotus;
pub mod upstream;

use std::path::{Path, PathBuf};

/// A program in the folder that somebody named; or, as a sentence, that it is not there.
fn program(dir: &str, name: &str) -> Result<PathBuf, String> {
    if dir.is_empty() {
        return Err("no folder with the programs was named".to_owned());
    }
    let path = Path::new(dir).join(name);
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(path),
        Ok(_) | Err(_) => Err(format!("{} is not there", path.display())),
    }
}
