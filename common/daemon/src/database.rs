//! A database that stops writing: said once, shown in the readiness, tried again; and if it stays
//! so the daemon ends, since a start may heal what it cannot. (Reads may go on for days, and a
//! daemon that only looks alive proves nothing and seals nothing.)

use crate::{
    exit::{Exit, Fatal},
    metrics::Condition,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to write.
const PROBE: Duration = Duration::from_secs(5);

/// Writes fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub since: Instant,
    pub reason: String,
    /// What it ends with by itself, so that ending the daemon would not help; None: it may not.
    pub heals: Option<Cure>,
}

/// What a database that fails is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// For room on its disk.
    Room,
    /// Its server is away.
    Return,
}

/// A database as it is watched.
pub struct Watched {
    /// Why writes fail, if they do.
    pub trouble: Arc<dyn Fn() -> Option<Trouble> + Send + Sync>,
    /// Tries to write. May block.
    pub probe: Arc<dyn Fn() + Send + Sync>,
    /// The daemon ends when writes have failed for so long; None: never.
    pub patience: Option<Duration>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({:?})", self.patience)
    }
}

/// What a look leads to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    /// It has failed since the last look.
    Fallen,
    /// It fails still.
    Ill,
    /// It fails no more.
    Healed,
    /// It has failed for too long.
    Lost,
}

fn judge(
    trouble: Option<&Trouble>,
    said: bool,
    patience: Option<Duration>,
    now: Instant,
) -> Verdict {
    match (trouble, said) {
        (None, false) => Verdict::Well,
        (None, true) => Verdict::Healed,
        (Some(_), false) => Verdict::Fallen,
        (Some(trouble), true) => {
            let long = now.saturating_duration_since(trouble.since);
            match patience {
                Some(patience) if trouble.heals.is_none() && long >= patience => Verdict::Lost,
                _ => Verdict::Ill,
            }
        }
    }
}

/// Watches until `stop`.
///
/// # Errors
/// [`Exit::Database`] when writes have failed for longer than the patience.
pub async fn watch(
    database: Watched,
    condition: Condition,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut said = false;
    let mut probed = Instant::now();
    let mut probe: Option<JoinHandle<()>> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(LOOK) => {}
        }
        let trouble = (database.trouble)();
        let now = Instant::now();
        match judge(trouble.as_ref(), said, database.patience, now) {
            Verdict::Well => continue,
            Verdict::Healed => {
                tracing::info!("the database writes again");
                condition.ready();
                said = false;
                continue;
            }
            Verdict::Lost => {
                let reason = trouble.map(|t| t.reason).unwrap_or_default();
                return Err(Fatal::new(
                    Exit::Database,
                    format!("the database cannot be written any more: {reason}"),
                )
                .hint("see `dmesg` and `df` for the disk, then start the daemon again; nothing that was confirmed is lost")
                .into());
            }
            Verdict::Fallen => {
                if let Some(Trouble { reason, heals, .. }) = trouble {
                    let hint = match heals {
                        Some(Cure::Room) => {
                            "make room on its disk; writes go on by themselves then"
                        }
                        Some(Cure::Return) => {
                            "see that its server runs and can be reached; writes go on by themselves then"
                        }
                        None => "see `dmesg` for the disk; it is tried again every few seconds",
                    };
                    tracing::error!(hint, "the database cannot write: {reason}");
                    condition.wait_for(format!("the database cannot write: {reason}"));
                    said = true;
                }
            }
            Verdict::Ill => {}
        }
        // one that hangs is not followed by a second
        let idle = probe.as_ref().is_none_or(JoinHandle::is_finished);
        if idle && now.saturating_duration_since(probed) >= PROBE {
            probed = now;
            let try_it = Arc::clone(&database.probe);
            probe = Some(tokio::task::spawn_blocking(move || try_it()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Readiness;
    use std::sync::Mutex;

    #[test]
    fn a_full_disk_is_waited_for_and_a_dead_one_is_not() {
        let since = Instant::now();
        let minute = Duration::from_secs(60);
        let ill = |heals| Trouble {
            since,
            reason: "why".into(),
            heals,
        };
        let limit = Some(minute);
        for (trouble, said, patience, after, expected) in [
            (None, false, limit, minute, Verdict::Well),
            (None, true, limit, minute, Verdict::Healed),
            (Some(ill(None)), false, limit, minute, Verdict::Fallen),
            (Some(ill(None)), true, limit, minute / 2, Verdict::Ill),
            (Some(ill(None)), true, limit, minute, Verdict::Lost),
            (
                Some(ill(Some(Cure::Room))),
                true,
                limit,
                minute * 99,
                Verdict::Ill,
            ),
            (
                Some(ill(Some(Cure::Return))),
                true,
                limit,
                minute * 99,
                Verdict::Ill,
            ),
            (Some(ill(None)), true, None, minute * 99, Verdict::Ill),
        ] {
            let got = judge(trouble.as_ref(), said, patience, since + after);
            assert_eq!(got, expected, "{trouble:?} {said} {patience:?} {after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_goes_with_the_trouble_and_comes_back_without_it() {
        let readiness = Readiness::waiting("start");
        readiness.ready();
        let state = Arc::new(Mutex::new(None));
        let (shown, healer) = (state.clone(), state.clone());
        let database = Watched {
            trouble: Arc::new(move || shown.lock().unwrap().clone()),
            probe: Arc::new(move || *healer.lock().unwrap() = None),
            patience: Some(Duration::from_secs(3600)),
        };
        let stop = CancellationToken::new();
        let condition = readiness.condition("database");
        let watching = tokio::spawn(watch(database, condition, stop.clone()));
        *state.lock().unwrap() = Some(Trouble {
            since: Instant::now(),
            reason: "Input/output error".into(),
            heals: None,
        });
        while readiness.reason().is_none() {
            sleep(LOOK).await;
        }
        let reason = readiness.reason().unwrap();
        assert!(reason.contains("Input/output error"), "{reason}");
        // the probe is due by the machine's clock, which a test cannot move
        *state.lock().unwrap() = None;
        readiness.until_ready().await;
        stop.cancel();
        watching.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_whose_database_stays_dead_ends_with_a_code_of_its_own() {
        let readiness = Readiness::waiting("start");
        let dead = Trouble {
            since: Instant::now(),
            reason: "Input/output error".into(),
            heals: None,
        };
        let database = Watched {
            trouble: Arc::new(move || Some(dead.clone())),
            probe: Arc::new(|| {}),
            patience: Some(Duration::ZERO),
        };
        let ended = watch(
            database,
            readiness.condition("database"),
            CancellationToken::new(),
        )
        .await
        .unwrap_err();
        assert_eq!(
            ended.downcast_ref::<Fatal>().map(|f| f.exit),
            Some(Exit::Database)
        );
    }
}
