//! One node by its address: clients, calls, and what its failures mean.

use crate::{
    chain::{
        ChainError,
        belief::Sight,
        network::Membership,
        refusal::{ReadRefusals, ReadingRefusals},
        unless_refused,
    },
    policy::NodeEndpoint,
};
use damocles_node::{TipSet, TipSetKey, method};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonrpsee::{
    core::{ClientError, client::ClientT, params::ArrayParams},
    http_client::{HttpBackend, HttpClient, RpcLogger, RpcService, transport},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Most that a call may take; a search over a long chain is slow.
const CALL_LIMIT: Duration = Duration::from_secs(30);
const SEARCH_LIMIT: Duration = Duration::from_secs(120);
/// A node beside others that did not answer is left alone for so long.
const REST: Duration = Duration::from_secs(15);
/// A method that a node beside others did not have is asked of it again after so long.
const LACK: Duration = Duration::from_secs(600);
/// All sectors of a large miner.
const LARGEST_LIST: u32 = 512 << 20;
/// Any other answer.
const LARGEST_ANSWER: u32 = 16 << 20;

/// What kind of question it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Quick,
    /// The node may have to search its chain for it.
    Search,
    /// The answer grows with the miner; one is read at a time.
    List,
}

/// Endpoints that cannot be used as they are written.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("no Filecoin node is configured; set Common.API.Chain")]
    None,
    #[error(
        "{url:?} is not a node's address: {reason}; write for example /ip4/127.0.0.1/tcp/1234 or http://127.0.0.1:1234/rpc/v1"
    )]
    Bad { url: String, reason: String },
}

/// What is read of the genesis tipset.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Genesis {
    cids: TipSetKey,
}

pub(crate) type Client = HttpClient<RpcLogger<RpcService<ReadingRefusals<HttpBackend>>>>;

/// By this header a gateway of Venus knows which service a call is for.
const NAMESPACE: &str = "X-VENUS-API-NAMESPACE";
const NODE: &str = "v1.FullNode";

