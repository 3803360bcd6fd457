//! Proofs that are computed, of which several may be in one process: to end one of them there ends
//! all. So one that nobody wants any more goes on as long as another one is wanted, and ends then.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{runtime::Handle, sync::watch};

/// How many proofs are wanted; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Wanted(watch::Sender<usize>);

impl Default for Wanted {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl Wanted {
    pub(super) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// A proof that is computed from now on, and wanted until this is dropped. Dropping `proving`
    /// ends its process.
    pub(super) fn computed<F>(&self, proving: F) -> Computed<F>
    where
        F: Future + Send + Unpin + 'static,
        F::Output: Send,
    {
        self.0.send_modify(|count| *count += 1);
        Computed {
            proving: Some(proving),
            wanted: self.clone(),
        }
    }

    /// Returns once none is wanted.
    async fn none(&self) {
        // it cannot be closed: this is a sender of it
        _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A proof that is wanted.
#[derive(Debug)]
pub(super) struct Computed<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send,
{
    /// None: it has ended.
    proving: Option<F>,
    wanted: Wanted,
}

impl<F> Future for Computed<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(proving) = &mut self.proving else {
            return Poll::Pending;
        };
        let polled = Pin::new(proving).poll(cx);
        if polled.is_ready() {
            self.proving = None;
        }
        polled
    }
}

impl<F> Drop for Computed<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        self.wanted.0.send_modify(|count| *count -= 1);
        let Some(proving) = self.proving.take() else {
            return;
        };
        // without a runtime this process ends, and its children with it
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.wanted.count() > 0 {
            let wanted = self.wanted.clone();
            runtime.spawn(async move {
                tokio::select! {
                    _ = proving => {}
                    () = wanted.none() => {}
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::pending, sync::Arc};

    /// A proof that hangs; whoever has the other one sees when its process is ended.
    fn hangs(process: &Arc<()>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let process = process.clone();
        Box::pin(async move {
            let _process = process;
            pending().await
        })
    }

    #[tokio::test]
    async fn a_proof_that_nobody_wants_ends_no_other_one() {
        let wanted = Wanted::default();
        let process = Arc::new(());
        let (first, second) = (hangs(&process), hangs(&process));
        let first = wanted.computed(first);
        let second = wanted.computed(second);
        assert_eq!(wanted.count(), 2);
        drop(first);
        assert_eq!(wanted.count(), 1);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&process), 3, "it would end the other one");
        // what comes to its end is counted no longer, whoever wanted it
        let third = wanted.computed(Box::pin(async { 7 }));
        drop(second);
        assert_eq!((third.await, wanted.count()), (7, 0));
        while Arc::strong_count(&process) > 1 {
            tokio::task::yield_now().await;
        }
        // the only one is ended at once
        let only = wanted.computed(hangs(&process));
        drop(only);
        assert_eq!(Arc::strong_count(&process), 1);
    }
}
