//! Somebody between two daemons who passes on what both say, until he is told to spoil the
//! answers: cut off, without an end, of the wrong type, of somebody else's question.

use crate::wire::{self, Message};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How an answer is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The connection ends in the middle of it.
    Cut,
    /// It has the id of another question.
    WrongId,
    /// Its result is of another type.
    WrongType,
    /// No JSON.
    Garbage,
    /// No HTTP.
    NoHttp,
    /// An error page of a proxy.
    Page,
    /// An error with the number that upstream gives to a sector that is over.
    Over,
    /// Two hundred MiB of result.
    Huge,
    /// Lists within lists, to a depth of a million.
    Deep,
    /// Headers without an end.
    EndlessHead,
    /// A byte each half second.
    Drip,
    /// Nothing at all.
    Silence,
}

impl Lie {
    pub(crate) const ALL: [Self; 12] = [
        Self::Cut,
        Self::WrongId,
        Self::WrongType,
        Self::Garbage,
        Self::NoHttp,
        Self::Page,
        Self::Over,
        Self::Huge,
        Self::Deep,
        Self::EndlessHead,
        Self::Drip,
        Self::Silence,
    ];

    /// Of how many answers one is spoiled. Whoever waits for an answer that does not come waits
    /// for half a minute, and a deadline on this chain is not much longer.
    fn one_in(self) -> u64 {
        match self {
            Self::Drip | Self::Silence => 40,
            Self::Huge | Self::EndlessHead | Self::Deep => 10,
            _ => 3,
        }
    }
}

/// Most bytes of an answer that does not end.
const ENDLESS: usize = 200 << 20;
/// How long a drip, or a silence, is kept up.
const LONG: Duration = Duration::from_secs(40);

/// What is told, shared with whoever decides it.
#[derive(Debug)]
pub(crate) struct Told {
    to: SocketAddr,
    lie: Mutex<Option<Lie>>,
    answers: AtomicU64,
    spoiled: AtomicU64,
    end: AtomicBool,
}

/// Stands before a daemon at an address of its own.
#[derive(Debug)]
pub(crate) struct Liar {
    address: SocketAddr,
    told: Arc<Told>,
}

impl Liar {
    pub(crate) fn before(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let told = Arc::new(Told {
            to,
            lie: Mutex::default(),
            answers: AtomicU64::new(0),
            spoiled: AtomicU64::new(0),
            end: AtomicBool::new(false),
        });
        let shared = Arc::clone(&told);
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if shared.end.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // whoever breaks off ends it
                thread::spawn(move || drop(shared.pass_on(caller)));
            }
        });
        Ok(Self { address, told })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.told.end.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Told {
    /// From now on spoils some answers so; None: tells the truth again.
    pub(crate) fn tell(&self, lie: Option<Lie>) {
        *self.lie() = lie;
    }

    /// How many answers passed, and how many of them were spoiled.
    pub(crate) fn count(&self) -> (u64, u64) {
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (count(&self.answers), count(&self.spoiled))
    }

    fn lie(&self) -> std::sync::MutexGuard<'_, Option<Lie>> {
        self.lie.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_on(&self, caller: TcpStream) -> Result<()> {
        let mut asks = BufReader::new(caller.try_clone()?);
        let mut caller = caller;
        let mut answers = BufReader::new(wire::connect(self.to)?);
        while let Some(question) = wire::read(&mut asks)? {
            let to = answers.get_mut();
            to.write_all(question.head.as_bytes())?;
            to.write_all(&question.body)?;
            let answer = wire::read(&mut answers)?.context("an answer")?;
            let count = self.answers.fetch_add(1, Ordering::Relaxed);
            let lie = *self.lie();
            match lie.filter(|lie| count.is_multiple_of(lie.one_in())) {
                None => {
                    caller.write_all(answer.head.as_bytes())?;
                    caller.write_all(&answer.body)?;
                }
                Some(lie) => {
                    self.spoiled.fetch_add(1, Ordering::Relaxed);
                    self.spoil(lie, count, &answer, &mut caller)?;
                }
            }
        }
        Ok(())
    }

    /// Gives a spoiled answer. An error ends the connection.
    fn spoil(&self, lie: Lie, n: u64, answer: &Message, caller: &mut TcpStream) -> Result<()> {
        let mut json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let id = json["id"].clone();
        match lie {
            Lie::Cut => {
                caller.write_all(answer.head.as_bytes())?;
                caller.write_all(&answer.body[..answer.body.len() / 2])?;
                anyhow::bail!("cut");
            }
            Lie::WrongId => json["id"] = json!(id.as_u64().unwrap_or(0) + 1_000_000),
            Lie::WrongType => {
                let wrong = [
                    json!([]),
                    json!({}),
                    json!("x"),
                    json!(-1),
                    json!(1e300),
                    json!(true),
                ];
                let wrong = wrong[(n / lie.one_in()) as usize % wrong.len()].clone();
                json = json!({"jsonrpc": "2.0", "id": id, "result": wrong});
            }
            Lie::Over => {
                let error = json!({"code": 11001, "message": "sector state not found: s-t01000-2"});
                json = json!({"jsonrpc": "2.0", "id": id, "error": error});
            }
            Lie::Garbage => {
                return whole(caller, "200 OK", "{\"jsonrpc\": \u{0}\u{1b}[31m".as_bytes());
            }
            Lie::Page => {
                return whole(
                    caller,
                    "502 Bad Gateway",
                    b"<html>\x1b[2J nothing here</html>",
                );
            }
            Lie::NoHttp => {
                caller.write_all(&[0x16, 3, 1, 0, 200, b'\r', b'\n', 0])?;
                anyhow::bail!("no HTTP");
            }
            Lie::Deep => return whole(caller, "200 OK", &vec![b'['; 1 << 20]),
            Lie::Huge => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {ENDLESS}\r\n\r\n{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\""
                );
                return endless(caller, &head, &[b'x'; 1 << 16]);
            }
            Lie::EndlessHead => {
                let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
                return endless(caller, "HTTP/1.1 200 OK\r\n", line.as_bytes());
            }
            Lie::Drip => {
                let begun = Instant::now();
                for byte in answer.head.as_bytes() {
                    if begun.elapsed() > LONG || self.end.load(Ordering::Relaxed) {
                        break;
                    }
                    caller.write_all(&[*byte])?;
                    thread::sleep(Duration::from_millis(500));
                }
                anyhow::bail!("long enough");
            }
            Lie::Silence => {
                caller.set_read_timeout(Some(LONG))?;
                let _ = caller.read(&mut [0; 1]);
                anyhow::bail!("long enough");
            }
        }
        whole(caller, "200 OK", json.to_string().as_bytes())
    }
}

fn whole(caller: &mut TcpStream, status: &str, body: &[u8]) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    caller.write_all(head.as_bytes())?;
    Ok(caller.write_all(body)?)
}

/// The same again and again, until the other end has enough.
fn endless(caller: &mut TcpStream, begin: &str, more: &[u8]) -> Result<()> {
    caller.write_all(begin.as_bytes())?;
    let mut sent = 0;
    while sent < ENDLESS {
        caller.write_all(more)?;
        sent += more.len();
    }
    anyhow::bail!("enough")
}
