//! What the manager's configuration accepts, refuses, and makes of it.

use super::*;
use crate::policy::{Aggregate, AggregatePolicy, FeePolicy};
use fvm_shared::{address::Address, econ::TokenAmount};

const GOOD: &str = r#"
[common.api]
chain = "aa.bb.cc:/ip4/127.0.0.1/tcp/1234/http"
[[Common.PersistStores]]
Path = "/stores/one"
[[Miners]]
Actor = 1000
"#;

fn read(text: &str) -> Result<Config, String> {
    check_text(Path::new("m.cfg"), text).map_err(|e| e.message)
}

#[test]
fn defaults_are_upstreams() {
    let config = read(GOOD).unwrap();
    assert_eq!(config.nodes[0].url, "http://127.0.0.1:1234/rpc/v1");
    assert_eq!(config.nodes[0].token.as_deref(), Some("aa.bb.cc"));
    assert_eq!(config.stores[0].name, "/stores/one");
    assert_eq!(config.proving, ProvingPolicy::default());
    let miner = &config.miners[0];
    assert_eq!(miner.actor, 1000);
    assert_eq!(
        (miner.pre.batch.threshold, miner.prove.batch.threshold),
        (2, 4)
    );
    assert_eq!(miner.pre.batch.max_wait, Duration::from_secs(3600));
    assert_eq!(miner.pre.batch.check_interval, Duration::from_secs(60));
    assert_eq!(miner.prove.fee, FeePolicy::default());
    assert_eq!((miner.confidence, miner.post.confidence), (10, 10));
    assert!(miner.pre.send_fund && miner.post.enabled);
    assert_eq!(miner.sector.lifetime_days, 540);
    assert!(!config.effective.contains("aa.bb"), "{}", config.effective);
    assert!(
        config.effective.contains("***:/ip4/127.0.0.1"),
        "{}",
        config.effective
    );
}

#[test]
fn the_library_proves_where_the_operator_says_so() {
    let by = |word| read(&format!("{GOOD}[Common.Proving]\nKernel = {word:?}\n"));
    let kernel = by("filecoin-proofs").unwrap().proving.kernel;
    assert_eq!(kernel, KernelChoice::FilecoinProofs);
    assert_eq!(by("auto").unwrap().proving, ProvingPolicy::default());
    let fault = by("bellperson").unwrap_err();
    assert!(fault.contains("Common.Proving.Kernel"), "{fault}");
}

#[test]
fn proofs_are_aggregated_where_that_is_cheaper_unless_the_operator_says_otherwise() {
    let with = |table: &str, keys: &str| {
        read(&format!(
            "{GOOD}[Miners.Commitment.{table}.Batch]\n{keys}\n"
        ))
    };
    let of = |keys: &str| with("Prove", keys).map(|c| c.miners[0].prove.batch.aggregate.clone());
    assert_eq!(of("").unwrap(), AggregatePolicy::default());
    for (word, when) in [
        ("auto", Aggregate::Auto),
        ("Always", Aggregate::Always),
        ("never", Aggregate::Never),
    ] {
        assert_eq!(of(&format!("Aggregate = {word:?}")).unwrap().when, when);
    }
    let above = of("BatchCommitAboveBaseFee = \"2 nanofil\"\nThreshold = 9").unwrap();
    assert_eq!(above.above_base_fee, TokenAmount::from_nano(2));
    let fault = of("Aggregate = \"maybe\"").unwrap_err();
    assert!(
        fault.contains("Prove.Batch.Aggregate: \"maybe\" is not known"),
        "{fault}"
    );
    // precommits have no proofs
    let pre = with("Pre", "").unwrap().miners[0]
        .pre
        .batch
        .aggregate
        .clone();
    assert_eq!(pre, AggregatePolicy::never());
    let fault = with("Pre", "Aggregate = \"auto\"").unwrap_err();
    assert!(
        fault.contains("Pre.Batch.Aggregate: unknown key"),
        "{fault}"
    );
}

