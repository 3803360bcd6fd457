//! What monitoring reads: `/metrics` (Prometheus text), `/healthcheck` (the process answers)
//! and `/readiness` (it can do its work, or what it waits for).

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};

/// What the daemon still waits for before it can do its work; empty: ready.
#[derive(Clone, Debug)]
pub struct Readiness(tokio::sync::watch::Sender<Option<String>>);

impl Readiness {
    /// Not ready, for that reason.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self(tokio::sync::watch::Sender::new(Some(reason.into())))
    }

    /// Not ready (any more), for that reason.
    pub fn wait_for(&self, reason: impl Into<String>) {
        self.0.send_replace(Some(reason.into()));
    }

    /// Ready.
    pub fn ready(&self) {
        self.0.send_replace(None);
    }

    /// What is waited for; None: ready.
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Returns when ready.
    pub async fn until_ready(&self) {
        let mut watch = self.0.subscribe();
        // the sender lives in self, so this cannot fail while we wait
        let _ = watch.wait_for(Option::is_none).await;
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

/// Routes `/metrics`, `/healthcheck` and `/readiness`.
pub fn router(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
        .route(
            "/healthcheck",
            get(|| async { Json(json!({"status": "OK"})) }),
        )
        .merge(
            Router::new()
                .route("/readiness", get(ready))
                .with_state(readiness),
        )
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
    use prometheus_client::metrics::counter::Counter;

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
}
