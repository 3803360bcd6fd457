//! A sender's messages are executed in the order of their nonces. Where the next nonce belongs to
//! a message that is nowhere any more (somebody else's, or one of ours that had failed, lost with
//! a branch and the pool), everything behind it would wait for ever: after a while the nonce is
//! used up by a message of nothing from the sender to itself.
//!
//! Nothing is noted of it. A kill after the sending leaves a message in the pool, and then there
//! is no gap; two messages at one nonce can never both be executed.

use crate::{
    chain::Head,
    db::record::MessageRecord,
    messages::{Engine, EngineError},
};
use damocles_types::Epoch;
use fvm_shared::address::Address;
use std::collections::HashMap;

/// A nonce is nobody's when it has been missing for so many epochs (five minutes on the real
/// network; a window has thirty): until then its message may come back.
const PATIENCE: Epoch = 10;
/// Nonces that are used up in one pass.
const AT_ONCE: usize = 16;

/// A sender's next nonce that is missed, and the head since which it is.
type Gap = (u64, Epoch);

/// What to do about a sender whose next nonce on chain is `next`, and whose first message of
/// ours that waits has the nonce `first`: the nonce that is missed and since when, and whether it
/// is to be used up now. Pure.
fn look(seen: Option<Gap>, next: u64, first: u64, head: Epoch) -> (Option<Gap>, bool) {
    if first <= next {
        return (None, false);
    }
    match seen {
        Some((missed, since)) if missed == next && since <= head => {
            (seen, head - since >= PATIENCE)
        }
        _ => (Some((next, head)), false),
    }
}

impl Engine {
    /// Looks at the senders of all messages that wait, and uses up nonces that nobody has. What
    /// the node does not answer is asked again at the next head.
    pub(super) async fn fill_gaps(&self, open: &[MessageRecord], head: &Head) {
        // what wakes the engine within a head changes nothing of it
        if self.seen.gaps_at.lock().replace(head.clone()).as_ref() == Some(head) {
            return;
        }
        let mut first: HashMap<Address, (u64, &MessageRecord)> = HashMap::new();
        // the nonces before those that a messager gave are its own to look after
        let ours = open.iter().filter(|m| m.entrusted.is_none());
        for (nonce, record) in ours.filter_map(|m| Some((m.nonce?, m))) {
            let known = first.entry(record.from).or_insert((nonce, record));
            if nonce < known.0 {
                *known = (nonce, record);
            }
        }
        self.seen
            .gaps
            .lock()
            .retain(|from, _| first.contains_key(from));
        for (nonce, record) in first.into_values() {
            if let Err(error) = self.fill_gap(nonce, record, head).await {
                tracing::debug!(%error, from = %record.from, "a gap before our messages could not be looked at");
            }
        }
    }

    /// Before the sender's first message that waits, which has the nonce `first`.
    async fn fill_gap(
        &self,
        first: u64,
        record: &MessageRecord,
        head: &Head,
    ) -> Result<(), EngineError> {
        let (from, chain) = (record.from, &*self.chain);
        let next = chain.actor(from, &head.key).await?.nonce;
        let due = {
            let mut gaps = self.seen.gaps.lock();
            let (gap, due) = look(gaps.get(&from).copied(), next, first, head.height);
            match gap {
                Some(gap) => gaps.insert(from, gap),
                None => gaps.remove(&from),
            };
            due
        };
        if !due {
            return Ok(());
        }
        let waiting = chain.pending_nonces(from).await?;
        for nonce in (next..first).take(AT_ONCE).filter(|n| !waiting.contains(n)) {
            let signed = self.fill(from, nonce, &record.fee).await?;
            tracing::warn!(
                %from, nonce, cid = %signed.cid(), waits = first,
                "the message that had this nonce is nowhere any more; a message of nothing takes it, so that ours behind it go on"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_nobodys_after_a_while_without_it() {
        let gap = |next, since| Some((next, since));
        // ours is next, or its nonce was used: no gap
        assert_eq!(look(gap(3, 1), 3, 3, 90), (None, false));
        assert_eq!(look(None, 4, 3, 90), (None, false));
        // seen for the first time, then for long enough
        assert_eq!(look(None, 3, 5, 90), (gap(3, 90), false));
        assert_eq!(look(gap(3, 90), 3, 5, 99), (gap(3, 90), false));
        assert_eq!(look(gap(3, 90), 3, 5, 100), (gap(3, 90), true));
        // the chain moved on, or went back: another gap
        assert_eq!(look(gap(3, 90), 4, 5, 100), (gap(4, 100), false));
        assert_eq!(look(gap(3, 90), 3, 5, 80), (gap(3, 80), false));
    }
}
