//! WinningPoSt: makes the blocks that the miners win the right to make, directly on the node.
//!
//! ```text
//! head, clock ──► schedule (pure) ──► round: base ─► election (lot, pure) ─► read ─► proof ─► messages
//!                                       │                                  prover ┘
//!                 db: "to be signed" ◄──┴──► make and sign ──► db: the block ──► send
//! head ──► follow ──► db: included · orphaned
//! ```
//! One loop per miner tries every epoch once. What is won has a record
//! (`damocles_flow::block` has its states), everything else is counted. A second block of an epoch,
//! or on the same parents, costs the miner its collateral: `db::blocks` decides, in the transaction
//! that stores a block as to be signed, whether it may be, and what was signed is sent as it is or
//! not at all. A round waits for nobody: what is not there when its block must have been sent is
//! lost, and the record says where the time went.

mod counts;
mod follow;
mod lot;
mod maker;
mod parts;
mod prover;
mod round;
mod schedule;
mod sectors;
mod sign;
mod view;
mod warm_up;

pub use counts::Counts;
pub use parts::Parts;
pub use prover::{LONGEST, PoolProver, ProveError, Prover};
pub use view::blocks;

use crate::{
    alive,
    chain::ChainError,
    db::{Db, DbError},
    model::unix_ms,
    roles::{Role, Roles},
    served::{Policies, Served},
};
use damocles_types::{ActorId, Epoch};
use maker::Maker;
use parts::sleep_until;
use schedule::{Next, Timing, Tip};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Records of blocks are kept for so long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Makes blocks for all miners whose policy says so, until `stop` is cancelled; each miner by a
/// loop of its own.
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
    let work = move |actor: ActorId, db: Db, stop| serve(parts.on(db), actor, stop);
    roles
        .share(Role::Winning, changes, makers, work, stop)
        .await
}

/// The miners for which blocks are made here.
fn makers(policies: &Policies) -> BTreeSet<ActorId> {
    let enabled = policies.iter().filter(|m| m.makes_blocks);
    let makers: BTreeSet<_> = enabled.map(|m| m.actor).collect();
    if makers.is_empty() {
        tracing::warn!("no miner has [Miners.Proof] Enabled; no blocks are made here");
    }
    makers
}

/// The loop of one miner, and the trial proof before its first one, until `stop`.
async fn serve(parts: Parts, actor: ActorId, stop: CancellationToken) -> anyhow::Result<()> {
    let warm_up = warm_up::warm_up(&parts, actor, stop.clone());
    let rounds = alive::kept_alive("the making of blocks", actor, stop.clone(), || {
        Maker::new(parts.clone(), actor).run(stop.clone())
    });
    tokio::join!(warm_up, rounds);
    Ok(())
}

impl Maker {
    /// Runs until `stop`. A round under way is dropped then; its record says where it was.
    async fn run(mut self, stop: CancellationToken) {
        let mut heads = self.parts.head.clone();
        heads.mark_changed();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = self.next() => next,
            };
            let wait = async {
                match next {
                    Next::At(at) => sleep_until(at).await,
                    Next::Head => std::future::pending().await,
                    Next::Try(_) => {}
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = wait => {
                    if let Next::Try(round) = next {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = self.round(round) => {}
                        }
                    }
                }
                changed = heads.changed() => {
                    if changed.is_err() {
                        // whoever watches the head has gone: the daemon is stopping
                        return stop.cancelled().await;
                    }
                    heads.mark_unchanged();
                }
            }
        }
    }

    /// Looks after the blocks of before, and finds out what to do next.
    async fn next(&mut self) -> Next {
        let Some(tip) = self.tip() else {
            return Next::Head;
        };
        let timing = match self.timing().await {
            Ok(timing) => timing,
            Err(error) => {
                tracing::debug!(miner = self.actor, %error, "the node did not tell the block delay");
                return Next::At(unix_ms() + 1000);
            }
        };
        self.follow(tip.height, timing).await;
        self.forget(tip.height, timing).await;
        match self.last().await {
            Ok(last) => schedule::next(&tip, last, unix_ms(), timing),
            Err(error) => {
                tracing::error!(miner = self.actor, %error, "the records of blocks cannot be read; no block is made");
                Next::At(unix_ms() + 1000)
            }
        }
    }

    fn tip(&self) -> Option<Tip> {
        let head = self.parts.head.borrow();
        head.as_ref().map(|head| Tip {
            height: head.height,
            key: head.key.clone(),
            timestamp: head.timestamp,
        })
    }

    async fn timing(&self) -> Result<Timing, ChainError> {
        let delay = self.parts.facts.block_delay().await?;
        Ok(Timing::new(delay, self.parts.by_the_clock))
    }

    /// The last round that was tried.
    async fn last(&self) -> Result<Option<Epoch>, DbError> {
        let miner = self.actor;
        let rounds = self.parts.db.call(move |db| db.rounds(miner)).await?;
        Ok((rounds.tried > 0).then_some(rounds.last))
    }

    /// Forgets records of long ago, once an hour.
    async fn forget(&mut self, head: Epoch, timing: Timing) {
        const HOUR: Duration = Duration::from_secs(3600);
        if self.forgot_at.is_some_and(|at| at.elapsed() < HOUR) {
            return;
        }
        self.forgot_at = Some(Instant::now());
        let (miner, before) = (self.actor, head - timing.epochs(KEPT));
        let forgotten = self
            .parts
            .db
            .call(move |db| db.forget_blocks(miner, before));
        if let Err(error) = forgotten.await {
            tracing::warn!(miner, %error, "records of old blocks could not be removed");
        }
    }
}

#[cfg(test)]
mod tests;
