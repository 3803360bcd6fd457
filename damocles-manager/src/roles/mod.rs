//! Who of several managers does what. Each role is held by one of them, which renews its lease;
//! the others stand by, and one takes it over when it was not renewed for a while by their own
//! clock. What the former holder still writes then is refused, so it need not know.
//!
//! ```text
//! stand by ──taken──► at work ──lost──► stand by …
//! ```
//! With a database that nobody else can have open the same happens, and nobody is waited for.
//! Most roles are had of something, a miner or a sender, and of each by itself: see `share`.

mod share;

pub use share::Scope;

use crate::db::{Db, DbError};
use clap::ValueEnum;
use damocles_kv::{Fence, Held, Lease};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

/// A role lasts so long without being renewed.
const LEASE: Duration = Duration::from_millis(3500);
/// Between two renewals.
const RENEW: Duration = Duration::from_millis(1000);
/// Between two looks of one that stands by.
const LOOK: Duration = Duration::from_millis(500);
/// Whoever has a role of something already lets others go first for its next one, so much longer for
/// each that it has, and at most so long: so managers that are started together share what there is.
const MODESTY: Duration = Duration::from_millis(100);
const MOST_MODESTY: Duration = Duration::from_millis(300);
/// A holder whose work does not end when it is told to is left alone after so long: what it
/// writes is refused.
const LEAVE: Duration = Duration::from_secs(5);

/// What a manager can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Role {
    /// Answers workers and operators; any number of managers do.
    Rpc,
    /// Puts sectors into messages; one manager for each miner.
    Commit,
    /// Sends messages and follows them; one manager for each sender.
    Messages,
    /// Proves sectors; one manager for each miner.
    Post,
    /// Makes blocks; one manager for each miner.
    Winning,
    /// Looks after the persist stores that are mounted here; any number of managers do.
    Stores,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Rpc,
        Self::Commit,
        Self::Messages,
        Self::Post,
        Self::Winning,
        Self::Stores,
    ];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rpc => "rpc",
            Self::Commit => "commit",
            Self::Messages => "messages",
            Self::Post => "post",
            Self::Winning => "winning",
            Self::Stores => "stores",
        })
    }
}

/// The roles that this process may take.
#[derive(Clone, Debug)]
pub struct Roles {
    db: Db,
    /// The name of this process; no other one has had it.
    holder: String,
    mine: BTreeSet<Role>,
    /// Of how many things it has each role.
    held: Arc<Mutex<BTreeMap<Role, u32>>>,
}

impl Roles {
    /// `holder` names this process for people; what makes the name its own is added.
    pub fn new(db: Db, holder: &str, mine: impl IntoIterator<Item = Role>) -> Self {
        let holder = format!("{holder} {}", uuid::Uuid::new_v4().simple());
        Self {
            db,
            holder,
            mine: mine.into_iter().collect(),
            held: Arc::default(),
        }
    }

    /// The name of this process, as leases have it.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Whether this process may take the role.
    pub fn has(&self, role: Role) -> bool {
        self.mine.contains(&role)
    }

