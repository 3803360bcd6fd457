//! A role that is had of each miner, or of each sender, by itself: several managers share them, and
//! each is taken over by itself.

use super::{Role, Roles};
use crate::db::Db;
use damocles_types::ActorId;
use fvm_shared::address::Address;
use std::collections::{BTreeMap, BTreeSet};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// Of what a role is had.
pub trait Scope: Clone + Ord + Send + Sync + 'static {
    /// Its name in the lease: the same in every manager, and as long as there are leases.
    fn name(&self) -> String;
}

impl Scope for ActorId {
    fn name(&self) -> String {
        format!("t0{self}")
    }
}

impl Scope for Address {
    fn name(&self) -> String {
        of_no_network(&self.to_string())
    }
}

/// How an address is printed depends on the network, which is not known before the first contact
/// with a node. Pure.
fn of_no_network(printed: &str) -> String {
    format!("t{}", printed.get(1..).unwrap_or_default())
}

impl Roles {
    /// Does the work of a role for each of what `of` makes of the newest of `known`, whenever this
    /// process has the role of it, until `stop`. Work whose scope is not among them any more is
    /// told to end.
    ///
    /// # Errors
    /// Those of the work, and its panics; the rest of it ends then.
    pub async fn share<T, S, F>(
        self,
        role: Role,
        mut known: watch::Receiver<T>,
        of: impl Fn(&T) -> BTreeSet<S> + Send,
        work: impl Fn(S, Db, CancellationToken) -> F + Clone + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> anyhow::Result<()>
    where
        T: Send + Sync,
        S: Scope,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let mut running: BTreeMap<S, CancellationToken> = BTreeMap::new();
        let mut loops = JoinSet::new();
        let mut open = true;
        loop {
            let wanted = of(&known.borrow_and_update());
            for (scope, stop) in &running {
                if !wanted.contains(scope) {
                    stop.cancel();
                }
            }
            for scope in wanted {
                // until one has ended there is no second one
                running.entry(scope.clone()).or_insert_with(|| {
                    let (stop, work) = (stop.child_token(), work.clone());
                    let (name, of) = (scope.name(), scope.clone());
                    let work = move |db, stop| work(of.clone(), db, stop);
                    let held = self.clone().hold(role, name, work, stop.clone());
                    loops.spawn(async move { (scope, held.await) });
                    stop
                });
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = known.changed(), if open => open = changed.is_ok(),
                Some(ended) = loops.join_next() => {
                    let scope = ended_well(ended)?;
                    if running.get(&scope).is_some_and(CancellationToken::is_cancelled) {
                        running.remove(&scope);
                    } else {
                        // it is not begun anew, or that would be for ever
                        tracing::error!(
                            %role, scope = scope.name(),
                            "work ended although nobody asked it to; please report this"
                        );
                    }
                }
            }
        }
        while let Some(ended) = loops.join_next().await {
            ended_well(ended)?;
        }
        Ok(())
    }
}

fn ended_well<S>(ended: Result<(S, anyhow::Result<()>), JoinError>) -> anyhow::Result<S> {
    let (scope, ended) = ended?;
    ended.map(|()| scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[test]
    fn a_scope_has_one_name_whatever_the_network() {
        for printed in ["f3q6qhap", "t3q6qhap"] {
            assert_eq!(of_no_network(printed), "t3q6qhap");
        }
        assert_eq!(Address::new_id(1000).name(), "t01000");
        assert_eq!(1000_u64.name(), "t01000");
    }

    #[tokio::test]
    async fn work_begins_and_ends_with_what_it_is_of() {
        let db = Db::in_memory();
        let roles = Roles::new(db.clone(), "m", Role::ALL);
        let (tell, known) = watch::channel(BTreeSet::from([1_u64]));
        let (news, mut heard) = mpsc::unbounded_channel();
        let work = move |miner, _: Db, stop: CancellationToken| {
            let news = news.clone();
            async move {
                let _ = news.send((miner, true));
                stop.cancelled().await;
                let _ = news.send((miner, false));
                Ok(())
            }
        };
        let stop = CancellationToken::new();
        let shared = roles.share(Role::Commit, known, BTreeSet::clone, work, stop.clone());
        let shared = tokio::spawn(shared);
        assert_eq!(heard.recv().await, Some((1, true)));
        tell.send_replace([1, 2].into());
        assert_eq!(heard.recv().await, Some((2, true)));
        tell.send_replace([2].into());
        assert_eq!(heard.recv().await, Some((1, false)));
        tell.send_replace([1, 2].into());
        assert_eq!(heard.recv().await, Some((1, true)));
        let mut held = db.roles().unwrap();
        held.sort_by_key(|h| h.fence);
        let held: Vec<_> = held.iter().map(|h| (&*h.scope, h.fence)).collect();
        assert_eq!(held, [("t02", 1), ("t01", 2)]);
        stop.cancel();
        shared.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_not_kept_quiet() {
        let roles = Roles::new(Db::in_memory(), "m", Role::ALL);
        let (_tell, known) = watch::channel(BTreeSet::from([1_u64]));
        let work = |_, _: Db, _| async { panic!("a record that nobody expected") };
        let stop = CancellationToken::new();
        let ended = roles
            .share(Role::Commit, known, BTreeSet::clone, work, stop)
            .await;
        assert!(ended.unwrap_err().to_string().contains("panic"));
    }
}
