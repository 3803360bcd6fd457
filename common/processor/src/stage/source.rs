//! Where a piece's bytes come from: a local file, or a URL of a piece store that may send us
//! on to a market.

use crate::{http, serve::TaskError};
use reqwest::{blocking::Response, header};
use std::{
    fs::{self, File},
    path::Path,
};

/// The market's token. Never logged.
const TOKEN_ENV: &str = "PIECE_FETCHER_TOKEN";
/// Which of the market's APIs is meant, in the words of upstream's gateway.
const API_HEADER: (&str, &str) = ("X-VENUS-API-NAMESPACE", "v1.IMarket");

/// A regular file that has at least the payload.
pub(super) fn local(path: &Path, payload: u64) -> Result<File, TaskError> {
    let meta = fs::metadata(path).map_err(|error| {
        TaskError::temporary(format!("{}: {error}", path.display()))
            .hint("is the piece store mounted?")
    })?;
    if !meta.is_file() {
        return Err(TaskError::permanent(format!(
            "{} is not a regular file",
            path.display()
        )));
    }
    if meta.len() < payload {
        return Err(TaskError::permanent(format!(
            "{} has {} bytes; the deal's payload has {payload}",
            path.display(),
            meta.len()
        )));
    }
    File::open(path).map_err(|error| TaskError::temporary(format!("{}: {error}", path.display())))
}

/// GET without credentials; if that points elsewhere, GET there with the market's token.
pub(super) fn url(url: &str) -> Result<Response, TaskError> {
    let failed =
        |error: reqwest::Error| TaskError::temporary(format!("{url}: {}", error.without_url()));
    let first = http::client(false)
        .and_then(|client| client.get(url).send())
        .map_err(failed)?;
    if !first.status().is_redirection() {
        return accept(url, first);
    }
    let location = first
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| TaskError::temporary(format!("{url} sends us on without saying where")))?;
    let target = first.url().join(location).map_err(|error| {
        TaskError::temporary(format!("{url} sends us on to {location:?}: {error}"))
    })?;
    let client = http::client(true).map_err(failed)?;
    let mut request = client
        .get(target.clone())
        .header(API_HEADER.0, API_HEADER.1);
    if let Ok(token) = std::env::var(TOKEN_ENV)
        && !token.is_empty()
    {
        request = request.bearer_auth(token);
    }
    accept(url, request.send().map_err(failed)?)
}

fn accept(url: &str, response: Response) -> Result<Response, TaskError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(TaskError::temporary(format!(
        "{url}: the piece store says {status}"
    )))
}