#[test]
fn a_table_with_some_keys_keeps_the_other_defaults() {
    let config = read(&format!(
        "{GOOD}[Miners.Commitment.Pre]\nSendFund = false\nGasFeeCap = \"\"\nMaxFeeCap = \"2 nanofil\"\nSender = \"t01\"\nSenders = [\"f02\", \"t01\"]\n[Miners.post]\nSubmitConfidence = 3\n[Miners.Sector]\nInitNumber = 7\n"
    ))
    .unwrap();
    let miner = &config.miners[0];
    assert_eq!(miner.pre.batch.threshold, 2);
    assert!(!miner.pre.send_fund);
    assert_eq!(miner.pre.fee.gas_fee_cap, TokenAmount::from_nano(2));
    assert_eq!(miner.pre.senders, [Address::new_id(2), Address::new_id(1)]);
    assert_eq!(miner.post.submit_confidence, Some(3));
    assert_eq!(miner.sector.min_number, 7);
    // what is shown is what holds, not what stands in the file
    for line in [
        "MinNumber = 7",
        "Threshold = 2",
        "Threshold = 4",
        "Weight = 1",
    ] {
        assert!(
            config.effective.contains(line),
            "{line}\n{}",
            config.effective
        );
    }
}

#[test]
fn all_faults_at_once() {
    let text = r#"
[Common.API]
Token = "x"
[Common.Auth]
AllowAnonymous = ["10.0.0.0/8", "everybody"]
[Common.DB]
Driver = "mongo"
[[Common.PersistStores]]
Name = "a"
[[Common.PersistStores]]
Path = "/a"
Name = "same"
[[Common.PersistStores]]
Path = "/b"
Name = "same"
[[Miners]]
[Miners.Sector]
MinNumber = 5
MaxNumber = 5
EnableDeals = true
[Miners.SnapUp]
Enabled = true
[Miners.Commitment]
Confidence = -1
[Miners.Commitment.Prove]
GasOverEstimation = 0.5
GasFeeCap = "5 wei"
[Miners.Commitment.Prove.Batch]
CheckInterval = "0s"
Treshold = 1
"#;
    let message = read(text).unwrap_err();
    let found: Vec<&str> = message.lines().collect();
    let expected = [
        "13 faults in m.cfg",
        "m.cfg:2: Common.API.Chain: the address of the Filecoin node is missing",
        "m.cfg:5: Common.Auth.AllowAnonymous[1]: \"everybody\" is not a network",
        "m.cfg:7: Common.DB.Driver: \"mongo\" is not supported",
        "m.cfg:8: Common.PersistStores[0].Path: the store's directory is missing",
        "m.cfg:15: Common.PersistStores[2].Name: another persist store is called \"same\"",
        "m.cfg:16: Miners[0].Actor: the miner's actor id is missing",
        "m.cfg:19: Miners[0].Sector.MaxNumber: no number is left",
        "m.cfg:22: Miners[0].SnapUp.Enabled: this is known from upstream, but not supported by this version; switch it off",
        "m.cfg:24: Miners[0].Commitment.Confidence: -1 epochs are not possible",
        "m.cfg:26: Miners[0].Commitment.Prove.GasOverEstimation: 0.5 would let messages run out of gas",
        "m.cfg:27: Miners[0].Commitment.Prove.GasFeeCap: \"5 wei\" is not an amount of FIL",
        "m.cfg:29: Miners[0].Commitment.Prove.Batch.CheckInterval: must be more than 0",
        "m.cfg:30: Miners[0].Commitment.Prove.Batch.Treshold: unknown key; did you mean \"Threshold\"?",
    ];
    assert_eq!(found.len(), expected.len(), "{message}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\nis not\n{expected}");
    }
}

