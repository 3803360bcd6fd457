//! A panic in one miner's loop is that miner's, and passes: the loop is started again, with pauses
//! that grow, so that what panics each time does not fill the log.

use damocles_types::ActorId;
use std::time::Duration;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// Pauses between a loop's end by a panic and its next start; they double.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs a miner's loop, and starts it again when it panics: its records say where it was. `what`
/// says in a few words what it does.
pub(crate) async fn kept_alive<F>(
    what: &str,
    miner: ActorId,
    stop: CancellationToken,
    start: impl Fn() -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        // dropped with this task, so that nothing of it goes on alone
        let mut tasks = JoinSet::new();
        tasks.spawn(start());
        match tasks.join_next().await {
            Some(Err(error)) if error.is_panic() && !stop.is_cancelled() => {
                tracing::error!(
                    miner, %error, again_in = ?pause,
                    "{what} of a miner ended badly and is started again; please report this"
                );
            }
            _ => return,
        }
        if began.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_is_started_again_and_ends_when_told() {
        let stop = CancellationToken::new();
        let (starts, ended) = (Arc::new(AtomicU32::new(0)), stop.clone());
        let counted = starts.clone();
        let start = move || {
            let (starts, stop) = (counted.clone(), ended.clone());
            async move {
                if starts.fetch_add(1, Ordering::Relaxed) < 3 {
                    panic!("a record that nobody expected");
                }
                stop.cancelled().await;
            }
        };
        let alive = tokio::spawn(kept_alive("a test", 1000, stop.clone(), start));
        while starts.load(Ordering::Relaxed) < 4 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stop.cancel();
        alive.await.unwrap();
        assert_eq!(starts.load(Ordering::Relaxed), 4);
    }
}
