//! PC2, and that it can run twice. A run that was killed leaves a sealed file that is partly
//! encoded; a mark says whether a run began and whether it ended. Our own kernel reads the
//! data from the staged file and writes the sealed one anew, so that it does not care. The
//! library encodes in place and must not start from such a file: it is made again from the
//! staged one first. Without a staged file both encode in place, once.

use super::{
    cache_dir::{self, PC2_MARK, PC2_RUNNING, pc2_files},
    context::Context,
    disk,
    pc2_kernel::{self, NO_STAGED_FILE},
};
use crate::{
    disk::{at, put, remove_if_there, sibling, sync, sync_parent, write_whole},
    serve::TaskError,
    task::{Pc2, Pc2Output},
};
use damocles_types::{Commitment, SealProof};
use filecoin_proofs_api::seal::{SealPreCommitPhase1Output, seal_pre_commit_phase2};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Of which PC1 output.
    pc1: String,
    /// Absent while the stage runs.
    done: Option<Done>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    output: Pc2Output,
    sealed: Stamp,
    /// Lengths of the trees and the auxiliary files.
    files: BTreeMap<String, u64>,
}

/// Tells a file from any later one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inode: u64,
    length: u64,
    mtime: (i64, i64),
}

pub(super) fn run(task: &Pc2, context: &Context<'_>) -> Result<Pc2Output, TaskError> {
    let dir = &task.cache_dir;
    let _lock = cache_dir::lock(dir)?;
    let pc1out: SealPreCommitPhase1Output = task
        .pc1out
        .parse()
        .map_err(|error| TaskError::permanent(format!("this is no output of PC1: {error}")))?;
    let proof =
        SealProof::from_name(&format!("{:?}", pc1out.registered_proof)).ok_or_else(|| {
            TaskError::permanent(format!("unknown proof {:?}", pc1out.registered_proof))
        })?;
    let cpu = context.own_kernels();
    let digest = blake2b_simd::blake2b(task.pc1out.text().as_bytes()).to_hex()[..32].to_owned();
    let path = dir.join(PC2_MARK);
    if let Some(staged) = &task.staged_file {
        let old: Option<Mark> = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(output) = finished(task, &digest, old.as_ref()).map_err(disk)? {
            tracing::info!("an earlier run has finished; its answer is given again");
            // it may have been killed before it could take its sign away
            remove_if_there(&dir.join(PC2_RUNNING)).map_err(disk)?;
            return Ok(output);
        }
        // No mark: the file is as PC1 left it.
        if cpu.is_none() && (old.is_some() || dir.join(PC2_RUNNING).exists()) {
            context.note("making the sealed file again from the staged one");
            remake(staged, &task.sealed_file, proof.size.bytes())?;
        }
        let running = Mark {
            pc1: digest.clone(),
            done: None,
        };
        // also for other people's programs, which know no mark of ours: the worker lets none
        // of them begin with a file that somebody has begun to encode
        store(&path, &running)
            .and_then(|()| write_whole(&dir.join(PC2_RUNNING), b""))
            .map_err(disk)?;
    } else {
        // The caller answers for the sealed file; a mark of ours would lie about it.
        remove_if_there(&path).map_err(disk)?;
    }

    // The library takes half a tree of an earlier run for a whole one.
    let leftovers = pc2_files(dir).map_err(disk)?;
    cache_dir::remove(dir, &leftovers).map_err(disk)?;

    let output = match cpu {
        Some(cpu) => pc2_kernel::run(task, &pc1out, proof, cpu, context)?,
        None => library(task, pc1out, proof, context)?,
    };

    let made = sync_all(task).map_err(disk)?;
    if task.staged_file.is_some() {
        let done = Done {
            output,
            sealed: stamp(&task.sealed_file).map_err(disk)?,
            files: made,
        };
        let mark = Mark {
            pc1: digest,
            done: Some(done),
        };
        store(&path, &mark).map_err(disk)?;
    }
    remove_if_there(&dir.join(PC2_RUNNING)).map_err(disk)?;
    Ok(output)
}

fn library(
    task: &Pc2,
    pc1out: SealPreCommitPhase1Output,
    registered_proof: SealProof,
    context: &Context<'_>,
) -> Result<Pc2Output, TaskError> {
    let comm_d = pc1out.comm_d;
    context.filecoin_proofs_computes();
    context.note("building trees");
    let output = seal_pre_commit_phase2(pc1out, &task.cache_dir, &task.sealed_file)?;
    if output.comm_d != comm_d {
        return Err(TaskError::permanent("PC2 found another CommD than PC1"));
    }
    Ok(Pc2Output {
        registered_proof,
        comm_r: Commitment(output.comm_r),
        comm_d: Commitment(output.comm_d),
    })
}

fn store(path: &Path, mark: &Mark) -> io::Result<()> {
    write_whole(path, &serde_json::to_vec(mark).map_err(io::Error::other)?)
}

/// The output of an earlier run whose files are all there, untouched.
fn finished(task: &Pc2, pc1: &str, mark: Option<&Mark>) -> io::Result<Option<Pc2Output>> {
    let Some(done) = mark
        .filter(|mark| mark.pc1 == pc1)
        .and_then(|mark| mark.done.as_ref())
    else {
        return Ok(None);
    };
    let same = stamp(&task.sealed_file).is_ok_and(|stamp| stamp == done.sealed)
        && lengths(&task.cache_dir)? == done.files;
    Ok(same.then_some(done.output))
}

fn lengths(dir: &Path) -> io::Result<BTreeMap<String, u64>> {
    pc2_files(dir)?
        .into_iter()
        .map(|name| {
            let path = dir.join(&name);
            Ok((name, fs::metadata(&path).map_err(at(&path))?.len()))
        })
        .collect()
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path).map_err(at(path))?;
    Ok(Stamp {
        inode: meta.ino(),
        length: meta.len(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
    })
}

fn sync_all(task: &Pc2) -> io::Result<BTreeMap<String, u64>> {
    let made = lengths(&task.cache_dir)?;
    made.keys()
        .try_for_each(|name| sync(&task.cache_dir.join(name)))?;
    sync(&task.cache_dir)?;
    sync(&task.sealed_file)?;
    sync_parent(&task.sealed_file)?;
    Ok(made)
}

/// A fresh copy of the staged data in place of the sealed file.
fn remake(staged: &Path, sealed: &Path, size: u64) -> Result<(), TaskError> {
    let part = sibling(sealed, "part").map_err(disk)?;
    remove_if_there(&part).map_err(disk)?;
    fs::copy(staged, &part).map_err(|error| {
        TaskError::permanent(format!("{}: {error}", staged.display())).hint(NO_STAGED_FILE)
    })?;
    let file = File::options()
        .write(true)
        .open(&part)
        .map_err(at(&part))
        .map_err(disk)?;
    file.set_len(size)
        .and_then(|()| file.sync_all())
        .map_err(at(&part))
        .map_err(disk)?;
    put(&part, sealed).map_err(disk)
}
