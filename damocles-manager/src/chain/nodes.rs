//! Several nodes of one network: whom to ask.
//!
//! Reads go to the first node in the operator's order whose head is believed: it is young, and
//! not behind another's. Which one that is, is found out whenever the head is asked for. In
//! between they move on to the next one when a node does not answer, does not take our token,
//! talks nonsense, is of another network, or does not have the method. What is signed already is
//! sent through the first, whose wallet signs, or through another one while that cannot.

use crate::{
    chain::{
        ChainError, EndpointError,
        belief::{self, Sight},
        endpoint::{Endpoint, Params, Question, sight, unreachable},
        network::Membership,
    },
    model::unix_ms,
    policy::NodeEndpoint,
};
use damocles_node::{TipSet, method};
use futures::future::join_all;
use serde::de::DeserializeOwned;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// One or several nodes of one network.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) endpoints: Vec<Endpoint>,
    /// The endpoint that is asked first.
    pub(super) good: AtomicUsize,
    pub(super) network: Membership,
    /// A head that is older is not believed. None: every head is.
    pub(super) max_age: Option<Duration>,
}

/// What a node says that does not know a method (JSON-RPC 2.0; Lotus behind HTTP 500).
const NO_SUCH_METHOD: i64 = jsonrpsee::types::error::METHOD_NOT_FOUND_CODE as i64;
/// A node that does not tell its head in this time, beside others, is passed over.
const LIMIT: Duration = Duration::from_secs(10);

