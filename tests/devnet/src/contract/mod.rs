//! The contract: how a Filecoin node answers, as questions with the answers that a real Lotus
//! (1.36) gave, refusals with their words included, and as histories with their consequences.
//! Whatever stands in for a chain (the devnet, the fakes of unit tests) is asked the same, so
//! that none of them can be another chain than the real one.
//!
//! A chain under contract implements `Asked`, and `Driven` for the histories. What a chain
//! has no means to be asked, or cannot be made to do, is left out; the caller says how much must
//! be left. A real node elsewhere is asked over `Live`.

mod histories;
mod live;
mod questions;
mod recorded;
mod shape;

use std::future::Future;

use serde_json::Value;

pub use histories::histories;
pub use live::{Live, said};
pub use questions::{Asking, Scene, questions};
pub use recorded::{ChainMessage, Recorded, chain_messages, recorded};
pub use shape::{fault, same_words};

/// With which token a question is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Token {
    /// One that allows everything.
    #[default]
    Good,
    None,
    /// One that allows to read.
    Read,
    /// One that is not the node's.
    Bad,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Result(Value),
    Error {
        code: i64,
        message: String,
    },
    /// Something that is not JSON-RPC.
    Body(String),
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// None where there is no HTTP in between.
    pub http: Option<u16>,
    pub said: Said,
}

/// A chain that can be asked.
pub trait Asked: Sync {
    /// The answer; None when this chain has no means to be asked that.
    fn ask(
        &self,
        token: Token,
        method: &str,
        params: Value,
    ) -> impl Future<Output = Option<Reply>> + Send;
}

/// A chain with a will: what a history needs beyond questions. What a chain cannot be made to do
/// (a live node forgets nothing because it is told to) answers false, and the history is left out.
pub trait Driven: Asked {
    /// The key address whose messages the node signs; funded, and nobody else sends from it.
    fn sender(&self) -> String;
    /// Somebody who may get funds.
    fn receiver(&self) -> String;
    /// Makes blocks, or waits for so many; what waits lands in the first of them.
    fn mine(&self, blocks: u64) -> impl Future<Output = ()> + Send;
    /// Another message takes the nonce of the sender's first waiting one, which is lost.
    fn take_nonce(&self) -> impl Future<Output = bool> + Send;
    /// Loses a waiting message.
    fn lose(&self, cid: &Value) -> impl Future<Output = bool> + Send;
    /// Loses the last epochs of the chain, and everything that waits.
    fn lose_branch(&self, epochs: i64) -> impl Future<Output = bool> + Send;
}
