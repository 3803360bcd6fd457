//! PC1 with our own kernels: labels, alone or in step with other tasks of this child, then
//! what the library leaves besides: the copy of the staged file, and the output in its words.

use super::{
    context::Context,
    free_memory::Shown,
    pc1_batch,
    pc1_layers::{self, Layers},
    pc1_memory::{self, Claim},
    trouble::disk,
};
use crate::{
    disk::at,
    proofs::seal_proof,
    serve::TaskError,
    task::{Opaque, Pc1},
};
use damocles_kernels::{
    cpu::Cpu,
    pc1::{self, Graph, Job, LargePages, NODE_BYTES, Options, Start, Watch, Way},
};
use damocles_types::Commitment;
use filecoin_proofs::{StoreConfig, constants::DefaultTreeHasher};
use filecoin_proofs_api::seal::SealPreCommitPhase1Output;
use parking_lot::Mutex;
use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};
use storage_proofs_core::cache_key::CacheKey;
use storage_proofs_porep::stacked::generate_replica_id;

/// The graph and the layer that comes next: within it those who are further on go back to
/// the last one, which costs minutes and saves hours of working one by one.
type Key = (Graph, usize);
/// A sector, and at which node of that layer it could go on.
type Entry = (Job, usize);
/// How a sector was labelled.
type Labelled = Result<Way, TaskError>;
/// A child is one process, and so is the room where its tasks meet.
static ROOM: pc1_batch::Room<Key, Entry, Labelled> = pc1_batch::Room::new();

/// What a node takes of one sector, roughly.
const NODE_NANOS: u64 = 700;

/// Labels the layers that are missing, copies the staged file and tells what there is.
pub(super) fn run(
    task: &Pc1,
    comm_d: Commitment,
    mut layers: Layers,
    parents: PathBuf,
    cpu: Cpu,
    context: &Context<'_>,
) -> Result<Opaque, TaskError> {
    let size = task.registered_proof.size;
    let graph = Graph {
        parents,
        nodes: size.bytes() as usize / NODE_BYTES,
        layers: layer_count(task)?,
    };
    let porep_id = seal_proof(task.registered_proof)?.as_v1_config().porep_id;
    let replica_id = generate_replica_id::<DefaultTreeHasher, _>(
        &task.prover_id,
        task.sector_id,
        &task.ticket,
        comm_d.0,
        &porep_id,
    );
    let mut id = [0; NODE_BYTES];
    id.copy_from_slice(replica_id.as_ref());

    layers.look().map_err(disk)?;
    let start = pc1::resume_point(&graph, &id, &task.cache_path, layers.start()).map_err(disk)?;
    if start.layer <= graph.layers {
        let way = label(task, id, graph.clone(), start, layers, cpu, context)?;
        context.computes(&way.to_string());
    }
    copy(&task.in_path, &task.out_path, size.bytes()).map_err(disk)?;
    output(task, comm_d, &graph)
}

fn label(
    task: &Pc1,
    replica_id: pc1::Label,
    graph: Graph,
    start: Start,
    layers: Layers,
    cpu: Cpu,
    context: &Context<'_>,
) -> Result<Way, TaskError> {
    let job = Job {
        replica_id,
        dir: task.cache_path.clone(),
        watch: Arc::new(Notes {
            layers: Mutex::new(layers),
            nodes: graph.nodes,
        }),
        cancel: Arc::default(),
    };
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    let limits = context
        .settings
        .batch
        .limits(cores, alone(graph.nodes, graph.layers));
    let work = |entries| work(&graph, start.layer, entries, cores, cpu, context);
    let key = (graph.clone(), start.layer);
    match ROOM.join(&key, (job, start.node), limits, work) {
        Some(Ok(way)) => Ok(way),
        Some(Err(error)) => Err(error),
        None => Err(TaskError::temporary(
            "the task that labelled this sector together with its own has panicked",
        )),
    }
}

/// What a sector's labels take on a core of its own, roughly.
fn alone(nodes: usize, layers: usize) -> Duration {
    Duration::from_nanos(NODE_NANOS.saturating_mul((nodes * layers) as u64))
}

/// Labels the sectors of a batch.
fn work(
    graph: &Graph,
    layer: usize,
    entries: Vec<Entry>,
    cores: usize,
    cpu: Cpu,
    context: &Context<'_>,
) -> Vec<Labelled> {
    let (jobs, start) = together(layer, entries);
    if start != Start::ANEW {
        let text = format!("going on at node {} of layer {layer}", start.node);
        jobs.iter().for_each(|job| job.watch.note(&text));
    }

    let shown = Shown::default();
    let home = pc1_memory::home(&shown);
    let files = match &context.settings.memory_files {
        Some(files) => {
            let only = pc1_memory::named_node().is_some();
            let (found, trouble) = pc1_memory::files(files, home, only);
            trouble.iter().for_each(|text| context.note(text));
            found
        }
        None => Vec::new(),
    };
    let sector_bytes = (graph.nodes * NODE_BYTES) as u64;
    if let Err(error) = pc1_memory::large_enough(&shown, sector_bytes, &files) {
        return vec![Err(error); jobs.len()];
    }
    let claim = Claim {
        shown,
        sector_bytes,
        home,
        files: files.clone(),
        // a directory that all PC1 of a machine share
        lock: graph.parents.with_file_name(".pc1-memory.lock"),
        progress: context.progress.clone(),
        held: Mutex::default(),
    };
    let options = Options {
        cores,
        memory: Some(Arc::new(claim)),
        large_pages: LargePages { files },
        ..Options::default()
    };
    pc1::run(graph, start, &jobs, cpu, &options)
        .into_iter()
        .map(|end| end.map_err(TaskError::temporary))
        .collect()
}

