//! Precommits and proofs of sectors on their way to the chain: what is sent together, and when.
//!
//! ```text
//! SubmitPreCommit, SubmitProof ──checks──► db: ready ──┐ wake
//!                                                      ▼
//!              driver: batch (pure) ─► params ─► db: message wanted + sectors in it, one batch
//!                      proofs by packing: singly, or one aggregate of them, made in a child
//!                                                      │
//! PollPreCommitState, PollProofState ◄── db, chain ◄───┘ messages
//! ```
//! One method per RPC, for `rpc` to call: [`Commit::submit_pre_commit`],
//! [`Commit::poll_pre_commit`], [`Commit::submit_proof`], [`Commit::poll_proof`]; and a
//! service, [`Commit::run`]. [`CommitError::NoSector`] becomes code 11001 on the wire.
//!
//! Each miner has a driver of its own (`share.rs`), in one manager at a time. It takes no input:
//! what waits is in the database. A sector is in one living message
//! at most, so nothing is sent twice.

mod aggregate;
mod aggregator;
mod batch;
mod certain;
mod data;
mod deadline;
mod driver;
mod expiration;
mod left_chain;
mod packing;
mod part;
mod poll;
mod precommit;
mod prove;
mod resend;
mod send;
mod sound;
mod share;
mod verify;

pub use aggregator::{AggregateError, Aggregator, PoolAggregator};
pub use share::run;
pub use verify::{ProofsVerifier, SealVerdict, Verifier};

use crate::{
    chain::{Chain, ChainError, Facts},
    db::{
        Db, DbError,
        record::{Carriage, MessageRecord, SectorRecord},
    },
    deals::{DealError, Deals},
    messages::{Engine, EngineError},
    model::{Commitment, unix_ms},
    policy::MinerPolicy,
    served::Served,
};
use damocles_api::{
    reason::Reason,
    submit::{SubmitResp, SubmitResult},
};
use damocles_flow::message::MessageState;
use damocles_types::{ActorId, Epoch, SectorId, SectorSize};
use fvm_shared::sector::RegisteredSealProof;
use std::sync::Arc;
use tokio::sync::watch;

/// Why a submission could not be judged, or a state not be told. Asking again may help.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The sector is not known, or is not online (code 11001).
    #[error("sector state not found: {0}")]
    NoSector(SectorId),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(DbError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Deal(#[from] DealError),
    #[error("miner {0} is not in the config; add it to [[Miners]]")]
    NoMiner(u64),
    /// The same: what it drew the ticket from lies above its head.
    #[error(
        "the node's head {head} lies below the ticket's epoch {ticket}; it may be behind, ask again"
    )]
    Behind { head: Epoch, ticket: Epoch },
    /// The node's head is older than what we know of the chain.
    #[error("the node has not seen the precommit of {0} yet; it may be behind, ask again")]
    NotSeen(SectorId),
    /// It looks as if the sector's work were lost, and that is not said on one answer.
    #[error(
        "the chain does not have what {0} was sealed with; that is looked at again some epochs later, ask again"
    )]
    Unsure(SectorId),
    /// What was on chain is not, and cannot be brought there again as it is.
    #[error("the precommit of {sector} left the chain and cannot be sent again: {why}")]
    Lost { sector: SectorId, why: String },
    #[error("the proof could not be verified: {0}")]
    Verify(String),
    #[error("the parameters of a message could not be encoded: {0}")]
    Encode(#[from] fvm_ipld_encoding::Error),
}

impl CommitError {
    /// Whether it is a wait and no failure: what the answer depends on is not there yet.
    pub fn is_wait(&self) -> bool {
        match self {
            Self::Chain(_) | Self::Behind { .. } | Self::NotSeen(_) | Self::Unsure(_) => true,
            // what the manager lacks for it is its operator's to bring
            Self::Verify(_) => true,
            Self::Db(error) => error.is_wait(),
            Self::Engine(error) => error.is_wait(),
            Self::Deal(error) => error.is_wait(),
            Self::NoSector(_) | Self::NoMiner(_) | Self::Lost { .. } | Self::Encode(_) => false,
        }
    }
}

impl From<DbError> for CommitError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NoSector(id) => Self::NoSector(id),
            other => Self::Db(other),
        }
    }
}

/// The room that brings commitments on chain; clones share it.
#[derive(Clone, Debug)]
pub struct Commit {
    db: Db,
    chain: Arc<dyn Chain>,
    facts: Facts,
    engine: Engine,
    verifier: Arc<dyn Verifier>,
    served: Served,
    deals: Deals,
    /// Who makes one proof of several; None: they go singly.
    aggregator: Option<Arc<dyn Aggregator>>,
    wake: watch::Sender<()>,
    /// Whose sectors its driver puts into messages; None: every miner's.
    only: Option<ActorId>,
    doubts: Arc<certain::Doubts>,
}

impl Commit {
    pub fn new(
        db: Db,
        chain: Arc<dyn Chain>,
        facts: Facts,
        engine: Engine,
        verifier: Arc<dyn Verifier>,
        served: Served,
    ) -> Self {
        Self {
            deals: Deals::new(db.clone(), chain.clone(), facts.clone()),
            db,
            chain,
            facts,
            engine,
            verifier,
            served,
            aggregator: None,
            wake: watch::Sender::new(()),
            only: None,
            doubts: Arc::default(),
        }
    }

    /// The same room, whose proofs may go as aggregates.
    #[must_use]
    pub fn with_aggregator(mut self, aggregator: Arc<dyn Aggregator>) -> Self {
        self.aggregator = Some(aggregator);
        self
    }

