//! What monitoring reads: `/metrics` (Prometheus text), `/healthcheck` (the process answers)
//! and `/readiness` (it can do its work, or what it waits for); the two also as `/healthz` and
//! `/readyz`, as clusters call them.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What the daemon still waits for before it can do its work, by name; nothing: ready.
///
/// One condition has no name: whoever needs only one uses the methods here. Others are made with
/// [`Readiness::condition`]; each is settled by itself.
#[derive(Clone, Debug)]
pub struct Readiness(tokio::sync::watch::Sender<Conditions>);

type Conditions = BTreeMap<&'static str, String>;
const UNNAMED: &str = "";

impl Readiness {
    /// Not ready, for that reason.
    pub fn waiting(reason: impl Into<String>) -> Self {
        let first = BTreeMap::from([(UNNAMED, reason.into())]);
        Self(tokio::sync::watch::Sender::new(first))
    }

    /// One of several things that must be right; it is, until it is said to be waited for.
    pub fn condition(&self, name: &'static str) -> Condition {
        Condition {
            readiness: self.clone(),
            name,
        }
    }

    /// Not ready (any more), for that reason.
    pub fn wait_for(&self, reason: impl Into<String>) {
        self.condition(UNNAMED).wait_for(reason);
    }

    /// Ready, as far as the unnamed condition is concerned.
    pub fn ready(&self) {
        self.condition(UNNAMED).ready();
    }

    /// What is waited for; None: ready.
    pub fn reason(&self) -> Option<String> {
        let all = self.0.borrow();
        if all.is_empty() {
            return None;
        }
        let said: Vec<&str> = all.values().map(String::as_str).collect();
        Some(said.join("; "))
    }

    /// Returns when ready.
    pub async fn until_ready(&self) {
        let mut watch = self.0.subscribe();
        // the sender lives in self, so this cannot fail while we wait
        let _ = watch.wait_for(Conditions::is_empty).await;
    }
}

/// One condition of [`Readiness`].
#[derive(Clone, Debug)]
pub struct Condition {
    readiness: Readiness,
    name: &'static str,
}

impl Condition {
    /// It is not met, for that reason.
    pub fn wait_for(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.readiness.0.send_modify(|all| {
            all.insert(self.name, reason);
        });
    }

    /// It is met.
    pub fn ready(&self) {
        self.readiness.0.send_modify(|all| {
            all.remove(self.name);
        });
    }

    /// Why it is not met.
    pub fn reason(&self) -> Option<String> {
        self.readiness.0.borrow().get(self.name).cloned()
    }
}

/// The process's metrics. Rooms register theirs at start through [`Metrics::with`].
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// An empty registry; every name gets `prefix_` in front.
    pub fn new(prefix: &str) -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix(prefix))))
    }

    /// Lets `f` register metrics.
    pub fn with<T>(&self, f: impl FnOnce(&mut Registry) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The Prometheus text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match self.with(|r| prometheus_client::encoding::text::encode(&mut text, r)) {
            Ok(()) => text,
            Err(error) => format!("# metrics could not be written: {error}\n"),
        }
    }
}

/// Routes `/metrics`, `/healthcheck`, `/readiness`, `/healthz` and `/readyz`.
pub fn router(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
        .route("/healthcheck", get(alive))
        .route("/healthz", get(alive))
        .merge(
            Router::new()
                .route("/readiness", get(ready))
                .route("/readyz", get(ready))
                .with_state(readiness),
        )
}

async fn alive() -> impl IntoResponse {
    Json(json!({"status": "OK"}))
}

async fn text(State(metrics): State<Metrics>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.render())
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    match readiness.reason() {
        None => (StatusCode::OK, Json(json!({"status": "ready"}))),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "waiting", "for": reason})),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, extract::Request};
    use prometheus_client::metrics::counter::Counter;
    use tower::Service as _;

    #[tokio::test]
    async fn a_registered_counter_is_rendered_and_readiness_changes() {
        let metrics = Metrics::new("damocles");
        let counter: Counter = Counter::default();
        metrics.with(|r| r.register("sectors", "Sectors seen", counter.clone()));
        counter.inc();
        assert!(
            metrics.render().contains("damocles_sectors_total 1"),
            "{}",
            metrics.render()
        );

        let readiness = Readiness::waiting("the node");
        assert_eq!(readiness.reason().as_deref(), Some("the node"));
        readiness.ready();
        readiness.until_ready().await;
        assert_eq!(readiness.reason(), None);
    }

    #[tokio::test]
    async fn clusters_find_the_same_under_their_own_names() {
        let readiness = Readiness::waiting("the node");
        let mut routes = router(Metrics::new("damocles"), readiness.clone());
        let mut status = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            routes.call(request).await.unwrap().status()
        };
        for path in ["/healthcheck", "/healthz", "/metrics"] {
            assert_eq!(status(path).await, StatusCode::OK, "{path}");
        }
        for path in ["/readiness", "/readyz"] {
            assert_eq!(
                status(path).await,
                StatusCode::SERVICE_UNAVAILABLE,
                "{path}"
            );
        }
        readiness.ready();
        for path in ["/readiness", "/readyz"] {
            assert_eq!(status(path).await, StatusCode::OK, "{path}");
        }
    }

    #[test]
    fn ready_is_what_lacks_nothing() {
        let readiness = Readiness::waiting("the node");
        let database = readiness.condition("database");
        database.wait_for("the database cannot write");
        let both = "the node; the database cannot write";
        assert_eq!(readiness.reason().as_deref(), Some(both));
        readiness.ready();
        assert_eq!(readiness.reason(), database.reason());
        database.ready();
        assert_eq!(readiness.reason(), None);
        readiness.wait_for("the node again");
        assert_eq!(database.reason(), None);
    }
}
