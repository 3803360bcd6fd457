//! The whole database as lines, of one moment: for people, and for a database of another kind.

use crate::{
    db::{
        Db, DbError,
        lines::{Header, Tally, tables},
        schema::{NETWORK, NETWORK_KEY},
        versions::SCHEMA,
    },
    model::unix_ms,
};
use damocles_kv::{Span, StoreError, Transaction};
use std::io;

/// So many records are in memory at a time.
const PAGE: usize = 500;

/// Where the lines go.
pub trait Sink {
    /// Whatever was written before is nothing: it begins anew, as when others were in the way.
    ///
    /// # Errors
    /// When that cannot be done.
    fn begin(&mut self) -> io::Result<()>;

    /// # Errors
    /// When it cannot be written.
    fn line(&mut self, line: &[u8]) -> io::Result<()>;

    /// So many records are written.
    fn progress(&mut self, records: u64);
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the export cannot be written: {0}")]
    Io(#[from] io::Error),
    #[error(
        "the database is on its way to another version; start the manager, which brings it there, and export it then"
    )]
    BetweenVersions,
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        Self::Db(error.into())
    }
}

impl From<serde_json::Error> for ExportError {
    fn from(error: serde_json::Error) -> Self {
        Self::Io(error.into())
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    pub header: Header,
    pub records: u64,
}

impl Db {
    /// Writes all records but those of running processes, of whatever version they are.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export(&self, sink: &mut dyn Sink) -> Result<Exported, ExportError> {
        let id = self.id();
        self.read(|t| {
            sink.begin()?;
            let header = header(t, id)?;
            let mut tally = Tally::default();
            sink.line(&tally.header(&header)?)?;
            for table in tables() {
                let mut next = Span::all();
                loop {
                    let page = t.scan(table, &next, PAGE)?;
                    for record in &page {
                        let value = record.bytes().unwrap_or_default();
                        sink.line(&tally.record(table, record.key(), value)?)?;
                    }
                    sink.progress(tally.records());
                    match page.last().filter(|_| page.len() == PAGE) {
                        Some(last) => next = next.after(last.key()),
                        None => break,
                    }
                }
            }
            sink.line(&tally.last()?)?;
            let records = tally.records();
            Ok(Exported { header, records })
        })
    }
}

fn header(t: &mut Transaction<'_>, id: uuid::Uuid) -> Result<Header, ExportError> {
    if t.is_between_versions()? {
        return Err(ExportError::BetweenVersions);
    }
    let version = t.stamp()?.map_or(SCHEMA.version(), |stamp| stamp.version);
    let network = t.get_json(NETWORK, NETWORK_KEY)?;
    Ok(Header::new(SCHEMA.owner, version, id, network, unix_ms()))
}
