//! A node's own words behind HTTP 500: Lotus answers an unknown method or wrong parameters with
//! a JSON-RPC error under that status, and a client that looks at the status first never reads
//! which it was. Here the body is let through.

use http::{Response, StatusCode};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tower::{Layer, Service};

/// Makes 500 an ordinary answer, whose body says what is wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadRefusals;

impl<S> Layer<S> for ReadRefusals {
    type Service = ReadingRefusals<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ReadingRefusals(inner)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ReadingRefusals<S>(S);

impl<S, R, B> Service<R> for ReadingRefusals<S>
where
    S: Service<R, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            if answer.status() == StatusCode::INTERNAL_SERVER_ERROR {
                *answer.status_mut() = StatusCode::OK;
            }
            Ok(answer)
        })
    }
}
