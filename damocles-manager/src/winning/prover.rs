//! Who reads the challenged sector and computes the WinningPoSt: child processes of this machine.

use crate::compute::{self, ComputeError};
use async_trait::async_trait;
use damocles_processor::{
    Cancel, Pool,
    task::{ReadSectors, ReadSectorsOutput, WinningPost, WinningPostOutput},
};
use std::time::Duration;

/// A proof that takes longer has found no end: its child is killed, so that the next one has a place.
/// Several times what the parameters of large sectors take to be read from a slow disk.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Compute(#[from] ComputeError),
}

/// Makes WinningPoSts.
#[async_trait]
pub trait Prover: Send + Sync + 'static {
    /// Reads of each sector what the proof would, and names those that cannot be proven. Dropping
    /// the future leaves the reader alone: it ends at its limit.
    async fn read(&self, task: ReadSectors) -> Result<ReadSectorsOutput, ProveError>;

    /// Proves; whoever proves checks the proof, too. Dropping the future leaves a proof alone that has
    /// begun: nobody wants it any more, but a child that is killed must read its parameters anew, and
    /// the next proof would be late for that.
    async fn prove(&self, task: WinningPost) -> Result<WinningPostOutput, ProveError>;
}

/// The prover of this machine: the stages `winning_post` and `read_sectors` of a pool.
#[derive(Clone, Debug)]
pub struct PoolProver {
    pool: Pool,
}

impl PoolProver {
    /// `pool` must have both stages, and bound the proofs by [`LONGEST`].
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl Prover for PoolProver {
    async fn read(&self, task: ReadSectors) -> Result<ReadSectorsOutput, ProveError> {
        Ok(compute::run(&self.pool, task, Cancel::new()).await?)
    }

    async fn prove(&self, task: WinningPost) -> Result<WinningPostOutput, ProveError> {
        Ok(compute::run(&self.pool, task, Cancel::new()).await?)
    }
}
