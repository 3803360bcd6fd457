//! Room in memory for what callers say. A request is small, or it takes its share of a fixed room
//! from the moment that somebody reads it until its answer, which may repeat it, is sent. Without
//! room it is not read, and waits where it costs nothing: in the caller's socket.

use super::long::Long;
use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
};
use futures::future::BoxFuture;
use hyper::body::{Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// Bytes that are not counted: thousands of such requests fit.
const SMALL: usize = 16 << 10;
/// Bytes of all the others together. While one is read, taken apart and answered it lies in
/// memory some three times.
const ALL: usize = 32 << 20;
/// No daemon of ours reads more of one request.
const LARGEST: u64 = 1 << 20;
/// What is counted in.
const UNIT: usize = 1 << 10;

/// What a request holds of the room.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

/// The room of one listener.
#[derive(Clone, Debug)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    limit: Duration,
}

impl Room {
    /// `limit`: for a body to come, once there is room for it.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(ALL / UNIT)),
            limit,
        }
    }

    /// The request, whose body takes its room when it is read.
    pub(super) fn claim(&self, request: Request, long: Long) -> (Request, Claim) {
        let claim = Claim::default();
        let most = request.body().size_hint().upper().unwrap_or(LARGEST);
        let most = usize::try_from(most.min(LARGEST)).unwrap_or(ALL);
        let wait: Option<BoxFuture<'static, _>> = (most > SMALL).then(|| {
            let units = u32::try_from(most.div_ceil(UNIT)).unwrap_or(u32::MAX);
            let free = Arc::clone(&self.free);
            Box::pin(free.acquire_many_owned(units)) as _
        });
        let limit = self.limit;
        let held = claim.clone();
        let body = |body| {
            Body::new(Reading {
                body,
                wait,
                held,
                limit,
                late: None,
                long,
            })
        };
        (request.map(body), claim)
    }
}

type Permit = Result<OwnedSemaphorePermit, AcquireError>;

/// A body that is read when there is room, and that must come in time.
struct Reading {
    body: Body,
    wait: Option<BoxFuture<'static, Permit>>,
    held: Claim,
    limit: Duration,
    /// Runs from the first moment that it is read; where it may take long, from the last one at
    /// which something came.
    late: Option<Pin<Box<Sleep>>>,
    long: Long,
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(wait) = &mut self.wait {
            let permit = ready!(wait.as_mut().poll(context));
            self.wait = None;
            // the semaphore is never closed
            *self.held.0.lock().unwrap_or_else(PoisonError::into_inner) = permit.ok();
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            if self.long.is_allowed() {
                self.late = None;
            }
            return Poll::Ready(frame);
        }
        let limit = self.limit;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(late.as_mut().poll(context));
        let error = io::Error::new(io::ErrorKind::TimedOut, "the request does not come");
        Poll::Ready(Some(Err(axum::Error::new(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    fn request(bytes: usize) -> Request {
        Request::new(Body::from(vec![b'x'; bytes]))
    }

    async fn read(request: Request) -> usize {
        let bytes = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        bytes.len()
    }

    #[tokio::test]
    async fn large_requests_wait_for_room_until_others_are_answered_and_small_ones_do_not() {
        let room = Room::new(Duration::from_secs(600));
        let largest = LARGEST as usize;
        let mut held = Vec::new();
        for _ in 0..ALL / largest {
            let (request, claim) = room.claim(request(largest), Long::default());
            assert_eq!(read(request).await, largest);
            held.push(claim);
        }
        let (next, _claim) = room.claim(request(SMALL + 1), Long::default());
        let mut next = Box::pin(read(next));
        assert!(futures::poll!(&mut next).is_pending(), "there is no room");
        let (small, _claim) = room.claim(request(SMALL), Long::default());
        assert_eq!(read(small).await, SMALL);
        held.pop();
        assert_eq!(next.await, SMALL + 1);
    }

    #[tokio::test]
    async fn what_is_not_read_takes_no_room_and_what_does_not_say_its_size_takes_the_most() {
        let room = Room::new(Duration::from_secs(600));
        let unread: Vec<_> = (0..40)
            .map(|_| room.claim(request(1 << 20), Long::default()))
            .collect();
        assert_eq!(room.free.available_permits(), ALL / UNIT);
        let parts = futures::stream::iter([Ok::<_, io::Error>("x")]);
        let (request, claim) = room.claim(Request::new(Body::from_stream(parts)), Long::default());
        assert_eq!(read(request).await, 1);
        let taken = ALL / UNIT - room.free.available_permits();
        assert_eq!(taken, LARGEST as usize / UNIT);
        drop((unread, claim));
        assert_eq!(room.free.available_permits(), ALL / UNIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_in_time_gives_its_room_back() {
        let room = Room::new(Duration::from_secs(30));
        let never = futures::stream::pending::<Result<Bytes, io::Error>>();
        let (request, claim) = room.claim(Request::new(Body::from_stream(never)), Long::default());
        to_bytes(request.into_body(), usize::MAX).await.unwrap_err();
        drop(claim);
        assert_eq!(room.free.available_permits(), ALL / UNIT);
    }

    /// Something comes every 20 of 30 seconds, and then nothing any more.
    #[tokio::test(start_paused = true)]
    async fn what_may_take_long_is_given_up_only_when_nothing_comes() {
        let room = Room::new(Duration::from_secs(30));
        for (long, parts, whole) in [(false, 2, false), (true, 9, true), (true, 0, false)] {
            let stream = futures::stream::unfold(0, move |n| async move {
                tokio::time::sleep(Duration::from_secs(20)).await;
                (n < parts).then_some((Ok::<_, io::Error>("x"), n + 1))
            });
            let never = futures::stream::pending();
            let body = match parts {
                0 => Body::from_stream::<futures::stream::Pending<Result<&str, io::Error>>>(never),
                _ => Body::from_stream(stream),
            };
            let allowed = Long::default();
            let (request, _claim) = room.claim(Request::new(body), allowed.clone());
            if long {
                let mut marked = axum::http::Extensions::new();
                marked.insert(allowed);
                Long::allow(&marked);
            }
            let came = to_bytes(request.into_body(), usize::MAX).await;
            assert_eq!(came.is_ok(), whole, "{long} {parts}");
        }
    }
}
