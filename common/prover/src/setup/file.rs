//! Where points stand in a file of parameters: behind the verifying key h, l, a, b in G1 and b in G2,
//! each with its number of points in front.

use crate::multiexp::multiples::{G1Multiples, G2Multiples, Multiples};

/// Bytes of a number of points, big end first.
const NUMBER: usize = size_of::<u32>();

/// Of the verifying key: α, β, δ in G1, β, γ, δ in G2.
const KEY: usize = 3 * G1Multiples::BYTES + 3 * G2Multiples::BYTES;

/// Goes through the file.
#[derive(Debug)]
pub(super) struct Layout {
    end: usize,
}

/// Some points.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) begin: u64,
    pub(super) count: usize,
    bytes: usize,
}

impl Layout {
    /// Begins behind the key of so many inputs.
    pub(super) fn new(inputs: usize) -> Self {
        Self {
            end: KEY + NUMBER + inputs * G1Multiples::BYTES,
        }
    }

    /// The next section.
    pub(super) fn section<M: Multiples>(&mut self, count: usize, _: &M) -> Section {
        let begin = self.end as u64;
        self.end += NUMBER + count * M::BYTES;
        Section {
            begin,
            count,
            bytes: M::BYTES,
        }
    }
}

impl Section {
    /// What stands in front of the points.
    pub(super) fn head(&self) -> [u8; NUMBER] {
        (self.count as u32).to_be_bytes()
    }

    /// Where a point stands.
    pub(super) fn place(&self, point: usize) -> u64 {
        self.begin + (NUMBER + point * self.bytes) as u64
    }
}
