//! Memory for PC1's labels, two layers of each sector: how much of it may be had, of which
//! NUMA node and in which files. One task of a machine at a time looks and takes, because what
//! one has been granted and has not yet taken still looks free to the next.

use super::free_memory::{Shown, left, most, spare};
use crate::{
    disk::WorkLock,
    memory_files::MemoryFiles,
    numa,
    pin::{self, NUMA_ENV},
    serve::{Progress, TaskError},
};
use damocles_kernels::pc1::{Available, LANES, Memory};
use damocles_types::ByteSize;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Nodes that memory files are looked for on.
const NODES: u32 = 64;
/// How often it is tried again, while another PC1 takes its memory and while it is too little.
const SOON: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(2);
/// PC1 of others that hold the memory takes hours.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// How often the list of locks is read. It comes in pieces and each goes on by a count, so that a
/// lock that ends between two pieces hides another one; not three times, though.
const LOOKS: usize = 3;
/// More than the kernel gives at once.
const PIECE: usize = 64 << 10;

/// What is to be labelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) sector_bytes: u64,
    pub(super) sectors: usize,
}

/// What may be taken for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) available: Available,
    /// The node that all of it comes from.
    pub(super) node: Option<u32>,
    /// For a person.
    pub(super) note: Option<String>,
}

/// Not even one sector fits now: what it takes besides memory files, and what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the labels of a sector take {}, and {} may be taken", ByteSize(*.one), ByteSize(*.free))]
pub(super) struct TooLittle {
    one: u64,
    free: u64,
}

/// The node where this process lives: as its parent says, else where all its CPUs are.
pub(super) fn home(shown: &Shown) -> Option<u32> {
    named_node().or_else(|| numa::home(&shown.nodes, &pin::affinity().ok()?))
}

/// The node that the parent has named.
pub(super) fn named_node() -> Option<u32> {
    env::var(NUMA_ENV).ok()?.trim().parse().ok()
}

/// The memory files of a process at `home`: those of its node first. Where the parent has
/// named the node (`only`), no others.
pub(super) fn files(
    files: &MemoryFiles,
    home: Option<u32>,
    only: bool,
) -> (Vec<PathBuf>, Vec<String>) {
    let others = (0..NODES).filter(|node| !only && Some(*node) != home);
    let (mut found, mut trouble) = (Vec::new(), Vec::new());
    for node in home.into_iter().chain(others) {
        match files.list(node) {
            Ok(of_node) => found.extend(of_node),
            Err(error) => trouble.push(format!("memory files of node {node}: {error}")),
        }
    }
    if found.is_empty() {
        trouble.push("there are no memory files; labels are in ordinary memory".to_owned());
    }
    (found, trouble)
}

/// What the labels may take: what they need one by one, or more if half of what is free is
/// more, which lets them be made faster together.
pub(super) fn grant(
    shown: &Shown,
    need: Need,
    home: Option<u32>,
    files: &[PathBuf],
) -> Result<Grant, TooLittle> {
    let lengths = free_lengths(shown, files);
    let files_of = |bytes| lengths.iter().filter(|length| **length == bytes).count();
    let mut available = Available {
        bytes: None,
        files: files_of(need.sector_bytes),
        wide_files: files_of(need.sector_bytes * LANES as u64),
    };
    let Some(free) = left(shown).map(spare) else {
        return Ok(Grant {
            available,
            ..Grant::default()
        });
    };
    // besides what is in memory files
    let besides = |sectors: usize| {
        let pieces = (2 * sectors).saturating_sub(available.files);
        need.sector_bytes.saturating_mul(pieces as u64)
    };
    let (one, all) = (besides(1), besides(need.sectors));
    if free < one {
        return Err(TooLittle { one, free });
    }
    let mut bytes = all.max(free / 2).min(free);
    let of_node = home.and_then(|node| Some((node, spare(numa::available(&shown.nodes, node)?))));
    let (node, note) = match of_node {
        Some((node, of_node)) if of_node >= all => {
            bytes = bytes.min(of_node);
            (Some(node), None)
        }
        Some((node, of_node)) => {
            let note = format!(
                "NUMA node {node} can give {} of {} for labels; some come from other nodes",
                ByteSize(of_node),
                ByteSize(all)
            );
            (None, Some(note))
        }
        None => (None, None),
    };
    available.bytes = Some(bytes);
    Ok(Grant {
        available,
        node,
        note,
    })
}

