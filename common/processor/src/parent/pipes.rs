//! What a child process says: its answers on stdout, its log on stderr. Each pipe has a
//! thread; news for the watcher goes through a channel.

use crate::{
    kind::ready_line,
    parent::{calls::Calls, spec::ChildSpec},
    wire::Response,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    process::ChildStdin,
    sync::Arc,
    thread,
};

/// Lines of stderr that are kept to explain a death.
const LAST_WORDS: usize = 8;

/// A running process.
pub(super) struct Live {
    pub(super) pid: u32,
    pub(super) stdin: Mutex<Option<ChildStdin>>,
    pub(super) calls: Calls,
    pub(super) events: Sender<Event>,
    pub(super) last_words: Mutex<VecDeque<String>>,
}

pub(super) enum Event {
    Ready,
    /// stdout is over, or said something that is no protocol.
    Closed(String),
    /// Somebody asks the watcher to look again.
    Look,
}

pub(super) fn spawn_stdout(
    spec: &ChildSpec,
    live: Arc<Live>,
    stdout: impl Read + Send + 'static,
) -> io::Result<()> {
    let ready = ready_line(&spec.stage);
    let name = spec.name.clone();
    thread::Builder::new()
        .name(format!("out {name}"))
        .spawn(move || {
            let reason = read_stdout(&live, &name, &ready, BufReader::new(stdout));
            let _ = live.events.send(Event::Closed(reason));
        })?;
    Ok(())
}

/// Reads until the end or until something that is no protocol; says why it stopped.
fn read_stdout(live: &Live, name: &str, ready: &str, mut stdout: impl BufRead) -> String {
    let mut text = Vec::new();
    let mut first = true;
    loop {
        text.clear();
        match stdout.read_until(b'\n', &mut text) {
            Ok(0) => return "it ended".to_owned(),
            Ok(_) if !text.ends_with(b"\n") => {
                return "it ended in the middle of a line".to_owned();
            }
            Ok(_) => {}
            Err(error) => return format!("its stdout broke: {error}"),
        }
        let shown = || {
            String::from_utf8_lossy(&text[..text.len().min(100)])
                .trim_end()
                .to_owned()
        };
        if first {
            if text.trim_ascii() != ready.as_bytes() {
                return format!("its first line is {:?} instead of {ready:?}", shown());
            }
            first = false;
            if live.events.send(Event::Ready).is_err() {
                return "nobody waits for it".to_owned();
            }
            continue;
        }
        match serde_json::from_slice::<Response>(&text) {
            Ok(response) => {
                let id = response.id;
                if !live.calls.deliver(response) {
                    tracing::warn!(child = name, "an answer to a request {id} that is not open");
                }
                let _ = live.events.try_send(Event::Look);
            }
            // Nobody can tell which request this was the answer to: none may wait for it.
            Err(error) => {
                return format!(
                    "it said something that is no answer ({error}): {:?}",
                    shown()
                );
            }
        }
    }
}

pub(super) fn spawn_stderr(
    spec: &ChildSpec,
    live: Arc<Live>,
    stderr: impl Read + Send + 'static,
) -> io::Result<Receiver<()>> {
    let (stage, name) = (spec.stage.clone(), spec.name.clone());
    let (running, done) = bounded::<()>(0);
    thread::Builder::new()
        .name(format!("err {name}"))
        .spawn(move || {
            for text in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&text).trim_end().to_owned();
                if text.is_empty() {
                    continue;
                }
                tracing::info!(target: "processor", stage, child = name, pid = live.pid, "{text}");
                let mut words = live.last_words.lock();
                if words.len() == LAST_WORDS {
                    words.pop_front();
                }
                words.push_back(text);
            }
            drop(running);
        })?;
    Ok(done)
}
