//! The files of a sector's layers, written by a thread of their own while labels are computed.
//!
//! A layer grows under the name `sc-02-data-layer-N.part` and gets its own name when it is
//! whole and synced. On the way its beginning is synced now and then: whoever watches writes
//! down how far, and after a crash the layer goes on from there.

use super::{Error, Watch, label::NODE_BYTES, parents::PIECE};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

/// The name of a finished layer's file.
pub fn layer_name(layer: usize) -> String {
    format!("sc-02-data-layer-{layer}.dat")
}

/// The name of an unfinished layer's file.
pub fn part_name(layer: usize) -> String {
    format!("sc-02-data-layer-{layer}.part")
}

enum Message {
    /// The labels of a layer follow, from this node on; the part has those before it.
    Begin {
        layer: usize,
        node: usize,
    },
    Labels(Vec<u8>),
    /// The layer is whole.
    End,
}

/// The writing thread of one sector, as the labelling one sees it.
pub(super) struct Writer {
    messages: Sender<Message>,
    buffers: Receiver<Vec<u8>>,
    thread: JoinHandle<Result<(), Error>>,
}

/// The thread has ended with an error, which `finish` tells.
#[derive(Debug)]
pub(super) struct Stopped;

impl Writer {
    /// `waiting`: how many buffers of a piece's labels may wait for the disk.
    pub(super) fn start(
        dir: &Path,
        watch: Arc<dyn Watch>,
        waiting: usize,
        safe_every: u64,
    ) -> io::Result<Self> {
        let (messages, received) = bounded(waiting);
        let (back, buffers) = bounded(waiting.max(1));
        for _ in 0..waiting.max(1) {
            // an empty one now; it gets its memory at its first use
            let _ = back.send(Vec::new());
        }
        let files = Files {
            dir: dir.to_owned(),
            watch,
            safe_every: safe_every.max(1),
            open: None,
        };
        let thread = Builder::new()
            .name("layers".to_owned())
            .spawn(move || files.serve(&received, &back))?;
        Ok(Self {
            messages,
            buffers,
            thread,
        })
    }

    pub(super) fn begin(&self, layer: usize, node: usize) -> Result<(), Stopped> {
        self.send(Message::Begin { layer, node })
    }

    /// An empty buffer; waits until the disk has taken one.
    pub(super) fn buffer(&self) -> Result<Vec<u8>, Stopped> {
        let mut buffer = self.buffers.recv().map_err(|_| Stopped)?;
        buffer.clear();
        buffer.reserve_exact(PIECE * NODE_BYTES);
        Ok(buffer)
    }

    pub(super) fn labels(&self, labels: Vec<u8>) -> Result<(), Stopped> {
        self.send(Message::Labels(labels))
    }

    pub(super) fn end(&self) -> Result<(), Stopped> {
        self.send(Message::End)
    }

    fn send(&self, message: Message) -> Result<(), Stopped> {
        self.messages.send(message).map_err(|_| Stopped)
    }

    /// Waits until all is on the disk; also of a layer that has not got its end.
    pub(super) fn finish(self) -> Result<(), Error> {
        drop(self.messages);
        self.thread.join().unwrap_or(Err(Error::Panicked))
    }
}

struct Files {
    dir: PathBuf,
    watch: Arc<dyn Watch>,
    safe_every: u64,
    open: Option<Part>,
}

/// The file of an unfinished layer.
struct Part {
    layer: usize,
    path: PathBuf,
    file: File,
    bytes: u64,
    synced: u64,
}

impl Files {
    fn serve(mut self, received: &Receiver<Message>, back: &Sender<Vec<u8>>) -> Result<(), Error> {
        for message in received {
            match message {
                Message::Begin { layer, node } => {
                    // a note must not vouch for what is cut off or written anew
                    if Part::reaches_beyond(&self.dir, layer, node) {
                        self.watch.safe_point(layer, node)?;
                    }
                    self.open = Some(Part::open(&self.dir, layer, node)?);
                }
                Message::Labels(labels) => {
                    self.write(&labels)?;
                    // full when the labelling thread has ended
                    let _ = back.try_send(labels);
                }
                Message::End => self.end()?,
            }
        }
        // the labelling has ended early; what there is was work
        self.safe_point()
    }

    fn write(&mut self, labels: &[u8]) -> Result<(), Error> {
        let Some(part) = &mut self.open else {
            return Ok(());
        };
        part.file.write_all(labels).map_err(at(&part.path))?;
        part.bytes += labels.len() as u64;
        if part.bytes - part.synced >= self.safe_every {
            self.safe_point()?;
        }
        Ok(())
    }

    fn safe_point(&mut self) -> Result<(), Error> {
        let Some(part) = self.open.as_mut().filter(|part| part.bytes > part.synced) else {
            return Ok(());
        };
        part.file.sync_all().map_err(at(&part.path))?;
        if part.synced == 0 {
            sync_dir(&self.dir)?;
        }
        part.synced = part.bytes;
        let nodes = part.bytes as usize / NODE_BYTES;
        Ok(self.watch.safe_point(part.layer, nodes)?)
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(part) = self.open.take() else {
            return Ok(());
        };
        part.file.sync_all().map_err(at(&part.path))?;
        let path = self.dir.join(layer_name(part.layer));
        fs::rename(&part.path, &path).map_err(at(&path))?;
        sync_dir(&self.dir)?;
        Ok(self.watch.layer_done(part.layer)?)
    }
}

impl Part {
    /// Whether the file of an earlier run has more nodes than these.
    fn reaches_beyond(dir: &Path, layer: usize, node: usize) -> bool {
        let meta = fs::metadata(dir.join(part_name(layer)));
        meta.is_ok_and(|meta| meta.len() > (node * NODE_BYTES) as u64)
    }

    fn open(dir: &Path, layer: usize, node: usize) -> Result<Self, Error> {
        let path = dir.join(part_name(layer));
        let bytes = (node * NODE_BYTES) as u64;
        let open = || {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(node == 0)
                .write(true)
                .open(&path)?;
            // what follows the safe point may be half written
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok(file)
        };
        let file = open().map_err(at(&path))?;
        Ok(Self {
            layer,
            path,
            file,
            bytes,
            synced: bytes,
        })
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(at(dir))
}

/// Error text with the path, which `io::Error` leaves out.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
