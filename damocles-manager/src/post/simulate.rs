//! A WindowPoSt that is made to see whether it can be, and how long it takes: of a partition, for
//! any challenge, verified and sent to nobody. What is really due goes before it.

use super::ask::{AskError, Asked};
use crate::{
    chain::Head,
    db::posts::PostRecord,
    model::millis,
    post::{
        StepError, batch,
        context::Context,
        prove::{one_proof, task},
        sectors::{Found, Sorted, window_type},
    },
    storage::Replica as StoredReplica,
};
use damocles_api::proving::{SimulatedView, WinningView};
use damocles_flow::post::PostState;
use damocles_processor::task::{ReadSectors, Replica};
use damocles_types::{ActorId, Commitment, Epoch, PoStProof, Randomness, SectorId, SectorNumber};
use fvm_ipld_bitfield::BitField;
use std::{collections::BTreeMap, path::PathBuf, time::Instant};

/// What is proven for a try.
#[derive(Clone, Debug)]
pub enum Tried {
    /// What would be due of the partition now; with the faulty sectors too, or without.
    Due { faulty: bool },
    /// These.
    Sectors(BitField),
}

impl Asked {
    /// Makes a WindowPoSt of a partition for a challenge, or any; nothing is sent or noted.
    ///
    /// # Errors
    /// A miner that is not served, no such partition, a node that does not answer; a manager
    /// without a poster; a real WindowPoSt that waits for the prover, now or before this one is
    /// there.
    pub async fn simulate(
        &self,
        miner: ActorId,
        deadline: u64,
        partition: u64,
        tried: Tried,
        challenge: Option<Randomness>,
    ) -> Result<SimulatedView, AskError> {
        let (context, head) = self.poster(miner).await?;
        let wanted = match tried {
            Tried::Sectors(sectors) => sectors,
            Tried::Due { faulty } => {
                let found = self.partition(miner, deadline, partition).await?;
                if faulty {
                    found.live_sectors
                } else {
                    batch::due(&found)
                }
            }
        };
        let challenge = challenge.unwrap_or_else(|| Randomness(rand::random()));
        let made = context.simulated(&wanted, challenge, &head);
        let simulated = tokio::select! {
            biased;
            due = self.due(&context) => return Err(due?),
            made = made => made.map_err(|e| AskError::Step(e.to_string()))?,
        };
        Ok(SimulatedView {
            miner,
            deadline,
            partition,
            ..simulated
        })
    }

