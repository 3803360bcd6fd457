//! PC2, and that it can run twice. A run that was killed leaves a sealed file that is partly
//! encoded; a mark says whether a run began and whether it ended. Our own kernel reads the
//! data from the staged file and writes the sealed one anew, so that it does not care. The
//! library encodes in place and must not start from such a file: it is made again from the
//! staged one first. Without a staged file both encode in place, once.

use super::{
    cache_dir::{self, PC2_MARK, PC2_RUNNING, pc2_files},
    context::Context,
    pc2_kernel::{self, NO_STAGED_FILE},
    trouble::disk,
};
use crate::{
    disk::{at, is_there, put, remove_if_there, sibling, sync, sync_parent, write_whole},
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
        let old = earlier(&path).map_err(disk)?;
        if let Some(output) = finished(task, &digest, &old).map_err(disk)? {
            tracing::info!("an earlier run has finished; its answer is given again");
            // it may have been killed before it could take its sign away
            remove_if_there(&dir.join(PC2_RUNNING)).map_err(disk)?;
            return Ok(output);
        }
        // No mark: the file is as PC1 left it.
        let begun = old != Earlier::None || is_there(&dir.join(PC2_RUNNING)).map_err(disk)?;
        if cpu.is_none() && begun {
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
        // The caller answers for the sealed file, and the sign of a run that began is his to set
        // and to take away: upstream's worker does both. A mark of ours would lie.
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
        remove_if_there(&dir.join(PC2_RUNNING)).map_err(disk)?;
    }
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

/// What an earlier run left to this one.
#[derive(Debug, PartialEq, Eq)]
enum Earlier {
    None,
    /// It began; nobody can tell more.
    Unknown,
    Known(Mark),
}

/// A mark that cannot be read is no missing one: the sealed file may be encoded already.
fn earlier(path: &Path) -> io::Result<Earlier> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).map_or(Earlier::Unknown, Earlier::Known)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Earlier::None),
        Err(error) => Err(at(path)(error)),
    }
}

fn store(path: &Path, mark: &Mark) -> io::Result<()> {
    write_whole(path, &serde_json::to_vec(mark).map_err(io::Error::other)?)
}

/// The output of an earlier run whose files are all there, untouched.
fn finished(task: &Pc2, pc1: &str, earlier: &Earlier) -> io::Result<Option<Pc2Output>> {
    let Earlier::Known(Mark {
        pc1: of,
        done: Some(done),
    }) = earlier
    else {
        return Ok(None);
    };
    let same = of == pc1
        && is_there(&task.sealed_file)?
        && stamp(&task.sealed_file)? == done.sealed
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
    if !is_there(staged).map_err(disk)? {
        let text = format!("{} is not there", staged.display());
        return Err(TaskError::permanent(text).hint(NO_STAGED_FILE));
    }
    fs::copy(staged, &part).map_err(at(&part)).map_err(disk)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_cannot_be_read_is_not_taken_for_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PC2_MARK);
        assert_eq!(earlier(&path).unwrap(), Earlier::None);
        fs::write(&path, b"{\"pc1\":").unwrap();
        assert_eq!(earlier(&path).unwrap(), Earlier::Unknown);
        fs::remove_file(&path).unwrap();
        // reading a directory fails, as a disk does, but not with "not found"
        fs::create_dir(&path).unwrap();
        let error = earlier(&path).unwrap_err();
        assert!(error.to_string().contains(PC2_MARK), "{error}");
    }
}
