//! Piece stores, checked. Directories are not looked at: a disk that hangs
//! must not keep the daemon from starting.

use super::{home::here, raw::PieceStore, stores::plain};
use crate::policy::PieceStorePolicy;
use damocles_daemon::config::Report;
use std::{collections::BTreeSet, path::Path};

pub(super) fn stores(report: &mut Report, raw: Vec<PieceStore>) -> Vec<PieceStorePolicy> {
    let mut names = BTreeSet::new();
    let mut all = Vec::with_capacity(raw.len());
    for (i, store) in raw.into_iter().enumerate() {
        if store == PieceStore::default() {
            let why = "is empty, as upstream's `daemon init` writes it, and passed over";
            report.notice(&format!("Common.PieceStores[{i}]"), why);
            continue;
        }
        let PieceStore {
            name,
            path,
            read_only,
            meta: _,
        } = store;
        let at = format!("Common.PieceStores[{i}]");
        if path.is_empty() {
            report.fault(&format!("{at}.Path"), "a directory is missing");
            continue;
        }
        let name = if name.is_empty() { path.clone() } else { name };
        if !names.insert(name.clone()) {
            let message = format!("another piece store has the name {name:?} already");
            report.fault(&format!("{at}.Name"), message);
        }
        all.push(PieceStorePolicy {
            name,
            path: plain(&here(Path::new(&path))),
            read_only,
        });
    }
    all
}