    /// Does the work whenever this process has the role, until `stop`. `work` gets a database
    /// that refuses to be written once the role is lost; it ends soon when its token says so.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn hold<F>(
        self,
        role: Role,
        scope: String,
        work: impl Fn(Db, CancellationToken) -> F + Send,
        stop: CancellationToken,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send,
    {
        loop {
            let fence = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                fence = self.acquire(role, &scope) => fence,
            };
            let counted = Counted::new(&self.held, role);
            if self.db.is_shared() {
                tracing::info!(%role, scope, fence = fence.number, "this manager has the role now");
            }
            let until = stop.child_token();
            let working = work(self.db.holding(fence.clone()), until.clone());
            tokio::pin!(working);
            tokio::select! {
                ended = &mut working => {
                    self.give_back(fence).await;
                    return ended;
                }
                () = self.renew(&fence) => {}
            }
            tracing::warn!(%role, scope, "another manager has the role now, or it could not be renewed; what is under way here is left to the one that has it");
            drop(counted);
            until.cancel();
            let _ = tokio::time::timeout(LEAVE, working).await;
        }
    }

    /// Waits until the role is this process's.
    async fn acquire(&self, role: Role, scope: &str) -> Fence {
        let mut seen: Option<(Held, Instant)> = None;
        loop {
            if self.db.is_shared() {
                let held = self.held.lock().get(&role).copied().unwrap_or(0);
                sleep((MODESTY * held).min(MOST_MODESTY)).await;
            }
            match self.try_it(role, scope, seen.as_ref()).await {
                Ok(Lease::Granted(fence)) => return fence,
                Ok(Lease::Held(held)) => {
                    let same = seen.as_ref().is_some_and(|(before, _)| *before == held);
                    if !same {
                        let news = seen
                            .as_ref()
                            .is_none_or(|(before, _)| before.fence != held.fence);
                        if news {
                            tracing::info!(
                                %role,
                                scope,
                                by = held.by,
                                "another manager has the role; standing by"
                            );
                        }
                        seen = Some((held, Instant::now()));
                    }
                }
                Err(error) => {
                    // what was seen before may have been renewed meanwhile
                    seen = None;
                    tracing::debug!(%role, scope, %error, "a role cannot be taken now");
                }
            }
            // not later than it can be taken over
            let left = seen
                .as_ref()
                .map(|(_, since)| LEASE.saturating_sub(since.elapsed()));
            sleep(left.map_or(LOOK, |left| left.min(LOOK))).await;
        }
    }

    async fn try_it(
        &self,
        role: Role,
        scope: &str,
        seen: Option<&(Held, Instant)>,
    ) -> Result<Lease, DbError> {
        let (role, scope) = (role.to_string(), scope.to_owned());
        let holder = self.holder.clone();
        let over = seen.filter(|(_, since)| since.elapsed() >= LEASE);
        let over = over.map(|(held, _)| held.clone());
        let alone = !self.db.is_shared();
        self.db
            .call(move |db| match over {
                Some(held) => db.take_role_over(&held, &holder, LEASE),
                None => match db.take_role(&role, &scope, &holder, LEASE)? {
                    // whoever had it is gone: it had the database open
                    Lease::Held(held) if alone => db.take_role_over(&held, &holder, LEASE),
                    lease => Ok(lease),
                },
            })
            .await
    }

    /// Renews the role for as long as that goes. Where nobody else can have the database open,
    /// nobody can take it.
    async fn renew(&self, fence: &Fence) {
        if !self.db.is_shared() {
            return std::future::pending().await;
        }
        let mut ticks = interval(RENEW);
        let mut last = Instant::now();
        loop {
            ticks.tick().await;
            let mine = fence.clone();
            let renewed = self.db.call(move |db| db.renew_role(&mine, LEASE));
            let limit = (last + LEASE).saturating_duration_since(Instant::now());
            match tokio::time::timeout(limit, renewed).await {
                Ok(Ok(true)) => last = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::debug!(role = fence.role, %error, "a role could not be renewed");
                }
                Err(_) => {}
            }
            if last.elapsed() >= LEASE {
                return;
            }
        }
    }

    /// So that another one need not wait.
    async fn give_back(&self, fence: Fence) {
        let given = self.db.call(move |db| db.give_role_back(&fence));
        if let Err(error) = given.await {
            tracing::debug!(%error, "a role could not be given back");
        }
    }
}

/// One more that a manager has the role of, as long as this lives.
struct Counted {
    held: Arc<Mutex<BTreeMap<Role, u32>>>,
    role: Role,
}

impl Counted {
    fn new(held: &Arc<Mutex<BTreeMap<Role, u32>>>, role: Role) -> Self {
        *held.lock().entry(role).or_default() += 1;
        Self {
            held: held.clone(),
            role,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(held) = self.held.lock().get_mut(&self.role) {
            *held -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::mpsc;

    /// Work that tells by whom it is begun, and runs until it is told to end.
    fn work(
        name: &'static str,
        news: mpsc::UnboundedSender<(&'static str, Db)>,
    ) -> impl Fn(
        Db,
        CancellationToken,
    ) -> std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>> {
        move |db, stop| {
            let news = news.clone();
            Box::pin(async move {
                let _ = news.send((name, db));
                stop.cancelled().await;
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn one_of_two_works_and_the_other_follows_when_it_ends() {
        let db = Db::in_memory();
        let (tell, mut news) = mpsc::unbounded_channel();
        let start = |name: &'static str, stop: &CancellationToken| {
            let roles = Roles::new(db.clone(), name, [Role::Commit]);
            assert!(roles.has(Role::Commit) && !roles.has(Role::Post));
            let held = roles.hold(
                Role::Commit,
                String::new(),
                work(name, tell.clone()),
                stop.clone(),
            );
            tokio::spawn(held)
        };
        let (first_stop, second_stop) = (CancellationToken::new(), CancellationToken::new());
        let first = start("first", &first_stop);
        let (who, holding) = news.recv().await.unwrap();
        assert_eq!(who, "first");
        holding.remove_worker("w").unwrap();
        first_stop.cancel();
        first.await.unwrap().unwrap();
        let second = start("second", &second_stop);
        assert_eq!(news.recv().await.unwrap().0, "second");
        assert!(
            holding.remove_worker("w").is_err(),
            "what the first one left running writes nothing"
        );
        second_stop.cancel();
        second.await.unwrap().unwrap();
    }

    /// As after a kill: the former holder has given nothing back.
    #[tokio::test]
    async fn nobody_is_waited_for_on_a_database_that_nobody_else_can_have_open() {
        let db = Db::in_memory();
        let dead = db.take_role("commit", "", "dead", Duration::from_secs(3600));
        assert!(matches!(dead, Ok(Lease::Granted(_))));
        let roles = Roles::new(db, "next", Role::ALL);
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        let once = move |_: Db, _: CancellationToken| {
            let count = count.clone();
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        };
        let stop = CancellationToken::new();
        roles
            .hold(Role::Commit, String::new(), once, stop)
            .await
            .unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }
}
