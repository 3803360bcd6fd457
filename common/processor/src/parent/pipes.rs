//! The pipes of a child process: requests on stdin, answers on stdout, its log on stderr.
//! Each has a thread, so that a process that does not read holds up nobody but its own;
//! news for the watcher goes through a channel.

use crate::{
    kind::ready_line,
    parent::{
        calls::{Calls, Death},
        dump::Dump,
        spec::ChildSpec,
        words::{self, Said},
    },
    wire::Response,
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read, Write},
    sync::Arc,
    thread,
};
use tracing::Level;

/// Lines of stderr that are kept to explain a death, and how much of them is told.
const LAST_WORDS: usize = 3;
const LONGEST_LAST_WORDS: usize = 300;
/// Longest line of stderr; what is longer is told in pieces.
const LONGEST_WORDS: usize = 16 << 10;
/// Longest first line of stdout, and longest answer (C1's are the largest, far below this).
/// A program that writes on and on without a newline must not eat the daemon's memory.
const LONGEST_GREETING: u64 = 4 << 10;
const LONGEST_ANSWER: u64 = 1 << 30;
/// What is kept of the memory of a long line.
const KEPT: usize = 64 << 10;
/// How many lines on stdout that are no protocol are told of one process.
const STRAY_TOLD: u32 = 20;

/// A running process.
pub(super) struct Live {
    pub(super) pid: u32,
    pub(super) input: Input,
    pub(super) calls: Calls,
    /// Unbounded, so that nobody ever waits for the watcher here; it is told little.
    pub(super) events: Sender<Event>,
    pub(super) last_words: Mutex<VecDeque<String>>,
}

impl Live {
    pub(super) fn new(pid: u32) -> (Arc<Self>, Receiver<Event>, Receiver<String>) {
        let (events, told) = unbounded();
        let (input, lines) = unbounded();
        let live = Self {
            pid,
            input: Input(Mutex::new(Some(input))),
            calls: Calls::default(),
            events,
            last_words: Mutex::default(),
        };
        (Arc::new(live), told, lines)
    }

    /// What it said last that may explain its end, on one line.
    pub(super) fn last_words(&self) -> String {
        let words: Vec<_> = self.last_words.lock().iter().cloned().collect();
        let words = words.join(" | ");
        match words.char_indices().nth(LONGEST_LAST_WORDS) {
            Some((end, _)) => format!("{}…", &words[..end]),
            None => words,
        }
    }
}

/// The way to a process's stdin. Putting a line on it never waits.
pub(super) struct Input(Mutex<Option<Sender<String>>>);

impl Input {
    /// False when the way is closed.
    pub(super) fn send(&self, line: String) -> bool {
        let to = self.0.lock().clone();
        to.is_some_and(|to| to.send(line).is_ok())
    }

    /// Closes stdin, once what was sent before is written.
    pub(super) fn close(&self) {
        self.0.lock().take();
    }
}

pub(super) enum Event {
    Ready,
    /// The process is of no more use: a pipe is over, or it said something that is no protocol.
    Closed(Death),
    /// Somebody wants it killed.
    Kill(Death),
    /// Somebody asks the watcher to look again.
    Look,
}

impl Event {
    pub(super) fn closed(reason: impl Into<String>) -> Self {
        Self::Closed(Death {
            reason: reason.into(),
            hint: None,
        })
    }
}

/// Writes what is sent. It ends with the process: a pipe that nobody will read any more breaks.
pub(super) fn spawn_stdin(
    spec: &ChildSpec,
    live: &Live,
    lines: Receiver<String>,
    mut stdin: impl Write + Send + 'static,
) -> io::Result<()> {
    let events = live.events.clone();
    thread::Builder::new()
        .name(format!("in {}", spec.name))
        .spawn(move || {
            for text in lines {
                let written = stdin
                    .write_all(text.as_bytes())
                    .and_then(|()| stdin.flush());
                if let Err(error) = written {
                    // closed stdin means a dying process; its watcher ends the calls
                    let _ = events.send(Event::closed(format!("its stdin broke: {error}")));
                    return;
                }
            }
        })?;
    Ok(())
}

pub(super) fn spawn_stdout(
    spec: &ChildSpec,
    live: Arc<Live>,
    stdout: impl Read + Send + 'static,
) -> io::Result<()> {
    let ready = ready_line(&spec.stage);
    let (name, dump) = (spec.name.clone(), spec.dump.clone());
    thread::Builder::new()
        .name(format!("out {name}"))
        .spawn(move || {
            let reason = read_stdout(&live, (&name, &dump), &ready, BufReader::new(stdout));
            let _ = live.events.send(Event::closed(reason));
        })?;
    Ok(())
}

