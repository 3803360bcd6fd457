//! The table of a point, and how its multiples are put together from it, whatever points are made
//! of.

use crate::{
    large,
    multiexp::digits::{NEGATIVE, Windows},
    run::Run,
    wiped::Wiped,
};
use damocles_kernels::{
    crew::{Cancelled, share},
    field::limbs::Words,
};
use group::{Curve, Group};
use std::ops::Range;

/// Multiples that a thread makes at a time: their digits' points and sums stay in the second cache.
const TOGETHER: usize = 1024;

/// How points are added and written.
pub(super) trait Code: Sync {
    type Group: Curve;
    /// An entry of the table.
    type Point: Copy + Send + Sync;
    /// Memory of one thread.
    type Adder;
    /// Bytes of a point in a file of parameters.
    const BYTES: usize;
    /// For runs of up to so many points together.
    fn adder(most: usize) -> Self::Adder;
    /// Entries for points, none of them at infinity.
    fn entries(points: &[<Self::Group as Curve>::AffineRepr]) -> Vec<Self::Point>;
    /// The sums of runs of entries; none of them is infinity. They are fit to be written.
    fn sums<'a>(
        adder: &'a mut Self::Adder,
        entries: &[Self::Point],
        indices: &[u32],
        lengths: &mut [u32],
    ) -> &'a [Self::Point];
    /// Makes entries of sums.
    fn reduce(sums: &[Self::Point], entries: &mut [Self::Point]);
    /// Writes sums as bellperson does: uncompressed, big end first.
    fn write(sums: &[Self::Point], bytes: &mut [u8]);
}

/// The table of a point B.
pub(super) struct Table<C: Code> {
    windows: Windows,
    entries: Vec<C::Point>,
}

impl<C: Code> Table<C> {
    /// `count` multiples are wanted.
    pub(super) fn new(base: C::Group, count: usize, run: Run<'_>) -> Result<Self, Cancelled> {
        let windows = Windows::for_multiples(count);
        let (bits, row) = (windows.bits(), windows.buckets());
        // 2^k·B for every k
        let mut doubled = vec![base; windows.count() * bits];
        for k in 1..doubled.len() {
            doubled[k] = doubled[k - 1].double();
        }
        let infinity = C::Group::identity();
        let mut affine: Vec<_> = doubled.iter().map(|_| infinity.to_affine()).collect();
        C::Group::batch_normalize(&doubled, &mut affine);
        let powers = C::entries(&affine);
        // they are read in no order
        let mut entries = large::filled(windows.count() * row, powers[0]);
        let rows = entries.chunks_mut(row).zip(powers.chunks(bits));
        run.each(windows.count(), rows, |(row, powers)| {
            fill::<C>(row, powers)
        })?;
        Ok(Self { windows, entries })
    }
}

/// Multiples of a point from 1 on, given those by 1, 2, 4 and so on.
fn fill<C: Code>(row: &mut [C::Point], powers: &[C::Point]) {
    let mut adder = C::adder(row.len());
    for (k, power) in powers.iter().enumerate() {
        let here = 1 << k;
        row[here - 1] = *power;
        // the row is full with 2^(c−1)
        if here == row.len() {
            break;
        }
        let (low, high) = row.split_at_mut(here);
        let indices: Vec<u32> = (0..here as u32 - 1)
            .flat_map(|other| [here as u32 - 1, other])
            .collect();
        let sums = C::sums(&mut adder, low, &indices, &mut vec![2; here - 1]);
        C::reduce(sums, &mut high[..here - 1]);
    }
}

impl<C: Code> Table<C> {
    /// Makes `count` multiples. `scalars` gives those of a range, from 1 to below the order; `put`
    /// takes the points from some number on. Both are called by several threads.
    pub(super) fn each<E: From<Cancelled> + Send>(
        &self,
        count: usize,
        scalars: impl Fn(Range<usize>, &mut Vec<Words>) -> Result<(), E> + Sync,
        put: impl Fn(usize, &[u8]) -> Result<(), E> + Sync,
        run: Run<'_>,
    ) -> Result<(), E> {
        let chunks = count.div_ceil(TOGETHER) as u64;
        share(chunks, run.threads, run.cancel, |turns| {
            let most = TOGETHER * self.windows.count();
            let mut adder = C::adder(most);
            let mut words = Wiped::with_capacity(TOGETHER);
            let mut indices = Wiped::with_capacity(most);
            let mut lengths = Vec::with_capacity(TOGETHER);
            let mut bytes = vec![0; TOGETHER * C::BYTES];
            while let Some(chunk) = turns.take()? {
                let begin = chunk as usize * TOGETHER;
                let end = (begin + TOGETHER).min(count);
                words.clear();
                scalars(begin..end, &mut words)?;
                self.windows.prepared(&mut words);
                indices.clear();
                lengths.clear();
                for scalar in words.iter() {
                    let before = indices.len();
                    indices.extend(self.digits(scalar));
                    lengths.push((indices.len() - before) as u32);
                }
                let sums = C::sums(&mut adder, &self.entries, &indices, &mut lengths);
                let bytes = &mut bytes[..sums.len() * C::BYTES];
                C::write(sums, bytes);
                put(begin, bytes)?;
            }
            Ok(())
        })
    }
}

impl<C: Code> Table<C> {
    /// The entries that make a multiple.
    fn digits(&self, prepared: &Words) -> impl Iterator<Item = u32> {
        let row = self.windows.buckets() as u32;
        (0..self.windows.count()).filter_map(move |window| {
            let digit = self.windows.digit(prepared, window);
            let sign = if digit < 0 { NEGATIVE } else { 0 };
            let entry = (window as u32 * row + digit.unsigned_abs()).wrapping_sub(1);
            (digit != 0).then_some(entry | sign)
        })
    }
}
