//! WebSocket sessions: JSON-RPC over one lasting connection. Every message is answered as if it
//! had been posted; a session has only so many calls at a time, and reads no further until there
//! is room for the next. Who may not come in any more, because its token was revoked or its time is
//! over, is answered nothing from then on, and shown out. Sessions have places of their own, so that they take none from calls, and
//! share the memory that large messages take until they are answered.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{
        FromRequestParts, Request,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
    },
    http::{Extensions, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use damocles_daemon::{auth::Denied, seldom::Seldom};
use damocles_types::shown;
use futures::future::{BoxFuture, OptionFuture};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Sessions at a time, and from one other host.
const SESSIONS: usize = 256;
const OF_ONE: usize = 32;
/// Calls of one session at a time.
const CALLS: usize = 16;
/// A message up to this many bytes is small; of larger ones so many of all sessions are answered
/// at a time, each until its answer, which may repeat it, is sent.
const SMALL: usize = 16 << 10;
const LARGE_AT_ONCE: usize = 16;
/// Between two pings; who is silent for the second time is gone.
const PING: Duration = Duration::from_secs(30);
const SILENT: Duration = Duration::from_secs(75);

/// Characters of the sentence with which a session is closed.
const REASON: usize = 100;

/// Answers one request.
pub(super) type Answer = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// Whether the caller may still be here.
pub(super) type Still = Arc<dyn Fn() -> Result<(), Denied> + Send + Sync>;

/// The sessions of one listener, counted by address.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    largest: usize,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

/// A session's place, until it is dropped.
#[derive(Debug)]
struct Place {
    sessions: Sessions,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .sessions
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

pub(super) fn is_wanted(request: &Request) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

impl Sessions {
    /// `largest`: bytes of one message.
    pub(super) fn new(largest: usize, stop: CancellationToken) -> Self {
        Self {
            open: Arc::default(),
            largest,
            room: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            stop,
        }
    }

    fn enter(&self, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let same = open.get(&peer).copied().unwrap_or(0);
        if all >= SESSIONS || (same >= OF_ONE && !peer.is_loopback()) {
            return None;
        }
        open.insert(peer, same + 1);
        Some(Place {
            sessions: self.clone(),
            peer,
        })
    }

    /// Begins a session with a caller who may have one. What is in the extensions of the first
    /// request is in those of every call.
    pub(super) async fn open(
        &self,
        peer: IpAddr,
        request: Request,
        answer: Answer,
        still: Still,
    ) -> Response {
        static TURNED_AWAY: Seldom = Seldom::new(Duration::from_secs(60));
        let (mut parts, _) = request.into_parts();
        let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade,
            Err(refused) => return refused.into_response(),
        };
        let Some(place) = self.enter(peer) else {
            if let Some(more) = TURNED_AWAY.now() {
                tracing::warn!(%peer, more, "a WebSocket session was refused: too many are open");
            }
            let text = "too many WebSocket sessions are open; post your calls, or close one\n";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        };
        let (stop, room) = (self.stop.clone(), Arc::clone(&self.room));
        upgrade
            .max_message_size(self.largest)
            .max_frame_size(self.largest)
            .on_upgrade(move |socket| async move {
                Session {
                    socket,
                    answer,
                    still,
                    common: parts.extensions,
                    room,
                }
                .run(stop)
                .await;
                drop(place);
            })
    }
}

struct Session {
    socket: WebSocket,
    answer: Answer,
    still: Still,
    common: Extensions,
    room: Arc<Semaphore>,
}

/// A large message's share of what all sessions may keep in memory.
type Permit = Option<OwnedSemaphorePermit>;

/// A message that waits until there is room for it.
type Waiting = BoxFuture<'static, (Bytes, Result<OwnedSemaphorePermit, AcquireError>)>;

impl Session {
    async fn run(mut self, stop: CancellationToken) {
        let mut calls = JoinSet::new();
        let mut waiting: Option<Waiting> = None;
        let mut heard = Instant::now();
        let mut out = None;
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = calls.len() < CALLS && waiting.is_none();
            if !room {
                // whose words are not read is not silent
                heard = Instant::now();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = calls.join_next() => {
                    if let Ok(answered) = done && self.send(answered).await.is_err() {
                        return;
                    }
                }
                Some((message, permit)) = OptionFuture::from(waiting.as_mut()) => {
                    waiting = None;
                    // the semaphore is never closed
                    self.call(&mut calls, message, permit.ok());
                }
                message = self.socket.recv(), if room => {
                    heard = Instant::now();
                    if matches!(message, Some(Ok(Message::Text(_) | Message::Binary(_))))
                        && let Err(denied) = (self.still)()
                    {
                        out = Some(denied);
                        break;
                    }
                    match message {
                        Some(Ok(Message::Text(text))) => waiting = self.take(&mut calls, text.into()),
                        Some(Ok(Message::Binary(bytes))) => waiting = self.take(&mut calls, bytes),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    }
                }
                _ = pings.tick() => {
                    if let Err(denied) = (self.still)() {
                        out = Some(denied);
                        break;
                    }
                    let gone = heard.elapsed() > SILENT;
                    if gone || self.socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                        return;
                    }
                }
            }
        }
        while let Some(done) = calls.join_next().await {
            if let Ok(answered) = done
                && self.send(answered).await.is_err()
            {
                return;
            }
        }
        // the other end is told; if it does not hear, it is gone
        let why = out.map(|denied| CloseFrame {
            code: close_code::POLICY,
            // a close frame has room for so much
            reason: shown(&denied.to_string(), REASON).into_owned().into(),
        });
        let _ = self.socket.send(Message::Close(why)).await;
    }

    /// Answers a small message at once; a large one waits for its turn.
    fn take(&self, calls: &mut JoinSet<(Response, Permit)>, message: Bytes) -> Option<Waiting> {
        if message.len() <= SMALL {
            self.call(calls, message, None);
            return None;
        }
        let permit = Arc::clone(&self.room).acquire_owned();
        Some(Box::pin(async { (message, permit.await) }))
    }

    fn call(&self, calls: &mut JoinSet<(Response, Permit)>, message: Bytes, permit: Permit) {
        let mut request = Request::new(Body::from(message));
        *request.method_mut() = axum::http::Method::POST;
        *request.extensions_mut() = self.common.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let answer = (self.answer)(request);
        calls.spawn(async { (answer.await, permit) });
    }

    /// Sends what a call was answered; what is held for the answer is kept until then.
    async fn send(&mut self, answered: (Response, Permit)) -> Result<(), axum::Error> {
        let (response, _permit) = answered;
        let (_parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await?;
        // a notification has none
        if bytes.is_empty() {
            return Ok(());
        }
        let text = Utf8Bytes::try_from(bytes).map_err(axum::Error::new)?;
        self.socket.send(Message::Text(text)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_in_all_and_by_address() {
        let sessions = Sessions::new(1, CancellationToken::new());
        let far: Vec<IpAddr> = (0..=255).map(|n| [10, 0, 0, n].into()).collect();
        let one: Vec<_> = (0..OF_ONE)
            .map(|_| sessions.enter(far[0]).unwrap())
            .collect();
        assert!(sessions.enter(far[0]).is_none());
        let mut others = Vec::new();
        while let Some(place) = sessions.enter(far[1 + others.len() % 255]) {
            others.push(place);
        }
        assert_eq!(one.len() + others.len(), SESSIONS);
        drop(one);
        assert!(sessions.enter("127.0.0.1".parse().unwrap()).is_some());
        drop(others);
        assert!(sessions.open.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn large_messages_of_all_sessions_take_turns_and_small_ones_pass() {
        use futures::{SinkExt, StreamExt, future::join_all};
        use tokio_tungstenite::tungstenite::Message;
        let busy = Arc::new(Semaphore::new(0));
        let at_once = Arc::new(Mutex::new((0, 0)));
        let (open, counted) = (Arc::clone(&busy), Arc::clone(&at_once));
        let each: Answer = Arc::new(move |request| {
            let (open, counted) = (Arc::clone(&open), Arc::clone(&counted));
            Box::pin(async move {
                let said = to_bytes(request.into_body(), usize::MAX).await.unwrap();
                if said.len() > SMALL {
                    {
                        let mut count = counted.lock().unwrap();
                        count.0 += 1;
                        count.1 = count.1.max(count.0);
                    }
                    open.acquire().await.unwrap().forget();
                    counted.lock().unwrap().0 -= 1;
                }
                said.len().to_string().into_response()
            })
        });
        let sessions = Sessions::new(1 << 20, CancellationToken::new());
        let here = IpAddr::from([127, 0, 0, 1]);
        let route = move |request: Request| {
            let (sessions, each) = (sessions.clone(), Arc::clone(&each));
            async move {
                sessions
                    .open(here, request, each, Arc::new(|| Ok(())))
                    .await
            }
        };
        let listener = tokio::net::TcpListener::bind((here, 0)).await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(route);
        tokio::spawn(async { axum::serve(listener, router).await });
        const ALL: usize = LARGE_AT_ONCE + 4;
        let mut clients = Vec::new();
        for _ in 0..=ALL {
            clients.push(tokio_tungstenite::connect_async(&url).await.unwrap().0);
        }
        let mut small = clients.pop().unwrap();
        for client in &mut clients {
            let large = Message::text("x".repeat(SMALL + 1));
            client.send(large).await.unwrap();
        }
        while at_once.lock().unwrap().0 < LARGE_AT_ONCE {
            tokio::task::yield_now().await;
        }
        small.send(Message::text("x")).await.unwrap();
        let told =
            |m: Option<Result<Message, _>>| m.unwrap().unwrap().to_text().unwrap().to_owned();
        // pings come in between
        while told(small.next().await) != "1" {}
        busy.add_permits(ALL);
        join_all(clients.iter_mut().map(async |client| {
            while told(client.next().await) != (SMALL + 1).to_string() {}
        }))
        .await;
        assert_eq!(*at_once.lock().unwrap(), (0, LARGE_AT_ONCE));
    }
}
