//! Opens the database that belongs to the home, be it a directory or a server, and refuses every
//! other one: an empty or a wrong database in its place would hand out every number again.

use crate::{
    db::{Db, ServerError},
    policy::{DatabasePlace, PostgresPolicy},
};
use anyhow::Context as _;
use damocles_daemon::{
    belongs::{DatabaseId, Highest},
    database,
    exit::{Exit, Fatal},
};
use damocles_kv::{OpenError, Postgres};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub(crate) const PROGRAM: &str = "damocles-manager";
/// Where the database is unless the operator says otherwise.
const DIRECTORY: &str = "state";
/// A database that cannot be written for so long ends the daemon: a start may heal it.
const PATIENCE: Duration = Duration::from_secs(60);
/// A server that does not answer at the start is waited for so long; then whoever started the
/// daemon hears of it.
const AT_START: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_secs(2);

/// Opens it. Only a home that `daemon init` has begun gets a new one: an empty directory in its
/// place is a disk that is not mounted.
///
/// # Errors
/// A [`Fatal`] that says what to do.
pub async fn open(home: PathBuf, place: DatabasePlace) -> anyhow::Result<Db> {
    let opened = tokio::task::spawn_blocking(move || of(&home, &place)).await;
    opened.context("the database was not opened")?
}

fn of(home: &Path, place: &DatabasePlace) -> anyhow::Result<Db> {
    let id = DatabaseId::of(home);
    let may_be_made = id.may_be_made()?;
    let in_directory = if may_be_made {
        Db::open
    } else {
        Db::open_existing
    };
    let on_server = |postgres: &Postgres| answering(postgres, may_be_made);
    let (db, named) = opened(home, place, &id, in_directory, on_server)?;
    id.check(&named, &db.id().to_string())?;
    let highest = Highest::of(home)?;
    let known = Db::numbers_of(&db.highest_numbers()?);
    let forgotten = highest.check(&named, |kind| known.get(kind).copied().unwrap_or(0))?;
    if !forgotten.is_empty() {
        db.raise_numbers(&forgotten)?;
        highest.settled()?;
        tracing::warn!(
            ?forgotten,
            "an older database is used, as was allowed; numbers go on after the highest that was handed out"
        );
    }
    Ok(db.with_highest(Arc::new(highest))?)
}

/// The directory of a database that is one.
pub fn directory(home: &Path, configured: Option<&Path>) -> PathBuf {
    configured.map_or_else(|| home.join(DIRECTORY), Path::to_owned)
}

/// Opens the database that the home has, of whatever version it is, and changes nothing in it.
///
/// # Errors
/// A [`Fatal`] that says what to do.
pub fn as_it_is(home: &Path, place: &DatabasePlace) -> Result<Db, Fatal> {
    let id = DatabaseId::of(home);
    let (db, named) = opened(home, place, &id, Db::as_it_is, Db::on_server_as_it_is)?;
    id.expect(&named, &db.id().to_string())?;
    Ok(db)
}

/// The database at that place, opened in one of these ways, and what the place is called.
fn opened(
    home: &Path,
    place: &DatabasePlace,
    id: &DatabaseId,
    in_directory: impl Fn(&Path) -> Result<Db, OpenError>,
    on_server: impl Fn(&Postgres) -> Result<Db, ServerError>,
) -> Result<(Db, String), Fatal> {
    let missing = |named: &str| {
        let init = format!("{PROGRAM} --home {} daemon init", home.display());
        id.missing(named, &init)
    };
    match place {
        DatabasePlace::Directory { dir, memory } => {
            memory.set();
            let dir = directory(home, dir.as_deref());
            let named = dir.display().to_string();
            match in_directory(&dir) {
                Err(OpenError::Missing { .. }) => Err(missing(&named)),
                opened => Ok((opened.map_err(unopened)?, named)),
            }
        }
        DatabasePlace::Server(server) => {
            let named = place.to_string();
            match on_server(&reached(server)?) {
                Err(ServerError::Missing { .. }) => Err(missing(&named)),
                opened => Ok((opened.map_err(unreached)?, named)),
            }
        }
    }
}

/// How the server is reached, with the password from its file.
///
/// # Errors
/// [`Exit::Config`] when that cannot be read.
pub fn reached(server: &PostgresPolicy) -> Result<Postgres, Fatal> {
    let password = server.password_file.as_deref().map(password).transpose()?;
    Ok(server.postgres(password))
}

