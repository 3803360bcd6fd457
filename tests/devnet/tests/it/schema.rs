//! Every served method is called, and its answer compared with the facts of the node API in
//! `schema-facts.json`: number of parameters, keys and kinds of the result. A key that the
//! API does not know is a fault as well as one that is missing.

use std::collections::BTreeSet;

use crate::support::{Net, transfer};
use crate::{blocks, data};
use damocles_node::method::METHODS;
use serde_json::{Map, Value, json};

struct Facts {
    types: Map<String, Value>,
    methods: Map<String, Value>,
}

impl Facts {
    fn read() -> Self {
        let all: Value = serde_json::from_str(include_str!("schema-facts.json")).unwrap();
        let part = |name: &str| all[name].as_object().unwrap().clone();
        Facts {
            types: part("types"),
            methods: part("methods"),
        }
    }

    /// Why `value` is not of `kind`, if it is not. Kinds: `any`, `null`, `bool`, `int`,
    /// `number`, `string`, `cid`, `#Type`, `{"nullable": k}`, `{"array": k}`,
    /// `{"object": {required}, "optional": {…}}`.
    fn fault(&self, value: &Value, kind: &Value, at: &str) -> Option<String> {
        let wrong = |what: &str| Some(format!("{at}: {what}, not {value}"));
        let ok = |is: bool, what: &str| if is { None } else { wrong(what) };
        if let Some(name) = kind.as_str() {
            return match name {
                "any" => None,
                "null" => ok(value.is_null(), "null"),
                "bool" => ok(value.is_boolean(), "a boolean"),
                "int" => ok(value.is_i64() || value.is_u64(), "an integer"),
                "number" => ok(value.is_number(), "a number"),
                "string" => ok(value.is_string(), "a string"),
                "cid" => {
                    let link = value.as_object().filter(|o| o.len() == 1);
                    let text = link.and_then(|o| o.get("/")).and_then(Value::as_str);
                    let good = text.is_some_and(|t| t.parse::<cid::Cid>().is_ok());
                    ok(good, "a CID link")
                }
                name => {
                    let named = name.strip_prefix('#').and_then(|n| self.types.get(n));
                    let kind = named.unwrap_or_else(|| panic!("unknown kind {name}"));
                    self.fault(value, kind, at)
                }
            };
        }
        if let Some(inner) = kind.get("nullable") {
            return match value {
                Value::Null => None,
                value => self.fault(value, inner, at),
            };
        }
        if let Some(item) = kind.get("array") {
            let Some(values) = value.as_array() else {
                return wrong("an array");
            };
            let mut indexed = values.iter().enumerate();
            return indexed.find_map(|(i, v)| self.fault(v, item, &format!("{at}[{i}]")));
        }
        let required = kind["object"].as_object().unwrap();
        let none = Map::new();
        let optional = kind
            .get("optional")
            .map_or(&none, |o| o.as_object().unwrap());
        let Some(object) = value.as_object() else {
            return wrong("an object");
        };
        if let Some(missing) = required.keys().find(|k| !object.contains_key(*k)) {
            return Some(format!("{at}: key {missing} is missing"));
        }
        object.iter().find_map(|(key, value)| {
            let Some(kind) = required.get(key).or_else(|| optional.get(key)) else {
                return Some(format!("{at}: key {key} is not in the API"));
            };
            self.fault(value, kind, &format!("{at}.{key}"))
        })
    }
}

#[test]
fn the_checker_finds_faults() {
    let facts = Facts::read();
    let kind = json!({"object": {"A": "int"}, "optional": {"B": {"nullable": {"array": "cid"}}}});
    let cid = "bafy2bzacea3wsdh6y3a36tb3skempjoxqpuyompjbmfeyf34fi3uy6uue42v4";
    for good in [
        json!({"A": 1}),
        json!({"A": -1, "B": null}),
        json!({"A": 1, "B": [{"/": cid}]}),
    ] {
        assert_eq!(facts.fault(&good, &kind, ""), None);
    }
    for bad in [
        json!({}),
        json!({"A": "1"}),
        json!({"A": 1.5}),
        json!({"A": 1, "C": 1}),
        json!({"A": 1, "B": [cid]}),
        json!({"A": 1, "B": [{"/": "x"}]}),
        json!([]),
    ] {
        assert!(facts.fault(&bad, &kind, "").is_some(), "{bad}");
    }
}

