//! What PC1 knows about its layers. Finished layers of the same replica are kept whatever
//! happens; a layer that may be half on disk is not trusted, but for its beginning when that
//! is known to be synced. To know which is which, a mark lies beside the layers: what they
//! are layers of, in which boot they were written, and what is synced.

use super::cache_dir::{self, PC1_MARK, layer_number};
use crate::{
    disk::{at, remove_if_there, sync, write_whole},
    serve::Progress,
    task::Pc1,
};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use damocles_kernels::pc1::{NODE_BYTES, Start, layer_name, part_name};
use damocles_types::{Commitment, SectorSize};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often the directory is looked at for a new layer.
const LOOK: Duration = Duration::from_millis(500);
pub(super) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    replica: ReplicaId,
    boot: String,
    synced: BTreeSet<String>,
    /// The layer that our own kernels are at.
    #[serde(default)]
    part: Option<Part>,
}

/// The synced beginning of an unfinished layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    layer: usize,
    nodes: usize,
}

/// All that the labels depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReplicaId {
    proof: String,
    prover_id: [u8; 32],
    sector: u64,
    ticket: [u8; 32],
    comm_d: Commitment,
}

/// The layers of a sector in its cache directory, and the mark beside them.
#[derive(Debug)]
pub(super) struct Layers {
    dir: PathBuf,
    mark: Mark,
    total: Option<usize>,
    progress: Progress,
}

impl Layers {
    /// Removes what is not a finished layer of this replica, or the beginning of one, and
    /// writes the mark for this run. `total`: how many layers there will be.
    pub(super) fn prepare(
        task: &Pc1,
        comm_d: Commitment,
        boot_id: &Path,
        total: Option<usize>,
        progress: &Progress,
    ) -> io::Result<Self> {
        let dir = &task.cache_path;
        let replica = ReplicaId {
            proof: task.registered_proof.name(),
            prover_id: task.prover_id,
            sector: task.sector_id,
            ticket: task.ticket,
            comm_d,
        };
        // an unknown boot is never the same as another
        let boot = fs::read_to_string(boot_id)
            .map(|id| id.trim().to_owned())
            .unwrap_or_default();
        let path = dir.join(PC1_MARK);
        // hours of work are not thrown away because a disk cannot be read just now
        let text = match fs::read(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&path)(error)),
        };
        let old = text
            .and_then(|text| serde_json::from_slice(&text).ok())
            .filter(|old: &Mark| old.replica == replica);
        let size = task.registered_proof.size.bytes();
        let mut kept = BTreeSet::new();
        let mut part = None;
        for name in cache_dir::layers(dir)? {
            let file = dir.join(&name);
            let length = match fs::metadata(&file) {
                Ok(meta) => meta.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(at(&file)(error)),
            };
            let begun = old.as_ref().and_then(|old| old.part).filter(|part| {
                name == part_name(part.layer) && length >= (part.nodes * NODE_BYTES) as u64
            });
            let trusted = old.as_ref().is_some_and(|old| {
                old.synced.contains(&name) || (!boot.is_empty() && old.boot == boot)
            });
            if layer_number(&name).is_some() && length == size && trusted {
                kept.insert(name);
            } else if begun.is_some() {
                part = begun;
            } else {
                tracing::info!(
                    "{} is not a finished layer of this replica and is removed",
                    file.display()
                );
                remove_if_there(&file)?;
            }
        }
        if !kept.is_empty() {
            tracing::info!("{} finished layers are kept", kept.len());
        }
        let synced = old.map(|old| old.synced).unwrap_or_default();
        let layers = Self {
            dir: dir.clone(),
            mark: Mark {
                replica,
                boot,
                synced: synced.intersection(&kept).cloned().collect(),
                part,
            },
            total,
            progress: progress.clone(),
        };
        layers.store()?;
        Ok(layers)
    }

    /// Syncs each layer that the library has finished and notes it, while it computes the
    /// next one; until `stopped` is disconnected.
    pub(super) fn watch(mut self, stopped: &Receiver<()>) -> io::Result<()> {
        loop {
            let last = stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected);
            self.look()?;
            if last {
                return Ok(());
            }
        }
    }

    /// Syncs and notes the finished layers that are not noted.
    pub(super) fn look(&mut self) -> io::Result<()> {
        let mut new = false;
        for name in cache_dir::layers(&self.dir)? {
            let Some(number) = layer_number(&name).filter(|_| !self.mark.synced.contains(&name))
            else {
                continue;
            };
            sync(&self.dir.join(&name))?;
            self.tell(number, None);
            self.mark.synced.insert(name);
            new = true;
        }
        if new {
            sync(&self.dir)?;
            self.store()?;
        }
        Ok(())
    }

    /// Removes the beginning of an unfinished layer; the library makes layers as a whole.
    pub(super) fn drop_part(&mut self) -> io::Result<()> {
        if let Some(part) = self.mark.part.take() {
            self.store()?;
            remove_if_there(&self.dir.join(part_name(part.layer)))?;
        }
        Ok(())
    }

    /// Where labelling goes on after what is noted: after the last layer when all are done.
    pub(super) fn start(&self) -> Start {
        let mut layer = 1;
        while self.mark.synced.contains(&layer_name(layer)) {
            layer += 1;
        }
        let begun = self.mark.part.filter(|part| part.layer == layer);
        Start {
            layer,
            node: begun.map_or(0, |part| part.nodes),
        }
    }

    /// Notes that the first nodes of a layer are synced.
    pub(super) fn safe_point(&mut self, layer: usize, nodes: usize) -> io::Result<()> {
        self.mark.part = Some(Part { layer, nodes });
        self.store()
    }

    /// Notes that a layer is whole and synced.
    pub(super) fn layer_done(&mut self, layer: usize) -> io::Result<()> {
        self.mark.synced.insert(layer_name(layer));
        self.mark.part = None;
        self.store()?;
        self.tell(layer, None);
        Ok(())
    }

    /// Tells how far a layer is; `None`: done.
    pub(super) fn tell(&self, layer: usize, percent: Option<usize>) {
        let mut text = match self.total {
            Some(total) => format!("layer {layer} of {total}"),
            None => format!("layer {layer}"),
        };
        if let Some(percent) = percent {
            text.push_str(&format!(", {percent} %"));
        }
        self.progress.note(text);
    }

    pub(super) fn note(&self, text: &str) {
        self.progress.note(text);
    }

    fn store(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.mark).map_err(io::Error::other)?;
        write_whole(&self.dir.join(PC1_MARK), &text)
    }
}

/// How many layers a sector of this size has; none when the library does not know it.
pub(super) fn layer_count(size: SectorSize) -> Option<usize> {
    filecoin_proofs::constants::LAYERS
        .read()
        .ok()?
        .get(&size.bytes())
        .copied()
}

#[cfg(test)]
#[path = "pc1_layers_tests.rs"]
mod tests;
