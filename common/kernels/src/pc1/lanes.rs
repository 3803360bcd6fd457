//! Labels of up to sixteen sectors of the same graph, one in each lane of AVX-512 registers.
//!
//! The labels of all sectors lie together: for each node eight words of sixteen lanes, so
//! that a parent is eight loads for all sectors. Lanes without a sector are computed along.
#![expect(
    unsafe_code,
    reason = "vector loads and stores, calls of code for the CPU at hand"
)]

use super::{
    label::{BASE_PARENTS, Label, NODE_BYTES, PARENT_BYTES, PARENTS, PREIMAGE_BITS, label, parent},
    memory::{LargePages, Memory},
    parents::Piece,
    store::Store,
    ways::LANES,
};
use crate::{
    cpu::Cpu,
    sha::x16::{self, same},
};
use std::{
    arch::x86_64::{
        _MM_HINT_T0, _mm_prefetch, _mm512_and_si512, _mm512_loadu_si512, _mm512_setzero_si512,
        _mm512_storeu_si512,
    },
    io,
    ops::Range,
};

/// Words of a label.
const WORDS: usize = 8;
/// Words of a node: its labels in all lanes.
const WIDE: usize = WORDS * LANES;
/// The two highest bits of a label's last byte, cleared.
const LAST_WORD: u32 = !0xc0;
/// Parents are fetched into the cache this many nodes before they are hashed.
const AHEAD: usize = 2;

/// A node's labels: eight words, of each word sixteen lanes.
type Node = [u32; WIDE];

/// Any number of sectors, sixteen by sixteen.
#[derive(Debug)]
pub(super) struct Lanes {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    ids: Vec<Label>,
    current: Memory,
    previous: Memory,
}

impl Lanes {
    /// Panics when the CPU has no AVX-512.
    pub(super) fn new(ids: &[Label], nodes: usize) -> io::Result<Self> {
        assert!(Cpu::detect().avx512, "no AVX-512");
        // memory files are of one sector's size each
        let memory = || Memory::new(nodes * LANES * NODE_BYTES, &LargePages::default());
        let group = |ids: &[Label]| {
            Ok(Group {
                ids: ids.to_vec(),
                current: memory()?,
                previous: memory()?,
            })
        };
        let groups = ids.chunks(LANES).map(group).collect::<io::Result<_>>()?;
        Ok(Self { groups })
    }
}

impl Store for Lanes {
    fn label(&mut self, layer: u32, piece: &Piece, alive: &[bool]) {
        for (group, alive) in self.groups.iter_mut().zip(alive.chunks(LANES)) {
            if alive.contains(&true) {
                group.label(layer, piece);
            }
        }
    }

    fn read(&self, nodes: Range<usize>, buffers: &mut [Option<Vec<u8>>]) {
        for (group, buffers) in self.groups.iter().zip(buffers.chunks_mut(LANES)) {
            for buffer in buffers.iter_mut().flatten() {
                buffer.resize(nodes.len() * NODE_BYTES, 0);
            }
            // SAFETY: `new` has asked the CPU.
            unsafe { read_lanes(&group.current.words::<WIDE>()[nodes.clone()], buffers) };
        }
    }

    fn write(&mut self, sector: usize, first: usize, labels: &[Label]) {
        self.groups[sector / LANES].write(sector % LANES, first, labels);
    }

    fn next_layer(&mut self) {
        for group in &mut self.groups {
            std::mem::swap(&mut group.current, &mut group.previous);
        }
    }
}

impl Group {
    fn label(&mut self, layer: u32, piece: &Piece) {
        let (mut first, mut parents) = (piece.first, piece.parents());
        if first == 0 && !parents.is_empty() {
            for lane in 0..self.ids.len() {
                let zero = label(&self.ids[lane], layer, 0, &[]);
                self.write(lane, 0, &[zero]);
            }
            (first, parents) = (1, &parents[1..]);
        }
        let mut ids = [0; WIDE];
        for (lane, id) in self.ids.iter().enumerate() {
            put(&mut ids, lane, id);
        }
        let (current, previous) = (self.current.words_mut(), self.previous.words());
        // SAFETY: `new` has asked the CPU.
        unsafe {
            match layer {
                1 => nodes::<3>(&ids, layer, first, parents, current, previous),
                _ => nodes::<7>(&ids, layer, first, parents, current, previous),
            }
        }
    }

    fn write(&mut self, lane: usize, first: usize, labels: &[Label]) {
        let nodes = &mut self.current.words_mut::<WIDE>()[first..];
        for (node, label) in nodes.iter_mut().zip(labels) {
            put(node, lane, label);
        }
    }
}

