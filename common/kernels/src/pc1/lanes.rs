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
    sync::OnceLock,
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
    pace: Pace,
}

#[derive(Debug)]
struct Group {
    ids: Vec<Label>,
    current: Memory,
    previous: Memory,
}

impl Lanes {
    /// Panics when the CPU has no AVX-512.
    pub(super) fn new(ids: &[Label], nodes: usize, large: &LargePages) -> io::Result<Self> {
        assert!(Cpu::detect().avx512, "no AVX-512");
        let memory = || Memory::new(nodes * LANES * NODE_BYTES, large);
        let group = |ids: &[Label]| {
            Ok(Group {
                ids: ids.to_vec(),
                current: memory()?,
                previous: memory()?,
            })
        };
        let groups = ids.chunks(LANES).map(group).collect::<io::Result<_>>()?;
        // SAFETY: the CPU was asked.
        let pace = unsafe { Pace::measured() };
        Ok(Self { groups, pace })
    }

    /// Whether all of it is in memory files.
    pub(super) fn in_files(&self) -> bool {
        let mut groups = self.groups.iter();
        groups.all(|group| group.current.is_file() && group.previous.is_file())
    }
}

impl Store for Lanes {
    fn label(&mut self, layer: u32, piece: &Piece, alive: &[bool]) {
        let groups = self.groups.iter_mut().zip(alive.chunks(LANES));
        let mut groups: Vec<&mut Group> = groups
            .filter_map(|(group, alive)| alive.contains(&true).then_some(group))
            .collect();
        let (mut first, mut parents) = (piece.first, piece.parents());
        if first == 0 && !parents.is_empty() {
            groups.iter_mut().for_each(|group| group.first_node(layer));
            (first, parents) = (1, &parents[1..]);
        }
        for groups in groups.chunks_mut(if self.pace.side_by_side { 2 } else { 1 }) {
            let mut wide: Vec<Wide<'_>> = groups.iter_mut().map(|group| group.wide()).collect();
            // SAFETY: `new` has asked the CPU.
            unsafe {
                match layer {
                    1 => self.pace.label::<3>(layer, first, parents, &mut wide),
                    _ => self.pace.label::<7>(layer, first, parents, &mut wide),
                }
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
    /// Labels node 0, which has no parents.
    fn first_node(&mut self, layer: u32) {
        for lane in 0..self.ids.len() {
            let zero = label(&self.ids[lane], layer, 0, &[]);
            self.write(lane, 0, &[zero]);
        }
    }

    fn wide(&mut self) -> Wide<'_> {
        let mut ids = [0; WIDE];
        for (lane, id) in self.ids.iter().enumerate() {
            put(&mut ids, lane, id);
        }
        Wide {
            ids,
            current: self.current.words_mut(),
            previous: self.previous.words(),
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

/// The labels of sixteen sectors for the kernel.
struct Wide<'a> {
    ids: Node,
    current: &'a mut [Node],
    previous: &'a [Node],
}

/// The blocks of a node's preimage. `BLOCKS`: how many different ones the parents make, 3 in
/// layer 1 and 7 above it.
impl Wide<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn header(&self, layer: u32, node: usize) -> x16::Block {
        let mut words = [_mm512_setzero_si512(); 16];
        load(&self.ids, &mut words[..WORDS]);
        words[8] = same(layer);
        words[9] = same((node as u64 >> 32) as u32);
        words[10] = same(node as u32);
        words
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn parents(&self, bytes: &[u8; PARENT_BYTES], block: usize) -> x16::Block {
        let from: &[Node] = if 2 * block < BASE_PARENTS {
            self.current
        } else {
            self.previous
        };
        let mut words = [_mm512_setzero_si512(); 16];
        load(&from[parent(bytes, 2 * block)], &mut words[..WORDS]);
        load(&from[parent(bytes, 2 * block + 1)], &mut words[WORDS..]);
        words
    }

    /// The 37th label and the padding.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn last<const BLOCKS: usize>(&self, bytes: &[u8; PARENT_BYTES]) -> x16::Block {
        let from: &[Node] = if BLOCKS == 3 {
            self.current
        } else {
            self.previous
        };
        let mut words = [_mm512_setzero_si512(); 16];
        load(&from[parent(bytes, 36 % (2 * BLOCKS))], &mut words[..WORDS]);
        words[8] = same(0x8000_0000);
        words[15] = same(PREIMAGE_BITS);
        words
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn store(&mut self, node: usize, mut state: x16::State) {
        state[7] = _mm512_and_si512(state[7], same(LAST_WORD));
        let rows = self.current[node].as_chunks_mut::<LANES>().0;
        for (row, word) in rows.iter_mut().zip(state) {
            // SAFETY: sixteen words are 64 bytes; an unaligned store.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), word) };
        }
    }

    /// The eight cache lines of each parent.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn prefetch<const BLOCKS: usize>(&self, bytes: &[u8; PARENT_BYTES]) {
        let wanted = if BLOCKS == 3 { BASE_PARENTS } else { PARENTS };
        for k in 0..wanted {
            let from: &[Node] = if k < BASE_PARENTS {
                self.current
            } else {
                self.previous
            };
            let node = from.as_ptr().wrapping_add(parent(bytes, k)).cast::<i8>();
            for line in 0..WORDS {
                _mm_prefetch::<_MM_HINT_T0>(node.wrapping_add(64 * line));
            }
        }
    }
}

/// Which code is fastest on this CPU.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// For one group: the schedules of the parents are kept for all three turns.
    kept: bool,
    /// For two groups: the rounds of both side by side.
    side_by_side: bool,
}

impl Pace {
    /// Measured once, on a few nodes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn measured() -> Self {
        static MEASURED: OnceLock<Pace> = OnceLock::new();
        *MEASURED.get_or_init(|| {
            const NODES: usize = 33;
            let parents: Vec<[u8; PARENT_BYTES]> = (1..NODES as u32)
                .map(|node| {
                    let mut bytes = [0; PARENT_BYTES];
                    for (k, parent) in (1..).zip(bytes.as_chunks_mut::<4>().0) {
                        *parent = (node / k).saturating_sub(1).to_le_bytes();
                    }
                    bytes
                })
                .collect();
            let previous = vec![[7; WIDE]; NODES];
            let mut labels = [previous.clone(), previous.clone()];
            let mut groups = labels.each_mut().map(|current| Wide {
                ids: [1; WIDE],
                current: &mut current[..],
                previous: &previous[..],
            });
            let gaps = x16::time(|| nodes::<7>(2, 1, &parents, &mut groups[0]));
            let kept = x16::time(|| nodes_kept::<7>(2, 1, &parents, &mut groups[0]));
            let two = x16::time(|| nodes_of_two::<7>(2, 1, &parents, &mut groups));
            Self {
                kept: kept < gaps,
                side_by_side: two < 2 * kept.min(gaps),
            }
        })
    }

    /// Labels the nodes from `first` on, one for each entry of `parents`, of one group or two.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn label<const BLOCKS: usize>(
        self,
        layer: u32,
        first: usize,
        parents: &[[u8; PARENT_BYTES]],
        groups: &mut [Wide<'_>],
    ) {
        if let Ok(two) = <&mut [Wide<'_>; 2]>::try_from(&mut *groups) {
            return nodes_of_two::<BLOCKS>(layer, first, parents, two);
        }
        for group in groups {
            if self.kept {
                nodes_kept::<BLOCKS>(layer, first, parents, group);
            } else {
                nodes::<BLOCKS>(layer, first, parents, group);
            }
        }
    }
}

/// Labels of sixteen sectors, the schedules kept from one turn to the next and the rounds in
/// the fewest operations: for CPUs whose vector units have no gaps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn nodes_kept<const BLOCKS: usize>(
    layer: u32,
    first: usize,
    parents: &[[u8; PARENT_BYTES]],
    group: &mut Wide<'_>,
) {
    let mut kept = [x16::Schedule::zeroed(); BLOCKS];
    let mut once = x16::Schedule::zeroed();
    for (i, bytes) in parents.iter().enumerate() {
        let node = first + i;
        if let Some(later) = parents.get(i + 1) {
            group.prefetch::<BLOCKS>(later);
        }
        let mut state = x16::initial();
        x16::expand(&group.header(layer, node), &mut once);
        x16::compress_scheduled(&mut state, &once);
        for (block, schedule) in kept.iter_mut().enumerate() {
            x16::expand(&group.parents(bytes, block), schedule);
            x16::compress_scheduled(&mut state, schedule);
        }
        for turn in BLOCKS..18 {
            x16::compress_scheduled(&mut state, &kept[turn % BLOCKS]);
        }
        x16::expand(&group.last::<BLOCKS>(bytes), &mut once);
        x16::compress_scheduled(&mut state, &once);
        group.store(node, state);
    }
}

