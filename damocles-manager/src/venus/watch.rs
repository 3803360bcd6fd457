//! Whether a service of Venus answers, said at the first contact and whenever that changes.

use super::{Service, VenusError};
use damocles_daemon::metrics::Condition;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at a service that answers, and at one that does not.
const LOOK: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(5);

/// Asks for the version again and again, until `stop`. Whoever is away is waited for.
///
/// # Errors
/// None; the result fits a service of the daemon.
pub async fn watch<F>(
    service: Service,
    version: impl Fn() -> F,
    condition: Condition,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<String, VenusError>>,
{
    let mut answered = None;
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            told = version() => told,
        };
        let pause = match told {
            Ok(version) => {
                condition.ready();
                if answered != Some(true) {
                    tracing::info!(%service, version, "a service of Venus answers");
                }
                answered = Some(true);
                LOOK
            }
            Err(error) => {
                condition.wait_for(error.to_string());
                if answered != Some(false) {
                    tracing::warn!(%service, %error, "a service of Venus does not do its part; what needs it waits");
                }
                answered = Some(false);
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_daemon::metrics::Readiness;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test(start_paused = true)]
    async fn who_is_away_is_waited_for_until_it_answers() {
        let readiness = Readiness::waiting("the node");
        readiness.ready();
        let condition = readiness.condition("the market");
        let away = AtomicBool::new(true);
        let version = || {
            let away = away.load(Ordering::Relaxed);
            std::future::ready(match away {
                true => Err(VenusError::Away {
                    service: Service::Market,
                    method: "VENUS_MARKET.Version".into(),
                    reason: "connection refused".into(),
                }),
                false => Ok("2.15.0".to_owned()),
            })
        };
        let stop = CancellationToken::new();
        let story = async {
            while readiness.reason().is_none() {
                tokio::task::yield_now().await;
            }
            let why = readiness.reason().unwrap();
            assert!(why.contains("Common.API.Market"), "{why}");
            away.store(false, Ordering::Relaxed);
            readiness.until_ready().await;
            away.store(true, Ordering::Relaxed);
            while readiness.reason().is_none() {
                tokio::time::sleep(LOOK).await;
            }
            stop.cancel();
        };
        let service = watch(Service::Market, version, condition, stop.clone());
        let (ended, ()) = tokio::join!(service, story);
        assert!(ended.is_ok());
    }
}
