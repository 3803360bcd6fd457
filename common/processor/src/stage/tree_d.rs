//! The Merkle tree of the unsealed data. Made under another name and renamed when whole,
//! because the library takes any existing file of that name for a finished tree.

use super::{
    cache_dir::{self, TREE_D},
    context::Context,
    trouble::disk,
};
use crate::{
    disk::{at, put, sync},
    serve::TaskError,
    sys,
    task::TreeD,
};
use damocles_kernels::{
    cpu::Cpu,
    sha::pairs,
    tree::binary::{self, Error, Options},
};
use damocles_types::{Commitment, SectorSize};
use filecoin_proofs::{DefaultPieceHasher, StoreConfig};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};
use storage_proofs_core::{
    cache_key::CacheKey,
    merkle::{BinaryMerkleTree, create_base_merkle_tree},
    util::NODE_SIZE,
};

const WORK: &str = ".tree-d";

pub(super) fn run(task: &TreeD, context: &Context<'_>) -> Result<bool, TaskError> {
    let _lock = cache_dir::lock(&task.cache_dir)?;
    match context.own_kernels() {
        Some(cpu) => context.computes(pairs::code(cpu)),
        None => context.filecoin_proofs_computes(),
    }
    build(
        &task.staged_file,
        &task.cache_dir,
        task.registered_proof.size,
        context,
    )?;
    Ok(true)
}

/// Builds the tree of `staged` in `dir`, whatever was there, and returns its root (CommD).
pub(super) fn build(
    staged: &Path,
    dir: &Path,
    size: SectorSize,
    context: &Context<'_>,
) -> Result<Commitment, TaskError> {
    check_length(staged, size)?;
    let data = File::open(staged).map_err(at(staged)).map_err(disk)?;
    let work = dir.join(WORK);
    match fs::remove_dir_all(&work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(disk(at(&work)(error)));
        }
        _ => {}
    }
    fs::create_dir(&work).map_err(at(&work)).map_err(disk)?;
    let made = work.join(TREE_D);
    let root = match context.own_kernels() {
        Some(cpu) => own(cpu, staged, &data, &made, size, context)?,
        None => library(staged, &data, &work)?,
    };
    sync(&made)
        .and_then(|()| put(&made, &dir.join(TREE_D)))
        .and_then(|()| fs::remove_dir(&work).map_err(at(&work)))
        .map_err(disk)?;
    Ok(root)
}

/// The tree of `staged` lies in `dir` afterwards, and its root is `expected`: the CommD of the
/// sector's pieces.
pub(super) fn ensure(
    staged: &Path,
    dir: &Path,
    size: SectorSize,
    expected: Commitment,
    context: &Context<'_>,
) -> Result<(), TaskError> {
    if root(dir, size).map_err(disk)? == Some(expected) {
        return Ok(());
    }
    context.note("building tree-d");
    let built = build(staged, dir, size, context)?;
    if built == expected {
        return Ok(());
    }
    Err(TaskError::permanent(format!(
        "the data in {} has CommD {built}; its pieces make {expected}",
        staged.display()
    ))
    .hint("the staged file is not that of these pieces; run add_pieces again"))
}

/// A file that must be as long as a sector.
pub(super) fn check_length(path: &Path, size: SectorSize) -> Result<(), TaskError> {
    let length = fs::metadata(path).map_err(at(path)).map_err(disk)?.len();
    if length == size.bytes() {
        return Ok(());
    }
    Err(TaskError::permanent(format!(
        "{} has {length} bytes; a {size} sector has {}",
        path.display(),
        size.bytes()
    )))
}

/// By our own kernel, to the file `made`.
fn own(
    cpu: Cpu,
    staged: &Path,
    data: &File,
    made: &Path,
    size: SectorSize,
    context: &Context<'_>,
) -> Result<Commitment, TaskError> {
    let tree = File::create_new(made).map_err(at(made)).map_err(disk)?;
    let progress = context.percents("tree-d", size.bytes());
    binary::build(data, size.bytes(), &tree, &Options::new(cpu), &progress)
        .map(Commitment)
        .map_err(|error| match error {
            Error::Read(error) => disk(at(staged)(error)),
            Error::Write(error) => disk(at(made)(error)),
            Error::NotPadded { offset } => not_padded(staged, offset),
            error => TaskError::permanent(error),
        })
}

/// By the library, to a file in `work` that it names itself.
fn library(staged: &Path, data: &File, work: &Path) -> Result<Commitment, TaskError> {
    let data = sys::map(data).map_err(at(staged)).map_err(disk)?;
    let nodes = data.len() / NODE_SIZE;
    // Every 32 bytes must be a field element; the library would panic in a worker thread.
    if let Some(node) = data
        .chunks_exact(NODE_SIZE)
        .position(|node| node[NODE_SIZE - 1] > 0x3f)
    {
        return Err(not_padded(staged, (node * NODE_SIZE) as u64));
    }
    let config = StoreConfig::new(work, CacheKey::CommDTree.to_string(), 0);
    let tree = create_base_merkle_tree::<BinaryMerkleTree<DefaultPieceHasher>>(
        Some(config),
        nodes,
        &data,
    )?;
    let mut root = Commitment::default();
    root.0.copy_from_slice(tree.root().as_ref());
    Ok(root)
}

fn not_padded(staged: &Path, offset: u64) -> TaskError {
    TaskError::permanent(format!(
        "{} is not fr32-padded data: in the 32 bytes at {offset} the two top bits are set",
        staged.display()
    ))
    .hint("the staged file was not written by add_pieces, or it is damaged")
}

/// The root of the tree that lies in `dir` (it is the last node); none when there is no tree
/// of the right length.
pub(super) fn root(dir: &Path, size: SectorSize) -> io::Result<Option<Commitment>> {
    let path = dir.join(TREE_D);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path)(error)),
    };
    let node = NODE_SIZE as u64;
    if file.metadata().map_err(at(&path))?.len() != 2 * size.bytes() - node {
        return Ok(None);
    }
    let mut root = Commitment::default();
    file.seek(SeekFrom::End(-(NODE_SIZE as i64)))
        .and_then(|_| file.read_exact(&mut root.0))
        .map_err(at(&path))?;
    Ok(Some(root))
}

#[cfg(test)]
#[path = "tree_d_tests.rs"]
mod tests;
