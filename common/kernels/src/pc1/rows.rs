//! Labels of several sectors, each in memory of its own as in its files: for the portable
//! code and for the SHA instructions.

use super::{
    label::{self, Label, NODE_BYTES},
    memory::{LargePages, Memory},
    parents::Piece,
    store::Store,
    ways::Way,
};
use std::{io, ops::Range};

#[derive(Debug)]
pub(super) struct Rows {
    #[cfg(target_arch = "x86_64")]
    way: Way,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    id: Label,
    current: Memory,
    previous: Memory,
}

impl Rows {
    pub(super) fn new(
        way: Way,
        ids: &[Label],
        nodes: usize,
        large: &LargePages,
    ) -> io::Result<Self> {
        let memory = || Memory::new(nodes * NODE_BYTES, large);
        let row = |id: &Label| {
            Ok(Row {
                id: *id,
                current: memory()?,
                previous: memory()?,
            })
        };
        let rows = ids.iter().map(row).collect::<io::Result<_>>()?;
        let _ = way; // elsewhere there is one way only
        Ok(Self {
            #[cfg(target_arch = "x86_64")]
            way,
            rows,
        })
    }

    pub(super) fn in_files(&self) -> bool {
        let mut rows = self.rows.iter();
        rows.all(|row| row.current.is_file() && row.previous.is_file())
    }
}

impl Store for Rows {
    fn label(&mut self, layer: u32, piece: &Piece, alive: &[bool]) {
        let mut rows: Vec<&mut Row> = self
            .rows
            .iter_mut()
            .zip(alive)
            .filter_map(|(row, alive)| alive.then_some(row))
            .collect();
        #[cfg(target_arch = "x86_64")]
        if let Way::ShaNi(width) = self.way {
            use super::ni::{Sector, label_nodes};
            fn sector(row: &mut Row) -> Sector<'_> {
                Sector {
                    id: &row.id,
                    current: row.current.labels_mut(),
                    previous: row.previous.labels(),
                }
            }
            let (first, parents) = (piece.first, piece.parents());
            for group in rows.chunks_mut(width.clamp(1, 3)) {
                match group {
                    [a] => label_nodes(layer, first, parents, &mut [sector(a)]),
                    [a, b] => label_nodes(layer, first, parents, &mut [sector(a), sector(b)]),
                    [a, b, c] => {
                        let mut sectors = [sector(a), sector(b), sector(c)];
                        label_nodes(layer, first, parents, &mut sectors);
                    }
                    _ => {}
                }
            }
            return;
        }
        for row in &mut rows {
            label::label_nodes(
                &row.id,
                layer,
                piece.first,
                piece.parents(),
                row.current.labels_mut(),
                row.previous.labels(),
            );
        }
    }

    fn read(&self, nodes: Range<usize>, buffers: &mut [Option<Vec<u8>>]) {
        for (row, buffer) in self.rows.iter().zip(buffers) {
            if let Some(buffer) = buffer {
                let labels = &row.current.labels()[nodes.clone()];
                buffer.extend_from_slice(labels.as_flattened());
            }
        }
    }

    fn write(&mut self, sector: usize, first: usize, labels: &[Label]) {
        let to = &mut self.rows[sector].current.labels_mut()[first..first + labels.len()];
        to.copy_from_slice(labels);
    }

    fn next_layer(&mut self) {
        for row in &mut self.rows {
            std::mem::swap(&mut row.current, &mut row.previous);
        }
    }
}
