//! Reads the configuration again while the daemon runs: at SIGHUP, and when the manager has another
//! profile. The file is checked whole, then all that can count at once does, or nothing; what only
//! counts at the next start is named. A file that is wrong is told of until it is right.

use crate::{
    config::{Loaded, MainFile, ThreadConfig, show},
    stores::look,
};
use damocles_daemon::{
    config::{Counts, Difference, differences, is_in},
    exit::{Exit, Fatal},
    signals::Reloads,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often a file that is wrong is looked at again,
const BROKEN_LOOK: Duration = Duration::from_secs(2);
/// and told of again.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// Reads and checks the file, as the start does.
pub type Load = Arc<dyn Fn() -> Result<Loaded, Fatal> + Send + Sync>;
/// Whether the manager has another profile than the one in force; none where none is wanted.
pub type OtherProfile = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The configuration of a running worker.
pub struct Reload {
    path: PathBuf,
    load: Load,
    other_profile: Option<OtherProfile>,
    /// How often the manager is asked for another profile: as often as it is pinged.
    look: Duration,
    main: Arc<MainFile>,
    /// Every key with its value, as it was read last.
    now: String,
    /// Text of the profile in force.
    profile: Option<String>,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reload({})", self.path.display())
    }
}

/// Every key with its value.
fn effective(loaded: &Loaded) -> String {
    show::toml(&show::settings(loaded))
}

fn profile_text(loaded: &Loaded) -> Option<String> {
    loaded.profile.as_ref().map(|(_, got)| got.text.clone())
}

/// When a changed key counts: what a thread that runs already goes by, at its next sector.
fn counts(key: &str, running: &BTreeSet<String>) -> Counts {
    let of_thread = running.iter().any(|location| {
        let inside = key.strip_prefix(&format!("sealing_thread[{location}]."));
        inside.is_some_and(|rest| is_in(rest, &["plan", "sealing"]))
    });
    // whether there are pieces at all is decided at the start
    let global = is_in(key, &["sealing"]) && key != "sealing.enable_deals";
    match of_thread || global {
        true => Counts::Now,
        false => Counts::AtStart,
    }
}

impl Reload {
    /// `loaded`: what the daemon was started with.
    pub fn new(
        path: &Path,
        loaded: &Loaded,
        load: Load,
        other_profile: Option<OtherProfile>,
        main: Arc<MainFile>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            load,
            other_profile,
            look: loaded.config.ping_interval,
            main,
            now: effective(loaded),
            profile: profile_text(loaded),
        }
    }

    /// Reads the file again at every signal and for every new profile, until `stop`.
    ///
    /// # Errors
    /// None; the result fits a service.
    pub async fn run(
        mut self,
        mut signals: Reloads,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut look = interval(self.look);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = interval(BROKEN_LOOK);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // what is wrong, and when it was told
        let mut broken: Option<(String, Instant)> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                signal = signals.next() => {
                    tracing::info!(signal, file = %self.path.display(), "reading the configuration again");
                    broken = None;
                }
                // one that is wrong is looked at again soon enough
                _ = look.tick(), if self.other_profile.is_some() && broken.is_none() => {
                    if !self.has_other_profile().await {
                        continue;
                    }
                    tracing::info!("the manager has another profile; reading the configuration again");
                }
                _ = again.tick(), if broken.is_some() => {}
            }
            broken = match (self.again().await, broken) {
                (Ok(changed), _) => {
                    said(&changed);
                    None
                }
                (Err(fatal), before) => Some(self.told(&fatal, before)),
            };
        }
    }

    async fn has_other_profile(&self) -> bool {
        let Some(other) = self.other_profile.clone() else {
            return false;
        };
        let text = self.profile.clone().unwrap_or_default();
        let asked = tokio::task::spawn_blocking(move || other(&text)).await;
        asked.unwrap_or(false)
    }

    /// Says what is wrong, when it is new or was said long ago.
    fn told(&self, fatal: &Fatal, before: Option<(String, Instant)>) -> (String, Instant) {
        let what = fatal.to_string();
        match before {
            Some((said, at)) if said == what && at.elapsed() < TOLD_AGAIN => (said, at),
            _ => {
                tracing::error!(
                    hint = fatal.hint.as_deref(),
                    "the new configuration is not taken, and everything goes on as before: {what}"
                );
                (what, Instant::now())
            }
        }
    }

    /// Reads the file again, and takes what can be taken.
    async fn again(&mut self) -> Result<Vec<Difference>, Fatal> {
        let load = Arc::clone(&self.load);
        let read = tokio::task::spawn_blocking(move || load()).await;
        let failed = |e: tokio::task::JoinError| Fatal::new(Exit::Unexpected, e.to_string());
        let loaded = read.map_err(failed)??;
        self.take(&loaded)
    }

    /// Takes a configuration that is right.
    fn take(&mut self, loaded: &Loaded) -> Result<Vec<Difference>, Fatal> {
        let is = effective(loaded);
        let running = self.main.locations();
        let running = running.iter().map(|place| place.display().to_string());
        let running: BTreeSet<String> = running.collect();
        let changed = differences(&self.now, &is, |key| counts(key, &running));
        let changed = changed.map_err(|e| {
            Fatal::new(
                Exit::Unexpected,
                format!("the two configurations cannot be compared: {e}"),
            )
        })?;
        let same = |a: &ThreadConfig, b: &ThreadConfig| {
            a.location == b.location || look::real(&a.location) == look::real(&b.location)
        };
        self.main.replace(&loaded.config.threads, same);
        (self.now, self.profile) = (is, profile_text(loaded));
        Ok(changed)
    }
}

fn said(changed: &[Difference]) {
    if changed.is_empty() {
        tracing::info!("nothing has changed in the configuration");
    }
    for difference in changed {
        match difference.counts {
            Counts::Now => tracing::info!("{difference}; counts from each thread's next sector on"),
            Counts::AtStart => {
                tracing::warn!("{difference}; counts when this worker is started anew");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_at_once_is_what_running_threads_go_by() {
        let running = BTreeSet::from(["/mnt/a.b/t0".to_owned()]);
        for (key, now) in [
            ("sealing_thread[/mnt/a.b/t0].sealing.max_retries", true),
            ("sealing_thread[/mnt/a.b/t0].plan", true),
            ("sealing_thread[/mnt/a.b/t0].location", false),
            ("sealing_thread[/mnt/a.b/t1].plan", false),
            ("sealing.max_retries", true),
            ("sealing.enable_deals", false),
            ("worker.ping_interval", false),
            ("processors.pc1[0].concurrent", false),
        ] {
            assert_eq!(counts(key, &running) == Counts::Now, now, "{key}");
        }
    }
}
