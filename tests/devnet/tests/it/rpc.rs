//! The node's JSON-RPC as a client meets it: permissions, protocol, messages, restarts.

use crate::support::{Net, transfer};
use axum::http::StatusCode;
use damocles_node::method::Permission;
use serde_json::{Value, json};
use uuid::Uuid;

fn spec(uuid: Uuid) -> Value {
    json!({"MaxFee": "0", "MsgUuid": uuid, "MaximizeFeeCap": false})
}

#[tokio::test]
async fn without_a_token_one_may_only_read() {
    let net = Net::new(0);
    let head = r#"{"jsonrpc":"2.0","id":1,"method":"Filecoin.ChainHead","params":[]}"#;
    let answer = net.post(None, head).await;
    assert_eq!(answer.json()["result"]["Height"], 0);

    let list = r#"{"jsonrpc":"2.0","id":1,"method":"Filecoin.WalletList","params":[]}"#;
    let answer = net.post(None, list).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json()["error"],
        json!({"code": 1, "message": "missing permission to invoke 'WalletList' (need 'write')"})
    );
    let write = net.token(Permission::Write);
    assert!(net.post(Some(&write), list).await.json()["result"].is_array());
    let push =
        r#"{"jsonrpc":"2.0","id":1,"method":"Filecoin.MpoolPushMessage","params":[null,null]}"#;
    let text = net.post(Some(&write), push).await.json()["error"]["message"].to_string();
    assert!(text.contains("need 'sign'"), "{text}");

    for bad in ["nonsense", "a.b.c"] {
        let answer = net.post(Some(bad), head).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn tokens_are_issued_and_read_back() {
    let net = Net::new(0);
    let token = net
        .call("Filecoin.AuthNew", json!([["read", "sign"]]))
        .await;
    let token = base64_text(&token);
    let allow = net.call("Filecoin.AuthVerify", json!([token])).await;
    assert_eq!(allow, json!(["read", "sign"]));
    let error = net.fails("Filecoin.AuthVerify", json!(["x"])).await;
    assert!(error.starts_with("JWT Verification failed"), "{error}");
    net.fails("Filecoin.AuthNew", json!([["root"]])).await;
}

fn base64_text(value: &Value) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap());
    String::from_utf8(bytes.unwrap()).unwrap()
}

