//! Numbers that are overwritten before their memory goes to anybody else.

use std::{
    hint::black_box,
    ops::{Deref, DerefMut},
};

/// A vector that is overwritten when it is dropped. It must not grow: what it has been moved
/// out of stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Wiped<T: Copy + Default>(Vec<T>);

impl<T: Copy + Default> Wiped<T> {
    /// Empty, for so many numbers.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// So many zeros.
    pub(crate) fn zeros(count: usize) -> Self {
        Self(vec![T::default(); count])
    }
}

impl<T: Copy + Default> Deref for Wiped<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Copy + Default> DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: Copy + Default> Drop for Wiped<T> {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites numbers, those that were there before a vector was emptied too.
pub(crate) fn wipe<T: Copy + Default>(numbers: &mut Vec<T>) {
    numbers.clear();
    numbers.resize(numbers.capacity(), T::default());
    // as far as the compiler knows, somebody reads what was written
    black_box(numbers.as_slice());
    numbers.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_ever_there_is_overwritten() {
        let mut numbers = vec![7_u32; 100];
        numbers.truncate(3);
        let (place, capacity) = (numbers.as_ptr(), numbers.capacity());
        wipe(&mut numbers);
        assert!(numbers.is_empty());
        // the same memory, and all of it zero: growing to its capacity moves nothing
        numbers.resize(capacity, 0);
        assert_eq!((numbers.as_ptr(), numbers.capacity()), (place, capacity));
        let wiped: Wiped<u32> = Wiped::zeros(5);
        assert_eq!(*wiped, [0; 5]);
    }
}
