//! Who computes a WindowPoSt, and the check of what comes back. Proving happens in child
//! processes, or on worker machines (`workers`); only verification, a matter of milliseconds,
//! runs in this process.

use crate::{
    compute::{self, ComputeError},
    db::DbError,
    post::wanted::Wanted,
};
use async_trait::async_trait;
use damocles_processor::{
    Cancel, Pool, ProcessorError,
    task::{ReadSectors, ReadSectorsOutput, WindowPost, WindowPostOutput},
    verify::verify_window_post,
};
use damocles_types::{ActorId, Base64, Commitment, Epoch, PoStProof, Randomness, SectorNumber};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{OnceCell, oneshot, watch};

/// Why there is no proof. Everything is tried again as long as the deadline is open.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Compute(#[from] ComputeError),
    #[error("the thread that checked the proof ended without an answer")]
    Lost,
    #[error("the proof cannot be checked: {0}")]
    Verify(String),
    #[error(transparent)]
    Job(#[from] DbError),
    #[error("no worker proves it: {0}")]
    Workers(String),
    /// Whoever wants the proof looks again which of them can be read.
    #[error("a worker names {} sectors that cannot be read here either", .0.len())]
    Named(Vec<SectorNumber>),
}

impl ProveError {
    /// Whether the process ended that was at it: what it was at may have killed it, or somebody
    /// else.
    pub(super) fn is_death(&self) -> bool {
        matches!(
            self,
            Self::Compute(ComputeError::Processor(ProcessorError::ChildDied { .. }))
        )
    }
}

/// A proof with everything that is needed to check it.
#[derive(Clone, Debug)]
pub struct Claim {
    pub miner: ActorId,
    pub proof_type: PoStProof,
    /// As the chain drew it.
    pub challenge: Randomness,
    pub proof: Base64,
    pub replicas: BTreeMap<SectorNumber, Commitment>,
}

/// Counts how often somebody has begun to compute a proof: it may have to wait for others first, and
/// whoever was at it may be gone.
pub type Begun = watch::Sender<u64>;

/// Somebody is at the proof from now on.
pub(super) fn begins(begun: &Begun) {
    begun.send_modify(|times| *times += 1);
}

/// Where the files of a sector lie, for whoever reads them on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Names of stores.
    pub sealed: String,
    pub cache: String,
    /// It is the upgraded replica.
    pub upgrade: bool,
}

/// A WindowPoSt that is to be proven, and what for.
#[derive(Clone, Debug)]
pub struct Order {
    pub task: WindowPost,
    pub deadline: u64,
    pub partitions: Vec<u64>,
    pub open: Epoch,
    /// First epoch in which no proof is taken any more.
    pub close: Epoch,
    /// Epochs that such a proof takes, if that is known.
    pub usual: Option<Epoch>,
    /// The one before it was given up, as it hung for no sector.
    pub again: bool,
    pub places: BTreeMap<SectorNumber, Place>,
}

/// Proves WindowPoSts and checks them.
#[async_trait]
pub trait Prover: Send + Sync + 'static {
    /// Proves all replicas of the task, or names those that cannot be read. Dropping the
    /// future ends the task: nobody wants a proof that comes after its deadline, and a child
    /// that hangs would hold its place for ever. Where other proofs would end with it, it ends
    /// after them.
    async fn prove(&self, task: WindowPost, begun: Begun) -> Result<WindowPostOutput, ProveError>;

    /// The same of an order, of which others may want to know more than the task.
    async fn carry_out(&self, order: Order, begun: Begun) -> Result<WindowPostOutput, ProveError> {
        self.prove(order.task, begun).await
    }

    /// The same for a try that nothing depends on. It is in no real proof's way, and its end ends
    /// none.
    async fn prove_for_a_try(&self, task: WindowPost) -> Result<WindowPostOutput, ProveError> {
        self.prove(task, watch::channel(0).0).await
    }

    /// Whether several proofs are in one process now: who ends one of them, ends all.
    fn proofs_share_a_process(&self) -> bool {
        false
    }

    /// Reads of each sector of a store what a proof would, each by itself, and names those that
    /// cannot be proven. Dropping the future leaves the readers alone: each ends at its limit.
    async fn read(&self, task: ReadSectors) -> Result<ReadSectorsOutput, ProveError>;

    /// Whether the chain would take the proof.
    async fn verify(&self, claim: Claim) -> Result<bool, ProveError>;
}

