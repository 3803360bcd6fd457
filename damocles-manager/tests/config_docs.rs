//! Documents of configuration and command line cannot lie: the reference pages are generated,
//! the examples load.

use damocles_manager::{cli, config};
use std::{fs, path::PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[track_caller]
fn generated(name: &str, page: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/{name} is out of date; run: UPDATE_DOCS=1 cargo test -p damocles-manager --test config_docs"
    );
}

#[test]
fn the_reference_pages_are_generated() {
    generated("config-manager.md", &config::reference_page());
    generated("cli-manager.md", &cli::reference_page());
}

#[test]
fn every_example_loads() {
    let mut loaded = 0;
    for entry in fs::read_dir(root().join("config-examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("sector-manager") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // words that the demo fills in
        let text = text
            .replace("@NODE@", "/ip4/127.0.0.1/tcp/1234/http")
            .replace("@HOME@", "/tmp")
            .replace("@SECTORS@", "2");
        let config = config::check_text(&path, &text).unwrap_or_else(|e| panic!("{e}"));
        assert!(!config.miners.is_empty(), "{name}");
        loaded += 1;
    }
    assert!(loaded >= 2, "the examples were found");
}

#[test]
fn the_example_names_every_table_of_upstream_that_this_version_reads() {
    let text = fs::read_to_string(root().join("config-examples/sector-manager.cfg")).unwrap();
    for table in [
        "[Common.API]",
        "[[Common.PersistStores]]",
        "[Common.DB]",
        "[Common.Proving]",
        "[[Miners]]",
        "[Miners.Sector]",
        "[Miners.Commitment]",
        "[Miners.Commitment.Pre]",
        "[Miners.Commitment.Pre.Batch]",
        "[Miners.Commitment.Prove]",
        "[Miners.Commitment.Prove.Batch]",
        "[Miners.PoSt]",
        "[Miners.Sealing]",
        "[Miners.SnapUp]",
        "[Miners.Proof]",
    ] {
        assert!(text.contains(table), "{table}");
    }
}
