//! `daemon init`: the first configuration file, and the word that the first start may make a
//! database.

use crate::config::{CONFIG_FILE, default_file};
use damocles_daemon::{
    belongs::DatabaseId,
    exit::{Exit, Fatal},
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

pub(super) fn run(home: &Path) -> anyhow::Result<()> {
    let path = home.join(CONFIG_FILE);
    let refused = |what: &str, e: std::io::Error| {
        Fatal::new(Exit::Refused, format!("{what} {}: {e}", path.display()))
            .hint("let this user write there, or choose another directory with --home")
    };
    fs::create_dir_all(home).map_err(|e| refused("cannot make the directory of", e))?;
    let begun = DatabaseId::of(home).begin()?;
    // it will hold the token with which the node signs for us
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let mut file = match made {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && begun => {
            println!(
                "{} is there already and was left as it is; the first start makes a database",
                path.display()
            );
            return Ok(());
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Fatal::new(
                Exit::Refused,
                format!("{} exists already and was left as it is", path.display()),
            )
            .hint("edit it, or move it away first")
            .into());
        }
        Err(e) => return Err(refused("cannot write", e).into()),
    };
    file.write_all(default_file().as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|e| refused("cannot write", e))?;
    println!(
        "{} written; set Common.API.Chain, a [[Common.PersistStores]] and a [[Miners]] in it, then: damocles-manager daemon run --config-check",
        path.display()
    );
    Ok(())
}
