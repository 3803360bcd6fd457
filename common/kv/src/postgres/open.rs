//! Opening: the tables are made where they are missing, and whose they are is looked at before
//! anything is changed.

use super::{
    connection::{Connection, Driver},
    moment::Server,
    pool::{Pool, Then},
    settings::Postgres,
    sql::{Fault, Sql},
};
use crate::{
    Durability, Schema, Span, Store, StoreError, Table, Transaction,
    schema::{STAMP_KEY, Stamp},
    table::META,
};
use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// Several that make the same tables at a time are in each other's way.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Why a database was not opened. Each sentence says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the settings of the database {place} are wrong: {reason}")]
    Settings { place: String, reason: String },
    #[error(
        "the database {place} cannot be reached: {reason}; see that it runs, and that this host and user may enter"
    )]
    Unreachable { place: String, reason: String },
    #[error(
        "the database {place} refuses to make tables: {reason}; give the user the right to, or make the schema for it"
    )]
    Refused { place: String, reason: String },
    #[error(
        "{place} holds {found}, not a database of {wanted}; nothing was touched, choose another schema"
    )]
    Foreign {
        place: String,
        found: String,
        wanted: &'static str,
    },
    #[error(
        "the database {place} has version {found}, this program writes {known}; run the program that fits"
    )]
    OtherVersion {
        place: String,
        found: u32,
        known: u32,
    },
    #[error("the database {place} failed when it was opened")]
    Store {
        place: String,
        #[source]
        source: StoreError,
    },
}

impl Store {
    /// Opens the database, and makes the schema and its tables where there are none.
    ///
    /// # Errors
    /// [`ConnectError`]; [`ConnectError::Unreachable`] is a wait.
    pub fn postgres(postgres: &Postgres, schema: &Schema) -> Result<Self, ConnectError> {
        let place = postgres.place();
        let wrong = |reason| ConnectError::Settings {
            place: place.clone(),
            reason,
        };
        let driver = Driver::new(postgres).map_err(wrong)?;
        let pool = Pool::new(driver, postgres.connections);
        let sql = Sql::of(&postgres.schema);
        let tables: BTreeSet<Table> = schema.tables.iter().copied().chain([META]).collect();
        let mut attempt = 1;
        loop {
            let made = pool.with(|connection| {
                let made = make(&pool.driver, connection, &sql, &postgres.schema, &tables);
                let then = if made.is_ok() {
                    Then::Keep
                } else {
                    Then::Close
                };
                (made, then)
            });
            match made.and_then(|made| made) {
                Ok(()) => break,
                Err(Fault::Lost(reason)) => {
                    return Err(ConnectError::Unreachable { place, reason });
                }
                Err(Fault::Refused(reason)) if attempt >= ATTEMPTS => {
                    return Err(ConnectError::Refused { place, reason });
                }
                Err(_) => thread::sleep(PAUSE),
            }
            attempt += 1;
        }
        let store = Self::new(Arc::new(Server { pool, sql, tables }), Uuid::nil());
        let stamp = store.transact(Durability::Synced, |t| stamp(t, schema));
        let stamp = match stamp {
            Ok(Ok(stamp)) => stamp,
            Ok(Err(Strangers)) => {
                return Err(ConnectError::Foreign {
                    place,
                    found: "records of another program".to_owned(),
                    wanted: schema.owner,
                });
            }
            Err(source) => return Err(ConnectError::Store { place, source }),
        };
        if stamp.owner != schema.owner {
            return Err(ConnectError::Foreign {
                place,
                found: format!("a database of {}", stamp.owner),
                wanted: schema.owner,
            });
        }
        if stamp.version != schema.version() {
            return Err(ConnectError::OtherVersion {
                place,
                found: stamp.version,
                known: schema.version(),
            });
        }
        Ok(store.with_id(stamp.id.unwrap_or_default()))
    }
}

/// There are records, and nothing says whose.
struct Strangers;

/// The stamp of the database; a new one gets its own.
fn stamp(t: &mut Transaction<'_>, schema: &Schema) -> Result<Result<Stamp, Strangers>, StoreError> {
    let record = t.get(META, STAMP_KEY)?;
    if let Some(stamp) = record.json()? {
        return Ok(Ok(stamp));
    }
    for table in schema.tables {
        if !t.scan(*table, &Span::all(), 1)?.is_empty() {
            return Ok(Err(Strangers));
        }
    }
    let stamp = Stamp {
        owner: schema.owner.to_owned(),
        version: schema.version(),
        id: Some(Uuid::new_v4()),
    };
    t.put_json(&record, &stamp)?;
    Ok(Ok(stamp))
}

/// Makes what is missing only: a user that may not make tables can work with those that are
/// there.
fn make(
    driver: &Driver,
    connection: &Connection,
    sql: &Sql,
    schema: &str,
    tables: &BTreeSet<Table>,
) -> Result<(), Fault> {
    let name = schema.to_owned();
    let (there, known) = driver.ask(connection, |client| async move {
        let named: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::TEXT)];
        let there = !client.query_typed(Sql::SCHEMAS, &named).await?.is_empty();
        let rows = client.query_typed(Sql::TABLES, &named).await?;
        let names = rows.iter().map(|row| row.try_get(0));
        let names = names.collect::<Result<BTreeSet<String>, _>>()?;
        Ok((there, names))
    })?;
    let mut orders = Vec::new();
    if !there {
        orders.push(sql.make_schema());
    }
    if !known.contains(Sql::COMMITS) {
        orders.push(sql.make_commits());
    }
    for table in tables {
        if !known.contains(table.0) {
            orders.push(sql.make_table(*table));
        }
    }
    // where tables are spread by hash of the key unless one says otherwise; others know no such
    // setting
    let _: Result<(), _> = driver.ask(connection, |client| async move {
        client
            .batch_execute("SET yb_use_hash_splitting_by_default = off")
            .await
    });
    orders.push(sql.forget_numbers());
    for order in orders {
        driver.ask(connection, |client| async move {
            client.batch_execute(&order).await
        })?;
    }
    Ok(())
}