/// The sectors of a batch, and where all of them can go on.
fn together(layer: usize, entries: Vec<Entry>) -> (Vec<Job>, Start) {
    let (jobs, nodes): (Vec<Job>, Vec<usize>) = entries.into_iter().unzip();
    let node = nodes.into_iter().min().unwrap_or(0);
    (jobs, Start { layer, node })
}

fn layer_count(task: &Pc1) -> Result<usize, TaskError> {
    pc1_layers::layer_count(task.registered_proof.size).ok_or_else(|| {
        TaskError::permanent(format!(
            "the proofs library does not know how many layers {} has",
            task.registered_proof
        ))
    })
}

/// The staged file under the name that PC2 encodes in place, filled up with zeros.
fn copy(staged: &Path, out: &Path, bytes: u64) -> io::Result<()> {
    // the library takes it for an endless file of zeros, too
    if staged != Path::new("/dev/zero") {
        fs::copy(staged, out).map_err(at(out))?;
    }
    OpenOptions::new()
        .write(true)
        .open(out)
        .and_then(|file| file.set_len(bytes))
        .map_err(at(out))
}

/// The library's output for layers and a tree-d that lie where it would have made them.
fn output(task: &Pc1, comm_d: Commitment, graph: &Graph) -> Result<Opaque, TaskError> {
    let store = |id: String, size: usize| {
        let mut store = StoreConfig::new(&task.cache_path, id, 0);
        store.size = Some(size);
        store
    };
    let labels: Vec<StoreConfig> = (1..=graph.layers)
        .map(|layer| store(CacheKey::label_layer(layer), graph.nodes))
        .collect();
    let tree_d = store(CacheKey::CommDTree.to_string(), 2 * graph.nodes - 1);
    let shape = format!("StackedDrg{}V1", task.registered_proof.size);
    let json = serde_json::json!({
        "registered_proof": seal_proof(task.registered_proof)?,
        "labels": { shape: { "labels": labels, "_h": null } },
        "config": tree_d,
        "comm_d": comm_d.0,
    });
    let output: SealPreCommitPhase1Output =
        serde_json::from_value(json).map_err(TaskError::permanent)?;
    Opaque::from_value(&output).map_err(TaskError::permanent)
}

/// Writes down how far the layers are, and tells.
#[derive(Debug)]
struct Notes {
    layers: Mutex<Layers>,
    nodes: usize,
}

impl Watch for Notes {
    fn safe_point(&self, layer: usize, nodes: usize) -> io::Result<()> {
        self.layers.lock().safe_point(layer, nodes)
    }

    fn layer_done(&self, layer: usize) -> io::Result<()> {
        self.layers.lock().layer_done(layer)
    }

    fn progress(&self, layer: usize, nodes: usize) {
        // the notes may wait for the disk; labels do not wait for them
        if let Some(layers) = self.layers.try_lock() {
            layers.tell(layer, Some(100 * nodes / self.nodes));
        }
    }

    fn note(&self, text: &str) {
        self.layers.lock().note(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_on_where_all_of_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |node| {
            let job = Job {
                replica_id: [0; NODE_BYTES],
                dir: dir.path().to_owned(),
                watch: Arc::new(Quiet),
                cancel: Arc::default(),
            };
            (job, node)
        };
        let (jobs, start) = together(4, vec![entry(700), entry(512), entry(1024)]);
        assert_eq!(
            (jobs.len(), start),
            (
                3,
                Start {
                    layer: 4,
                    node: 512
                }
            )
        );
        let (_, anew) = together(1, vec![entry(700), entry(0)]);
        assert_eq!(anew, Start::ANEW);
    }

    #[derive(Debug)]
    struct Quiet;

    impl Watch for Quiet {
        fn safe_point(&self, _: usize, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn layer_done(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_large_sector_takes_hours() {
        let gib32 = alone(1 << 30, 11);
        assert_eq!(gib32.as_secs(), 8267);
        let batch = pc1_batch::Batch {
            most: 4,
            wait: Duration::from_secs(900),
        };
        assert_eq!(batch.limits(1, gib32).wait.as_secs(), 413);
    }
}
