//! Labels sectors: takes the memory of those that fit and shares them out among threads; each
//! thread labels its own in step, piece by piece, while others read parents and write files.

use super::{
    Error, Graph, Job, Memory, Options, Start,
    label::{Label, NODE_BYTES},
    memory::LargePages,
    parents::{self, PIECE, Reader},
    rows::Rows,
    store::Store,
    ways::{Available, Way, plan},
    writer::{Stopped, Writer, at, layer_name, part_name},
};
use crate::cpu::Cpu;
use std::{
    fs::File,
    io::{self, Read},
    sync::atomic::Ordering,
    thread::{self, Builder},
    time::{Duration, Instant},
};

/// Bytes of labels that may wait for the disks, of all sectors of a thread together.
const WAITING: usize = 32 << 20;
/// How often progress is told.
const TELL: Duration = Duration::from_secs(2);

/// Labels all layers of the sectors from `start` on, and leaves each layer in its file. The
/// sectors are of one graph and begin at the same point. Each has its own end: one that fails
/// or is cancelled does not disturb the others. Tells how each was labelled.
pub fn run(
    graph: &Graph,
    start: Start,
    jobs: &[Job],
    cpu: Cpu,
    options: &Options,
) -> Vec<Result<Way, Error>> {
    let cpu = cpu.here();
    let mut results = Vec::with_capacity(jobs.len());
    let mut waiting = jobs;
    while !waiting.is_empty() {
        let parts = match take_memory(graph, &mut waiting, cpu, options) {
            Ok(parts) => parts,
            Err(error) => {
                results.extend(vec![Err(Error::from(error)); waiting.len()]);
                break;
            }
        };
        thread::scope(|scope| {
            let started: Vec<_> = parts
                .into_iter()
                .map(|(part, taken)| {
                    let thread = taken.and_then(|(way, labels)| {
                        Builder::new()
                            .name("labels".to_owned())
                            .spawn_scoped(scope, move || {
                                in_step(graph, start, part, way, labels, options)
                            })
                    });
                    (part.len(), thread)
                })
                .collect();
            for (sectors, thread) in started {
                match thread.map(|thread| thread.join()) {
                    Ok(Ok(done)) => results.extend(done),
                    Ok(Err(_)) => results.extend(vec![Err(Error::Panicked); sectors]),
                    Err(error) => results.extend(vec![Err(Error::from(error)); sectors]),
                }
            }
        });
    }
    results
}

/// Sectors of one thread, and the memory for their labels.
type Part<'a> = (&'a [Job], io::Result<(Way, Box<dyn Store>)>);

/// Shares out those sectors of `waiting` that fit, and takes the memory of all their labels.
fn take_memory<'a>(
    graph: &Graph,
    waiting: &mut &'a [Job],
    cpu: Cpu,
    options: &Options,
) -> io::Result<Vec<Part<'a>>> {
    /// Whoever was asked is told when it is over, however it ends.
    struct Asked<'a>(&'a dyn Memory);
    impl Drop for Asked<'_> {
        fn drop(&mut self) {
            self.0.taken();
        }
    }
    let available = match &options.memory {
        Some(memory) => memory.ask(waiting.len())?,
        None => Available::default(),
    };
    let _asked = options.memory.as_deref().map(Asked);
    let shares = plan(
        waiting.len(),
        graph.nodes,
        cpu,
        options.cores,
        available,
        options.way,
    );
    let mut parts = Vec::new();
    for share in shares {
        let (part, rest) = waiting.split_at(share.sectors.min(waiting.len()));
        let taken = store(share.way, part, graph.nodes, cpu, &options.large_pages);
        parts.push((part, taken));
        *waiting = rest;
    }
    Ok(parts)
}

/// A sector on its way.
struct Sector<'a> {
    job: &'a Job,
    writer: Option<Writer>,
    failed: Option<Error>,
}

impl Sector<'_> {
    fn alive(&self) -> bool {
        self.failed.is_none() && self.writer.is_some()
    }

    /// Does something with the writer; when that has stopped, its error is the sector's.
    fn with(&mut self, act: impl FnOnce(&Writer) -> Result<(), Stopped>) {
        if let Some(writer) = &self.writer
            && act(writer).is_err()
        {
            self.finish();
            // it has ended without a word
            self.failed.get_or_insert(Error::Panicked);
        }
    }

    /// An empty buffer, if the sector still has a use for it.
    fn buffer(&mut self) -> Option<Vec<u8>> {
        let mut buffer = None;
        self.with(|writer| {
            buffer = Some(writer.buffer()?);
            Ok(())
        });
        buffer
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
        self.finish();
    }

    fn finish(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.finish()
        {
            self.failed.get_or_insert(error);
        }
    }
}

impl Drop for Sector<'_> {
    /// Nobody writes in the directory any more when the run is over, however it ends.
    fn drop(&mut self) {
        self.finish();
    }
}

/// Labels the sectors of one thread.
fn in_step(
    graph: &Graph,
    start: Start,
    jobs: &[Job],
    way: Way,
    mut labels: Box<dyn Store>,
    options: &Options,
) -> Vec<Result<Way, Error>> {
    let waiting = (WAITING / (PIECE * NODE_BYTES) / jobs.len().max(1)).max(2);
    let mut sectors: Vec<Sector<'_>> = jobs
        .iter()
        .map(|job| {
            let watch = job.watch.clone();
            match Writer::start(&job.dir, watch, waiting, options.safe_every) {
                Ok(writer) => Sector {
                    job,
                    writer: Some(writer),
                    failed: None,
                },
                Err(error) => Sector {
                    job,
                    writer: None,
                    failed: Some(error.into()),
                },
            }
        })
        .collect();
    if let Err(error) = layers(graph, start, &mut sectors, &mut *labels) {
        let error = Error::from(error);
        for sector in &mut sectors {
            sector.fail(error.clone());
        }
    }
    let done = |mut sector: Sector<'_>| {
        sector.finish();
        sector.failed.take().map_or(Ok(way), Err)
    };
    sectors.into_iter().map(done).collect()
}

