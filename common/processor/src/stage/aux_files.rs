//! p_aux and t_aux: small files beside the trees whose form only the proofs library knows.

use super::trouble::disk;
use crate::{
    disk::{at, write_whole},
    serve::TaskError,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{fs, path::Path};
use storage_proofs_core::cache_key::CacheKey;

pub(super) fn read<T: DeserializeOwned>(dir: &Path, key: CacheKey) -> Result<T, TaskError> {
    let path = dir.join(key.to_string());
    let bytes = fs::read(&path).map_err(at(&path)).map_err(disk)?;
    bincode::deserialize(&bytes).map_err(|error| {
        TaskError::permanent(format!("{}: {error}", path.display()))
            .hint("the file is damaged; the sector cannot be updated from this copy")
    })
}

pub(super) fn write(dir: &Path, key: CacheKey, content: &impl Serialize) -> Result<(), TaskError> {
    let bytes = bincode::serialize(content)
        .map_err(|error| TaskError::permanent(format!("{key}: {error}")))?;
    write_whole(&dir.join(key.to_string()), &bytes).map_err(disk)
}
