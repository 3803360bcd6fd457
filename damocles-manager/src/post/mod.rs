//! WindowPoSt: keeps the sealed sectors proven.
//!
//! ```text
//! head ──► schedule (pure) ──► Plan · Prove · Submit · Follow · Expire ──► record in db
//!                                     │        │
//!                     storage, prover ┘        └ messages
//!      ──► faults (pure) ──► Begin · Look · Follow · Pass ──► record in db
//! ```
//! One record per miner, opening of a deadline and batch of partitions; `damocles_flow::post`
//! has its states. Of each opening that has faulty sectors there is one more record: before its
//! cut-off those that can be read are declared recovered (`recover.rs`). Every action is a short task that takes a record one step further and
//! stores it before anything else happens, so a restart in the middle of a window goes on
//! where it was. A failure is written into the record and tried again at a later head; before
//! the deadline closes nothing is given up.

mod ask;
mod batch;
mod by_hand;
mod context;
mod doubt;
mod faults;
mod miner;
mod prove;
mod placement;
mod prover;
mod recover;
mod schedule;
mod sectors;
mod send;
mod simulate;
mod view;
mod wanted;
mod workers;

pub use ask::{AskError, Asked};
pub use prover::{Begun, Claim, Order, Place, PoolProver, ProveError, Prover};
pub use simulate::Tried;
pub use view::window_posts;
pub use workers::WorkerProver;

use crate::{
    alive,
    chain::{Chain, ChainError, Head},
    db::{Db, DbError, posts::PostRecord},
    messages::{Engine, EngineError},
    policy::ProvingPolicy,
    roles::{Role, Roles},
    served::{Policies, Served},
    storage::{StorageError, Stores},
};
use damocles_flow::{
    post::{PostEvent, PostFlow, PostState},
    recovery::{RecoveryEvent, RecoveryState},
    table::Table,
};
use damocles_types::ActorId;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Everything that the poster works with.
#[derive(Clone)]
pub struct Parts {
    pub db: Db,
    pub chain: Arc<dyn Chain>,
    pub head: watch::Receiver<Option<Head>>,
    pub messages: Engine,
    pub stores: Stores,
    pub prover: Arc<dyn Prover>,
    pub proving: ProvingPolicy,
    /// The name of this process, for the records.
    pub by: String,
}

impl Parts {
    /// The same on a database that writes in a role.
    fn on(&self, db: Db) -> Self {
        Self {
            messages: self.messages.on(db.clone()),
            stores: self.stores.on(db.clone()),
            db,
            ..self.clone()
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Proves the sectors of all miners whose policy says so, until `stop` is cancelled. Each
/// miner is served by a loop of its own: a slow one holds nobody up.
///
/// # Errors
/// None; a loop that panics is started again after a pause, and the others do not notice.
pub async fn run(
    parts: Parts,
    served: Served,
    roles: Roles,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let changes = served.changes();
    let work = move |actor: ActorId, db: Db, stop| serve(parts.on(db), served.clone(), actor, stop);
    roles.share(Role::Post, changes, proven, work, stop).await
}

/// The miners whose sectors are proven here.
fn proven(policies: &Policies) -> BTreeSet<ActorId> {
    let enabled = policies.iter().filter(|m| m.post.enabled);
    let proven: BTreeSet<_> = enabled.map(|m| m.actor).collect();
    if proven.is_empty() {
        tracing::warn!("no miner has [Miners.PoSt] Enabled; nothing is proven here");
    }
    proven
}

/// The loop of one miner, until `stop`.
async fn serve(
    parts: Parts,
    served: Served,
    actor: ActorId,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = served.changes();
    let policy = changes.wait_for(|all| all.iter().any(|m| m.actor == actor));
    let miner = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        all = policy => all?.iter().find(|m| m.actor == actor).cloned(),
    };
    let Some(miner) = miner else { return Ok(()) };
    alive::kept_alive("proving", actor, stop.clone(), move || {
        let (parts, served, miner) = (parts.clone(), served.clone(), miner.clone());
        miner::MinerLoop::new(parts, served, miner).run(stop.clone())
    })
    .await;
    Ok(())
}

/// What a step did not get done. All of it is tried again while the deadline is open.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Prove(#[from] ProveError),
    #[error(transparent)]
    Message(#[from] EngineError),
    #[error("the message could not be built: {0}")]
    Params(#[from] batch::ParamsError),
    #[error("the message could not be built: {0}")]
    Recovery(#[from] faults::RecoveryParamsError),
    #[error("the node's answer makes no sense: {0}")]
    Nonsense(String),
    /// Anything else, as a sentence.
    #[error("{0}")]
    NotNow(String),
    /// A step that the table does not have: a fault of this program.
    #[error("a WindowPoSt does not take {event} in state {state}; please report this")]
    Illegal { state: PostState, event: PostEvent },
    #[error(
        "a declaration of recoveries does not take {event} in state {state}; please report this"
    )]
    IllegalRecovery {
        state: RecoveryState,
        event: RecoveryEvent,
    },
}

/// Takes the record along an edge of the table. Does not store it.
fn advance(record: &mut PostRecord, event: PostEvent) -> Result<(), StepError> {
    let state = record.state;
    let next = PostFlow::next(state, event).ok_or(StepError::Illegal { state, event })?;
    record.state = next;
    tracing::debug!(
        miner = record.key.miner,
        open = record.key.open,
        first = record.key.first,
        "{state} -> {next}"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
