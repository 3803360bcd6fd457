//! Blocking HTTP for children: pieces and parameters. Every operation has a time-out.

use std::{sync::Once, time::Duration};

/// One connect, or one wait for more bytes.
const CONNECT: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(60);

/// A client that does not follow redirects by itself unless told so.
pub(crate) fn client(follow: bool) -> reqwest::Result<reqwest::blocking::Client> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // an error means that somebody installed one before, which serves as well
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let policy = if follow {
        reqwest::redirect::Policy::default()
    } else {
        reqwest::redirect::Policy::none()
    };
    reqwest::blocking::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(STALL)
        .tcp_keepalive(Duration::from_secs(120))
        .redirect(policy)
        .build()
}
