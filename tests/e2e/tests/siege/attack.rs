//! What one host can do to a daemon's door: crowds that are silent, crowds that are deaf, and
//! requests that are as large as they may be. A crowd gathers first, and then stays for as long as
//! it is told to; each attack says what it has done.

use crate::wire;
use serde_json::json;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at a crowd.
const LOOK: Duration = Duration::from_millis(200);
/// Most time for a crowd to gather.
const GATHER: Duration = Duration::from_secs(90);
/// Largest request that both daemons take.
const LARGEST: usize = 1 << 20;

/// One door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    /// A question that costs nothing.
    pub(crate) easy: &'static str,
    /// A question with a large answer, and its parameters.
    pub(crate) large: (&'static str, &'static str),
}

impl Door {
    pub(crate) fn manager(address: SocketAddr) -> Self {
        Self {
            address,
            path: wire::MANAGER,
            easy: "Venus.Version",
            large: ("Venus.ListSectors", r#"["online", 0]"#),
        }
    }

    pub(crate) fn worker(address: SocketAddr) -> Self {
        Self {
            address,
            path: wire::WORKER,
            easy: "VenusWorker.WorkerVersion",
            large: ("VenusWorker.WorkerTimeline", "[0]"),
        }
    }

    fn easy_post(&self) -> Vec<u8> {
        let body = wire::call(self.easy, json!([]));
        wire::post(self.path, self.address, &body)
    }

    fn large_post(&self) -> Vec<u8> {
        let (method, params) = self.large;
        let params = serde_json::from_str(params).unwrap();
        wire::post(self.path, self.address, &wire::call(method, params))
    }

    /// An easy question with an id of so many bytes, which the answer repeats.
    fn long_id(&self, bytes: usize) -> String {
        json!({"jsonrpc": "2.0", "id": "x".repeat(bytes), "method": self.easy, "params": []})
            .to_string()
    }
}

/// Connections that are kept open; those that are closed are opened again.
struct Crowd {
    size: usize,
    open: Vec<TcpStream>,
    opened: usize,
    most: usize,
}

impl Crowd {
    fn of(size: usize) -> Self {
        let open = Vec::with_capacity(size);
        Self {
            size,
            open,
            opened: 0,
            most: 0,
        }
    }

    /// Fills up; each newcomer sends `greeting`.
    fn fill(&mut self, address: SocketAddr, greeting: &[u8], until: Instant) {
        while self.open.len() < self.size && Instant::now() < until {
            let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2))
            else {
                break;
            };
            let _ = stream.set_write_timeout(Some(Duration::from_secs(2)));
            if !greeting.is_empty() && stream.write_all(greeting).is_err() {
                continue;
            }
            let _ = stream.set_nonblocking(true);
            self.open.push(stream);
            self.opened += 1;
        }
        self.most = self.most.max(self.open.len());
    }

    /// Lets go of those that were closed. `hears`: what comes is read and thrown away.
    fn weed(&mut self, hears: bool) {
        let mut some = [0; 4096];
        self.open.retain_mut(|stream| {
            loop {
                let got = if hears {
                    stream.read(&mut some)
                } else {
                    stream.peek(&mut some[..1])
                };
                match got {
                    Ok(0) => return false,
                    Ok(_) if hears => {}
                    Ok(_) => return true,
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
            }
        });
    }

    fn told(&self, what: &str) -> String {
        format!("{} opened, {} {what} at a time", self.opened, self.most)
    }
}

fn stay(size: usize, door: Door, greeting: &[u8], hears: bool, hold: Duration) -> Crowd {
    let mut crowd = Crowd::of(size);
    crowd.fill(door.address, greeting, Instant::now() + GATHER);
    let until = Instant::now() + hold;
    while Instant::now() < until {
        crowd.fill(door.address, greeting, until);
        crowd.weed(hears);
        thread::sleep(LOOK);
    }
    crowd.weed(hears);
    crowd
}

/// Opens connections and says nothing.
pub(crate) fn silent(size: usize, door: Door, hold: Duration) -> String {
    stay(size, door, b"", true, hold).told("silent")
}

/// Opens connections, asks once on each, hears the answer, and then says nothing.
pub(crate) fn asked_once(size: usize, door: Door, hold: Duration) -> String {
    stay(size, door, &door.easy_post(), true, hold).told("that asked once")
}

