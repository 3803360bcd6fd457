//! The JSON of every shape against texts that were written by hand from the node's
//! documentation: what we write is that text, what we read from it writes it again.

use damocles_node::*;
use fvm_shared::address::{Address, Network, set_current_network};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;

const CID: &str = "bafy2bzacea3wsdh6y3a36tb3skempjoxqpuyompjbmfeyf34fi3uy6uue42v4";

fn cid() -> Value {
    json!({"/": CID})
}

/// Reads `form` as `T`, compares what `T` writes with `form`.
fn exact<T: Serialize + DeserializeOwned + PartialEq + Debug>(form: Value) -> T {
    set_current_network(Network::Testnet);
    let value: T = serde_json::from_value(form.clone()).unwrap();
    assert_eq!(serde_json::to_value(&value).unwrap(), form);
    // and from text, as it comes from a socket
    let again: T = serde_json::from_str(&form.to_string()).unwrap();
    assert_eq!(again, value);
    value
}

/// Reads another node's spelling of the same value.
fn also<T: DeserializeOwned + PartialEq + Debug>(value: &T, form: Value) {
    assert_eq!(&serde_json::from_value::<T>(form).unwrap(), value);
}

fn block() -> Value {
    json!({
        "Miner": "t01000",
        "Ticket": {"VRFProof": "AQID"},
        "ElectionProof": {"WinCount": 1, "VRFProof": "BAUG"},
        "BeaconEntries": [{"Round": 17133822, "Data": "AQ=="}],
        "WinPoStProof": [{"PoStProof": 0, "ProofBytes": "Ag=="}],
        "Parents": [cid()],
        "ParentWeight": "116013147118",
        "Height": 77,
        "ParentStateRoot": cid(),
        "ParentMessageReceipts": cid(),
        "Messages": cid(),
        "BLSAggregate": {"Type": 2, "Data": "AQ=="},
        "Timestamp": 1744204890,
        "BlockSig": {"Type": 2, "Data": "AQ=="},
        "ForkSignaling": 0,
        "ParentBaseFee": "20592036",
    })
}

fn message() -> Value {
    // Version 0, To t01000, From t0100, nonce 7 … encoded by hand:
    // 8a 00 42 00e807 42 0064 … → the CID is checked against the encoder below.
    json!({
        "Version": 0, "To": "t01000", "From": "t0100", "Nonce": 7, "Value": "5",
        "GasLimit": 9, "GasFeeCap": "3", "GasPremium": "2", "Method": 28, "Params": "gYA=",
    })
}

