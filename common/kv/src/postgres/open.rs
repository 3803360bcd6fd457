//! Opening: the tables are made where they are missing, and whose they are is looked at before
//! anything is changed.

use super::{
    connection::{Connection, Driver},
    pool::{Pool, Then},
    server::Server,
    settings::Postgres,
    sql::{FSYNC, Fault, Sql},
};
use crate::{
    Durability, Import, Schema, Stamp, Store, StoreError, Table, Transaction,
    import::{is_empty, is_half},
    migrate::migrate,
    stamp::STAMP_KEY,
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
    #[error(
        "there are no records of {wanted} in {place}; bring the database back, or see that its address and schema are right"
    )]
    Missing { place: String, wanted: &'static str },
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
        "the database {place} is half imported; start `db import` again with the file, which begins anew"
    )]
    HalfImported { place: String },
    #[error(
        "the database {place} is not empty; import into a schema in which there is nothing yet"
    )]
    NotEmpty { place: String },
    #[error(
        "the database {place} has version {found}, this program knows up to {known}; run a newer program on it"
    )]
    Newer {
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
        open(postgres, schema, true, true)
    }

    /// Opens the database, and makes none: what is not there is lost, or somewhere else.
    ///
    /// # Errors
    /// [`ConnectError::Missing`] when there is none; those of [`Self::postgres`].
    pub fn postgres_existing(postgres: &Postgres, schema: &Schema) -> Result<Self, ConnectError> {
        open(postgres, schema, false, true)
    }

    /// The same of whatever version it is: its records stay as they are.
    ///
    /// # Errors
    /// Those of [`Self::postgres_existing`].
    pub fn postgres_as_it_is(postgres: &Postgres, schema: &Schema) -> Result<Self, ConnectError> {
        open(postgres, schema, false, false)
    }

    /// Makes a database that is to get the records of another one, and will be what `stamp` says.
    /// One that was half imported is begun anew.
    ///
    /// # Errors
    /// [`ConnectError::NotEmpty`] when there is one; those of [`Self::postgres`].
    pub fn postgres_import(
        postgres: &Postgres,
        schema: &Schema,
        stamp: Stamp,
    ) -> Result<Import, ConnectError> {
        let place = postgres.place();
        let store = connect(postgres, schema, true)?;
        match Import::begin(store, schema, stamp) {
            Ok(Some(import)) => Ok(import),
            Ok(None) => Err(ConnectError::NotEmpty { place }),
            Err(source) => Err(ConnectError::Store { place, source }),
        }
    }
}

/// The server with all tables in it, without a look at what is in them.
fn connect(postgres: &Postgres, schema: &Schema, may_make: bool) -> Result<Store, ConnectError> {
    let server = server(postgres, schema, may_make)?;
    Ok(Store::new(Arc::new(server), Uuid::nil()))
}

