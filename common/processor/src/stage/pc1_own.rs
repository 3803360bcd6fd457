//! PC1 with our own kernels: labels, alone or in step with other tasks of this child, then
//! what the library leaves besides: the copy of the staged file, and the output in its words.

use super::{context::Context, disk, pc1_batch, pc1_layers::Layers};
use crate::{
    disk::at,
    memory_files::MemoryFiles,
    pin::NUMA_ENV,
    proofs::seal_proof,
    serve::TaskError,
    task::{Opaque, Pc1},
    wire::{PC1_BATCH_ENV, PC1_BATCH_WAIT_ENV},
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
    env,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::available_parallelism,
    time::Duration,
};
use storage_proofs_core::cache_key::CacheKey;
use storage_proofs_porep::stacked::generate_replica_id;

type Key = (Graph, Start);
/// A child is one process, and so is the room where its tasks meet.
static ROOM: pc1_batch::Room<Key, Job, Result<Way, pc1::Error>> = pc1_batch::Room::new();

const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// What a task waits at least, when it waits at all.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// What a node takes of one sector, roughly.
const NODE: Duration = Duration::from_nanos(700);

/// Whether tasks of this child wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub most: usize,
    pub wait: Duration,
}

impl Default for Batch {
    /// Every task alone.
    fn default() -> Self {
        Self {
            most: 1,
            wait: DEFAULT_WAIT,
        }
    }
}

impl Batch {
    /// As the parent asks by environment.
    pub fn from_env() -> Self {
        let mut batch = Self::default();
        if let Some(most) = env::var(PC1_BATCH_ENV)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            batch.most = most;
        }
        if let Ok(text) = env::var(PC1_BATCH_WAIT_ENV) {
            match crate::config::parse_duration(&text) {
                Some(wait) => batch.wait = wait,
                None => tracing::warn!(
                    "{PC1_BATCH_WAIT_ENV}={text:?} is no duration; write for example \"30s\""
                ),
            }
        }
        batch
    }

    /// What that means for labels that take `alone` when nobody shares the core. Where each
    /// task can have a core of its own, none waits; else not longer than is soon won back.
    fn limits(self, cores: usize, alone: Duration) -> pc1_batch::Limits {
        let wait = (alone / 20).max(LEAST_WAIT).min(self.wait);
        let most = if self.most > cores { self.most } else { 1 };
        pc1_batch::Limits { most, wait }
    }
}

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
    if start != Start::ANEW {
        context.note(format!(
            "going on at node {} of layer {}",
            start.node, start.layer
        ));
    }
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
    let alone = NODE.saturating_mul((graph.nodes * graph.layers).try_into().unwrap_or(u32::MAX));
    let limits = context.settings.batch.limits(cores, alone);
    let sector_bytes = (graph.nodes * NODE_BYTES) as u64;
    let large_pages = LargePages {
        files: memory_files(context.settings.memory_files.as_ref(), context),
    };
    let work = |jobs: Vec<Job>| {
        let available = available_memory(Path::new("/proc/meminfo"), Path::new("/sys/fs/cgroup"));
        let options = Options {
            cores,
            memory: Some(budget(available, jobs.len(), sector_bytes)),
            large_pages,
            ..Options::default()
        };
        pc1::run(&graph, start, &jobs, cpu, &options)
    };
    match ROOM.join(&(graph.clone(), start), job, limits, work) {
        Some(Ok(way)) => Ok(way),
        Some(Err(error)) => Err(TaskError::temporary(error)),
        None => Err(TaskError::temporary(
            "the task that labelled this sector together with its own has panicked",
        )),
    }
}

/// Bytes for the labels of `sectors` sectors. Two layers of each were planned for; more, which
/// makes them faster together, may be taken of what nobody uses.
fn budget(available: Option<u64>, sectors: usize, sector_bytes: u64) -> u64 {
    let planned = sector_bytes.saturating_mul(2 * sectors as u64);
    planned.max(available.unwrap_or(0) / 2)
}

/// Bytes that may be had, of the machine and of this process's cgroup.
fn available_memory(meminfo: &Path, cgroup: &Path) -> Option<u64> {
    let text = fs::read_to_string(meminfo).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .ok()?
        * 1024;
    let number = |name: &str| {
        let text = fs::read_to_string(cgroup.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let group = match (number("memory.max"), number("memory.current")) {
        (Some(most), Some(used)) => Some(most.saturating_sub(used)),
        _ => None,
    };
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// The memory files of the NUMA node that this process prefers; of all nodes when it has no
/// preference.
fn memory_files(files: Option<&MemoryFiles>, context: &Context<'_>) -> Vec<PathBuf> {
    const NODES: u32 = 64;
    let Some(files) = files else {
        return Vec::new();
    };
    static PREFERRED: OnceLock<Option<u32>> = OnceLock::new();
    let preferred = PREFERRED.get_or_init(|| env::var(NUMA_ENV).ok()?.trim().parse().ok());
    let nodes = preferred.map_or(0..NODES, |node| node..node.saturating_add(1));
    let mut found = Vec::new();
    for node in nodes {
        match files.list(node) {
            Ok(of_node) => found.extend(of_node),
            Err(error) => context.note(format!("memory files of node {node}: {error}")),
        }
    }
    if found.is_empty() {
        context.note("there are no memory files; labels are in ordinary memory");
    }
    found
}

fn layer_count(task: &Pc1) -> Result<usize, TaskError> {
    super::pc1::layer_count(task.registered_proof.size).ok_or_else(|| {
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
        self.layers
            .lock()
            .tell(layer, Some(100 * nodes / self.nodes));
    }

    fn note(&self, text: &str) {
        self.layers.lock().note(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_wait_only_where_they_would_share_a_core() {
        let of = |most, wait| Batch {
            most,
            wait: Duration::from_secs(wait),
        };
        let hours = Duration::from_secs(7200);
        let soon = Duration::from_millis(400);
        for (batch, cores, alone, expected) in [
            (of(1, 60), 1, hours, (1, Duration::from_secs(60))),
            (of(16, 60), 16, hours, (1, Duration::from_secs(60))),
            (of(16, 60), 2, hours, (16, Duration::from_secs(60))),
            (of(16, 900), 2, hours, (16, Duration::from_secs(360))),
            (of(16, 60), 2, soon, (16, LEAST_WAIT)),
            (of(16, 0), 2, soon, (16, Duration::ZERO)),
        ] {
            let limits = batch.limits(cores, alone);
            assert_eq!((limits.most, limits.wait), expected, "{batch:?}");
        }
    }

    #[test]
    fn memory_is_what_was_planned_or_half_of_what_is_free() {
        assert_eq!(budget(Some(1000), 2, 100), 500);
        assert_eq!(budget(Some(1000), 16, 100), 3200);
        assert_eq!(budget(None, 1, 100), 200);

        let dir = tempfile::tempdir().unwrap();
        let meminfo = dir.path().join("meminfo");
        let available = || available_memory(&meminfo, dir.path());
        assert_eq!(available(), None);
        fs::write(&meminfo, "MemTotal:  9 kB\nMemAvailable:    4 kB\n").unwrap();
        assert_eq!(available(), Some(4096));
        fs::write(dir.path().join("memory.current"), "100\n").unwrap();
        fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(available(), Some(4096));
        fs::write(dir.path().join("memory.max"), "1100\n").unwrap();
        assert_eq!(available(), Some(1000));
    }
}
