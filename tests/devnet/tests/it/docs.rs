//! docs/devnet.md is printed from the table of methods; `UPDATE_DOCS=1` writes it.

use std::path::Path;

use damocles_devnet::rpc::table;

#[test]
fn the_page_of_the_devnet_is_the_one_that_the_code_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/devnet.md");
    let page = table::page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, page,
        "run UPDATE_DOCS=1 cargo test -p damocles-devnet --test it docs"
    );
}
