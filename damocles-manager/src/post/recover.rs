//! Faulty sectors are declared recovered: those of a deadline together, before its cut-off, once in
//! a proving period, and only those of which what a challenge asks for was read. The record and its
//! messages are stored at once, so a restart declares nothing twice.

use crate::{
    chain::Head,
    db::{
        record::MessageRecord,
        recoveries::{Declaration, RecoveryRecord},
    },
    model::MessageKind,
    post::{
        StepError,
        context::Context,
        faults::{self, Opening, Recover},
        schedule::Timing,
        sectors::{NOT_LOOKED_AT, Sorted, look_until},
        send::failure,
    },
};
use damocles_flow::{
    recovery::{RecoveryEvent, RecoveryFlow},
    table::Table,
};
use damocles_types::{Epoch, SectorNumber};
use fil_actor_miner_state::v18::Method;
use fvm_ipld_bitfield::BitField;
use fvm_shared::econ::TokenAmount;
use std::collections::BTreeMap;

/// Sectors that one line of the log names.
const NAMED: usize = 20;

fn advance(record: &mut RecoveryRecord, event: RecoveryEvent) -> Result<(), StepError> {
    let state = record.state;
    let illegal = StepError::IllegalRecovery { state, event };
    record.state = RecoveryFlow::next(state, event).ok_or(illegal)?;
    Ok(())
}

impl Context {
    /// Takes what is recovered for an opening a step further. True: it was begun for nothing, for
    /// the deadline has no faulty sectors.
    pub(super) async fn recover(
        &self,
        step: Recover,
        record: Option<RecoveryRecord>,
        head: &Head,
        timing: Timing,
    ) -> bool {
        let result = match (step, record) {
            (Recover::Begin(opening), _) => self.begin_recovery(opening, head).await,
            (_, None) => Ok(false),
            (Recover::Look(_), Some(record)) => {
                let cutoff = record.cutoff;
                // what is not known by then cannot be declared
                tokio::select! {
                    result = self.look_at_faults(record, head) => result.map(|()| false),
                    () = self.reached(cutoff) => return false,
                }
            }
            (Recover::Follow(_), Some(record)) => self
                .follow_recovery(record, head, timing)
                .await
                .map(|()| false),
            (Recover::Pass(_), Some(record)) => self.pass(record).await.map(|()| false),
        };
        match result {
            Ok(healthy) => healthy,
            Err(error) => {
                self.recovery_failed(step.open(), &error, head, timing)
                    .await;
                false
            }
        }
    }

    /// True: nothing is faulty there. Otherwise there is a record from now on.
    async fn begin_recovery(&self, opening: Opening, head: &Head) -> Result<bool, StepError> {
        let miner = self.actor;
        let chain = &self.parts.chain;
        let partitions = chain
            .miner_partitions(miner, opening.index, &head.key)
            .await?;
        if faults::faulty(&partitions).is_empty() {
            return Ok(true);
        }
        let mut record = RecoveryRecord::begun(
            miner,
            opening.index,
            opening.open,
            (opening.from, opening.cutoff),
        );
        self.store_recovery(&mut record, Vec::new()).await?;
        Ok(false)
    }

