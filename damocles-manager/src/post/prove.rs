//! One attempt at a proof: challenge, sectors, files, prover, verification. Each stage is
//! stored before the next one begins.
//!
//! Of the files only presence and size are looked at here (upstream's `StrictCheck` also reads
//! a vanilla proof of each): the prover reads them all anyway, and names those that it cannot.

use crate::{
    chain::Head,
    db::posts::{PostRecord, StoredProof},
    post::{StepError, advance, batch, context::Context, prover::Claim, schedule::wait_until},
    storage::{Located, NotUsable, Replica},
};
use damocles_flow::post::{PostEvent, PostState};
use damocles_node::{MinerInfo, SectorOnChainInfo};
use damocles_processor::task::{Replica as ProverReplica, WindowPost};
use damocles_types::{
    Base64, Commitment, Epoch, PoStProof, Randomness, SectorId, SectorNumber, SectorSize,
};
use futures::{StreamExt, stream};
use fvm_ipld_bitfield::BitField;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Several times what a partition has (2349 of 32GiB); a longer list is a broken answer.
const MOST_SECTORS: u64 = 10_000;
/// WindowPoSts from which is learned how long one takes: a period of the mainnet's.
const LATELY: usize = 48;

/// A sector that is due, as the chain knows it, with the files it lies in.
struct Found {
    comm_r: Commitment,
    files: Located,
}

/// Due sectors by what can be done with them.
#[derive(Default)]
struct Sorted {
    found: BTreeMap<SectorNumber, Found>,
    /// Cannot be proven; why.
    bad: BTreeMap<SectorNumber, String>,
    /// The store does not answer: it may come back.
    away: BTreeMap<SectorNumber, String>,
}

impl Context {
    /// Takes a record from wherever it is to `Proved` (or `Covered`).
    pub(super) async fn prove(&self, mut record: PostRecord, head: &Head) -> Result<(), StepError> {
        // An attempt that was cut short begins anew: its challenge may have changed.
        if record.state != PostState::Waiting {
            advance(&mut record, PostEvent::Again)?;
        }
        if head.height >= record.key.open && self.drop_covered(&mut record, head).await? {
            return self.store(&mut record).await;
        }
        let challenge = self.challenge(&record, head).await?;
        record.randomness = Some(challenge);
        advance(&mut record, PostEvent::Challenge)?;
        self.store(&mut record).await?;

        let miner = record.key.miner;
        let info = self.parts.chain.miner_info(miner, &head.key).await?;
        let proof_type = window_type(&info)?;
        let due = self.due(&record, head).await?;
        if due.is_empty() {
            advance(&mut record, PostEvent::Cover)?;
            record.error = Some("nothing in these partitions is due any more".to_owned());
            return self.store(&mut record).await;
        }
        let mut sorted = self.sort(&record, &due, proof_type.size(), head).await?;
        self.patience(&record, &mut sorted).await?;
        let Sorted { found, mut bad, .. } = sorted;

        advance(&mut record, PostEvent::Start)?;
        self.store(&mut record).await?;
        let (started, began) = (Instant::now(), self.height());
        let seed = challenge.as_field_element();
        loop {
            let (good, partitions) = batch::split(&due, &bad);
            let replicas: BTreeMap<SectorNumber, &Found> = good
                .iter()
                .filter_map(|n| Some((*n, found.get(n)?)))
                .collect();
            if replicas.is_empty() {
                record.skipped = bad.into_iter().collect();
                self.store(&mut record).await?;
                return Err(StepError::NotNow(none_left(&record.skipped)));
            }
            let task = task(miner, proof_type, seed, &replicas);
            let output = self.parts.prover.prove(task).await?;
            let faults: BTreeSet<_> = output.faults.into_iter().collect();
            if !faults.is_empty() {
                let known = bad.len();
                let named = faults.into_iter().filter(|n| replicas.contains_key(n));
                bad.extend(named.map(|n| (n, "the prover cannot read its files".to_owned())));
                if bad.len() == known {
                    let why = "the prover names faulty sectors that it was not asked to prove";
                    return Err(StepError::NotNow(why.to_owned()));
                }
                continue;
            }
            let proof = one_proof(output.proofs)?;
            let replicas = replicas.into_iter().map(|(n, f)| (n, f.comm_r)).collect();
            self.check(miner, proof_type, challenge, &proof, replicas)
                .await?;
            record.proof = Some(StoredProof {
                kind: proof_type.number(),
                bytes: proof,
                partitions,
            });
            break;
        }
        record.skipped = bad.into_iter().collect();
        record.proving_ms = u64::try_from(started.elapsed().as_millis()).ok();
        record.proving_epochs = began.zip(self.height()).map(|(from, to)| to - from + 1);
        (record.tries, record.retry_at, record.error) = (0, None, None);
        advance(&mut record, PostEvent::Prove)?;
        self.store(&mut record).await?;
        tracing::info!(
            miner, deadline = record.deadline, open = record.key.open, partitions = ?record.partitions,
            skipped = record.skipped.len(), ms = record.proving_ms,
            "a WindowPoSt is proven"
        );
        for (sector, why) in &record.skipped {
            tracing::error!(
                miner,
                sector,
                why,
                "a sector is left out of the WindowPoSt and becomes faulty"
            );
        }
        Ok(())
    }

