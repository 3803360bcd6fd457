//! Persist stores as an operator has them: marked, so that one that is away is told from an empty
//! one; and what may befall them.

use anyhow::{Context, Result, ensure};
use damocles_e2e::{house::Role, process};
use std::{
    fs,
    path::{Path, PathBuf},
};

const MARK: &str = ".damocles-store";

/// Marks the store.
pub(crate) fn mark(store: &Path) -> Result<()> {
    let mut mark = process::command(Role::Worker.program())?;
    mark.args(["store", "file-init", "-l"]).arg(store);
    let out = mark.output()?;
    ensure!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

fn beside(store: &Path, what: &str) -> Result<PathBuf> {
    let name = store.file_name().context("a store has a name")?;
    let name = format!("{}.{what}", name.to_string_lossy());
    Ok(store.with_file_name(name))
}

/// Whoever opens the store's mark waits, as on a mount whose server is gone.
pub(crate) fn hang(store: &Path) -> Result<()> {
    let mark = store.join(MARK);
    fs::rename(&mark, beside(store, "mark")?)?;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    Ok(rustix::fs::mkfifoat(rustix::fs::CWD, &mark, mode)?)
}

/// Those who wait come back with nothing; the mark is there again.
pub(crate) fn unhang(store: &Path) -> Result<()> {
    let mark = store.join(MARK);
    // read and write, so that it opens whoever stands at the other end
    let both = fs::File::options().read(true).write(true).open(&mark)?;
    fs::rename(beside(store, "mark")?, &mark)?;
    drop(both);
    Ok(())
}

/// The store's place is empty, as a mount point without its mount.
pub(crate) fn unmount(store: &Path) -> Result<()> {
    fs::rename(store, beside(store, "away")?)?;
    Ok(fs::create_dir(store)?)
}

/// It is there again.
pub(crate) fn mount(store: &Path) -> Result<()> {
    fs::remove_dir(store)?;
    Ok(fs::rename(beside(store, "away")?, store)?)
}
