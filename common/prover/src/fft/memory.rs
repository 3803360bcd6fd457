//! Arrays of blocks: where a transform on lanes takes place.
#![expect(unsafe_code, reason = "a mapping as numbers")]

use damocles_kernels::field::loose::Block;
use memmap2::MmapMut;
use std::alloc::{Layout, handle_alloc_error};

/// Blocks in large pages where there are any: quarters of the array are walked through side by
/// side, and its results are written to 64 places at a time. They begin with a page, so no
/// register of theirs lies in two cache lines. 40 bytes per element.
#[derive(Debug)]
pub(super) struct Blocks(MmapMut);

impl Blocks {
    /// Zeros, which the system gives without their being written.
    pub(super) fn new(count: usize) -> Self {
        let bytes = count * size_of::<Block>();
        let map = MmapMut::map_anon(bytes).unwrap_or_else(|_| {
            // as for a vector: nothing can be done without memory
            handle_alloc_error(Layout::array::<Block>(count).unwrap_or(Layout::new::<Block>()))
        });
        // small pages do as well, only slower
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Self(map)
    }

    fn count(&self) -> usize {
        self.0.len() / size_of::<Block>()
    }

    pub(super) fn get(&self) -> &[Block] {
        // SAFETY: a mapping begins with a page, is that long and is borrowed with `self`; any
        // bytes are numbers
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.count()) }
    }

    pub(super) fn get_mut(&mut self) -> &mut [Block] {
        // SAFETY: as above, and nobody else borrows it
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.count()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_zeros() {
        for count in [1, 8, 1000] {
            let mut blocks = Blocks::new(count);
            assert_eq!(blocks.get(), vec![[[0; 8]; 5]; count]);
            assert_eq!(blocks.get_mut().as_ptr().addr() % 64, 0);
        }
    }
}
