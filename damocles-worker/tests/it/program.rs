//! The real program and bad input: one sentence, a hint, an exit code, and nothing lost.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test is started as an operator starts it"
)]

mod disks;
mod plans;
mod profiles;
mod replaced;

use crate::{
    NEVER,
    fake_manager::FakeManager,
    rig::{read_document, runtime, write_document},
    until,
};
use damocles_test_ports::address;
use damocles_worker::stores::SealingStore;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Instant,
};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_damocles-worker"));
    command.env_remove("DAMOCLES_LOG").env_remove("RUST_LOG");
    command
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("hdd")).unwrap();
        SealingStore::init(&dir.path().join("t0")).unwrap();
        Self { dir }
    }

    /// Writes the config; the worker's own port is any free one.
    fn config(&self, manager: SocketAddr, more: &str) -> PathBuf {
        let dir = self.dir.path().display();
        let file = self.dir.path().join("worker.toml");
        let text = format!(
            "[sector_manager]\nrpc_client.addr = \"http://{manager}\"\n\
             [[attached]]\nname = \"hdd\"\nlocation = \"{dir}/hdd\"\n\
             [[sealing_thread]]\nlocation = \"{dir}/t0\"\n\
             [sealing]\nallowed_sizes = [\"2KiB\"]\nrecover_interval = \"20ms\"\nseal_interval = \"20ms\"\n{more}"
        );
        fs::write(&file, text).unwrap();
        file
    }

    fn quiet(&self, manager: SocketAddr) -> PathBuf {
        self.config(
            manager,
            "[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\n",
        )
    }
}

/// A worker that runs until it is dropped; what it logs is kept.
struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    fn start(config: &PathBuf) -> Self {
        Self::run(daemon(config))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (to, from) = (Arc::clone(&log), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let mut log = to.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn says(&mut self, words: &str) {
        until(words, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            self.log().contains(words)
        });
    }

    /// Where its RPC listens.
    fn host(&mut self) -> String {
        self.says("RPC address=");
        let log = self.log();
        let rest = log.split("RPC address=").nth(1).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < NEVER, "it does not stop");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    text
}

/// Exit code, the sentence and the hint.
fn fails(command: &mut Command, code: i32, sentence: &str, hint: &str) {
    let output = command.output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let error = text.split("error: ").nth(1).unwrap_or_default();
    assert!(error.contains(sentence), "{sentence:?} is not in\n{text}");
    let hinted = error.split("hint: ").nth(1).unwrap_or_default();
    assert!(
        hinted.contains(hint),
        "{hint:?} is not in the hint of\n{text}"
    );
}

fn daemon(config: &PathBuf) -> Command {
    let mut command = program();
    command.args(["daemon", "-c"]).arg(config);
    command
}

#[test]
fn an_unknown_key_is_an_error_with_the_nearest_one() {
    let place = Place::new();
    let file = place.config(address(), "seal_intervall = \"1s\"\n");
    let sentence =
        "worker.toml:12: sealing.seal_intervall: unknown key; did you mean \"seal_interval\"?";
    fails(&mut daemon(&file), 3, sentence, "--config-check");
    fails(
        daemon(&file).arg("--config-check"),
        3,
        sentence,
        "--config-check",
    );
    let meta = place.dir.path().join("t0/meta");
    let untouched = || fs::read_dir(&meta).unwrap().next().is_none();
    assert!(untouched());
    let missing = place.dir.path().join("none.toml");
    fails(&mut daemon(&missing), 3, "cannot be read", "path");

    let good = place.quiet(address());
    let output = daemon(&good).arg("--config-check").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("the configuration is right"));
    assert!(untouched());
}

#[test]
fn an_occupied_port_ends_the_start() {
    let place = Place::new();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let more = format!("[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = {port}\n");
    let file = place.config(address(), &more);
    fails(
        &mut daemon(&file),
        6,
        &format!("cannot listen on 127.0.0.1:{port}"),
        "rpc_server.port",
    );
}

#[test]
fn directories_that_cannot_serve() {
    let place = Place::new();
    let dir = place.dir.path();
    let foreign = dir.join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("precious"), "x").unwrap();
    let file = place.quiet(address());
    let text = fs::read_to_string(&file).unwrap();
    let elsewhere = |to: &str| text.replace(&format!("{}/t0", dir.display()), to);
    fs::write(&file, elsewhere(&foreign.display().to_string())).unwrap();
    fails(
        &mut daemon(&file),
        3,
        "is not a sealing store: it has no .holder file but holds precious",
        "correct",
    );
    let mut init = program();
    init.args(["store", "sealing-init", "-l"]).arg(&foreign);
    fails(&mut init, 8, "holds precious", "directory of its own");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

    fs::write(&file, elsewhere("/proc/damocles")).unwrap();
    fails(
        daemon(&file).arg("--config-check"),
        3,
        "/proc/damocles is not there; mount the disk; or make the store: damocles-worker store sealing-init -l /proc/damocles",
        "correct",
    );

    let fresh = dir.join("deep/t1");
    let mut init = program();
    init.args(["store", "sealing-init", "-l"]).arg(&fresh);
    assert_eq!(init.output().unwrap().status.code(), Some(0));
    assert!(fresh.join(".holder").is_file());
    fails(
        &mut init,
        5,
        "is a sealing store already",
        "nothing needs to be done",
    );
}

