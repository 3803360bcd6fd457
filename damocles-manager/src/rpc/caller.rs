//! Which worker calls: read from the request's header once, at hand for the method while it
//! runs. Methods that change a sector ask it; see [`Rooms::called`](super::rooms::Rooms).

use damocles_api::caller::{CALLER_HEADER, Caller};
use jsonrpsee::{
    MethodResponse,
    core::middleware::{Batch, Notification, RpcServiceT},
    types::Request,
};
use std::future::Future;

tokio::task_local! {
    static CALLER: Option<Caller>;
}

/// The worker that made the call under way. None: it did not say.
pub(super) fn current() -> Option<Caller> {
    CALLER.try_with(Clone::clone).unwrap_or_default()
}

/// Notes who calls, for the calls of a connection. What is none of our headers is passed over.
pub(super) fn note(request: &mut axum::extract::Request) {
    let header = request.headers().get(CALLER_HEADER);
    let caller = header
        .and_then(|value| value.to_str().ok())
        .and_then(Caller::from_header);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
}

/// Keeps the caller at hand while a method runs.
#[derive(Clone, Debug)]
pub(super) struct Called<S>(pub(super) S);

impl<S> RpcServiceT for Called<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let inner = self.0.clone();
        let caller = request.extensions().get::<Caller>().cloned();
        CALLER.scope(caller, async move { inner.call(request).await })
    }

    fn batch<'a>(
        &self,
        requests: Batch<'a>,
    ) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        self.0.batch(requests)
    }

    fn notification<'a>(
        &self,
        n: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        self.0.notification(n)
    }
}
