//! Moves finished files into a store so that the store never shows half a file: copied under
//! a temporary name, synced, read back and compared, then renamed. Running it again finds
//! the finished file and leaves it. The source stays; removing it is the caller's business.

use crate::{
    disk::{advice, at, make_dirs, put, remove_if_there, sibling, sync, sync_parent},
    serve::{Progress, TaskError},
    task::{Transfer, TransferRoute},
};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

const BLOCK: usize = 1 << 20;
/// After so many bytes it is told how far a file is.
const TELL_EVERY: u64 = 1 << 30;
/// Suffix of what is not finished. Safe to delete when nothing runs.
const PART: &str = "part";

/// Turns symbolic links off for this processor, whatever a route allows (upstream's
/// `--disable-link` and `DISABLE_LINK`).
pub const DISABLE_LINK_ENV: &str = "DISABLE_LINK";

/// Carries out all routes in order; by symbolic links only where `links` says so as well.
pub fn run(task: &Transfer, links: bool, progress: &Progress) -> Result<bool, TaskError> {
    let links = links && std::env::var_os(DISABLE_LINK_ENV).is_none();
    for (i, route) in task.routes.iter().enumerate() {
        progress.note(format!(
            "{} of {}: {}",
            i + 1,
            task.routes.len(),
            route.dest.uri.display()
        ));
        carry(route, links, progress).map_err(|error| of_store(error, route))?;
    }
    Ok(true)
}

/// An error's path alone does not tell an operator which of his stores it is.
fn of_store(error: TaskError, route: &TransferRoute) -> TaskError {
    let store = [&route.dest, &route.src]
        .into_iter()
        .find_map(|end| end.store_name.as_deref());
    match store {
        Some(store) => TaskError {
            message: format!("store {store}: {}", error.message),
            ..error
        },
        None => error,
    }
}

fn carry(route: &TransferRoute, links: bool, progress: &Progress) -> Result<(), TaskError> {
    let (src, dest) = (&route.src.uri, &route.dest.uri);
    for path in [src, dest] {
        if !path.is_absolute() {
            return Err(TaskError::permanent(format!(
                "{} is not an absolute path",
                path.display()
            )));
        }
    }
    let meta = fs::metadata(src).map_err(|error| source_error(src, error))?;
    let parent = dest.parent().ok_or_else(|| {
        TaskError::permanent(format!("{} cannot be a destination", dest.display()))
    })?;
    make_dirs(parent).map_err(temporary)?;

    if links && route.opt.is_some_and(|opt| opt.allow_link) {
        return link(src, dest).map_err(temporary);
    }
    if meta.is_dir() {
        copy_dir(src, dest, progress)
    } else {
        copy_file(src, &meta, dest, progress)
    }
}

/// Anything that goes wrong with the disks and networks below is worth another try.
fn temporary(error: io::Error) -> TaskError {
    TaskError {
        hint: advice(&error),
        ..TaskError::temporary(error)
    }
}

/// What is at a path, itself; none when nothing is. What cannot be looked at is an error: it
/// may well be there.
fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn source_error(src: &Path, error: io::Error) -> TaskError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            TaskError::permanent(at(src)(error)).hint("the file to be moved is not there")
        }
        _ => temporary(at(src)(error)),
    }
}

fn link(src: &Path, dest: &Path) -> io::Result<()> {
    if fs::read_link(dest).is_ok_and(|target| target == src) {
        return Ok(());
    }
    refuse_other_kind(dest, false)?;
    let part = sibling(dest, PART)?;
    remove_if_there(&part)?;
    std::os::unix::fs::symlink(src, &part).map_err(at(&part))?;
    put(&part, dest)
}

/// A destination of the other kind is somebody else's and is left alone. Symbolic links,
/// dangling ones too, are looked at themselves and never written through.
fn refuse_other_kind(dest: &Path, is_dir: bool) -> io::Result<()> {
    match look(dest)? {
        Some(meta) if !meta.is_symlink() && meta.is_dir() != is_dir => {
            let there = if is_dir { "a file" } else { "a directory" };
            let path = dest.display();
            Err(io::Error::other(format!("{path} is {there} already")))
        }
        _ => Ok(()),
    }
}

