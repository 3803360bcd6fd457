//! Piece stores: directories with the data of clients, each piece under its CID.
//!
//! ```text
//! GET /piecestore/<cid>  ──► find: a file of a store, the place that its deal names, the market
//! PUT /piecestore/<cid>  ──► receive: <cid>.part, which may come in several goes
//!                              └─ whole ──► its commitment is computed ──► <cid>
//! ```
//! What is under a CID is that piece: a file that came by `PUT` gets its name when its commitment
//! is found to be the CID's. A store whose disk hangs holds up only who asks for it.

mod receive;

pub use receive::{Part, ReceiveError};

use crate::{
    db::{Db, DbError},
    policy::PieceStorePolicy,
};
use cid::Cid;
use damocles_types::Commitment;
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;

/// A disk that does not answer in this time is passed over.
const LIMIT: Duration = Duration::from_secs(10);
/// So many questions at a time are asked of a store. One whose disk hangs keeps so many threads, and
/// no others.
const PLACES: usize = 4;

/// The CID of a piece: nothing else is the name of a file here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceCid(Commitment);

/// A text that is no piece's CID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the CID of a piece (they begin with baga6ea4seaq)")]
pub struct NoPieceCid(String);

impl PieceCid {
    /// # Errors
    /// It is the CID of something else.
    pub fn of(cid: &Cid) -> Result<Self, NoPieceCid> {
        let commitment = Commitment::from_unsealed_cid(cid);
        commitment
            .map(Self)
            .map_err(|_| NoPieceCid(cid.to_string()))
    }

    /// Of the name in a URL, with or without `.car`.
    ///
    /// # Errors
    /// It names no piece.
    pub fn named(name: &str) -> Result<Self, NoPieceCid> {
        let bare = name.strip_suffix(".car").unwrap_or(name);
        let no = || NoPieceCid(name.chars().take(100).collect());
        let cid: Cid = bare.parse().map_err(|_| no())?;
        Self::of(&cid)
    }

    /// CommP.
    pub fn commitment(self) -> Commitment {
        self.0
    }
}

impl fmt::Display for PieceCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.unsealed_cid().fmt(f)
    }
}

/// Where a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    File(PathBuf),
    /// Elsewhere, at this URL.
    Url(String),
    Nowhere,
}

/// The stores; clones share them.
#[derive(Clone, Debug)]
pub struct Pieces {
    stores: Arc<[PieceStorePolicy]>,
    /// One for each store, and one for what lies elsewhere.
    places: Arc<[Arc<Semaphore>]>,
    /// Where the market serves pieces, without a path.
    market: Option<String>,
    db: Db,
    /// Pieces that are handed in now.
    coming: Arc<Mutex<HashSet<PieceCid>>>,
}

impl Pieces {
    pub fn new(db: Db, stores: Vec<PieceStorePolicy>, market: Option<String>) -> Self {
        let places = (0..=stores.len()).map(|_| Arc::new(Semaphore::new(PLACES)));
        Self {
            places: places.collect(),
            stores: stores.into(),
            market,
            db,
            coming: Arc::default(),
        }
    }

    /// Where a piece is to be had: the first store that has it, then where a deal of the queue says
    /// that it is, then the market.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find(&self, piece: PieceCid) -> Result<Found, DbError> {
        for (index, store) in self.stores.iter().enumerate() {
            let names = [piece.to_string(), format!("{piece}.car")];
            let root = store.path.clone();
            let look = move || {
                let paths = names.map(|name| root.join(name));
                paths.into_iter().find(|path| path.is_file())
            };
            match self.ask(Some(index), look).await {
                Some(Some(path)) => return Ok(Found::File(path)),
                Some(None) => {}
                None => tracing::warn!(store = store.name, "a piece store does not answer"),
            }
        }
        let place = self.db.call(move |db| db.piece_place(piece.commitment()));
        Ok(match (place.await?, &self.market) {
            (Some(place), _) if place.starts_with('/') => Found::File(place.into()),
            (Some(url), _) => Found::Url(url),
            (None, Some(origin)) => Found::Url(format!("{origin}/resource?resource-id={piece}")),
            (None, None) => Found::Nowhere,
        })
    }

    /// What the disk of a store, or of what lies elsewhere, says in time. None: nothing.
    async fn ask<T: Send + 'static>(
        &self,
        store: Option<usize>,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let places = self.places[store.unwrap_or(self.stores.len())].clone();
        let asked = async {
            let place = places.acquire_owned().await.ok()?;
            // the thread has the place, also when nobody waits for it any more
            let looked = tokio::task::spawn_blocking(move || {
                let _place = place;
                look()
            });
            looked.await.ok()
        };
        tokio::time::timeout(LIMIT, asked).await.ok()?
    }
}

/// The name of what has come of a piece so far.
fn part_of(root: &Path, piece: PieceCid) -> PathBuf {
    root.join(format!("{piece}.part"))
}

#[cfg(test)]
mod tests;