    /// Returns when a WindowPoSt waits for the prover, or is with it.
    async fn due(&self, context: &Context) -> Result<AskError, AskError> {
        let mut heads = context.parts.head.clone();
        loop {
            for miner in self.served.all().iter().map(|m| m.actor) {
                let open = self.db.call(move |db| db.unfinished_posts(miner)).await?;
                if let Some(first) = open.iter().find(|post| waits(post)) {
                    return Ok(AskError::Due {
                        miner,
                        deadline: first.deadline,
                    });
                }
            }
            if heads.changed().await.is_err() {
                // whoever watches the head has gone: the daemon is stopping
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Asked {
    /// Reads of a sector what a WinningPoSt asks for, and checks it: of the files that the index
    /// knows, or of these.
    ///
    /// # Errors
    /// A miner that is not served, a sector that the chain does not have or no store, a node that
    /// does not answer; a manager without a poster.
    pub async fn winning(
        &self,
        sector: SectorId,
        files: Option<(PathBuf, PathBuf)>,
    ) -> Result<WinningView, AskError> {
        let (context, head) = self.poster(sector.miner).await?;
        let on_chain = self.on_chain(sector).await?;
        let failed = |e: &dyn std::fmt::Display| AskError::Step(e.to_string());
        let comm_r = Commitment::from_sealed_cid(&on_chain.sealed_cid).map_err(|e| failed(&e))?;
        let info = self.chain.miner_info(sector.miner, &head.key).await?;
        let size = window_type(&info).map_err(|e| failed(&e))?.size();
        let parts = &context.parts;
        let (sealed_file, cache_dir) = match files {
            Some(files) => files,
            None => {
                let replica = StoredReplica::of(&on_chain);
                let known = parts.stores.locate(sector, replica).await;
                let known = known.map_err(|e| failed(&e))?;
                let known = known.ok_or(AskError::NoFiles(sector))?;
                (known.sealed_file, known.cache_dir)
            }
        };
        let challenge = Randomness(rand::random());
        let replica = Replica {
            sector_id: sector.number,
            comm_r,
            cache_dir: cache_dir.clone(),
            sealed_file: sealed_file.clone(),
        };
        let asked = ReadSectors {
            miner_id: sector.miner,
            proof_type: PoStProof::Winning(size),
            replicas: vec![replica],
            seed: challenge.as_field_element(),
            store: sealed_file.to_string_lossy().into_owned(),
            parallel: 1,
            sector_limit_ms: millis(parts.proving.single_check_timeout),
        };
        let began = Instant::now();
        let read = parts.prover.read(asked).await.map_err(|e| failed(&e))?;
        Ok(WinningView {
            sector,
            challenge: hex::encode(challenge.0),
            sealed_file: sealed_file.to_string_lossy().into_owned(),
            cache_dir: cache_dir.to_string_lossy().into_owned(),
            reading_ms: millis(began.elapsed()),
            error: read.unread.into_iter().next().map(|unread| unread.why),
        })
    }
}

/// Whether the prover has not proven it.
fn waits(post: &PostRecord) -> bool {
    matches!(
        post.state,
        PostState::Waiting | PostState::Challenged | PostState::Proving
    )
}

impl Context {
    async fn simulated(
        &self,
        wanted: &BitField,
        challenge: Randomness,
        head: &Head,
    ) -> Result<SimulatedView, StepError> {
        let miner = self.actor;
        let info = self.parts.chain.miner_info(miner, &head.key).await?;
        let proof_type = window_type(&info)?;
        let seed = challenge.as_field_element();
        let began = Instant::now();
        let mut sorted = self
            .sort(wanted, proof_type.size(), head, Epoch::MAX)
            .await?;
        self.read(proof_type, seed, &mut sorted, Epoch::MAX).await;
        let reading_ms = millis(began.elapsed());
        let began = Instant::now();
        let (mut proven, mut verified, mut error) = (0, false, None);
        while !sorted.found.is_empty() {
            let replicas: BTreeMap<SectorNumber, &Found> =
                sorted.found.iter().map(|(n, found)| (*n, found)).collect();
            let asked = task(miner, proof_type, seed, &replicas);
            let output = match self.parts.prover.prove_for_a_try(asked).await {
                Ok(output) => output,
                Err(failed) => {
                    error = Some(failed.to_string());
                    break;
                }
            };
            if !output.faults.is_empty() {
                let named = sorted.take(output.faults);
                if named.found.is_empty() {
                    error = Some("the prover names sectors that it was not asked for".to_owned());
                    break;
                }
                let why = "the prover names it as faulty, although it can be read";
                let named = named.found.into_keys().map(|n| (n, why.to_owned()));
                sorted.bad.extend(named);
                continue;
            }
            let proof = one_proof(output.proofs)?;
            let replicas = replicas.into_iter().map(|(n, f)| (n, f.comm_r)).collect();
            proven = sorted.found.len() as u64;
            let checked = self.check(miner, proof_type, challenge, &proof, replicas);
            match checked.await {
                Ok(()) => verified = true,
                Err(failed) => error = Some(failed.to_string()),
            }
            break;
        }
        let Sorted { bad, mut away, .. } = sorted;
        away.extend(bad);
        Ok(SimulatedView {
            miner,
            deadline: 0,
            partition: 0,
            challenge: hex::encode(challenge.0),
            sectors: proven,
            skipped: away,
            reading_ms,
            proving_ms: (proven > 0).then(|| millis(began.elapsed())),
            verified,
            error,
        })
    }
}
