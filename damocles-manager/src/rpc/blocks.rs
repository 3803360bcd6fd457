//! `Damocles.Blocks`.

use super::{error::ToRpc, rooms::Rooms};
use crate::{sealing::SealingError, winning};
use damocles_api::blocks::{BlocksView, DamoclesBlocksServer};
use damocles_types::ActorId;
use jsonrpsee::core::{RpcResult, async_trait};

/// Most blocks in one answer: a month of a large miner.
const MOST_BLOCKS: u32 = 10_000;

#[async_trait]
impl DamoclesBlocksServer for Rooms {
    async fn blocks(&self, miner: ActorId, limit: u32) -> RpcResult<BlocksView> {
        let limit = usize::try_from(limit.min(MOST_BLOCKS)).unwrap_or(0);
        let view = winning::blocks(&self.db, miner, limit).await;
        let view = view.map_err(ToRpc::to_operator)?;
        // those of a miner that was taken from the config are still told
        if view.blocks.is_empty() && view.tried == 0 && !self.sealing.knows(miner) {
            return Err(SealingError::NoMiner(miner).to_operator());
        }
        Ok(view)
    }
}
