//! Services of Venus beside the node, where an operator names them: the messager, which gives
//! nonces, signs and sends; the market (droplet), which assigns deals.
//!
//! ```text
//! Messager (trait) ◄── messager.rs  JSON-RPC `Message.*`, v0
//! Market (trait)   ◄── market.rs    JSON-RPC `VENUS_MARKET.*`, v1
//!                  ◄── script*.rs   services that tests write themselves
//! watch.rs  whether they answer, for `/readiness`
//! ```
//! Every call has a time-out. A service that is away is a wait: nothing is known of what it was
//! asked.

mod market;
mod messager;
#[cfg(test)]
pub mod script;
#[cfg(test)]
pub mod script_market;
#[cfg(test)]
pub(crate) mod stand_in;
mod watch;

pub use market::{Assigned, DealSpec, Market, VenusMarket};
pub use messager::{Messager, Replacement, Spec, State, Told, VenusMessager};
pub use watch::watch;

use crate::{
    chain::{ChainError, Client, EndpointError, Params, client, request, request_once},
    policy::NodeEndpoint,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;

/// Most that a call may take.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer: a message has 64 KiB, a list of deals some hundred bytes for each.
const LARGEST_ANSWER: u32 = 4 << 20;

/// Which service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Service {
    #[strum(serialize = "venus-messager")]
    Messager,
    #[strum(serialize = "the market")]
    Market,
}

impl Service {
    /// The key of the configuration that names it.
    const fn key(self) -> &'static str {
        match self {
            Self::Messager => "Common.API.Messager",
            Self::Market => "Common.API.Market",
        }
    }

    /// How a gateway of Venus tells it from the others.
    const fn namespace(self) -> &'static str {
        match self {
            Self::Messager => "messager.IMessager",
            Self::Market => "v1.IMarket",
        }
    }
}

/// Why a service did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VenusError {
    /// Nobody answered in time: ask again later.
    #[error("{service} does not answer {method} ({reason}); check {} and the service", .service.key())]
    Away {
        service: Service,
        method: String,
        reason: String,
    },
    /// The token is wrong or allows too little.
    #[error(
        "{service} refuses our token for {method} ({reason}); put one with permission \"sign\" into {}, as token:address", .service.key()
    )]
    Denied {
        service: Service,
        method: String,
        reason: String,
    },
    /// It was asked and said no; asking again may or may not help.
    #[error("{service} refused {method}: {message}")]
    Refused {
        service: Service,
        method: String,
        message: String,
    },
    /// It was asked, and its answer is lost: what it was asked may be done.
    #[error("{service} was asked {method} and may have done it: its answer is lost ({reason})")]
    Unheard {
        service: Service,
        method: String,
        reason: String,
    },
    /// The answer has another shape than the method's.
    #[error("the answer of {service} to {method} cannot be read: {reason}")]
    Malformed {
        service: Service,
        method: String,
        reason: String,
    },
}

impl VenusError {
    fn of(service: Service, error: ChainError) -> Self {
        match error {
            ChainError::Unreachable { method, reason } => Self::Away {
                service,
                method,
                reason,
            },
            ChainError::Denied { method, reason } => Self::Denied {
                service,
                method,
                reason,
            },
            ChainError::Refused {
                method, message, ..
            } => Self::Refused {
                service,
                method,
                message,
            },
            ChainError::Malformed { method, reason } => Self::Malformed {
                service,
                method,
                reason,
            },
            // of a node's head only
            ChainError::Behind { reason } => Self::Away {
                service,
                method: String::new(),
                reason,
            },
        }
    }

    /// Whether it was asked and said no, so that it has done nothing.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// A service as it is called.
#[derive(Debug)]
struct Caller {
    service: Service,
    client: Client,
}

impl Caller {
    fn new(service: Service, endpoint: &NodeEndpoint) -> Result<Self, EndpointError> {
        Self::patient(service, endpoint, CALL_LIMIT)
    }

    fn patient(
        service: Service,
        endpoint: &NodeEndpoint,
        limit: Duration,
    ) -> Result<Self, EndpointError> {
        let client = client(endpoint, service.namespace(), limit, LARGEST_ANSWER)?;
        Ok(Self { service, client })
    }

    async fn ask<T: DeserializeOwned>(&self, name: &str, params: Params) -> Result<T, VenusError> {
        let answer = request(&self.client, name, &params).await;
        answer.map_err(|error| VenusError::of(self.service, error))
    }

    /// The same for what is done anew when it is asked again.
    ///
    /// # Errors
    /// [`VenusError::Unheard`] where it may be done all the same.
    async fn ask_once<T: DeserializeOwned>(
        &self,
        name: &str,
        params: Params,
    ) -> Result<T, VenusError> {
        let answer = request_once(&self.client, name, &params).await;
        answer.map_err(|(error, done)| match error {
            ChainError::Unreachable { method, reason }
            | ChainError::Malformed { method, reason }
                if done =>
            {
                VenusError::Unheard {
                    service: self.service,
                    method,
                    reason,
                }
            }
            error => VenusError::of(self.service, error),
        })
    }
}

/// What a service says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
}
