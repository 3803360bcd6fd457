//! `/piecestore/<cid>`: pieces over HTTP. `GET` and `HEAD` with length and ranges; `PUT`, whole or
//! in parts (`Content-Range: bytes 700-1999/2000`), with `?size=` for a piece that is larger than
//! its bytes ask for. A `HEAD` of a piece that has come in part tells how much, as `Upload-Offset`.

use crate::pieces::{Found, Part, PieceCid, Pieces, ReceiveError};
use axum::{
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use damocles_daemon::http::Long;
use serde::Deserialize;
use tower::ServiceExt;
use tower_http::services::ServeFile;

/// Where pieces are served.
pub(super) const PATH: &str = "/piecestore/{cid}";

#[derive(Debug, Deserialize)]
pub(super) struct Sized {
    size: Option<u64>,
}

/// Answers a caller that may read, or write for a `PUT`.
pub(super) async fn answer(
    State(pieces): State<Pieces>,
    Path(name): Path<String>,
    Query(sized): Query<Sized>,
    request: Request,
) -> Response {
    let piece = match PieceCid::named(&name) {
        Ok(piece) => piece,
        Err(error) => return said(StatusCode::BAD_REQUEST, error),
    };
    match *request.method() {
        Method::GET | Method::HEAD => give(&pieces, piece, request).await,
        Method::PUT => take(&pieces, piece, sized.size, request).await,
        _ => {
            let allowed = [(header::ALLOW, "GET, HEAD, PUT")];
            (StatusCode::METHOD_NOT_ALLOWED, allowed).into_response()
        }
    }
}

fn said(status: StatusCode, why: impl std::fmt::Display) -> Response {
    (status, format!("{why}\n")).into_response()
}

async fn give(pieces: &Pieces, piece: PieceCid, request: Request) -> Response {
    match pieces.find(piece).await {
        Ok(Found::File(path)) => match ServeFile::new(path).oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        },
        Ok(Found::Url(url)) => (StatusCode::FOUND, [(header::LOCATION, url)]).into_response(),
        Ok(Found::Nowhere) => {
            let why = format!("piece {piece} is in no piece store");
            let mut response = said(StatusCode::NOT_FOUND, why);
            if let Some(has) = pieces.begun(piece).await {
                response.headers_mut().insert("upload-offset", has.into());
            }
            response
        }
        Err(error) => said(StatusCode::SERVICE_UNAVAILABLE, error),
    }
}

/// Which bytes come, as a client says it. None: it cannot be read. Pure.
fn part(headers: &HeaderMap, padded: Option<u64>) -> Option<Part> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let Some(range) = headers.get(header::CONTENT_RANGE) else {
        let length = headers.get(header::CONTENT_LENGTH);
        let whole = length.and_then(|value| number(value.to_str().ok()?));
        return Some(Part {
            from: 0,
            whole,
            padded,
        });
    };
    let range = range.to_str().ok()?.strip_prefix("bytes ")?;
    let (bytes, whole) = range.split_once('/')?;
    let (first, last) = bytes.split_once('-')?;
    let (from, last, whole) = (number(first)?, number(last)?, number(whole)?);
    (from <= last && last < whole).then_some(Part {
        from,
        whole: Some(whole),
        padded,
    })
}

async fn take(pieces: &Pieces, piece: PieceCid, padded: Option<u64>, request: Request) -> Response {
    let Some(part) = part(request.headers(), padded) else {
        let why = "Content-Range must be as \"bytes 700-1999/2000\"";
        return said(StatusCode::BAD_REQUEST, why);
    };
    Long::allow(request.extensions());
    match pieces.receive(piece, part, request.into_body()).await {
        Ok(bytes) => said(StatusCode::CREATED, format!("{piece}: {bytes} bytes")),
        Err(error) => {
            let status = match &error {
                ReceiveError::Busy | ReceiveError::Elsewhere { .. } => StatusCode::CONFLICT,
                ReceiveError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                ReceiveError::Size { .. } | ReceiveError::Other { .. } | ReceiveError::Body(_) => {
                    StatusCode::BAD_REQUEST
                }
                ReceiveError::Incomplete { .. } => StatusCode::ACCEPTED,
                ReceiveError::NoStore | ReceiveError::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
                ReceiveError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            if status.is_server_error() {
                tracing::warn!(%piece, %error, "a piece was not taken");
            }
            let mut response = said(status, error);
            if let Some(has) = pieces.begun(piece).await {
                response.headers_mut().insert("upload-offset", has.into());
            }
            response
        }
    }
}

/// Piece stores with one directory.
#[cfg(test)]
pub(super) fn in_one_store(db: crate::db::Db, directory: &std::path::Path) -> Pieces {
    let store = crate::policy::PieceStorePolicy {
        name: "pieces".into(),
        path: directory.to_owned(),
        read_only: false,
    };
    Pieces::new(db, vec![store], None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_clients_say_them() {
        let of = |name: header::HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            part(&headers, None).map(|part| (part.from, part.whole))
        };
        let range = |value| of(header::CONTENT_RANGE, value);
        assert_eq!(range("bytes 700-1999/2000"), Some((700, Some(2000))));
        assert_eq!(range("bytes 0-0/1"), Some((0, Some(1))));
        for bad in [
            "700-1999/2000",
            "bytes 5-4/9",
            "bytes 5-9/9",
            "bytes a-b/c",
            "bytes 1-2/*",
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(of(header::CONTENT_LENGTH, "12"), Some((0, Some(12))));
        assert_eq!(part(&HeaderMap::new(), None).map(|p| p.whole), Some(None));
    }
}
