//! The sector that a WinningPoSt is about: its files, read before they are proven, so that a slow
//! disk is told from a slow prover.

use super::{parts::Parts, prover::ProveError};
use crate::{
    model::millis,
    storage::{NotUsable, Replica as Stored, StorageError},
};
use damocles_node::{ExtendedSectorInfo, PoStProof};
use damocles_processor::task::{ReadSectors, Replica, WinningPost};
use damocles_types::{
    ActorId, Base64, Commitment, PoStProof as ProofType, Randomness, SealProof, SectorId,
};
use std::{collections::BTreeMap, time::Duration};

/// Why a sector cannot be proven.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotProvable {
    #[error("sector {sector}: {why}")]
    Files { sector: u64, why: NotUsable },
    #[error("sector {sector}: {why}")]
    Unread { sector: u64, why: String },
    #[error("the node named no sector that could be proven")]
    None,
    #[error("this makes no sense: {0}")]
    Nonsense(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Prove(#[from] ProveError),
}

/// What is to be proven, with the stores in which it lies.
#[derive(Clone, Debug)]
pub(super) struct Challenged {
    task: WinningPost,
    stores: BTreeMap<String, Vec<Replica>>,
}

impl Parts {
    /// Finds the files of these sectors. `limit` bounds the looking.
    pub(super) async fn find(
        &self,
        miner: ActorId,
        sectors: &[ExtendedSectorInfo],
        challenge: Randomness,
        limit: Duration,
    ) -> Result<Challenged, NotProvable> {
        let first = sectors.first().ok_or(NotProvable::None)?;
        let seal_proof = SealProof::from_number(first.seal_proof).ok_or_else(|| {
            NotProvable::Nonsense(format!("{} is no seal proof type", first.seal_proof))
        })?;
        let mut stores: BTreeMap<String, Vec<Replica>> = BTreeMap::new();
        for sector in sectors {
            let number = sector.sector_number;
            let comm_r = Commitment::from_sealed_cid(&sector.sealed_cid)
                .map_err(|e| NotProvable::Nonsense(e.to_string()))?;
            let stored = match sector.sector_key {
                Some(_) => Stored::Upgrade,
                None => Stored::Normal,
            };
            let id = SectorId::new(miner, number);
            let files = self
                .stores
                .provable(id, seal_proof.size, stored, limit)
                .await?;
            let files = files.map_err(|why| NotProvable::Files {
                sector: number,
                why,
            })?;
            let replica = Replica {
                sector_id: number,
                comm_r,
                cache_dir: files.cache_dir,
                sealed_file: files.sealed_file,
            };
            stores.entry(files.store).or_default().push(replica);
        }
        let task = WinningPost {
            miner_id: miner,
            proof_type: ProofType::Winning(seal_proof.size),
            replicas: stores.values().flatten().cloned().collect(),
            seed: challenge.as_field_element(),
        };
        Ok(Challenged { task, stores })
    }

    /// Reads of them what the proof asks for.
    pub(super) async fn read(
        &self,
        challenged: &Challenged,
        limit: Duration,
    ) -> Result<(), NotProvable> {
        let WinningPost {
            miner_id,
            proof_type,
            seed,
            ..
        } = challenged.task;
        for (store, replicas) in &challenged.stores {
            let task = ReadSectors {
                miner_id,
                proof_type,
                replicas: replicas.clone(),
                seed,
                store: store.clone(),
                parallel: 1,
                sector_limit_ms: millis(limit),
            };
            let read = self.prover.read(task).await?;
            if let Some(unread) = read.unread.into_iter().next() {
                return Err(NotProvable::Unread {
                    sector: unread.sector_id,
                    why: unread.why,
                });
            }
        }
        Ok(())
    }

    /// Has them proven.
    pub(super) async fn prove(&self, challenged: &Challenged) -> Result<PoStProof, NotProvable> {
        let proven = self.prover.prove(challenged.task.clone()).await?;
        let count = proven.proofs.len();
        let Ok([bytes]) = <[Base64; 1]>::try_from(proven.proofs) else {
            return Err(NotProvable::Nonsense(format!(
                "the prover gave {count} proofs instead of one"
            )));
        };
        Ok(PoStProof {
            post_proof: challenged.task.proof_type.number(),
            proof_bytes: bytes.0,
        })
    }
}
