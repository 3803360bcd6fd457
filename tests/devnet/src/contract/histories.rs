//! What follows from what: histories that end the same on every chain.

use serde_json::{Value, json};

use super::{Driven, Reply, Said, Token};

/// Runs every history, one after the other on one chain; where it ended otherwise than on a
/// node. Panics if the chain cannot be asked what a history needs.
pub async fn histories(chain: &impl Driven) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(a_push_lands_once(chain).await);
    faults.extend(a_signed_message_is_known(chain).await);
    faults.extend(a_purse_must_hold_value_and_gas(chain).await);
    faults.extend(a_lost_message_is_no_error(chain).await);
    faults.extend(a_taken_nonce_is_told(chain).await);
    faults.extend(a_lost_branch_takes_its_messages_with_it(chain).await);
    faults
}

async fn ask(chain: &impl Driven, method: &str, params: Value) -> Said {
    let name = format!("Filecoin.{method}");
    match chain.ask(Token::Good, &name, params).await {
        Some(Reply { said, .. }) => said,
        None => panic!("a history needs {name}"),
    }
}

async fn result(chain: &impl Driven, method: &str, params: Value) -> Value {
    match ask(chain, method, params).await {
        Said::Result(value) => value,
        other => panic!("a history needs an answer of {method}, not {other:?}"),
    }
}

async fn push(chain: &impl Driven, value: &str, id: uuid::Uuid) -> Said {
    let message = json!({
        "From": chain.sender(), "To": chain.receiver(), "Value": value, "Method": 0,
        "GasLimit": 2_000_000, "GasFeeCap": "1000000000", "GasPremium": "100000",
    });
    let spec = json!({"MaxFee": "0", "MsgUuid": id, "MaximizeFeeCap": false});
    ask(chain, "MpoolPushMessage", json!([message, spec])).await
}

async fn pushed(chain: &impl Driven) -> Value {
    match push(chain, "7", uuid::Uuid::new_v4()).await {
        Said::Result(signed) => signed,
        other => panic!("a push was not taken: {other:?}"),
    }
}

async fn search(chain: &impl Driven, cid: &Value, replaced: bool) -> Said {
    ask(chain, "StateSearchMsg", json!([[], cid, -1, replaced])).await
}

/// The nonce that the sender's next message must have, by the state of the head.
async fn nonce(chain: &impl Driven) -> Value {
    let actor = result(chain, "StateGetActor", json!([chain.sender(), []])).await;
    actor["Nonce"].clone()
}

fn expect(history: &str, what: &str, is: bool, told: &impl std::fmt::Debug) -> Option<String> {
    (!is).then(|| format!("{history}: {what}, but: {told:?}"))
}