    async fn look_at_faults(
        &self,
        mut record: RecoveryRecord,
        head: &Head,
    ) -> Result<(), StepError> {
        let (miner, policy) = (self.actor, self.policy());
        let chain = &self.parts.chain;
        let partitions = chain
            .miner_partitions(miner, record.deadline, &head.key)
            .await?;
        let faulty = faults::faulty(&partitions);
        if faulty.is_empty() {
            advance(&mut record, RecoveryEvent::Clear)?;
            (record.faulty, record.error) = (Vec::new(), None);
            return self.store_recovery(&mut record, Vec::new()).await;
        }
        let mut sorted = self.faulty_sectors(&faulty, record.cutoff, head).await?;
        let cutoff = record.cutoff;
        let time = faults::waits_for_away(head.height, record.from, cutoff);
        let waits = time && !sorted.away.is_empty();
        sorted.bad.append(&mut sorted.away);
        let Sorted { found, bad, .. } = sorted;
        record.faulty = told(bad, &record.faulty);
        if waits || found.is_empty() {
            let why = still(&record.faulty);
            if record.tries == 0 {
                self.store_recovery(&mut record, Vec::new()).await?;
            }
            return Err(StepError::NotNow(why));
        }
        let available = chain.miner_available_balance(miner, &head.key).await?;
        // travels with the first message
        let mut pays = faults::payment(&available);
        if pays > policy.post.fee.max_fee {
            return Err(StepError::NotNow(debt(miner, &available)));
        }
        let readable = |number: SectorNumber| found.contains_key(&number);
        let post = &policy.post;
        let declared = faults::declared(
            &faulty,
            readable,
            post.max_partitions_per_recovery,
            post.max_recovered_sectors,
        );
        let limit = post.max_recovered_sectors;
        record
            .faulty
            .extend(declared.left.into_iter().map(|number| {
                let why = format!(
                    "it can be read; MaxRecoverSectorLimit allows {limit} in a proving period"
                );
                (number, why)
            }));
        let mut messages = Vec::new();
        record.declared.clear();
        for partitions in declared.messages {
            let params = faults::params(record.deadline, &partitions)?;
            let value = std::mem::take(&mut pays);
            let message = self
                .message(
                    MessageKind::DeclareRecoveries,
                    Method::DeclareFaultsRecovered,
                    params,
                    value,
                    cutoff,
                    head,
                )
                .await?;
            record.declared.push(Declaration {
                message: message.id,
                partitions,
            });
            messages.push(message);
        }
        (record.tries, record.retry_at, record.error) = (0, None, None);
        advance(&mut record, RecoveryEvent::Declare)?;
        self.store_recovery(&mut record, messages).await?;
        self.parts.messages.wake();
        let recovered: Vec<_> = sectors(&record).collect();
        tracing::info!(
            miner, deadline = record.deadline, open = record.open, sectors = ?first(&recovered),
            count = recovered.len(), messages = record.declared.len(),
            "faulty sectors can be read again and are declared recovered"
        );
        alarm(&record);
        Ok(())
    }

    /// The faulty sectors, by whether what a challenge asks for can be read of them.
    async fn faulty_sectors(
        &self,
        faulty: &[(u64, BitField)],
        cutoff: Epoch,
        head: &Head,
    ) -> Result<Sorted, StepError> {
        let wanted = BitField::union(faulty.iter().map(|(_, sectors)| sectors));
        let until = look_until(head.height, cutoff, head.height);
        self.could_be_proven(&wanted, true, head, until).await
    }

    async fn follow_recovery(
        &self,
        mut record: RecoveryRecord,
        head: &Head,
        timing: Timing,
    ) -> Result<(), StepError> {
        let ids: Vec<_> = record.declared.iter().map(|d| d.message).collect();
        let look = move |db: &crate::db::Db| {
            let found = ids.into_iter().map(|id| db.message(id));
            found.collect::<Result<Vec<_>, _>>()
        };
        let messages = self.parts.db.call(look).await?;
        let ended = |m: &Option<MessageRecord>| m.as_ref().is_none_or(|m| m.state.has_ended());
        let landed = |m: &Option<MessageRecord>| m.as_ref().is_some_and(|m| m.state.has_landed());
        if messages.iter().all(landed) {
            advance(&mut record, RecoveryEvent::Land)?;
            record.error = None;
            tracing::info!(
                miner = self.actor,
                deadline = record.deadline,
                open = record.open,
                count = sectors(&record).count(),
                "recovered sectors are declared on chain; the next WindowPoSt of their deadline makes them healthy"
            );
            return self.store_recovery(&mut record, Vec::new()).await;
        }
        if !messages.iter().all(ended) {
            if head.height < record.open {
                return Ok(());
            }
            record.error = Some("no block took a message before the deadline opened".to_owned());
            return self.pass(record).await;
        }
        let why = messages.iter().find(|m| !landed(m)).map(|m| match m {
            Some(m) => failure(m),
            None => "its message is not in the database".to_owned(),
        });
        record.error = why;
        if head.height >= record.cutoff {
            return self.pass(record).await;
        }
        record.tries = record.tries.saturating_add(1);
        let at = timing.retry_at(head.height, record.tries, record.cutoff);
        record.retry_at = Some(at);
        tracing::warn!(
            miner = self.actor,
            deadline = record.deadline,
            open = record.open,
            why = record.error,
            retry_at = at,
            "sectors could not be declared recovered; trying again"
        );
        advance(&mut record, RecoveryEvent::Again)?;
        self.store_recovery(&mut record, Vec::new()).await
    }

    /// The cut-off is behind: what was not declared stays faulty for a proving period.
    async fn pass(&self, mut record: RecoveryRecord) -> Result<(), StepError> {
        advance(&mut record, RecoveryEvent::Pass)?;
        let why = record.error.clone();
        let why = why.unwrap_or_else(|| "there was not enough time to declare it".to_owned());
        let declared: Vec<_> = sectors(&record).collect();
        record
            .faulty
            .extend(declared.into_iter().map(|number| (number, why.clone())));
        self.store_recovery(&mut record, Vec::new()).await?;
        alarm(&record);
        Ok(())
    }

