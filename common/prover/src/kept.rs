//! Numbers that lie in this process's memory, or in a file that is mapped into it and shared with
//! all who map it.

#![expect(unsafe_code, reason = "bytes of a file are taken for numbers")]

use memmap2::Mmap;
use std::{fs::File, io, marker::PhantomData, ops::Deref, sync::Arc};

/// Maps a file to be read.
pub(crate) fn map(file: &File) -> io::Result<Arc<Mmap>> {
    // SAFETY: nobody writes to a file of ours that has its name: a new one is written elsewhere and
    // takes the name, while this one stays as it is for those who have mapped it
    let map = unsafe { Mmap::map(file)? };
    // points are read in no order; where the file has large pages in the cache, they are mapped as such
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(Arc::new(map))
}

/// What bytes of a file may be taken for.
///
/// # Safety
/// Any bytes are a value, and there is none between its fields.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: a number
unsafe impl Plain for u32 {}

/// A row of numbers.
#[derive(Debug)]
pub(crate) enum Kept<T> {
    Here(Vec<T>),
    Mapped(Mapped<T>),
}

/// A part of a mapped file, checked for bounds and alignment.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    map: Arc<Mmap>,
    begin: usize,
    count: usize,
    of: PhantomData<T>,
}

/// Some bytes of a mapped file.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) map: &'a Arc<Mmap>,
    pub(crate) begin: usize,
    pub(crate) length: usize,
}

impl Section<'_> {
    /// None where the file is shorter.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.map
            .get(self.begin..self.begin.checked_add(self.length)?)
    }

    /// None where the file is shorter, or where its bytes are not those of whole numbers in their
    /// place.
    pub(crate) fn numbers<T: Plain>(&self) -> Option<Mapped<T>> {
        let (bytes, length) = (self.bytes()?, self.length);
        let whole = length.is_multiple_of(size_of::<T>());
        let in_place = bytes.as_ptr().addr().is_multiple_of(align_of::<T>());
        (whole && in_place).then(|| Mapped {
            map: Arc::clone(self.map),
            begin: self.begin,
            count: length / size_of::<T>(),
            of: PhantomData,
        })
    }
}

impl<T: Plain> Deref for Kept<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Here(numbers) => numbers,
            Self::Mapped(mapped) => {
                let begin = mapped.map[mapped.begin..].as_ptr();
                // SAFETY: so many lie there and in their place, as `Section::numbers` has seen; any bytes are
                // numbers (`Plain`); the mapping lives as long as this and is never written to
                unsafe { std::slice::from_raw_parts(begin.cast(), mapped.count) }
            }
        }
    }
}

/// The bytes of numbers, for a file.
pub(crate) fn bytes<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: the same memory, in which no byte lies between numbers (`Plain`)
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