/// The prover of this machine: the stages `window_post` and `read_sectors` of the processor pool.
#[derive(Clone, Debug)]
pub struct PoolProver {
    pool: Pool,
    tries: Arc<Tries>,
    /// Proofs that children are at.
    wanted: Wanted,
}

/// The children of tries: most managers never make one.
struct Tries {
    start: Box<dyn Fn() -> Result<Pool, ProcessorError> + Send + Sync>,
    pool: OnceCell<Pool>,
}

impl std::fmt::Debug for Tries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tries").field(&self.pool).finish()
    }
}

impl PoolProver {
    /// `pool` must have both stages. `tries` starts one with that which proves, when it is first
    /// needed.
    pub fn new(
        pool: Pool,
        tries: impl Fn() -> Result<Pool, ProcessorError> + Send + Sync + 'static,
    ) -> Self {
        let tries = Tries {
            start: Box::new(tries),
            pool: OnceCell::new(),
        };
        Self {
            pool,
            tries: Arc::new(tries),
            wanted: Wanted::default(),
        }
    }

    async fn tries(&self) -> Result<&Pool, ProveError> {
        let start = async || {
            let tries = self.tries.clone();
            let started = tokio::task::spawn_blocking(move || (tries.start)()).await;
            let started = started.map_err(|_| ProveError::Lost)?;
            started.map_err(|error| ComputeError::Processor(error).into())
        };
        self.tries.pool.get_or_try_init(start).await
    }
}

#[async_trait]
impl Prover for PoolProver {
    async fn prove(&self, task: WindowPost, begun: Begun) -> Result<WindowPostOutput, ProveError> {
        let (tell, told) = oneshot::channel();
        let tell = || _ = tell.send(());
        let pool = self.pool.clone();
        let proving = async move { compute::run_told(&pool, task, Cancel::killing(), tell).await };
        let mut proving = Box::pin(proving);
        tokio::select! {
            biased;
            made = &mut proving => return Ok(made?),
            Ok(()) = told => {}
        }
        let proving = self.wanted.computed(proving);
        begins(&begun);
        Ok(proving.await?)
    }

    async fn prove_for_a_try(&self, task: WindowPost) -> Result<WindowPostOutput, ProveError> {
        let tries = self.tries().await?;
        Ok(compute::run(tries, task, Cancel::killing()).await?)
    }

    fn proofs_share_a_process(&self) -> bool {
        self.wanted.count() > 1
    }

    async fn read(&self, task: ReadSectors) -> Result<ReadSectorsOutput, ProveError> {
        Ok(compute::run(&self.pool, task, Cancel::new()).await?)
    }

    async fn verify(&self, claim: Claim) -> Result<bool, ProveError> {
        tokio::task::spawn_blocking(move || verify(&claim))
            .await
            .map_err(|_| ProveError::Lost)?
    }
}

fn verify(claim: &Claim) -> Result<bool, ProveError> {
    let sectors: Vec<_> = claim.replicas.iter().map(|(n, c)| (*n, *c)).collect();
    verify_window_post(
        claim.proof_type,
        claim.miner,
        claim.challenge,
        &sectors,
        &claim.proof.0,
    )
    .map_err(|e| match e.hint {
        Some(hint) => ProveError::Verify(format!("{}; {hint}", e.message)),
        None => ProveError::Verify(e.message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::SectorSize;

    #[test]
    fn nonsense_is_not_a_proof() {
        let claim = |proof: Vec<u8>, replicas: &[u64]| Claim {
            miner: 1000,
            proof_type: PoStProof::WindowV1_1(SectorSize::KiB2),
            challenge: Randomness([1; 32]),
            proof: Base64(proof),
            replicas: replicas.iter().map(|n| (*n, Commitment([1; 32]))).collect(),
        };
        assert!(!matches!(verify(&claim(vec![], &[1])), Ok(true)));
        assert!(verify(&claim(vec![0; 192], &[])).is_err());
    }
}
