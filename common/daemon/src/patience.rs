//! A command that waits for a daemon longer than a person likes to look at nothing says for whom.

use std::{pin::pin, time::Duration};

/// So long a person looks at nothing without a doubt.
const SILENCE: Duration = Duration::from_secs(2);

/// Does `work`; when it takes longer than two seconds, stderr hears once that `whom` is waited
/// for, such as `the manager at http://…`.
pub async fn told<T>(whom: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    match tokio::time::timeout(SILENCE, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            eprintln!("waiting for {whom} (Ctrl-C gives up)");
            work.await
        }
    }
}