#[test]
fn a_precommit_must_not_wait_for_longer_than_its_ticket_lives() {
    let told = |batch: &str| {
        let table = format!("{GOOD}[Miners.Commitment.Pre.Batch]\n{batch}\n");
        let notices = read(&table).unwrap().notices;
        notices.iter().any(|n| n.key.ends_with("Pre.Batch.MaxWait"))
    };
    assert!(told("MaxWait = \"14h1s\""));
    assert!(!told("MaxWait = \"14h\""));
    assert!(!told("MaxWait = \"20h\"\nThreshold = 1"), "nothing waits");
}

#[test]
fn a_hung_disk_cannot_hold_up_the_check_for_only_texts_are_looked_at() {
    // what is named here does not exist, or would be refused if anybody looked
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().display();
    std::fs::write(root.path().join(".holder"), "").unwrap();
    std::fs::write(root.path().join("sectorstore.json"), "nonsense").unwrap();
    let text = format!(
        "[common]\nScanPersistStores = [\"{dir}*\", \"/none/**\"]\n{}",
        GOOD.replace("/stores/one", &format!("{dir}/none")),
    );
    let config = read(&text).unwrap();
    assert_eq!(config.stores.len(), 1);
    assert_eq!(config.store_scans, [format!("{dir}*"), "/none/**".into()]);
    let bad = "[common]\nScanPersistStores = [\"[\"]\n";
    let message = read(&format!("{bad}{GOOD}")).unwrap_err();
    assert!(message.contains("is not a glob pattern"), "{message}");
}

#[test]
fn one_directory_under_two_names_is_refused() {
    for again in ["/stores/one", "/stores/./one/", "//stores/one"] {
        let text = format!("{GOOD}[[Common.PersistStores]]\nName = \"b\"\nPath = \"{again}\"\n");
        let message = read(&text).unwrap_err();
        assert!(
            message.contains("PersistStores[1].Path: it is the directory of the persist store"),
            "{message}"
        );
    }
    let beside = format!("{GOOD}[[Common.PersistStores]]\nPath = \"/stores/one1\"\n");
    assert_eq!(read(&beside).unwrap().stores.len(), 2);
}

#[test]
fn what_upstreams_init_writes_loads_and_its_database_is_told() {
    let text = format!(
        "{}[[Common.PersistStores]]\n[Common.PieceStorePreset]\nReadOnly = true\n[Common.DB.Badger]\nBaseDir = \"/old\"\n",
        GOOD,
    );
    let config = read(&text).unwrap();
    assert_eq!(config.stores.len(), 1);
    assert_eq!(config.upstream_database.as_deref(), Some(Path::new("/old")));
    let told = |key: &str, says: &str| {
        let mut all = config.notices.iter();
        all.any(|n| n.key.contains(key) && n.message.contains(says))
    };
    assert!(
        told("PersistStores[1]", "passed over"),
        "{:?}",
        config.notices
    );
    assert!(told("PieceStorePreset", "retired"));
    assert!(told("Badger.BaseDir", "not to begin anew"));
}

#[test]
fn messages_go_where_upstreams_went_unless_a_person_says_otherwise() {
    let with = |keys: &str| {
        let api = format!("[Common.API]\n{keys}\n");
        let text = GOOD.replace("[common.api]\n", &api);
        let config = read(&text).unwrap();
        let told = |n: &Notice| n.message.contains("SendsItself").then(|| n.key.clone());
        let told: Vec<String> = config.notices.iter().filter_map(told).collect();
        let url = config.messager.as_ref().map(|m| m.url.clone());
        (url, told, config)
    };
    let own = "a.b.own:/ip4/1.2.3.4/tcp/39812";
    let (url, told, config) = with(&format!("Token = \"a.b.c\"\nMessager = {own:?}"));
    assert_eq!(url.as_deref(), Some("ws://1.2.3.4:39812/rpc/v0"));
    assert_eq!(config.messager.unwrap().token.as_deref(), Some("a.b.own"));
    assert!(told.is_empty(), "{told:?}");
    assert!(
        !config.effective.contains("a.b.own"),
        "{}",
        config.effective
    );

    let gateway = "Gateway = [\"/ip4/1.2.3.4/tcp/45132\"]";
    let (url, told, _) = with(gateway);
    assert_eq!(url.as_deref(), Some("ws://1.2.3.4:45132/rpc/v0"));
    assert_eq!(told.len(), 1, "a person hears of it");

    for both in [gateway.to_owned(), format!("Messager = {own:?}")] {
        let (url, told, _) = with(&format!("SendsItself = true\n{both}"));
        assert_eq!((url, told.len()), (None, 1), "{both}");
    }
    assert_eq!(with("").0, None);
    let wrong = GOOD.replace("[common.api]\n", "[common.api]\nMessager = \"h:1\"\n");
    assert!(read(&wrong).unwrap_err().contains("Common.API.Messager"));
}

