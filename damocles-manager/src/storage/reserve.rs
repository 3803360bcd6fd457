//! Room for sectors on their way into a store. A reservation is stored before it is told to
//! anybody, and stays until the sector is finalised or aborted.

use crate::{
    db::stores::Reservation,
    model::{seconds, unix_ms},
    storage::{
        StorageError, Store, Stores, choose,
        choose::Refusal,
        disk::{Space, Unreachable},
    },
};
use damocles_api::store::StoreBasicInfo;
use damocles_types::SectorId;
use std::{fmt, sync::Arc};

/// So often other managers may be faster before the sector waits.
const TURNS: usize = 5;

/// Answer to a wish for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// The room is kept there.
    In(StoreBasicInfo),
    /// No store takes it: each by name, with its reason.
    Nowhere(Vec<(String, Refusal)>),
}

impl Reserve {
    /// The store; none when there is no room (as `Venus.StoreReserveSpace` answers).
    pub fn store(self) -> Option<StoreBasicInfo> {
        match self {
            Self::In(info) => Some(info),
            Self::Nowhere(_) => None,
        }
    }
}

/// What came of one look at all stores.
enum Promise {
    Kept(StoreBasicInfo),
    Nowhere(Vec<(String, Refusal)>),
    /// Another manager has promised that room meanwhile.
    Overtaken,
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(info) => write!(f, "room in {}", info.name),
            Self::Nowhere(refusals) if refusals.is_empty() => {
                f.write_str("no persist store is configured")
            }
            Self::Nowhere(refusals) => {
                let all: Vec<String> = refusals.iter().map(|(n, r)| format!("{n} {r}")).collect();
                write!(f, "no store has room: {}", all.join("; "))
            }
        }
    }
}

impl Stores {
    /// Keeps `size` bytes for the sector in one of the stores that `candidates` names (empty:
    /// any). The same sector gets the same store again, with the reservation changed to the
    /// new size, as long as that store still takes it; otherwise it moves to another one.
    /// Among several, one is drawn in proportion to the weights.
    ///
    /// # Errors
    /// A failing database. That no store has room is an answer, not an error.
    pub async fn reserve(
        &self,
        sector: SectorId,
        size: u64,
        candidates: &[String],
    ) -> Result<Reserve, StorageError> {
        let mut refusals = Vec::new();
        let mut admitted = Vec::new();
        for store in self.stores() {
            match choose::admits(&store.policy, sector.miner, candidates) {
                Ok(()) => admitted.push(store.clone()),
                Err(refusal) => refusals.push((store.policy.name.clone(), refusal)),
            }
        }
        // Room that was promised stays promised, however full or slow the store is by now.
        let held = self.reservations().await?;
        let held = held.iter().find(|r| r.sector == sector && r.size == size);
        let again = held.and_then(|r| admitted.iter().find(|s| s.policy.name == r.store));
        if let Some(store) = again {
            return Ok(Reserve::In(store.basic()));
        }
        let spaces = self.spaces(&admitted).await;
        // other managers may promise room of the same stores meanwhile
        let mut full = Vec::new();
        for _ in 0..TURNS {
            match self.promise(sector, size, &admitted, &spaces).await? {
                Promise::Kept(info) => return Ok(Reserve::In(info)),
                Promise::Nowhere(why) => {
                    full = why;
                    break;
                }
                Promise::Overtaken => {}
            }
        }
        refusals.extend(full);
        Ok(Reserve::Nowhere(refusals))
    }

    /// Keeps room in one of the stores, of which the disks have this space.
    async fn promise(
        &self,
        sector: SectorId,
        size: u64,
        admitted: &[Arc<Store>],
        spaces: &[Result<Space, Unreachable>],
    ) -> Result<Promise, StorageError> {
        let _turn = self.0.reserving.lock().await;
        let _named = self.0.named.read().await;
        // some may have left the configuration while their disks were asked
        let there = self.names();
        let reservations = self.reservations().await?;
        let (mine, others): (Vec<_>, Vec<_>) =
            reservations.into_iter().partition(|r| r.sector == sector);
        let mine = mine.first();
        let (mut fitting, mut refusals) = (Vec::new(), Vec::new());
        let admitted = admitted.iter().zip(spaces);
        for (store, space) in admitted.filter(|(store, _)| there.contains(&store.policy.name)) {
            let name = &store.policy.name;
            let promised = others
                .iter()
                .filter(|r| r.store == *name)
                .map(|r| r.size)
                .fold(0, u64::saturating_add);
            let fits = match space {
                Ok(space) => choose::fits(*space, promised, size).map(|()| *space),
                Err(e) => Err(Refusal::Unreachable(e.to_string())),
            };
            match fits {
                Ok(space) => fitting.push((store, space)),
                Err(refusal) => refusals.push((name.clone(), refusal)),
            }
        }
        let stays = mine.and_then(|r| fitting.iter().position(|(s, _)| s.policy.name == r.store));
        let drawn = stays.or_else(|| {
            let weights: Vec<u64> = fitting.iter().map(|(s, _)| s.policy.weight).collect();
            choose::draw(&mut *self.0.chance.lock(), &weights)
        });
        let Some((store, space)) = drawn.and_then(|at| fitting.get(at)) else {
            return Ok(Promise::Nowhere(refusals));
        };
        let reservation = Reservation {
            sector,
            store: store.policy.name.clone(),
            size,
            at: seconds(unix_ms()),
        };
        let space = *space;
        let fits = move |promised| choose::fits(space, promised, size).is_ok();
        let kept = self.db(move |db| db.put_reservation(&reservation, fits));
        if !kept.await? {
            return Ok(Promise::Overtaken);
        }
        tracing::info!(%sector, store = store.policy.name, size, "reserved room");
        Ok(Promise::Kept(store.basic()))
    }

    /// Gives the sector's room back; false: there was none. To be called when the sector is
    /// finalised or aborted; twice does no harm.
    ///
    /// # Errors
    /// A failing database.
    pub async fn release(&self, sector: SectorId) -> Result<bool, StorageError> {
        let _turn = self.0.reserving.lock().await;
        let released = self.db(move |db| db.remove_reservation(sector)).await?;
        if let Some(held) = &released {
            tracing::info!(%sector, store = held.store, size = held.size, "released room");
        }
        Ok(released.is_some())
    }
}
