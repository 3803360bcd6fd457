//! The label of one node, as filecoin-proofs defines it (stacked/vanilla/create_label), in
//! portable code. It labels where the CPU offers nothing better, checks what is read from a
//! disk, and is what the vector code is compared with.
//!
//! The hash is SHA-256 of 39 × 32 bytes: replica id; layer (u32) and node (u64), big-endian,
//! filled with zeros; then 37 labels of parents: the six base parents over and over in layer
//! 1, six base and eight expander parents over and over in the layers above. Node 0 has no
//! parents. The two highest bits of the last byte are cleared, which makes it a field element.

use sha2::{Digest, Sha256};

/// Bytes of a node in a layer's file.
pub const NODE_BYTES: usize = 32;
/// Parents of a node: first the base parents (same layer), then the expander parents (layer
/// below).
pub const PARENTS: usize = 14;
/// How many of them are base parents.
pub(super) const BASE_PARENTS: usize = 6;
/// Bytes of a node's parents in the cache file: `u32` little-endian each.
pub const PARENT_BYTES: usize = 4 * PARENTS;

/// A label as it lies in a layer's file.
pub type Label = [u8; NODE_BYTES];

/// How many labels of parents are hashed.
const TURNS: usize = 37;
/// Length of a node's preimage in bits.
#[cfg(target_arch = "x86_64")]
pub(super) const PREIMAGE_BITS: u32 = (2 + TURNS as u32) * 256;
/// All but the two highest bits of a label's last byte.
pub(super) const LAST_BYTE: u8 = 0x3f;

/// A node's parents from their bytes in the cache file.
#[inline(always)]
pub(super) fn parent(bytes: &[u8; PARENT_BYTES], number: usize) -> usize {
    u32::from_le_bytes(bytes.as_chunks().0[number]) as usize
}

/// How many parents of a node are hashed.
pub(super) fn parent_count(layer: u32, node: usize) -> usize {
    match (layer, node) {
        (_, 0) => 0,
        (1, _) => BASE_PARENTS,
        _ => PARENTS,
    }
}

/// The label of `node` in `layer` (from 1). `parents`: the labels of its parents, base parents
/// first; none of node 0, only the base parents in layer 1.
pub(super) fn label(id: &Label, layer: u32, node: u64, parents: &[Label]) -> Label {
    let mut preimage = [[0; NODE_BYTES]; 2 + TURNS];
    preimage[0] = *id;
    preimage[1][..4].copy_from_slice(&layer.to_be_bytes());
    preimage[1][4..12].copy_from_slice(&node.to_be_bytes());
    let mut end = 2;
    for (to, parent) in preimage[2..].iter_mut().zip(parents.iter().cycle()) {
        *to = *parent;
        end += 1;
    }
    let mut label: Label = Sha256::digest(preimage[..end].as_flattened()).into();
    label[NODE_BYTES - 1] &= LAST_BYTE;
    label
}

/// Labels the nodes from `first` on, one for each entry of `parents`, of one sector.
///
/// `current` are the labels of this layer up to `first` (what follows is written), `previous`
/// those of the layer below (not looked at in layer 1). Every parent must be a node.
pub(super) fn label_nodes(
    id: &Label,
    layer: u32,
    first: usize,
    parents: &[[u8; PARENT_BYTES]],
    current: &mut [Label],
    previous: &[Label],
) {
    for (i, bytes) in parents.iter().enumerate() {
        let node = first + i;
        let mut labels = [[0; NODE_BYTES]; PARENTS];
        let labels = &mut labels[..parent_count(layer, node)];
        for (k, label) in labels.iter_mut().enumerate() {
            let layer: &[Label] = if k < BASE_PARENTS { current } else { previous };
            *label = layer[parent(bytes, k)];
        }
        current[node] = label(id, layer, node as u64, labels);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Parents of a graph that is none of Filecoin's, but has its form.
    pub(in crate::pc1) fn graph(nodes: usize) -> Vec<[u8; PARENT_BYTES]> {
        let number = |node: usize, k: usize, below: usize| {
            let digest = Sha256::digest([node.to_le_bytes(), k.to_le_bytes()].concat());
            u32::from_le_bytes(digest[..4].try_into().unwrap()) % below as u32
        };
        let parents = |node: usize| {
            let mut bytes = [0; PARENT_BYTES];
            for (k, entry) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
                let parent = match k {
                    0 => node.saturating_sub(1) as u32,
                    1..BASE_PARENTS => number(node, k, node.max(1)),
                    _ => number(node, k, nodes),
                };
                *entry = parent.to_le_bytes();
            }
            bytes
        };
        (0..nodes).map(parents).collect()
    }

    pub(in crate::pc1) fn replica_id(sector: usize) -> Label {
        let mut id: Label = Sha256::digest(sector.to_le_bytes()).into();
        id[31] &= LAST_BYTE;
        id
    }

    /// All layers of a sector, written down as simply as can be.
    pub(in crate::pc1) fn reference(
        id: &Label,
        layers: usize,
        parents: &[[u8; PARENT_BYTES]],
    ) -> Vec<Vec<Label>> {
        let mut all: Vec<Vec<Label>> = Vec::new();
        for layer in 1..=layers {
            let mut current: Vec<Label> = Vec::new();
            for (node, bytes) in parents.iter().enumerate() {
                let mut hash = Sha256::new();
                hash.update(id);
                hash.update((layer as u32).to_be_bytes());
                hash.update((node as u64).to_be_bytes());
                hash.update([0; 20]);
                for turn in (0..if layer == 1 { 6 } else { 14 }).cycle().take(TURNS) {
                    if node > 0 {
                        let parent = parent(bytes, turn);
                        hash.update(if turn < 6 {
                            current[parent]
                        } else {
                            all[layer - 2][parent]
                        });
                    }
                }
                let mut label: Label = hash.finalize().into();
                label[31] &= LAST_BYTE;
                current.push(label);
            }
            all.push(current);
        }
        all
    }

    #[test]
    fn portable_labels_are_those_of_the_definition() {
        let parents = graph(64);
        let id = replica_id(7);
        let expected = reference(&id, 3, &parents);
        let mut previous = vec![[0; 32]; 64];
        for (layer, expected) in (1..).zip(&expected) {
            let mut current = vec![[0xff; 32]; 64];
            label_nodes(&id, layer, 0, &parents[..10], &mut current, &previous);
            label_nodes(&id, layer, 10, &parents[10..], &mut current, &previous);
            assert_eq!(&current, expected, "layer {layer}");
            previous = current;
        }
    }
}
