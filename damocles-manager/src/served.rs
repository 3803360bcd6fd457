//! Which miners this manager serves, and by which policy. Rooms ask when they need one, so that a
//! configuration that is read again counts from the next question on, for all of them at once.

use crate::policy::MinerPolicy;
use damocles_types::ActorId;
use std::sync::Arc;
use tokio::sync::watch;

/// Policies, in the operator's order.
pub type Policies = Arc<Vec<Arc<MinerPolicy>>>;

/// The miners; clones share them.
#[derive(Clone, Debug)]
pub struct Served(watch::Sender<Policies>);

impl Served {
    pub fn new(miners: Vec<MinerPolicy>) -> Self {
        Self(watch::Sender::new(shared(miners)))
    }

    /// All of them, of one moment.
    pub fn all(&self) -> Policies {
        self.0.borrow().clone()
    }

    /// The policy of one; None: it is not served.
    pub fn miner(&self, actor: ActorId) -> Option<Arc<MinerPolicy>> {
        let all = self.0.borrow();
        all.iter().find(|m| m.actor == actor).cloned()
    }

    /// Serves these from now on, and no others.
    pub fn replace(&self, miners: Vec<MinerPolicy>) {
        self.0.send_replace(shared(miners));
    }

    /// Wakes when they were replaced.
    pub fn changes(&self) -> watch::Receiver<Policies> {
        self.0.subscribe()
    }
}

fn shared(miners: Vec<MinerPolicy>) -> Policies {
    Arc::new(miners.into_iter().map(Arc::new).collect())
}
