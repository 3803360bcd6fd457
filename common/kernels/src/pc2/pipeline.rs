//! The threads of PC2 and what goes between them. A chunk's buffer makes a round: readers
//! fill it, hashers turn it into subtrees, writers put them in place and give it back. The
//! calling thread collects the chunks' roots and finishes each base tree.

use super::{
    Error, Progress,
    chunk::{Chunk, Fault, Hashes, Place},
    files::Files,
    plan::{Plan, chunks},
    shape::Shape,
};
use crate::tree::{
    files::FileError,
    octree::{self, NODE, Octree},
};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// After so many bytes of data the disks are asked to take what was written, while hashing
/// goes on: at the end little is left to wait for.
const SYNC_EVERY: u64 = 256 << 20;

/// A thread's stack. The largest frames are a few dozen KiB of vectors, while the usual 2 MiB
/// for each of many cores' threads would not fit where the address space is limited.
const STACK: usize = 512 << 10;

type Root = [u8; NODE];

/// A chunk that is written: its place and the roots of its two subtrees.
struct Done {
    place: Place,
    root_c: Root,
    root_r: Root,
}

/// What all threads share.
struct Shared<'a> {
    shape: Shape,
    plan: &'a Plan,
    files: &'a Files,
    hashes: &'a Hashes,
    cancel: &'a AtomicBool,
    /// The next chunk that nobody has taken.
    next: AtomicUsize,
    failed: AtomicBool,
    /// The first error.
    error: Mutex<Option<Error>>,
    /// Gone once the run has to end: whoever waits for a buffer wakes up.
    running: Mutex<Option<Sender<()>>>,
    ended: Receiver<()>,
}

/// A thread that panics takes its buffer with it; the others must not wait for it.
struct EndOnPanic<'a>(&'a Shared<'a>);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