    /// What is due in each partition of the batch; partitions with nothing due are left out.
    async fn due(
        &self,
        record: &PostRecord,
        head: &Head,
    ) -> Result<Vec<(u64, BitField)>, StepError> {
        let chain = &self.parts.chain;
        let partitions = chain
            .miner_partitions(record.key.miner, record.deadline, &head.key)
            .await?;
        let mut out = Vec::new();
        for index in &record.partitions {
            let partition = usize::try_from(*index).ok().and_then(|i| partitions.get(i));
            let due = partition.map(batch::due).unwrap_or_default();
            if due.len() > MOST_SECTORS {
                let what = format!("partition {index} is said to have {} sectors", due.len());
                return Err(StepError::Nonsense(what));
            }
            if !due.is_empty() {
                out.push((*index, due));
            }
        }
        Ok(out)
    }

    /// Looks for the files of all due sectors, many at a time.
    async fn sort(
        &self,
        record: &PostRecord,
        due: &[(u64, BitField)],
        size: SectorSize,
        head: &Head,
    ) -> Result<Sorted, StepError> {
        let miner = record.key.miner;
        let wanted = BitField::union(due.iter().map(|(_, sectors)| sectors));
        let chain = &self.parts.chain;
        let infos = chain.miner_sectors(miner, Some(&wanted), &head.key).await?;
        let mut sorted = Sorted::default();
        let limits = &self.parts.proving;
        let parallel = match limits.parallel_check_limit {
            0 => infos.len().max(1),
            n => n,
        };
        let asked: Vec<_> = infos
            .into_iter()
            .filter(|info| wanted.get(info.sector_number))
            .collect();
        let mut unreached: BTreeSet<_> = asked.iter().map(|info| info.sector_number).collect();
        for number in wanted.iter().filter(|number| !unreached.contains(number)) {
            let why = "the chain has no information on it".to_owned();
            sorted.bad.insert(number, why);
        }
        let mut looks = stream::iter(asked)
            .map(|info| async move { (info.sector_number, self.look(miner, size, &info).await) })
            .buffer_unordered(parallel);
        // Sectors that are not reached in time are as good as on a store that does not answer.
        let timeout = tokio::time::sleep(or_long(limits.partition_check_timeout));
        let late = self.reached(look_until(record.key.open, record.close, head.height));
        tokio::pin!(timeout, late);
        loop {
            let (number, result) = tokio::select! {
                next = looks.next() => match next {
                    Some(looked) => looked,
                    None => break,
                },
                () = &mut timeout => break,
                () = &mut late => break,
            };
            unreached.remove(&number);
            match result? {
                Ok(found) => drop(sorted.found.insert(number, found)),
                Err(e) if e.is_away() => {
                    sorted.away.insert(number, e.to_string());
                }
                Err(other) => {
                    sorted.bad.insert(number, other.to_string());
                }
            }
        }
        drop(looks);
        for number in unreached {
            let why = "its files were not looked at in time".to_owned();
            sorted.away.insert(number, why);
        }
        Ok(sorted)
    }

    async fn look(
        &self,
        miner: u64,
        size: SectorSize,
        info: &SectorOnChainInfo,
    ) -> Result<Result<Found, NotUsable>, StepError> {
        let comm_r = match Commitment::from_sealed_cid(&info.sealed_cid) {
            Ok(comm_r) => comm_r,
            Err(e) => return Ok(Err(NotUsable::Flawed(e.to_string()))),
        };
        // An upgraded sector keeps the CommR of its first replica as its key.
        let replica = match info.sector_key_cid {
            Some(_) => Replica::Upgrade,
            None => Replica::Normal,
        };
        let sector = SectorId::new(miner, info.sector_number);
        let limit = or_long(self.parts.proving.single_check_timeout);
        let files = self
            .parts
            .stores
            .provable(sector, size, replica, limit)
            .await?;
        Ok(files.map(|files| Found { comm_r, files }))
    }