#[test]
fn the_market_is_the_one_that_is_named_or_behind_the_gateway_where_deals_are_wanted() {
    let on = format!("{GOOD}[Miners.Sector]\nEnableDeals = true\n");
    let config = read(&on).unwrap();
    assert!(config.miners[0].sector.enable_deals);
    assert_eq!(config.market, None);
    let with = |text: &str, key: &str| {
        let text = text.replace("[[Common", &format!("SendsItself = true\n{key}\n[[Common"));
        let market = read(&text).unwrap().market?;
        Some((market.endpoint.url.clone(), market.named, market.origin()?))
    };
    let named = ("ws://m:1/rpc/v1".into(), true, "http://m:1".into());
    let key = "Market = \"/dns/m/tcp/1\"";
    assert_eq!(with(&on, key), Some(named.clone()));
    assert_eq!(with(GOOD, key), Some(named), "for pieces");
    let behind = ("https://g/rpc/v1".into(), false, "https://g".into());
    let key = "Gateway = [\"https://g/\"]";
    assert_eq!(with(&on, key), Some(behind));
    assert_eq!(with(GOOD, key), None, "nobody wants any");
    let wrong = on.replace("[[Common", "Market = \"m\"\n[[Common");
    assert!(read(&wrong).unwrap_err().contains("Common.API.Market"));
}

#[test]
fn the_default_file_loads_and_names_only_what_is_missing() {
    let message = read(&crate::config::default_file()).unwrap_err();
    assert!(message.starts_with("2 faults"), "{message}");
    let uncommented: String = crate::config::default_file()
        .lines()
        // keys have no blank after the '#', prose has
        .filter_map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' ')))
        .filter(|l| !l.contains("= #"))
        .map(|l| format!("{l}\n"))
        .collect();
    let uncommented = uncommented
        .replace("[Common.API]\n", "[Common.API]\nChain = \"http://n:1\"\n")
        .replace("[[Common.PersistStores]]\n", "[[Common.PersistStores]]\n#")
        .replace("[[Miners]]\n", "[[Miners]]\nActor = 1000\n")
        .replace("#Path = \"\"", "")
        .replace("Path = \"\"", "Path = \"/a\"");
    let config = check_text(Path::new("d.cfg"), &uncommented)
        .map_err(|e| e.message)
        .unwrap();
    let plain = check_text(
        Path::new("d.cfg"),
        "[Common.API]\nChain = \"http://n:1\"\n[[Common.PersistStores]]\nPath = \"/a\"\n[[Miners]]\nActor = 1000\n",
    )
    .unwrap();
    assert_eq!(
        config.miners, plain.miners,
        "the commented values are the defaults"
    );
    assert_eq!((config.proving, config.nodes), (plain.proving, plain.nodes));
}

#[test]
fn a_bare_number_for_a_duration_is_told_how_to_write_it() {
    let told = read(&format!(
        "{GOOD}[Miners.Commitment.Pre.Batch]\nMaxWait = 30\n"
    ));
    let told = told.map(drop).unwrap_err();
    assert!(
        told.contains("must be a duration in quotes, such as \"15s\" or \"1h30m\", but is 30"),
        "{told}"
    );
}
