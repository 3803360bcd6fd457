//! Sectors for which the manager has something to do: what waits for a message, and what left the
//! chain.

use crate::{
    db::{
        Db, DbError, keys,
        record::SectorRecord,
        schema::{LEFT_CHAIN, READY},
    },
    model::Commitment,
};
use damocles_kv::Span;
use damocles_types::ActorId;
use std::collections::BTreeSet;

impl Db {
    /// Sectors whose commitment of this kind waits for a message; of one miner, if one is given.
    pub fn ready(
        &self,
        kind: Commitment,
        miner: Option<ActorId>,
    ) -> Result<Vec<SectorRecord>, DbError> {
        let mut prefix = keys::ready_kind(kind).to_vec();
        prefix.extend(miner.map(keys::miner).unwrap_or_default());
        self.listed(READY, &prefix)
    }

    /// Finished sectors that the chain does not have any more; of one miner, if one is given.
    pub fn left_chain(&self, miner: Option<ActorId>) -> Result<Vec<SectorRecord>, DbError> {
        self.listed(LEFT_CHAIN, &miner.map(keys::miner).unwrap_or_default())
    }

    /// The miners of sectors that wait for a message, or left the chain.
    pub fn miners_that_wait(&self) -> Result<BTreeSet<ActorId>, DbError> {
        let mut miners = BTreeSet::new();
        for list in [READY, LEFT_CHAIN] {
            miners.extend(self.all_of(list, Span::all(), |entry| {
                Ok(keys::read_sector(entry.key()).map(|id| id.miner))
            })?);
        }
        Ok(miners)
    }
}