impl Shared<'_> {
    fn stopped(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.cancel.load(Ordering::Relaxed)
    }

    /// Ends the run before its time.
    fn end(&self) {
        self.failed.store(true, Ordering::Relaxed);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = None;
    }

    /// Keeps the first error and ends the run. None when there was one.
    fn ok<T>(&self, result: Result<T, impl Into<Error>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error.into());
                drop(first);
                self.end();
                None
            }
        }
    }

    fn take_error(&self) -> Option<Error> {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.take()
    }

    /// The next thing from a channel; none when there is nothing more or the run has ended.
    fn next_of<T>(&self, channel: &Receiver<T>) -> Option<T> {
        let item = select! {
            recv(channel) -> item => item.ok(),
            recv(self.ended) -> _ => None,
        };
        if self.stopped() {
            self.end();
            return None;
        }
        item
    }

    /// Nodes of the sector before a chunk.
    fn first_node(&self, place: Place) -> u64 {
        place.tree as u64 * self.shape.base.leaves() + place.index * self.plan.chunk.leaves()
    }

    fn place(&self, number: usize) -> Place {
        let each = self.shape.base.leaves() / self.plan.chunk.leaves();
        Place {
            tree: (number as u64 / each) as usize,
            index: number as u64 % each,
        }
    }

    fn read(&self, free: &Receiver<Chunk>, full: &Sender<Chunk>) {
        let total = chunks(self.shape, self.plan.chunk);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                return;
            }
            let Some(mut chunk) = self.next_of(free) else {
                return;
            };
            chunk.place = self.place(number);
            if self.ok(self.fill(&mut chunk)).is_none() || full.send(chunk).is_err() {
                return;
            }
        }
    }

    fn fill(&self, chunk: &mut Chunk) -> Result<(), FileError> {
        let offset = self.first_node(chunk.place) * NODE as u64;
        for (file, labels) in self.files.layers.iter().zip(chunk.layers_mut()) {
            file.read(offset, labels)?;
        }
        self.files.read_data(offset, chunk.data_mut())
    }

    fn hash(&self, full: &Receiver<Chunk>, hashed: &Sender<Chunk>) {
        while let Some(mut chunk) = self.next_of(full) {
            let done = self
                .hashes
                .run(&mut chunk)
                .map_err(|fault| self.not_field(&chunk, fault));
            if self.ok(done).is_none() || hashed.send(chunk).is_err() {
                return;
            }
        }
    }

    fn not_field(&self, chunk: &Chunk, fault: Fault) -> Error {
        let (path, node) = match fault {
            Fault::Label { layer, node } => (&self.files.layers[layer].path, node),
            Fault::Data { node } => (self.files.data_path(), node),
        };
        Error::NotField {
            path: path.clone(),
            node: self.first_node(chunk.place) + node as u64,
        }
    }

    fn write(&self, hashed: &Receiver<Chunk>, free: &Sender<Chunk>, done: &Sender<Done>) {
        while let Some(chunk) = self.next_of(hashed) {
            if self.ok(self.put(&chunk)).is_none() {
                return;
            }
            let written = Done {
                place: chunk.place,
                root_c: root(&chunk.tree_c),
                root_r: root(&chunk.tree_r),
            };
            // readers that have read everything take no buffers back
            let _ = free.send(chunk);
            if done.send(written).is_err() {
                return self.end();
            }
        }
    }

    fn put(&self, chunk: &Chunk) -> Result<(), FileError> {
        let Place { tree, index } = chunk.place;
        self.files
            .sealed
            .write(self.first_node(chunk.place) * NODE as u64, chunk.sealed())?;
        for (file, nodes) in [
            (&self.files.tree_c[tree], &chunk.tree_c),
            (&self.files.tree_r[tree], &chunk.tree_r),
        ] {
            let rows = 0..=chunk.tree().height();
            file.write_subtree((0, index), chunk.tree(), nodes, rows)?;
        }
        Ok(())
    }

    /// Brings what is written so far to the disk, as often as asked.
    fn sync(&self, trees: &Receiver<usize>) {
        for tree in trees {
            let synced = self.files.tree_c[tree]
                .file
                .sync_data()
                .and_then(|()| self.files.sealed.sync_data());
            if self.ok(synced).is_none() {
                return;
            }
        }
    }

    /// Takes in the roots and finishes trees; the roots of the base trees.
    fn collect(
        &self,
        done: &Receiver<Done>,
        sync: &Sender<usize>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Vec<Root>, Vec<Root>), Error> {
        let trees = self.shape.base_trees();
        let (mut roots_c, mut roots_r) = (vec![[0; NODE]; trees], vec![[0; NODE]; trees]);
        let mut tops: Vec<Option<Tops>> = (0..trees).map(|_| None).collect();
        let total = self.shape.nodes();
        let (mut nodes, mut unsynced) = (0, 0);
        let mut finished = 0;
        for Done {
            place,
            root_c,
            root_r,
        } in done
        {
            let top = tops[place.tree].get_or_insert_with(|| Tops::new(self.shape, self.plan));
            top.take(place.index, root_c, root_r);
            if top.missing == 0 {
                top.finish(self, place.tree)?;
                roots_c[place.tree] = root(&top.tree_c);
                roots_r[place.tree] = root(&top.tree_r);
                tops[place.tree] = None;
                finished += 1;
            }
            nodes += self.plan.chunk.leaves();
            unsynced += self.plan.chunk.leaves() * NODE as u64;
            if unsynced >= SYNC_EVERY && sync.try_send(place.tree).is_ok() {
                unsynced = 0;
            }
            progress(Progress { done: nodes, total });
        }
        if finished == trees {
            return Ok((roots_c, roots_r));
        }
        Err(self.take_error().unwrap_or(Error::Cancelled))
    }
}

/// The rows of a base tree above its chunks.
struct Tops {
    tree: Octree,
    tree_c: Vec<u8>,
    tree_r: Vec<u8>,
    missing: u64,
}

