//! Allocations and deals that are ordered through the RPC, and what the chain tells of them.

use crate::support::Net;
use fvm_shared::commcid::piece_commitment_v1_to_cid;
use serde_json::{Value, json};

fn piece() -> Value {
    json!({"/": piece_commitment_v1_to_cid(&[5; 32]).unwrap().to_string()})
}

/// An allocation of the faucet for t01000, as `Devnet.Allocate` takes it.
async fn allocation(net: &Net) -> Value {
    let (_, faucet) = net.keys().await;
    let id = net.call("Filecoin.StateLookupID", json!([faucet, []]));
    let client: u64 = id.await.as_str().unwrap()[2..].parse().unwrap();
    json!({
        "Client": client, "Provider": 1000, "Data": piece(), "Size": 1024,
        "TermMin": 518_400, "TermMax": 1_000_000, "Expiration": 5000,
    })
}

/// A verified deal between the same two, as `Devnet.PublishDeal` takes it.
async fn deal(net: &Net) -> Value {
    let (_, faucet) = net.keys().await;
    json!({
        "PieceCID": piece(), "PieceSize": 1024, "VerifiedDeal": true,
        "Client": faucet, "Provider": "t01000", "Label": "a label",
        "StartEpoch": 5000, "EndEpoch": 600_000, "StoragePricePerEpoch": "7",
        "ProviderCollateral": "8", "ClientCollateral": "9",
    })
}

/// Orders both; their numbers.
pub(crate) async fn order(net: &Net) -> (Value, Value) {
    let wanted = allocation(net).await;
    let allocation = net.call("Devnet.Allocate", json!([wanted])).await;
    let wanted = deal(net).await;
    let deal = net.call("Devnet.PublishDeal", json!([wanted])).await;
    (allocation, deal)
}

async fn told(net: &Net, client: &Value) -> (Value, Value) {
    let allocation = net.call("Filecoin.StateGetAllocation", json!([client, 1, []]));
    let pending = "Filecoin.StateGetAllocationIdForPendingDeal";
    (allocation.await, net.call(pending, json!([0, []])).await)
}

#[tokio::test]
async fn what_was_ordered_is_there_with_the_next_tipset_also_after_a_restart() {
    let net = Net::new(0);
    net.mine(3).await;
    let (_, faucet) = net.keys().await;
    let faucet = json!(faucet);
    assert_eq!(order(&net).await, (json!(1), json!(0)));
    assert_eq!(told(&net, &faucet).await, (Value::Null, json!(0)));

    let net = net.restart();
    net.mine(2).await;
    let (found, pending) = told(&net, &faucet).await;
    assert_eq!(found, allocation(&net).await);
    assert_eq!(pending, 2);
    let found = net.call("Filecoin.StateMarketStorageDeal", json!([0, []]));
    let found = found.await;
    let mut proposal = deal(&net).await;
    proposal["Client"] = net
        .call("Filecoin.StateLookupID", json!([faucet, []]))
        .await;
    assert_eq!(found["Proposal"], proposal);
    let unknown = json!({
        "SectorNumber": 0, "SectorStartEpoch": -1, "LastUpdatedEpoch": -1, "SlashEpoch": -1,
    });
    assert_eq!(found["State"], unknown);

    // what is there is not made again, and a lost branch gives it back
    let net = net.restart();
    let head = net.mine(1).await;
    assert_eq!(told(&net, &faucet).await.1, 2);
    let blocks = head["Height"].as_i64().unwrap() - 3;
    net.call("Devnet.Reorg", json!([blocks, null, null])).await;
    assert_eq!(told(&net, &faucet).await, (Value::Null, json!(0)));
    let net = net.restart();
    net.mine(2).await;
    let (found, pending) = told(&net, &faucet).await;
    assert_eq!(found, allocation(&net).await);
    assert_eq!(pending, 2);
    let next = allocation(&net).await;
    assert_eq!(net.call("Devnet.Allocate", json!([next])).await, 3);
}

#[tokio::test]
async fn an_order_that_no_chain_takes_is_refused_with_its_words() {
    let net = Net::new(0);
    let mut wanted = allocation(&net).await;
    wanted["TermMin"] = json!(7);
    let error = net.fails("Devnet.Allocate", json!([wanted])).await;
    assert_eq!(error, "allocation term min 7 below limit 518400");
    let mut wanted = deal(&net).await;
    wanted["EndEpoch"] = json!(6000);
    let error = net.fails("Devnet.PublishDeal", json!([wanted])).await;
    assert_eq!(error, "Deal duration out of bounds.");
}
