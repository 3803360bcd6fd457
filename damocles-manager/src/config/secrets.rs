//! What a configuration keeps to itself: enough to tell whether it is another one, and no more.

use super::raw;
use sha2::{Digest as _, Sha256};

/// Tokens and passwords. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    pub(super) fn of(common: &raw::Common) -> Self {
        let api = &common.api;
        let one = [&api.chain, &api.messager, &api.market]
            .into_iter()
            .flatten();
        let all = one
            .chain(&api.gateway)
            .chain(&api.chain_fallbacks)
            .chain([&api.token, &common.db.postgres.dsn]);
        Self(all.cloned().collect())
    }

    /// Of the same secrets the same, with the same salt, in hex.
    pub fn fingerprint(&self, salt: &str) -> String {
        let mut sum = Sha256::new();
        for text in [salt].into_iter().chain(self.0.iter().map(String::as_str)) {
            sum.update((text.len() as u64).to_be_bytes());
            sum.update(text);
        }
        hex::encode(sum.finalize())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::check_text;
    use std::path::Path;

    #[test]
    fn another_token_is_another_fingerprint_and_is_nowhere_to_be_seen() {
        let of = |token: &str| {
            let text = format!(
                "[Common.API]\nChain = \"/ip4/127.0.0.1/tcp/1234/http\"\nToken = {token:?}\n[[Miners]]\nActor = 1000\n"
            );
            check_text(Path::new("file"), &text).unwrap()
        };
        let (one, same, other) = (of("a.b.one"), of("a.b.one"), of("a.b.other"));
        assert_eq!(one.effective, other.effective);
        let print = |config: &crate::config::Config, salt| config.secrets.fingerprint(salt);
        assert_eq!(print(&one, "salt"), print(&same, "salt"));
        assert_ne!(print(&one, "salt"), print(&other, "salt"));
        assert_ne!(print(&one, "salt"), print(&one, "pepper"));
        assert!(!format!("{one:?}").contains("a.b.one"), "{one:?}");
    }
}