#[test]
fn a_directory_for_finished_sectors_is_marked() {
    let place = Place::new();
    let (hdd, t0) = (place.dir.path().join("hdd"), place.dir.path().join("t0"));
    let mark = |dir: &PathBuf, more: &[&str]| {
        let mut command = program();
        command
            .args(["store", "file-init", "-l"])
            .arg(dir)
            .args(more);
        command
    };
    let marked = || fs::read_to_string(hdd.join(".damocles-store")).unwrap();
    let ran = mark(&hdd, &["--name", "hdd-1"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran));
    let first = marked();
    assert!(first.contains("hdd-1"), "{first}");
    assert!(mark(&hdd, &[]).status().unwrap().success());
    assert_eq!(marked(), first, "it keeps its mark");
    assert!(mark(&hdd, &["--anew"]).status().unwrap().success());
    assert_ne!(marked(), first);
    fails(
        &mut mark(&t0, &[]),
        8,
        "is the sealing store of a thread",
        "another",
    );
}

#[test]
fn a_manager_that_comes_late_is_waited_for() {
    let place = Place::new();
    let address = damocles_test_ports::address();
    let mut worker = Daemon::start(&place.quiet(address));
    worker.says("cannot be reached");
    worker.says("this worker goes on waiting");
    let host = worker.host();
    let list = program()
        .args(["worker", "-H", &host, "list"])
        .output()
        .unwrap();
    assert!(text(&list).contains("cannot be reached"), "{}", text(&list));

    let manager = runtime().block_on(FakeManager::start(address, 0));
    worker.says("the manager is there; sealing begins");
    until("a ping", || !manager.script().pings.is_empty());
    {
        let ping = manager.script().pings[0].clone();
        assert_eq!((ping.dest.clone(), ping.summary.threads), (host.clone(), 1));
        assert_eq!(ping.name, "127.0.0.1");
    }
    assert_eq!(worker.terminate(), Some(0));
    assert_eq!(manager.script().left, ["127.0.0.1"], "it said goodbye");
    let worker_itself = manager.script().callers[0].clone().unwrap();
    assert_eq!(
        (worker_itself.worker.as_str(), worker_itself.store.as_str()),
        ("127.0.0.1", "")
    );
}

#[test]
fn a_token_that_only_reads_ends_the_start() {
    let place = Place::new();
    let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    manager.script().only_read = true;
    fails(
        &mut daemon(&place.quiet(manager.address)),
        5,
        "the token allows read only",
        "damocles-manager util auth create-token --perm write",
    );
}

#[test]
fn commands_to_a_running_worker() {
    let place = Place::new();
    let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    let mut worker = Daemon::start(&place.quiet(manager.address));
    let host = worker.host();
    worker.says("sealing begins");
    let ask = |args: &[&str]| {
        let mut command = program();
        command.args(["worker", "-H", &host]).args(args);
        command
    };
    let list = ask(&["list", "--json"]).output().unwrap();
    let threads: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(threads[0]["index"], 0);
    assert_eq!(threads[0]["plan"], "sealer");
    fails(
        &mut ask(&["resume", "-i", "0"]),
        5,
        "thread #0 is not paused",
        "pause it first",
    );
    assert_eq!(
        ask(&["pause", "-i", "0"]).output().unwrap().status.code(),
        Some(0)
    );
    until("the pause", || {
        text(&ask(&["list"]).output().unwrap()).contains("paused")
    });
    fails(
        &mut ask(&["pause", "-i", "0"]),
        5,
        "is paused already",
        "list",
    );
    fails(
        &mut ask(&["resume", "-i", "0", "-s", "PC1Done"]),
        5,
        "no sector is at work",
        "list",
    );
    fails(
        &mut ask(&["pause", "-i", "7"]),
        7,
        "thread #7 not found",
        "list",
    );
    assert_eq!(
        ask(&["resume", "-i", "0"]).output().unwrap().status.code(),
        Some(0)
    );
    let usage = ask(&["resume", "-i", "0", "-s", "PC9"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let timeline = ask(&["timeline", "-i", "0", "--json"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&timeline.stdout).trim(), "[]");

    // a second worker on the same store
    let other = place.quiet(manager.address);
    fails(
        &mut daemon(&other),
        6,
        "is in use by another worker",
        "location of its own",
    );
    assert_eq!(worker.terminate(), Some(0));
    fails(&mut ask(&["list"]), 4, "no worker answers", "-H IP:PORT");
}

#[test]
fn a_wrong_token_and_an_unknown_store_end_the_start() {
    let place = Place::new();
    // a manager that lets nobody in, and notes what is brought
    let brought = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&brought);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            seen.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&request[..length]));
            let answer =
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let token = place.dir.path().join("token");
    fs::write(&token, "not.the.token\n").unwrap();
    let file = place.quiet(address);
    let config = fs::read_to_string(&file).unwrap();
    let with_token = config.replace(
        "[[attached]]",
        &format!(
            "rpc_client.token_file = \"{}\"\n[[attached]]",
            token.display()
        ),
    );
    let secret = place.dir.path().join("secret");
    let with_token = with_token.replace(
        "rpc_server.port = 0",
        &format!(
            "rpc_server.port = 0\nrpc_server.token_secret_file = \"{}\"",
            secret.display()
        ),
    );
    fs::write(&file, &with_token).unwrap();
    fails(
        &mut daemon(&file),
        5,
        "refused this worker",
        "damocles-manager util auth create-token --perm write",
    );
    let brought = brought.lock().unwrap().to_lowercase();
    assert!(
        brought.contains("authorization: bearer not.the.token\r\n"),
        "{brought}"
    );
    fs::remove_file(&token).unwrap();
    fs::remove_file(&secret).unwrap();
    fails(
        &mut daemon(&file),
        3,
        "cannot be read",
        "damocles-manager util auth create-token --perm write",
    );
    assert!(!secret.exists(), "nothing is made before all is looked at");

    let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    let file = place.quiet(manager.address);
    let renamed = fs::read_to_string(&file)
        .unwrap()
        .replace("name = \"hdd\"", "name = \"hdx\"");
    fs::write(&file, renamed).unwrap();
    fails(
        &mut daemon(&file),
        7,
        "does not know the store \"hdx\"",
        "the same name",
    );
}

