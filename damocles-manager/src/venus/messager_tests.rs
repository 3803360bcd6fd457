//! The client against a server that speaks with the shapes of a real messager.

use super::*;
use crate::venus::stand_in::StandIn;
use axum::http::StatusCode;
use fvm_ipld_encoding::RawBytes;
use serde_json::{Value, json};

const ID: Uuid = Uuid::from_u128(7);

async fn rig() -> (StandIn, VenusMessager) {
    let server = StandIn::default();
    let endpoint = server.serve("/rpc/v0").await;
    (server, VenusMessager::new(&endpoint).unwrap())
}

fn message() -> Message {
    let (from, to) = (Address::new_id(100), Address::new_id(1000));
    let params = RawBytes::new(vec![1, 2, 3]);
    let mut message = Message::new(from, to, TokenAmount::from_atto(5), 28, params);
    message.gas_fee_cap = TokenAmount::from_nano(5);
    message
}

/// As a messager writes it (its API page), signed with a BLS key.
fn on_chain() -> Value {
    let cid = message().cid().to_string();
    json!({
        "ID": ID.to_string(), "UnsignedCid": {"/": cid}, "SignedCid": {"/": cid},
        "Version": 0, "To": "t01000", "From": "t0100", "Nonce": 0, "Value": "5",
        "GasLimit": 0, "GasFeeCap": "5000000000", "GasPremium": "0", "Method": 28,
        "Params": "AQID", "Signature": {"Type": 2, "Data": "Ynl0ZSBhcnJheQ=="},
        "Height": 100, "Confidence": 10,
        "Receipt": {"ExitCode": 0, "Return": "", "GasUsed": 9, "EventsRoot": null},
        "TipSetKey": [{"/": cid}],
        "Meta": {"expireEpoch": 0, "gasOverEstimation": 1.2, "maxFee": "0", "gasOverPremium": 0},
        "WalletName": "test", "State": 3, "ErrorMsg": "",
        "CreatedAt": "0001-01-01T00:00:00Z", "UpdatedAt": "2026-12-01T00:00:00Z",
    })
}

#[tokio::test]
async fn a_push_says_what_upstreams_says() {
    let (server, messager) = rig().await;
    server.answers("Message.PushMessageWithId", json!(ID.to_string()));
    let spec = Spec {
        expire_epoch: 0,
        gas_over_estimation: 1.2,
        max_fee: TokenAmount::default(),
        gas_over_premium: 0.0,
    };
    messager.push(ID, &message(), &spec).await.unwrap();
    let [call] = server.calls().try_into().unwrap();
    assert_eq!(call.method, "Message.PushMessageWithId");
    assert_eq!(call.namespace.as_deref(), Some("messager.IMessager"));
    assert_eq!(call.authorization.as_deref(), Some("Bearer a.b.c"));
    assert_eq!(
        call.params,
        json!([
            ID.to_string(),
            {
                "CID": {"/": message().cid().to_string()}, "Version": 0,
                "To": Address::new_id(1000).to_string(), "From": Address::new_id(100).to_string(),
                "Nonce": 0, "Value": "5", "GasLimit": 0, "GasFeeCap": "5000000000",
                "GasPremium": "0", "Method": 28, "Params": "AQID",
            },
            {"expireEpoch": 0, "gasOverEstimation": 1.2, "maxFee": "0", "gasOverPremium": 0.0},
        ])
    );
    server.answers("Message.PushMessageWithId", json!("another"));
    let other = messager.push(ID, &message(), &spec).await.unwrap_err();
    assert!(matches!(other, VenusError::Malformed { .. }), "{other}");
}