/// WebSocket sessions that say nothing.
pub(crate) fn sessions(size: usize, door: Door, hold: Duration) -> String {
    let greeting = wire::upgrade(door.path, door.address);
    stay(size, door, &greeting, true, hold).told("sessions or refusals")
}

/// Heads of requests that never end, and bodies that never come.
pub(crate) fn half_said(size: usize, door: Door, hold: Duration) -> String {
    let heads = thread::spawn(move || stay(size / 2, door, b"POST / HTTP/1.1\r\nHo", true, hold));
    let mut half = wire::post_head(door.path, door.address, LARGEST);
    half.extend_from_slice(&vec![b'['; LARGEST / 2]);
    let bodies = stay(size / 2, door, &half, true, hold);
    let heads = heads.join().map_or(0, |crowd| crowd.most);
    format!("{heads} half heads, {} half bodies at a time", bodies.most)
}

/// Asks for large answers and reads nothing of them.
pub(crate) fn deaf(size: usize, door: Door, hold: Duration) -> String {
    stay(size, door, &door.large_post(), false, hold).told("deaf")
}

/// Questions with ids of nearly a MiB, whose answers nobody reads.
pub(crate) fn deaf_to_itself(size: usize, door: Door, hold: Duration) -> String {
    let body = door.long_id(LARGEST - 4096);
    let question = wire::post(door.path, door.address, &body);
    stay(size, door, &question, false, hold).told("deaf, each with a MiB")
}

/// WebSocket sessions that send questions of nearly a MiB and read no answer.
pub(crate) fn deaf_sessions(size: usize, door: Door, hold: Duration) -> String {
    let question = wire::frame(&door.long_id(LARGEST - 4096));
    let until = Instant::now() + hold;
    let sent = AtomicUsize::new(0);
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..size {
            scope.spawn(|| {
                let opened = wire::connect(door.address);
                let Ok(mut stream) = opened else { return };
                let greeting = wire::upgrade(door.path, door.address);
                let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
                if stream.write_all(&greeting).is_err() {
                    return;
                }
                most.fetch_add(1, Ordering::Relaxed);
                let mut at = 0;
                while Instant::now() < until {
                    match stream.write(&question[at..]) {
                        Ok(more) => at += more,
                        Err(e)
                            if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                        Err(_) => return,
                    }
                    if at == question.len() {
                        at = 0;
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (sent, most) = (sent.into_inner(), most.into_inner());
    format!("{most} sessions, {sent} questions of a MiB")
}

/// The largest bodies that cost the most, posted by many at once, again and again.
pub(crate) fn bodies(callers: usize, door: Door, hold: Duration) -> String {
    let one = wire::call(door.easy, json!([]));
    let times = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let list = |text: &str, bytes: usize| {
        let all = times(&format!("{text},"), bytes - text.len() - 2);
        format!("[{all}{text}]")
    };
    let params = |params: &str| {
        let method = door.easy;
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    };
    let room = LARGEST - 256;
    let batch: Vec<&str> = vec![&one; 50];
    let bodies = [
        list("0", room),
        list("{}", room),
        list(&one, room),
        format!("[{}]", batch.join(",")),
        times("[", room),
        params(&list("0", room)),
        params(&times("[", room)),
        times("{\"a\":", room),
        list("0", 30 << 20),
        door.long_id(room),
        String::from_utf8_lossy(&door.large_post())
            .split("\r\n\r\n")
            .nth(1)
            .unwrap_or("")
            .to_owned(),
    ];
    let until = Instant::now() + hold;
    let posted = AtomicUsize::new(0);
    let broken = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..callers {
            let (bodies, posted, broken) = (&bodies, &posted, &broken);
            scope.spawn(move || {
                for body in bodies.iter().cycle().skip(n) {
                    if Instant::now() >= until {
                        return;
                    }
                    // one that is refused before it was sent whole breaks off
                    match send(door, body) {
                        Ok(()) => posted.fetch_add(1, Ordering::Relaxed),
                        Err(_) => broken.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
    });
    let (posted, broken) = (posted.into_inner(), broken.into_inner());
    format!("{posted} answered, {broken} broken off")
}

fn send(door: Door, body: &str) -> anyhow::Result<()> {
    let mut stream = std::io::BufReader::new(wire::connect(door.address)?);
    let to = stream.get_mut();
    to.write_all(&wire::post(door.path, door.address, body))?;
    wire::read(&mut stream)?;
    Ok(())
}
