//! Draining: no thread begins a new sector, and those that have one take it as far as was chosen.
//! For a host that is to be changed or switched off without leaving a sector between two messages.

use crate::{
    draining::{DrainTo, Order},
    metadb::{MetaDb, MetaError},
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Whether the worker drains; clones share it. The order lies in every thread's database, too: a
/// worker that was killed while it drained goes on draining.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Mutex<Option<Order>>>);

/// What an idle thread says meanwhile.
pub const DRAINING: &str =
    "draining: no new sector is begun until `damocles-worker worker undrain`";

impl Drain {
    /// As the databases have it: the last order that was given holds.
    pub fn found<'a>(databases: impl IntoIterator<Item = &'a MetaDb>) -> Self {
        let drain = Self::default();
        for meta in databases {
            if let Err(error) = drain.meet(meta) {
                tracing::warn!("whether this worker drains is not known of one thread: {error}");
            }
        }
        drain
    }

    /// Gives an order: written down where that is possible, then obeyed. An error: it could be
    /// written down nowhere, and nothing has changed.
    pub fn order<'a>(
        &self,
        mut order: Order,
        databases: impl IntoIterator<Item = &'a MetaDb>,
    ) -> Result<(), MetaError> {
        let mut known = self.0.lock();
        // the last word holds, also where the clock was put back or two came at a time
        if let Some(before) = *known {
            order.at = order.at.max(before.at.saturating_add(1));
        }
        let mut failed = None;
        let mut written = false;
        for meta in databases {
            match meta.give_order(&order) {
                Ok(()) => written = true,
                // its thread hears of it when its database is there again
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !written => return Err(error),
            Some(error) => tracing::warn!("one thread could not write down the order: {error}"),
            None => {}
        }
        *known = Some(order);
        Ok(())
    }

    /// A database that is there now: whichever knows the later order tells the other.
    pub fn meet(&self, meta: &MetaDb) -> Result<(), MetaError> {
        let found = meta.order()?;
        let mut known = self.0.lock();
        match (*known, found) {
            (Some(order), Some(other)) if other.at > order.at => *known = Some(other),
            (None, Some(other)) => *known = Some(other),
            (Some(order), other) if other != Some(order) => meta.give_order(&order)?,
            (Some(_) | None, _) => {}
        }
        Ok(())
    }

    /// How far sectors are taken; None: the worker works.
    pub fn to(&self) -> Option<DrainTo> {
        self.0.lock().and_then(|order| order.to)
    }
}
