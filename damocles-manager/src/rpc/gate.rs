//! What every call passes before it reaches a room: known method, permission, a caller that is who
//! its token says, exact number of parameters, a time limit, and a measurement; what may change
//! something is noted afterwards with who did it. Large answers are made a few at a time, and not
//! on the threads on which everybody else is served.

use super::{
    caller,
    methods::{self, Method},
    noted::Call,
};
use damocles_api::{
    caller::Caller,
    code::{NOT_PERMITTED, error},
};
use damocles_daemon::{
    audit::Audit,
    auth::{Bearer, Permissions},
    http::Held,
    metrics::Metrics,
    seldom::Seldom,
};
use damocles_types::shown;
use jsonrpsee::{
    MethodResponse,
    core::middleware::{Batch, Notification, RpcServiceT},
    types::{ErrorObjectOwned, Request},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// No method waits for anything but the database, the node and a job to take, and all of them have
/// shorter limits.
const LIMIT: Duration = Duration::from_secs(120);
/// Most characters of a name in the log that a caller has made up.
const NAME: usize = 80;
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

/// Methods whose answer grows with what is stored.
const LISTS: [&str; 6] = [
    "Venus.ListSectors",
    "Venus.WorkerPingInfoList",
    "Venus.StoreList",
    "Damocles.Timeline",
    "Damocles.SectorMessages",
    "Damocles.WindowPosts",
];
/// So many of them are answered at a time.
const LISTS_AT_ONCE: usize = 4;
/// An answer above this is large, and counts until it is sent.
const LARGE: usize = 1 << 20;

/// Permits for large answers.
#[derive(Clone, Debug)]
pub(super) struct Large(Arc<Semaphore>);

impl Default for Large {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LISTS_AT_ONCE)))
    }
}

impl Large {
    /// Waits for one, if the method needs it.
    async fn permit(&self, method: &Method) -> Option<OwnedSemaphorePermit> {
        if !LISTS.contains(&method.name) {
            return None;
        }
        // the semaphore is never closed
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// Computes on this thread, while others take over what it was to serve.
async fn aside<T>(work: impl Future<Output = T>) -> T {
    let handle = Handle::current();
    if handle.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work.await;
    }
    tokio::task::block_in_place(|| handle.block_on(work))
}

/// Writes down who called, and what came of it.
fn note(call: Option<(Call, Audit)>, response: &MethodResponse) {
    if let Some((call, log)) = call
        && let Some(entry) = call.answered(response)
    {
        log.note(entry);
    }
}

/// The gate in front of the methods.
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    pub(super) inner: S,
    pub(super) metrics: ApiMetrics,
    pub(super) large: Large,
    /// None: nobody keeps who changed what.
    pub(super) audit: Option<Audit>,
}

/// The method that is called.
fn known(request: &Request<'_>) -> Result<&'static Method, ErrorObjectOwned> {
    methods::find(&request.method).ok_or_else(|| {
        // upstream's words, which name it
        let text = format!("method '{}' not found", shown(&request.method, 100));
        error(METHOD_NOT_FOUND, text)
    })
}

/// Whether the call may go on.
fn admit(request: &Request<'_>, method: &Method) -> Result<(), ErrorObjectOwned> {
    let extensions = request.extensions();
    let allowed = extensions.get::<Permissions>().copied().unwrap_or_default();
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
    caller::is_itself(extensions.get::<Bearer>(), extensions.get::<Caller>())
}

fn count(params: Option<&Cow<'_, RawValue>>) -> Result<usize, ErrorObjectOwned> {
    /// Counts without keeping anything.
    struct Count;
    impl<'de> Visitor<'de> for Count {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<usize, E> {
            Ok(0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<usize, A::Error> {
            let mut count = 0;
            while list.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok(count)
        }
    }
    let Some(params) = params else { return Ok(0) };
    serde_json::Deserializer::from_str(params.get())
        .deserialize_any(Count)
        .map_err(|_| error(INVALID_PARAMS, "parameters must be a list"))
}

impl<S> RpcServiceT for Gate<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        static REFUSED: Seldom = Seldom::new(Duration::from_secs(10));
        let Self {
            inner,
            metrics,
            large,
            audit,
        } = self.clone();
        async move {
            let method = known(&request);
            let changes = method.as_ref().is_ok_and(|method| method.changes());
            let call = audit
                .filter(|_| changes)
                .map(|log| (Call::of(&request), log));
            let admitted = method.and_then(|method| admit(&request, method).map(|()| method));
            let method = match admitted {
                Ok(method) => method,
                Err(refusal) => {
                    if let Some(more) = REFUSED.now() {
                        let method = shown(&request.method, NAME);
                        tracing::warn!(%method, more, reason = refusal.message(), "call refused");
                    }
                    let response = MethodResponse::error(request.id, refusal);
                    note(call, &response);
                    return response;
                }
            };
            let id = request.id.clone();
            let begun = Instant::now();
            let answered = tokio::time::timeout(LIMIT, async {
                match large.permit(method).await {
                    None => inner.call(request).await,
                    Some(permit) => {
                        let mut response = aside(inner.call(request)).await;
                        if response.as_json().get().len() > LARGE {
                            response.extensions_mut().insert(Held::new(permit));
                        }
                        response
                    }
                }
            });
            let response = answered.await.unwrap_or_else(|_| {
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
            note(call, &response);
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

#[cfg(test)]
mod tests {
    use super::{super::METHODS, *};

    #[test]
    fn parameters_are_counted_whatever_they_are() {
        for (params, expected) in [
            ("[]", Some(0)),
            ("null", Some(0)),
            ("[1]", Some(1)),
            (r#"[{"a":[1,2]},null,"x"]"#, Some(3)),
            ("{}", None),
            ("7", None),
        ] {
            let raw = Cow::Owned(RawValue::from_string(params.to_owned()).unwrap());
            assert_eq!(count(Some(&raw)).ok(), expected, "{params}");
        }
        assert_eq!(count(None).ok(), Some(0));
    }

    #[test]
    fn every_list_is_a_method() {
        for name in LISTS {
            assert!(METHODS.iter().any(|m| m.name == name), "{name}");
        }
    }
}
