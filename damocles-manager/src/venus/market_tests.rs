//! The client against a server that speaks with the shapes of a real market.

use super::*;
use crate::venus::stand_in::StandIn;
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