#[test]
fn parameters_are_as_many_as_the_api_has() {
    let facts = Facts::read();
    for method in METHODS.iter().filter(|m| m.name.starts_with("Filecoin.")) {
        let known = facts.methods[method.name]["params"].as_array().unwrap();
        assert_eq!(method.params.len(), known.len(), "{}", method.name);
    }
}

/// Real parameters for every method, in an order in which they can be called.
async fn calls(net: &Net) -> Vec<(&'static str, Value)> {
    let head = net.call("Filecoin.ChainHead", json!([])).await;
    let height = head["Height"].as_i64().unwrap();
    let block = &head["Cids"][0];
    let (miner_key, faucet) = net.keys().await;
    let transfer = transfer(&miner_key, &faucet, "5");
    let landed = net
        .call("Filecoin.MpoolPushMessage", json!([transfer, null]))
        .await["CID"]
        .take();
    let (allocation, deal) = data::order(net).await;
    net.mine(2).await;
    let filled = net
        .call(
            "Filecoin.GasEstimateMessageGas",
            json!([transfer, null, []]),
        )
        .await;
    let signed = net
        .call("Filecoin.WalletSignMessage", json!([miner_key, filled]))
        .await;
    let key = net.call("Filecoin.WalletExport", json!([faucet])).await;
    let sealed = net
        .call("Filecoin.StateSectorGetInfo", json!(["t01000", 0, []]))
        .await["SealedCID"]
        .take();
    let precommit = json!({
        "SealProof": 5, "SectorNumber": 9, "SealedCID": sealed, "SealRandEpoch": 1,
        "DealIDs": null, "Expiration": 1_000_000, "UnsealedCid": null,
    });
    let (_, template) = blocks::won(net).await;
    let made = blocks::made(net, &template).await;
    let token = net.token(damocles_node::method::Permission::Read);
    let m = "t01000";
    vec![
        ("Version", json!([])),
        ("ID", json!([])),
        ("NetAddrsListen", json!([])),
        ("AuthVerify", json!([token])),
        ("AuthNew", json!([["read"]])),
        ("ChainHead", json!([])),
        ("ChainGetGenesis", json!([])),
        ("ChainGetTipSet", json!([[block]])),
        ("ChainGetTipSetByHeight", json!([height, []])),
        ("ChainGetTipSetAfterHeight", json!([height, null])),
        ("ChainGetFinalizedTipSet", json!([])),
        ("ChainGetBlock", json!([block])),
        ("ChainGetBlockMessages", json!([block])),
        ("ChainGetMessage", json!([landed])),
        ("ChainReadObj", json!([block])),
        ("ChainHasObj", json!([block])),
        ("SyncState", json!([])),
        ("StateNetworkName", json!([])),
        ("StateNetworkVersion", json!([[]])),
        ("StateGetNetworkParams", json!([])),
        ("StateGetActor", json!([m, []])),
        ("StateReadState", json!([m, []])),
        ("StateLookupID", json!([miner_key, []])),
        ("StateAccountKey", json!([miner_key, []])),
        ("StateListMiners", json!([[]])),
        ("StateCall", json!([transfer, []])),
        ("StateSearchMsg", json!([[], landed, -1, true])),
        ("StateWaitMsg", json!([landed, 0, -1, true])),
        ("StateMinerInfo", json!([m, []])),
        ("StateMinerPower", json!([m, []])),
        ("StateMinerAvailableBalance", json!([m, []])),
        ("StateMinerDeadlines", json!([m, []])),
        ("StateMinerPartitions", json!([m, 0, []])),
        ("StateMinerProvingDeadline", json!([m, []])),
        ("StateMinerSectors", json!([m, null, []])),
        ("StateMinerSectors", json!([m, [0, 1], []])),
        ("StateMinerActiveSectors", json!([m, []])),
        ("StateMinerSectorCount", json!([m, []])),
        ("StateMinerFaults", json!([m, []])),
        ("StateMinerRecoveries", json!([m, []])),
        ("StateMinerAllocated", json!([m, []])),
        ("StateMinerSectorAllocated", json!([m, 0, []])),
        ("StateSectorGetInfo", json!([m, 0, []])),
        ("StateSectorPreCommitInfo", json!([m, 0, []])),
        ("StateSectorPartition", json!([m, 0, []])),
        ("StateSectorExpiration", json!([m, 0, []])),
        ("StateGetAllocation", json!([faucet, allocation, []])),
        ("StateGetAllocationIdForPendingDeal", json!([deal, []])),
        ("StateGetClaim", json!([m, 1, []])),
        ("StateMarketStorageDeal", json!([deal, []])),
        (
            "StateMinerPreCommitDepositForPower",
            json!([m, precommit, []]),
        ),
        (
            "StateMinerInitialPledgeCollateral",
            json!([m, precommit, []]),
        ),
        (
            "StateMinerInitialPledgeForSector",
            json!([1_000_000, 2048, 0, []]),
        ),
        ("StateMinerCreationDeposit", json!([[]])),
        (
            "StateGetRandomnessFromTickets",
            json!([1, height, "AQI=", [block]]),
        ),
        ("StateGetRandomnessFromBeacon", json!([6, height, null, []])),
        ("StateGetRandomnessDigestFromTickets", json!([height, []])),
        ("StateGetRandomnessDigestFromBeacon", json!([height, []])),
        ("StateGetBeaconEntry", json!([height])),
        ("MinerGetBaseInfo", json!([m, height + 1, [block]])),
        ("MinerCreateBlock", json!([template])),
        ("SyncSubmitBlock", json!([made])),
        ("MpoolPushMessage", json!([transfer, null])),
        ("MpoolPending", json!([[]])),
        ("MpoolSelect", json!([[], 0.5])),
        ("MpoolGetNonce", json!([miner_key])),
        ("GasEstimateMessageGas", json!([transfer, null, []])),
        ("GasEstimateFeeCap", json!([filled, 20, []])),
        (
            "GasEstimateGasPremium",
            json!([10, miner_key, 1_000_000, []]),
        ),
        ("GasEstimateGasLimit", json!([transfer, []])),
        ("WalletNew", json!(["bls"])),
        ("WalletHas", json!([faucet])),
        ("WalletList", json!([])),
        ("WalletBalance", json!([faucet])),
        ("WalletSign", json!([faucet, "AQI="])),
        ("WalletSignMessage", json!([miner_key, filled])),
        (
            "WalletVerify",
            json!([miner_key, "AQI=", signed["Signature"]]),
        ),
        ("WalletDefaultAddress", json!([])),
        ("WalletSetDefault", json!([miner_key])),
        ("WalletExport", json!([faucet])),
        ("WalletDelete", json!([faucet])),
        ("WalletImport", json!([key])),
    ]
}

