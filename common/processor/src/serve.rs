//! The child's side of the line protocol: reads requests, runs each on its own thread,
//! answers in any order. Knows nothing of proofs; the work is a function that it is given.

use crate::{
    kind::{self, Stage},
    pin, sys,
    wire::{EVENTS_ENV, Request, Response, line},
};
use damocles_types::Level;
use parking_lot::{Condvar, Mutex};
use serde_json::value::RawValue;
use std::{
    any::Any,
    fs::File,
    io::{self, BufRead, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TaskError {
    pub message: String,
    pub level: Level,
    pub hint: Option<String>,
}

impl TaskError {
    pub fn permanent(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            level: Level::Permanent,
            hint: None,
        }
    }

    pub fn temporary(message: impl ToString) -> Self {
        Self {
            level: Level::Temporary,
            ..Self::permanent(message)
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl From<anyhow::Error> for TaskError {
    /// What a stage cannot classify better is permanent. The whole chain of causes goes
    /// along, because the parent sees only this text.
    fn from(error: anyhow::Error) -> Self {
        error
            .downcast()
            .unwrap_or_else(|error| Self::permanent(format!("{error:#}")))
    }
}

/// Where a running task tells how far it is: now and then on stderr, and each time to a parent
/// that asked for it; and, for its answer, what computes it.
#[derive(Clone)]
pub struct Progress {
    id: u64,
    to: Option<Output>,
    log: Option<Arc<Mutex<Now>>>,
    kernel: Arc<Mutex<Option<String>>>,
}

/// How often a task tells on stderr how far it is, and how often when its parent hears it on
/// stdout as well.
const TELL: Duration = Duration::from_secs(10);
const TELL_TWICE: Duration = Duration::from_secs(600);

/// When the next word goes to stderr.
#[derive(Debug)]
struct Now {
    next: Instant,
    every: Duration,
}

impl Now {
    fn has_come(&mut self, now: Instant) -> bool {
        let come = now >= self.next;
        if come {
            self.next = now + self.every;
        }
        come
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress(task {})", self.id)
    }
}

impl Progress {
    /// A progress that goes nowhere.
    pub fn silent() -> Self {
        Self {
            log: None,
            ..Self::of(0, None)
        }
    }

    fn of(id: u64, to: Option<Output>) -> Self {
        let now = Now {
            next: Instant::now(),
            every: if to.is_some() { TELL_TWICE } else { TELL },
        };
        Self {
            id,
            to,
            log: Some(Arc::new(Mutex::new(now))),
            kernel: Arc::default(),
        }
    }

    /// Names the implementation that computes this task; the last word counts. The answer
    /// carries it, that of a failed task too.
    pub fn kernel(&self, name: &str) {
        *self.kernel.lock() = Some(name.to_owned());
    }

    /// What [`Self::kernel`] was told.
    pub fn computed_by(&self) -> Option<String> {
        self.kernel.lock().clone()
    }

    pub fn note(&self, text: impl ToString) {
        let text = text.to_string();
        if let Some(log) = &self.log
            && log.lock().has_come(Instant::now())
        {
            tracing::info!(task = self.id, "{text}");
        }
        let note = Response {
            id: self.id,
            progress: Some(text),
            ..Response::default()
        };
        if let Some(output) = &self.to {
            send(output, &note);
        }
    }
}

type Output = Arc<Mutex<Box<dyn Write + Send>>>;
type Answer = Result<Box<RawValue>, TaskError>;

/// The work of a stage: from a task's JSON to an output's JSON.
pub type Handler = dyn Fn(&RawValue, &Progress) -> Answer + Send + Sync;

/// How far the sealing stages stand back. A machine that seals on all its cores still answers,
/// and proofs that are due now go first.
const NICENESS: i32 = 5;

/// What a child does first: die with its parent, take its CPUs, its NUMA node and its place
/// behind what is urgent, and keep standard output for the protocol alone. Before any thread
/// is started.
pub fn prepare(stage: Stage) -> io::Result<File> {
    // The signal comes when the *thread* ends that started us. Our own parent keeps that
    // thread; others (Go moves between threads) need not, and the end of stdin tells as well.
    if parent_is_ours() {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    pin::from_env();
    // a deadline waits for these; for the rest only the operator does
    if !matches!(
        stage,
        Stage::WindowPost | Stage::WinningPost | Stage::ReadSectors
    ) && let Err(error) = rustix::process::nice(NICENESS)
    {
        tracing::warn!("it runs at the ordinary priority: {error}");
    }
    sys::take_stdout()
}

fn parent_is_ours() -> bool {
    std::env::var(EVENTS_ENV).is_ok_and(|value| value == "1")
}

/// The tasks that run.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<(Mutex<usize>, Condvar)>);

/// One of them, until it is dropped.
struct Runs(Running);

impl Running {
    fn begin(&self) -> Runs {
        *self.0.0.lock() += 1;
        Runs(self.clone())
    }

    fn any(&self) -> bool {
        *self.0.0.lock() > 0
    }

    /// Waits for their end as long as somebody wants their answers.
    fn finish(&self, wanted: &dyn Fn() -> bool) {
        let (count, changed) = &*self.0;
        let mut count = count.lock();
        while *count > 0 && wanted() {
            changed.wait_for(&mut count, LOOK);
        }
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        *self.0.0.0.lock() -= 1;
        self.0.0.1.notify_all();
    }
}

/// How often it is looked whether the parent is still there.
const LOOK: Duration = Duration::from_millis(200);

/// The whole life of a child whose work is `handler`: requests on stdin, answers on `output`.
/// The end of stdin ends it. Under a daemon of ours at once, whatever still runs: the daemon is
/// gone or wants this process gone. Another parent may only have said all that it has to say,
/// as a shell's pipe does: it gets its answers, unless it is gone as well.
pub fn live(stage: &str, output: File, handler: Arc<Handler>) -> io::Result<()> {
    let parent = rustix::process::getppid();
    let running = Running::default();
    serve(stage, io::stdin().lock(), output, &running, handler)?;
    if !parent_is_ours() {
        running.finish(&|| rustix::process::getppid() == parent);
    }
    if running.any() {
        // no destructor may pull away what the tasks stand on
        sys::end_process();
    }
    Ok(())
}

/// Serves until `input` ends. Then it returns at once, whatever still runs.
fn serve(
    stage: &str,
    input: impl BufRead,
    output: impl Write + Send + 'static,
    running: &Running,
    handler: Arc<Handler>,
) -> io::Result<()> {
    let events = parent_is_ours();
    let output: Output = Arc::new(Mutex::new(Box::new(output)));
    {
        let mut out = output.lock();
        writeln!(out, "{}", kind::ready_line(stage))?;
        out.flush()?;
    }
    for text in input.split(b'\n') {
        let text = text?;
        if text.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Request<Box<RawValue>>>(&text) {
            Ok(request) => start(request, &output, events, running, Arc::clone(&handler)),
            Err(error) => refuse(&text, &error, &output),
        }
    }
    Ok(())
}

fn start(
    request: Request<Box<RawValue>>,
    output: &Output,
    events: bool,
    running: &Running,
    handler: Arc<Handler>,
) {
    let id = request.id;
    let out = Arc::clone(output);
    let runs = running.begin();
    let work = move || {
        let _task = tracing::info_span!("task", id).entered();
        let to = events.then(|| Arc::clone(&out));
        let progress = Progress::of(id, to);
        let result = catch_unwind(AssertUnwindSafe(|| handler(&request.task, &progress)));
        let mut response = answer(id, result);
        response.kernel = progress.computed_by();
        send(&out, &response);
        drop(runs);
        sys::trim_heap();
    };
    let spawned = std::thread::Builder::new()
        .name(format!("task-{id}"))
        .spawn(work);
    if let Err(error) = spawned {
        let error = TaskError::temporary(format!("no thread for the task: {error}"));
        send(output, &answer(id, Ok(Err(error))));
    }
}

fn answer(id: u64, result: Result<Answer, Box<dyn Any + Send>>) -> Response {
    let mut response = Response {
        id,
        ..Response::default()
    };
    match result {
        Ok(Ok(output)) => response.output = Some(output),
        Ok(Err(error)) => {
            response.err_msg = Some(error.message);
            response.err_level = Some(error.level);
            response.hint = error.hint;
        }
        Err(panic) => {
            let text = panic_text(&*panic).unwrap_or("no message");
            response.err_msg = Some(format!("the stage panicked: {text}"));
            // a panic can poison locks and one-time values of the libraries for good
            response.retire = true;
        }
    }
    response
}

/// What a panic said, if it said anything.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}

/// A line that is no request. Whoever sent it with an id still gets an answer.
fn refuse(text: &[u8], error: &serde_json::Error, output: &Output) {
    #[derive(serde::Deserialize)]
    struct Id {
        id: u64,
    }
    let start = String::from_utf8_lossy(&text[..text.len().min(100)]).into_owned();
    tracing::warn!("a line on stdin is not a request ({error}): {start}");
    if let Ok(Id { id }) = serde_json::from_slice(text) {
        let error = TaskError::permanent(format!("the request cannot be read: {error}"));
        send(output, &answer(id, Ok(Err(error))));
    }
}

fn send(output: &Output, response: &Response) {
    let sent = line(response).map_err(io::Error::other).and_then(|text| {
        let mut out = output.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    });
    if let Err(error) = sent {
        // the parent is gone; stdin ends as well and with it this process
        tracing::warn!(
            "the answer to task {} could not be sent: {error}",
            response.id
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Cursor, sync::mpsc};

    /// A writer that hands every line to the test.
    struct Lines(mpsc::Sender<String>, Vec<u8>);
    impl Write for Lines {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            for byte in buf {
                if *byte == b'\n' {
                    let text = String::from_utf8(std::mem::take(&mut self.1)).unwrap();
                    let _ = self.0.send(text);
                } else {
                    self.1.push(*byte);
                }
            }
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn stderr_hears_of_a_task_at_once_and_then_now_and_then() {
        let begun = Instant::now();
        let mut now = Now {
            next: begun,
            every: TELL,
        };
        let after = [0, 1, 9, 10, 11, 19, 20, 100];
        let told = after.map(|seconds| now.has_come(begun + Duration::from_secs(seconds)));
        assert_eq!(told, [true, false, false, true, false, false, true, true]);
    }

    #[test]
    fn requests_are_answered_errors_and_panics_too() {
        let (tx, rx) = mpsc::channel();
        let input = concat!(
            "{\"id\":1,\"task\":\"echo\"}\n",
            "not json\n",
            "{\"id\":2}\n",
            "\n",
            "{\"id\":3,\"task\":\"fail\"}\n",
            "{\"id\":4,\"task\":\"panic\"}\n",
        );
        let handler: Arc<Handler> = Arc::new(|task, progress| match task.get() {
            "\"fail\"" => {
                progress.kernel("avx512");
                Err(TaskError::temporary("come back later"))
            }
            "\"panic\"" => panic!("boom"),
            _ => Ok(task.to_owned()),
        });
        let running = Running::default();
        let lines = Lines(tx, Vec::new());
        serve("pc1", Cursor::new(input), lines, &running, handler).unwrap();
        running.finish(&|| true);
        assert!(!running.any());
        let mut lines: Vec<String> = (0..5)
            .map(|_| rx.recv_timeout(Duration::from_secs(20)).unwrap())
            .collect();
        assert_eq!(lines.remove(0), "pc1 processor ready");
        let mut answers: Vec<Response> = lines
            .iter()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        answers.sort_by_key(|a| a.id);
        assert_eq!(answers[0].output.as_ref().unwrap().get(), "\"echo\"");
        assert!(
            answers[1]
                .err_msg
                .as_ref()
                .unwrap()
                .contains("cannot be read")
        );
        assert_eq!(answers[2].err_msg.as_deref(), Some("come back later"));
        assert_eq!(answers[2].err_level, Some(Level::Temporary));
        assert_eq!(answers[2].kernel.as_deref(), Some("avx512"));
        assert_eq!(answers[0].kernel, None);
        assert_eq!(
            answers[3].err_msg.as_deref(),
            Some("the stage panicked: boom")
        );
        assert!(answers[3].retire && !answers[2].retire);
    }

    #[test]
    fn the_end_of_input_ends_it_though_a_task_runs() {
        let (tx, rx) = mpsc::channel();
        let (started, running) = mpsc::channel();
        let started = Mutex::new(started);
        let handler: Arc<Handler> = Arc::new(move |_, _| {
            let _ = started.lock().send(());
            loop {
                std::thread::park();
            }
        });
        /// One request, then the end, but only when the request runs.
        struct UntilRunning(Cursor<&'static str>, mpsc::Receiver<()>);
        impl io::Read for UntilRunning {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                let n = self.0.read(buf)?;
                if n == 0 {
                    self.1
                        .recv_timeout(Duration::from_secs(20))
                        .map_err(io::Error::other)?;
                }
                Ok(n)
            }
        }
        let input = UntilRunning(Cursor::new("{\"id\":1,\"task\":{}}\n"), running);
        let running = Running::default();
        serve(
            "c2",
            io::BufReader::new(input),
            Lines(tx, Vec::new()),
            &running,
            handler,
        )
        .unwrap();
        assert!(running.any());
        // nobody wants its answer
        running.finish(&|| false);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["c2 processor ready"]);
    }
}
