//! What becomes of blocks that are on their way, and of those that a stop left behind.

use super::{
    maker::{Maker, NotSent},
    schedule::Timing,
};
use crate::{
    db::{
        DbError,
        blocks::{BlockRecord, Lost},
    },
    model::unix_ms,
};
use damocles_flow::block::{BlockEvent, BlockState};
use damocles_types::Epoch;
use std::time::Duration;

/// So many epochs later it is looked whether the chain has a block: by then it seldom changes.
const LATER: Epoch = 5;

/// A look at what became of a block waits no longer for the node.
const LOOK: Duration = Duration::from_secs(5);

/// What is to be done for an unfinished block. Between two rounds nobody works on one, so what is
/// not signed was left behind by a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nobody knows whether it was signed, and nobody asks for it again.
    GiveUp,
    /// The same bytes as before.
    Send,
    Look,
    Nothing,
}

/// Pure; `now` in milliseconds since 1970.
fn due(record: &BlockRecord, head: Epoch, now: u64, timing: Timing) -> Due {
    let timestamp = record.block.as_ref().map_or(0, |b| b.header.timestamp);
    match record.state {
        BlockState::Won | BlockState::Signing => Due::GiveUp,
        BlockState::Signed if timing.in_time(timestamp, record.height, head, now) => Due::Send,
        BlockState::Signed | BlockState::Sent if head >= record.height + LATER => Due::Look,
        _ => Due::Nothing,
    }
}

impl Maker {
    /// Does what is to be done for the miner's unfinished blocks at that head.
    pub(super) async fn follow(&self, head: Epoch, timing: Timing) {
        let miner = self.actor;
        let open = self
            .parts
            .db
            .call(move |db| db.unfinished_blocks(miner))
            .await;
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(miner, %error, "the records of blocks cannot be read");
                return;
            }
        };
        for record in open.into_iter().rev() {
            let height = record.height;
            let done = match due(&record, head, unix_ms(), timing) {
                Due::GiveUp => self.give_up(record).await.map_err(Into::into),
                Due::Send => self.send(record).await,
                Due::Look => self.look(record).await,
                Due::Nothing => Ok(()),
            };
            if let Err(error) = done {
                tracing::debug!(miner, height, %error, "a block could not be followed; trying again");
            }
        }
    }

    async fn give_up(&self, record: BlockRecord) -> Result<(), DbError> {
        let stopped = BlockRecord {
            lost: Some(Lost::Stopped),
            error: Some("the manager was stopped while it was made".to_owned()),
            ..record
        };
        self.step(stopped, BlockEvent::Lose).await.map(drop)
    }

    /// Looks whether the chain has the block.
    async fn look(&self, record: BlockRecord) -> Result<(), NotSent> {
        let there = self.parts.node.tipset_of_epoch(record.height);
        let Ok(there) = tokio::time::timeout(LOOK, there).await else {
            // rounds come before it
            return Ok(());
        };
        let there = there?;
        let has_it = record.cid.is_some_and(|cid| there.cids.0.contains(&cid));
        let (event, record) = match (has_it, record.state) {
            (true, _) => (BlockEvent::Include, record),
            (false, BlockState::Signed) => {
                let late = BlockRecord {
                    lost: Some(Lost::NodeLate),
                    error: Some("the node did not take it in time".to_owned()),
                    ..record
                };
                (BlockEvent::Lose, late)
            }
            (false, _) => (BlockEvent::Orphan, record),
        };
        self.step(record, event).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_node::TipSetKey;
    use std::time::Duration;

    #[test]
    fn what_is_signed_is_sent_in_time_and_looked_for_later_and_what_is_not_is_given_up() {
        let timing = Timing::new(Duration::from_secs(4), false);
        let record = |state| BlockRecord {
            state,
            ..BlockRecord::won(1000, 100, (TipSetKey::HEAD, 99))
        };
        use BlockState as S;
        for (state, head, expected) in [
            (S::Won, 99, Due::GiveUp),
            (S::Signing, 120, Due::GiveUp),
            (S::Signed, 99, Due::Send),
            (S::Signed, 100, Due::Nothing),
            (S::Signed, 105, Due::Look),
            (S::Sent, 104, Due::Nothing),
            (S::Sent, 105, Due::Look),
            (S::Included, 200, Due::Nothing),
            (S::Lost, 200, Due::Nothing),
        ] {
            assert_eq!(
                due(&record(state), head, 0, timing),
                expected,
                "{state} at {head}"
            );
        }
    }
}
