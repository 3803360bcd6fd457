//! Memory for the labels of a layer: in as large pages as there are, because parents are
//! read all over it and each small page would cost a walk of the page tables.
//!
//! Files on hugetlbfs come first where the operator has made some: of exactly the size that is
//! asked for (a sector's, or sixteen times that), each locked by who uses it. Else anonymous
//! memory, for which transparent huge pages are asked, and which is taken at once, from the NUMA
//! nodes that the thread is to take it from.
#![expect(unsafe_code, reason = "a shared file as memory, and bytes as numbers")]

use super::label::Label;
use memmap2::{MmapMut, MmapOptions};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::PathBuf,
};

/// What cannot be had of memory, told with how much it is.
fn too_little(bytes: usize, error: &io::Error) -> io::Error {
    let text = format!(
        "{} MiB of memory for labels: {error}",
        bytes.div_ceil(1 << 20)
    );
    io::Error::new(io::ErrorKind::OutOfMemory, text)
}

/// Memory files, those to be taken first in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargePages {
    pub files: Vec<PathBuf>,
}

impl LargePages {
    /// Locks a file of exactly `bytes` that nobody uses.
    fn take(&self, bytes: u64) -> Option<File> {
        self.files.iter().find_map(|path| {
            let meta = fs::metadata(path).ok()?;
            if !meta.is_file() || meta.len() != bytes {
                return None;
            }
            let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
            let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            rustix::fs::flock(&file, lock).ok()?;
            Some(file)
        })
    }
}

/// Memory of a size that is a multiple of 64 bytes; its contents at first are anything.
#[derive(Debug)]
pub(super) struct Memory {
    map: MmapMut,
    /// Unlocked with the memory.
    file: Option<File>,
}

impl Memory {
    /// A memory file where one is free, else anonymous memory.
    pub(super) fn new(bytes: usize, large: &LargePages) -> io::Result<Self> {
        if let Some(file) = large.take(bytes as u64) {
            // SAFETY: the file is locked, and programs that use such files lock them; it is
            // nobody's data, only a name for memory.
            if let Ok(map) = unsafe { MmapOptions::new().len(bytes).map_mut(&file) } {
                let file = Some(file);
                return Ok(Self { map, file });
            }
        }
        let mut map = MmapMut::map_anon(bytes).map_err(|error| too_little(bytes, &error))?;
        // small pages do as well, only slower
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        populate(&mut map).map_err(|error| too_little(bytes, &error))?;
        Ok(Self { map, file: None })
    }

    /// Whether this is a memory file.
    pub(super) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn labels(&self) -> &[Label] {
        self.map.as_chunks().0
    }

    pub(super) fn labels_mut(&mut self) -> &mut [Label] {
        self.map.as_chunks_mut().0
    }

    /// The same as numbers of this machine, in groups of `N`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn words<const N: usize>(&self) -> &[[u32; N]] {
        // SAFETY: any four bytes are a number. A map begins at a page, so nothing is left
        // over at its beginning.
        let (_, words, _) = unsafe { self.map.align_to::<u32>() };
        words.as_chunks().0
    }

    /// The same, to be written.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn words_mut<const N: usize>(&mut self) -> &mut [[u32; N]] {
        // SAFETY: as in `words`, and any number is four bytes.
        let (_, words, _) = unsafe { self.map.align_to_mut::<u32>() };
        words.as_chunks_mut().0
    }
}

/// Has the memory taken now: the system picks its nodes by what is asked for now, and whoever
/// looks at the machine sees it as taken.
fn populate(map: &mut MmapMut) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the range is one map of ours, and this changes nothing that is in it.
        let done = unsafe {
            libc::madvise(
                map.as_mut_ptr().cast(),
                map.len(),
                libc::MADV_POPULATE_WRITE,
            )
        };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            _ if done == 0 => return Ok(()),
            Some(libc::ENOMEM | libc::EFAULT) => return Err(error),
            // Linux before 5.14
            _ => {}
        }
    }
    const SMALLEST_PAGE: usize = 4096;
    map.iter_mut()
        .step_by(SMALLEST_PAGE)
        .for_each(|byte| *byte = 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_had_is_told_with_its_size() {
        let error = Memory::new(1 << 48, &LargePages::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("268435456 MiB"), "{error}");
    }

    #[test]
    fn memory_files_are_used_by_one_at_a_time_and_only_of_the_right_size() {
        let dir = tempfile::tempdir().unwrap();
        let files = [("other", 4096), ("0", 2048), ("1", 2048)].map(|(name, bytes)| {
            let path = dir.path().join(name);
            fs::write(&path, vec![0; bytes]).unwrap();
            path
        });
        let ours = LargePages {
            files: files.to_vec(),
        };
        let mut first = Memory::new(2048, &ours).unwrap();
        let second = Memory::new(2048, &ours).unwrap();
        let third = Memory::new(2048, &ours).unwrap();
        assert_eq!(
            [first.is_file(), second.is_file(), third.is_file()],
            [true, true, false]
        );
        first.labels_mut()[63] = [7; 32];
        assert_eq!(first.words::<8>()[63], [0x0707_0707; 8]);
        assert_eq!((third.labels().len(), third.labels()[0]), (64, [0; 32]));
        drop(second);
        assert!(Memory::new(2048, &ours).unwrap().is_file());
    }
}
