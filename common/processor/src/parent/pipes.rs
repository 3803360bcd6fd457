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
/// Longest line of stderr; what is longer is told in pieces.
const LONGEST_WORDS: usize = 16 << 10;
/// Longest first line of stdout, and longest answer (C1's are the largest, far below this).
/// A program that writes on and on without a newline must not eat the daemon's memory.
const LONGEST_GREETING: u64 = 4 << 10;
const LONGEST_ANSWER: u64 = 1 << 30;
/// What is kept of the memory of a long line.
const KEPT: usize = 64 << 10;

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
            each_line(BufReader::new(stderr), |text| {
                tracing::info!(target: "processor", stage, child = name, pid = live.pid, "{text}");
                let mut words = live.last_words.lock();
                if words.len() == LAST_WORDS {
                    words.pop_front();
                }
                words.push_back(text);
            });
            drop(running);
        })?;
    Ok(done)
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
