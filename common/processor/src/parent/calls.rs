//! The open requests of one child process: who waits for which id.

use crate::wire::Response;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What a caller hears.
#[derive(Debug)]
pub(super) enum Reply {
    Progress(String),
    Answer(Response),
    Died(String),
}

/// The table. Once closed it takes no request any more; open ones still get their answers.
pub(super) struct Calls(Mutex<Table>);

struct Table {
    open: BTreeMap<u64, Sender<Reply>>,
    last_id: u64,
    closed: bool,
    retired: bool,
    quiet_since: Instant,
}

impl Default for Calls {
    fn default() -> Self {
        Self(Mutex::new(Table {
            open: BTreeMap::new(),
            last_id: 0,
            closed: false,
            retired: false,
            quiet_since: Instant::now(),
        }))
    }
}

impl Calls {
    /// A new request; none when the child takes no more.
    pub(super) fn open(&self) -> Option<(u64, Receiver<Reply>)> {
        let mut table = self.0.lock();
        if table.closed || table.retired {
            return None;
        }
        table.last_id += 1;
        let id = table.last_id;
        // unbounded, but a child sends few notes per task and the caller is reading
        let (sender, receiver) = unbounded();
        table.open.insert(id, sender);
        Some((id, receiver))
    }

    /// Hands a line of the child to its caller; false when nobody waits for that id.
    pub(super) fn deliver(&self, mut response: Response) -> bool {
        let mut table = self.0.lock();
        if let Some(text) = response.progress.take() {
            let caller = table.open.get(&response.id);
            return caller.is_some_and(|caller| caller.send(Reply::Progress(text)).is_ok());
        }
        table.retired |= response.retire;
        let caller = table.open.remove(&response.id);
        table.quiet_since = Instant::now();
        caller.is_some_and(|caller| caller.send(Reply::Answer(response)).is_ok())
    }

    /// Takes no more requests.
    pub(super) fn close(&self) {
        self.0.lock().closed = true;
    }

    /// Closes when the child asked to be replaced and nothing runs in it.
    pub(super) fn close_if_retired(&self) -> bool {
        let mut table = self.0.lock();
        let done = table.retired && table.open.is_empty();
        table.closed |= done;
        done
    }

    /// Closes when nothing ran for that long.
    pub(super) fn close_if_idle(&self, idle: Duration) -> bool {
        let mut table = self.0.lock();
        let done = table.open.is_empty() && table.quiet_since.elapsed() >= idle;
        table.closed |= done;
        done
    }

    /// Ends all open requests: the process is gone.
    pub(super) fn fail(&self, reason: &str) {
        let mut table = self.0.lock();
        table.closed = true;
        for (_, caller) in std::mem::take(&mut table.open) {
            let _ = caller.send(Reply::Died(reason.to_owned()));
        }
    }
}
