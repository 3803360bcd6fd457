//! Vectors in large pages, where there are any: who reads or writes elements in no order waits for the
//! memory, and with small pages once more for where their page is.

#![expect(unsafe_code, reason = "the system is told what memory is for")]

/// An empty vector for so many elements.
pub(crate) fn vector<T>(count: usize) -> Vec<T> {
    let mut vector = Vec::with_capacity(count);
    advise(&mut vector);
    vector
}

/// So many times the same.
pub(crate) fn filled<T: Clone>(count: usize, element: T) -> Vec<T> {
    let mut vector = vector(count);
    vector.resize(count, element);
    vector
}

/// Small pages do as well, only slower.
fn advise<T>(vector: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let spare = vector.spare_capacity_mut();
        let (begin, length) = (spare.as_mut_ptr().cast::<u8>(), size_of_val(spare));
        let skipped = begin.addr().next_multiple_of(PAGE) - begin.addr();
        let Some(whole) = length.checked_sub(skipped) else {
            return;
        };
        // SAFETY: nothing but pages of this vector, whose content stays as it is
        unsafe {
            libc::madvise(
                begin.wrapping_add(skipped).cast(),
                whole / PAGE * PAGE,
                libc::MADV_HUGEPAGE,
            );
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = vector;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_vectors_like_others() {
        for count in [0, 1, 1000, 3 << 20] {
            let mut vector = vector(count);
            let (capacity, place) = (vector.capacity(), vector.as_ptr());
            assert!(vector.is_empty() && capacity >= count);
            vector.extend(0..count as u32);
            assert_eq!((vector.capacity(), vector.as_ptr()), (capacity, place));
            assert!(vector.iter().copied().eq(0..count as u32));
            assert_eq!(filled(count, 7_u8), vec![7; count]);
        }
    }
}