/// A client of a service of the network, which speaks JSON-RPC: a node, or one beside it.
///
/// # Errors
/// [`EndpointError::Bad`].
pub(crate) fn client(
    endpoint: &NodeEndpoint,
    namespace: &'static str,
    limit: Duration,
    largest: u32,
) -> Result<Client, EndpointError> {
    let bad = |reason: String| EndpointError::Bad {
        url: endpoint.shown(),
        reason,
    };
    // Everything here is a question with one answer, so HTTP serves where the operator
    // wrote a WebSocket address; nodes serve both at the same place.
    let url = match endpoint.url.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => endpoint.url.clone(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(NAMESPACE, HeaderValue::from_static(namespace));
    if let Some(token) = &endpoint.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| bad("its token has characters that no token has".into()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    HttpClient::builder()
        .set_http_middleware(tower::ServiceBuilder::new().layer(ReadRefusals))
        .request_timeout(limit)
        .max_response_size(largest)
        .set_headers(headers)
        .build(url)
        .map_err(|e| bad(e.to_string()))
}

/// Asks, and sorts what may come back instead of an answer.
///
/// # Errors
/// [`ChainError`].
pub(crate) async fn request<T: DeserializeOwned>(
    client: &Client,
    name: &str,
    params: &Params,
) -> Result<T, ChainError> {
    let answer = client.request::<T, _>(name, params.array(name)?).await;
    answer.map_err(|error| classify(name, error))
}

/// The same for what is not to be asked a second time. Beside the error stands whether it may have
/// been done all the same.
pub(crate) async fn request_once<T: DeserializeOwned>(
    client: &Client,
    name: &str,
    params: &Params,
) -> Result<T, (ChainError, bool)> {
    let params = params.array(name).map_err(|error| (error, false))?;
    let answer = client.request::<T, _>(name, params).await;
    answer.map_err(|error| {
        let done = may_be_done(&error);
        (classify(name, error), done)
    })
}

#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its address without secrets.
    pub(super) shown: String,
    quick: Client,
    search: Client,
    list: Client,
    lists: tokio::sync::Semaphore,
    /// It did not answer when it was asked last; and when that was.
    ailing: AtomicBool,
    ailed: Mutex<Option<Instant>>,
    /// Its head was not believed when it was asked last.
    behind: AtomicBool,
    /// Its genesis, as it said when it came last. None inside: it does not say.
    genesis: Mutex<Option<Option<String>>>,
    /// Methods that it said it has not, and when it did.
    lacking: Mutex<HashMap<String, Instant>>,
}

impl Endpoint {
    pub(super) fn new(endpoint: &NodeEndpoint) -> Result<Self, EndpointError> {
        let client = |limit, largest| client(endpoint, NODE, limit, largest);
        Ok(Self {
            quick: client(CALL_LIMIT, LARGEST_ANSWER)?,
            search: client(SEARCH_LIMIT, LARGEST_ANSWER)?,
            list: client(SEARCH_LIMIT, LARGEST_LIST)?,
            lists: tokio::sync::Semaphore::new(1),
            shown: endpoint.shown(),
            ailing: AtomicBool::new(false),
            ailed: Mutex::new(None),
            behind: AtomicBool::new(false),
            genesis: Mutex::new(None),
            lacking: Mutex::default(),
        })
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        name: &str,
        params: &Params,
        question: Question,
    ) -> Result<T, ChainError> {
        let client = match question {
            Question::Quick => &self.quick,
            Question::Search => &self.search,
            Question::List => &self.list,
        };
        let _turn = match question {
            // it is never closed
            Question::List => self.lists.acquire().await.ok(),
            _ => None,
        };
        request(client, name, params).await
    }

    /// Whether it said lately that it has no such method, as a gateway does.
    pub(super) fn lacks(&self, name: &str) -> bool {
        let lacking = self.lacking.lock();
        lacking.get(name).is_some_and(|at| at.elapsed() < LACK)
    }

    /// It says that it has no such method. True: that is news.
    pub(super) fn has_not(&self, name: &str) -> bool {
        let before = self.lacking.lock().insert(name.to_owned(), Instant::now());
        before.is_none()
    }

    /// It answered.
    pub(super) fn well(&self) {
        self.ailing.store(false, Ordering::Relaxed);
    }

    /// It did not answer; what it may be when it comes back is anybody's guess. True: it did,
    /// when it was asked last.
    pub(super) fn ails(&self) -> bool {
        *self.genesis.lock() = None;
        self.lacking.lock().clear();
        *self.ailed.lock() = Some(Instant::now());
        !self.ailing.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_ailing(&self) -> bool {
        self.ailing.load(Ordering::Relaxed)
    }

    /// Whether it did not answer lately: with others there, its limit is not waited for at every
    /// question.
    pub(super) fn rests(&self) -> bool {
        let lately = |at: Instant| at.elapsed() < REST;
        self.is_ailing() && self.ailed.lock().is_some_and(lately)
    }

    /// Its head, whatever that may be worth.
    pub(super) async fn head(&self) -> Result<TipSet, ChainError> {
        self.ask(method::CHAIN_HEAD, &Params::none(), Question::Quick)
            .await
    }

    /// Whether its head was not believed when it was asked last.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Notes whether its head is believed. True: that is news.
    pub(super) fn set_behind(&self, behind: bool) -> bool {
        self.behind.swap(behind, Ordering::Relaxed) != behind
    }

    /// Its genesis, asked now. None: it does not say.
    pub(super) async fn genesis(&self) -> Result<Option<String>, ChainError> {
        let params = Params::none();
        let told = self.ask::<Genesis>(method::CHAIN_GET_GENESIS, &params, Question::Quick);
        // a gateway may not have the method
        let tipset = unless_refused(told.await)?;
        Ok(tipset.map(|tipset| {
            let cids: Vec<String> = tipset.cids.0.iter().map(ToString::to_string).collect();
            cids.join(" ")
        }))
    }

    /// Whether it is of our network; asked once, and again when it comes back.
    ///
    /// # Errors
    /// It is of another, or cannot be asked.
    pub(super) async fn belongs(
        &self,
        index: usize,
        network: &Membership,
    ) -> Result<(), ChainError> {
        let known = self.genesis.lock().clone();
        let genesis = match known {
            Some(genesis) => genesis,
            None => {
                let genesis = self.genesis().await?;
                *self.genesis.lock() = Some(genesis.clone());
                genesis
            }
        };
        network
            .admit(index, &self.shown, genesis)
            .map_err(|reason| unreachable(method::CHAIN_GET_GENESIS, reason))
    }
}

/// A head as it is judged.
pub(super) fn sight(tip: &TipSet) -> Sight {
    Sight {
        height: tip.height,
        timestamp: tip.blocks.first().map_or(0, |b| b.timestamp),
    }
}

pub(super) fn unreachable(method: &str, reason: impl ToString) -> ChainError {
    ChainError::Unreachable {
        method: method.to_owned(),
        reason: reason.to_string(),
    }
}

/// Whether what was asked may be done, though there is no answer that says so.
fn may_be_done(error: &ClientError) -> bool {
    match error {
        ClientError::Call(_) => false,
        ClientError::Transport(e) => match e.downcast_ref::<transport::Error>() {
            // behind a gateway that did not wait any longer somebody may still be at it
            Some(transport::Error::Rejected { status_code }) => *status_code == 504,
            // of a connection that was never made hyper tells in words alone
            _ => !e.to_string().contains("client error (Connect)"),
        },
        _ => true,
    }
}

/// Sorts a client's error by what it means to us.
fn classify(name: &str, error: ClientError) -> ChainError {
    let method = name.to_owned();
    match error {
        ClientError::Call(said) => {
            let message = said.message().to_owned();
            if message.contains("missing permission") {
                return ChainError::Denied {
                    method,
                    reason: message,
                };
            }
            ChainError::Refused {
                method,
                code: i64::from(said.code()),
                message,
            }
        }
        ClientError::ParseError(e) => ChainError::Malformed {
            method,
            reason: e.to_string(),
        },
        ClientError::Transport(e) => match e.downcast_ref::<transport::Error>() {
            Some(transport::Error::Rejected {
                status_code: status_code @ (401 | 403),
            }) => ChainError::Denied {
                method,
                reason: format!("HTTP {status_code}"),
            },
            // A gateway in front of the node says 502 to 504 while the node is away. Every other
            // status is the node's own word on the request (behind 500 it is read).
            Some(transport::Error::Rejected { status_code })
                if !matches!(status_code, 429 | 502..=504) =>
            {
                ChainError::Refused {
                    method,
                    code: i64::from(*status_code),
                    message: format!("HTTP {status_code}"),
                }
            }
            _ => unreachable(name, innermost(&*e)),
        },
        other => unreachable(name, other),
    }
}

/// Transport errors wrap the reason that a person understands several times.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// Positional parameters; each endpoint that is asked gets them anew.
#[derive(Default)]
pub(crate) struct Params(Vec<Result<serde_json::Value, serde_json::Error>>);

impl Params {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn add(mut self, value: impl Serialize) -> Self {
        self.0.push(serde_json::to_value(value));
        self
    }

    /// The whole question in words, to know it again.
    pub(super) fn question(&self, name: &str) -> String {
        let mut text = name.to_owned();
        for value in self.0.iter().flatten() {
            text.push(' ');
            text.push_str(&value.to_string());
        }
        text
    }

    fn array(&self, name: &str) -> Result<ArrayParams, ChainError> {
        let malformed = |e: &dyn std::fmt::Display| ChainError::Malformed {
            method: name.to_owned(),
            reason: format!("a parameter: {e}"),
        };
        let mut array = ArrayParams::new();
        for value in &self.0 {
            let value = value.as_ref().map_err(|e| malformed(e))?;
            array.insert(value).map_err(|e| malformed(&e))?;
        }
        Ok(array)
    }
}