/// Puts a label into a lane.
fn put(node: &mut Node, lane: usize, label: &Label) {
    for (word, bytes) in label.as_chunks().0.iter().enumerate() {
        node[word * LANES + lane] = u32::from_be_bytes(*bytes);
    }
}

/// The labels of each lane in its buffer, which is as long as they need. Two nodes at a time
/// are sixteen rows of sixteen words, whose columns are the lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn read_lanes(nodes: &[Node], buffers: &mut [Option<Vec<u8>>]) {
    let (pairs, last) = nodes.as_chunks::<2>();
    let mut rows = [_mm512_setzero_si512(); 16];
    for (i, [first, second]) in pairs.iter().enumerate() {
        load(first, &mut rows[..WORDS]);
        load(second, &mut rows[WORDS..]);
        let columns = x16::transpose(&rows);
        for (column, buffer) in columns.into_iter().zip(&mut *buffers) {
            if let Some(buffer) = buffer {
                let to = &mut buffer.as_chunks_mut().0[i];
                x16::store(x16::swap_bytes(column), to);
            }
        }
    }
    if let [node] = last {
        for (lane, buffer) in buffers.iter_mut().enumerate() {
            let label = buffer
                .iter_mut()
                .flat_map(|b| b.as_chunks_mut().0.last_mut());
            let words = label.flat_map(|label: &mut Label| label.as_chunks_mut().0);
            for (word, bytes) in words.enumerate() {
                *bytes = node[word * LANES + lane].to_be_bytes();
            }
        }
    }
}

/// Labels the nodes from `first` on, one for each entry of `parents`. `BLOCKS`: how many
/// different blocks the parents make, 3 in layer 1 and 7 above it. The schedule is not kept
/// from one turn to the next: to load it costs as much as to compute it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn nodes<const BLOCKS: usize>(
    ids: &Node,
    layer: u32,
    first: usize,
    parents: &[[u8; PARENT_BYTES]],
    current: &mut [Node],
    previous: &[Node],
) {
    let zero = _mm512_setzero_si512();
    for (i, bytes) in parents.iter().enumerate() {
        let node = first + i;
        if let Some(later) = parents.get(i + AHEAD) {
            prefetch::<BLOCKS>(later, current, previous);
        }
        let mut states = x16::initial();

        let mut words = [zero; 16];
        load(ids, &mut words[..WORDS]);
        words[8] = same(layer);
        words[9] = same((node as u64 >> 32) as u32);
        words[10] = same(node as u32);
        x16::compress(&mut states, &words);

        for turn in 0..18 {
            let block = turn % BLOCKS;
            let from: &[Node] = if 2 * block < BASE_PARENTS {
                current
            } else {
                previous
            };
            load(&from[parent(bytes, 2 * block)], &mut words[..WORDS]);
            load(&from[parent(bytes, 2 * block + 1)], &mut words[WORDS..]);
            x16::compress(&mut states, &words);
        }

        let from: &[Node] = if BLOCKS == 3 { current } else { previous };
        load(&from[parent(bytes, 36 % (2 * BLOCKS))], &mut words[..WORDS]);
        words[WORDS..].fill(zero);
        words[8] = same(0x8000_0000);
        words[15] = same(PREIMAGE_BITS);
        x16::compress(&mut states, &words);

        states[7] = _mm512_and_si512(states[7], same(LAST_WORD));
        let rows = current[node].as_chunks_mut::<LANES>().0;
        for (row, state) in rows.iter_mut().zip(states) {
            // SAFETY: sixteen words are 64 bytes; an unaligned store.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), state) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn load(node: &Node, words: &mut [x16::Lanes]) {
    for (word, row) in words.iter_mut().zip(node.as_chunks::<LANES>().0) {
        // SAFETY: sixteen words are 64 bytes; an unaligned load.
        *word = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
    }
}

/// The eight cache lines of each parent.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn prefetch<const BLOCKS: usize>(bytes: &[u8; PARENT_BYTES], current: &[Node], previous: &[Node]) {
    let wanted = if BLOCKS == 3 { BASE_PARENTS } else { PARENTS };
    for k in 0..wanted {
        let from: &[Node] = if k < BASE_PARENTS { current } else { previous };
        let node = from.as_ptr().wrapping_add(parent(bytes, k)).cast::<i8>();
        for line in 0..WORDS {
            _mm_prefetch::<_MM_HINT_T0>(node.wrapping_add(64 * line));
        }
    }
}