impl Nodes {
    pub(super) fn new(endpoints: &[NodeEndpoint]) -> Result<Self, EndpointError> {
        if endpoints.is_empty() {
            return Err(EndpointError::None);
        }
        let endpoints = endpoints
            .iter()
            .map(Endpoint::new)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            endpoints,
            good: AtomicUsize::new(0),
            network: Membership::default(),
            max_age: None,
        })
    }

    /// The one that is asked first now, without secrets.
    pub(super) fn shown(&self) -> &str {
        let good = self.good.load(Ordering::Relaxed);
        self.endpoints.get(good).map_or("", |e| e.shown.as_str())
    }

    /// What the one that is asked first now says of its genesis.
    pub(super) async fn genesis(&self) -> Result<Option<String>, ChainError> {
        let good = self.good.load(Ordering::Relaxed);
        match self.endpoints.get(good) {
            Some(endpoint) => endpoint.genesis().await,
            None => Err(unreachable(method::CHAIN_GET_GENESIS, "no endpoint")),
        }
    }

    /// What the node with the wallet says of its genesis, of whichever network it is.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn first_genesis(&self) -> Result<Option<String>, ChainError> {
        match self.endpoints.first() {
            Some(endpoint) => endpoint.genesis().await,
            None => Err(unreachable(method::CHAIN_GET_GENESIS, "no endpoint")),
        }
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError> {
        self.ask_as(Question::Quick, name, params).await
    }

    pub(super) async fn ask_as<T: DeserializeOwned>(
        &self,
        question: Question,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError> {
        let first = self.good.load(Ordering::Relaxed);
        let (index, answer) = self.ask_from(first, question, name, params).await?;
        // until the next survey
        if !self.endpoints[first].lacks(name) {
            self.good.store(index, Ordering::Relaxed);
        }
        answer
    }

    /// The answer of the first that has one, beginning with that endpoint, and which one it was.
    ///
    /// # Errors
    /// None has.
    async fn ask_from<T: DeserializeOwned>(
        &self,
        first: usize,
        question: Question,
        name: &str,
        params: Params,
    ) -> Result<(usize, Result<T, ChainError>), ChainError> {
        let count = self.endpoints.len();
        let mut order: Vec<usize> = (0..count).map(|i| (first + i) % count).collect();
        // one that has no such method is asked when nobody else is left, and so is one that is
        // behind: it knows neither nonces nor who is to hear of a message
        order.sort_by_key(|index| {
            let endpoint = &self.endpoints[*index];
            (endpoint.lacks(name), endpoint.is_behind())
        });
        let mut failed: Option<(usize, ChainError)> = None;
        for index in order {
            let endpoint = &self.endpoints[index];
            // one that is behind is worse than none
            if endpoint.is_behind() && failed.is_some() {
                continue;
            }
            let answer = match self.belongs(index).await {
                Ok(()) => endpoint.ask(name, &params, question).await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Err(error @ ChainError::Refused { code, .. }) if code == NO_SUCH_METHOD => {
                    endpoint.well();
                    if endpoint.has_not(name) && count > 1 {
                        tracing::warn!(
                            endpoint = endpoint.shown,
                            method = name,
                            "a Filecoin node has no such method; trying the next node"
                        );
                    }
                    error
                }
                Err(
                    error @ (ChainError::Unreachable { .. }
                    | ChainError::Denied { .. }
                    | ChainError::Malformed { .. }),
                ) => {
                    // said once, until it answers again; with one node the callers say it
                    if endpoint.ails() && count > 1 {
                        tracing::warn!(endpoint = endpoint.shown, %error, "trying the next node");
                    }
                    error
                }
                answered => {
                    endpoint.well();
                    return Ok((index, answered));
                }
            };
            // what the first in the operator's order says, counts
            if failed.as_ref().is_none_or(|(known, _)| index < *known) {
                failed = Some((index, error));
            }
        }
        // There is at least one endpoint.
        Err(failed.map_or_else(|| unreachable(name, "no endpoint"), |(_, error)| error))
    }

    /// Has a message that is signed already sent, by the node with the wallet or, while that
    /// cannot, by another one; or asks what belongs to that.
    pub(super) async fn ask_sender<T: DeserializeOwned>(
        &self,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError> {
        let (_, answer) = self.ask_from(0, Question::Search, name, params).await?;
        answer
    }

    async fn belongs(&self, index: usize) -> Result<(), ChainError> {
        if self.endpoints.len() == 1 && !self.network.is_stamped() {
            return Ok(());
        }
        self.endpoints[index].belongs(index, &self.network).await
    }

    /// The head of the first node whose head is believed. Reads go to that one from now on.
    pub(super) async fn survey(&self) -> Result<TipSet, ChainError> {
        let several = self.endpoints.len() > 1;
        let none_left = self.endpoints.iter().all(Endpoint::is_ailing);
        let resting: Vec<bool> = self
            .endpoints
            .iter()
            .map(|e| several && !none_left && e.rests())
            .collect();
        let resting = &resting;
        let ask = |index: usize| async move {
            if resting[index] {
                let why = "it did not answer when it was asked last";
                return Err(unreachable(method::CHAIN_HEAD, why));
            }
            let asked = async {
                self.belongs(index).await?;
                self.endpoints[index].head().await
            };
            if !several {
                return asked.await;
            }
            let limited = tokio::time::timeout(LIMIT, asked).await;
            limited.unwrap_or_else(|_| {
                Err(unreachable(method::CHAIN_HEAD, "it does not tell its head"))
            })
        };
        let mut heads = join_all((0..self.endpoints.len()).map(ask)).await;
        let sights: Vec<Option<Sight>> = heads.iter().map(|h| h.as_ref().ok().map(sight)).collect();
        let doubts = belief::doubts(&sights, unix_ms() / 1000, self.max_age);
        let mut chosen = None;
        let mut reasons = Vec::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let (why, news) = match (&heads[index], &doubts[index]) {
                (Err(error), _) => (error.to_string(), !resting[index] && endpoint.ails()),
                (Ok(_), Some(doubt)) => {
                    endpoint.well();
                    (doubt.clone(), endpoint.set_behind(true))
                }
                (Ok(_), None) => {
                    endpoint.well();
                    endpoint.set_behind(false);
                    chosen = chosen.or(Some(index));
                    continue;
                }
            };
            // with one node the callers say it
            if several && news {
                tracing::warn!(
                    endpoint = endpoint.shown,
                    why,
                    "a Filecoin node is passed over"
                );
            }
            reasons.push(format!("{}: {why}", endpoint.shown));
        }
        if let Some(index) = chosen {
            if self.good.swap(index, Ordering::Relaxed) != index {
                tracing::info!(
                    endpoint = self.endpoints[index].shown,
                    "asking this Filecoin node now"
                );
            }
            return heads.swap_remove(index);
        }
        // nobody answers: what the first in the operator's order says, counts
        if heads.iter().all(Result::is_err) && !heads.is_empty() {
            return heads.swap_remove(0);
        }
        Err(ChainError::Behind {
            reason: reasons.join("; "),
        })
    }

    /// Asks the endpoint whose wallet has the keys.
    pub(super) async fn ask_wallet<T: DeserializeOwned>(
        &self,
        name: &str,
        params: Params,
    ) -> Result<T, ChainError> {
        match self.endpoints.first() {
            Some(endpoint) => {
                self.belongs(0).await?;
                endpoint.ask(name, &params, Question::Search).await
            }
            None => Err(unreachable(name, "no endpoint")),
        }
    }
}
