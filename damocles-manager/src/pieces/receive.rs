//! A piece is handed in: into a file beside the others, that gets the piece's name when all of it
//! has come and is found to be that piece. What breaks off goes on later where it ended.

use super::{PieceCid, Pieces, part_of, within};
use axum::body::{Body, Bytes, HttpBody};
use damocles_processor::verify;
use damocles_types::{Commitment, PaddedSize, UnpaddedSize};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// The largest piece: what fits into a sector of 64 GiB.
const LARGEST: u64 = PaddedSize(64 << 30).unpadded().0;
/// Parts of a body that lie in memory at most.
const AHEAD: usize = 16;

/// Which bytes of a piece come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// So many were handed in before.
    pub from: u64,
    /// Bytes of the whole, if that is known.
    pub whole: Option<u64>,
    /// Padded size of the piece; None: the least that its bytes fit into.
    pub padded: Option<u64>,
}

/// Why a piece was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("no piece store takes pieces; name one without ReadOnly in [[Common.PieceStores]]")]
    NoStore,
    #[error("no piece store has room for {0} more bytes")]
    NoRoom(u64),
    #[error("the piece is being handed in by somebody else")]
    Busy,
    #[error("{has} bytes of it are here; go on from there, not from {from}")]
    Elsewhere { has: u64, from: u64 },
    #[error("a piece has {LARGEST} bytes at most")]
    TooLarge,
    #[error("a piece of {padded} padded bytes cannot have {bytes} bytes")]
    Size { padded: u64, bytes: u64 },
    #[error("only {has} of {whole} bytes came; go on from there")]
    Incomplete { has: u64, whole: u64 },
    #[error("what came is piece {found}, not {wanted}; it was thrown away")]
    Other { wanted: PieceCid, found: String },
    #[error("the piece cannot be written: {0}")]
    Io(#[from] io::Error),
    #[error("the body did not come: {0}")]
    Body(String),
}

/// The piece is free for others when this is dropped.
struct Turn {
    piece: PieceCid,
    coming: Arc<Mutex<HashSet<PieceCid>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.coming.lock().remove(&self.piece);
    }
}

impl Pieces {
    /// How much of a piece has come that is not whole yet.
    pub async fn begun(&self, piece: PieceCid) -> Option<u64> {
        let roots: Vec<PathBuf> = self.writable().map(|s| s.to_owned()).collect();
        let look = move || {
            let parts = roots.iter().map(|root| part_of(root, piece));
            parts
                .filter_map(|p| fs::metadata(p).ok())
                .map(|m| m.len())
                .max()
        };
        within(look).await.flatten()
    }

    fn writable(&self) -> impl Iterator<Item = &Path> {
        let stores = self.stores.iter().filter(|store| !store.read_only);
        stores.map(|store| store.path.as_path())
    }

    /// Takes a piece, or a part of one, and returns its payload's bytes when all of it is here. One
    /// that is here already is not read again.
    ///
    /// # Errors
    /// Whatever keeps the piece from being here; what has come of it stays for the next go, unless
    /// it was another piece.
    pub async fn receive(
        &self,
        piece: PieceCid,
        part: Part,
        body: Body,
    ) -> Result<u64, ReceiveError> {
        if let Ok(super::Found::File(path)) = self.find(piece).await {
            return Ok(fs::metadata(path)?.len());
        }
        if part.whole.is_some_and(|n| n > LARGEST) || part.from > LARGEST {
            return Err(ReceiveError::TooLarge);
        }
        if !self.coming.lock().insert(piece) {
            return Err(ReceiveError::Busy);
        }
        let turn = Turn {
            piece,
            coming: self.coming.clone(),
        };
        let root = self.with_room(piece, &part, &body)?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        // what is begun ends, whether somebody waits for it or not
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            write(&root, piece, part, receiver)
        });
        let mut stream = body.into_data_stream().map_err(|e| e.to_string());
        let mut broken = None;
        while let Some(bytes) = stream.next().await {
            let failed = bytes.is_err();
            if let Err(error) = &bytes {
                broken = Some(error.clone());
            }
            if failed || sender.send(bytes).await.is_err() {
                break;
            }
        }
        drop(sender);
        let done = written
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e).into()));
        match (done, broken) {
            (Err(ReceiveError::Incomplete { .. }), Some(error)) => Err(ReceiveError::Body(error)),
            (done, _) => done,
        }
    }

    /// The store that has a part of the piece, or the first with room for what is missing.
    fn with_room(
        &self,
        piece: PieceCid,
        part: &Part,
        body: &Body,
    ) -> Result<PathBuf, ReceiveError> {
        let missing = part.whole.map(|whole| whole.saturating_sub(part.from));
        let missing = missing.or(body.size_hint().exact()).unwrap_or(0);
        let mut stores = self.writable().peekable();
        if stores.peek().is_none() {
            return Err(ReceiveError::NoStore);
        }
        let roots: Vec<&Path> = stores.collect();
        let begun = roots.iter().find(|root| part_of(root, piece).exists());
        let room = |root: &&&Path| {
            rustix::fs::statvfs(**root).is_ok_and(|s| s.f_bavail * s.f_frsize > missing)
        };
        let chosen = begun.or_else(|| roots.iter().find(room));
        let chosen = chosen.ok_or(ReceiveError::NoRoom(missing))?;
        Ok(chosen.to_path_buf())
    }
}

/// Writes what comes, and gives the file its name when it is the piece.
fn write(
    root: &Path,
    piece: PieceCid,
    part: Part,
    mut bytes: mpsc::Receiver<Result<Bytes, String>>,
) -> Result<u64, ReceiveError> {
    let path = part_of(root, piece);
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)?;
    let mut has = file.metadata()?.len();
    match part.from {
        // it begins anew
        0 => {
            file.set_len(0)?;
            has = 0;
        }
        from if from != has => return Err(ReceiveError::Elsewhere { has, from }),
        _ => {}
    }
    file.seek(SeekFrom::Start(has))?;
    while let Some(next) = bytes.blocking_recv() {
        let Ok(next) = next else { break };
        has += next.len() as u64;
        if has > part.whole.unwrap_or(LARGEST) {
            drop(fs::remove_file(&path));
            return Err(ReceiveError::TooLarge);
        }
        file.write_all(&next)?;
    }
    file.sync_data()?;
    match part.whole {
        Some(whole) if has < whole => return Err(ReceiveError::Incomplete { has, whole }),
        _ => {}
    }
    let found = commitment(&mut file, has, part.padded)?;
    if found != piece.commitment() {
        fs::remove_file(&path)?;
        return Err(ReceiveError::Other {
            wanted: piece,
            found: found.unsealed_cid().to_string(),
        });
    }
    fs::rename(&path, root.join(piece.to_string()))?;
    File::open(root)?.sync_all()?;
    tracing::info!(%piece, bytes = has, store = %root.display(), "a piece was handed in");
    Ok(has)
}

fn commitment(
    file: &mut File,
    bytes: u64,
    padded: Option<u64>,
) -> Result<Commitment, ReceiveError> {
    let least = UnpaddedSize(bytes.div_ceil(127).max(1) * 127).padded().0;
    let padded = padded.unwrap_or(least.next_power_of_two());
    if !PaddedSize(padded).is_valid_piece() || bytes > PaddedSize(padded).unpadded().0 {
        return Err(ReceiveError::Size { padded, bytes });
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(verify::piece_commitment(file, bytes, padded)?)
}
