//! Where a sector's labelling goes on: after its finished layers, within a layer when the
//! beginning of that is on the disk. What is there is not believed blindly: the last labels
//! of the beginning are computed again from the files.

use super::{
    Graph, Start,
    label::{BASE_PARENTS, Label, NODE_BYTES, PARENTS, label, parent, parent_count},
    parents,
    writer::{at, layer_name, part_name},
};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// How many labels are computed again.
const CHECKED: usize = 64;

/// Where to start, when `claimed` is what the notes say: the layers below are finished and
/// lie in `dir`, and so do the first nodes of the part. When those turn out to be of another
/// replica or damaged, the layer starts anew.
pub fn resume_point(
    graph: &Graph,
    replica_id: &Label,
    dir: &Path,
    claimed: Start,
) -> io::Result<Start> {
    let anew = Start { node: 0, ..claimed };
    if claimed.node == 0 {
        return Ok(anew);
    }
    let part = dir.join(part_name(claimed.layer));
    let length = |file: &File| file.metadata().map_or(0, |meta| meta.len());
    let current = match File::open(&part) {
        Ok(file) if length(&file) >= (claimed.node * NODE_BYTES) as u64 => file,
        _ => return Ok(anew),
    };
    if claimed.node > graph.nodes {
        return Ok(anew);
    }
    let below = dir.join(layer_name(claimed.layer.saturating_sub(1)));
    let previous = match claimed.layer {
        0 | 1 => None,
        _ => Some(File::open(&below).map_err(at(&below))?),
    };

    let first = claimed.node.saturating_sub(CHECKED);
    let file = parents::open(graph)?;
    let piece = parents::piece(graph, &file, first, claimed.node - first, Vec::new())?;
    for (node, bytes) in (first..).zip(piece.parents()) {
        let layer = claimed.layer as u32;
        let mut labels: Vec<Label> = Vec::with_capacity(PARENTS);
        for k in 0..parent_count(layer, node) {
            labels.push(match &previous {
                Some(previous) if k >= BASE_PARENTS => {
                    read(previous, parent(bytes, k)).map_err(at(&below))?
                }
                // a beginning that cannot be read is made again; the layer below is not ours
                _ => match read(&current, parent(bytes, k)) {
                    Ok(label) => label,
                    Err(_) => return Ok(anew),
                },
            });
        }
        let expected = label(replica_id, layer, node as u64, &labels);
        if read(&current, node).ok() != Some(expected) {
            return Ok(anew);
        }
    }
    Ok(claimed)
}

fn read(file: &File, node: usize) -> io::Result<Label> {
    let mut label = [0; NODE_BYTES];
    file.read_exact_at(&mut label, (node * NODE_BYTES) as u64)?;
    Ok(label)
}
