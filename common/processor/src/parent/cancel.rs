//! Calling a task off, from another thread than the one that waits for it.

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::{convert::Infallible, sync::Arc};

/// Lets a waiting task be called off (pause). A running one is not, unless its output is
/// worthless from then on: see [`Cancel::killing`].
#[derive(Clone, Debug)]
pub struct Cancel {
    sender: Arc<Mutex<Option<Sender<Infallible>>>>,
    receiver: Receiver<Infallible>,
    kills: bool,
}

impl Default for Cancel {
    fn default() -> Self {
        let (sender, receiver) = bounded(0);
        Self {
            sender: Arc::new(Mutex::new(Some(sender))),
            receiver,
            kills: false,
        }
    }
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    /// One that also ends a running task, by killing its child. Other tasks in the same child
    /// fail with it, for now.
    pub fn killing() -> Self {
        Self {
            kills: true,
            ..Self::default()
        }
    }

    /// Calls off, for good; a later round needs a new `Cancel`.
    pub fn cancel(&self) {
        self.sender.lock().take();
    }

    pub fn is_cancelled(&self) -> bool {
        self.sender.lock().is_none()
    }

    /// Closes when it is called off.
    pub(super) fn called_off(&self) -> &Receiver<Infallible> {
        &self.receiver
    }

    /// The same, of one that ends running tasks.
    pub(super) fn gives_up(&self) -> Option<&Receiver<Infallible>> {
        self.kills.then_some(&self.receiver)
    }
}
