//! Commits that go together: while some are on their way, those that come wait, and the next
//! statement applies as many of them as do not touch each other. So the server checks, writes and
//! syncs once for all of them, and the more of them there are, the less each costs.
//!
//! Whoever finds the way free leads: he takes who waits with him and tells them what became of it.
//! A statement is applied whole or not at all; where it is not, its halves are tried, so that
//! nobody fails by his companions.

use super::{
    commit::{Outcome, confirm},
    connection::Connection,
    landing::{Flown, Landing},
    pool::Then,
    row::Lead,
    seen::Seen,
    server::Server,
    sql::Fault,
    wish::{Statement, Wish},
};
use crate::{change::Change, transaction::Stored};
use std::collections::VecDeque;
use uuid::Uuid;

impl Server {
    /// Sees whether all is still as it was seen, and if so writes the changes.
    pub(super) fn commit(&self, seen: Seen, changes: Vec<Change>) -> Landing {
        if changes.is_empty() {
            return self.check(&seen);
        }
        let wish = Wish::new(seen, changes);
        self.commits.go(wish, |wish, lead| self.lead(wish, lead))
    }

    fn lead(&self, wish: Wish, lead: Lead<'_, Wish, Landing>) -> Landing {
        let gone = self.pool.with(|connection| {
            // also those who came while there was no connection
            let (others, companions) = lead.company(|waiting| {
                let mut statement = Statement::of(&wish);
                let all = waiting.enumerate();
                all.filter(|(_, other)| statement.takes(other))
                    .map(|(at, _)| at)
                    .collect()
            });
            let wishes = [wish].into_iter().chain(others).collect();
            let (ends, then) = self.apply_all(connection, wishes);
            ((companions, ends, connection.name), then)
        });
        let (companions, ends, name) = match gone {
            Ok(gone) => gone,
            // what there is not for this one there is for nobody
            Err(fault) => {
                lead.send_away(|| Landing::Not(fault.clone()));
                return Landing::Not(fault);
            }
        };
        drop(lead);
        let mut landings = self.landings(ends, name).into_iter();
        let own = landings.next();
        companions.tell(landings);
        own.unwrap_or(Landing::Not(Fault::Conflict))
    }

    /// All of them in one statement, or else in halves.
    fn apply_all(
        &self,
        connection: &mut Connection,
        mut wishes: VecDeque<Wish>,
    ) -> (Vec<Flown>, Then) {
        let mut ends = Vec::new();
        // how many are tried at a time
        let mut parts = vec![wishes.len()];
        while let Some(count) = parts.pop() {
            let (end, then) = self.apply(connection, &wishes.make_contiguous()[..count]);
            let whole = count == 1 || then != Then::Keep || matches!(end, Flown::Applied(_));
            if !whole {
                parts.extend([count - count / 2, count / 2]);
                continue;
            }
            for wish in wishes.drain(..count) {
                self.remember(wish, &end);
                ends.push(end.clone());
            }
            if then != Then::Keep {
                let fault = end.fault();
                for wish in wishes {
                    let end = Flown::Not(fault.clone());
                    self.remember(wish, &end);
                    ends.push(end);
                }
                return (ends, then);
            }
        }
        (ends, Then::Keep)
    }

    /// For the next transaction here.
    fn remember(&self, wish: Wish, end: &Flown) {
        let Flown::Applied(version) = end else {
            // what was kept here may be what was old
            for (table, key, _) in wish.seen.all() {
                self.kept.forget(table, key);
            }
            return;
        };
        for change in wish.changes {
            match change {
                Change::Put(table, key, value) => {
                    let version = *version;
                    self.kept.keep(table, &key, &Stored { version, value });
                }
                Change::Delete(table, key) => self.kept.forget(table, &key),
            }
        }
    }

    /// What became of them; where the connection of that name was lost meanwhile, the database is
    /// asked.
    fn landings(&self, ends: Vec<Flown>, name: Uuid) -> Vec<Landing> {
        let mut asked = None;
        let ends = ends.into_iter();
        ends.map(|end| match end {
            Flown::Applied(_) => Landing::Applied,
            Flown::Not(fault) => Landing::Not(fault),
            // there is one such statement at most: the connection is gone with it
            Flown::Open { number, reason } => asked
                .get_or_insert_with(|| match confirm(&self.pool, &self.sql, name, number) {
                    Outcome::Applied => Landing::Applied,
                    Outcome::Not => Landing::Not(Fault::Lost(reason)),
                    Outcome::Unknown => Landing::Unknown { reason },
                })
                .clone(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Schema, Table,
        postgres::{Postgres, open::server},
    };

    const A: Table = Table("a");
    const SCHEMA: Schema = Schema {
        owner: "commits that go together",
        tables: &[A],
        migrations: &[],
    };

    /// Has seen that there is no such record, and writes it.
    fn first(key: &str) -> Wish {
        let mut seen = Seen::default();
        seen.saw(A, key.as_bytes().to_vec(), None);
        let put = Change::Put(A, key.as_bytes().to_vec(), vec![1]);
        Wish::new(seen, vec![put])
    }

    #[test]
    fn nobody_fails_by_his_companions() {
        let Some(there) = damocles_test_postgres::shared() else {
            return;
        };
        let place = Postgres {
            dsn: there.dsn(),
            password: None,
            schema: SCHEMA.owner.to_owned(),
            connections: 2,
            authorities: None,
        };
        let server = server(&place, &SCHEMA, true).unwrap();
        let go = |keys: &[&str]| {
            let wishes = keys.iter().map(|key| first(key)).collect();
            let ends = server.pool.with(|connection| {
                let before = connection.commits;
                let (ends, then) = server.apply_all(connection, wishes);
                assert_eq!(then, Then::Keep);
                ((ends, connection.commits - before), then)
            });
            let (ends, statements) = ends.unwrap();
            let good: Vec<bool> = ends
                .iter()
                .map(|end| matches!(end, Flown::Applied(_)))
                .collect();
            (good, statements)
        };
        assert_eq!(go(&["c"]), (vec![true], 1));
        // who was overtaken is found by halves: a b, then c alone, then d e
        let all = ["a", "b", "c", "d", "e"];
        let (good, statements) = go(&all);
        assert_eq!(good, [true, true, false, true, true]);
        assert_eq!(statements, 2);
        assert_eq!(go(&["f", "g", "h"]), (vec![true; 3], 1));
        assert_eq!(go(&all), (vec![false; 5], 0));
    }
}
