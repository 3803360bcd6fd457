//! Tasks and outputs against upstream's JSON, to the letter.

use damocles_processor::task::*;
use damocles_types::{
    Base64, Commitment, PieceInfo, PoStProof, SealProof, SectorSize, UnpaddedSize,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Debug};

/// `value` is written as `json`, and `json` is read as `value`.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, json: &str) {
    assert_eq!(serde_json::to_string(&value).unwrap(), json);
    assert_eq!(serde_json::from_str::<T>(json).unwrap(), value);
}

fn numbers(byte: u8) -> String {
    format!("[{}]", vec![byte.to_string(); 32].join(","))
}

const SEAL: SealProof = SealProof::interactive(SectorSize::GiB32);

fn piece_info() -> PieceInfo {
    PieceInfo {
        commitment: Commitment([1; 32]),
        size: UnpaddedSize(127),
    }
}

#[test]
fn add_pieces() {
    let piece = |piece_file| Piece {
        piece_file,
        payload_size: 100,
        piece_size: UnpaddedSize(127),
        piece_cid: None,
    };
    golden(
        AddPieces {
            seal_proof_type: SEAL,
            pieces: vec![
                piece(PieceFile::Url("http://a/b".into())),
                piece(PieceFile::Local("/p".into())),
                piece(PieceFile::Pledge),
            ],
            staged_filepath: "/staged".into(),
        },
        concat!(
            r#"{"seal_proof_type":"StackedDrg32GiBV1_1","pieces":["#,
            r#"{"piece_file":{"url":"http://a/b"},"payload_size":100,"piece_size":127},"#,
            r#"{"piece_file":{"local":"/p"},"payload_size":100,"piece_size":127},"#,
            r#"{"piece_file":"pledge","payload_size":100,"piece_size":127}],"staged_filepath":"/staged"}"#
        ),
    );
    golden(
        vec![piece_info()],
        &format!(r#"[{{"commitment":{},"size":127}}]"#, numbers(1)),
    );
}

#[test]
fn tree_d_and_pc1() {
    golden(
        TreeD {
            registered_proof: SEAL,
            staged_file: "/s".into(),
            cache_dir: "/c".into(),
        },
        r#"{"registered_proof":"StackedDrg32GiBV1_1","staged_file":"/s","cache_dir":"/c"}"#,
    );
    golden(
        Pc1 {
            registered_proof: SEAL,
            cache_path: "/c".into(),
            in_path: "/i".into(),
            out_path: "/o".into(),
            prover_id: [2; 32],
            sector_id: 7,
            ticket: [3; 32],
            piece_infos: vec![piece_info()],
        },
        &format!(
            concat!(
                r#"{{"registered_proof":"StackedDrg32GiBV1_1","cache_path":"/c","in_path":"/i","out_path":"/o","#,
                r#""prover_id":{},"sector_id":7,"ticket":{},"piece_infos":[{{"commitment":{},"size":127}}]}}"#
            ),
            numbers(2),
            numbers(3),
            numbers(1)
        ),
    );
}

#[test]
fn pc2() {
    let pc1out = Opaque::from_text(r#"{"registered_proof":"StackedDrg2KiBV1_1"}"#).unwrap();
    let task = Pc2 {
        pc1out,
        cache_dir: "/c".into(),
        sealed_file: "/s".into(),
        staged_file: None,
    };
    let plain = r#"{"pc1out":{"registered_proof":"StackedDrg2KiBV1_1"},"cache_dir":"/c","sealed_file":"/s"}"#;
    golden(task.clone(), plain);
    let ours = Pc2 {
        staged_file: Some("/u".into()),
        ..task
    };
    golden(
        ours,
        &plain.replace("\"/s\"}", "\"/s\",\"staged_file\":\"/u\"}"),
    );
    golden(
        Pc2Output {
            registered_proof: SEAL,
            comm_r: Commitment([4; 32]),
            comm_d: Commitment([5; 32]),
        },
        &format!(
            r#"{{"registered_proof":"StackedDrg32GiBV1_1","comm_r":{},"comm_d":{}}}"#,
            numbers(4),
            numbers(5)
        ),
    );
}

#[test]
fn c2() {
    golden(
        C2 {
            c1out: Opaque::from_text("{}").unwrap(),
            prover_id: [2; 32],
            sector_id: 7,
            miner_id: 1000,
        },
        &format!(
            r#"{{"c1out":{{}},"prover_id":{},"sector_id":7,"miner_id":1000}}"#,
            numbers(2)
        ),
    );
    golden(
        C2Output {
            proof: vec![1, 255],
        },
        r#"{"proof":[1,255]}"#,
    );
}

#[test]
fn snap() {
    golden(
        SnapEncode {
            registered_proof: SectorSize::GiB32,
            new_replica_path: "/a".into(),
            new_cache_path: "/b".into(),
            sector_path: "/c".into(),
            sector_cache_path: "/d".into(),
            staged_data_path: "/e".into(),
            piece_infos: vec![],
        },
        concat!(
            r#"{"registered_proof":"StackedDrg32GiBV1","new_replica_path":"/a","new_cache_path":"/b","#,
            r#""sector_path":"/c","sector_cache_path":"/d","staged_data_path":"/e","piece_infos":[]}"#
        ),
    );
    let c = Commitment([1; 32]);
    let n = numbers(1);
    golden(
        SnapProve {
            registered_proof: SectorSize::KiB2,
            vanilla_proofs: vec![vec![1, 2]],
            comm_r_old: c,
            comm_r_new: c,
            comm_d_new: c,
        },
        &format!(
            r#"{{"registered_proof":"StackedDrg2KiBV1","vannilla_proofs":[[1,2]],"comm_r_old":{n},"comm_r_new":{n},"comm_d_new":{n}}}"#
        ),
    );
    golden(
        SnapEncodeOutput {
            comm_r_new: c,
            comm_r_last_new: c,
            comm_d_new: c,
        },
        &format!(r#"{{"comm_r_new":{n},"comm_r_last_new":{n},"comm_d_new":{n}}}"#),
    );
}

#[test]
fn transfer() {
    let store = TransferStore {
        name: "st".into(),
        meta: Some(BTreeMap::from([("k".into(), "v".into())])),
    };
    golden(
        Transfer {
            stores: BTreeMap::from([("st".into(), store)]),
            routes: vec![TransferRoute {
                src: TransferEnd {
                    store_name: None,
                    uri: "/a".into(),
                },
                dest: TransferEnd {
                    store_name: Some("st".into()),
                    uri: "/b".into(),
                },
                opt: Some(TransferOption {
                    is_dir: false,
                    allow_link: true,
                }),
            }],
        },
        concat!(
            r#"{"stores":{"st":{"name":"st","meta":{"k":"v"}}},"#,
            r#""routes":[{"src":{"store_name":null,"uri":"/a"},"dest":{"store_name":"st","uri":"/b"},"#,
            r#""opt":{"is_dir":false,"allow_link":true}}]}"#
        ),
    );
    let bare = r#"{"stores":{},"routes":[{"src":{"store_name":null,"uri":"/a"},"dest":{"store_name":null,"uri":"/b"},"opt":null}]}"#;
    assert_eq!(
        serde_json::from_str::<Transfer>(bare).unwrap().routes[0].opt,
        None
    );
}

#[test]
fn unseal() {
    golden(
        Unseal {
            registered_proof: SEAL,
            prover_id: [2; 32],
            sector_id: 7,
            comm_d: Commitment([5; 32]),
            ticket: [3; 32],
            cache_dir: "/c".into(),
            sealed_file: "/s".into(),
            unsealed_output: "/u".into(),
            offset: 1,
            num_bytes: 2,
        },
        &format!(
            concat!(
                r#"{{"registered_proof":"StackedDrg32GiBV1_1","prover_id":{},"sector_id":7,"comm_d":{},"ticket":{},"#,
                r#""cache_dir":"/c","sealed_file":"/s","unsealed_output":"/u","offset":1,"num_bytes":2}}"#
            ),
            numbers(2),
            numbers(5),
            numbers(3)
        ),
    );
}

#[test]
fn post() {
    golden(
        WindowPost {
            miner_id: 1000,
            proof_type: PoStProof::WindowV1_1(SectorSize::GiB32),
            replicas: vec![Replica {
                sector_id: 7,
                comm_r: Commitment([4; 32]),
                cache_dir: "/c".into(),
                sealed_file: "/s".into(),
            }],
            seed: [6; 32],
        },
        &format!(
            concat!(
                r#"{{"miner_id":1000,"proof_type":"StackedDrgWindow32GiBV1_2","#,
                r#""replicas":[{{"sector_id":7,"comm_r":{},"cache_dir":"/c","sealed_file":"/s"}}],"seed":{}}}"#
            ),
            numbers(4),
            numbers(6)
        ),
    );
    golden(
        WindowPostOutput {
            proofs: vec![Base64(vec![1, 2, 3])],
            faults: vec![9],
        },
        r#"{"proofs":["AQID"],"faults":[9]}"#,
    );
    golden(
        WinningPostOutput {
            proofs: vec![Base64(vec![1, 2, 3])],
        },
        r#"{"proofs":["AQID"]}"#,
    );
}
