//! A miner for which blocks are made, and the steps of a block that every way to it shares: it is
//! stored, told, sent.

use super::parts::Parts;
use crate::{
    chain::ChainError,
    db::{
        Db, DbError,
        blocks::{BlockRecord, Lost, Times},
    },
    model::unix_ms,
};
use damocles_flow::block::{BlockEvent, BlockState};
use damocles_types::ActorId;
use std::time::Instant;

/// Makes the blocks of one miner. It keeps nothing that the database cannot tell, but when it
/// forgot old records last.
#[derive(Clone)]
pub(super) struct Maker {
    pub(super) parts: Parts,
    pub(super) actor: ActorId,
    pub(super) forgot_at: Option<Instant>,
}

impl Maker {
    pub(super) fn new(parts: Parts, actor: ActorId) -> Self {
        Self {
            parts,
            actor,
            forgot_at: None,
        }
    }
}

impl Maker {
    /// Takes a record along an edge of the table and stores it; says what came of its block.
    pub(super) async fn step(
        &self,
        record: BlockRecord,
        event: BlockEvent,
    ) -> Result<BlockRecord, DbError> {
        let (miner, height, before) = (record.miner, record.height, record.state);
        let next = BlockRecord {
            by: self.parts.by.clone(),
            ..record
        };
        let Some(next) = next.step(event) else {
            tracing::error!(
                miner,
                height,
                "a block does not take {event} in state {before}; please report this"
            );
            return Err(DbError::BlockChanged { miner, height });
        };
        let stored = self
            .parts
            .db
            .call(move |db: &Db| db.put_block(&next))
            .await?;
        self.tell(&stored);
        Ok(stored)
    }

    fn tell(&self, record: &BlockRecord) {
        let BlockRecord { miner, height, .. } = *record;
        let why = record.error.as_deref().unwrap_or("-");
        let counts = &self.parts.counts;
        match record.state {
            BlockState::Won | BlockState::Signing | BlockState::Signed => return,
            BlockState::Sent => {
                tracing::info!(miner, height, times = ?record.times, "a block was sent");
                return;
            }
            BlockState::Included => {
                tracing::info!(miner, height, wins = record.wins, "a block is in the chain");
                counts.block(miner, "included");
            }
            BlockState::Orphaned => {
                tracing::warn!(miner, height, times = ?record.times, "the chain went on without a block that was sent");
                counts.block(miner, "orphaned");
            }
            BlockState::Refused => {
                tracing::error!(miner, height, why, "the node refuses a block");
                counts.block(miner, "refused");
            }
            BlockState::Lost => {
                let lost = record.lost.map_or("lost", word);
                tracing::warn!(miner, height, lost, why, times = ?record.times, "a block that was won is lost");
                counts.block(miner, lost);
            }
        }
        counts.took(miner, &record.times);
    }

    /// Sends a block that is stored, and stores it when the node has taken it.
    ///
    /// # Errors
    /// It was not heard, or not taken: the same bytes may be sent again as long as there is time, for
    /// nodes say no to a good block too while they are not quite up to date.
    pub(super) async fn send(&self, record: BlockRecord) -> Result<(), NotSent> {
        let Some(block) = &record.block else {
            return Err(NotSent::Db(DbError::BlockChanged {
                miner: record.miner,
                height: record.height,
            }));
        };
        match self.parts.node.submit_block(block).await {
            Ok(()) => {
                let sent = Some(unix_ms().saturating_sub(record.began_at));
                let times = Times {
                    sent,
                    ..record.times
                };
                let record = BlockRecord { times, ..record };
                self.step(record, BlockEvent::Send).await?;
                Ok(())
            }
            Err(ChainError::Refused { message, .. }) if !message.contains(TOO_EARLY) => {
                Err(NotSent::Refused(message))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What a node says to a block whose time has not come by its own clock (Lotus `ErrTemporal`).
const TOO_EARLY: &str = "block was from the future";

/// Why a block is not sent yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSent {
    /// In the node's words.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The label of a reason.
pub(super) fn word(lost: Lost) -> &'static str {
    match lost {
        Lost::SlowRead => "slow_read",
        Lost::SlowProof => "slow_proof",
        Lost::NodeLate => "node_late",
        Lost::Stopped => "stopped",
        Lost::Fault => "fault",
    }
}
