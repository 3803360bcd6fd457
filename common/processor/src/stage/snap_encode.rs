//! SnapEncode: deals go into a sealed sector of committed capacity. The old sector is only
//! read; everything new is made from it again, so that the stage can run twice.

use super::{
    aux_files,
    cache_dir::{self, pc2_files},
    context::Context,
    tree_d,
    trouble::disk,
};
use crate::{
    disk::{at, create_anew, sync, sync_parent},
    proofs::{comm_d, pieces, update_proof},
    serve::TaskError,
    task::{SnapEncode, SnapEncodeOutput},
};
use damocles_kernels::{
    cpu::Cpu,
    poseidon,
    snap::{self, Error, Job, Options},
    tree::FileError,
};
use damocles_types::{Commitment, SealProof};
use filecoin_proofs::{
    DefaultPieceHasher, DefaultTreeDomain, PersistentAux, SectorShapeBase, TemporaryAux,
};
use filecoin_proofs_api::update::empty_sector_update_encode_into;
use storage_proofs_core::cache_key::CacheKey;

/// Nothing in it is of the tree's type, so that one type serves all sector sizes.
type OldTrees = TemporaryAux<SectorShapeBase, DefaultPieceHasher>;

pub(super) fn run(task: &SnapEncode, context: &Context<'_>) -> Result<SnapEncodeOutput, TaskError> {
    let dir = &task.new_cache_path;
    let _lock = cache_dir::lock(dir)?;
    let size = task.registered_proof;
    let comm_d_new = comm_d(SealProof::interactive(size), &task.piece_infos)?;
    // the library would encode as much as there is
    for path in [&task.sector_path, &task.staged_data_path] {
        tree_d::check_length(path, size)?;
    }
    tree_d::ensure(&task.staged_data_path, dir, size, comm_d_new, context)?;
    // The library takes half a tree of an earlier run for a whole one.
    let leftovers = pc2_files(dir).map_err(disk)?;
    cache_dir::remove(dir, &leftovers).map_err(disk)?;
    let replica = &task.new_replica_path;
    create_anew(replica)
        .and_then(|file| file.set_len(size.bytes()).map_err(at(replica)))
        .map_err(disk)?;

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
    let mut p_aux: PersistentAux<DefaultTreeDomain> = aux_files::read(old, CacheKey::PAux)?;
    let mut t_aux: OldTrees = aux_files::read(old, CacheKey::TAux)?;
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
    context.computes(poseidon::code(cpu));
    let roots = snap::run(
        &job,
        &Options::new(cpu),
        &context.percents("encoding", size),
    )
    .map_err(|error| match error {
        Error::File(FileError::Io { .. }) | Error::Cancelled => TaskError::temporary(error),
        _ => TaskError::permanent(error),
    })?;
    p_aux.comm_r_last = DefaultTreeDomain::from(roots.comm_r_last);
    // the library leaves the old directory in it and puts the right one in whenever it reads it
    t_aux.set_cache_path(old);
    aux_files::write(dir, CacheKey::PAux, &p_aux)?;
    aux_files::write(dir, CacheKey::TAux, &t_aux)?;
    Ok(SnapEncodeOutput {
        comm_r_new: Commitment(roots.comm_r),
        comm_r_last_new: Commitment(roots.comm_r_last),
        comm_d_new,
    })
}
