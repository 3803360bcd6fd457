//! The configuration file: image, checks, and the policies made of it.
//!
//! `raw` is the image of the file with upstream's key names, `legacy` lists upstream's keys
//! that this version knows but does not act upon, `checked` turns the image into policies and
//! finds all faults at once. Nothing outside this room knows how a policy was written.

mod checked;
mod difference;
mod database;
mod duration;
mod endpoint;
mod ext_prover;
mod fil;
mod home;
mod legacy;
mod pieces;
mod raw;
mod secrets;
mod sending;
mod stores;
mod summary;
mod venus;
mod wallet;

pub use checked::{Config, check_file, check_text, examine};
pub use damocles_daemon::config::{Counts, Difference};
pub use difference::{differences, with_secrets};
pub use ext_prover::{EXT_PROVER_FILE, ExtProvers, ext_provers, ext_provers_text};
pub use home::{CONFIG_FILE, HOME_VARS, config_dir, home_dir};
pub use secrets::Secrets;
pub use wallet::wallet_file;

use damocles_daemon::config::{commented_default, markdown};

/// A duration as the file and the command line write it (`"1h30m"`).
///
/// # Errors
/// One sentence.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<duration::GoDuration>()
        .map(|d| d.0)
        .map_err(|e| e.to_string())
}

/// The text of a duration, as Go writes it: `1h0m0s`.
pub fn duration_text(time: std::time::Duration) -> String {
    duration::GoDuration(time).to_string()
}

/// An amount as the file and the command line write it (`"0.5 FIL"`), in attoFIL.
///
/// # Errors
/// One sentence.
pub fn attofil(text: &str) -> Result<String, String> {
    let amount: fil::Fil = text.parse().map_err(|e: fil::FilError| e.to_string())?;
    let amount = amount.0.ok_or_else(|| "an amount is missing".to_owned())?;
    Ok(amount.atto().to_string())
}

/// The file that `daemon init` writes: every key with its default, commented out.
pub fn default_file() -> String {
    format!("# Default config:\n{}", commented_default::<raw::Raw>())
}

/// The reference page `docs/config-manager.md`.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration of damocles-manager\n\n\
         This page is generated from the declaration in `damocles-manager/src/config/raw.rs` \
         (`UPDATE_DOCS=1 cargo test -p damocles-manager --test config_docs`).\n\n\
         The file is `sector-manager.cfg` in the home, or in `--conf-dir`. Keys match whatever their case. \
         An unknown key is an error. `damocles-manager daemon run --config-check` checks the file and starts nothing.\n\n",
    );
    page.push_str(&markdown::<raw::Raw>());
    page.push_str("## Keys of upstream that this version does not act upon\n\n");
    page.push_str("They load; each gives a warning. Those marked *refused when on* are an error when they are switched on, because leaving them out would change what happens on chain or where data goes.\n\n| key | |\n|---|---|\n");
    for key in legacy::LEGACY {
        let refused = match key.kept {
            damocles_daemon::config::Kept::Ignored => "",
            damocles_daemon::config::Kept::RefusedWhenOn => "; *refused when on*",
        };
        page.push_str(&format!("| `{}` | {}{refused} |\n", key.path, key.note));
    }
    page
}
