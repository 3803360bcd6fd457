//! The database looked through, and the stores with it: are the replicas there that it names?

use super::House;
use crate::{
    db::{
        Db,
        check::{Fault, Indexed, Mend},
    },
    storage::Stores,
};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_types::chain;
use futures::{StreamExt, stream};
use std::{collections::BTreeSet, time::Duration};

/// Looking at a replica's files.
const LIMIT: Duration = Duration::from_secs(20);
/// Replicas that are looked at together.
const AT_ONCE: usize = 16;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub records: u64,
    pub faults: u64,
    /// Of them, put right.
    pub mended: u64,
    /// Replicas that were looked at in their stores.
    pub replicas: u64,
    /// Those at which nobody can look now, and why. They are not missing.
    pub away: u64,
    pub why_away: BTreeSet<String>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub mend: Mend,
    /// The files in the stores, too.
    pub stores: bool,
}

impl House {
    /// Looks through everything. `found` hears of each fault, `progress` how many records were
    /// seen.
    ///
    /// # Errors
    /// A [`Fatal`] that says what to do. That faults were found is none.
    pub async fn check(
        &self,
        scope: Scope,
        found: &mut (dyn FnMut(Fault) + Send),
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> anyhow::Result<Checked> {
        let (_home, db) = tokio::task::block_in_place(|| self.existing())?;
        let failed = |e: crate::db::DbError| {
            Fatal::new(Exit::Database, chain(&e)).hint("when the cause is gone, check again")
        };
        match db.versions().map_err(failed)? {
            (Some(at), newest) if at == newest => {}
            (at, newest) => {
                let at = at.map_or("none yet".to_owned(), |at| at.to_string());
                return Err(Fatal::new(
                    Exit::Data,
                    format!(
                        "the database has version {at}, and this program checks version {newest}"
                    ),
                )
                .hint("start the manager once, which brings it up to date, and check it then")
                .into());
            }
        }
        let mut checked = Checked::default();
        let mut tell = |fault: Fault| {
            checked.faults += 1;
            checked.mended += u64::from(fault.mended);
            found(fault);
        };
        let records =
            tokio::task::block_in_place(|| db.look_through(scope.mend, &mut tell, progress));
        checked.records = records.map_err(failed)?;
        if scope.stores {
            self.replicas(&db, &mut checked, found).await?;
        }
        Ok(checked)
    }

    async fn replicas(
        &self,
        db: &Db,
        checked: &mut Checked,
        found: &mut (dyn FnMut(Fault) + Send),
    ) -> anyhow::Result<()> {
        let (policies, scans) = (&self.config.stores, &self.config.store_scans);
        let stores = Stores::with_scans(db.clone(), policies.clone(), scans.clone())
            .map_err(|e| Fatal::new(Exit::Config, e))?;
        let mut after = None;
        loop {
            let from: Option<Vec<u8>> = after.take();
            let (page, last) = db.call(move |db| db.indexed(from.as_deref())).await?;
            let looks = stream::iter(page).map(|indexed| {
                let stores = &stores;
                async move {
                    let size = indexed.proof_type.map(|kind| kind.size);
                    let seen = stores.look(&indexed.location, size, LIMIT).await;
                    (indexed, seen)
                }
            });
            let looks: Vec<_> = looks.buffered(AT_ONCE).collect().await;
            for (indexed, seen) in looks {
                checked.replicas += 1;
                match seen {
                    Ok(_) => {}
                    Err(why) if why.is_away() => {
                        checked.away += 1;
                        checked.why_away.insert(why.to_string());
                    }
                    Err(why) => {
                        checked.faults += 1;
                        found(flawed(&indexed, &why.to_string()));
                    }
                }
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }
}

fn flawed(indexed: &Indexed, why: &str) -> Fault {
    let location = &indexed.location;
    let what = format!(
        "sector {} is said to lie in store {:?}, and is not there as it has to be: {why}",
        location.sector, location.sealed
    );
    Fault::of_replica(&indexed.key, what)
}
