//! One attempt at a proof: challenge, sectors, files, prover, verification. Each stage is
//! stored before the next one begins.
//!
//! Where the prover fails or names a sector, the sectors are read each by itself: what is wrong
//! with one costs that one only, and what does not answer is waited for.

use crate::{
    chain::Head,
    db::posts::{PostRecord, StoredProof},
    model::millis,
    post::{
        StepError, advance, batch,
        context::Context,
        doubt::Answer,
        prover::{Claim, ProveError},
        schedule::{longest, usual, wait_until},
        sectors::{Found, Sorted, look_until, window_type},
    },
};
use damocles_flow::post::{PostEvent, PostState};
use damocles_processor::task::WindowPost;
use damocles_types::{Base64, Commitment, Epoch, PoStProof, Randomness, SectorNumber};
use fvm_ipld_bitfield::BitField;
use std::{collections::BTreeMap, time::Instant};

/// Several times what a partition has (2349 of 32GiB); a longer list is a broken answer.
const MOST_SECTORS: u64 = 10_000;
/// WindowPoSts from which is learned how long one takes: a period of the mainnet's.
const LATELY: usize = 48;

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
        record.steps.challenged = self.height();
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
        let wanted = BitField::union(due.iter().map(|(_, sectors)| sectors));
        let until = self.time_to_look(&record, head);
        let seed = challenge.as_field_element();
        let mut sorted = self.sort(&wanted, proof_type.size(), head, until).await?;
        if self.policy().post.strict_check {
            self.read(proof_type, seed, &mut sorted, until).await;
        }
        self.patience(&record, &mut sorted).await?;

        record.steps.read = self.height();
        advance(&mut record, PostEvent::Start)?;
        self.store(&mut record).await?;
        let (started, mut hung) = (Instant::now(), false);
        let (proof, epochs) = loop {
            let (good, partitions) = batch::split(&due, &sorted.bad);
            let replicas: BTreeMap<SectorNumber, &Found> = good
                .iter()
                .filter_map(|n| Some((*n, sorted.found.get(n)?)))
                .collect();
            if replicas.is_empty() {
                record.skipped = sorted.bad.into_iter().collect();
                self.store(&mut record).await?;
                return Err(StepError::NotNow(none_left(&record.skipped)));
            }
            let task = task(miner, proof_type, seed, &replicas);
            let replicas = replicas.into_iter().map(|(n, f)| (n, f.comm_r)).collect();
            let lately = self.lately().await?;
            let doubts = (usual(lately, record.partitions.len()), !hung);
            let (output, epochs) = match self.answer(task, &record, doubts, &mut sorted).await {
                Ok(Answer::Says { output, epochs }) => (output, epochs),
                Ok(Answer::Held) => {
                    self.patience(&record, &mut sorted).await?;
                    continue;
                }
                Ok(Answer::Hangs) => {
                    hung = true;
                    continue;
                }
                Err(error) => {
                    // where its words name no sector, each by itself tells more
                    let known = sorted.found.len();
                    let mut looked = match &error {
                        ProveError::Named(named) => sorted.take(named.iter().copied()),
                        _ => std::mem::take(&mut sorted),
                    };
                    let until = self.time_to_look(&record, head);
                    self.read(proof_type, seed, &mut looked, until).await;
                    sorted.add(looked);
                    if sorted.found.len() == known {
                        return Err(error.into());
                    }
                    self.patience(&record, &mut sorted).await?;
                    continue;
                }
            };
            if !output.faults.is_empty() {
                let named = sorted.take(output.faults);
                if named.found.is_empty() {
                    let why = "the prover names faulty sectors that it was not asked to prove";
                    return Err(StepError::NotNow(why.to_owned()));
                }
                let until = self.time_to_look(&record, head);
                self.reasons(named, proof_type, seed, &mut sorted, until)
                    .await;
                self.patience(&record, &mut sorted).await?;
                continue;
            }
            let proof = one_proof(output.proofs)?;
            self.check(miner, proof_type, challenge, &proof, replicas)
                .await?;
            let proof = StoredProof {
                kind: proof_type.number(),
                bytes: proof,
                partitions,
            };
            break (proof, epochs);
        };
        record.proof = Some(proof);
        record.steps.proven = self.height();
        record.skipped = sorted.bad.into_iter().collect();
        record.proving_ms = Some(millis(started.elapsed()));
        record.proving_epochs = epochs;
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

    /// Why the prover named these sectors. One that can be read all the same is believed to be bad:
    /// the proof fails with it.
    async fn reasons(
        &self,
        mut named: Sorted,
        proof_type: PoStProof,
        seed: [u8; 32],
        sorted: &mut Sorted,
        until: Epoch,
    ) {
        self.read(proof_type, seed, &mut named, until).await;
        let read = named.found.into_keys();
        let why = "the prover names it as faulty, although it can be read";
        sorted
            .bad
            .extend(read.map(|number| (number, why.to_owned())));
        sorted.bad.append(&mut named.bad);
        sorted.away.append(&mut named.away);
    }

    /// A store that does not answer is waited for while there is time to prove afterwards;
    /// from then on its sectors count as bad.
    async fn patience(&self, record: &PostRecord, sorted: &mut Sorted) -> Result<(), StepError> {
        if let Some((number, why)) = sorted.away.iter().next() {
            let proving = longest(self.lately().await?, record.partitions.len());
            let until = wait_until(record.key.open, record.close, proving);
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

    /// Until when a look at sectors may take that begins now.
    fn time_to_look(&self, record: &PostRecord, head: &Head) -> Epoch {
        let now = self.height().unwrap_or(head.height);
        look_until(record.key.open, record.close, now)
    }

    /// What proofs of this miner took lately: partitions and epochs.
    async fn lately(&self) -> Result<Vec<(usize, Epoch)>, StepError> {
        let miner = self.actor;
        let lately = self
            .parts
            .db
            .call(move |db| db.recent_posts(miner, LATELY))
            .await?;
        let took = |r: &PostRecord| Some((r.partitions.len(), r.proving_epochs?));
        Ok(lately.iter().filter_map(took).collect())
    }

    pub(super) fn height(&self) -> Option<Epoch> {
        self.parts.head.borrow().as_ref().map(|h| h.height)
    }

    pub(super) async fn check(
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

pub(super) fn task(
    miner_id: u64,
    proof_type: PoStProof,
    seed: [u8; 32],
    replicas: &BTreeMap<SectorNumber, &Found>,
) -> WindowPost {
    WindowPost {
        miner_id,
        proof_type,
        replicas: replicas
            .iter()
            .map(|(n, found)| found.replica(*n))
            .collect(),
        seed,
    }
}

pub(super) fn one_proof(proofs: Vec<Base64>) -> Result<Base64, StepError> {
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
