//! PC1. Finished layers of the same replica are kept whatever happens; a layer that may be
//! half on disk is not trusted. To know which is which, a mark lies beside the layers: what
//! they are layers of, in which boot they were written, and which are synced.

use super::{
    cache_dir::{self, PC1_MARK, PC2_MARK, PC2_RUNNING, TREE_D, layer_number},
    context::Context,
    disk, parents, tree_d,
};
use crate::{
    disk::{WorkLock, at, remove_if_there, sync, sync_parent, write_whole},
    proofs::{comm_d, pieces, seal_proof},
    serve::{Progress, TaskError},
    task::{Opaque, Pc1},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use damocles_types::Commitment;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// How often the directory is looked at for a new layer.
const LOOK: Duration = Duration::from_millis(500);
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    replica: ReplicaId,
    boot: String,
    synced: BTreeSet<String>,
}

/// All that the labels depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReplicaId {
    proof: String,
    prover_id: [u8; 32],
    sector: u64,
    ticket: [u8; 32],
    comm_d: Commitment,
}

pub(super) fn run(task: &Pc1, context: &Context<'_>) -> Result<Opaque, TaskError> {
    let dir = &task.cache_path;
    let _lock: WorkLock = cache_dir::lock(dir)?;
    let size = task.registered_proof.size;
    let expected = comm_d(task.registered_proof, &task.piece_infos)?;
    let mark = prepare_layers(task, expected, Path::new(BOOT_ID)).map_err(disk)?;

    if tree_d::root(dir, size).map_err(disk)? != Some(expected) {
        context.note("building tree-d");
        let built = tree_d::build(&task.in_path, dir, size)?;
        if built != expected {
            return Err(TaskError::permanent(format!(
                "the data in {} has CommD {built}; its pieces make {expected}",
                task.in_path.display()
            ))
            .hint("the staged file is not that of these pieces; run add_pieces again"));
        }
    }
    parents::ready(task.registered_proof, context.progress)?;
    context.filecoin_proofs_computes();
    make_file(&task.out_path).map_err(disk)?;

    let (stop, stopped) = bounded::<()>(0);
    let watcher = Layers {
        dir: dir.clone(),
        mark,
        total: layer_count(size),
        progress: context.progress.clone(),
    };
    let watcher = thread::Builder::new()
        .name("layers".to_owned())
        .spawn(move || watcher.watch(&stopped))
        .map_err(disk)?;
    let output = filecoin_proofs_api::seal::seal_pre_commit_phase1(
        seal_proof(task.registered_proof)?,
        dir,
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

    // The library copied the staged file: whatever PC2 made of an older copy is void.
    for mark in [PC2_MARK, PC2_RUNNING] {
        remove_if_there(&dir.join(mark)).map_err(disk)?;
    }
    sync(&dir.join(TREE_D))
        .and_then(|()| sync(&task.out_path))
        .and_then(|()| sync_parent(&task.out_path))
        .and_then(|()| sync(dir))
        .map_err(disk)?;
    Opaque::from_value(&output).map_err(TaskError::permanent)
}

/// Removes what is not a finished layer of this replica and writes the mark for this run.
fn prepare_layers(task: &Pc1, comm_d: Commitment, boot_id: &Path) -> io::Result<Mark> {
    let dir = &task.cache_path;
    let replica = ReplicaId {
        proof: task.registered_proof.name(),
        prover_id: task.prover_id,
        sector: task.sector_id,
        ticket: task.ticket,
        comm_d,
    };
    // an unknown boot is never the same as another
    let boot = fs::read_to_string(boot_id)
        .map(|id| id.trim().to_owned())
        .unwrap_or_default();
    let path = dir.join(PC1_MARK);
    let old: Option<Mark> = fs::read(&path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let size = task.registered_proof.size.bytes();
    let mut kept = BTreeSet::new();
    for name in cache_dir::layers(dir)? {
        let file = dir.join(&name);
        let whole = layer_number(&name).is_some()
            && fs::metadata(&file).is_ok_and(|meta| meta.len() == size);
        let trusted = old.as_ref().is_some_and(|old| {
            old.replica == replica
                && (old.synced.contains(&name) || (!boot.is_empty() && old.boot == boot))
        });
        if whole && trusted {
            kept.insert(name);
        } else {
            tracing::info!(
                "{} is not a finished layer of this replica and is removed",
                file.display()
            );
            remove_if_there(&file)?;
        }
    }
    if !kept.is_empty() {
        tracing::info!("{} finished layers are kept", kept.len());
    }
    let synced = old.map(|old| old.synced).unwrap_or_default();
    let mark = Mark {
        replica,
        boot,
        synced: synced.intersection(&kept).cloned().collect(),
    };
    store(&path, &mark)?;
    Ok(mark)
}

fn store(path: &Path, mark: &Mark) -> io::Result<()> {
    write_whole(path, &serde_json::to_vec(mark).map_err(io::Error::other)?)
}

/// The file must exist; a link is replaced, so that nothing is encoded through it.
fn make_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    remove_if_there(path)?;
    File::create_new(path).map(|_| ()).map_err(at(path))
}

fn layer_count(size: damocles_types::SectorSize) -> Option<usize> {
    filecoin_proofs::constants::LAYERS
        .read()
        .ok()?
        .get(&size.bytes())
        .copied()
}

/// Syncs each layer when it is finished and notes it, while the next one is computed.
struct Layers {
    dir: PathBuf,
    mark: Mark,
    total: Option<usize>,
    progress: Progress,
}

impl Layers {
    fn watch(mut self, stopped: &Receiver<()>) -> io::Result<()> {
        loop {
            let last = stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected);
            self.look()?;
            if last {
                return Ok(());
            }
        }
    }

    fn look(&mut self) -> io::Result<()> {
        let mut new = false;
        for name in cache_dir::layers(&self.dir)? {
            let Some(number) = layer_number(&name).filter(|_| !self.mark.synced.contains(&name))
            else {
                continue;
            };
            sync(&self.dir.join(&name))?;
            match self.total {
                Some(total) => self.progress.note(format!("layer {number} of {total}")),
                None => self.progress.note(format!("layer {number}")),
            }
            self.mark.synced.insert(name);
            new = true;
        }
        if new {
            sync(&self.dir)?;
            store(&self.dir.join(PC1_MARK), &self.mark)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "pc1_tests.rs"]
mod tests;