    /// The same room on a database that speaks for a worker, or writes in a role.
    pub fn on(&self, db: Db) -> Self {
        Self {
            engine: self.engine.on(db.clone()),
            deals: self.deals.on(db.clone()),
            db,
            ..self.clone()
        }
    }

    /// The room whose driver looks after this miner's sectors, on a database that writes in the role
    /// of it.
    #[must_use]
    pub fn of(&self, miner: ActorId, db: Db) -> Self {
        Self {
            only: Some(miner),
            ..self.on(db)
        }
    }

    fn miner(&self, actor: u64) -> Result<Arc<MinerPolicy>, CommitError> {
        let served = self.served.miner(actor);
        served.ok_or(CommitError::NoMiner(actor))
    }

    async fn online(&self, sector: SectorId) -> Result<SectorRecord, CommitError> {
        Ok(self.db.call(move |db| db.online(sector)).await?)
    }

    /// How far a commitment has come.
    async fn stage(&self, carriage: &Carriage) -> Result<Stage, CommitError> {
        Ok(match carriage {
            Carriage::Ready { error, .. } => Stage::Waits(error.clone()),
            Carriage::Found => Stage::Found,
            Carriage::Dropped { why, reason } => Stage::Dropped(why.clone(), *reason),
            Carriage::In { message } => {
                let id = *message;
                match self.db.call(move |db| db.message(id)).await? {
                    Some(message) => Stage::In(Box::new(message)),
                    None => Stage::Dropped(
                        format!("message {id} is not in the database"),
                        Some(Reason::NotSubmitted),
                    ),
                }
            }
        })
    }
}

/// How far a commitment has come on its way.
#[derive(Clone, Debug)]
enum Stage {
    /// For a message; why it is not in one yet, if something went wrong.
    Waits(Option<String>),
    In(Box<MessageRecord>),
    Found,
    Dropped(String, Option<Reason>),
}

impl Stage {
    /// Whether it may still land, or has landed: then nothing else may be sent.
    fn lives(&self) -> bool {
        match self {
            Self::Waits(_) | Self::Found => true,
            Self::Dropped(..) => false,
            Self::In(message) => {
                !message.state.has_failed() && message.state != MessageState::Rejected
            }
        }
    }
}

/// What to do with a submission, given the one before it. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// It was taken before.
    Accept,
    /// Another one was taken before.
    Mismatch,
    /// It is to be checked and stored; alone: the message before it failed.
    Take { alone: bool },
}

fn again(before: Option<&Stage>, same: bool, reset: bool) -> Again {
    match before {
        None => Again::Take { alone: false },
        Some(Stage::Waits(_)) if !same && reset => Again::Take { alone: false },
        // no message of ours is followed; the chain is asked whether it is still there
        Some(Stage::Found) if same => Again::Take { alone: false },
        Some(stage) if stage.lives() && same => Again::Accept,
        Some(stage) if stage.lives() => Again::Mismatch,
        Some(stage) if reset => Again::Take {
            alone: matches!(stage, Stage::In(_)),
        },
        Some(_) if same => Again::Accept,
        Some(_) => Again::Mismatch,
    }
}

/// What the checks of a submission say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    /// It may be sent.
    Good,
    /// The chain has it already.
    Found,
    /// The chain has, or we have, something else, or we lack what was there before it: a person
    /// must look, and nothing is lost.
    Mismatch(Reason, String),
    /// It can never be taken.
    Reject(Reason, String),
}

/// How a submission travels from here on, or the answer that ends it here. The checks are made
/// only if it is not settled by the one before it.
async fn judge(
    kind: Commitment,
    sector: SectorId,
    again: Again,
    checks: impl Future<Output = Result<Check, CommitError>>,
) -> Result<Result<Carriage, SubmitResp>, CommitError> {
    let mismatch = |reason, why| {
        let res = SubmitResult::MismatchedSubmission;
        Ok(Err(answer(res, Some(reason), Some(why))))
    };
    let alone = match again {
        Again::Accept => return Ok(Err(answer(SubmitResult::Accepted, None, None))),
        Again::Mismatch => {
            let why = format!("another {kind} of this sector was submitted before");
            return mismatch(Reason::Differs, why);
        }
        Again::Take { alone } => alone,
    };
    match checks.await? {
        Check::Good => Ok(Ok(Carriage::Ready {
            since: unix_ms(),
            alone,
            error: None,
        })),
        Check::Found => Ok(Ok(Carriage::Found)),
        Check::Mismatch(reason, why) => mismatch(reason, why),
        Check::Reject(reason, why) => {
            tracing::warn!(%sector, %kind, %reason, why, "rejected");
            Ok(Err(answer(SubmitResult::Rejected, Some(reason), Some(why))))
        }
    }
}

fn answer(res: SubmitResult, reason: Option<Reason>, desc: Option<String>) -> SubmitResp {
    SubmitResp { res, desc, reason }
}

fn taken(kind: Commitment, sector: SectorId) -> SubmitResp {
    tracing::info!(%sector, %kind, "accepted");
    answer(SubmitResult::Accepted, None, None)
}

/// The chain's proof type; numbers are the same on both sides.
fn chain_proof(proof: damocles_types::SealProof) -> RegisteredSealProof {
    RegisteredSealProof::from(proof.number())
}

/// CommD of a sector without data: the root of a tree of zeros.
fn zero_comm_d(size: SectorSize) -> Option<damocles_types::Commitment> {
    let proof = chain_proof(damocles_types::SealProof::interactive(size));
    let cid = fil_actor_miner_state::v18::CompactCommD::empty()
        .get_cid(proof)
        .ok()?;
    damocles_types::Commitment::from_unsealed_cid(&cid).ok()
}

#[cfg(test)]
mod tests;
