//! Serving HTTP to whoever comes: nobody may hold a place without using it (law 9). A head
//! that does not come, a connection that idles and a body that trickles are given up; places
//! are counted.

use axum::{
    BoxError, Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Request},
    http,
    response::{IntoResponse, Response},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How long callers may take, and how many they may be.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For the head of a request, from the connection's begin or the end of the request before.
    head: Duration,
    /// For the rest of a request and its answer.
    answer: Duration,
    connections: usize,
    /// For calls in flight when the daemon stops.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    // our clients keep an idle connection for 90 s; it must not end under a request of theirs
    head: Duration::from_secs(120),
    answer: Duration::from_secs(180),
    connections: 4096,
    drain: Duration::from_secs(5),
};
/// After a failed accept, so that a lack of file descriptors is not made worse.
const BREATH: Duration = Duration::from_secs(1);

/// Serves the routes (HTTP/1.1, upgrades included) until `stop`; then takes no new
/// connections and lets running calls end. Handlers may ask for `ConnectInfo<SocketAddr>`.
/// A call's limit does not hold for what it was upgraded to.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_within(LIMITS, listener, router, stop).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // the semaphore is never closed
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let door = Door { router: router.clone(), peer, limit: limits.answer };
                    let served = connection(stream, door, limits.head, stop.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => not_accepted(&error).await,
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, ended).await.is_err() {
        tracing::debug!(
            open = connections.len(),
            "closing connections that are still open"
        );
    }
}

async fn not_accepted(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // these are the caller's, who is gone
    if ![ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind()) {
        tracing::warn!(
            hint = "too few file descriptors? See `ulimit -n`, or LimitNOFILE of the systemd unit",
            "a connection could not be accepted: {error}"
        );
        sleep(BREATH).await;
    }
}

async fn connection(stream: TcpStream, door: Door, head: Duration, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::trace!("no TCP_NODELAY: {error}");
    }
    // version 1 alone: waiting for the bytes that tell 1 from 2 has no limit of its own
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(door))
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!("a connection ended: {error}");
    }
}

/// The routes for one caller.
#[derive(Clone, Debug)]
struct Door {
    router: Router,
    peer: SocketAddr,
    limit: Duration,
}

impl<B> Service<http::Request<B>> for Door
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // routers always are
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let answer = timeout(self.limit, self.router.call(request));
        Box::pin(async move {
            let late = |_| Ok(http::StatusCode::REQUEST_TIMEOUT.into_response());
            answer.await.unwrap_or_else(late)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
    };

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(20);
    const PATIENT: Limits = Limits {
        head: LONG,
        answer: LONG,
        connections: 8,
        drain: LONG,
    };
    const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    impl Served {
        async fn new(limits: Limits) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = CancellationToken::new();
            let hello =
                |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
            let router = Router::new()
                .route("/", get(hello))
                .route("/echo", post(|body: Bytes| async { body }));
            let task = tokio::spawn(serve_within(limits, listener, router, stop.clone()));
            Self {
                address,
                stop,
                task,
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

    /// Asks and reads the answer; the connection stays open.
    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(HELLO).await.unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        let mut got = String::new();
        while !got.ends_with(&peer) {
            let mut some = [0; 512];
            let n = stream.read(&mut some).await.unwrap();
            assert_ne!(n, 0, "closed after {got:?}");
            got.push_str(std::str::from_utf8(&some[..n]).unwrap());
        }
        got
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
    async fn places_are_counted_and_become_free() {
        let limits = Limits {
            connections: 1,
            ..PATIENT
        };
        let served = Served::new(limits).await;
        let mut first = served.connect().await;
        ask(&mut first).await;
        let mut second = served.connect().await;
        second.write_all(HELLO).await.unwrap();
        ask(&mut first).await;
        let unanswered = second.try_read(&mut [0]).unwrap_err();
        assert_eq!(unanswered.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(ask(&mut second).await.starts_with("HTTP/1.1 200"));
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
}
