//! The door over real sockets.

use super::*;
use axum::{
    Extension,
    routing::{get, post},
};
use std::io::Write;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);
const PATIENT: Limits = Limits {
    head: LONG,
    stranger: LONG,
    body: LONG,
    answer: LONG,
    stalled: LONG,
    drain: LONG,
};
const LARGE: usize = 64 << 20;
const HALF: &[u8] = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe";
const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Hears of every large answer that is sent or given up.
    ended: mpsc::UnboundedReceiver<()>,
}

/// Tells when it goes.
struct Bell(mpsc::UnboundedSender<()>);

impl Drop for Bell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Served {
    async fn new(limits: Limits) -> Self {
        Self::with(limits, Shares::of(8)).await
    }

    async fn with(limits: Limits, shares: Shares) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let hello = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
        let trust = |ConnectInfo(peer): ConnectInfo<SocketAddr>,
                     Extension(caller): Extension<Caller>| async move {
            caller.trust();
            peer.to_string()
        };
        let (bell, ended) = mpsc::unbounded_channel();
        let large = move || async move {
            let held = Held::new(Bell(bell));
            (Extension(held), vec![b'x'; LARGE])
        };
        let router = Router::new()
            .route("/", get(hello))
            .route("/trust", get(trust))
            .route("/large", get(large))
            .route("/echo", post(|body: Bytes| async { body }));
        let task = tokio::spawn(serve_within(
            limits,
            shares,
            Tls::default(),
            listener,
            router,
            stop.clone(),
        ));
        Self {
            address,
            stop,
            task,
            ended,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that comes until the server closes the connection.
    async fn all(&self, send: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(send).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    }
}

/// Asks and reads the answer; the connection stays open. None: it was closed.
async fn ask_for(path: &str, stream: &mut TcpStream) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let peer = stream.local_addr().ok()?.to_string();
    let mut got = String::new();
    while !got.ends_with(&peer) {
        let mut some = [0; 512];
        match stream.read(&mut some).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => got.push_str(std::str::from_utf8(&some[..n]).unwrap()),
        }
    }
    Some(got)
}

async fn ask(stream: &mut TcpStream) -> String {
    ask_for("/", stream).await.expect("it was closed")
}

#[tokio::test]
async fn who_does_not_ask_is_shown_out() {
    let limits = Limits {
        head: SHORT,
        ..PATIENT
    };
    let served = Served::new(limits).await;
    assert_eq!(served.all(b"").await, "", "nothing is said");
    let half = served.all(b"GET / HTTP/1.1\r\nHost: ").await;
    assert!(
        half.is_empty() || half.starts_with("HTTP/1.1 408"),
        "{half}"
    );
    let idle = served.all(HELLO).await;
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let limits = Limits {
        answer: SHORT,
        ..PATIENT
    };
    let served = Served::new(limits).await;
    let late = served
        .all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        .await;
    assert!(late.starts_with("HTTP/1.1 408"), "{late}");
}

#[tokio::test]
async fn a_body_that_holds_room_and_does_not_come_is_given_up() {
    let limits = Limits {
        body: SHORT,
        ..PATIENT
    };
    let served = Served::new(limits).await;
    let late = served
        .all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nhalf")
        .await;
    assert!(late.starts_with("HTTP/1.1 400"), "{late}");
}

#[tokio::test]
async fn places_are_counted_and_become_free() {
    let served = Served::with(PATIENT, Shares::of(1)).await;
    let mut first = served.connect().await;
    ask_for("/trust", &mut first).await.unwrap();
    // one that may be here and is being answered stays
    first.write_all(HALF).await.unwrap();
    let mut second = served.connect().await;
    assert_eq!(ask_for("/", &mut second).await, None, "it is closed");
    first.write_all(b"llo").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(first);
    // the place is free when the server has seen the end
    while ask_for("/", &mut served.connect().await).await.is_none() {}
}

#[tokio::test]
async fn a_stranger_gives_up_its_place_to_a_newcomer() {
    let served = Served::with(PATIENT, Shares::of(1)).await;
    let mut silent = served.connect().await;
    let mut newcomer = served.connect().await;
    ask(&mut newcomer).await;
    assert_eq!(ask_for("/", &mut silent).await, None);
}

#[tokio::test]
async fn who_has_asked_is_answered_also_when_its_place_is_gone() {
    let served = Served::with(PATIENT, Shares::of(1)).await;
    let mut asking = served.connect().await;
    asking.write_all(HALF).await.unwrap();
    ask(&mut served.connect().await).await;
    // one at a time may stay so
    let mut another = served.connect().await;
    another.write_all(HALF).await.unwrap();
    ask(&mut served.connect().await).await;
    let mut cut = Vec::new();
    let _ = another.read_to_end(&mut cut).await;
    assert_eq!(cut, b"");
    asking.write_all(b"llo").await.unwrap();
    let mut answer = Vec::new();
    asking.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
}

/// In one thread nobody looks at a socket before all have come: as on a busy machine.
#[tokio::test(flavor = "current_thread")]
async fn who_asks_at_once_is_answered_whoever_comes_behind_it() {
    let served = Served::with(PATIENT, Shares::of(1)).await;
    let mut guests: Vec<_> = (0..20)
        .map(|_| {
            let guest = std::net::TcpStream::connect(served.address).unwrap();
            guest.set_nonblocking(true).unwrap();
            guest
        })
        .collect();
    guests[0].write_all(HELLO).unwrap();
    let mut first = TcpStream::from_std(guests.remove(0)).unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn newcomers_that_come_together_are_answered_one_after_the_other() {
    let served = Served::with(PATIENT, Shares::of(1)).await;
    let mut guests = Vec::new();
    for _ in 0..3 {
        guests.push(served.connect().await);
    }
    for guest in &mut guests {
        ask(guest).await;
    }
}

#[tokio::test]
async fn strangers_may_idle_for_a_short_while_and_the_trusted_for_longer() {
    let limits = Limits {
        stranger: Duration::from_millis(300),
        ..PATIENT
    };
    let served = Served::new(limits).await;
    // on a busy machine it may be shown out before it has asked
    let mut known = loop {
        let mut stream = served.connect().await;
        if ask_for("/trust", &mut stream).await.is_some() {
            break stream;
        }
    };
    assert_eq!(served.all(b"").await, "");
    let mut answer = String::new();
    for _ in 0..50 {
        answer = served.all(HELLO).await;
        if !answer.is_empty() {
            break;
        }
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ask(&mut known).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let limits = Limits {
        stalled: SHORT,
        ..PATIENT
    };
    let mut served = Served::new(limits).await;
    let mut deaf = served.connect().await;
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    served.ended.recv().await.unwrap();
    let mut rest = Vec::new();
    // cut off, with or without a reset
    let _ = deaf.read_to_end(&mut rest).await;
    assert!(rest.len() < LARGE, "{}", rest.len());
}

#[tokio::test]
async fn an_answer_that_is_read_arrives_whole_and_what_was_held_for_it_goes() {
    let mut served = Served::new(PATIENT).await;
    let all = served
        .all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(all.len() > LARGE);
    served.ended.recv().await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let served = Served::new(PATIENT).await;
    let mut idle = served.connect().await;
    ask(&mut idle).await;
    served.stop.cancel();
    served.task.await.unwrap();
    assert_eq!(idle.read(&mut [0; 9]).await.unwrap(), 0);
}