#[tokio::test]
async fn what_it_tells_is_read() {
    let (server, messager) = rig().await;
    server.answers("Message.GetMessageByUid", on_chain());
    let told = messager.message(ID).await.unwrap();
    assert_eq!(
        (told.state, told.id.as_str()),
        (State::OnChain, &*ID.to_string())
    );
    assert_eq!(told.signed_cid, Some(message().cid()));
    assert_eq!(told.message, message());
    assert_eq!(told.signed().unwrap().message, message());
    assert_eq!(told.updated_at, "2026-12-01T00:00:00Z");

    let mut fresh = on_chain();
    for key in [
        "UnsignedCid",
        "SignedCid",
        "Signature",
        "Receipt",
        "TipSetKey",
    ] {
        fresh[key] = Value::Null;
    }
    (fresh["State"], fresh["ErrorMsg"]) = (json!(1), json!("gas estimate: no"));
    server.answers("Message.GetMessageByUid", fresh);
    let told = messager.message(ID).await.unwrap();
    assert_eq!((told.state, told.signed_cid), (State::Unfilled, None));
    assert_eq!(
        (told.signed(), told.error_msg.as_str()),
        (None, "gas estimate: no")
    );

    // what was signed is another message than what is told beside it
    let mut odd = on_chain();
    odd["Nonce"] = json!(4);
    server.answers("Message.GetMessageByUid", odd);
    assert_eq!(messager.message(ID).await.unwrap().signed(), None);
}

#[tokio::test]
async fn the_other_questions_have_the_shapes_of_the_service() {
    let (server, messager) = rig().await;
    server.answers(
        "Message.Version",
        json!({"Version": "v1.19.0", "APIVersion": 131_840}),
    );
    server.answers("Message.WalletHas", json!(true));
    server.answers("Message.HasMessageByUid", json!(false));
    server.answers("Message.MarkBadMessage", Value::Null);
    let cid = message().cid();
    server.answers("Message.ReplaceMessage", json!({"/": cid.to_string()}));
    assert_eq!(messager.version().await.unwrap(), "v1.19.0");
    assert!(messager.wallet_has(Address::new_id(100)).await.unwrap());
    assert!(!messager.has(ID).await.unwrap());
    messager.mark_bad(ID).await.unwrap();
    let how = Replacement::estimated(ID, TokenAmount::from_atto(9), 1.5);
    assert_eq!(messager.replace(&how).await.unwrap(), cid);
    let asked: Vec<Value> = server.calls().into_iter().map(|c| c.params).collect();
    let id = ID.to_string();
    assert_eq!(
        asked[1..],
        [
            json!([Address::new_id(100).to_string()]),
            json!([id]),
            json!([id]),
            json!([{
                "ID": id, "Auto": true, "MaxFee": "9", "GasLimit": 0, "GasPremium": "0",
                "GasFeecap": "0", "GasOverPremium": 1.5,
            }]),
        ]
    );
}

#[tokio::test]
async fn away_denied_and_refused_are_told_apart() {
    let (server, messager) = rig().await;
    server.refuses("Message.GetMessageByUid", "record not found");
    let refused = messager.message(ID).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    server.refuses(
        "Message.GetMessageByUid",
        "missing permission to invoke 'GetMessageByUid'",
    );
    let denied = messager.message(ID).await.unwrap_err();
    assert!(matches!(denied, VenusError::Denied { .. }), "{denied}");
    server.answers("Message.HasMessageByUid", json!("yes"));
    let odd = messager.has(ID).await.unwrap_err();
    assert!(matches!(odd, VenusError::Malformed { .. }), "{odd}");
    server.breaks(StatusCode::BAD_GATEWAY);
    let away = messager.has(ID).await.unwrap_err();
    assert!(matches!(away, VenusError::Away { .. }), "{away}");
    assert!(away.to_string().contains("Common.API.Messager"), "{away}");
    server.breaks(StatusCode::UNAUTHORIZED);
    let denied = messager.has(ID).await.unwrap_err();
    assert!(matches!(denied, VenusError::Denied { .. }), "{denied}");
    assert!(!denied.to_string().contains("a.b.c"));
}
