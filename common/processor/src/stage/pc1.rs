//! PC1: tree-d where it is missing, the layers' labels, and the copy of the staged file that
//! PC2 encodes. By our own kernels (`pc1_own`) or by the proofs library; what is on disk of an
//! earlier run (`pc1_layers`) serves both.

use super::{
    cache_dir::{self, PC2_MARK, PC2_RUNNING, TREE_D},
    context::Context,
    parents,
    pc1_layers::{BOOT_ID, Layers, layer_count},
    pc1_own, tree_d,
    trouble::disk,
};
use crate::{
    disk::{WorkLock, create_anew, is_there, remove_if_there, sync, sync_parent},
    proofs::{comm_d, pieces, seal_proof},
    serve::TaskError,
    task::{Opaque, Pc1},
};
use crossbeam_channel::bounded;
use std::{io, path::Path, thread};

pub(super) fn run(task: &Pc1, context: &Context<'_>) -> Result<Opaque, TaskError> {
    let dir = &task.cache_path;
    let _lock: WorkLock = cache_dir::lock(dir)?;
    let size = task.registered_proof.size;
    let expected = comm_d(task.registered_proof, &task.piece_infos)?;
    let boot = Path::new(BOOT_ID);
    let total = layer_count(size);
    let layers = Layers::prepare(task, expected, boot, total, context.progress).map_err(disk)?;

    tree_d::ensure(&task.in_path, dir, size, expected, context)?;
    let parents = parents::ready(task.registered_proof, context.progress)?;
    create_anew(&task.out_path).map_err(disk)?;
    let output = match context.own_kernels() {
        Some(cpu) => pc1_own::run(task, expected, layers, parents, cpu, context)?,
        None => library(task, layers, context)?,
    };

    // The staged file was copied: whatever PC2 made of an older copy is void. A sign that a run
    // began is ours only beside a mark of ours; else the caller's to set and to take away.
    if is_there(&dir.join(PC2_MARK)).map_err(disk)? {
        remove_if_there(&dir.join(PC2_RUNNING))
            .and_then(|()| remove_if_there(&dir.join(PC2_MARK)))
            .map_err(disk)?;
    }
    sync(&dir.join(TREE_D))
        .and_then(|()| sync(&task.out_path))
        .and_then(|()| sync_parent(&task.out_path))
        .and_then(|()| sync(dir))
        .map_err(disk)?;
    Ok(output)
}

fn library(task: &Pc1, mut layers: Layers, context: &Context<'_>) -> Result<Opaque, TaskError> {
    context.filecoin_proofs_computes();
    layers.drop_part().map_err(disk)?;
    let (stop, stopped) = bounded::<()>(0);
    let watcher = thread::Builder::new()
        .name("layers".to_owned())
        .spawn(move || layers.watch(&stopped))
        .map_err(disk)?;
    let output = filecoin_proofs_api::seal::seal_pre_commit_phase1(
        seal_proof(task.registered_proof)?,
        &task.cache_path,
        &task.in_path,
        &task.out_path,
        task.prover_id,
        task.sector_id.into(),
        task.ticket,
        &pieces(&task.piece_infos)?,
    );
    drop(stop);
    let watched = watcher
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the layer watcher panicked")));
    let output = output?;
    watched.map_err(disk)?;
    Opaque::from_value(&output).map_err(TaskError::permanent)
}
