//! What there is of a sector, and where: for a person who is about to end it or to give it to
//! another worker. And the sectors that this manager has no record of.

use crate::{
    db::{
        Db,
        record::{Carriage, SectorRecord},
        stores::Replica,
        strays::Stray,
    },
    model::{Commitment, seconds},
    sealing::{Sealing, SealingError},
};
use damocles_api::damocles_cli::{Claim, SectorHoldings, SectorOnChain, UnknownSector};
use damocles_types::SectorId;
use std::time::Duration;

/// A person does not wait longer for what the node says.
const LIMIT: Duration = Duration::from_secs(20);

/// Why a commitment that was submitted is in no message yet.
fn waits(record: &SectorRecord) -> Option<String> {
    if let Some(left) = &record.left_chain {
        return Some(left.why.clone());
    }
    Commitment::ALL
        .into_iter()
        .find_map(|kind| match record.carriage(kind) {
            Some(Carriage::Ready {
                error: Some(why), ..
            }) if record.online => Some(format!("{kind}: {why}")),
            Some(Carriage::Dropped { why, .. }) => Some(format!("{kind}: {why}")),
            _ => None,
        })
}

impl Sealing {
    /// What there is of a sector.
    ///
    /// # Errors
    /// One without a record.
    pub async fn holdings(&self, sector: SectorId) -> Result<SectorHoldings, SealingError> {
        let load = move |db: &Db| {
            let record = db.known(sector)?;
            let mut stores = Vec::new();
            for replica in [Replica::Normal, Replica::Upgrade] {
                if let Some(location) = db.location(sector, replica)? {
                    stores.extend([location.sealed, location.cache]);
                }
            }
            stores.sort();
            stores.dedup();
            let reserved = db.reservations()?;
            let reserved = reserved.into_iter().find(|r| r.sector == sector);
            let messages = db.messages_of(sector)?.into_iter();
            let open = messages.filter(|m| !m.state.has_ended());
            Ok::<_, SealingError>(SectorHoldings {
                fate: record.fate(),
                waits: waits(&record),
                taken_from: record.taken_from,
                claimant: record.claimant.map(|c| Claim {
                    caller: c.caller,
                    at: seconds(c.at),
                }),
                stores,
                reserved: reserved.map(|r| r.store),
                messages_open: u32::try_from(open.count()).unwrap_or(u32::MAX),
                chain: SectorOnChain::Nothing,
            })
        };
        let holdings = self.db.call(load).await?;
        let asked = tokio::time::timeout(LIMIT, self.on_chain(sector)).await;
        let chain = match asked {
            Ok(Ok(chain)) => chain,
            Ok(Err(error)) => SectorOnChain::Unknown {
                why: error.to_string(),
            },
            Err(_) => SectorOnChain::Unknown {
                why: format!("the node gave no answer within {LIMIT:?}"),
            },
        };
        Ok(SectorHoldings { chain, ..holdings })
    }

    async fn on_chain(&self, sector: SectorId) -> Result<SectorOnChain, SealingError> {
        let SectorId { miner, number } = sector;
        let head = self.chain.head().await?;
        let key = &head.cids;
        if let Some(proven) = self.chain.sector_info(miner, number, key).await? {
            return Ok(SectorOnChain::Sector {
                activation: proven.activation,
                expiration: proven.expiration,
            });
        }
        let pre = self.chain.precommit_info(miner, number, key).await?;
        Ok(
            pre.map_or(SectorOnChain::Nothing, |pre| SectorOnChain::PreCommit {
                epoch: pre.pre_commit_epoch,
                deposit: pre.pre_commit_deposit.to_string(),
            }),
        )
    }

    /// Sectors that workers spoke of and that there is no record of.
    ///
    /// # Errors
    /// A failing database.
    pub async fn strays(&self) -> Result<Vec<UnknownSector>, SealingError> {
        let all = self.db.call(|db| db.strays()).await?;
        let view = |s: Stray| UnknownSector {
            id: s.sector,
            caller: s.caller,
            state: s.state,
            first_heard: seconds(s.first),
            last_heard: seconds(s.last),
            given_up: s.given_up,
        };
        Ok(all.into_iter().map(view).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::tests::{given, room};

    #[tokio::test]
    async fn a_person_is_told_what_there_is_of_a_sector_and_where() {
        let (room, chain) = room(1000);
        let id = given(&room).await;
        let none = room.holdings(id).await.unwrap();
        assert_eq!(none.chain, SectorOnChain::Nothing);
        assert!(none.stores.is_empty() && none.reserved.is_none());
        chain.prove(id, None);
        room.db
            .put_locations(&[crate::sealing::tests::in_store(id, "hdd1")])
            .unwrap();
        let all = room.holdings(id).await.unwrap();
        assert!(matches!(all.chain, SectorOnChain::Sector { .. }));
        assert_eq!(all.stores, ["hdd1"]);
        chain.set_down(true);
        let away = room.holdings(id).await.unwrap();
        assert!(matches!(away.chain, SectorOnChain::Unknown { .. }));
        assert!(room.holdings(SectorId::new(1000, 99)).await.is_err());
    }
}
