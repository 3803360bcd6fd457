//! Who computes a WindowPoSt, and the check of what comes back. Proving happens in child
//! processes (later also on worker machines, or in programs of others); only verification,
//! a matter of milliseconds, runs in this process.

use async_trait::async_trait;
use damocles_processor::{
    Cancel, Pool, ProcessorError, prover_id,
    task::{WindowPost, WindowPostOutput},
};
use damocles_types::{ActorId, Base64, Commitment, PoStProof, SectorNumber, SectorSize};
use filecoin_proofs_api::{
    PublicReplicaInfo, RegisteredPoStProof, SectorId as ApiSectorId, post::verify_window_post,
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Why there is no proof. Everything is tried again as long as the deadline is open.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    #[error("no thread could be started for the prover: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the prover's thread ended without an answer")]
    Lost,
    #[error("the proof cannot be checked: {0}")]
    Verify(String),
}

/// A proof with everything that is needed to check it.
#[derive(Clone, Debug)]
pub struct Claim {
    pub miner: ActorId,
    pub proof_type: PoStProof,
    /// The challenge, as a field element.
    pub seed: [u8; 32],
    pub proof: Base64,
    pub replicas: BTreeMap<SectorNumber, Commitment>,
}

/// Proves WindowPoSts and checks them.
#[async_trait]
pub trait Prover: Send + Sync + 'static {
    /// Proves all replicas of the task, or names those that cannot be read. Dropping the
    /// future takes the task out of the queue; one that runs already runs on.
    async fn prove(&self, task: WindowPost) -> Result<WindowPostOutput, ProveError>;

    /// Whether the chain would take the proof.
    async fn verify(&self, claim: Claim) -> Result<bool, ProveError>;
}

/// The prover of this machine: the stage `window_post` of the processor pool.
#[derive(Clone, Debug)]
pub struct PoolProver {
    pool: Pool,
}

impl PoolProver {
    /// `pool` must have the stage `window_post`.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

/// Calls the task off when whoever waits for it goes away.
struct CallOff(Cancel);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[async_trait]
impl Prover for PoolProver {
    async fn prove(&self, task: WindowPost) -> Result<WindowPostOutput, ProveError> {
        let pool = self.pool.clone();
        let guard = CallOff(Cancel::new());
        let cancel = guard.0.clone();
        let (tell, told) = oneshot::channel();
        // A thread of its own: a proof takes minutes, and the runtime's stop must not wait for it.
        std::thread::Builder::new()
            .name("window-post".to_owned())
            .spawn(move || {
                let result = pool.run(&task, &cancel, &mut |_| {});
                let _ = tell.send(result);
            })?;
        let outcome = told.await.map_err(|_| ProveError::Lost)??;
        Ok(outcome.output)
    }

    async fn verify(&self, claim: Claim) -> Result<bool, ProveError> {
        tokio::task::spawn_blocking(move || verify(&claim))
            .await
            .map_err(|_| ProveError::Lost)?
    }
}

fn verify(claim: &Claim) -> Result<bool, ProveError> {
    let kind = api_type(claim.proof_type)
        .ok_or_else(|| ProveError::Verify(format!("{} is no WindowPoSt", claim.proof_type)))?;
    let replicas = claim
        .replicas
        .iter()
        .map(|(n, c)| (ApiSectorId::from(*n), PublicReplicaInfo::new(kind, c.0)))
        .collect();
    verify_window_post(
        &claim.seed,
        &[(kind, &claim.proof.0)],
        &replicas,
        prover_id(claim.miner),
    )
    .map_err(|e| ProveError::Verify(format!("{e:#}")))
}

/// The proofs library's name for a type; none for WinningPoSt.
fn api_type(proof: PoStProof) -> Option<RegisteredPoStProof> {
    use RegisteredPoStProof as R;
    use SectorSize as S;
    Some(match proof {
        PoStProof::Winning(_) => return None,
        PoStProof::WindowV1(S::KiB2) => R::StackedDrgWindow2KiBV1,
        PoStProof::WindowV1(S::MiB8) => R::StackedDrgWindow8MiBV1,
        PoStProof::WindowV1(S::MiB512) => R::StackedDrgWindow512MiBV1,
        PoStProof::WindowV1(S::GiB32) => R::StackedDrgWindow32GiBV1,
        PoStProof::WindowV1(S::GiB64) => R::StackedDrgWindow64GiBV1,
        PoStProof::WindowV1_1(S::KiB2) => R::StackedDrgWindow2KiBV1_2,
        PoStProof::WindowV1_1(S::MiB8) => R::StackedDrgWindow8MiBV1_2,
        PoStProof::WindowV1_1(S::MiB512) => R::StackedDrgWindow512MiBV1_2,
        PoStProof::WindowV1_1(S::GiB32) => R::StackedDrgWindow32GiBV1_2,
        PoStProof::WindowV1_1(S::GiB64) => R::StackedDrgWindow64GiBV1_2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_same_names_here_and_in_the_library() {
        for number in 5..15 {
            let proof = PoStProof::from_number(number).unwrap();
            let api = api_type(proof).unwrap();
            assert_eq!(format!("{api:?}"), proof.name());
        }
        assert_eq!(
            api_type(PoStProof::Winning(SectorSize::KiB2)),
            None,
            "a WinningPoSt is not verified here"
        );
    }

    #[test]
    fn nonsense_is_not_a_proof() {
        let claim = |proof: Vec<u8>, replicas: &[u64]| Claim {
            miner: 1000,
            proof_type: PoStProof::WindowV1_1(SectorSize::KiB2),
            seed: [1; 32],
            proof: Base64(proof),
            replicas: replicas.iter().map(|n| (*n, Commitment([1; 32]))).collect(),
        };
        assert!(!matches!(verify(&claim(vec![], &[1])), Ok(true)));
        assert!(verify(&claim(vec![0; 192], &[])).is_err());
    }
}
