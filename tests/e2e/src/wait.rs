//! Waiting for something that another process does: ask, and ask again until a deadline.
//! The only place in the house's tests where time passes without an event.

use anyhow::{Result, anyhow};
use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until `probe` has an answer. `Ok(None)` and errors mean "not yet"; after `limit` the
/// error says what was waited for, and what the last failed question said.
pub async fn until<T>(
    what: impl Display,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= limit {
            let waited = format!("waited {:.0} s for {what}", limit.as_secs_f64());
            return Err(match last {
                Some(error) => anyhow!("{waited}; the last answer was: {error:#}"),
                None => anyhow!("{waited}"),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn asks_again_until_there_is_an_answer() {
        let asked = Cell::new(0);
        let got = until("the third answer", Duration::from_secs(30), || async {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 => Err(anyhow!("not there")),
                2 => Ok(None),
                n => Ok(Some(n)),
            }
        })
        .await
        .unwrap();
        assert_eq!(got, 3);
    }

    #[tokio::test]
    async fn a_missed_deadline_says_what_was_waited_for() {
        let error = until::<()>("the moon", Duration::ZERO, || async {
            Err(anyhow!("connection refused"))
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(error.contains("for the moon"), "{error}");
        assert!(error.contains("connection refused"), "{error}");
    }
}
