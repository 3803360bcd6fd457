//! Serving HTTP to whoever comes: nobody may hold a place without using it (law 9). A head
//! that does not come, a connection that idles, a body that trickles and an answer that nobody
//! reads are given up; places are counted, and strangers have only a share of them. What large
//! requests take of memory is counted, too. Where there is a certificate, other hosts must speak
//! TLS; callers on this host may, for what they say leaves it not.

mod caller;
mod long;
mod greeting;
mod patient;
mod places;
mod room;
mod standing;

pub use caller::{Caller, Held};
pub use long::Long;

use crate::{runtime, seldom::Seldom, tls::Tls};
use axum::{
    BoxError, Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Request},
    http,
    response::{IntoResponse, Response},
};
use greeting::Greeted;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use patient::Patient;
use places::{Place, Places, Shares};
use room::Room;
use rustls::ServerConfig;
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
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
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
    /// The same for who has not shown yet that it may be here.
    stranger: Duration,
    /// For the rest of a request, once there is room for it.
    body: Duration,
    /// For the rest of a request and the making of its answer.
    answer: Duration,
    /// For the other end to take anything of what is sent.
    stalled: Duration,
    /// For calls in flight when the daemon stops.
    drain: Duration,
}

const LIMITS: Limits = Limits {
    // our clients keep an idle connection for 90 s; it must not end under a request of theirs
    head: Duration::from_secs(120),
    stranger: Duration::from_secs(10),
    body: Duration::from_secs(30),
    answer: Duration::from_secs(180),
    stalled: Duration::from_secs(30),
    drain: Duration::from_secs(5),
};
/// After a failed accept, so that a lack of file descriptors is not made worse.
const BREATH: Duration = Duration::from_secs(1);
/// Between two lines in the log about callers who find no place.
const REMIND: Duration = Duration::from_secs(60);

/// Serves the routes (HTTP/1.1, upgrades included) until `stop`; then takes no new
/// connections and lets running calls end. Handlers may ask for `ConnectInfo<SocketAddr>`, and
/// find a [`Caller`] in the extensions, whom they may trust. A call's limit does not hold for
/// what it was upgraded to, and such a connection has no place here any more.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_with(Tls::default(), listener, router, stop).await;
}

/// The same over TLS, while there is something to show.
pub async fn serve_with(tls: Tls, listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = runtime::connections(runtime::descriptors());
    serve_within(LIMITS, Shares::of(places), tls, listener, router, stop).await;
}

async fn serve_within(
    limits: Limits,
    shares: Shares,
    tls: Tls,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) {
    let places = Places::new(shares);
    let room = Room::new(limits.body);
    let turned_away = Seldom::new(REMIND);
    let not_accepted = Seldom::new(REMIND);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match entered(&places, peer, &stop).await {
                    Ok(place) => {
                        let door = Door {
                            router: router.clone(),
                            peer,
                            limit: limits.answer,
                            room: room.clone(),
                            caller: Caller::new(Arc::clone(&places), &place),
                        };
                        let shown = tls.now();
                        connections.spawn(connection(stream, shown, door, place, limits, stop.clone()));
                    }
                    Err(places::Full) => if let Some(more) = turned_away.now() {
                        tracing::warn!(
                            %peer, more, places = shares.total,
                            hint = "too many callers, or too few file descriptors; see `ulimit -n`, or LimitNOFILE of the systemd unit",
                            "a connection was closed: no place is free"
                        );
                    },
                },
                Err(error) => say_not_accepted(&error, &not_accepted).await,
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

/// A place for a newcomer, once somebody here has had its moment where all are taken. Whoever comes
/// behind waits as well, a second at most.
async fn entered(
    places: &Arc<Places>,
    peer: SocketAddr,
    stop: &CancellationToken,
) -> Result<Place, places::Full> {
    if let Some(time) = places.moment_left(peer.ip()) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(time) => {}
        }
    }
    places.enter(peer.ip())
}

async fn say_not_accepted(error: &io::Error, seldom: &Seldom) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // these are the caller's, who is gone
    if ![ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind()) {
        if let Some(more) = seldom.now() {
            tracing::warn!(
                more,
                hint =
                    "too few file descriptors? See `ulimit -n`, or LimitNOFILE of the systemd unit",
                "a connection could not be accepted: {error}"
            );
        }
        sleep(BREATH).await;
    }
}

async fn connection(
    stream: TcpStream,
    shown: Option<Arc<ServerConfig>>,
    door: Door,
    place: Place,
    limits: Limits,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::trace!("no TCP_NODELAY: {error}");
    }
    let overdue = overdue(door.caller.clone(), limits.stranger);
    let mut overdue = pin!(overdue);
    let stream = Patient::new(stream, limits.stalled);
    let Some(shown) = shown else {
        return talk(stream, door, place, limits, stop, overdue).await;
    };
    let greeted = tokio::select! {
        greeted = greeting::greeted(stream, shown, door.peer) => greeted,
        () = &mut overdue => return,
        () = stop.cancelled() => return,
        () = place.leave.cancelled() => return,
    };
    match greeted {
        Ok(Greeted::Encrypted(stream)) => talk(*stream, door, place, limits, stop, overdue).await,
        Ok(Greeted::Plain(stream)) => talk(stream, door, place, limits, stop, overdue).await,
        Err(error) => tracing::debug!(peer = %door.peer, "no TLS came about: {error}"),
    }
}

/// Serves HTTP on an open connection.
async fn talk<S>(
    stream: S,
    door: Door,
    place: Place,
    limits: Limits,
    stop: CancellationToken,
    overdue: Pin<&mut impl Future<Output = ()>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // version 1 alone: waiting for the bytes that tell 1 from 2 has no limit of its own
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(door))
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        () = overdue => return,
        () = place.leave.cancelled() => {
            // who has asked is answered, be it that nobody found the time to look before now
            let answered = place.standing.idle().is_none();
            let Some(_parting) = answered.then(|| place.parting()).flatten() else {
                return;
            };
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!("a connection ended: {error}");
    }
}

/// Returns when a stranger has asked nothing for too long.
async fn overdue(caller: Caller, limit: Duration) {
    loop {
        match caller.rest(limit) {
            None => return std::future::pending().await,
            Some(Duration::ZERO) => return,
            Some(rest) => sleep(rest).await,
        }
    }
}

/// The routes for one caller.
#[derive(Clone, Debug)]
struct Door {
    router: Router,
    peer: SocketAddr,
    limit: Duration,
    room: Room,
    caller: Caller,
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
        let long = Long::default();
        let (request, claim) = self.room.claim(request.map(Body::new), long.clone());
        let mut request: Request = request;
        request.extensions_mut().insert(long.clone());
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(self.caller.clone());
        let call = self.caller.call(claim);
        let (limit, answer) = (self.limit, self.router.call(request));
        Box::pin(async move {
            let Ok(answer) = tokio::select! {
                answer = answer => answer,
                () = long.over(limit) => Ok(http::StatusCode::REQUEST_TIMEOUT.into_response()),
            };
            Ok(caller::sending(call, answer))
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
