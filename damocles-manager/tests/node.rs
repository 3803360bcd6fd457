//! The manager and its node: the node comes late, does not take the token, or has no such
//! miner. The node is a real devnet in this process.

mod house;

use clap::Parser;
use damocles_manager::db::Db;
use damocles_test_ports::address as nobody;
use house::{Home, refused, verdict};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};

/// Runs a devnet on that port for as long as this process lives.
fn devnet(repo: &Path, port: u16) {
    let listen = format!("127.0.0.1:{port}");
    let cli = damocles_devnet::cli::Cli::try_parse_from([
        "damocles-devnet",
        "run",
        "--repo",
        repo.to_str().unwrap(),
        "--listen",
        &listen,
        "--block-time",
        "100ms",
    ])
    .unwrap();
    std::thread::spawn(move || damocles_devnet::daemon::execute(cli));
    // the file appears when it serves; a directory has no event to wait for without another crate
    let deadline = Instant::now() + house::PATIENCE;
    while !repo.join("token").exists() || !repo.join("api").exists() {
        assert!(Instant::now() < deadline, "the devnet does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ended((status, log): (ExitStatus, String)) -> (i32, String) {
    (status.code().unwrap_or(-1), log)
}

/// Calls a method of the running manager as a worker does.
fn call(home: &Home, method: &str, params: &str) -> Value {
    let api = fs::read_to_string(home.path().join("api")).unwrap();
    let port: u16 = api.split('/').nth(4).unwrap().parse().unwrap();
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"Venus.{method}","params":{params}}}"#);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "POST /rpc/v0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// A worker pings and takes a sector; the commands show both.
fn operators_see_what_workers_did(home: &Home) {
    let ping = r#"[{"Name":"w1","Dest":"127.0.0.1:9","Version":"v1","Summary":{"Threads":2,"Empty":1,"Paused":0,"Running":1,"Waiting":0,"Errors":0}}]"#;
    assert_eq!(call(home, "WorkerPing", ping)["error"], Value::Null);
    let sector = call(home, "AllocateSector", "[{}]");
    assert_eq!(sector["result"]["ID"]["Number"], 1, "{sector}");

    let shown = |args: &[&str]| {
        let output = home.run(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {output:?}");
        text
    };
    let workers = shown(&["util", "worker", "list"]);
    assert!(workers.contains("w1") && workers.contains("127.0.0.1:9"));
    assert!(!workers.contains("expired"), "{workers}");
    let listed = shown(&["util", "worker", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["Info"]["Summary"]["Threads"], 2);
    refused(
        verdict(&home.run(&["util", "worker", "info", "w1"])),
        4,
        "worker \"w1\"",
        "is it running",
    );
    refused(
        verdict(&home.run(&["util", "worker", "info", "w2"])),
        7,
        "never heard of a worker \"w2\"",
        "worker list",
    );

    let sectors = shown(&["util", "sealer", "sectors", "list"]);
    assert!(sectors.contains("s-t01000-1"), "{sectors}");
    let one = shown(&["util", "sealer", "sectors", "state", "1000", "1", "--json"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["sector"]["ID"]["Number"], 1, "{one}");
    let posts = shown(&["util", "sealer", "proving", "posts", "1000"]);
    assert!(posts.contains("no WindowPoSt"), "{posts}");
    for of_another in [
        &["proving", "posts", "31337"][..],
        &["sectors", "list", "--miner", "31337"],
    ] {
        let words = [&["util", "sealer"], of_another].concat();
        let (code, told) = verdict(&home.run(&words));
        assert!(
            code == 5 && told.contains("miner 31337 is not in the config"),
            "{code}: {told}"
        );
    }
    let finished = shown(&["util", "sealer", "sectors", "list", "--offline", "--json"]);
    assert_eq!(finished.trim(), "[]");
}

fn append(home: &Home, text: &str) {
    let path = home.path().join("sector-manager.cfg");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config + text).unwrap();
}

fn one_wrong_miner_stops_only_itself(node: &str) {
    let home = Home::good(node, 1000);
    append(
        &home,
        "[Miners.PoSt]\nSender = \"t099999\"\n[[Miners]]\nActor = 31337\n",
    );
    let mut works = home.start(&[]);
    works.until("serving a miner");
    let wrong = works.until("there is no such miner on the node's chain");
    assert!(
        wrong.contains("31337") && wrong.contains("ERROR"),
        "{wrong}"
    );
    // and a sender that cannot send is said at the start
    let sender = works.until("messages of this miner cannot be sent");
    assert!(
        sender.contains("t099999") && sender.contains("ERROR"),
        "{sender}"
    );
    works.until("the Filecoin node answers; ready");
    let (code, log) = ended(works.terminate());
    assert_eq!(code, 0, "{log}");
}

fn a_poster_without_parameters_says_so_before_the_first_window(node: &str) {
    let home = Home::good(node, 1000);
    let empty = tempfile::tempdir().unwrap();
    let place = [("FIL_PROOFS_PARAMETER_CACHE", empty.path())];
    let mut works = home.start_with(&["--poster"], &place);
    let told = works.until("WindowPoSts of this miner cannot be proven");
    for words in [
        "ERROR",
        "1000",
        "missing in",
        "params generate --sector-size 2KiB",
    ] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    works.until("proofs of new sectors of this miner cannot be checked");
    let (code, log) = ended(works.terminate());
    assert_eq!(code, 0, "{log}");
    // who does not prove needs no such parameters
    let mut works = home.start_with(&[], &place);
    works.until("proofs of new sectors of this miner cannot be checked");
    let (_, log) = ended(works.terminate());
    assert!(!log.contains("cannot be proven"), "{log}");
}

/// The home that met the node belongs to its network; one of another network is not used there.
fn another_network_ends_it(home: &Home, node: &str) {
    let stamp = |home: &Home| Db::open(&home.path().join("state")).unwrap();
    let met = stamp(home).network().unwrap().unwrap();
    let other = Home::good(node, 1000);
    let foreign = "bafy2bzaceanothernetworkaltogether";
    stamp(&other).set_network(foreign).unwrap();
    let (code, log) = ended(other.start(&[]).wait());
    assert!(log.contains(&met) && log.contains(foreign), "{log}");
    refused(
        (code, log),
        8,
        "the database is of the network with genesis",
        "a home of its own",
    );
}

#[test]
fn the_node_may_come_late_but_must_fit() {
    let port = nobody().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}/http");

    // Nobody there: it serves what needs no chain, and says what it waits for.
    let repo = tempfile::tempdir().unwrap();
    let home = Home::good(&address, 1000);
    let mut waiting = home.start(&[]);
    waiting.until("waiting for the Filecoin node");
    waiting.until("listening");
    let listed = home.run(&["util", "storage", "list", "--json"]);
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let stores: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(stores[0]["Name"], "persist");
    let none = home.run(&["util", "sealer", "sectors", "state", "1000", "7"]);
    refused(
        verdict(&none),
        7,
        "has no sector s-t01000-7",
        "sectors list",
    );
    let token = home.run(&["util", "auth", "create-token", "--perm", "read"]);
    assert_eq!(
        String::from_utf8_lossy(&token.stdout)
            .trim()
            .split('.')
            .count(),
        3
    );

    // The node comes, and signs for nobody without a token.
    devnet(repo.path(), port);
    refused(
        ended(waiting.wait()),
        5,
        "carries no token, and the Filecoin node signs for nobody without one",
        "auth create-token",
    );

    // With its token nothing is missing.
    let token = fs::read_to_string(repo.path().join("token")).unwrap();
    let with_token = format!("{}:{address}", token.trim());
    let home = Home::good(&with_token, 1000);
    let mut works = home.start(&[]);
    works.until("serving a miner");
    works.until("the Filecoin node answers; ready");
    assert!(!works.seen.iter().any(|l| l.contains("carries no token")));
    assert!(
        !works.seen.iter().any(|l| l.contains(token.trim())),
        "no secret in the log"
    );
    operators_see_what_workers_did(&home);
    let (code, log) = ended(works.terminate());
    assert_eq!(code, 0, "{log}");

    one_wrong_miner_stops_only_itself(&with_token);
    a_poster_without_parameters_says_so_before_the_first_window(&with_token);
    another_network_ends_it(&home, &with_token);

    // A miner that is not there, a token that is not the node's.
    let (code, log) = ended(Home::good(&with_token, 31337).start(&[]).wait());
    refused(
        (code, log),
        7,
        "no miner 31337 on the node's chain",
        "Actor",
    );
    let keys = damocles_devnet::auth::Auth::load(repo.path()).unwrap();
    let read_only = keys.token(damocles_node::method::Permission::Read).unwrap();
    let (code, log) = ended(
        Home::good(&format!("{read_only}:{address}"), 1000)
            .start(&[])
            .wait(),
    );
    refused((code, log), 5, "allows only \"read\"", "--perm sign");
    let (code, log) = ended(
        Home::good(&format!("aa.bb.cc:{address}"), 1000)
            .start(&[])
            .wait(),
    );
    refused(
        (code, log),
        5,
        "does not accept the token",
        "auth create-token",
    );
}
