//! Waiting for a house that must get on by itself: whoever waits hears at once when a thread
//! stands until a person comes.

use crate::house::House;
use anyhow::Result;
use damocles_api::worker::ThreadState;
use std::{fmt::Display, time::Duration};

/// [`House::until`], which ends at once when a thread stands and waits for a person.
pub async fn until<T>(
    house: &House,
    what: impl Display,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    house
        .until(what, limit, async || {
            if let Some(called) = person_called(house).await? {
                return Ok(Some(Err(called)));
            }
            Ok(probe().await?.map(Ok))
        })
        .await?
}

/// The first thread that has stopped until a person resumes it, as an error.
pub async fn person_called(house: &House) -> Result<Option<anyhow::Error>> {
    let threads = house.threads().await?;
    let stands = |state: &ThreadState| matches!(state, ThreadState::Paused { .. });
    Ok(threads
        .into_iter()
        .find(|thread| stands(&thread.thread_state))
        .map(|thread| anyhow::anyhow!("a person is needed: {thread:#?}")))
}