#[tokio::test]
async fn bad_requests_are_answered_as_go_jsonrpc_does() {
    let net = Net::new(0);
    for (body, status, code, id) in [
        ("", 400, -32600, Value::Null),
        ("[]", 400, -32600, Value::Null),
        ("{", 500, -32700, Value::Null),
        (
            r#"{"id":{},"method":"Filecoin.ChainHead"}"#,
            500,
            -32700,
            Value::Null,
        ),
        (
            r#"{"id":3,"method":"Filecoin.Nope"}"#,
            500,
            -32601,
            json!(3),
        ),
        (
            r#"{"id":"x","method":"Filecoin.ChainHead","params":[1]}"#,
            500,
            -32602,
            json!("x"),
        ),
        (
            r#"{"id":4,"method":"Filecoin.ChainGetBlock","params":["x"]}"#,
            500,
            -32700,
            json!(4),
        ),
        (
            r#"{"id":5,"method":"Filecoin.ChainHead","params":{"a":1}}"#,
            500,
            -32700,
            json!(5),
        ),
        (
            r#"{"id":6,"method":"Filecoin.ChainNotify","params":[]}"#,
            500,
            -32601,
            json!(6),
        ),
    ] {
        let answer = net.post(None, body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        let json = answer.json();
        assert_eq!(json["error"]["code"], code, "{body}");
        assert_eq!(json["id"], id, "{body}");
    }
}

#[tokio::test]
async fn batches_and_notifications() {
    let net = Net::new(0);
    let batch = r#" [{"id":1,"method":"Filecoin.StateNetworkName","params":[]},
        {"method":"Filecoin.ChainHead","params":[]},
        {"id":2,"method":"Filecoin.Nope","params":[]}] "#;
    let answer = net.post(None, batch).await;
    assert_eq!(answer.status, StatusCode::OK);
    let replies = answer.json();
    assert_eq!(replies.as_array().unwrap().len(), 2);
    assert!(replies[0]["result"].is_string());
    assert_eq!(replies[1]["error"]["code"], -32601);
    let quiet = net.post(None, r#"{"method":"Filecoin.ChainHead"}"#).await;
    assert_eq!((quiet.status, quiet.body.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn a_message_pushed_twice_under_one_id_is_one_message() {
    let net = Net::new(0);
    let (miner, faucet) = net.keys().await;
    let uuid = Uuid::new_v4();
    let push = json!([transfer(&miner, &faucet, "7"), spec(uuid)]);
    let first = net.call("Filecoin.MpoolPushMessage", push.clone()).await;
    let second = net.call("Filecoin.MpoolPushMessage", push.clone()).await;
    assert_eq!(first, second);
    let pending = net.call("Filecoin.MpoolPending", json!([[]])).await;
    assert_eq!(pending, json!([first]));
    assert_eq!(net.call("Filecoin.MpoolGetNonce", json!([miner])).await, 1);

    // also after it landed, and after a restart
    net.mine(2).await;
    let net = net.restart();
    assert_eq!(net.call("Filecoin.MpoolPushMessage", push).await, first);
    net.mine(2).await;
    assert_eq!(net.call("Filecoin.MpoolGetNonce", json!([miner])).await, 1);
    // another id is another message
    let other = json!([transfer(&miner, &faucet, "7"), spec(Uuid::new_v4())]);
    let third = net.call("Filecoin.MpoolPushMessage", other).await;
    assert_eq!(third["Message"]["Nonce"], 1);
}

#[tokio::test]
async fn a_sent_message_that_the_snapshot_missed_returns_to_the_pool() {
    let net = Net::new(0);
    let (miner, faucet) = net.keys().await;
    let push = json!([transfer(&miner, &faucet, "7"), spec(Uuid::new_v4())]);
    let sent = net.call("Filecoin.MpoolPushMessage", push).await;
    // no save: as if killed
    let snapshot_less = net.repo;
    let again = crate::support::reopen(snapshot_less);
    let pending = again.call("Filecoin.MpoolPending", json!([[]])).await;
    assert_eq!(pending, json!([sent]));
}

#[tokio::test]
async fn signatures_are_verified() {
    let net = Net::new(0);
    let (miner, faucet) = net.keys().await;
    for from in [&miner, &faucet] {
        let message = transfer(from, &net.keys().await.0, "3");
        let message = net
            .call("Filecoin.GasEstimateMessageGas", json!([message, null, []]))
            .await;
        let mut signed = net
            .call("Filecoin.WalletSignMessage", json!([from, message]))
            .await;
        let good = signed.clone();
        signed["Message"]["Value"] = json!("4");
        let error = net.fails("Filecoin.MpoolPush", json!([signed])).await;
        assert!(error.contains("signature"), "{error}");
        let cid = net.call("Filecoin.MpoolPush", json!([good])).await;
        assert_eq!(cid, good["CID"]);
    }
    net.mine(2).await;
    assert_eq!(net.call("Filecoin.MpoolGetNonce", json!([faucet])).await, 1);
    assert_eq!(net.call("Filecoin.MpoolGetNonce", json!([miner])).await, 1);

    let key = json!([faucet, "aGk="]);
    let signature = net.call("Filecoin.WalletSign", key).await;
    let check = |bytes: &str| json!([faucet, bytes, signature]);
    assert_eq!(net.call("Filecoin.WalletVerify", check("aGk=")).await, true);
    assert_eq!(
        net.call("Filecoin.WalletVerify", check("aGg=")).await,
        false
    );
}

/// As on Lotus: whoever has no key of the sender sends nothing in his name, however the message
/// says that it is signed.
#[tokio::test]
async fn nobody_sends_in_anothers_name() {
    let net = Net::new(0);
    let (miner, faucet) = net.keys().await;
    let stranger = net.call("Filecoin.WalletNew", json!(["bls"])).await;
    let stranger = stranger.as_str().unwrap().to_owned();
    for from in [&miner, &faucet] {
        let message = transfer(from, &stranger, "3");
        let message = net
            .call("Filecoin.GasEstimateMessageGas", json!([message, null, []]))
            .await;
        let signed = net
            .call("Filecoin.WalletSignMessage", json!([from, message]))
            .await;
        let refused = async |change: &dyn Fn(&mut serde_json::Value)| {
            let mut bad = signed.clone();
            change(&mut bad);
            let error = net.fails("Filecoin.MpoolPush", json!([bad])).await;
            assert!(error.contains("signature"), "{error}");
        };
        // by the key of somebody else, of the same kind and of the other one
        for other in [&stranger, &miner, &faucet] {
            if other == from {
                continue;
            }
            let theirs = net
                .call("Filecoin.WalletSignMessage", json!([other, message]))
                .await;
            refused(&|bad| bad["Signature"] = theirs["Signature"].clone()).await;
        }
        // under the name of the other kind, cut off, and of nothing
        let kind = signed["Signature"]["Type"].as_u64().unwrap();
        refused(&|bad| bad["Signature"]["Type"] = json!(3 - kind)).await;
        refused(&|bad| bad["Signature"]["Data"] = json!("AAAA")).await;
        // by the sender, of a message that names him by his id: that proves no key
        let id = net.call("Filecoin.StateLookupID", json!([from, []])).await;
        refused(&|bad| bad["Message"]["From"] = id.clone()).await;
        // and of another nonce
        refused(&|bad| bad["Message"]["Nonce"] = json!(1)).await;
    }
    let pending = net.call("Filecoin.MpoolPending", json!([[]])).await;
    assert_eq!(pending, json!([]));
}

#[tokio::test]
async fn waiting_for_a_message_means_its_confidence() {
    let net = Net::new(0);
    let (miner, faucet) = net.keys().await;
    let push = json!([transfer(&miner, &faucet, "7"), null]);
    let cid = net.call("Filecoin.MpoolPushMessage", push).await["CID"].take();
    let search = json!([[], cid, -1, true]);
    assert!(
        net.call("Filecoin.StateSearchMsg", search.clone())
            .await
            .is_null()
    );

    let waiting = net.call("Filecoin.StateWaitMsg", json!([cid, 3, -1, true]));
    let mining = async {
        // The message is in block 1, executed at 2; three epochs on top of that make 5.
        for _ in 0..5 {
            net.mine(1).await;
        }
    };
    let (found, ()) = tokio::join!(waiting, mining);
    assert_eq!(found["Receipt"]["ExitCode"], 0);
    assert_eq!(found["Message"], cid);
    let searched = net.call("Filecoin.StateSearchMsg", search).await;
    assert_eq!(searched["TipSet"], found["TipSet"]);
    let error = net
        .fails("Filecoin.StateWaitMsg", json!([cid, 901, -1, true]))
        .await;
    assert!(error.contains("finality"), "{error}");
}

#[tokio::test]
async fn held_messages_stay_in_the_pool() {
    let net = Net::new(0);
    let (miner, faucet) = net.keys().await;
    net.call("Devnet.HoldMessages", json!([true])).await;
    let push = json!([transfer(&miner, &faucet, "7"), null]);
    net.call("Filecoin.MpoolPushMessage", push).await;
    net.mine(3).await;
    let pending = async || net.call("Filecoin.MpoolPending", json!([[]])).await;
    assert_eq!(pending().await.as_array().unwrap().len(), 1);
    net.call("Devnet.HoldMessages", json!([false])).await;
    net.mine(1).await;
    assert_eq!(pending().await, json!([]));
}

#[tokio::test]
async fn messages_to_a_miner_are_listed_with_their_exit_codes() {
    let net = Net::new(0);
    let (miner_key, _) = net.keys().await;
    // A plain transfer to the miner, and a call that it refuses.
    net.call(
        "Filecoin.MpoolPushMessage",
        json!([transfer(&miner_key, "t01000", "7"), null]),
    )
    .await;
    let mut bad = transfer(&miner_key, "t01000", "0");
    bad["Method"] = json!(28);
    bad["Params"] = json!("gYA=");
    bad["GasLimit"] = json!(100_000_000);
    net.call("Filecoin.MpoolPushMessage", json!([bad, null]))
        .await;
    net.mine(2).await;
    let all = net.call("Devnet.Messages", json!(["t01000", null])).await;
    let rows: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (&m["Method"], &m["Nonce"]))
        .collect();
    assert_eq!(rows, [(&json!(0), &json!(0)), (&json!(28), &json!(1))]);
    assert_eq!(all[0]["ExitCode"], 0);
    assert_ne!(all[1]["ExitCode"], 0);
    assert_eq!(all[0]["Epoch"], 1);
    let only = net.call("Devnet.Messages", json!(["t01000", 28])).await;
    assert_eq!(only, json!([all[1]]));
}

#[tokio::test]
async fn a_restart_keeps_wallet_tokens_and_head() {
    let net = Net::new(0);
    let token = net.token(Permission::Admin);
    let made = net.call("Filecoin.WalletNew", json!(["secp256k1"])).await;
    net.mine(7).await;
    let head = net.call("Filecoin.ChainHead", json!([])).await;
    let net = net.restart();
    assert_eq!(net.call("Filecoin.ChainHead", json!([])).await, head);
    assert_eq!(head["Height"], 7);
    let body = json!({"id": 1, "method": "Filecoin.WalletHas", "params": [made]}).to_string();
    let answer = net.post(Some(&token), &body).await;
    assert_eq!(answer.json()["result"], true);
    net.mine(1).await;
    assert_eq!(net.call("Filecoin.ChainHead", json!([])).await["Height"], 8);
}

#[tokio::test]
async fn absent_sectors_are_null_and_absent_things_are_errors() {
    let net = Net::new(0);
    for method in ["StateSectorGetInfo", "StateSectorPreCommitInfo"] {
        let name = format!("Filecoin.{method}");
        assert!(net.call(&name, json!(["t01000", 77, []])).await.is_null());
    }
    net.fails("Filecoin.StateSectorPartition", json!(["t01000", 77, []]))
        .await;
    for method in ["StateGetAllocation", "StateGetClaim"] {
        let name = format!("Filecoin.{method}");
        assert!(net.call(&name, json!(["t01000", 77, []])).await.is_null());
    }
    let pending = "Filecoin.StateGetAllocationIdForPendingDeal";
    assert_eq!(net.call(pending, json!([77, []])).await, 0);
    let error = net
        .fails("Filecoin.StateMarketStorageDeal", json!([77, []]))
        .await;
    assert_eq!(
        error,
        "deal 77 not found - deal may not have completed sealing before deal proposal start \
         epoch, or deal may have been slashed"
    );
    let error = net
        .fails("Filecoin.StateGetActor", json!(["t0999999", []]))
        .await;
    assert!(error.contains("actor not found"), "{error}");
    net.fails("Filecoin.StateMinerInfo", json!(["t00", []]))
        .await;
    let ghost = json!([[{"/": "bafy2bzacea3wsdh6y3a36tb3skempjoxqpuyompjbmfeyf34fi3uy6uue42v4"}]]);
    net.fails("Filecoin.ChainGetTipSet", ghost).await;
    net.fails("Filecoin.ChainGetTipSetByHeight", json!([5, []]))
        .await;
    net.fails("Filecoin.ChainGetTipSetByHeight", json!([-1, []]))
        .await;
    let zero = net
        .call("Filecoin.WalletBalance", json!(["t0999999"]))
        .await;
    assert_eq!(zero, "0");
}

#[tokio::test]
async fn a_message_with_a_nonce_is_not_for_the_nodes_wallet() {
    let net = Net::new(0);
    let (miner, faucet) = net.keys().await;
    let mut message = transfer(&miner, &faucet, "1");
    message["Nonce"] = json!(4);
    let error = net
        .fails("Filecoin.MpoolPushMessage", json!([message, null]))
        .await;
    assert!(
        error.contains("expects message nonce to be 0, was 4"),
        "{error}"
    );
    let stranger = "t1d2xrzcslx7xlbbylc5c3d5lvandqw4iwl6epxba";
    let foreign = json!([transfer(stranger, &miner, "1"), null]);
    net.fails("Filecoin.MpoolPushMessage", foreign).await;
    let huge = json!([transfer(&miner, &faucet, &"9".repeat(40)), null]);
    net.fails("Filecoin.MpoolPushMessage", huge).await;
}
