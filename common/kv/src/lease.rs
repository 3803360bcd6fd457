//! Leases: who has a role, for how long, and a fence by which one that lost it is kept from
//! writing.
//!
//! The clock only decides when another one may take a role. What keeps two from acting at once is
//! the fence: a number that rises with every new holder. A holder's transactions
//! [`check`](Leases::check) theirs, so one that was overtaken, by a long pause or a wrong clock,
//! writes nothing any more.

use crate::{Span, StoreError, Table, Transaction, named::named};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Leases, kept in this table.
#[derive(Clone, Copy, Debug)]
pub struct Leases(pub Table);

/// What a holder shows when it writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    pub role: String,
    /// Of what it has the role, e.g. a miner.
    pub scope: String,
    pub holder: String,
    /// Higher than that of everybody who had the role before.
    pub number: u64,
}

/// The answer to one that wants a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It has it.
    Granted(Fence),
    /// Another one has it.
    Held(Held),
}

/// A role in somebody's hands. Two looks at it that are equal say that it was not renewed in
/// between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub role: String,
    pub scope: String,
    pub by: String,
    pub fence: u64,
    /// In ms since 1970, by the holder's clock; 0: it was given back.
    pub until_ms: u64,
}

/// Written when the role changes hands. Renewals are kept apart: who checks a fence is not in
/// their way.
#[derive(Serialize, Deserialize)]
struct Holder {
    role: String,
    scope: String,
    holder: String,
    fence: u64,
}

impl Leases {
    /// Takes the role, or renews it, until `ttl` after `now_ms` (ms since 1970). `holder` must be
    /// a name that no other process has had, also not this one before a restart. Take it anew
    /// when a third of `ttl` is over.
    ///
    /// # Errors
    /// Of the database.
    pub fn take(
        self,
        t: &mut Transaction<'_>,
        role: &str,
        scope: &str,
        holder: &str,
        ttl: Duration,
        now_ms: u64,
    ) -> Result<Lease, StoreError> {
        let seen = t.get(self.0, &holder_key(role, scope))?;
        let last: Option<Holder> = seen.json()?;
        let until = t.get(self.0, &until_key(role, scope))?;
        let until_ms: u64 = until.json()?.unwrap_or(0);
        let fence = match last {
            Some(last) if until_ms > 0 && last.holder == holder => last.fence,
            Some(last) if until_ms > now_ms => {
                return Ok(Lease::Held(Held {
                    role: role.to_owned(),
                    scope: scope.to_owned(),
                    by: last.holder,
                    fence: last.fence,
                    until_ms,
                }));
            }
            last => {
                let fence = last.map_or(0, |last| last.fence) + 1;
                let now = Holder {
                    role: role.to_owned(),
                    scope: scope.to_owned(),
                    holder: holder.to_owned(),
                    fence,
                };
                t.put_json(&seen, &now)?;
                fence
            }
        };
        t.put_json(&until, &end(now_ms, ttl))?;
        Ok(Lease::Granted(Fence {
            role: role.to_owned(),
            scope: scope.to_owned(),
            holder: holder.to_owned(),
            number: fence,
        }))
    }

    /// Takes a role from a holder that was seen, and has not renewed it since: however long that
    /// was by the caller's own clock. So clocks of several hosts need not agree.
    ///
    /// # Errors
    /// Of the database.
    pub fn take_over(
        self,
        t: &mut Transaction<'_>,
        seen: &Held,
        holder: &str,
        ttl: Duration,
        now_ms: u64,
    ) -> Result<Lease, StoreError> {
        let Held { role, scope, .. } = seen;
        let after = match self.look(t, role, scope)? {
            Some(now) if now == *seen => u64::MAX,
            // it goes on, or another one was faster
            _ => 0,
        };
        match self.take(t, role, scope, holder, ttl, after)? {
            Lease::Granted(fence) => {
                let until = t.get(self.0, &until_key(role, scope))?;
                t.put_json(&until, &end(now_ms, ttl))?;
                Ok(Lease::Granted(fence))
            }
            held => Ok(held),
        }
    }

    /// Who has a role. None: nobody ever had it.
    ///
    /// # Errors
    /// Of the database.
    pub fn look(
        self,
        t: &mut Transaction<'_>,
        role: &str,
        scope: &str,
    ) -> Result<Option<Held>, StoreError> {
        let last: Option<Holder> = t.get_json(self.0, &holder_key(role, scope))?;
        let until = t.get_json(self.0, &until_key(role, scope))?;
        Ok(last.map(|last| last.held(until.unwrap_or(0))))
    }

    /// At most `limit` roles that were ever held, by role and scope.
    ///
    /// # Errors
    /// Of the database.
    pub fn list(self, t: &mut Transaction<'_>, limit: usize) -> Result<Vec<Held>, StoreError> {
        let mut roles = Vec::new();
        // each has two records
        for record in t.scan(self.0, &Span::all(), limit.saturating_mul(2))? {
            if record.key().last() == Some(&HOLDER)
                && let Some(last) = record.json::<Holder>()?
            {
                let until = t.get_json(self.0, &until_key(&last.role, &last.scope))?;
                roles.push(last.held(until.unwrap_or(0)));
            }
        }
        Ok(roles)
    }

    /// Sees to it that nothing of this transaction is written unless the fence is still in force:
    /// the first line of everything that a holder writes.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another one has the role, or had it meanwhile.
    pub fn check(self, t: &mut Transaction<'_>, fence: &Fence) -> Result<(), StoreError> {
        let key = holder_key(&fence.role, &fence.scope);
        let last: Option<Holder> = t.get_json(self.0, &key)?;
        let current = last.map_or(0, |last| last.fence);
        if current == fence.number {
            return Ok(());
        }
        Err(StoreError::Fenced {
            role: fence.role.clone(),
            scope: fence.scope.clone(),
            holder: fence.holder.clone(),
            fence: fence.number,
            current,
        })
    }

    /// Gives the role back, so that another one need not wait for its end.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it was lost already.
    pub fn release(self, t: &mut Transaction<'_>, fence: &Fence) -> Result<(), StoreError> {
        self.check(t, fence)?;
        let until = t.get(self.0, &until_key(&fence.role, &fence.scope))?;
        // the fence stays, for it must rise for ever
        t.put_json(&until, &0_u64)
    }
}

fn end(now_ms: u64, ttl: Duration) -> u64 {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_add(ttl_ms).max(1)
}

impl Holder {
    fn held(self, until_ms: u64) -> Held {
        let Self {
            role,
            scope,
            holder: by,
            fence,
        } = self;
        Held {
            role,
            scope,
            by,
            fence,
            until_ms,
        }
    }
}

/// Kinds of keys.
const HOLDER: u8 = b'h';
const UNTIL: u8 = b'u';

fn holder_key(role: &str, scope: &str) -> Vec<u8> {
    named(&[role, scope], HOLDER)
}

fn until_key(role: &str, scope: &str) -> Vec<u8> {
    named(&[role, scope], UNTIL)
}
