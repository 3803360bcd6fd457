//! Who has a sector, over real sockets: a worker of another store, a lost answer, upstream's
//! workers that cannot say who they are, a database that is empty or older than the sectors.

use super::tests::{SECTOR, Served, UNKNOWN, serve};
use damocles_api::caller::{CALLER_HEADER, Caller};
use damocles_types::SectorId;
use serde_json::{Value, json};

fn worker(store: &str) -> Caller {
    Caller {
        worker: "w".into(),
        location: "/s1".into(),
        store: store.into(),
    }
}

impl Served {
    /// Calls a method as one of our workers does.
    async fn call_as(&self, caller: &Caller, method: &str, params: &str) -> Value {
        let headers = format!("\r\n{CALLER_HEADER}: {}", caller.to_header());
        let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":7}}"#);
        let (status, answer) = self.post_with(&headers, &body).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    async fn ask(&self, method: &str, params: &str) -> Value {
        let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":7}}"#);
        let (_, answer) = self.post_with("", &body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["result"].clone()
    }
}

fn report(instance: &str) -> String {
    format!(
        r#"[{SECTOR},{{"Worker":{{"Instance":"{instance}","Location":"/s1"}},"StateChange":{{"Prev":"PC1Done","Next":"PC2Done","Event":"PC2"}},"Failure":null}}]"#
    )
}

#[tokio::test]
async fn a_worker_of_another_store_is_refused_by_every_method_and_shown_to_the_operator() {
    let it = serve().await;
    let (mine, copy) = (worker("aa"), worker("bb"));
    let given = it.call_as(&mine, "Venus.AllocateSector", "[{}]").await;
    assert_eq!(given["result"]["ID"]["Number"], 1);
    let comm = format!("{:?}", [0_u8; 32]);
    let ticket = r#"{"Ticket":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","Epoch":100}"#;
    let calls = [
        ("Venus.AcquireDeals", format!("[{SECTOR},{{}}]")),
        ("Venus.AssignTicket", format!("[{SECTOR}]")),
        (
            "Venus.SubmitPreCommit",
            format!(
                r#"[{{"ID":{SECTOR},"ProofType":5}},{{"CommR":{comm},"CommD":{comm},"Ticket":{ticket}}},false]"#
            ),
        ),
        ("Venus.PollPreCommitState", format!("[{SECTOR}]")),
        (
            "Venus.SubmitPersistedEx",
            format!(r#"[{SECTOR},"persist",false]"#),
        ),
        ("Venus.SubmitPersisted", format!(r#"[{SECTOR},"persist"]"#)),
        ("Venus.WaitSeed", format!("[{SECTOR},5]")),
        (
            "Venus.SubmitProof",
            format!(r#"[{SECTOR},{{"Proof":"AQE="}},false]"#),
        ),
        ("Venus.PollProofState", format!("[{SECTOR}]")),
        ("Venus.ReportState", report("w")),
        ("Venus.ReportFinalized", format!("[{SECTOR}]")),
        ("Venus.ReportAborted", format!(r#"[{SECTOR},"why"]"#)),
        ("Venus.StoreReserveSpace", format!("[{SECTOR},1,[]]")),
        ("Damocles.ReportTimeline", format!(r#"[{SECTOR},"w",[]]"#)),
    ];
    for (method, params) in &calls {
        let answer = it.call_as(&copy, method, params).await;
        assert_eq!(answer["error"]["code"], 11409, "{method} {answer}");
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(said.contains("belongs to worker w at /s1"), "{said}");
        assert!(said.contains("sectors hand-over 1000 1"), "{said}");
        // who does not say who it is is not the one that did
        if *method != "Venus.ReportState" {
            let method = method.to_owned();
            let body =
                format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":7}}"#);
            let (_, answer) = it.post_with("", &body).await;
            assert!(answer.contains("11409"), "{method} {answer}");
        }
    }
    let record = it.rooms.db.sector(SectorId::new(1000, 1)).unwrap().unwrap();
    assert!(record.online && record.ticket.is_none() && record.report.is_none());
    let holdings = it
        .ask("Damocles.SectorHoldings", &format!("[{SECTOR}]"))
        .await;
    assert_eq!(holdings["Fate"]["Owner"]["store"], "aa");
    assert!(holdings["Claimant"]["At"].as_i64().unwrap() > 0);

    // the owner goes on, also under another name and place
    let moved = Caller {
        worker: "renamed".into(),
        location: "/s9".into(),
        ..mine.clone()
    };
    let ticket = it
        .call_as(&moved, "Venus.AssignTicket", &format!("[{SECTOR}]"))
        .await;
    assert!(ticket["result"]["Epoch"].is_i64(), "{ticket}");
    // a person gives it to the other one
    it.ask("Damocles.HandOverSector", &format!("[{SECTOR}]"))
        .await;
    let refused = it
        .call_as(&mine, "Venus.AssignTicket", &format!("[{SECTOR}]"))
        .await;
    assert_eq!(refused["error"]["code"], 11409);
    let taken = it
        .call_as(&copy, "Venus.AssignTicket", &format!("[{SECTOR}]"))
        .await;
    assert!(taken["result"]["Epoch"].is_i64(), "{taken}");
    let fate = it.ask("Damocles.SectorFate", &format!("[{SECTOR}]")).await;
    assert_eq!(
        (&fate["Owner"]["store"], &fate["Fence"]),
        (&json!("bb"), &json!(1))
    );
    it.stop().await;
}

#[tokio::test]
async fn a_lost_answer_gives_the_same_sector_to_the_same_worker_only() {
    let it = serve().await;
    let (mine, other) = (worker("aa"), worker("bb"));
    let ask = r#"[{"RequestID":"r-1"}]"#;
    let first = it.call_as(&mine, "Venus.AllocateSector", ask).await;
    let again = it.call_as(&mine, "Venus.AllocateSector", ask).await;
    assert_eq!(first["result"], again["result"]);
    let stolen = it.call_as(&other, "Venus.AllocateSector", ask).await;
    assert_eq!(stolen["error"]["code"], 11409, "{stolen}");
    let next = it
        .call_as(&other, "Venus.AllocateSector", r#"[{"RequestID":"r-2"}]"#)
        .await;
    assert_eq!(next["result"]["ID"]["Number"], 2);
    it.stop().await;
}

#[tokio::test]
async fn upstreams_workers_are_known_by_their_reports() {
    let it = serve().await;
    it.call("AllocateSector", "[{}]").await;
    // without a word on who it is it may go on
    let ticket = it.call("AssignTicket", &format!("[{SECTOR}]")).await;
    assert!(ticket["result"]["Epoch"].is_i64());
    let standing = it.call("ReportState", &report("u1")).await;
    assert_eq!(standing["result"]["Finalized"], false);
    let second = it.call("ReportState", &report("u2")).await;
    assert_eq!(second["error"]["code"], 11409, "{second}");
    let ours = it
        .call_as(&worker("aa"), "Venus.AssignTicket", &format!("[{SECTOR}]"))
        .await;
    assert_eq!(ours["error"]["code"], 11409, "{ours}");
    let ticket = it.call("AssignTicket", &format!("[{SECTOR}]")).await;
    assert!(ticket["result"]["Epoch"].is_i64());
    let holdings = it
        .ask("Damocles.SectorHoldings", &format!("[{SECTOR}]"))
        .await;
    assert_eq!(holdings["Fate"]["Owner"]["worker"], "u1");
    assert_eq!(holdings["Claimant"]["Caller"]["store"], "aa");
    it.stop().await;
}

#[tokio::test]
async fn a_database_that_is_younger_than_a_sector_keeps_it_lists_it_and_never_gives_its_number_away()
 {
    let it = serve().await;
    let mine = worker("aa");
    // this database was restored, or is empty; the worker has s-t01000-99 past its precommit
    let poll = it
        .call_as(&mine, "Venus.PollPreCommitState", &format!("[{UNKNOWN}]"))
        .await;
    assert_eq!(poll["error"]["code"], 11404, "{poll}");
    let fate = it.ask("Damocles.SectorFate", &format!("[{UNKNOWN}]")).await;
    assert_eq!(fate["Known"], false);
    let list = it.ask("Damocles.UnknownSectors", "[]").await;
    assert_eq!(list[0]["ID"], json!({"Miner": 1000, "Number": 99}));
    assert_eq!(list[0]["Caller"]["worker"], "w");
    let next = it
        .call_as(&worker("bb"), "Venus.AllocateSector", "[{}]")
        .await;
    assert_eq!(next["result"]["ID"]["Number"], 100, "{next}");
    it.stop().await;
}

#[tokio::test]
async fn a_node_that_is_away_is_a_wait_and_no_failure() {
    let it = serve().await;
    it.call("AllocateSector", "[{}]").await;
    it.chain.set_down(true);
    for (method, params) in [
        ("AllocateSector", "[{}]".to_owned()),
        ("AssignTicket", format!("[{SECTOR}]")),
        ("WaitSeed", format!("[{SECTOR},5]")),
        ("ReportFinalized", format!("[{SECTOR}]")),
    ] {
        let answer = it.call(method, &params).await;
        assert_eq!(answer["error"]["code"], 11503, "{method} {answer}");
    }
    it.chain.set_down(false);
    // the store is away
    let path = it.disk.path().join("gone");
    std::fs::create_dir(&path).unwrap();
    let persist = format!(r#"[{SECTOR},"persist",false]"#);
    let there = it.call("SubmitPersistedEx", &persist).await;
    assert_eq!(there, json!({"result": false}));
    std::fs::remove_dir_all(it.disk.path()).unwrap();
    let away = it.call("SubmitPersistedEx", &persist).await;
    assert_eq!(away["error"]["code"], 11503, "{away}");
    it.stop().await;
}

#[tokio::test]
async fn a_database_that_forgot_where_a_sector_lies_finds_it_before_it_is_finished() {
    let it = serve().await;
    it.call("AllocateSector", "[{}]").await;
    let id = SectorId::new(1000, 1);
    it.chain.prove(id, None);
    let params = format!("[{SECTOR}]");
    let lost = it.call("ReportFinalized", &params).await;
    assert_eq!(lost["error"]["code"], 1, "{lost}");
    assert!(it.rooms.db.sector(id).unwrap().unwrap().online);
    crate::storage::tests::put_sector(it.disk.path(), id);
    let done = it.call("ReportFinalized", &params).await;
    assert_eq!(done, json!({"result": null}));
    let at = it.rooms.db.location(id, crate::storage::Replica::Normal);
    assert_eq!(at.unwrap().unwrap().sealed, "persist");
    it.stop().await;
}
