//! The long-running parts of a daemon: they start together and end together.

use std::{collections::BTreeMap, future::Future, time::Duration};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// A set of services under one stop token.
#[derive(Debug)]
pub struct Services {
    set: JoinSet<anyhow::Result<()>>,
    names: BTreeMap<Id, String>,
    stop: CancellationToken,
}

impl Services {
    /// No services yet; all of them are to end when `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            names: BTreeMap::new(),
            stop,
        }
    }

    /// The token a service watches.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a service. It should end soon after the stop token is cancelled, and not before.
    pub fn spawn(
        &mut self,
        name: impl Into<String>,
        service: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.set.spawn(service);
        self.names.insert(handle.id(), name.into());
    }

    /// Runs until the token is cancelled or a service ends by itself, which ends the others too.
    /// Services that have not ended `patience` after that are aborted and named in the log.
    ///
    /// # Errors
    /// The failure of the first service that failed, panicked or ended early.
    pub async fn run(mut self, patience: Duration) -> anyhow::Result<()> {
        let mut failure = None;
        tokio::select! {
            () = self.stop.cancelled() => {}
            Some(ended) = self.set.join_next_with_id() => {
                let (name, result) = self.ended(ended);
                failure = Some(match result {
                    Ok(()) if self.stop.is_cancelled() => None,
                    Ok(()) => Some(anyhow::anyhow!("{name} ended although nobody asked it to")),
                    Err(e) => Some(e),
                }).flatten();
                if failure.is_some() {
                    tracing::error!(service = name, "a service ended early; stopping the daemon");
                }
                self.stop.cancel();
            }
        }
        let all_ended = tokio::time::timeout(patience, async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let (name, result) = self.ended(ended);
                if let Err(error) = result {
                    tracing::error!(
                        service = name,
                        error = format!("{error:#}"),
                        "failed while stopping"
                    );
                    failure.get_or_insert(error);
                }
            }
        })
        .await;
        if all_ended.is_err() {
            let late: Vec<&str> = self.names.values().map(String::as_str).collect();
            // nothing is wrong: what they were doing is done again after the next start
            tracing::info!(
                services = late.join(", "),
                ?patience,
                "still at work when the time to stop was up; given up as they are"
            );
            self.set.shutdown().await;
        }
        failure.map_or(Ok(()), Err)
    }

    fn ended(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (String, anyhow::Result<()>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(anyhow::anyhow!("panicked: {error}"))),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        let result = result.map_err(|e| match e.downcast_ref::<crate::exit::Fatal>() {
            Some(_) => e,
            None => e.context(format!("service {name:?} failed")),
        });
        (name, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_service_that_ends_early_ends_all() {
        let mut services = Services::new(CancellationToken::new());
        let stop = services.stop_token();
        services.spawn("short", async { Ok(()) });
        services.spawn("long", async move {
            stop.cancelled().await;
            Ok(())
        });
        let error = services.run(PATIENCE).await.unwrap_err();
        assert_eq!(error.to_string(), "short ended although nobody asked it to");
    }

    #[tokio::test]
    async fn failures_and_panics_are_named() {
        let mut services = Services::new(CancellationToken::new());
        services.spawn("bad", async { anyhow::bail!("no disk") });
        let error = services.run(PATIENCE).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "service \"bad\" failed: no disk");

        let mut services = Services::new(CancellationToken::new());
        services.spawn("worse", async { panic!("boom") });
        let error = services.run(PATIENCE).await.unwrap_err();
        assert!(
            format!("{error:#}").contains("service \"worse\" failed: panicked"),
            "{error:#}"
        );
    }

    #[tokio::test]
    async fn a_deaf_service_is_aborted_after_the_deadline() {
        let mut services = Services::new(CancellationToken::new());
        services.spawn("deaf", std::future::pending());
        services.stop_token().cancel();
        services.run(Duration::from_millis(1)).await.unwrap();
    }
}