/// That the machine could label a sector at all, were it idle.
pub(super) fn large_enough(
    shown: &Shown,
    sector_bytes: u64,
    files: &[PathBuf],
) -> Result<(), TaskError> {
    let of_size = |path: &&PathBuf| fs::metadata(path).is_ok_and(|m| m.len() == sector_bytes);
    let pieces = 2_usize.saturating_sub(files.iter().filter(of_size).count()) as u64;
    let one = sector_bytes * pieces;
    match most(shown) {
        Some(most) if spare(most) < one => Err(TaskError::permanent(format!(
            "the labels of a sector take {} of memory; this child could have {} at most",
            ByteSize(one),
            ByteSize(spare(most))
        ))
        .hint("seal sectors of this size on a machine with more memory, or raise the limit of the worker's cgroup (systemd: MemoryMax)")),
        _ => Ok(()),
    }
}

/// The memory of a child's labels, as the kernels ask for it.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) shown: Shown,
    pub(super) sector_bytes: u64,
    pub(super) home: Option<u32>,
    pub(super) files: Vec<PathBuf>,
    /// Held by whoever looks and takes.
    pub(super) lock: PathBuf,
    pub(super) progress: Progress,
    pub(super) held: Mutex<Option<WorkLock>>,
}

impl Claim {
    /// For a person who may have to do something: to the log in any case.
    fn warn(&self, text: &str) {
        tracing::warn!("{text}");
        self.progress.note(text);
    }

    /// Takes what there is, if it is enough.
    fn look(&self, sectors: usize) -> io::Result<Look> {
        let Some(lock) = WorkLock::try_take(&self.lock)? else {
            return Ok(Look::Busy);
        };
        let need = Need {
            sector_bytes: self.sector_bytes,
            sectors,
        };
        let grant = match grant(&self.shown, need, self.home, &self.files) {
            Ok(grant) => grant,
            Err(too_little) => return Ok(Look::TooLittle(too_little)),
        };
        if let Some(note) = &grant.note {
            self.warn(note);
        }
        if let Some(node) = grant.node
            && let Err(error) = pin::bind_memory(node)
        {
            self.warn(&format!(
                "labels are not bound to NUMA node {node}: {error}"
            ));
        }
        *self.held.lock() = Some(lock);
        Ok(Look::Granted(grant.available))
    }
}

/// What a look at the machine's memory gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Granted(Available),
    /// Another PC1 takes its memory just now: seconds at most.
    Busy,
    /// Somebody holds it, perhaps for hours.
    TooLittle(TooLittle),
}

impl Memory for Claim {
    fn ask(&self, sectors: usize) -> io::Result<Available> {
        let began = Instant::now();
        let mut warned = false;
        loop {
            let (pause, trouble) = match self.look(sectors)? {
                Look::Granted(available) => return Ok(available),
                Look::Busy => (SOON, "another PC1 takes its memory".to_owned()),
                Look::TooLittle(too_little) => (LOOK, too_little.to_string()),
            };
            let text = format!("waiting for memory: {trouble}");
            if began.elapsed() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
            }
            if !warned && pause == LOOK {
                self.warn(&text);
                warned = true;
            } else {
                self.progress.note(text);
            }
            thread::sleep(pause);
        }
    }

    fn taken(&self) {
        if let Err(error) = pin::prefer_memory(named_node()) {
            tracing::debug!("memory still comes from one NUMA node only: {error}");
        }
        *self.held.lock() = None;
    }
}

/// How long those of the files are that nobody has locked. Only looked at: to try the lock
/// would take the file from somebody who wants it just then.
fn free_lengths(shown: &Shown, files: &[PathBuf]) -> Vec<u64> {
    let list = shown.proc.join("locks");
    let locks = [(); LOOKS].map(|()| locks(&list).unwrap_or_default());
    let held: BTreeSet<&str> = locks
        .iter()
        .flat_map(|locks| locks.lines())
        .filter_map(|line| {
            line.split_whitespace()
                .find(|word| word.contains(':') && !word.ends_with(':'))
        })
        .collect();
    let free = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
        let name = format!("{major:02x}:{minor:02x}:{}", meta.ino());
        (!held.contains(name.as_str())).then_some(meta.len())
    };
    files.iter().filter_map(free).collect()
}

/// The kernel's list of locks, in as few pieces as it gives.
fn locks(list: &Path) -> io::Result<String> {
    let mut list = fs::File::open(list)?;
    let mut piece = vec![0; PIECE];
    let mut text = Vec::new();
    loop {
        let n = list.read(&mut piece)?;
        if n == 0 {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(&piece[..n]);
    }
}

#[cfg(test)]
#[path = "pc1_memory_tests.rs"]
mod tests;
