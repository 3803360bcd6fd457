//! Sentences that cost a sealed sector or hours of work are not spoken on one answer. The head
//! they rest on is believed, the state was asked where a short reorganisation does not reach, the
//! node is of the network that the database is of, and some epochs later it is still so.

use crate::commit::{Commit, CommitError};
use damocles_api::reason::Reason;
use damocles_node::TipSet;
use damocles_types::{Epoch, SectorId};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Between the first look and the one that counts.
const SECOND_LOOK: Epoch = 5;
/// A doubt that nobody asked about for so long is forgotten.
const FORGOTTEN: Epoch = 2880;

/// What was seen once, and at which head.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<HashMap<(SectorId, Reason), Epoch>>);

impl Doubts {
    /// Whether the same was seen some epochs before, and no time since then otherwise.
    pub(super) fn seen_again(&self, sector: SectorId, what: Reason, head: Epoch) -> bool {
        let mut known = self.0.lock();
        known.retain(|_, first| head - *first < FORGOTTEN);
        let first = known.entry((sector, what)).or_insert(head);
        // the chain went back: it counts anew
        *first = head.min(*first);
        head - *first >= SECOND_LOOK
    }

    /// It is not so.
    pub(super) fn dispel(&self, sector: SectorId, what: Reason) {
        self.0.lock().remove(&(sector, what));
    }
}

/// Whether the chain has used a number and holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The number is free, as far as the chain says: a reorganisation took the precommit out, or
    /// the node has not seen it.
    No,
    /// It looks so.
    Perhaps,
    Surely,
}

impl Commit {
    /// For a sector that the chain neither holds as precommitted nor as proven at that head. A
    /// number that was used stays marked for ever.
    pub(super) async fn gone(&self, sector: SectorId, head: &TipSet) -> Result<Gone, CommitError> {
        let chain = &self.chain;
        let (miner, number) = (sector.miner, sector.number);
        let used = chain.miner_allocated(miner, &head.cids).await?;
        if !used.get(number) {
            self.doubts.dispel(sector, Reason::NumberUsed);
            return Ok(Gone::No);
        }
        let confidence = self.miner(miner)?.confidence.max(1);
        let depth = (head.height - confidence).max(0);
        let deep = chain.tipset_at(depth, &head.cids).await?;
        let there = chain.precommit_info(miner, number, &deep).await?.is_some()
            || chain.sector_info(miner, number, &deep).await?.is_some();
        if there || !chain.miner_allocated(miner, &deep).await?.get(number) {
            self.doubts.dispel(sector, Reason::NumberUsed);
            return Ok(Gone::Perhaps);
        }
        let ours = self.db.call(|db| db.network()).await?;
        if ours.is_none() || chain.genesis().await? != ours {
            return Ok(Gone::Perhaps);
        }
        let again = self
            .doubts
            .seen_again(sector, Reason::NumberUsed, head.height);
        Ok(if again { Gone::Surely } else { Gone::Perhaps })
    }

    /// Whether randomness that a sector was sealed with is not the chain's, for certain.
    ///
    /// # Errors
    /// [`CommitError::Unsure`] at the first look.
    pub(super) fn settled(
        &self,
        sector: SectorId,
        what: Reason,
        head: Epoch,
    ) -> Result<(), CommitError> {
        if self.doubts.seen_again(sector, what, head) {
            self.doubts.dispel(sector, what);
            return Ok(());
        }
        Err(CommitError::Unsure(sector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_look_counts_some_epochs_after_the_first() {
        let doubts = Doubts::default();
        let id = SectorId::new(1000, 1);
        let see = |head| doubts.seen_again(id, Reason::NumberUsed, head);
        assert!(!see(100) && !see(100) && !see(104));
        assert!(see(105));
        // the chain went back
        assert!(!see(90) && !see(94) && see(95));
        doubts.dispel(id, Reason::NumberUsed);
        assert!(!see(200), "it was otherwise in between");
        assert!(!doubts.seen_again(id, Reason::TicketNotOnChain, 205));
        assert!(!doubts.seen_again(SectorId::new(1000, 2), Reason::NumberUsed, 205));
    }
}