#[test]
fn a_truncated_document_stops_its_own_thread_only() {
    let place = Place::new();
    let (bad, good) = (place.dir.path().join("t0"), place.dir.path().join("t1"));
    let bytes = br#"{"version":1,"plan":"sea"#;
    {
        SealingStore::init(&good).unwrap();
        write_document(&bad, bytes);
    }
    let manager = runtime().block_on(FakeManager::start(([127, 0, 0, 1], 0).into(), 0));
    let more = format!(
        "[worker]\nrpc_server.host = \"127.0.0.1\"\nrpc_server.port = 0\n[[sealing_thread]]\nlocation = \"{}\"\n",
        good.display()
    );
    let mut worker = Daemon::start(&place.config(manager.address, &more));
    let host = worker.host();
    worker.says("is damaged");
    let mut threads = serde_json::Value::Null;
    until("a paused and an idle thread", || {
        let list = program()
            .args(["worker", "-H", &host, "list", "--json"])
            .output()
            .unwrap();
        threads = serde_json::from_slice(&list.stdout).unwrap();
        threads[0]["thread_state"]["state"] == "Paused"
            && threads[1]["waiting_for"]
                .as_str()
                .is_some_and(|w| w.starts_with("the manager has no sector to give"))
    });
    let error = threads[0]["last_error"].as_str().unwrap();
    assert!(
        error.starts_with("critical: the sector document in"),
        "{error}"
    );
    assert!(
        threads[0]["hint"].as_str().unwrap().contains("restore"),
        "{threads}"
    );
    assert_eq!(worker.terminate(), Some(0));
    assert_eq!(read_document(&bad).as_deref(), Some(&bytes[..]));
}

#[test]
fn missing_parameters_are_said_at_start_and_have_an_exit_code() {
    let place = Place::new();
    let empty = place.dir.path().join("params");
    fs::create_dir(&empty).unwrap();
    let mut check = program();
    check
        .args(["params", "check", "--sector-size", "2KiB"])
        .env("FIL_PROOFS_PARAMETER_CACHE", &empty);
    fails(
        &mut check,
        9,
        "parameter files in",
        "damocles-worker params generate --sector-size 2KiB",
    );

    let address = damocles_test_ports::address();
    let mut child = daemon(&place.quiet(address))
        .env("FIL_PROOFS_PARAMETER_CACHE", &empty)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.find_map(|line| line.ok().filter(|l| l.contains("would stop before C2")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.is_some_and(|line| line.contains("params generate --sector-size 2KiB")));
}

#[test]
fn a_shared_tree_d_is_made_whole_and_alone() {
    let place = Place::new();
    let made = program()
        .args(["generator", "tree-d", "-s", "2KiB", "-p"])
        .arg(place.dir.path())
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(0), "{}", text(&made));
    let tree = place.dir.path().join("sc-02-data-tree-d.dat");
    assert_eq!(fs::metadata(&tree).unwrap().len(), 2 * 2048 - 32);
    let mut names: Vec<_> = fs::read_dir(place.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["hdd", "sc-02-data-tree-d.dat", "t0"]);
    // a thread takes it for sectors without data
    let more = format!(
        "[worker]\nrpc_server.port = 0\n[processors.static_tree_d]\n2KiB = \"{}\"\n",
        tree.display()
    );
    let file = place.config(address(), &more);
    let check = daemon(&file).arg("--config-check").output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    let mut none = program();
    none.args(["generator", "tree-d", "-s", "2KiB", "-p", "/no/such"]);
    fails(
        &mut none,
        7,
        "/no/such cannot be used",
        "make the directory",
    );
}
