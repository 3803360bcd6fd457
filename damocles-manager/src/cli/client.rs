//! How a command reaches the manager, and what its failures mean to the person who typed it.

use crate::rpc::LONG;
use clap::Args;
use damocles_api::{
    MANAGER_DEFAULT_PORT, MANAGER_RPC_PATH,
    code::{NOT_PERMITTED, SECTOR_STATE_NOT_FOUND, SECTOR_UNKNOWN},
    lists::{self, Page, Want},
};
use damocles_daemon::{
    exit::{Exit, Fatal},
    patience, tls,
};
use damocles_types::chain;
use jsonrpsee::{
    core::ClientError,
    http_client::{HeaderMap, HeaderValue, HttpClient, transport},
    types::error::METHOD_NOT_FOUND_CODE,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub(super) const TIME_LIMIT: Duration = Duration::from_secs(60);
const MAX_ANSWER: u32 = 512 << 20;

/// Which manager, and with what right.
#[derive(Args, Debug)]
pub(super) struct Reach {
    /// The manager's address: host:port, URL or multiaddr [default: what <home>/api says, or 127.0.0.1:1789]
    #[arg(
        long,
        alias = "listen",
        global = true,
        env = "DAMOCLES_MANAGER_API",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    api: Option<String>,
    /// A token, for a manager on another host
    #[arg(
        long,
        global = true,
        env = "DAMOCLES_MANAGER_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// File with the authority (PEM) that vouches for the manager's certificate, when the system does not know it
    #[arg(
        long,
        global = true,
        env = "DAMOCLES_MANAGER_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    ca: Option<PathBuf>,
}

/// A manager to ask.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) rpc: HttpClient,
    url: String,
    /// The home in which no daemon said where it listens, when the address is the usual one.
    guessed_for: Option<PathBuf>,
}

impl Reach {
    /// Whether a person said which manager is meant.
    pub(super) fn is_named(&self) -> bool {
        self.api.is_some()
    }

    /// Lets `work` ask the manager; when that takes long, the person hears who is waited for.
    pub(super) async fn ask(
        self,
        home: &Path,
        work: impl AsyncFnOnce(&Manager) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.ask_within(TIME_LIMIT, home, work).await
    }

    /// The same for a question whose answer may take a day.
    pub(super) async fn ask_patiently(
        self,
        home: &Path,
        work: impl AsyncFnOnce(&Manager) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.ask_within(LONG, home, work).await
    }

    async fn ask_within(
        self,
        limit: Duration,
        home: &Path,
        work: impl AsyncFnOnce(&Manager) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let manager = self.connect(limit, home)?;
        let whom = format!("the manager at {}", manager.url);
        patience::told(&whom, work(&manager)).await
    }

    fn connect(self, limit: Duration, home: &Path) -> Result<Manager, Fatal> {
        let told = match self.api {
            Some(given) => Some(given),
            None => std::fs::read_to_string(home.join(crate::rpc::API_FILE))
                .map(|text| text.trim().to_owned())
                .ok(),
        };
        let guessed_for = told.is_none().then(|| home.to_owned());
        let address = told.unwrap_or_else(|| format!("127.0.0.1:{MANAGER_DEFAULT_PORT}"));
        let url = url(&address).ok_or_else(|| {
            Fatal::new(
                Exit::Usage,
                format!("{address:?} is not an address of a manager"),
            )
            .hint("write for example --api 127.0.0.1:1789")
        })?;
        Ok(Manager {
            rpc: client(&url, self.token.as_deref(), self.ca.as_deref(), limit)?,
            url,
            guessed_for,
        })
    }
}

/// A client with limits on time and size.
pub(super) fn client(
    url: &str,
    token: Option<&str>,
    ca: Option<&Path>,
    limit: Duration,
) -> Result<HttpClient, Fatal> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Fatal::new(Exit::Usage, "the token holds characters that no token has"))?;
        headers.insert("authorization", value);
    }
    let builder = HttpClient::builder()
        .set_headers(headers)
        .request_timeout(limit)
        .max_response_size(MAX_ANSWER);
    let builder = if url.starts_with("https://") {
        builder.with_custom_cert_store(tls::caller(ca)?)
    } else {
        builder
    };
    builder.build(url).map_err(|e| {
        Fatal::new(
            Exit::Usage,
            format!("{url} is not an address of a daemon: {e}"),
        )
    })
}

/// The RPC address in whatever form it was given.
pub(super) fn url(address: &str) -> Option<String> {
    let encrypted = ["https://", "wss://"]
        .iter()
        .any(|s| address.starts_with(s))
        || (address.starts_with('/') && address.split('/').any(|p| ["https", "wss"].contains(&p)));
    let scheme = if encrypted { "https" } else { "http" };
    let host = if let Some(rest) = address.strip_prefix('/') {
        let parts: Vec<&str> = rest.split('/').collect();
        match parts[..] {
            ["ip6", ip, "tcp", port, ..] => format!("[{ip}]:{port}"),
            ["ip4" | "dns" | "dns4" | "dns6", host, "tcp", port, ..] => format!("{host}:{port}"),
            _ => return None,
        }
    } else {
        let bare = ["http://", "ws://", "https://", "wss://"]
            .iter()
            .find_map(|s| address.strip_prefix(s))
            .unwrap_or(address);
        let bare = bare
            .trim_end_matches('/')
            .trim_end_matches(MANAGER_RPC_PATH);
        match bare.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None => bare.to_owned(),
        }
    };
    let host = match host.rsplit_once(':') {
        None if encrypted => format!("{host}:443"),
        _ => host,
    };
    let (name, port) = host.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let name = match name {
        "" | "/" => return None,
        "0.0.0.0" | "[::]" => "127.0.0.1",
        name => name,
    };
    Some(format!("{scheme}://{name}:{port}{MANAGER_RPC_PATH}"))
}