    /// A store that does not answer is waited for while there is time to prove afterwards;
    /// from then on its sectors count as bad.
    async fn patience(&self, record: &PostRecord, sorted: &mut Sorted) -> Result<(), StepError> {
        if let Some((number, why)) = sorted.away.iter().next() {
            let until = wait_until(record.key.open, record.close, self.proving_time().await?);
            if self.height().is_some_and(|head| head < until) {
                return Err(StepError::NotNow(format!(
                    "{} of its sectors cannot be looked at (sector {number}: {why}); waiting for them until epoch {until}",
                    sorted.away.len()
                )));
            }
        }
        sorted.bad.append(&mut sorted.away);
        Ok(())
    }

    /// The longest that a proof of this miner took lately, in epochs.
    async fn proving_time(&self) -> Result<Option<Epoch>, StepError> {
        let miner = self.actor;
        let lately = self
            .parts
            .db
            .call(move |db| db.recent_posts(miner, LATELY))
            .await?;
        Ok(lately.iter().filter_map(|r| r.proving_epochs).max())
    }

    fn height(&self) -> Option<Epoch> {
        self.parts.head.borrow().as_ref().map(|h| h.height)
    }

    async fn check(
        &self,
        miner: u64,
        proof_type: PoStProof,
        challenge: Randomness,
        proof: &Base64,
        replicas: BTreeMap<SectorNumber, Commitment>,
    ) -> Result<(), StepError> {
        let claim = Claim {
            miner,
            proof_type,
            challenge,
            proof: proof.clone(),
            replicas,
        };
        if self.parts.prover.verify(claim).await? {
            return Ok(());
        }
        let why = "the prover's proof does not verify; it was not sent";
        Err(StepError::NotNow(why.to_owned()))
    }
}

/// The epoch until which files are looked for, whatever the operator's time-out: half of what
/// is left of the window then belongs to the prover and the message. (On a network with short
/// windows upstream's 20 minutes are longer than a window.) Pure.
fn look_until(open: Epoch, close: Epoch, head: Epoch) -> Epoch {
    let from = open.max(head);
    from + (close - from).max(2) / 2
}

/// No time-out at all is a day: longer than any window.
fn or_long(limit: Duration) -> Duration {
    if limit.is_zero() {
        Duration::from_secs(24 * 3600)
    } else {
        limit
    }
}

fn window_type(info: &MinerInfo) -> Result<PoStProof, StepError> {
    let number = info.window_po_st_proof_type;
    match PoStProof::from_number(number) {
        Some(PoStProof::Winning(_)) | None => Err(StepError::Nonsense(format!(
            "{number} is not a WindowPoSt proof type"
        ))),
        Some(window) => Ok(window),
    }
}

fn task(
    miner_id: u64,
    proof_type: PoStProof,
    seed: [u8; 32],
    replicas: &BTreeMap<SectorNumber, &Found>,
) -> WindowPost {
    let replica = |(number, found): (&SectorNumber, &&Found)| ProverReplica {
        sector_id: *number,
        comm_r: found.comm_r,
        cache_dir: found.files.cache_dir.clone(),
        sealed_file: found.files.sealed_file.clone(),
    };
    WindowPost {
        miner_id,
        proof_type,
        replicas: replicas.iter().map(replica).collect(),
        seed,
    }
}

fn one_proof(proofs: Vec<Base64>) -> Result<Base64, StepError> {
    let count = proofs.len();
    match <[Base64; 1]>::try_from(proofs) {
        Ok([proof]) => Ok(proof),
        Err(_) => Err(StepError::NotNow(format!(
            "the prover gave {count} proofs instead of one"
        ))),
    }
}

fn none_left(skipped: &[(SectorNumber, String)]) -> String {
    let first = skipped.first();
    let example = first.map_or_else(String::new, |(n, why)| format!(" (sector {n}: {why})"));
    format!(
        "none of the {} sectors can be proven{example}",
        skipped.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_for_files_leaves_half_of_the_window() {
        // with upstream's 20 minutes from the start of proving, 10 epochs before the opening
        assert_eq!(look_until(60, 120, 50), 90);
        assert_eq!(look_until(60, 120, 100), 110, "a late start");
        assert_eq!(look_until(60, 120, 119), 120);
        assert_eq!(look_until(60, 120, 130), 131, "too late is not for ever");
        assert_eq!(look_until(10, 14, 9), 12);
    }
}