/// Labels of sixteen sectors, for CPUs that leave gaps in the rounds of one group: the
/// schedules are computed in them, each time anew.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn nodes<const BLOCKS: usize>(
    layer: u32,
    first: usize,
    parents: &[[u8; PARENT_BYTES]],
    group: &mut Wide<'_>,
) {
    for (i, bytes) in parents.iter().enumerate() {
        let node = first + i;
        if let Some(later) = parents.get(i + AHEAD) {
            group.prefetch::<BLOCKS>(later);
        }
        let mut state = x16::initial();
        x16::compress(&mut state, &group.header(layer, node));
        for turn in 0..18 {
            x16::compress(&mut state, &group.parents(bytes, turn % BLOCKS));
        }
        x16::compress(&mut state, &group.last::<BLOCKS>(bytes));
        group.store(node, state);
    }
}

/// The same of two times sixteen sectors, the rounds of both side by side. These leave no
/// gaps, so here the schedules are kept.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn nodes_of_two<const BLOCKS: usize>(
    layer: u32,
    first: usize,
    parents: &[[u8; PARENT_BYTES]],
    groups: &mut [Wide<'_>; 2],
) {
    let mut kept = [[x16::Schedule::zeroed(); 2]; BLOCKS];
    let mut once = [x16::Schedule::zeroed(); 2];
    for (i, bytes) in parents.iter().enumerate() {
        let node = first + i;
        if let Some(later) = parents.get(i + 1) {
            for group in &*groups {
                group.prefetch::<BLOCKS>(later);
            }
        }
        let mut states = [x16::initial(); 2];
        for (group, schedule) in groups.iter().zip(&mut once) {
            x16::expand(&group.header(layer, node), schedule);
        }
        x16::compress_two_scheduled(&mut states, once.each_ref());
        for (block, schedules) in kept.iter_mut().enumerate() {
            for (group, schedule) in groups.iter().zip(&mut *schedules) {
                x16::expand(&group.parents(bytes, block), schedule);
            }
            x16::compress_two_scheduled(&mut states, schedules.each_ref());
        }
        for turn in BLOCKS..18 {
            x16::compress_two_scheduled(&mut states, kept[turn % BLOCKS].each_ref());
        }
        for (group, schedule) in groups.iter().zip(&mut once) {
            x16::expand(&group.last::<BLOCKS>(bytes), schedule);
        }
        x16::compress_two_scheduled(&mut states, once.each_ref());
        for (group, state) in groups.iter_mut().zip(states) {
            group.store(node, state);
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

#[cfg(test)]
mod tests {
    use super::{
        super::label::tests::{graph, reference, replica_id},
        *,
    };

    #[test]
    fn every_pace_labels_the_same() {
        if !Cpu::detect().avx512 {
            return;
        }
        const NODES: usize = 128;
        let parents = graph(NODES);
        let ids: Vec<Label> = (0..2 * LANES).map(replica_id).collect();
        let expected: Vec<_> = ids.iter().map(|id| reference(id, 3, &parents)).collect();
        let none = LargePages::default();
        for (kept, side_by_side) in [(false, false), (true, false), (true, true)] {
            let mut lanes = Lanes::new(&ids, NODES, &none).unwrap();
            lanes.pace = Pace { kept, side_by_side };
            for layer in 1..=3 {
                let piece = Piece::new(0, parents.as_flattened().to_vec());
                lanes.label(layer, &piece, &[true; 2 * LANES]);
                let mut buffers = vec![Some(Vec::new()); 2 * LANES];
                lanes.read(0..NODES, &mut buffers);
                for (buffer, expected) in buffers.iter().zip(&expected) {
                    let expected = expected[layer as usize - 1].as_flattened();
                    assert!(buffer.as_deref() == Some(expected), "{:?}", lanes.pace);
                }
                lanes.next_layer();
            }
        }
    }
}
