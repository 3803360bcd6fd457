//! Proving as upstream's command line asks for it, over a real socket: shapes and refusals.

use super::tests::{SECTOR, UNKNOWN, serve};
use crate::db::stores::{Location, Replica};
use damocles_types::{Commitment, SectorId};
use serde_json::{Value, json};

const CHALLENGE: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn simulate(miner: &str, challenge: &str) -> String {
    let sector = r#"{"SealProof":5,"SectorNumber":1,"SectorKey":null,"SealedCID":null}"#;
    format!(r#"[0,0,"{miner}",10,[{sector}],"{challenge}"]"#)
}

fn refused(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_proves_a_sector_is_told_in_upstreams_shape() {
    let served = serve().await;
    let sealed = |_| Commitment([1; 32]).sealed_cid();
    served.chain.place(1000, 0, vec![vec![1]], sealed);
    let params = format!("[{SECTOR}]");
    let answer = served.call("ProvingSectorInfo", &params).await;
    let result = &answer["result"];
    assert_eq!(result["OnChain"]["SectorNumber"], 1);
    assert_eq!(
        result["Private"],
        json!({
            "Accesses": {"SealedFile": "", "CacheDir": ""}, "CacheDirPath": "",
            "SealedSectorPath": "", "CacheDirURI": "", "SealedSectorURI": "",
        }),
        "no store is known to hold it"
    );
    let place = Location {
        sector: SectorId::new(1000, 1),
        replica: Replica::Normal,
        sealed: "persist".into(),
        cache: "persist".into(),
    };
    served.rooms.db.put_locations(&[place]).unwrap();
    let answer = served.call("ProvingSectorInfo", &params).await;
    let root = served.disk.path().display();
    assert_eq!(
        answer["result"]["Private"],
        json!({
            "Accesses": {"SealedFile": "persist", "CacheDir": "persist"},
            "CacheDirPath": format!("{root}/cache/s-t01000-1"),
            "SealedSectorPath": format!("{root}/sealed/s-t01000-1"),
            "CacheDirURI": "cache/s-t01000-1", "SealedSectorURI": "sealed/s-t01000-1",
        })
    );
    let answer = served
        .call("ProvingSectorInfo", &format!("[{UNKNOWN}]"))
        .await;
    assert!(
        refused(&answer).contains("no sector s-t01000-99"),
        "{answer}"
    );
    served.stop().await;
}

#[tokio::test]
async fn a_try_is_understood_and_what_makes_no_sense_is_refused() {
    let served = serve().await;
    for (params, why) in [
        (simulate("t1abc", CHALLENGE), "not the address of a miner"),
        (simulate("t01000", "Bwc="), "32 bytes"),
        (simulate("t01001", CHALLENGE), "does not serve miner t01001"),
        // it is understood; this manager has no poster
        (simulate("t01000", CHALLENGE), "proves none"),
        (simulate("f01000", CHALLENGE), "proves none"),
    ] {
        let answer = served.call("SimulateWdPoSt", &params).await;
        assert!(refused(&answer).contains(why), "{params}: {answer}");
    }
    served.stop().await;
}
