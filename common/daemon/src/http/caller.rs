//! A caller as routes see it, and an answer that is on its way to it.

use super::{
    places::{Place, Places},
    room::Claim,
    standing::Standing,
};
use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// Whose request it is; in the extensions of every request.
#[derive(Clone, Debug)]
pub struct Caller {
    places: Arc<Places>,
    id: u64,
    standing: Arc<Standing>,
}

impl Caller {
    pub(super) fn new(places: Arc<Places>, place: &Place) -> Self {
        Self {
            places,
            id: place.id,
            standing: Arc::clone(&place.standing),
        }
    }

    /// It has shown that it may be here: it may stay between two requests.
    pub fn trust(&self) {
        if !self.standing.trust() {
            self.places.trust(self.id);
        }
    }

    /// How long the caller may still stay without asking anything; None: as long as it likes.
    pub(super) fn rest(&self, limit: Duration) -> Option<Duration> {
        if self.standing.is_trusted() {
            return None;
        }
        // while it is answered, its time does not run
        let idle = self.standing.idle().unwrap_or_default();
        Some(limit.saturating_sub(idle))
    }

    pub(super) fn call(&self, claim: Claim) -> Call {
        self.standing.begins_a_call();
        Call {
            standing: Arc::clone(&self.standing),
            _claim: claim,
        }
    }
}

/// A call, until its answer is sent or given up.
#[derive(Debug)]
pub(super) struct Call {
    standing: Arc<Standing>,
    /// The room that its request takes, which the answer may repeat.
    _claim: Claim,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.standing.ends_a_call();
    }
}

/// In the extensions of a response: kept until the answer is sent, such as the permission to
/// make a large one.
#[derive(Clone)]
pub struct Held(
    #[expect(dead_code, reason = "it is kept, not looked at")] Arc<dyn Any + Send + Sync>,
);

impl Held {
    pub fn new(what: impl Any + Send + Sync) -> Self {
        Self(Arc::new(what))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

/// Ties the call, and what is held, to the answer's body.
pub(super) fn sending(call: Call, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let held = parts.extensions.remove::<Held>();
    let body = Body::new(Sending {
        body,
        rest: Bytes::new(),
        _call: call,
        _held: held,
    });
    Response::from_parts(parts, body)
}

/// An answer is handed on in parts of so many bytes. What is handed on counts as sent, though it
/// lies in a buffer until the other end takes it: whole, an answer of megabytes would be sent
/// before a byte of it is.
const PART: usize = 128 << 10;

struct Sending {
    body: Body,
    /// What came and is not handed on yet.
    rest: Bytes,
    _call: Call,
    _held: Option<Held>,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let part = self.rest.len().min(PART);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let mut all = SizeHint::new();
        all.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}
