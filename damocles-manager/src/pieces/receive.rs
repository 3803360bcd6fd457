//! A piece is handed in: into a file beside the others, that gets the piece's name when all of it
//! has come and is found to be that piece. What breaks off goes on later where it ended.

use super::{PieceCid, Pieces, part_of};
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
/// Pieces that are handed in at a time; each has a thread that writes.
pub(super) const MOST: usize = 16;
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
    #[error("the piece is being handed in by somebody else, or too many are; try again later")]
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
        let mut most = None;
        for (index, root) in self.writable() {
            let path = part_of(root, piece);
            let length = move || fs::metadata(path).ok().map(|m| m.len());
            most = most.max(self.ask(Some(index), length).await.flatten());
        }
        most
    }

    fn writable(&self) -> impl Iterator<Item = (usize, &Path)> {
        let stores = self.stores.iter().enumerate();
        stores
            .filter(|(_, store)| !store.read_only)
            .map(|(index, store)| (index, store.path.as_path()))
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
            let length = self.ask(None, move || fs::metadata(path)).await;
            return Ok(length.ok_or_else(hangs)??.len());
        }
        if part.whole.is_some_and(|n| n > LARGEST) || part.from > LARGEST {
            return Err(ReceiveError::TooLarge);
        }
        let turn = self.turn(piece)?;
        let missing = part.whole.map(|whole| whole.saturating_sub(part.from));
        let missing = missing.or(body.size_hint().exact()).unwrap_or(0);
        let root = self.with_room(piece, missing).await?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        // what is begun ends, whether somebody waits for it or not
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            write(&root, piece, part, receiver)
        });
        let mut stream = body.into_data_stream().map_err(|e| e.to_string());
        while let Some(bytes) = stream.next().await {
            let failed = bytes.is_err();
            if sender.send(bytes).await.is_err() || failed {
                break;
            }
        }
        drop(sender);
        written
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e).into()))
    }

    /// The store that has a part of the piece, or the first with room for what is missing. One whose
    /// disk does not answer is passed over.
    async fn with_room(&self, piece: PieceCid, missing: u64) -> Result<PathBuf, ReceiveError> {
        let (mut roomy, mut none, mut silent) = (None, true, false);
        for (index, root) in self.writable() {
            none = false;
            let at = root.to_owned();
            let look = move || {
                let begun = part_of(&at, piece).exists();
                let room = rustix::fs::statvfs(&at).map(|s| s.f_bavail * s.f_frsize);
                (begun, room.is_ok_and(|room| room > missing))
            };
            match self.ask(Some(index), look).await {
                Some((true, _)) => return Ok(root.to_owned()),
                Some((false, true)) => roomy = roomy.or(Some(root)),
                Some((false, false)) => {}
                None => silent = true,
            }
        }
        match roomy {
            Some(root) => Ok(root.to_owned()),
            None if none => Err(ReceiveError::NoStore),
            None if silent => Err(hangs().into()),
            None => Err(ReceiveError::NoRoom(missing)),
        }
    }

    /// The piece is this caller's to hand in, until the turn is dropped.
    fn turn(&self, piece: PieceCid) -> Result<Turn, ReceiveError> {
        let mut coming = self.coming.lock();
        if coming.len() >= MOST || !coming.insert(piece) {
            return Err(ReceiveError::Busy);
        }
        Ok(Turn {
            piece,
            coming: self.coming.clone(),
        })
    }
}

fn hangs() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "a disk of the piece stores does not answer",
    )
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
        // what has come stays, for it may go on from there
        let next = match next {
            Ok(next) => next,
            Err(error) => {
                file.sync_data()?;
                return Err(ReceiveError::Body(error));
            }
        };
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
