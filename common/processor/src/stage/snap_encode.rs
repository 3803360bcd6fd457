//! SnapEncode: deals go into a sealed sector of committed capacity. The old sector is only
//! read; everything new is made from it again, so that the stage can run twice.

use super::{
    cache_dir::{self, pc2_files},
    context::Context,
    disk, tree_d,
};
use crate::{
    disk::{at, remove_if_there, sync, sync_parent, write_whole},
    proofs::{comm_d, pieces, update_proof},
    serve::TaskError,
    task::{SnapEncode, SnapEncodeOutput},
};
use damocles_kernels::{
    cpu::Cpu,
    snap::{self, Error, Job, Options},
};
use damocles_types::{Commitment, SealProof};
use filecoin_proofs::{
    DefaultPieceHasher, DefaultTreeDomain, PersistentAux, SectorShapeBase, TemporaryAux,
};
use filecoin_proofs_api::update::empty_sector_update_encode_into;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};
use storage_proofs_core::cache_key::CacheKey;

/// Nothing in it is of the tree's type, so that one type serves all sector sizes.
type OldTrees = TemporaryAux<SectorShapeBase, DefaultPieceHasher>;

pub(super) fn run(task: &SnapEncode, context: &Context<'_>) -> Result<SnapEncodeOutput, TaskError> {
    let dir = &task.new_cache_path;
    let _lock = cache_dir::lock(dir)?;
    let size = task.registered_proof;
    let comm_d_new = comm_d(SealProof::interactive(size), &task.piece_infos)?;
    check_lengths(task)?;
    if tree_d::root(dir, size).map_err(disk)? != Some(comm_d_new) {
        context.note("building tree-d");
        let built = tree_d::build(&task.staged_data_path, dir, size, context)?;
        if built != comm_d_new {
            return Err(TaskError::permanent(format!(
                "the data in {} has CommD {built}; its pieces make {comm_d_new}",
                task.staged_data_path.display()
            ))
            .hint("the staged file is not that of these pieces; run add_pieces again"));
        }
    }
    // The library takes half a tree of an earlier run for a whole one.
    let leftovers = pc2_files(dir).map_err(disk)?;
    cache_dir::remove(dir, &leftovers).map_err(disk)?;
    make_replica(&task.new_replica_path, size.bytes()).map_err(disk)?;

    let output = match context.own_kernels() {
        Some(cpu) => own(task, comm_d_new, cpu, context)?,
        None => library(task, context)?,
    };
    if output.comm_d_new != comm_d_new {
        return Err(TaskError::permanent(
            "the update has another CommD than its pieces",
        ));
    }
    for name in pc2_files(dir).map_err(disk)? {
        sync(&dir.join(name)).map_err(disk)?;
    }
    sync(&task.new_replica_path)
        .and_then(|()| sync_parent(&task.new_replica_path))
        .and_then(|()| sync(dir))
        .map_err(disk)?;
    Ok(output)
}

/// The library would encode as much as there is.
fn check_lengths(task: &SnapEncode) -> Result<(), TaskError> {
    let size = task.registered_proof;
    for path in [&task.sector_path, &task.staged_data_path] {
        let length = fs::metadata(path).map_err(at(path)).map_err(disk)?.len();
        if length != size.bytes() {
            return Err(TaskError::permanent(format!(
                "{} has {length} bytes; a {size} sector has {}",
                path.display(),
                size.bytes()
            )));
        }
    }
    Ok(())
}

/// A fresh file: a link of this name is replaced, so that nothing is encoded through it.
fn make_replica(path: &Path, bytes: u64) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    remove_if_there(path)?;
    File::create_new(path)
        .and_then(|file| file.set_len(bytes))
        .map_err(at(path))
}

fn library(task: &SnapEncode, context: &Context<'_>) -> Result<SnapEncodeOutput, TaskError> {
    context.filecoin_proofs_computes();
    context.note("encoding");
    let encoded = empty_sector_update_encode_into(
        update_proof(task.registered_proof)?,
        &task.new_replica_path,
        &task.new_cache_path,
        &task.sector_path,
        &task.sector_cache_path,
        &task.staged_data_path,
        &pieces(&task.piece_infos)?,
    )?;
    Ok(SnapEncodeOutput {
        comm_r_new: Commitment(encoded.comm_r_new),
        comm_r_last_new: Commitment(encoded.comm_r_last_new),
        comm_d_new: Commitment(encoded.comm_d_new),
    })
}

fn own(
    task: &SnapEncode,
    comm_d_new: Commitment,
    cpu: Cpu,
    context: &Context<'_>,
) -> Result<SnapEncodeOutput, TaskError> {
    let (old, dir) = (&task.sector_cache_path, &task.new_cache_path);
    let mut p_aux: PersistentAux<DefaultTreeDomain> = read(old, CacheKey::PAux)?;
    let mut t_aux: OldTrees = read(old, CacheKey::TAux)?;
    let size = task.registered_proof.bytes();
    let job = Job {
        sector_size: size,
        key: task.sector_path.clone(),
        data: task.staged_data_path.clone(),
        replica: task.new_replica_path.clone(),
        cache_dir: dir.clone(),
        comm_d_new: comm_d_new.0,
        comm_c: p_aux.comm_c.into(),
        comm_r_last_old: p_aux.comm_r_last.into(),
        rows_discarded: u32::try_from(t_aux.tree_r_last_config.rows_to_discard).unwrap_or(u32::MAX),
    };
    context.computes(snap::code(cpu));
    let told = AtomicU64::new(0);
    let roots = snap::run(&job, &Options::new(cpu), &|done| {
        let percent = done * 100 / size;
        if told.fetch_max(percent, Ordering::Relaxed) < percent {
            context.note(format!("encoding: {percent} %"));
        }
    })
    .map_err(|error| match error {
        Error::Io { .. } | Error::Cancelled => TaskError::temporary(error),
        _ => TaskError::permanent(error),
    })?;
    p_aux.comm_r_last = DefaultTreeDomain::from(roots.comm_r_last);
    // the library leaves the old directory in it and puts the right one in whenever it reads it
    t_aux.set_cache_path(old);
    write(dir, CacheKey::PAux, &p_aux)?;
    write(dir, CacheKey::TAux, &t_aux)?;
    Ok(SnapEncodeOutput {
        comm_r_new: Commitment(roots.comm_r),
        comm_r_last_new: Commitment(roots.comm_r_last),
        comm_d_new,
    })
}

fn read<T: DeserializeOwned>(dir: &Path, key: CacheKey) -> Result<T, TaskError> {
    let path = dir.join(key.to_string());
    let bytes = fs::read(&path).map_err(at(&path)).map_err(disk)?;
    bincode::deserialize(&bytes).map_err(|error| {
        TaskError::permanent(format!("{}: {error}", path.display()))
            .hint("the file is damaged; the sector cannot be updated from this copy")
    })
}

fn write(dir: &Path, key: CacheKey, content: &impl Serialize) -> Result<(), TaskError> {
    let bytes = bincode::serialize(content)
        .map_err(|error| TaskError::permanent(format!("{key}: {error}")))?;
    write_whole(&dir.join(key.to_string()), &bytes).map_err(disk)
}
