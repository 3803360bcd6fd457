//! A node elsewhere, by address and token: asked the same, and pushed to where somebody says
//! from which funded key.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Asked, Driven, Reply, Said, Token};

/// Between two looks at the head of a node that makes its blocks by itself.
const LOOK: Duration = Duration::from_millis(500);

/// The node at `host:port`, with a token that allows everything.
#[derive(Debug)]
pub struct Live {
    address: String,
    token: String,
    /// Whose messages the node signs, and who may get some attoFIL.
    people: (String, String),
}

impl Live {
    pub fn new(address: String, token: String) -> Self {
        Live {
            address,
            token,
            people: (String::new(), String::new()),
        }
    }

    /// For histories: the key address that sends, which nobody else sends from, and who receives.
    #[must_use]
    pub fn with_people(mut self, sender: String, receiver: String) -> Self {
        self.people = (sender, receiver);
        self
    }

    /// One request over a connection of its own: HTTP status and body.
    async fn post(&self, header: &str, body: &str) -> std::io::Result<(u16, String)> {
        let address = &self.address;
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!(
            "POST /rpc/v1 HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.unwrap_or_default(), body.trim_end().to_owned()))
    }

    /// The result; None when it refuses.
    async fn told(&self, method: &str, params: Value) -> Option<Value> {
        match self.ask(Token::Good, method, params).await?.said {
            Said::Result(result) => Some(result),
            Said::Error { .. } | Said::Body(_) => None,
        }
    }

    /// A token that allows to read, made by the node.
    async fn weak_token(&self) -> Option<String> {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "Filecoin.AuthNew", "params": [["read"]],
        });
        let header = format!("Authorization: Bearer {}\r\n", self.token);
        let (status, body) = self.post(&header, &body.to_string()).await.ok()?;
        let Said::Result(Value::String(token)) = said(status, &body).said else {
            return None;
        };
        String::from_utf8(STANDARD.decode(token).ok()?).ok()
    }

    async fn height(&self) -> Option<i64> {
        let head = self.told("Filecoin.ChainHead", json!([])).await?;
        head["Height"].as_i64()
    }
}

/// What an answer over HTTP says.
pub fn said(status: u16, body: &str) -> Reply {
    let json = serde_json::from_str::<Value>(body).ok();
    let said = match json.filter(Value::is_object) {
        None => Said::Body(body.to_owned()),
        Some(mut reply) => match reply.get("error").filter(|error| !error.is_null()) {
            Some(error) => Said::Error {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            },
            None => Said::Result(reply["result"].take()),
        },
    };
    Reply {
        http: Some(status),
        said,
    }
}

impl Asked for Live {
    /// Panics when the node cannot be reached.
    async fn ask(&self, token: Token, method: &str, params: Value) -> Option<Reply> {
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let header = match token {
            Token::Good => bearer(&self.token),
            Token::Read => bearer(&self.weak_token().await?),
            Token::None => String::new(),
            Token::Bad => bearer("nonsense"),
        };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        match self.post(&header, &body.to_string()).await {
            Ok((status, body)) => Some(said(status, &body)),
            Err(error) => panic!("{} does not answer {method}: {error}", self.address),
        }
    }
}

/// A devnet is driven; a real node makes its blocks when it likes, and neither forgets nor goes
/// back because it is told to.
impl Driven for Live {
    fn sender(&self) -> String {
        self.people.0.clone()
    }

    fn receiver(&self) -> String {
        self.people.1.clone()
    }

    async fn mine(&self, blocks: u64) {
        if self.told("Devnet.Mine", json!([blocks])).await.is_some() {
            return;
        }
        let Some(from) = self.height().await else {
            return;
        };
        let to = from.saturating_add_unsigned(blocks);
        while self.height().await.is_some_and(|height| height < to) {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn take_nonce(&self) -> bool {
        let params = json!([self.people.0]);
        self.told("Devnet.TakeNonce", params).await.is_some()
    }

    async fn lose(&self, cid: &Value) -> bool {
        self.told("Devnet.Drop", json!([cid])).await == Some(Value::Bool(true))
    }

    async fn lose_branch(&self, epochs: i64) -> bool {
        let params = json!([epochs, true, null]);
        self.told("Devnet.Reorg", params).await.is_some()
    }
}
