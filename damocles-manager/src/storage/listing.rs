//! Stores with their figures, as lists show them and as room is looked for.

use crate::storage::{Reservation, Space, StorageError, Store, Stores, Unreachable};
use damocles_api::store::{StoreBasicInfo, StoreDetailedInfo, StoreReserved};
use futures::future::join_all;
use std::{sync::Arc, time::Duration};

/// A file system that takes longer to tell its size is passed over.
const SPACE_LIMIT: Duration = Duration::from_secs(5);

impl Stores {
    /// All stores with their space. One that cannot be used shows zeros and says why; the others
    /// do not wait for it longer than a few seconds.
    ///
    /// # Errors
    /// A failing database.
    pub async fn list(&self) -> Result<Vec<StoreDetailedInfo>, StorageError> {
        let reservations = self.reservations().await?;
        let all = self.stores();
        let spaces = self.spaces(&all).await;
        let detail = |(store, space): (&Arc<Store>, Result<Space, Unreachable>)| {
            let note = space.as_ref().err().map(|e| e.why.clone());
            detailed(store.basic(), space.ok(), note, &reservations)
        };
        Ok(all.iter().zip(spaces).map(detail).collect())
    }

    /// Asks all at once.
    pub(super) async fn spaces(&self, stores: &[Arc<Store>]) -> Vec<Result<Space, Unreachable>> {
        let ask = |store| self.examine(store, SPACE_LIMIT);
        join_all(stores.iter().map(ask)).await
    }
}

fn detailed(
    info: StoreBasicInfo,
    space: Option<Space>,
    note: Option<String>,
    reservations: &[Reservation],
) -> StoreDetailedInfo {
    let here = reservations.iter().filter(|r| r.store == info.name);
    let mut reserved_by: Vec<_> = here
        .map(|r| StoreReserved {
            by: r.sector.to_string(),
            size: r.size,
            at: r.at,
        })
        .collect();
    reserved_by.sort_by(|a, b| (a.at, &a.by).cmp(&(b.at, &b.by)));
    let (used, free) = space.map_or((0, 0), |s| (s.used, s.free));
    // as df and upstream count: blocks kept for root are neither used nor free
    let countable = used.saturating_add(free);
    let used_percent = if countable == 0 {
        0.0
    } else {
        used as f64 / countable as f64 * 100.0
    };
    StoreDetailedInfo {
        kind: space.map_or_else(|| "unreachable".to_owned(), |s| s.kind_name()),
        total: space.map_or(0, |s| s.total),
        free,
        used,
        used_percent,
        reserved: reserved_by
            .iter()
            .map(|r| r.size)
            .fold(0, u64::saturating_add),
        reserved_by,
        name: info.name,
        path: info.path,
        strict: info.strict,
        read_only: info.read_only,
        weight: info.weight,
        meta: info.meta,
        note,
    }
}