    /// Writes a failed attempt into the record, as it is stored by now.
    async fn recovery_failed(&self, open: Epoch, error: &StepError, head: &Head, timing: Timing) {
        let miner = self.actor;
        let done = async {
            let stored = self.parts.db.call(move |db| db.recovery(miner, open));
            let Some(mut record) = stored.await? else {
                tracing::warn!(miner, open, %error, "could not find out which sectors are faulty; trying again at the next head");
                return Ok(());
            };
            record.tries = record.tries.saturating_add(1);
            let now = self.height().unwrap_or(head.height);
            let at = timing.retry_at(now, record.tries, record.cutoff);
            record.retry_at = Some(at);
            if record.error.replace(error.to_string()) != record.error {
                tracing::warn!(
                    miner, deadline = record.deadline, open, retry_at = at, %error,
                    "faulty sectors cannot be declared recovered yet; trying again until epoch {}",
                    record.cutoff
                );
            }
            self.store_recovery(&mut record, Vec::new()).await
        };
        let done: Result<(), StepError> = done.await;
        if let Err(error) = done {
            tracing::error!(miner, open, %error, "a failure could not be stored");
        }
    }

    async fn store_recovery(
        &self,
        record: &mut RecoveryRecord,
        messages: Vec<MessageRecord>,
    ) -> Result<(), StepError> {
        let changed = record.clone();
        let stored = move |db: &crate::db::Db| db.put_recovery(&changed, &messages);
        *record = self.parts.db.call(stored).await?;
        Ok(())
    }
}

/// Says once a proving period which sectors stay faulty: each costs a fee every day, and is
/// terminated after weeks.
fn alarm(record: &RecoveryRecord) {
    if record.faulty.is_empty() {
        return;
    }
    let numbers: Vec<_> = record.faulty.iter().map(|(number, _)| *number).collect();
    tracing::error!(
        miner = record.miner, deadline = record.deadline, sectors = ?first(&numbers),
        count = numbers.len(), why = still(&record.faulty),
        "sectors stay faulty, which costs a fee every day; `damocles-manager util sealer proving faults {}` lists them",
        record.miner
    );
}

fn sectors(record: &RecoveryRecord) -> impl Iterator<Item = SectorNumber> + '_ {
    let partitions = record.declared.iter().flat_map(|d| &d.partitions);
    partitions.flat_map(|recovered| recovered.sectors.iter().copied())
}

/// Why sectors stay faulty, from this look and the one before: what was seen then is worth more than
/// that there was no time now. Pure.
fn told(
    bad: BTreeMap<SectorNumber, String>,
    before: &[(SectorNumber, String)],
) -> Vec<(SectorNumber, String)> {
    let seen = |(number, why): (SectorNumber, String)| {
        let known = before.iter().find(|(n, _)| *n == number);
        match known {
            Some((_, known)) if why == NOT_LOOKED_AT => (number, known.clone()),
            _ => (number, why),
        }
    };
    bad.into_iter().map(seen).collect()
}

fn first(numbers: &[SectorNumber]) -> &[SectorNumber] {
    numbers.get(..NAMED).unwrap_or(numbers)
}

fn still(faulty: &[(SectorNumber, String)]) -> String {
    let count = faulty.len();
    match faulty.first() {
        Some((number, why)) => format!("{count} cannot be proven (sector {number}: {why})"),
        None => "there was not enough time to look".to_owned(),
    }
}

fn debt(miner: u64, available: &TokenAmount) -> String {
    let owed = -available.clone();
    format!(
        "miner t0{miner} owes {owed} FIL of fees more than it has free, and until they are paid the chain takes no recovery; that is more than [Miners.PoSt] MaxFee lets a message cost: send at least that much to t0{miner}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_of_a_sector_is_not_forgotten_for_want_of_time() {
        let list = |all: &[(u64, &str)]| -> Vec<_> {
            all.iter().map(|(n, why)| (*n, (*why).to_owned())).collect()
        };
        let before = list(&[(1, "it is gone"), (2, "it is short"), (9, "mended")]);
        let now = list(&[(1, NOT_LOOKED_AT), (2, "it is gone"), (3, NOT_LOOKED_AT)]);
        let told = told(now.into_iter().collect(), &before);
        let want = [(1, "it is gone"), (2, "it is gone"), (3, NOT_LOOKED_AT)];
        assert_eq!(told, list(&want));
    }
}
