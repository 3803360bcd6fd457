//! The open requests of one child process: who waits for which id.

use crate::wire::Response;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tracing::Span;

/// Why a process is no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    pub reason: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

/// What a caller hears.
#[derive(Debug)]
pub(super) enum Reply {
    Progress(String),
    /// Something makes one doubt that the task goes on.
    Doubt(String),
    Answer(Response),
    Died(Death),
}

/// The table. Once closed it takes no request any more; open ones still get their answers.
pub(super) struct Calls(Mutex<Table>);

struct Table {
    open: BTreeMap<u64, Caller>,
    last_id: u64,
    closed: bool,
    retired: bool,
    quiet_since: Instant,
}

struct Caller {
    replies: Sender<Reply>,
    /// What the caller was at, for the child's log lines.
    span: Span,
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
        let (replies, receiver) = unbounded();
        let span = Span::current();
        table.open.insert(id, Caller { replies, span });
        Some((id, receiver))
    }

    /// Hands a line of the child to its caller; false when nobody waits for that id.
    pub(super) fn deliver(&self, mut response: Response) -> bool {
        let mut table = self.0.lock();
        if let Some(text) = response.progress.take() {
            let caller = table.open.get(&response.id);
            return caller.is_some_and(|c| c.replies.send(Reply::Progress(text)).is_ok());
        }
        table.retired |= response.retire;
        let caller = table.open.remove(&response.id);
        table.quiet_since = Instant::now();
        caller.is_some_and(|c| c.replies.send(Reply::Answer(response)).is_ok())
    }

    /// Tells all callers what makes one doubt that their tasks go on.
    pub(super) fn doubt(&self, text: &str) {
        for caller in self.0.lock().open.values() {
            let _ = caller.replies.send(Reply::Doubt(text.to_owned()));
        }
    }

    /// Where the caller of that task stands; of the only one, when the task is not known.
    pub(super) fn span(&self, task: Option<u64>) -> Span {
        let table = self.0.lock();
        let caller = match task {
            Some(id) => table.open.get(&id),
            None if table.open.len() == 1 => table.open.values().next(),
            None => None,
        };
        caller.map_or_else(Span::none, |caller| caller.span.clone())
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

    /// Ends all open requests: the process is gone, or as good as gone. Returns how many
    /// there were.
    pub(super) fn fail(&self, death: &Death) -> usize {
        let mut table = self.0.lock();
        table.closed = true;
        let open = std::mem::take(&mut table.open);
        for caller in open.values() {
            let _ = caller.replies.send(Reply::Died(death.clone()));
        }
        open.len()
    }
}
