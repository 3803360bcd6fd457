//! Another manager's index: for a manager with a database of its own that proves what another one
//! seals, and so does not know where sectors lie. What it was told is remembered, and holds while
//! the other one does not answer.

use crate::storage::{Index, Location, Replica, StorageError, Stores, disk::Unreachable};
use damocles_types::SectorId;
use std::sync::Arc;

impl Stores {
    /// From now on another manager is asked where a replica lies. Once.
    pub fn ask_elsewhere(&self, index: Arc<dyn Index>) {
        // the daemon wires it before anybody asks
        let _ = self.0.elsewhere.set(index);
    }

    /// The stores that a replica lies in, by the index: this manager's, or that of another one.
    ///
    /// # Errors
    /// A failing database; [`StorageError::Unreachable`] when the other one does not answer, and did
    /// not say before.
    pub async fn location(
        &self,
        sector: SectorId,
        replica: Replica,
    ) -> Result<Option<Location>, StorageError> {
        let known = self.db(move |db| db.location(sector, replica)).await?;
        let Some(index) = self.0.elsewhere.get() else {
            return Ok(known);
        };
        match index.find(sector, replica).await {
            Ok(Some(told)) => {
                let here = [&told.sealed, &told.cache];
                let here = here.into_iter().all(|store| self.find(store).is_ok());
                if here && known.as_ref() != Some(&told) {
                    self.put_locations(vec![told.clone()]).await?;
                }
                Ok(Some(told))
            }
            // it may have been put here by hand, or the other one's database is an older one
            Ok(None) => Ok(known),
            Err(why) => match known {
                Some(known) => Ok(Some(known)),
                None => Err(Unreachable {
                    store: "of the sector".to_owned(),
                    path: index.address().into(),
                    why: format!("the manager that knows it does not answer: {why}"),
                }
                .into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::{House, SIZE, sector};
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use std::time::Duration;

    /// What the other manager says.
    #[derive(Debug)]
    struct Other(Mutex<Result<Option<Location>, String>>);

    #[async_trait]
    impl Index for Other {
        async fn find(&self, _: SectorId, _: Replica) -> Result<Option<Location>, String> {
            self.0.lock().clone()
        }

        fn address(&self) -> &str {
            "10.0.0.1:1789"
        }
    }

    #[tokio::test]
    async fn what_another_manager_told_holds_while_it_is_away() {
        let house = House::new(&["a", "b"]);
        // sealed file and cache in two stores: nobody finds that by looking
        house.put("a", 1);
        std::fs::rename(house.path("a").join("cache"), house.path("b").join("cache")).unwrap();
        let policies = vec![house.policy("a"), house.policy("b")];
        let stores = house.start(policies);
        let other = Arc::new(Other(Mutex::new(Err("connection refused".into()))));
        stores.ask_elsewhere(other.clone());
        let look = async || {
            let limit = Duration::from_secs(10);
            let looked = stores.provable(sector(1), SIZE, Replica::Normal, limit);
            looked.await.unwrap()
        };
        let away = look().await.unwrap_err();
        assert!(away.is_away(), "it is waited for, and not lost: {away}");
        let at = |sealed: &str, cache: &str| Location {
            sector: sector(1),
            replica: Replica::Normal,
            sealed: sealed.into(),
            cache: cache.into(),
        };
        *other.0.lock() = Ok(Some(at("a", "elsewhere")));
        let strange = look().await.unwrap_err();
        assert!(strange.is_away(), "a store that is not here: {strange}");
        *other.0.lock() = Ok(Some(at("a", "b")));
        assert_eq!(look().await.unwrap().cache_store, "b");
        *other.0.lock() = Err("connection refused".into());
        assert_eq!(look().await.unwrap().store, "a", "as it was told");
        *other.0.lock() = Ok(None);
        assert_eq!(look().await.unwrap().store, "a");
    }
}
