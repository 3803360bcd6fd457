//! Who makes one proof of many: a child process of this program.

use crate::compute::{self, ComputeError};
use async_trait::async_trait;
use damocles_processor::{
    Cancel, Pool,
    params::srs,
    task::{Aggregate, AggregateOutput},
};
use damocles_types::Level;

/// Why there is no aggregate; one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct AggregateError {
    pub why: String,
    /// Whether the same may succeed at another time.
    pub again: bool,
}

/// Aggregates seal proofs.
#[async_trait]
pub trait Aggregator: Send + Sync + std::fmt::Debug + 'static {
    /// Whether it can at all, as far as that is known without trying; why not, with a hint.
    ///
    /// # Errors
    /// That reason.
    fn ready(&self) -> Result<(), String>;

    /// Makes the aggregate, verified, or names the sectors whose proofs are wrong. Dropping the future
    /// ends the work.
    async fn aggregate(&self, task: Aggregate) -> Result<AggregateOutput, AggregateError>;
}

/// The aggregator of this machine: the stage `aggregate` of the processor pool.
#[derive(Clone, Debug)]
pub struct PoolAggregator {
    pool: Pool,
}

impl PoolAggregator {
    /// `pool` must have the stage.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl Aggregator for PoolAggregator {
    fn ready(&self) -> Result<(), String> {
        if srs::is_there() {
            return Ok(());
        }
        let file = srs::file_name();
        Err(format!(
            "{file} is not among the proof parameters of this host; fetch it with \
             `damocles-worker params fetch --sector-size 32GiB`, or make one for a test network with \
             `damocles-worker params generate --sector-size 2KiB --aggregate`"
        ))
    }

    async fn aggregate(&self, task: Aggregate) -> Result<AggregateOutput, AggregateError> {
        let made = compute::run(&self.pool, task, Cancel::killing()).await;
        made.map_err(AggregateError::from)
    }
}

impl From<ComputeError> for AggregateError {
    fn from(error: ComputeError) -> Self {
        let ComputeError::Processor(error) = error else {
            let why = error.to_string();
            return Self { why, again: true };
        };
        let told = error.failure();
        let again = told.as_ref().is_none_or(|f| f.level == Level::Temporary);
        let hint = told.and_then(|f| f.hint);
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        Self {
            why: format!("{error}{hint}"),
            again,
        }
    }
}
