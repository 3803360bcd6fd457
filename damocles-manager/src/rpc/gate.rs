//! What every call passes before it reaches a room: known method, exact number of parameters,
//! permission, a time limit, and a measurement.

use super::methods::{self, Method};
use damocles_api::code::{NOT_PERMITTED, error};
use damocles_daemon::{auth::Permissions, metrics::Metrics};
use jsonrpsee::{
    MethodResponse,
    core::middleware::{Batch, Notification, RpcServiceT},
    types::{ErrorObjectOwned, Request},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    future::Future,
    time::{Duration, Instant},
};

/// No method waits for anything but the database and the node, and both have shorter limits.
const LIMIT: Duration = Duration::from_secs(120);
const INVALID_PARAMS: i32 = -32602;
const INTERNAL: i32 = -32603;
const METHOD_NOT_FOUND: i32 = -32601;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Endpoint {
    endpoint: &'static str,
}

/// Durations and failures, per method.
#[derive(Clone, Debug)]
pub(super) struct ApiMetrics {
    duration_ms: Family<Endpoint, Histogram>,
    failed: Family<Endpoint, Counter>,
}

impl ApiMetrics {
    /// Registers them.
    pub(super) fn register(metrics: &Metrics) -> Self {
        let buckets = || {
            Histogram::new([
                0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3,
                1e4, 3e4, 1e5,
            ])
        };
        let this = Self {
            duration_ms: Family::new_with_constructor(buckets as fn() -> Histogram),
            failed: Family::default(),
        };
        metrics.with(|r| {
            r.register(
                "api_request_duration_ms",
                "Time to answer a call, in milliseconds",
                this.duration_ms.clone(),
            );
            r.register(
                "api_request_failed",
                "Calls answered with an error",
                this.failed.clone(),
            );
        });
        this
    }

    /// Makes each metric visible, for the page that lists them.
    pub(super) fn touch(&self) {
        let label = Endpoint { endpoint: "" };
        drop(self.duration_ms.get_or_create(&label));
        drop(self.failed.get_or_create(&label));
    }
}

/// The gate in front of the methods.
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    pub(super) inner: S,
    pub(super) metrics: ApiMetrics,
}

/// Whether the call may go on.
fn admit(request: &Request<'_>) -> Result<&'static Method, ErrorObjectOwned> {
    let Some(method) = methods::find(&request.method) else {
        // upstream's words, which name it
        let text = format!("method '{}' not found", request.method);
        return Err(error(METHOD_NOT_FOUND, text));
    };
    let allowed = request
        .extensions()
        .get::<Permissions>()
        .copied()
        .unwrap_or_default();
    if !allowed.allows(method.permission) {
        return Err(error(
            NOT_PERMITTED,
            format!(
                "{} needs permission {:?}, which this caller's token does not give",
                method.name,
                method.permission.to_string()
            ),
        ));
    }
    let given = count(request.params.as_ref())?;
    if given != method.params {
        return Err(error(
            INVALID_PARAMS,
            format!(
                "{} takes {} parameters, {given} were given",
                method.name, method.params
            ),
        ));
    }
    Ok(method)
}

fn count(params: Option<&Cow<'_, RawValue>>) -> Result<usize, ErrorObjectOwned> {
    let Some(params) = params else { return Ok(0) };
    match serde_json::from_str::<Option<Vec<&RawValue>>>(params.get()) {
        Ok(list) => Ok(list.map_or(0, |l| l.len())),
        Err(_) => Err(error(INVALID_PARAMS, "parameters must be a list")),
    }
}

impl<S> RpcServiceT for Gate<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let Self { inner, metrics } = self.clone();
        async move {
            let method = match admit(&request) {
                Ok(method) => method,
                Err(refusal) => {
                    tracing::warn!(method = %request.method, reason = refusal.message(), "call refused");
                    return MethodResponse::error(request.id, refusal);
                }
            };
            let id = request.id.clone();
            let begun = Instant::now();
            let response = tokio::time::timeout(LIMIT, inner.call(request)).await.unwrap_or_else(|_| {
                tracing::error!(method = method.name, limit = ?LIMIT, "call gave no answer in time");
                MethodResponse::error(id, error(INTERNAL, format!("{} gave no answer in time", method.name)))
            });
            let label = Endpoint {
                endpoint: method.name,
            };
            let took = begun.elapsed();
            metrics
                .duration_ms
                .get_or_create(&label)
                .observe(took.as_secs_f64() * 1000.0);
            if response.is_error() {
                metrics.failed.get_or_create(&label).inc();
            }
            tracing::debug!(
                method = method.name,
                code = response.as_error_code(),
                ?took,
                "answered"
            );
            response
        }
    }

    // Batches are refused by the server's settings (upstream has none); notifications run nothing.
    fn batch<'a>(
        &self,
        requests: Batch<'a>,
    ) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        self.inner.batch(requests)
    }

    fn notification<'a>(
        &self,
        n: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        self.inner.notification(n)
    }
}