fn copy_file(
    src: &Path,
    meta: &Metadata,
    dest: &Path,
    progress: &Progress,
) -> Result<(), TaskError> {
    refuse_other_kind(dest, false).map_err(TaskError::permanent)?;
    let there = look(dest).map_err(temporary)?;
    if there.as_ref().is_some_and(|there| same_place(meta, there)) {
        return Ok(());
    }
    let there = there.filter(|m| m.is_file() && m.len() == meta.len());
    if there.is_some() && digest(dest).map_err(temporary)? == digest(src).map_err(temporary)? {
        // finished by an earlier run that may not have got to syncing
        sync(dest)
            .and_then(|()| sync_parent(dest))
            .map_err(temporary)?;
        return Ok(());
    }
    let part = sibling(dest, PART).map_err(temporary)?;
    let copied = copy_verified(src, &part, progress);
    if copied.is_err() {
        // a full disk must not stay full of half a file
        let _ = remove_if_there(&part);
    }
    copied?;
    put(&part, dest).map_err(temporary)
}

/// The destination is the source itself by another name.
fn same_place(meta: &Metadata, there: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (there.dev(), there.ino()) == (meta.dev(), meta.ino())
}

fn copy_verified(src: &Path, part: &Path, progress: &Progress) -> Result<(), TaskError> {
    remove_if_there(part).map_err(temporary)?;
    let mut from = File::open(src).map_err(|error| source_error(src, error))?;
    let mut to = File::create_new(part)
        .map_err(at(part))
        .map_err(temporary)?;
    let mut hash = blake2b_simd::State::new();
    let mut block = vec![0; BLOCK];
    let mut told = 0;
    let mut done: u64 = 0;
    loop {
        let n = read_some(&mut from, &mut block)
            .map_err(at(src))
            .map_err(temporary)?;
        if n == 0 {
            break;
        }
        hash.update(&block[..n]);
        to.write_all(&block[..n])
            .map_err(at(part))
            .map_err(temporary)?;
        done += n as u64;
        // a file server that hangs is known by this going silent
        if done / TELL_EVERY > told {
            told = done / TELL_EVERY;
            progress.note(format!("{told} GiB of {}", src.display()));
        }
    }
    to.sync_all().map_err(at(part)).map_err(temporary)?;
    // What is still in the page cache proves nothing about the disk or the file server.
    let _ = rustix::fs::fadvise(&to, 0, None, rustix::fs::Advice::DontNeed);
    drop(to);
    if digest(part).map_err(temporary)? != hash.finalize() {
        return Err(TaskError::temporary(format!(
            "{} reads back differently from {}",
            part.display(),
            src.display()
        ))
        .hint("the destination's disk or network damages data; check it before going on"));
    }
    Ok(())
}

fn read_some(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn digest(path: &Path) -> io::Result<blake2b_simd::Hash> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut hash = blake2b_simd::State::new();
    let mut block = vec![0; BLOCK];
    loop {
        let n = read_some(&mut file, &mut block).map_err(at(path))?;
        if n == 0 {
            return Ok(hash.finalize());
        }
        hash.update(&block[..n]);
    }
}

/// A directory is brought file by file into the place itself, each file whole or not at all,
/// so that a second run goes on where the first was stopped. Files that only the destination
/// has are removed at the end: the two are equal then.
fn copy_dir(src: &Path, dest: &Path, progress: &Progress) -> Result<(), TaskError> {
    refuse_other_kind(dest, true).map_err(TaskError::permanent)?;
    if look(dest)
        .map_err(temporary)?
        .is_some_and(|meta| meta.is_symlink())
    {
        remove_if_there(dest).map_err(temporary)?;
    }
    match fs::create_dir(dest) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(temporary(at(dest)(error)));
        }
        _ => {}
    }
    let names = |dir: &Path| -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)
            .map_err(at(dir))?
            .map(|e| e.map(|e| PathBuf::from(e.file_name())))
            .collect()
    };
    let wanted = names(src).map_err(temporary)?;
    for name in &wanted {
        let (from, to) = (src.join(name), dest.join(name));
        let meta = fs::metadata(&from).map_err(|error| source_error(&from, error))?;
        if meta.is_dir() {
            copy_dir(&from, &to, progress)?;
        } else {
            copy_file(&from, &meta, &to, progress)?;
        }
    }
    for name in names(dest).map_err(temporary)? {
        if !wanted.contains(&name) {
            let extra = dest.join(name);
            let is_dir = look(&extra)
                .map_err(temporary)?
                .is_some_and(|meta| meta.is_dir());
            let removed = if is_dir {
                fs::remove_dir_all(&extra)
            } else {
                fs::remove_file(&extra)
            };
            removed.map_err(at(&extra)).map_err(temporary)?;
        }
    }
    sync(dest)
        .and_then(|()| sync_parent(dest))
        .map_err(temporary)
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