#[test]
fn tipset_and_head_change() {
    let tipset = json!({"Cids": [cid()], "Blocks": [block()], "Height": 77});
    let value: TipSet = exact(tipset.clone());
    assert_eq!(value.height, 77);
    assert_eq!(value.blocks[0].beacon_entries[0].round, 17_133_822);
    let change: Vec<HeadChange> = exact(json!([{"Type": "apply", "Val": tipset}]));
    assert_eq!(change[0].r#type, ChangeKind::Apply);
}

#[test]
fn a_block_with_absent_pointers() {
    let mut form = block();
    for key in ["Ticket", "ElectionProof", "BLSAggregate", "BlockSig"] {
        form[key] = Value::Null;
    }
    // as Go writes an empty list
    form["BeaconEntries"] = Value::Null;
    form["WinPoStProof"] = Value::Null;
    let value: BlockHeader = exact(form.clone());
    assert!(value.ticket.is_none() && value.bls_aggregate.is_none());
    form["BeaconEntries"] = json!([]);
    form["WinPoStProof"] = json!([]);
    also(&value, form);
}

#[test]
fn tipset_keys() {
    let key: TipSetKey = exact(json!([cid(), cid()]));
    assert!(!key.is_head());
    let head: TipSetKey = exact(json!([]));
    assert!(head.is_head());
    also(&head, Value::Null);
}

#[test]
fn messages_carry_their_cid_and_need_none() {
    let value: Message = serde_json::from_value(message()).unwrap();
    // DAG-CBOR by hand: array(10), 0, bytes(3) 00e807, bytes(2) 0064, 7, bytes(2) 0005
    // (sign byte, magnitude), 9, bytes(2) 0003, bytes(2) 0002, 28 = 181c, bytes(2) 8180.
    let bytes = [
        0x8a, 0x00, 0x43, 0x00, 0xe8, 0x07, 0x42, 0x00, 0x64, 0x07, 0x42, 0x00, 0x05, 0x09, 0x42,
        0x00, 0x03, 0x42, 0x00, 0x02, 0x18, 0x1c, 0x42, 0x81, 0x80,
    ];
    assert_eq!(value.encode(), bytes);
    let mut form = message();
    form["CID"] = json!({"/": value.cid().to_string()});
    let same: Message = exact(form.clone());
    assert_eq!(same, value);
    // A caller's CID is not believed.
    form["CID"] = cid();
    also(&value, form);
    // Only the addresses are needed; no parameters are null.
    let least: Message = serde_json::from_value(json!({"To": "f01000", "From": "f0100"})).unwrap();
    assert_eq!(least.gas_limit, 0);
    assert_eq!(serde_json::to_value(&least).unwrap()["Params"], Value::Null);
    assert!(serde_json::from_value::<Message>(json!({"To": "t01000"})).is_err());
}

#[test]
fn signed_messages() {
    let mut unsigned = message();
    let plain: Message = serde_json::from_value(unsigned.clone()).unwrap();
    unsigned["CID"] = json!({"/": plain.cid().to_string()});
    let bls = json!({
        "Message": unsigned, "Signature": {"Type": 2, "Data": "AQ=="}, "CID": unsigned["CID"],
    });
    let value: SignedMessage = exact(bls);
    assert_eq!(value.cid(), plain.cid());

    let mut secp = value.clone();
    secp.signature.sig_type = fvm_shared::crypto::signature::SignatureType::Secp256k1;
    // array(2), the message, bytes(2) of type and signature
    let mut bytes = vec![0x82];
    bytes.extend(plain.encode());
    bytes.extend([0x42, 0x01, 0x01]);
    assert_eq!(secp.cid(), message::chain_cid(&bytes));
}

#[test]
fn send_spec() {
    let spec: SendSpec = exact(json!({
        "MaxFee": "70000000000000000",
        "MsgUuid": "07070707-0707-0707-0707-070707070707",
        "MaximizeFeeCap": true,
    }));
    assert!(!spec.msg_uuid.is_nil());
    also(&SendSpec::default(), json!({}));
}

#[test]
fn lookup_and_receipt() {
    let value: MsgLookup = exact(json!({
        "Message": cid(),
        "Receipt": {"ExitCode": 16, "Return": "gA==", "GasUsed": 9, "EventsRoot": null},
        "ReturnDec": null,
        "TipSet": [cid()],
        "Height": 10101,
    }));
    assert_eq!(value.receipt.exit_code, 16);
    let absent: Option<MsgLookup> = exact(Value::Null);
    assert!(absent.is_none());
}

#[test]
fn miner_info() {
    let form = json!({
        "Owner": "t0100", "Worker": "t0101", "NewWorker": "<empty>",
        "ControlAddresses": ["t0102"], "WorkerChangeEpoch": -1, "PeerId": null,
        "Multiaddrs": ["BH8AAAE="], "WindowPoStProofType": 10, "SectorSize": 2048,
        "WindowPoStPartitionSectors": 2, "ConsensusFaultElapsed": -1,
        "PendingOwnerAddress": null, "Beneficiary": "t0100",
        "BeneficiaryTerm": {"Quota": "0", "UsedQuota": "0", "Expiration": 0},
        "PendingBeneficiaryTerm": null,
    });
    let value: MinerInfo = exact(form.clone());
    assert_eq!(value.worker, Address::new_id(101));
    let mut forest = form;
    forest["NewWorker"] = Value::Null;
    also(&value, forest);
}

#[test]
fn power_and_count() {
    let claim = json!({"RawBytePower": "4096", "QualityAdjPower": "40960"});
    exact::<MinerPower>(json!({"MinerPower": claim, "TotalPower": claim, "HasMinPower": true}));
    exact::<MinerSectors>(json!({"Live": 3, "Active": 2, "Faulty": 1}));
}

#[test]
fn deadlines_and_partitions() {
    let info: DeadlineInfo = exact(json!({
        "CurrentEpoch": 100, "PeriodStart": 60, "Index": 1, "Open": 80, "Close": 100,
        "Challenge": 60, "FaultCutoff": 10, "WPoStPeriodDeadlines": 48,
        "WPoStProvingPeriod": 2880, "WPoStChallengeWindow": 60, "WPoStChallengeLookback": 20,
        "FaultDeclarationCutoff": 70,
    }));
    assert_eq!(info.wpost_challenge_lookback, 20);
    let deadlines: Vec<Deadline> = exact(json!([
        {"PostSubmissions": [5, 1], "DisputableProofCount": 42, "DailyFee": "0"}
    ]));
    assert!(deadlines[0].post_submissions.get(5));
    let partition: Partition = exact(json!({
        "AllSectors": [0, 3], "FaultySectors": [1, 1], "RecoveringSectors": [0],
        "LiveSectors": [0, 3], "ActiveSectors": [0, 1, 1, 1],
    }));
    assert_eq!(partition.active_sectors.iter().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn sectors() {
    let mut form = json!({
        "SectorNumber": 9, "SealProof": 5, "SealedCID": cid(), "Activation": 10101,
        "Expiration": 20202, "DealWeight": "0", "VerifiedDealWeight": "0",
        "InitialPledge": "7", "ExpectedDayReward": "1", "ExpectedStoragePledge": "2",
        "PowerBaseEpoch": 10101, "ReplacedDayReward": "0", "SectorKeyCID": null,
        "Flags": 1, "DailyFee": "3",
    });
    let value: SectorOnChainInfo = exact(form.clone());
    assert_eq!(value.sector_number, 9);
    form["ExpectedDayReward"] = Value::Null;
    form["ExpectedStoragePledge"] = Value::Null;
    form["ReplacedDayReward"] = Value::Null;
    exact::<SectorOnChainInfo>(form);
    let absent: Option<SectorOnChainInfo> = exact(Value::Null);
    assert!(absent.is_none());

    let precommit = json!({
        "Info": {
            "SealProof": 5, "SectorNumber": 9, "SealedCID": cid(), "SealRandEpoch": -5,
            "DealIDs": null, "Expiration": 20202, "UnsealedCid": null,
        },
        "PreCommitDeposit": "11", "PreCommitEpoch": 40,
    });
    let value: SectorPreCommitOnChainInfo = exact(precommit.clone());
    let mut other = precommit;
    other["Info"]["DealIDs"] = json!([]);
    also(&value, other);
    exact::<SectorLocation>(json!({"Deadline": 2, "Partition": 0}));
    exact::<SectorExpiration>(json!({"OnTime": 5000, "Early": 0}));
}

#[test]
fn allocations_and_claims() {
    let value: Allocation = exact(json!({
        "Client": 1001, "Provider": 1000, "Data": cid(), "Size": 1024,
        "TermMin": 518400, "TermMax": 5256000, "Expiration": 10101,
    }));
    assert_eq!((value.client, value.provider), (1001, 1000));
    assert_eq!((value.term_min, value.term_max), (518_400, 5_256_000));
    let value: VerifiedClaim = exact(json!({
        "Provider": 1000, "Client": 1001, "Data": cid(), "Size": 1024,
        "TermMin": 518400, "TermMax": 5256000, "TermStart": 77, "Sector": 9,
    }));
    assert_eq!((value.client, value.provider), (1001, 1000));
    assert_eq!((value.term_start, value.sector), (77, 9));
    assert_eq!(exact::<Option<VerifiedClaim>>(Value::Null), None);
}

#[test]
fn deals() {
    let value: MarketDeal = exact(json!({
        "Proposal": {
            "PieceCID": cid(), "PieceSize": 1032, "VerifiedDeal": true,
            "Client": "t01001", "Provider": "t01000", "Label": "",
            "StartEpoch": 10101, "EndEpoch": 20202, "StoragePricePerEpoch": "1",
            "ProviderCollateral": "2", "ClientCollateral": "3",
        },
        "State": {
            "SectorNumber": 0, "SectorStartEpoch": -1, "LastUpdatedEpoch": -1, "SlashEpoch": -1,
        },
    }));
    assert_eq!(value.state, DealState::PENDING);
    assert_eq!(value.proposal.client, Address::new_id(1001));
    assert_eq!(value.proposal.provider, Address::new_id(1000));
    let active: DealState = exact(json!({
        "SectorNumber": 9, "SectorStartEpoch": 77, "LastUpdatedEpoch": 78, "SlashEpoch": 79,
    }));
    assert_eq!((active.sector_number, active.sector_start_epoch), (9, 77));
}

#[test]
fn network() {
    exact::<Version>(json!({
        "Version": "1.36.2+2k", "APIVersion": 131_840, "BlockDelay": 4, "Agent": "Lotus",
    }));
    let params: NetworkParams = exact(json!({
        "NetworkName": "localnet", "BlockDelaySecs": 4, "ConsensusMinerMinPower": "2048",
        "PreCommitChallengeDelay": 10,
        "ForkUpgradeParams": {"UpgradeSmokeHeight": -1, "UpgradeXxHeight": 200},
        "Eip155ChainID": 31_415_926, "GenesisTimestamp": 42,
    }));
    assert_eq!(params.pre_commit_challenge_delay, 10);
    exact::<ActorState>(json!({
        "Code": cid(), "Head": cid(), "Nonce": 42, "Balance": "0", "DelegatedAddress": null,
    }));
    exact::<ReadState>(json!({"Balance": "0", "Code": cid(), "State": {"Info": cid()}}));
    exact::<AddrInfo>(json!({"ID": "12D3KooW", "Addrs": ["/ip4/127.0.0.1/tcp/1347"]}));
}

#[test]
fn wallet_keys_never_show_in_debug() {
    let key: KeyInfo = exact(json!({"Type": "bls", "PrivateKey": "AQID"}));
    assert!(!format!("{key:?}").contains('1'));
    also(&key, json!({"Type": 2, "PrivateKey": "AQID"}));
    assert!(serde_json::from_value::<KeyType>(json!("ed25519")).is_err());
}

#[test]
fn invocation() {
    let mut unsigned = message();
    let plain: Message = serde_json::from_value(unsigned.clone()).unwrap();
    unsigned["CID"] = json!({"/": plain.cid().to_string()});
    exact::<InvocResult>(json!({
        "MsgCid": unsigned["CID"], "Msg": unsigned,
        "MsgRct": {"ExitCode": 0, "Return": null, "GasUsed": 9, "EventsRoot": null},
        "GasCost": {
            "Message": null, "GasUsed": "0", "BaseFeeBurn": "0", "OverEstimationBurn": "0",
            "MinerPenalty": "0", "MinerTip": "0", "Refund": "0", "TotalCost": "0",
        },
        "ExecutionTrace": null, "Error": "", "Duration": 60,
    }));
}

#[test]
fn devnet_records() {
    exact::<devnet::PostRecord>(json!({
        "Epoch": 5, "Deadline": 0, "Partition": 1, "Sectors": [1, 2], "Message": cid(),
    }));
    exact::<devnet::MessageRecord>(json!({
        "Cid": cid(), "From": "t0100", "To": "t01000", "Nonce": 1, "Method": 28,
        "Value": "0", "Epoch": 9, "ExitCode": 0, "Sectors": [3],
    }));
}

#[test]
fn what_makers_of_blocks_hear_and_say() {
    let entry = json!({"Round": 5, "Data": "AQ=="});
    let sector = json!({
        "SealProof": 8, "SectorNumber": 7, "SectorKey": null, "SealedCID": cid(),
    });
    let base = json!({
        "MinerPower": "34359738368", "NetworkPower": "99999999999999999999",
        "Sectors": [sector], "WorkerKey": "t0100", "SectorSize": 34_359_738_368_u64,
        "PrevBeaconEntry": {"Round": 4, "Data": "Ag=="}, "BeaconEntries": [entry],
        "EligibleForMining": true,
    });
    let base: MiningBaseInfo = exact(base);
    assert_eq!(base.beacon().round, 5);
    let mut without = serde_json::to_value(&base).unwrap();
    without["BeaconEntries"] = Value::Null;
    assert_eq!(exact::<MiningBaseInfo>(without).beacon().round, 4);
    exact::<BlockTemplate>(json!({
        "Miner": "t01000", "Parents": [cid()], "Ticket": {"VRFProof": "AQID"},
        "Eproof": {"WinCount": 1, "VRFProof": "BAUG"}, "BeaconValues": [entry], "Messages": null,
        "Epoch": 77, "Timestamp": 1744204890,
        "WinningPoStProof": [{"PoStProof": 3, "ProofBytes": "Ag=="}],
    }));
    let block = json!({"Header": block(), "BlsMessages": null, "SecpkMessages": [cid()]});
    let block: BlockMsg = exact(block);
    let mut unsigned = block.header.clone();
    unsigned.block_sig = None;
    assert_eq!(block.header.signing_bytes(), unsigned.signing_bytes());
    assert_ne!(block.cid(), unsigned.cid());
}