pub(super) fn server(
    postgres: &Postgres,
    schema: &Schema,
    may_make: bool,
) -> Result<Server, ConnectError> {
    let place = postgres.place();
    let wrong = |reason| ConnectError::Settings {
        place: place.clone(),
        reason,
    };
    let driver = Driver::new(postgres).map_err(wrong)?;
    let pool = Pool::new(driver, postgres.connections);
    let sql = Sql::of(&postgres.schema);
    let mut attempt = 1;
    loop {
        let made = pool.with(|connection| {
            let made = make(&pool.driver, connection, &sql, postgres, schema, may_make);
            let then = if made.is_ok() {
                Then::Keep
            } else {
                Then::Close
            };
            (made, then)
        });
        match made.and_then(|made| made) {
            Ok(Made::All) => break,
            Ok(Made::Not(refused)) => return Err(refused),
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
    Ok(Server::new(pool, sql, tables(schema).collect()))
}

fn open(
    postgres: &Postgres,
    schema: &Schema,
    may_make: bool,
    up_to_date: bool,
) -> Result<Store, ConnectError> {
    let place = postgres.place();
    let store = connect(postgres, schema, may_make)?;
    let stamp = store.transact(Durability::Synced, |t| stamp(t, schema, may_make));
    let stamp = match stamp {
        Ok(Found::Ours(stamp)) => stamp,
        Ok(Found::Half) => return Err(ConnectError::HalfImported { place }),
        Ok(Found::Nothing) => return Err(missing(&place, schema)),
        Ok(Found::Strangers) => return Err(strangers(&place, schema)),
        Err(source) => return Err(ConnectError::Store { place, source }),
    };
    judge(&place, schema, &stamp)?;
    if up_to_date && let Err(source) = migrate(&store, schema, stamp.version) {
        return Err(ConnectError::Store { place, source });
    }
    Ok(store
        .with_id(stamp.id.unwrap_or_default())
        .of_version(schema.version()))
}

fn missing(place: &str, schema: &Schema) -> ConnectError {
    ConnectError::Missing {
        place: place.to_owned(),
        wanted: schema.owner,
    }
}

fn strangers(place: &str, schema: &Schema) -> ConnectError {
    ConnectError::Foreign {
        place: place.to_owned(),
        found: "records of another program".to_owned(),
        wanted: schema.owner,
    }
}

/// Whether the stamp is one of this program's, of a version that it knows.
fn judge(place: &str, schema: &Schema, stamp: &Stamp) -> Result<(), ConnectError> {
    if stamp.owner != schema.owner {
        return Err(ConnectError::Foreign {
            place: place.to_owned(),
            found: format!("a database of {}", stamp.owner),
            wanted: schema.owner,
        });
    }
    if stamp.version > schema.version() {
        return Err(ConnectError::Newer {
            place: place.to_owned(),
            found: stamp.version,
            known: schema.version(),
        });
    }
    Ok(())
}

/// Whose the records are.
enum Found {
    Ours(Stamp),
    /// Somebody has begun to import it.
    Half,
    /// There are records, and nothing says whose.
    Strangers,
    /// There are none, and none may be made.
    Nothing,
}

/// The stamp of the database; a new one gets its own.
fn stamp(t: &mut Transaction<'_>, schema: &Schema, may_make: bool) -> Result<Found, StoreError> {
    let record = t.get(META, STAMP_KEY)?;
    if let Some(stamp) = record.json()? {
        return Ok(Found::Ours(stamp));
    }
    if is_half(t)? {
        return Ok(Found::Half);
    }
    if !is_empty(t, schema)? {
        return Ok(Found::Strangers);
    }
    if !may_make {
        return Ok(Found::Nothing);
    }
    let stamp = Stamp {
        owner: schema.owner.to_owned(),
        version: schema.version(),
        id: Some(Uuid::new_v4()),
    };
    t.put_json(&record, &stamp)?;
    Ok(Found::Ours(stamp))
}

/// Whether all that is needed is there now.
enum Made {
    All,
    /// It is somebody else's, or nothing is there and nothing may be made. Nothing was.
    Not(ConnectError),
}

/// Makes what is missing only: a user that may not make tables can work with those that are
/// there. Looks first whose they are.
fn make(
    driver: &Driver,
    connection: &Connection,
    sql: &Sql,
    postgres: &Postgres,
    schema: &Schema,
    may_make: bool,
) -> Result<Made, Fault> {
    let place = postgres.place();
    let name = postgres.schema.clone();
    let (there, known) = driver.ask(connection, |client| async move {
        let named: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::TEXT)];
        let there = !client.query_typed(Sql::SCHEMAS, &named).await?.is_empty();
        let rows = client.query_typed(Sql::TABLES, &named).await?;
        let names = rows.iter().map(|row| row.try_get(0));
        let names = names.collect::<Result<BTreeSet<String>, _>>()?;
        Ok((there, names))
    })?;
    if known.contains(META.0) {
        let question = sql.get(META);
        let stamp: Option<Vec<u8>> = driver.ask(connection, |client| async move {
            let key: [(&(dyn ToSql + Sync), Type); 1] = [(&STAMP_KEY, Type::BYTEA)];
            let row = client.query_typed_opt(&question, &key).await?;
            row.map(|row| row.try_get(1)).transpose()
        })?;
        // what is no stamp is told by the transaction that wants one
        let stamp = stamp.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(Err(refused)) = stamp.map(|stamp| judge(&place, schema, &stamp)) {
            return Ok(Made::Not(refused));
        }
    } else if !may_make {
        return Ok(Made::Not(missing(&place, schema)));
    }
    let tables: BTreeSet<Table> = tables(schema).collect();
    let ours = |name: &String| name == Sql::COMMITS || tables.iter().any(|t| t.0 == name);
    if !known.contains(META.0) && !known.iter().all(ours) {
        return Ok(Made::Not(strangers(&place, schema)));
    }
    let mut orders = Vec::new();
    if !there {
        orders.push(sql.make_schema());
    }
    if !known.contains(Sql::COMMITS) {
        orders.push(sql.make_commits());
    }
    for table in tables {
        if !known.contains(table.0) {
            orders.push(sql.make_table(table));
        }
    }
    // where tables are spread by hash of the key unless one says otherwise; others know no such
    // setting
    let _: Result<(), _> = driver.ask(connection, |client| async move {
        client
            .batch_execute("SET yb_use_hash_splitting_by_default = off")
            .await
    });
    // one that does not know the question is not asked to answer it
    let fsync = driver.ask(connection, |client| async move {
        let rows = client.query_typed(FSYNC, &[]).await?;
        rows.first()
            .map_or(Ok(None), |row| row.try_get::<_, Option<String>>(0))
    });
    if fsync.ok().flatten().is_some_and(|fsync| fsync == "off") {
        tracing::warn!(
            "the database server runs with fsync = off: what it acknowledged is lost when its host loses power; switch it on"
        );
    }
    orders.push(sql.forget_numbers());
    for order in orders {
        driver.ask(connection, |client| async move {
            client.batch_execute(&order).await
        })?;
    }
    Ok(Made::All)
}

fn tables(schema: &Schema) -> impl Iterator<Item = Table> {
    schema.tables.iter().copied().chain([META])
}