/// Reads until the end or until something that is no protocol; says why it stopped.
fn read_stdout(
    live: &Live,
    (name, dump): (&str, &Dump),
    ready: &str,
    mut stdout: impl BufRead,
) -> String {
    let mut text = Vec::new();
    let mut first = true;
    let mut stray = 0;
    loop {
        text.clear();
        text.shrink_to(KEPT);
        let longest = if first {
            LONGEST_GREETING
        } else {
            LONGEST_ANSWER
        };
        match stdout.by_ref().take(longest).read_until(b'\n', &mut text) {
            Ok(0) => return "it ended".to_owned(),
            Ok(n) if n as u64 == longest && !text.ends_with(b"\n") => {
                return format!("a line of its stdout has more than {longest} bytes");
            }
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
                let is_note = response.progress.is_some();
                if !live.calls.deliver(response) {
                    tracing::warn!(child = name, "an answer to a request {id} that is not open");
                }
                if !is_note {
                    let _ = live.events.send(Event::Look);
                }
            }
            // A library's print in a program that has not put its stdout aside. An answer it
            // was not.
            Err(_) if text.trim_ascii_start().first() != Some(&b'{') => {
                stray += 1;
                if stray <= STRAY_TOLD {
                    dump.keep(name, live.pid, &text);
                    tracing::warn!(
                        child = name,
                        pid = live.pid,
                        "a line on its stdout is no answer: {:?}",
                        shown()
                    );
                }
            }
            // Nobody can tell which request this was the answer to: none may wait for it.
            Err(error) => {
                let kept = dump.keep(name, live.pid, &text);
                let kept = kept.map(|file| format!(", whole in {}", file.display()));
                return format!(
                    "it said something that is no answer ({error}): {:?}{}",
                    shown(),
                    kept.unwrap_or_default()
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
            each_line(BufReader::new(stderr), |text| {
                let said = words::read(&text);
                let span = live.calls.span(said.task);
                span.in_scope(|| log(&said, &stage, &name, live.pid));
                if said.explains() {
                    let mut words = live.last_words.lock();
                    if words.len() == LAST_WORDS {
                        words.pop_front();
                    }
                    words.push_back(said.text);
                }
            });
            drop(running);
        })?;
    Ok(done)
}

/// What a child says goes into our log at the level at which it was said.
fn log(said: &Said, stage: &str, child: &str, pid: u32) {
    macro_rules! at {
        ($($level:ident),*) => {
            match said.level.unwrap_or(Level::INFO) {
                $(Level::$level => {
                    tracing::event!(target: "processor", Level::$level, stage, child, pid, "{}", said.text);
                })*
            }
        };
    }
    at!(TRACE, DEBUG, INFO, WARN, ERROR);
}

/// Calls `each` with every line that has something to say, until the end. Of what a progress
/// bar writes over itself (carriage returns, perhaps for hours without a newline) only the
/// last state counts.
fn each_line(mut from: impl BufRead, mut each: impl FnMut(String)) {
    let mut tell = |text: &[u8]| {
        let text = text.trim_ascii_end();
        let last = text.rsplit(|byte| *byte == b'\r').next().unwrap_or(text);
        if !last.is_empty() {
            each(String::from_utf8_lossy(last).into_owned());
        }
    };
    let mut text = Vec::new();
    loop {
        text.clear();
        let room = LONGEST_WORDS as u64;
        match from.by_ref().take(room).read_until(b'\n', &mut text) {
            Ok(0) | Err(_) => return,
            // a piece of a progress bar without its end: what was overwritten is not told
            Ok(_) if !text.ends_with(b"\n") && text.contains(&b'\r') => {}
            Ok(_) => tell(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        each_line(text.as_bytes(), |line| found.push(line));
        found
    }

    #[test]
    fn lines_bars_and_endless_lines() {
        assert_eq!(
            lines("one\r\n\n10%\r20%\rdone\nlast words"),
            ["one", "done", "last words"]
        );
        let long = "x".repeat(2 * LONGEST_WORDS + 5);
        let lengths: Vec<_> = lines(&long).iter().map(String::len).collect();
        assert_eq!(lengths, [LONGEST_WORDS, LONGEST_WORDS, 5]);
        let bar = "\r 50 % of something".repeat(LONGEST_WORDS);
        assert!(lines(&bar).len() <= 1, "a bar is not a flood of lines");
        assert_eq!(
            lines(&format!("{bar}\nit failed\n")).last().unwrap(),
            "it failed"
        );
    }
}
