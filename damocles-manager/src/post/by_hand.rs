//! What a person orders about proving: faulty sectors of a deadline are looked at before their time
//! comes, partitions are dissolved. Both go the poster's own way: the record first, and then one
//! message.

use super::ask::{AskError, Asked};
use crate::{db::recoveries::RecoveryRecord, model::MessageKind, post::faults};
use damocles_api::proving::{OrderedView, RecoveryView};
use damocles_flow::recovery::RecoveryState;
use damocles_types::{ActorId, SectorNumber};
use fil_actor_miner_state::v18::{CompactPartitionsParams, Method};
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::econ::TokenAmount;
use std::collections::BTreeMap;

impl Asked {
    /// Has the poster look at the faulty sectors of a deadline at its next head, and declare those
    /// recovered that can be read; in a proving period once. What is known of it by now.
    ///
    /// # Errors
    /// A miner that is not served, no such deadline or one that is open, a node that does not
    /// answer, a failing database.
    pub async fn recover(&self, miner: ActorId, deadline: u64) -> Result<RecoveryView, AskError> {
        self.served.miner(miner).ok_or(AskError::NoMiner(miner))?;
        let at = self.at(miner).await?;
        if deadline >= at.now.wpost_period_deadlines {
            return Err(AskError::NoDeadline(miner, deadline));
        }
        if deadline == at.now.index && at.height >= at.now.open && at.height < at.now.close {
            let close = at.now.close;
            return Err(AskError::Open { deadline, close });
        }
        let opening = faults::next(&at.now, deadline, at.height);
        let partitions = self.chain.miner_partitions(miner, deadline, &at.key);
        let faulty = faults::faulty(&partitions.await?);
        let known = self.db.call(move |db| db.recovery(miner, opening.open));
        let record = match known.await? {
            // the poster rests after a look that found nothing
            Some(record) if record.state == RecoveryState::Looking => RecoveryRecord {
                tries: 0,
                retry_at: None,
                ..record
            },
            Some(record) => return Ok(view(record)),
            None => {
                let times = (opening.from.min(at.height), opening.cutoff);
                let record = RecoveryRecord::begun(miner, deadline, opening.open, times);
                if faulty.is_empty() {
                    let state = RecoveryState::Cleared;
                    return Ok(view(RecoveryRecord { state, ..record }));
                }
                record
            }
        };
        let stored = self
            .db
            .call(move |db| db.put_recovery(&record, &[]))
            .await?;
        Ok(view(stored))
    }

    /// Has partitions of a deadline dissolved: what lives in them moves to the others. Its message.
    ///
    /// # Errors
    /// A miner that is not served, no such deadline or partition, a node that does not answer, a
    /// failing database; a manager without a poster.
    pub async fn compact(
        &self,
        miner: ActorId,
        deadline: u64,
        partitions: &[u64],
    ) -> Result<OrderedView, AskError> {
        let (context, head) = self.poster(miner).await?;
        let at = self.at(miner).await?;
        if deadline >= at.now.wpost_period_deadlines {
            return Err(AskError::NoDeadline(miner, deadline));
        }
        let there = self
            .chain
            .miner_partitions(miner, deadline, &at.key)
            .await?;
        let count = there.len() as u64;
        if partitions.is_empty() || partitions.iter().any(|p| *p >= count) {
            return Err(AskError::NoPartition(miner));
        }
        let failed = |e: &dyn std::fmt::Display| AskError::Step(e.to_string());
        let partitions = BitField::try_from_bits(partitions.iter().copied());
        let params = CompactPartitionsParams {
            deadline,
            partitions: partitions.map_err(|e| failed(&e))?,
        };
        let params = RawBytes::serialize(&params).map_err(|e| failed(&e))?;
        // the chain takes it until a window before the deadline's next one
        let next = faults::next(&at.now, deadline, at.height);
        let until = next.open - at.now.wpost_challenge_window;
        let message = context
            .message(
                MessageKind::CompactPartitions,
                Method::CompactPartitions,
                params,
                TokenAmount::default(),
                until,
                &head,
            )
            .await
            .map_err(|e| failed(&e))?;
        let id = context.parts.messages.want_once(message).await?;
        Ok(OrderedView {
            message: id.to_string(),
            until,
        })
    }
}

fn view(record: RecoveryRecord) -> RecoveryView {
    let partitions = record.declared.iter().flat_map(|d| &d.partitions);
    let declared = partitions.flat_map(|recovered| recovered.sectors.iter().copied());
    let faulty: BTreeMap<SectorNumber, String> = record.faulty.into_iter().collect();
    RecoveryView {
        miner: record.miner,
        deadline: record.deadline,
        open: record.open,
        cutoff: record.cutoff,
        state: record.state.to_string(),
        declared: declared.collect(),
        messages: record
            .declared
            .iter()
            .map(|d| d.message.to_string())
            .collect(),
        faulty,
        error: record.error,
    }
}
