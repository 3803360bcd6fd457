//! A task for a child process, awaited. Computing never happens in this process.

use damocles_processor::{Cancel, Note, Pool, ProcessorError, Task};
use tokio::sync::oneshot;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    #[error("no thread could be started for the task: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the thread that waited for the child ended without an answer")]
    Lost,
}

/// Calls the task off when whoever waits for it goes away.
struct CallOff(Cancel);

impl Drop for CallOff {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a task in a thread of its own: it takes minutes, and the runtime's stop must not wait for
/// it. Dropping the future calls it off, as `cancel` has it.
///
/// # Errors
/// See [`ComputeError`].
pub async fn run<T: Task>(pool: &Pool, task: T, cancel: Cancel) -> Result<T::Output, ComputeError> {
    run_told(pool, task, cancel, || {}).await
}

/// The same; `begun` is called once a process has the task, which may have to wait for one.
///
/// # Errors
/// See [`ComputeError`].
pub async fn run_told<T: Task>(
    pool: &Pool,
    task: T,
    cancel: Cancel,
    begun: impl FnOnce() + Send + 'static,
) -> Result<T::Output, ComputeError> {
    let pool = pool.clone();
    let guard = CallOff(cancel);
    let cancel = guard.0.clone();
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new()
        .name(T::STAGE.name().to_owned())
        .spawn(move || {
            let mut begun = Some(begun);
            let result = pool.run(&task, &cancel, &mut |note| {
                if matches!(note, Note::Running { .. })
                    && let Some(begun) = begun.take()
                {
                    begun();
                }
            });
            let _ = tell.send(result);
        })?;
    let outcome = told.await.map_err(|_| ComputeError::Lost)??;
    Ok(outcome.output)
}
