//! The client against a server that speaks with the shapes of a real market.

use super::*;
use crate::venus::stand_in::StandIn;
use axum::http::StatusCode;
use damocles_types::Commitment;
use serde_json::{Value, json};

#[tokio::test]
async fn deals_are_assigned_and_released_as_upstream_does() {
    let server = StandIn::default();
    let endpoint = server.serve("/rpc/v1").await;
    let market = VenusMarket::new(&endpoint).unwrap();
    let piece = Commitment([1; 32]).unsealed_cid();
    // a deal of the storage market, then zeros without client, provider and offset
    server.answers(
        "VENUS_MARKET.AssignDeals",
        json!([
            {"DealID": 5432, "PublishCid": {"/": piece.to_string()}, "AllocationID": 0,
             "PieceCID": {"/": piece.to_string()}, "PieceSize": 1024, "Client": "t0101",
             "Provider": "t01000", "Offset": 0, "Length": 1024, "PayloadSize": 42,
             "StartEpoch": 10101, "EndEpoch": 20202},
            {"DealID": 0, "PublishCid": null, "AllocationID": 0,
             "PieceCID": {"/": piece.to_string()}, "PieceSize": 1024, "Client": "<empty>",
             "Provider": "<empty>", "Offset": 0, "Length": 1024, "PayloadSize": 0,
             "StartEpoch": 0, "EndEpoch": 0},
        ]),
    );
    let spec = DealSpec {
        max_piece: 3,
        start_epoch: 700,
        end_epoch: Epoch::MAX,
        ..DealSpec::default()
    };
    let sector = SectorId::new(1000, 9);
    let told = market.assign(sector, 2048, &spec).await.unwrap();
    assert_eq!((told[0].deal_id, told[0].payload_size), (5432, 42));
    assert_eq!(told[0].client, Some(Address::new_id(101)));
    assert_eq!((told[1].offset, told[1].provider), (0, None));
    server.answers("VENUS_MARKET.AssignDeals", Value::Null);
    assert_eq!(market.assign(sector, 2048, &spec).await.unwrap(), []);

    server.answers("VENUS_MARKET.ReleaseDeals", json!({}));
    server.answers("VENUS_MARKET.ReleaseDirectDeals", Value::Null);
    market.release_deals(1000, &[5432]).await.unwrap();
    market.release_allocations(1000, &[7]).await.unwrap();
    let calls = server.calls();
    assert!(
        calls
            .iter()
            .all(|c| c.namespace.as_deref() == Some("v1.IMarket"))
    );
    let params: Vec<_> = calls.into_iter().map(|c| c.params).collect();
    let asked = json!([
        {"Miner": 1000, "Number": 9}, 2048,
        {"MaxPiece": 3, "MaxPieceSize": 0, "MinPiece": 0, "MinPieceSize": 0, "MinUsedSpace": 0,
         "StartEpoch": 700, "EndEpoch": Epoch::MAX, "SectorExpiration": null},
    ]);
    let miner = Address::new_id(1000).to_string();
    let wants = [
        asked.clone(),
        asked,
        json!([miner, [5432]]),
        json!([miner, [7]]),
    ];
    assert_eq!(params, wants);
}

/// Asked again it assigns others: what it may have done is told from what it has not.
#[tokio::test]
async fn an_assignment_whose_answer_is_lost_is_told_from_one_that_was_not_made() {
    let server = StandIn::default();
    let endpoint = server.serve("/rpc/v1").await;
    let (sector, spec) = (SectorId::new(1000, 9), DealSpec::default());
    let assign = async |endpoint: &NodeEndpoint| {
        let market = VenusMarket::new(endpoint).unwrap();
        market.assign(sector, 2048, &spec).await.unwrap_err()
    };
    server.answers("VENUS_MARKET.AssignDeals", json!("odd"));
    let odd = assign(&endpoint).await;
    assert!(matches!(odd, VenusError::Unheard { .. }), "{odd}");
    server.refuses("VENUS_MARKET.AssignDeals", "no such miner");
    let refused = assign(&endpoint).await;
    assert!(refused.is_refusal(), "{refused}");
    for (status, lost) in [
        (StatusCode::GATEWAY_TIMEOUT, true),
        (StatusCode::BAD_GATEWAY, false),
        (StatusCode::NOT_FOUND, false),
        (StatusCode::UNAUTHORIZED, false),
    ] {
        server.breaks(status);
        let error = assign(&endpoint).await;
        let is_lost = matches!(error, VenusError::Unheard { .. });
        assert_eq!(is_lost, lost, "{status}: {error}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = NodeEndpoint {
        url: format!("http://{}", free.local_addr().unwrap()),
        token: None,
    };
    drop(free);
    let away = assign(&nobody).await;
    assert!(matches!(away, VenusError::Away { .. }), "{away}");
    // somebody hears it, and hangs up
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let hangs_up = std::thread::spawn(move || {
        use std::io::Read as _;
        let (mut caller, _) = deaf.accept().unwrap();
        caller.read(&mut [0; 64]).unwrap()
    });
    let lost = assign(&NodeEndpoint { url, token: None }).await;
    assert!(matches!(lost, VenusError::Unheard { .. }), "{lost}");
    assert!(hangs_up.join().unwrap() > 0);
}
