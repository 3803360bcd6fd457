//! What follows from what: histories that end the same on every chain.

use serde_json::{Value, json};

use super::{Asking, Driven, Reply, Said, Token};

/// A history that the chain has no means for is left.
struct Left;

type Told = Result<Vec<String>, Left>;

/// Runs every history, one after the other on one chain; where it ended otherwise than on a
/// node. Panics if the chain does not answer what every node answers.
pub async fn histories(chain: &impl Driven) -> Asking {
    let mut all = Asking::default();
    let mut note = |name: &str, told: Told| match told {
        Ok(faults) => {
            let faults = faults.into_iter().map(|fault| format!("{name}: {fault}"));
            all.faults.extend(faults);
            all.asked.push(name.to_owned());
        }
        Err(Left) => all.left.push(name.to_owned()),
    };
    note("a push", a_push_lands_once(chain).await);
    note("a message that waits", a_message_is_known(chain).await);
    note("a push of all there is", a_purse_pays_gas_too(chain).await);
    note("a dearer twin", a_dearer_twin_counts(chain).await);
    note("a lost message", a_lost_message_is_no_error(chain).await);
    note("a taken nonce", a_taken_nonce_is_told(chain).await);
    note("a lost branch", a_lost_branch_takes_all(chain).await);
    all
}

async fn ask(chain: &impl Driven, method: &str, params: Value) -> Result<Said, Left> {
    let name = format!("Filecoin.{method}");
    let reply = chain.ask(Token::Good, &name, params).await;
    reply.map(|Reply { said, .. }| said).ok_or(Left)
}

async fn result(chain: &impl Driven, method: &str, params: Value) -> Result<Value, Left> {
    match ask(chain, method, params).await? {
        Said::Result(value) => Ok(value),
        other => panic!("a history needs an answer of {method}, not {other:?}"),
    }
}

async fn push(chain: &impl Driven, value: &str, id: uuid::Uuid) -> Result<Said, Left> {
    let message = json!({
        "From": chain.sender(), "To": chain.receiver(), "Value": value, "Method": 0,
        "GasLimit": 2_000_000, "GasFeeCap": "1000000000", "GasPremium": "100000",
    });
    let spec = json!({"MaxFee": "0", "MsgUuid": id, "MaximizeFeeCap": false});
    ask(chain, "MpoolPushMessage", json!([message, spec])).await
}

async fn pushed(chain: &impl Driven) -> Result<Value, Left> {
    match push(chain, "7", uuid::Uuid::new_v4()).await? {
        Said::Result(signed) => Ok(signed),
        other => panic!("a push was not taken: {other:?}"),
    }
}

async fn push_again(chain: &impl Driven, signed: &Value) -> Result<Said, Left> {
    ask(chain, "MpoolPush", json!([signed])).await
}

/// Looks `limit` epochs back from the head.
async fn within(chain: &impl Driven, cid: &Value, limit: i64) -> Result<Said, Left> {
    ask(chain, "StateSearchMsg", json!([[], cid, limit, true])).await
}

async fn search(chain: &impl Driven, cid: &Value) -> Result<Said, Left> {
    within(chain, cid, -1).await
}

/// The same where another message of the nonce does not count; None where that cannot be asked.
async fn strictly(chain: &impl Driven, cid: &Value) -> Option<Said> {
    let params = json!([[], cid, -1, false]);
    ask(chain, "StateSearchMsg", params).await.ok()
}

async fn actor(chain: &impl Driven) -> Result<Value, Left> {
    result(chain, "StateGetActor", json!([chain.sender(), []])).await
}

/// The nonce that the sender's next message must have, by the state of the head.
async fn nonce(chain: &impl Driven) -> Result<Value, Left> {
    Ok(actor(chain).await?["Nonce"].clone())
}

fn able(able: bool) -> Result<(), Left> {
    if able { Ok(()) } else { Err(Left) }
}

/// What was expected, and what was said instead.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn expect(&mut self, what: &str, is: bool, told: &impl std::fmt::Debug) {
        if !is {
            self.0.push(format!("{what}, but: {told:?}"));
        }
    }

    fn null(&mut self, what: &str, told: &Said) {
        self.expect(what, *told == Said::Result(Value::Null), told);
    }

    /// Refused with words that end so.
    fn refused(&mut self, what: &str, told: &Said, end: &str) {
        let is = matches!(told, Said::Error { code: 1, message } if message.ends_with(end));
        self.expect(what, is, told);
    }

    fn found(&mut self, what: &str, told: &Said, cid: &Value) {
        let is = match told {
            Said::Result(found) => found["Message"] == *cid && found["Receipt"]["ExitCode"] == 0,
            _ => false,
        };
        self.expect(what, is, told);
    }

    fn told(self) -> Told {
        Ok(self.0)
    }
}

const TOO_LOW: &str = "message nonce too low";

async fn a_push_lands_once(chain: &impl Driven) -> Told {
    let mut faults = Faults::default();
    let before = nonce(chain).await?;
    let id = uuid::Uuid::new_v4();
    let first = push(chain, "7", id).await?;
    let again = push(chain, "7", id).await?;
    faults.expect("the same id is the same message", again == first, &again);
    let Said::Result(signed) = &first else {
        faults.expect("taken", false, &first);
        return faults.told();
    };
    let cid = &signed["CID"];
    faults.null("null while it waits", &search(chain, cid).await?);
    chain.mine(3).await;
    let landed = search(chain, cid).await?;
    faults.found("found when it landed", &landed, cid);
    let after = nonce(chain).await?;
    let next = before.as_u64().map(|n| n + 1);
    faults.expect("its nonce is used up", after.as_u64() == next, &after);
    let used_up = push_again(chain, signed).await?;
    faults.refused("pushed again its nonce is too low", &used_up, TOO_LOW);
    // the epoch at which the search ends is not looked at any more
    let head = result(chain, "ChainHead", json!([])).await?;
    let height = match &landed {
        Said::Result(found) => found["Height"].as_i64(),
        _ => None,
    };
    if let (Some(height), Some(head)) = (height, head["Height"].as_i64()) {
        let ago = head - height;
        faults.null("null in too few epochs", &within(chain, cid, ago).await?);
        let reached = within(chain, cid, ago + 1).await?;
        faults.found("found in enough epochs", &reached, cid);
    }
    faults.told()
}

