//! Roles: of several managers on one database, who does what. The holder's writes are refused
//! from the moment on at which another one has the role.

use crate::{
    db::{Db, DbError, schema::ROLES},
    model::unix_ms,
};
use damocles_kv::{Durability, Fence, Held, Lease, StoreError};
use std::time::Duration;

/// More than the miners of any fleet.
const MOST: usize = 10_000;

impl Db {
    /// The same database, whose verbs write nothing once another one has the role.
    #[must_use]
    pub fn holding(&self, fence: Fence) -> Self {
        let mut fences = self.fences.to_vec();
        fences.push(fence);
        Self {
            fences: fences.into(),
            ..self.clone()
        }
    }

    /// Whether other managers may have the same database open.
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// Takes a role that nobody has, or renews it for `ttl`.
    pub fn take_role(
        &self,
        role: &str,
        scope: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, DbError> {
        self.store.transact(Durability::Buffered, |t| {
            match ROLES.look(t, role, scope)? {
                // by the clock of this host nothing is taken from another one
                Some(held) if held.by != holder && held.until_ms > 0 => Ok(Lease::Held(held)),
                _ => Ok(ROLES.take(t, role, scope, holder, ttl, unix_ms())?),
            }
        })
    }

    /// Takes a role from a holder that was seen, and has not renewed it since.
    pub fn take_role_over(
        &self,
        seen: &Held,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, DbError> {
        self.store.transact(Durability::Buffered, |t| {
            Ok(ROLES.take_over(t, seen, holder, ttl, unix_ms())?)
        })
    }

    /// Renews a role. False: another one has it.
    pub fn renew_role(&self, fence: &Fence, ttl: Duration) -> Result<bool, DbError> {
        let Fence { role, scope, .. } = fence;
        let lease = self.take_role(role, scope, &fence.holder, ttl)?;
        Ok(matches!(lease, Lease::Granted(again) if again.number == fence.number))
    }

    /// Who has which role, and who had it before nobody did.
    pub fn roles(&self) -> Result<Vec<Held>, DbError> {
        self.read(|t| Ok(ROLES.list(t, MOST)?))
    }

    /// Gives a role back. One that was lost is no error.
    pub fn give_role_back(&self, fence: &Fence) -> Result<(), DbError> {
        let done = self
            .store
            .transact(Durability::Buffered, |t| ROLES.release(t, fence));
        match done {
            Err(StoreError::Fenced { .. }) => Ok(()),
            done => Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(4);

    fn granted(lease: Lease) -> Fence {
        match lease {
            Lease::Granted(fence) => fence,
            Lease::Held(held) => panic!("{} has it", held.by),
        }
    }

    #[test]
    fn a_manager_that_lost_its_role_writes_nothing_any_more() {
        let db = Db::in_memory();
        let take = |who| db.take_role("commit", "", who, TTL).unwrap();
        let mine = granted(take("a"));
        let Lease::Held(seen) = take("b") else {
            panic!("both have it")
        };
        let holding = db.holding(mine.clone());
        holding.set_network("first").unwrap();
        assert!(holding.renew_role(&mine, TTL).unwrap());
        // a renewal may fall into the same millisecond
        let seen = match take("b") {
            Lease::Held(now) => Held { ..now },
            Lease::Granted(_) => seen,
        };
        let theirs = granted(db.take_role_over(&seen, "b", TTL).unwrap());
        assert!(!db.renew_role(&mine, TTL).unwrap());
        let refused = holding.remove_worker("w").unwrap_err();
        assert!(matches!(refused, DbError::Store(StoreError::Fenced { .. })));
        db.give_role_back(&mine).unwrap();
        assert!(db.renew_role(&theirs, TTL).unwrap(), "it was not its own");
        db.give_role_back(&theirs).unwrap();
        assert_eq!(db.roles().unwrap()[0].until_ms, 0);
        let third = granted(take("a"));
        assert!(third.number > theirs.number);
        let all = db.roles().unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].role.as_str(), all[0].by.as_str()), ("commit", "a"));
        assert!(all[0].until_ms > 0);
        // reads and the writes of others go on
        assert_eq!(holding.network().unwrap().as_deref(), Some("first"));
        db.remove_worker("w").unwrap();
    }
}
