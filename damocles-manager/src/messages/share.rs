//! Which senders there are, and of each the engine that looks after its messages: in one manager
//! at a time.

use crate::{
    db::{Db, DbError},
    messages::{
        Engine,
        engine::{AFTER_DB_ERROR, LOOK},
    },
    roles::{Role, Roles},
};
use fvm_shared::address::Address;
use std::collections::BTreeSet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Sends and follows the messages of all senders of which this manager has the role, until `stop`.
///
/// # Errors
/// A panic of an engine.
pub async fn run(engine: Engine, roles: Roles, stop: CancellationToken) -> anyhow::Result<()> {
    let (tell, senders) = watch::channel(BTreeSet::new());
    let found = find(engine.clone(), tell, stop.clone());
    let work = move |from, db, stop| engine.of(from, db).run(stop);
    let shared = roles.share(Role::Messages, senders, BTreeSet::clone, work, stop);
    let ((), shared) = tokio::join!(found, shared);
    shared
}

/// Tells which senders have messages that are not over, as soon as there is a new one.
async fn find(engine: Engine, tell: watch::Sender<BTreeSet<Address>>, stop: CancellationToken) {
    let mut woken = engine.wake.subscribe();
    let mut first = true;
    loop {
        // what is watched was on its way before
        let look = move |db: &Db| {
            let mut all = db.senders()?;
            if first {
                all.extend(db.watched_senders()?);
            }
            Ok::<_, DbError>(all)
        };
        let pause = match engine.db.call(look).await {
            Ok(found) => {
                first = false;
                tell.send_if_modified(|known| {
                    let before = known.len();
                    known.extend(found);
                    known.len() > before
                });
                LOOK
            }
            Err(error) => {
                // much may happen until it can be read
                first = true;
                tracing::error!(%error, "the senders of messages cannot be read from the database");
                AFTER_DB_ERROR
            }
        };
        let elsewhere = async {
            if first || engine.db.is_shared() {
                tokio::time::sleep(pause).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = woken.changed() => {}
            () = elsewhere => {}
        }
    }
}
