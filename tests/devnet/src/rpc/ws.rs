//! One WebSocket connection as go-jsonrpc keeps it: requests run side by side, a method with
//! a channel answers with the channel's id and then sends `xrpc.ch.val`, ended by
//! `xrpc.ch.close`; `xrpc.cancel` with a request's id cancels it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::call::{Answer, RpcError, answer};
use super::dispatch::{self, Caller, Id, Request};
use super::node::Node;
use super::shapes;
use super::table::Handler;
use crate::chain::Steps;
use crate::network::{HeadChange, HeadChangeKind, Subscription};

/// Requests of one connection that run at the same time, most of them waiting for the chain;
/// more wait in the socket.
const MAX_RUNNING: usize = 1024;
/// Texts that wait for a slow reader before the senders wait for it.
const MAX_QUEUED: usize = 256;
/// go-jsonrpc pings that often.
const PING: Duration = Duration::from_secs(5);
/// A reader that takes nothing for that long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// What the requests of a connection share.
struct Session {
    node: Arc<Node>,
    caller: Caller,
    out: mpsc::Sender<String>,
    running: Mutex<HashMap<Id, CancellationToken>>,
    channels: Mutex<u64>,
}

/// Serves one connection until either side ends it.
pub(super) async fn session(
    socket: WebSocket,
    node: Arc<Node>,
    caller: Caller,
    stop: CancellationToken,
) {
    let (mut sink, mut stream) = socket.split();
    let (out, mut queue) = mpsc::channel::<String>(MAX_QUEUED);
    let end = stop.child_token();
    let session = Arc::new(Session {
        node,
        caller,
        out,
        running: Mutex::default(),
        channels: Mutex::new(0),
    });

    let writer_end = end.clone();
    let writer = tokio::spawn(async move {
        let mut ping = tokio::time::interval(PING);
        loop {
            let message = tokio::select! {
                () = writer_end.cancelled() => break,
                _ = ping.tick() => Message::Ping(Default::default()),
                text = queue.recv() => match text {
                    Some(text) => Message::Text(text.into()),
                    None => break,
                },
            };
            match tokio::time::timeout(WRITE_LIMIT, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        writer_end.cancel();
        // The peer may be gone already; then there is nobody to say good-bye to.
        let _ = tokio::time::timeout(Duration::from_secs(1), sink.close()).await;
    });

    let places = Arc::new(Semaphore::new(MAX_RUNNING));
    loop {
        let frame = tokio::select! {
            () = end.cancelled() => break,
            () = session.node.door.goes_out() => break,
            frame = stream.next() => frame,
        };
        let text = match frame {
            Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
            Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
        };
        let Ok(request) = serde_json::from_slice::<Request>(&text) else {
            let error = Err(RpcError::new(RpcError::PARSE, "Parse error"));
            session.send(dispatch::reply(None, &error)).await;
            continue;
        };
        if request.method == "xrpc.cancel" {
            session.cancel(&request);
            continue;
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let session = Arc::clone(&session);
        let cancelled = end.child_token();
        // Known before the next frame is read, which may cancel it.
        let id = request.id();
        if let Ok(Some(id)) = &id {
            let mut running = session.running.lock();
            running.insert(id.clone(), cancelled.clone());
        }
        tokio::spawn(async move {
            session.handle(id, request, cancelled, place).await;
        });
    }
    end.cancel();
    // A writer that panicked has nothing left to tell us.
    let _ = writer.await;
}

impl Session {
    /// Queues a text; a connection that ended swallows it.
    async fn send(&self, text: String) {
        let _ = self.out.send(text).await;
    }

    fn cancel(&self, request: &Request) {
        let params = request.params.as_ref().map_or("[]", |p| p.get());
        if let Ok([id]) = serde_json::from_str::<[Value; 1]>(params)
            && let Some(token) = self.running.lock().get(&Id(id))
        {
            token.cancel();
        }
    }

    async fn handle(
        &self,
        id: Result<Option<Id>, RpcError>,
        request: Request,
        cancelled: CancellationToken,
        place: OwnedSemaphorePermit,
    ) {
        let id = match id {
            Ok(id) => id,
            Err(error) => return self.send(dispatch::reply(None, &Err(error))).await,
        };
        let answer: Option<Answer> = match dispatch::resolve(
            &self.node.door,
            &self.caller,
            &request,
        ) {
            Err(error) => Some(Err(error)),
            Ok((Handler::Notify, _)) => {
                // A channel may live as long as its connection; it must not hold a place.
                drop(place);
                self.notify(id.as_ref(), &cancelled).await;
                None
            }
            Ok((handler, params)) => {
                let run = dispatch::run(Arc::clone(&self.node), &request.method, handler, params);
                tokio::select! {
                    answer = run => answer,
                    () = cancelled.cancelled() => Some(Err(RpcError::failed("context canceled"))),
                }
            }
        };
        if let Some(id) = &id {
            self.running.lock().remove(id);
        }
        if let Some(answer) = answer
            && (id.is_some() || answer.as_ref().is_err_and(|e| e.code <= 0))
        {
            self.send(dispatch::reply(id.as_ref(), &answer)).await;
        }
    }

    /// `ChainNotify`: the channel's id, the current head alone, then every change.
    async fn notify(&self, id: Option<&Id>, cancelled: &CancellationToken) {
        let channel = {
            let mut channels = self.channels.lock();
            *channels += 1;
            *channels
        };
        let Subscription {
            current,
            mut changes,
        } = self.node.network.subscribe();
        let mut told = current.tipset.key.clone();
        self.send(dispatch::reply(id, &answer(channel))).await;
        self.send(values(channel, &[current])).await;
        loop {
            let next = tokio::select! {
                () = cancelled.cancelled() => break,
                next = changes.recv() => next,
            };
            match next {
                Ok(_) => {}
                // Lotus drops a subscriber that is too slow; it must subscribe anew.
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a ChainNotify subscriber is too slow; closing it");
                    break;
                }
                Err(broadcast::error::RecvError::Closed) => break,
            }
            // Told is what leads from the head that was told last to this node's head now:
            // several changes in one, and fewer where the node is behind.
            let head = self.node.network.head().key.clone();
            let Some(steps) = self.node.network.steps(&told, &head) else {
                break;
            };
            let steps = head_changes(&steps);
            if !steps.is_empty() {
                self.send(values(channel, &steps)).await;
            }
            told = head;
        }
        self.send(frame("xrpc.ch.close", json!([channel]))).await;
    }
}

/// Reverts first, newest first; then what is applied.
fn head_changes(steps: &Steps) -> Vec<HeadChange> {
    let change = |kind| {
        move |node: &Arc<crate::chain::Node>| HeadChange {
            kind,
            tipset: node.tipset.clone(),
        }
    };
    let reverted = steps.reverted.iter().map(change(HeadChangeKind::Revert));
    let applied = steps.applied.iter().map(change(HeadChangeKind::Apply));
    reverted.chain(applied).collect()
}

fn values(channel: u64, changes: &[HeadChange]) -> String {
    let changes: Vec<_> = changes.iter().map(shapes::head_change).collect();
    frame("xrpc.ch.val", json!([channel, changes]))
}

fn frame(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
}