async fn a_message_is_known(chain: &impl Driven) -> Told {
    let mut faults = Faults::default();
    let signed = pushed(chain).await?;
    let again = push_again(chain, &signed).await?;
    let known = "message with nonce already exists";
    faults.refused("pushed again it exists", &again, known);
    chain.mine(2).await;
    faults.told()
}

async fn a_purse_pays_gas_too(chain: &impl Driven) -> Told {
    let mut faults = Faults::default();
    let actor = actor(chain).await?;
    let all = actor["Balance"].as_str().unwrap_or_default();
    let told = push(chain, all, uuid::Uuid::new_v4()).await?;
    let poor = matches!(&told, Said::Error { code: 1, message }
        if message.starts_with("mpool push: not enough funds: ") && message.contains(" < "));
    faults.expect("gas is wanted too", poor, &told);
    faults.told()
}

async fn a_dearer_twin_counts(chain: &impl Driven) -> Told {
    let mut faults = Faults::default();
    let signed = pushed(chain).await?;
    let mut message = signed["Message"].clone();
    let premium = |text: &str| -> Option<u64> { text.parse().ok() };
    let paid = message["GasPremium"].as_str().and_then(premium);
    message["GasPremium"] = json!((paid.unwrap_or_default() * 2).to_string());
    if let Some(fields) = message.as_object_mut() {
        fields.remove("CID");
    }
    let sign = json!([chain.sender(), message]);
    let twin = match ask(chain, "WalletSignMessage", sign).await {
        Ok(Said::Result(twin)) => twin,
        Ok(other) => panic!("the wallet does not sign: {other:?}"),
        Err(Left) => {
            chain.mine(2).await;
            return Err(Left);
        }
    };
    let taken = push_again(chain, &twin).await?;
    let replaces = taken == Said::Result(twin["CID"].clone());
    faults.expect("it replaces the first", replaces, &taken);
    chain.mine(2).await;
    let told = search(chain, &signed["CID"]).await?;
    faults.found("found in the place of the first", &told, &twin["CID"]);
    if let Some(silent) = strictly(chain, &signed["CID"]).await {
        faults.null("null where replacements do not count", &silent);
    }
    let late = push_again(chain, &signed).await?;
    faults.refused("the first cannot be pushed any more", &late, TOO_LOW);
    faults.told()
}

async fn a_lost_message_is_no_error(chain: &impl Driven) -> Told {
    let mut faults = Faults::default();
    let signed = pushed(chain).await?;
    let able_to = chain.lose(&signed["CID"]).await;
    chain.mine(2).await;
    able(able_to)?;
    faults.null("null", &search(chain, &signed["CID"]).await?);
    let again = push_again(chain, &signed).await?;
    let taken = again == Said::Result(signed["CID"].clone());
    faults.expect("taken again", taken, &again);
    chain.mine(2).await;
    let landed = search(chain, &signed["CID"]).await?;
    faults.found("it landed in the end", &landed, &signed["CID"]);
    faults.told()
}

async fn a_taken_nonce_is_told(chain: &impl Driven) -> Told {
    let mut faults = Faults::default();
    let before = nonce(chain).await?;
    let signed = pushed(chain).await?;
    let able_to = chain.take_nonce().await;
    chain.mine(2).await;
    able(able_to)?;
    let after = nonce(chain).await?;
    let on = after.as_u64() > before.as_u64();
    faults.expect("the actor's nonce went on", on, &after);
    let told = search(chain, &signed["CID"]).await?;
    let replaced = matches!(&told, Said::Error { code: 1, message }
        if message.contains("found message with equal nonce as the one we are looking for that is NOT a valid replacement message"));
    faults.expect("an error", replaced, &told);
    if let Some(silent) = strictly(chain, &signed["CID"]).await {
        faults.null("null where replacements do not count", &silent);
    }
    let again = push_again(chain, &signed).await?;
    faults.refused("it cannot be pushed any more", &again, TOO_LOW);
    // beyond the limit nobody meets the other one
    chain.mine(4).await;
    let near = within(chain, &signed["CID"], 2).await?;
    faults.null("null in too few epochs", &near);
    faults.told()
}

async fn a_lost_branch_takes_all(chain: &impl Driven) -> Told {
    let mut faults = Faults::default();
    chain.mine(1).await;
    let before = nonce(chain).await?;
    let signed = pushed(chain).await?;
    let cid = &signed["CID"];
    chain.mine(2).await;
    let landed = search(chain, cid).await?;
    faults.found("it had landed", &landed, cid);
    able(chain.lose_branch(2).await)?;
    chain.mine(2).await;
    faults.null("null afterwards", &search(chain, cid).await?);
    let after = nonce(chain).await?;
    faults.expect("the nonce is free again", before == after, &after);
    let again = push_again(chain, &signed).await?;
    let taken = again == Said::Result(cid.clone());
    faults.expect("it can be pushed again", taken, &again);
    chain.mine(2).await;
    let landed = search(chain, cid).await?;
    faults.found("it lands on the new branch", &landed, cid);
    faults.told()
}
