//! Documents of the command line and of metrics cannot lie: they are printed from the program.

use damocles_daemon::pages;
use damocles_worker::{cli, metrics};
use std::{fs, path::PathBuf};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

#[track_caller]
fn generated(name: &str, page: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path(name), page).unwrap();
    }
    assert!(
        fs::read_to_string(path(name)).unwrap_or_default() == page,
        "docs/{name} is out of date; run: UPDATE_DOCS=1 cargo test -p damocles-worker --test pages"
    );
}

#[test]
fn the_pages_of_commands_and_metrics_are_generated() {
    generated("cli-worker.md", &cli::reference_page());
    let page = fs::read_to_string(path("metrics.md")).unwrap();
    let page = pages::with_part(&page, "damocles-worker", &metrics::table());
    generated("metrics.md", &page);
}