/// The server's answer, once it gives one.
fn answering(postgres: &Postgres, may_be_made: bool) -> Result<Db, ServerError> {
    let began = Instant::now();
    loop {
        match Db::on_server(postgres, may_be_made) {
            Err(error @ ServerError::Unreachable { .. }) if began.elapsed() < AT_START => {
                tracing::warn!("{error}; trying again");
                thread::sleep(BETWEEN);
            }
            answer => return answer,
        }
    }
}

fn password(file: &Path) -> Result<String, Fatal> {
    let text = fs::read_to_string(file).map_err(|e| {
        Fatal::new(
            Exit::Config,
            format!("the password file {} cannot be read: {e}", file.display()),
        )
        .hint("see Common.DB.Postgres.PasswordFile, and let the daemon's user read it")
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The database as the daemon watches it.
pub fn watched(db: Db) -> database::Watched {
    let probed = db.clone();
    database::Watched {
        trouble: Arc::new(move || {
            db.trouble().map(|trouble| database::Trouble {
                since: trouble.since,
                reason: trouble.reason,
                heals: if trouble.full {
                    Some(database::Cure::Room)
                } else if trouble.away {
                    Some(database::Cure::Return)
                } else {
                    None
                },
            })
        }),
        probe: Arc::new(move || {
            if let Err(error) = probed.probe() {
                tracing::debug!("{error}");
            }
        }),
        patience: Some(PATIENCE),
    }
}

/// Upstream kept its state in Badger databases in the home, or where its configuration says.
/// Beginning anew beside them would lose every sector on its way.
///
/// # Errors
/// [`Exit::Data`] when there is one.
pub fn refuse_upstreams(home: &Path, configured: Option<&Path>) -> Result<(), Fatal> {
    const ANOTHER_HOME: &str = "let the upstream manager finish its sectors, and give this one a home of its own with --home";
    const TAKE_OUT: &str = "let the upstream manager finish its sectors, then take Common.DB.Badger.BaseDir out of this one's configuration";
    let places = [(Some(home), ANOTHER_HOME), (configured, TAKE_OUT)];
    for (place, hint) in places {
        let Some(place) = place else { continue };
        let old = ["meta", "offline_meta", "common"].map(|name| place.join(name).join("MANIFEST"));
        if let Some(manifest) = old.iter().find(|manifest| manifest.exists()) {
            return Err(Fatal::new(
                Exit::Data,
                format!(
                    "{} holds the state of an upstream manager ({}), which this version cannot take over",
                    place.display(),
                    manifest.display()
                ),
            )
            .hint(hint));
        }
    }
    Ok(())
}

/// Why a database in a directory was not opened, with the exit code.
pub fn unopened(error: OpenError) -> Fatal {
    let exit = match &error {
        OpenError::Busy { .. } => Exit::Occupied,
        OpenError::Unwritable { .. } | OpenError::Failing { .. } => Exit::Refused,
        OpenError::Missing { .. }
        | OpenError::Foreign { .. }
        | OpenError::Newer { .. }
        | OpenError::Damaged { .. }
        | OpenError::DamagedLog { .. }
        | OpenError::HalfImported { .. }
        | OpenError::NotEmpty { .. }
        | OpenError::Migration { .. } => Exit::Data,
    };
    with_hint(exit, error.to_string())
}

/// The same of one on a server.
pub fn unreached(error: ServerError) -> Fatal {
    let exit = match &error {
        ServerError::Settings { .. } => Exit::Config,
        ServerError::Unreachable { .. } | ServerError::Store { .. } => Exit::Database,
        ServerError::Refused { .. } => Exit::Refused,
        ServerError::HalfImported { .. }
        | ServerError::NotEmpty { .. }
        | ServerError::Missing { .. }
        | ServerError::Foreign { .. }
        | ServerError::Newer { .. } => Exit::Data,
    };
    with_hint(exit, damocles_types::chain(&error))
}

/// The sentence ends in what to do; here that stands in a line of its own.
pub(crate) fn with_hint(exit: Exit, sentence: String) -> Fatal {
    match sentence.rsplit_once("; ") {
        Some((what, hint)) => Fatal::new(exit, what).hint(hint),
        None => Fatal::new(exit, sentence),
    }
}
