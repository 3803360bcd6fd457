//! What a real node said: questions with answers, and the parameters of messages that real
//! chains executed. `$name` stands for what differs between chains, `…` for anything.

use serde::Deserialize;
use serde_json::Value;

use super::Token;

const ANSWERS: &str = include_str!("lotus.jsonl");
const MESSAGES: &str = include_str!("chain-messages.jsonl");

/// A question and its answer: a result, or an error, or a body that is neither.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    pub question: String,
    pub method: String,
    pub params: Value,
    #[serde(default)]
    pub token: Token,
    pub http: u16,
    #[serde(default, deserialize_with = "present")]
    pub result: Option<Value>,
    /// Keys of the result whose value depends on when it is asked.
    #[serde(default)]
    pub varies: Vec<String>,
    #[serde(default)]
    pub error: Option<Value>,
    #[serde(default)]
    pub body: Option<String>,
}

/// `null` is a result too.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

/// A message that a real chain executed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainMessage {
    /// Network version.
    pub nv: u32,
    pub method: u64,
    /// CBOR in base64.
    pub params: String,
    pub exit: u32,
    #[serde(rename = "return")]
    pub returned: Option<String>,
}

fn lines<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    text.lines()
        .map(|line| match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => panic!("a recording is damaged: {error}: {line}"),
        })
        .collect()
}

/// Every recorded answer.
pub fn recorded() -> Vec<Recorded> {
    lines(ANSWERS)
}

/// Every recorded message.
pub fn chain_messages() -> Vec<ChainMessage> {
    lines(MESSAGES)
}