async fn a_push_lands_once(chain: &impl Driven) -> Vec<String> {
    let history = "a push";
    let before = nonce(chain).await;
    let id = uuid::Uuid::new_v4();
    let first = push(chain, "7", id).await;
    let again = push(chain, "7", id).await;
    let Said::Result(signed) = &first else {
        return vec![format!("{history}: taken, but: {first:?}")];
    };
    let cid = &signed["CID"];
    let waiting = search(chain, cid, true).await;
    chain.mine(2).await;
    let landed = search(chain, cid, true).await;
    let after = nonce(chain).await;
    let found = match &landed {
        Said::Result(found) => found["Message"] == *cid && found["Receipt"]["ExitCode"] == 0,
        _ => false,
    };
    let used_up = ask(chain, "MpoolPush", json!([signed])).await;
    let too_low = matches!(&used_up, Said::Error { code: 1, message }
        if message.ends_with("message nonce too low"));
    [
        expect(
            history,
            "the same id is the same message",
            again == first,
            &again,
        ),
        expect(
            history,
            "null while it waits",
            waiting == Said::Result(Value::Null),
            &waiting,
        ),
        expect(history, "found when it landed", found, &landed),
        expect(
            history,
            "its nonce is used up",
            after.as_u64() == before.as_u64().map(|n| n + 1),
            &after,
        ),
        expect(
            history,
            "pushed again its nonce is too low",
            too_low,
            &used_up,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn a_signed_message_is_known(chain: &impl Driven) -> Vec<String> {
    let signed = pushed(chain).await;
    let again = ask(chain, "MpoolPush", json!([signed])).await;
    let known = matches!(&again, Said::Error { code: 1, message }
        if message.ends_with("message with nonce already exists"));
    chain.mine(2).await;
    expect(
        "a message that waits",
        "pushed again it exists",
        known,
        &again,
    )
    .into_iter()
    .collect()
}

async fn a_purse_must_hold_value_and_gas(chain: &impl Driven) -> Vec<String> {
    let balance = result(chain, "WalletBalance", json!([chain.sender()])).await;
    let all = balance.as_str().unwrap_or_default().to_owned();
    let told = push(chain, &all, uuid::Uuid::new_v4()).await;
    let poor = matches!(&told, Said::Error { code: 1, message }
        if message.starts_with("mpool push: not enough funds: ") && message.contains(" < "));
    expect("a push of all there is", "gas is wanted too", poor, &told)
        .into_iter()
        .collect()
}

async fn a_lost_message_is_no_error(chain: &impl Driven) -> Vec<String> {
    let signed = pushed(chain).await;
    chain.lose(&signed["CID"]).await;
    chain.mine(2).await;
    let told = search(chain, &signed["CID"], true).await;
    let pushed = ask(chain, "MpoolPush", json!([signed])).await;
    let taken = matches!(&pushed, Said::Result(cid) if *cid == signed["CID"]);
    chain.mine(2).await;
    let landed = search(chain, &signed["CID"], true).await;
    let found = matches!(&landed, Said::Result(found) if found["Message"] == signed["CID"]);
    [
        expect(
            "a lost message",
            "null",
            told == Said::Result(Value::Null),
            &told,
        ),
        expect("a lost message", "taken again", taken, &pushed),
        expect("a lost message", "it landed in the end", found, &landed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn a_taken_nonce_is_told(chain: &impl Driven) -> Vec<String> {
    let history = "a nonce that another message took";
    let before = nonce(chain).await;
    let signed = pushed(chain).await;
    chain.take_nonce().await;
    chain.mine(2).await;
    let after = nonce(chain).await;
    let told = search(chain, &signed["CID"], true).await;
    let replaced = matches!(&told, Said::Error { code: 1, message }
        if message.contains("found message with equal nonce as the one we are looking for that is NOT a valid replacement message"));
    let silent = search(chain, &signed["CID"], false).await;
    let again = ask(chain, "MpoolPush", json!([signed])).await;
    let too_low = matches!(&again, Said::Error { code: 1, message }
        if message.ends_with("message nonce too low"));
    [
        expect(history, "an error", replaced, &told),
        expect(
            history,
            "null where replacements do not count",
            silent == Said::Result(Value::Null),
            &silent,
        ),
        expect(
            history,
            "the actor's nonce went on",
            after.as_u64() > before.as_u64(),
            &after,
        ),
        expect(history, "it cannot be pushed any more", too_low, &again),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn a_lost_branch_takes_its_messages_with_it(chain: &impl Driven) -> Vec<String> {
    let history = "a lost branch";
    chain.mine(1).await;
    let before = nonce(chain).await;
    let signed = pushed(chain).await;
    chain.mine(2).await;
    let landed = search(chain, &signed["CID"], true).await;
    chain.lose_branch(2).await;
    chain.mine(2).await;
    let told = search(chain, &signed["CID"], true).await;
    let after = nonce(chain).await;
    let again = ask(chain, "MpoolPush", json!([signed])).await;
    let taken = matches!(&again, Said::Result(cid) if *cid == signed["CID"]);
    let found = matches!(&landed, Said::Result(found) if !found.is_null());
    chain.mine(2).await;
    [
        expect(history, "it had landed", found, &landed),
        expect(
            history,
            "null afterwards",
            told == Said::Result(Value::Null),
            &told,
        ),
        expect(history, "the nonce is free again", before == after, &after),
        expect(history, "it can be pushed again", taken, &again),
    ]
    .into_iter()
    .flatten()
    .collect()
}