fn layers(
    graph: &Graph,
    start: Start,
    sectors: &mut [Sector<'_>],
    labels: &mut dyn Store,
) -> io::Result<()> {
    let parents = parents::open(graph)?;
    // the layer below, and the beginning of this one
    if start.layer > 1 {
        let below = layer_name(start.layer - 1);
        load(labels, sectors, graph.nodes, &below);
        labels.next_layer();
    }
    if start.node > 0 {
        load(labels, sectors, start.node, &part_name(start.layer));
    }
    for layer in start.layer..=graph.layers {
        if !sectors.iter().any(Sector::alive) {
            break;
        }
        let node = if layer == start.layer { start.node } else { 0 };
        for sector in &mut *sectors {
            sector.with(|writer| writer.begin(layer, node));
        }
        one_layer(graph, &parents, layer, node, sectors, labels)?;
        for sector in &mut *sectors {
            sector.with(Writer::end);
        }
        labels.next_layer();
    }
    Ok(())
}

/// Memory for the labels, and the way that they are made in it: where sixteen lanes get none,
/// the sectors' own may still be had.
fn store(
    way: Way,
    jobs: &[Job],
    nodes: usize,
    cpu: Cpu,
    large: &LargePages,
) -> io::Result<(Way, Box<dyn Store>)> {
    let ids: Vec<Label> = jobs.iter().map(|job| job.replica_id).collect();
    let tell = |text: &str| jobs.iter().for_each(|job| job.watch.note(text));
    let ordinary = |what: &str| {
        if !large.files.is_empty() {
            tell(&format!(
                "no free memory file of {what}; labels are in ordinary memory"
            ));
        }
    };
    #[cfg(target_arch = "x86_64")]
    if way == Way::Lanes {
        match super::lanes::Lanes::new(&ids, nodes, large) {
            Ok(lanes) => {
                if !lanes.in_files() {
                    ordinary("sixteen times the sector's size");
                }
                return Ok((way, Box::new(lanes)));
            }
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                let way = super::ways::without_lanes(cpu);
                tell(&format!("{error}; {way} instead of {}", Way::Lanes));
                return store(way, jobs, nodes, cpu, large);
            }
            Err(error) => return Err(error),
        }
    }
    let _ = cpu;
    let rows = Rows::new(way, &ids, nodes, large)?;
    if !rows.in_files() {
        ordinary("the sector's size");
    }
    Ok((way, Box::new(rows)))
}

/// Reads the labels of the first `nodes` nodes of every sector from a file of its own, piece by
/// piece of all: in lanes they lie together.
fn load(labels: &mut dyn Store, sectors: &mut [Sector<'_>], nodes: usize, name: &str) {
    let mut files: Vec<Option<File>> = sectors
        .iter_mut()
        .map(|sector| {
            let path = sector.job.dir.join(name);
            let file = File::open(&path).map_err(at(&path));
            file.map_err(|error| sector.fail(error.into())).ok()
        })
        .collect();
    let mut buffer = vec![0; PIECE * NODE_BYTES];
    for first in (0..nodes).step_by(PIECE) {
        let piece = &mut buffer[..PIECE.min(nodes - first) * NODE_BYTES];
        for (number, (sector, file)) in sectors.iter_mut().zip(&mut files).enumerate() {
            if sector.job.cancel.load(Ordering::Relaxed) {
                sector.fail(Error::Cancelled);
            }
            let Some(open) = file.as_mut().filter(|_| sector.alive()) else {
                continue;
            };
            match open.read_exact(piece) {
                Ok(()) => labels.write(number, first, piece.as_chunks().0),
                Err(error) => sector.fail(at(&sector.job.dir.join(name))(error).into()),
            }
        }
    }
}

/// Labels a layer from `node` on and hands it to the writers.
fn one_layer(
    graph: &Graph,
    parents: &File,
    layer: usize,
    node: usize,
    sectors: &mut [Sector<'_>],
    labels: &mut dyn Store,
) -> io::Result<()> {
    thread::scope(|scope| {
        let parents = Reader::start(scope, graph, parents, node)?;
        let mut told = Instant::now();
        let mut end = node;
        while let Some(piece) = parents.next() {
            let piece = piece?;
            for sector in &mut *sectors {
                if sector.alive() && sector.job.cancel.load(Ordering::Relaxed) {
                    sector.fail(Error::Cancelled);
                }
            }
            let alive: Vec<bool> = sectors.iter().map(Sector::alive).collect();
            if !alive.contains(&true) {
                return Ok(());
            }
            labels.label(layer as u32, &piece, &alive);
            let nodes = piece.first..piece.first + piece.parents().len();
            let mut buffers: Vec<_> = sectors.iter_mut().map(Sector::buffer).collect();
            labels.read(nodes.clone(), &mut buffers);
            for (sector, buffer) in sectors.iter_mut().zip(buffers) {
                if let Some(buffer) = buffer {
                    sector.with(|writer| writer.labels(buffer));
                }
            }
            end = nodes.end;
            parents.done(piece);
            if told.elapsed() >= TELL {
                told = Instant::now();
                for sector in sectors.iter().filter(|sector| sector.alive()) {
                    sector.job.watch.progress(layer, end);
                }
            }
        }
        if end < graph.nodes {
            return Err(io::Error::other("reading the parents ended early"));
        }
        Ok(())
    })
}
