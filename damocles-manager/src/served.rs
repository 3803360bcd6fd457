//! Which miners this manager serves, and by which policy. Rooms ask when they need one, so that a
//! configuration that is read again counts from the next question on, for all of them at once.

use crate::policy::MinerPolicy;
use damocles_types::ActorId;
use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

/// Policies, in the operator's order.
pub type Policies = Arc<Vec<Arc<MinerPolicy>>>;

/// The miners; clones share them.
#[derive(Clone, Debug)]
pub struct Served {
    policies: watch::Sender<Policies>,
    /// Held for reading while work of a miner begins, and for writing from the look for such work
    /// to the replacement that goes by it.
    begins: Arc<RwLock<()>>,
}

/// While it lives, the miner is served: what is stored in the meantime is seen by whoever looks
/// whether the miner may go.
#[derive(Debug)]
pub struct Begun {
    pub policy: Arc<MinerPolicy>,
    _stays: OwnedRwLockReadGuard<()>,
}

/// While it lives, no work of any miner begins.
#[derive(Debug)]
pub struct Still {
    _begins: OwnedRwLockWriteGuard<()>,
}

impl Served {
    pub fn new(miners: Vec<MinerPolicy>) -> Self {
        Self {
            policies: watch::Sender::new(shared(miners)),
            begins: Arc::default(),
        }
    }

    /// Work of this miner is about to begin. None: it is not served any more.
    pub async fn begin(&self, actor: ActorId) -> Option<Begun> {
        let stays = self.begins.clone().read_owned().await;
        let policy = self.miner(actor)?;
        Some(Begun {
            policy,
            _stays: stays,
        })
    }

    /// Waits for work that is about to begin, and has no other begin.
    pub async fn still(&self) -> Still {
        Still {
            _begins: self.begins.clone().write_owned().await,
        }
    }

    /// All of them, of one moment.
    pub fn all(&self) -> Policies {
        self.policies.borrow().clone()
    }

    /// The policy of one; None: it is not served.
    pub fn miner(&self, actor: ActorId) -> Option<Arc<MinerPolicy>> {
        let all = self.policies.borrow();
        all.iter().find(|m| m.actor == actor).cloned()
    }

    /// Serves these from now on, and no others.
    pub fn replace(&self, miners: Vec<MinerPolicy>) {
        self.policies.send_replace(shared(miners));
    }

    /// Wakes when they were replaced.
    pub fn changes(&self) -> watch::Receiver<Policies> {
        self.policies.subscribe()
    }
}

fn shared(miners: Vec<MinerPolicy>) -> Policies {
    Arc::new(miners.into_iter().map(Arc::new).collect())
}
