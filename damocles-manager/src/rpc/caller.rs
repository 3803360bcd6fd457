//! Which worker calls: read from the request's header and its token once, at hand for the method
//! while it runs. Methods that change a sector ask it; see
//! [`Rooms::called`](super::rooms::Rooms). A token that is a worker's own speaks for that worker
//! and for no other.

use damocles_api::{
    caller::{CALLER_HEADER, Caller},
    code::{NOT_PERMITTED, error},
};
use damocles_daemon::auth::Bearer;
use damocles_types::shown;
use jsonrpsee::{
    MethodResponse,
    core::middleware::{Batch, Notification, RpcServiceT},
    types::{ErrorObjectOwned, Request},
};
use std::{future::Future, sync::Arc};

/// Who makes a call.
#[derive(Clone, Debug, Default)]
struct Calling {
    /// What the header says; else the worker whose token it is.
    caller: Option<Caller>,
    /// The only worker for which the caller may speak.
    bound: Option<Arc<str>>,
}

tokio::task_local! {
    static CALLING: Calling;
}

/// The worker that made the call under way. None: it did not say.
pub(super) fn current() -> Option<Caller> {
    CALLING.try_with(|c| c.caller.clone()).unwrap_or_default()
}

/// Whether the caller has the token of one worker.
pub(super) fn is_bound() -> bool {
    CALLING.try_with(|c| c.bound.is_some()).unwrap_or_default()
}

/// The only worker for which the caller may speak, if its token is that worker's.
pub(super) fn bound_to() -> Option<String> {
    let bound = CALLING.try_with(|c| c.bound.clone()).unwrap_or_default();
    bound.map(|worker| worker.to_string())
}

/// Refuses a call whose parameters name another worker than the one whose token it shows.
pub(super) fn may_speak_for(worker: &str) -> Result<(), ErrorObjectOwned> {
    let bound = CALLING.try_with(|c| c.bound.clone()).unwrap_or_default();
    is_of(bound.as_deref(), worker)
}

/// Refuses a caller whose header names another worker than its token.
pub(super) fn is_itself(
    bearer: Option<&Bearer>,
    caller: Option<&Caller>,
) -> Result<(), ErrorObjectOwned> {
    match (bearer, caller) {
        (Some(bearer), Some(caller)) => is_of(bearer.worker.as_deref(), &caller.worker),
        _ => Ok(()),
    }
}

fn is_of(bound: Option<&str>, worker: &str) -> Result<(), ErrorObjectOwned> {
    match bound {
        Some(bound) if bound != worker => Err(error(
            NOT_PERMITTED,
            format!(
                "this token is worker {}'s and speaks for no other, and the call is worker {}'s; make one with `damocles-manager util auth create-token --perm write --worker NAME`",
                shown(bound, 100),
                shown(worker, 100)
            ),
        )),
        _ => Ok(()),
    }
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
        let told = request.extensions().get::<Caller>().cloned();
        let bound = request.extensions().get::<Bearer>();
        let bound = bound.and_then(|bearer| bearer.worker.clone());
        // who does not say where it seals speaks for the worker as a whole
        let whole = |name: &Arc<str>| Caller {
            worker: name.to_string(),
            location: String::new(),
            store: String::new(),
        };
        let calling = Calling {
            caller: told.or_else(|| bound.as_ref().map(whole)),
            bound,
        };
        CALLING.scope(calling, async move { inner.call(request).await })
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