impl Manager {
    /// The first `most` items of a list, page after page.
    ///
    /// # Errors
    /// What the manager answers to a page.
    pub(super) async fn pages<T>(
        &self,
        most: usize,
        ask: impl AsyncFn(Want) -> Result<Page<T>, ClientError>,
    ) -> Result<Vec<T>, Fatal> {
        let mut found = Vec::new();
        let mut want = Want::default();
        while found.len() < most {
            let missing = u32::try_from(most - found.len()).unwrap_or(u32::MAX);
            want.limit = missing.min(lists::MOST);
            let page = ask(want.clone()).await.map_err(|e| self.failed(e))?;
            found.extend(page.items);
            want.cursor = page.next;
            if want.cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// What a failed call means, for `what` was asked.
    pub(super) fn failed(&self, error: ClientError) -> Fatal {
        let fatal = fatal(error, "manager", &self.url);
        if fatal.exit != Exit::Unreachable || fatal.hint.is_some() {
            return fatal;
        }
        let Some(home) = &self.guessed_for else {
            return fatal
                .hint("is it running? Name another address with --api, or its home with --home");
        };
        Fatal::new(
            Exit::Unreachable,
            format!(
                "no manager runs in {}: it has no file `{}`, and nothing answers at {}",
                home.display(),
                crate::rpc::API_FILE,
                self.url
            ),
        )
        .hint("start it (damocles-manager daemon run), name its home with --home, or its address with --api")
    }
}

/// The sentence, hint and exit code of a failed call. Who cannot be reached gets no hint here:
/// the caller knows how else the address could have been named.
pub(super) fn fatal(error: ClientError, who: &str, url: &str) -> Fatal {
    match error {
        ClientError::Call(object) => {
            let message = object.message();
            match object.code() {
                NOT_PERMITTED => Fatal::new(Exit::Refused, message).hint("give a token that allows it with --token"),
                SECTOR_STATE_NOT_FOUND | SECTOR_UNKNOWN => Fatal::new(Exit::NotFound, message),
                METHOD_NOT_FOUND_CODE => Fatal::new(Exit::Refused, format!("the {who} at {url} does not know this: {message}"))
                    .hint("it may be of another version; compare with `damocles-manager version`"),
                _ if message.contains("not found") => Fatal::new(Exit::NotFound, message),
                _ => Fatal::new(Exit::Refused, format!("the {who} says: {message}")),
            }
        }
        ClientError::Transport(cause) => match cause.downcast_ref::<transport::Error>() {
            Some(transport::Error::Rejected { status_code: 401 | 403 }) => Fatal::new(
                Exit::Refused,
                format!("the {who} at {url} turned this caller away: it needs a token of that manager"),
            )
            .hint("make one on its host with `damocles-manager util auth create-token --perm admin`, and give it with --token"),
            _ => unreachable(who, url, &chain(cause.as_ref())),
        },
        ClientError::RequestTimeout => Fatal::new(
            Exit::Unreachable,
            format!("the {who} at {url} gave no answer within {} s", TIME_LIMIT.as_secs()),
        )
        .hint("look into its log"),
        other => Fatal::new(Exit::Unexpected, format!("the {who} at {url} answered strangely: {other}")),
    }
}

/// Who cannot be reached, and why. A certificate that is not believed has a hint of its own.
fn unreachable(who: &str, url: &str, why: &str) -> Fatal {
    const UNBELIEVED: &str = "invalid peer certificate";
    if why.contains(UNBELIEVED) {
        return Fatal::new(
            Exit::Refused,
            format!("the {who} at {url} is not believed to be what it says: {why}"),
        )
        .hint(
            "name it as its certificate does, and give the authority that vouches for it with --ca",
        );
    }
    Fatal::new(
        Exit::Unreachable,
        format!("the {who} at {url} cannot be reached: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address() {
        for text in [
            ":1789",
            "127.0.0.1:1789",
            "0.0.0.0:1789",
            "http://127.0.0.1:1789",
            "http://127.0.0.1:1789/rpc/v0",
            "ws://127.0.0.1:1789/rpc/v0/",
            "/ip4/127.0.0.1/tcp/1789",
            "/ip4/127.0.0.1/tcp/1789/http",
        ] {
            assert_eq!(
                url(text).as_deref(),
                Some("http://127.0.0.1:1789/rpc/v0"),
                "{text}"
            );
        }
        assert_eq!(
            url("/ip6/::1/tcp/1").as_deref(),
            Some("http://[::1]:1/rpc/v0")
        );
        for (text, expected) in [
            ("https://m.example", "https://m.example:443/rpc/v0"),
            (
                "wss://m.example:1789/rpc/v0",
                "https://m.example:1789/rpc/v0",
            ),
            (
                "/dns4/m.example/tcp/1789/https",
                "https://m.example:1789/rpc/v0",
            ),
        ] {
            assert_eq!(url(text).as_deref(), Some(expected), "{text}");
        }
        for bad in ["", "host", "host:port", "/unix/x", "https"] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod over_tls;