#[tokio::test]
async fn every_answer_has_the_shape_of_the_api() {
    let net = Net::new(2);
    net.mine(3).await;
    let facts = Facts::read();
    let mut called = BTreeSet::from([
        "Filecoin.ChainNotify".to_owned(),
        "Filecoin.MpoolPush".to_owned(),
    ]);
    let mut faults = Vec::new();
    for (name, params) in calls(&net).await {
        let name = format!("Filecoin.{name}");
        let result = net.call(&name, params).await;
        let kind = &facts.methods[&name]["result"];
        faults.extend(facts.fault(&result, kind, &name));
        called.insert(name);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    // MpoolPush wants a signed message with the nonce of the moment.
    let (_, faucet) = net.keys().await;
    let message = transfer(&faucet, "t01000", "1");
    let message = net
        .call("Filecoin.GasEstimateMessageGas", json!([message, null, []]))
        .await;
    let signed = net
        .call("Filecoin.WalletSignMessage", json!([faucet, message]))
        .await;
    let cid = net.call("Filecoin.MpoolPush", json!([signed])).await;
    assert_eq!(facts.fault(&cid, &json!("cid"), "MpoolPush"), None);

    let all = METHODS.iter().map(|m| m.name.to_owned());
    let missed: Vec<_> = all
        .filter(|n| n.starts_with("Filecoin.") && !called.contains(n))
        .collect();
    assert!(missed.is_empty(), "not called: {missed:?}");
}
