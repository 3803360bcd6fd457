//! The HTTP connection to the manager: which headers every call carries, and which answers are
//! read. Nothing here knows what is asked.

use crate::managers::Managers;
use axum::body::{Body, to_bytes};
use damocles_api::caller::{CALLER_HEADER, Caller};
use damocles_daemon::tls::ClientConfig;
use damocles_types::Hidden;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION};
use jsonrpsee::{
    core::http_helpers::HttpError,
    http_client::{
        HttpBackend, HttpBody, HttpClient, HttpClientBuilder, HttpRequest, HttpResponse,
        RpcService, RpcServiceBuilder, transport::Error as TransportError,
    },
};
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower::{Service, ServiceBuilder};

/// Proofs and lists of pieces cross this wire, outputs of C1 never do. Every thread may have an
/// answer of this size in memory at the same time.
const LARGEST_BODY: u32 = 8 << 20;
/// An error is a sentence.
const LARGEST_ERROR: usize = 1 << 20;

/// How the manager is spoken to. Prints without its secrets.
#[derive(Clone, Debug)]
pub struct Connection {
    pub addr: Managers,
    /// Their values may be secrets: operators put tokens of proxies here.
    pub headers: BTreeMap<String, Hidden>,
    pub token: Option<Hidden>,
    /// How managers are believed that speak TLS; None: none of them does.
    pub tls: Option<ClientConfig>,
    pub timeout: Duration,
}

/// A client whose calls say who calls.
pub type Client = HttpClient<RpcService<Courier>>;

/// Who calls, once it is known; shared with the client.
#[derive(Clone, Debug, Default)]
pub struct Speaker(Arc<RwLock<Option<HeaderValue>>>);

impl Speaker {
    /// From now on every call comes from `caller`.
    pub fn is(&self, caller: &Caller) {
        // base64: always a header's value
        let value = HeaderValue::from_str(&caller.to_header()).ok();
        *self.0.write() = value;
    }
}

impl Connection {
    /// A client of its own for `speaker`; nothing is sent yet.
    pub fn client(&self, speaker: &Speaker) -> anyhow::Result<Client> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let mut value = HeaderValue::from_str(&value.0)?;
            value.set_sensitive(true);
            headers.insert(name.parse::<HeaderName>()?, value);
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.0.trim()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (speaker, managers) = (speaker.clone(), self.addr.clone());
        let courier = tower::layer::layer_fn(move |inner| Courier {
            inner,
            speaker: speaker.clone(),
            managers: managers.clone(),
        });
        let builder = match &self.tls {
            Some(tls) => HttpClientBuilder::default().with_custom_cert_store(tls.clone()),
            None => HttpClientBuilder::default(),
        };
        Ok(builder
            // the caller's own time is up first, and names the method
            .request_timeout(self.timeout.saturating_mul(2))
            .max_request_size(LARGEST_BODY)
            .max_response_size(LARGEST_BODY)
            .set_headers(headers)
            .set_http_middleware(ServiceBuilder::new().layer(courier))
            .set_rpc_middleware(RpcServiceBuilder::new())
            // each request says anew where it goes; this one says whether TLS may be spoken at all
            .build(self.addr.most_guarded().rpc_url())?)
    }
}

/// Carries requests out with the caller's name, to the first manager that answers, and answers
/// back. Every call may be made twice, so one that got no answer is. An answer that is JSON-RPC is
/// one whatever the HTTP status: upstream's manager and Lotus put errors behind a 500.
#[derive(Clone, Debug)]
pub struct Courier {
    inner: HttpBackend,
    speaker: Speaker,
    managers: Managers,
}

impl Service<HttpRequest> for Courier {
    type Response = HttpResponse<HttpBody>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<HttpRequest>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: HttpRequest) -> Self::Future {
        if let Some(caller) = self.speaker.0.read().clone() {
            request.headers_mut().insert(CALLER_HEADER, caller);
        }
        let (inner, managers) = (self.inner.clone(), self.managers.clone());
        Box::pin(async move {
            let answer = carried(inner, &managers, request).await?;
            let (mut head, body) = answer.into_parts();
            if head.status.is_success() {
                return Ok(HttpResponse::from_parts(head, HttpBody::new(body)));
            }
            let read = to_bytes(Body::new(body), LARGEST_ERROR).await;
            let body = read.unwrap_or_default();
            let let_in = !matches!(
                head.status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            );
            if let_in && is_an_error(&body) {
                head.status = StatusCode::OK;
            }
            Ok(HttpResponse::from_parts(
                head,
                HttpBody::from(body.to_vec()),
            ))
        })
    }
}

/// The answer of the first manager that gives one, beginning with the one that is spoken to.
async fn carried(
    mut inner: HttpBackend,
    managers: &Managers,
    request: HttpRequest,
) -> Result<<HttpBackend as Service<HttpRequest>>::Response, TransportError> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST_BODY as usize)
        .await
        .map_err(|error| TransportError::Http(HttpError::Stream(error.into())))?;
    let mut left = managers.count();
    loop {
        left -= 1;
        let (addr, turn) = managers.now();
        let mut head = head.clone();
        // as the client has checked it for the first of them
        if let Ok(uri) = addr.rpc_url().parse() {
            head.uri = uri;
        }
        let request = HttpRequest::from_parts(head, HttpBody::from(body.to_vec()));
        let answer = inner.call(request).await;
        let away = match &answer {
            Err(_) => true,
            // a proxy whose manager is away
            Ok(answer) => matches!(answer.status().as_u16(), 502..=504),
        };
        if !away || left == 0 {
            return answer;
        }
        managers.leave(turn);
    }
}

/// Whether the body is a JSON-RPC error. A token that is refused, or a proxy's page, is none.
fn is_an_error(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Answer {
        jsonrpc: String,
        error: Reported,
    }
    #[derive(serde::Deserialize)]
    struct Reported {
        #[serde(rename = "code")]
        _code: i64,
    }
    serde_json::from_slice::<Answer>(body).is_ok_and(|answer| {
        let Reported { _code } = answer.error;
        answer.jsonrpc == "2.0"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let connection = Connection {
            addr: "http://m:1789".parse().unwrap(),
            headers: BTreeMap::from([("X-Proxy-Key".into(), "hidden-1".into())]),
            token: Some("hidden-2".into()),
            tls: None,
            timeout: Duration::from_secs(1),
        };
        let printed = format!("{connection:?}");
        assert!(!printed.contains("hidden"), "{printed}");
        assert!(printed.contains("\"X-Proxy-Key\": ***"), "{printed}");
    }

    #[test]
    fn an_error_of_json_rpc_is_told_from_a_page() {
        for (body, is) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"method 'X' not found"}}"#,
                true,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#,
                true,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, false),
            (r#"{"error":"bad gateway"}"#, false),
            ("<html>502 Bad Gateway</html>", false),
            ("", false),
        ] {
            assert_eq!(is_an_error(body.as_bytes()), is, "{body}");
        }
    }
}