impl Tops {
    fn new(shape: Shape, plan: &Plan) -> Self {
        let tree = Octree::of_height(shape.base.height() - plan.chunk.height());
        let bytes = tree.len() as usize * NODE;
        Self {
            tree,
            tree_c: vec![0; bytes],
            tree_r: vec![0; bytes],
            missing: tree.leaves(),
        }
    }

    fn take(&mut self, index: u64, root_c: Root, root_r: Root) {
        let at = index as usize * NODE;
        self.tree_c[at..at + NODE].copy_from_slice(&root_c);
        self.tree_r[at..at + NODE].copy_from_slice(&root_r);
        self.missing -= 1;
    }

    fn finish(&mut self, shared: &Shared<'_>, tree: usize) -> Result<(), FileError> {
        let above = self.tree;
        let chunk = shared.plan.chunk.height();
        for (nodes, file) in [
            (&mut self.tree_c, &shared.files.tree_c[tree]),
            (&mut self.tree_r, &shared.files.tree_r[tree]),
        ] {
            octree::fill(&shared.hashes.tree, above, nodes)
                .unwrap_or_else(|_| unreachable!("hashes are field elements"));
            // the chunks' roots, its row 0, are written with the chunks
            file.write_subtree((chunk, 0), above, nodes, 1..=above.height())?;
        }
        Ok(())
    }
}

/// The last node of a tree.
fn root(nodes: &[u8]) -> Root {
    let mut root = [0; NODE];
    root.copy_from_slice(&nodes[nodes.len() - NODE..]);
    root
}

/// Runs the sector through; the roots of the base trees of tree_c and tree_r_last.
pub(super) fn run(
    shape: Shape,
    plan: &Plan,
    files: &Files,
    hashes: &Hashes,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<Root>, Vec<Root>), Error> {
    let (running, ended) = bounded(0);
    let shared = Shared {
        shape,
        plan,
        files,
        hashes,
        cancel,
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        error: Mutex::new(None),
        running: Mutex::new(Some(running)),
        ended,
    };
    let (free, free_rx) = bounded(plan.buffers);
    let (full, full_rx) = bounded(plan.buffers);
    let (hashed, hashed_rx) = bounded(plan.buffers);
    let (done, done_rx) = bounded(plan.buffers);
    let (sync, sync_rx) = bounded(1);
    for _ in 0..plan.buffers {
        // cannot block: the channel holds them all
        let _ = free.send(Chunk::new(plan, files.layers.len())?);
    }
    let shared = &shared;
    let roots = thread::scope(|scope| {
        for _ in 0..plan.readers {
            let (free, full) = (free_rx.clone(), full.clone());
            start(scope, shared, move || shared.read(&free, &full));
        }
        for _ in 0..plan.hashers {
            let (full, hashed) = (full_rx.clone(), hashed.clone());
            start(scope, shared, move || shared.hash(&full, &hashed));
        }
        for _ in 0..plan.writers {
            let (hashed, free, done) = (hashed_rx.clone(), free.clone(), done.clone());
            start(scope, shared, move || shared.write(&hashed, &free, &done));
        }
        start(scope, shared, move || shared.sync(&sync_rx));
        // only the threads keep the channels open, so that they end one after the other
        drop((free, free_rx, full, full_rx, hashed, hashed_rx, done));
        let collected = shared.collect(&done_rx, &sync, progress);
        if collected.is_err() {
            shared.end();
        }
        // writers must not wait for a collector that has left
        drop((done_rx, sync));
        collected
    })?;
    match shared.take_error() {
        None => Ok(roots),
        // a sync failed after the last chunk
        Some(error) => Err(error),
    }
}

fn start<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    shared: &'scope Shared<'scope>,
    work: impl FnOnce() + Send + 'scope,
) {
    let spawned = thread::Builder::new()
        .stack_size(STACK)
        .spawn_scoped(scope, move || {
            let _guard = EndOnPanic(shared);
            work();
        });
    shared.ok(spawned.map_err(Error::Thread));
}
