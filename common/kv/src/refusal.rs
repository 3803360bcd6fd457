//! Why a database was not opened, in sentences that say what to do next.

use crate::{
    Schema, StoreError,
    health::{Cause, cause},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// File by which a person says that a damaged log may be cut; it goes when that was done.
pub const ACCEPT_CUT: &str = "accept-cut-log";

/// Why a database was not opened. Each sentence says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no database in {dir}; bring it back, or mount the disk that holds it")]
    Missing { dir: PathBuf },
    #[error(
        "the database in {dir} is in use by another process; stop that one, or give this one a home of its own"
    )]
    Busy { dir: PathBuf },
    #[error(
        "the database directory {dir} cannot be written; check its owner and mode, and that its disk has room"
    )]
    Unwritable {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{dir} holds {found}, not a database of {wanted}; nothing was touched, choose another home"
    )]
    Foreign {
        dir: PathBuf,
        found: String,
        wanted: &'static str,
    },
    #[error(
        "the database in {dir} is half imported; start `db import` again with the file, which begins anew"
    )]
    HalfImported { dir: PathBuf },
    #[error("the database in {dir} is not empty; import into a place where there is none yet")]
    NotEmpty { dir: PathBuf },
    #[error(
        "the database in {dir} has version {found}, this program knows up to {known}; run a newer program on it"
    )]
    Newer {
        dir: PathBuf,
        found: u32,
        known: u32,
    },
    #[error(
        "the system failed while the database in {dir} was opened ({reason}); see `dmesg` and the limits of this process (`ulimit -a`), then start again"
    )]
    Failing { dir: PathBuf, reason: String },
    #[error(
        "the database in {dir} is damaged ({reason}); restore a backup or repair the file system"
    )]
    Damaged { dir: PathBuf, reason: String },
    #[error(
        "the log of the database in {dir} is damaged ({reason}), and what was written last is not all there; restore a backup, or go on without it: `touch {file}` and start again", file = .dir.join(ACCEPT_CUT).display()
    )]
    DamagedLog { dir: PathBuf, reason: String },
    #[error(
        "the database in {dir} could not be brought to version {to}; start again when the cause is gone, and it goes on where it stopped"
    )]
    Migration {
        dir: PathBuf,
        to: u32,
        #[source]
        source: Box<StoreError>,
    },
}

pub(crate) fn stranger(dir: &Path, schema: &Schema) -> OpenError {
    OpenError::Foreign {
        dir: dir.to_owned(),
        found: "a database of another program".into(),
        wanted: schema.owner,
    }
}

pub(crate) fn classify(dir: &Path, error: &rocksdb::Error) -> OpenError {
    let reason = error.to_string();
    let dir = dir.to_owned();
    match cause(&reason) {
        Cause::Busy => OpenError::Busy { dir },
        Cause::Unwritable => OpenError::Unwritable {
            dir,
            source: io::Error::other(reason),
        },
        Cause::System => OpenError::Failing { dir, reason },
        Cause::Log => OpenError::DamagedLog { dir, reason },
        Cause::Unsupported | Cause::Contents => OpenError::Damaged { dir, reason },
    }
}
