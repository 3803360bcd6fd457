//! The program itself: starting, telling where it is, refusing, stopping.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_damocles-devnet");

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test is not one of the daemons' children"
)]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn program(args: &[&str]) -> Command {
    let mut command = command(PROGRAM);
    command
        .args(args)
        .env_remove("DAMOCLES_LOG")
        .env_remove("RUST_LOG");
    command
}

fn output(args: &[&str]) -> Output {
    program(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running network; killed when a test fails before it stopped it.
struct Running(Option<Child>);

impl Running {
    fn start(repo: &Path, more: &[&str]) -> Self {
        let repo = repo.to_str().unwrap();
        let args = [&["run", "--repo", repo, "--block-time", "manual"], more].concat();
        let mut child = program(&args).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("the network is running") {
            assert_ne!(log.read_line(&mut seen).unwrap(), 0, "it ended: {seen}");
        }
        // Nobody reads on; a full pipe must not block it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Running(Some(child))
    }

    /// Sends SIGTERM and waits for the end.
    fn stop(mut self) -> i32 {
        let mut child = self.0.take().unwrap();
        let pid = child.id().to_string();
        let sent = command("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Only on the way out of a failed test: it may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One call over a plain socket; the body of the answer.
fn call(repo: &Path, body: &str) -> String {
    let api = std::fs::read_to_string(repo.join("api")).unwrap();
    let parts: Vec<&str> = api.split('/').collect();
    let ["", "ip4", host, "tcp", port, "http"] = parts[..] else {
        panic!("not a multiaddress: {api}");
    };
    let token = std::fs::read_to_string(repo.join("token")).unwrap();
    let mut socket = TcpStream::connect(format!("{host}:{port}")).unwrap();
    write!(
        socket,
        "POST /rpc/v1 HTTP/1.1\r\nHost: devnet\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn it_serves_stops_on_sigterm_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("net");
    let running = Running::start(&repo, &[]);
    call(&repo, r#"{"id":1,"method":"Devnet.Mine","params":[4]}"#);
    let first = call(
        &repo,
        r#"{"id":1,"method":"Filecoin.ChainHead","params":[]}"#,
    );

    // While it runs, the repository is taken.
    let taken = output(&["run", "--repo", repo.to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(6), "{}", text(&taken.stderr));
    assert!(text(&taken.stderr).contains("--repo"));
    assert_eq!(running.stop(), 0);

    let running = Running::start(&repo, &[]);
    let second = call(
        &repo,
        r#"{"id":1,"method":"Filecoin.ChainHead","params":[]}"#,
    );
    assert_eq!(first, second);
    assert!(second.contains("\"Height\":4"), "{second}");

    let token = output(&[
        "auth",
        "create-token",
        "--perm",
        "read",
        "--repo",
        repo.to_str().unwrap(),
    ]);
    assert!(token.status.success());
    let body = format!(
        r#"{{"id":1,"method":"Filecoin.AuthVerify","params":["{}"]}}"#,
        text(&token.stdout).trim()
    );
    assert!(call(&repo, &body).contains(r#"["read"]"#));
    let info = output(&["auth", "api-info", "--repo", repo.to_str().unwrap()]);
    let line = text(&info.stdout);
    let api = std::fs::read_to_string(repo.join("api")).unwrap();
    assert!(
        line.starts_with("FULLNODE_API_INFO=") && line.trim().ends_with(&api),
        "{line}"
    );
    assert_eq!(running.stop(), 0);
    assert!(!repo.join("api").exists(), "nobody listens there any more");

    // A chain that a disk fault cut short is refused and left as it is.
    let snapshot = repo.join("snapshot.bin");
    let bytes = std::fs::read(&snapshot).unwrap();
    std::fs::write(&snapshot, &bytes[..bytes.len() / 2]).unwrap();
    let refused = output(&["run", "--repo", repo.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(8), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read(&snapshot).unwrap().len(), bytes.len() / 2);
}

#[test]
fn an_occupied_port_is_one_sentence_with_a_hint() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().to_str().unwrap();
    let refused = output(&["run", "--repo", repo, "--listen", &address]);
    assert_eq!(refused.status.code(), Some(6));
    let error = text(&refused.stderr);
    assert!(
        error.contains(&address) && error.contains("hint: "),
        "{error}"
    );
    assert!(!dir.path().join("api").exists());
}

#[test]
fn wrong_requests_have_their_own_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("none");
    let repo = repo.to_str().unwrap();
    for (args, code) in [
        (&["run"][..], 2),
        (&["run", "--repo", repo, "--block-time", "1h"], 2),
        (&["auth", "create-token", "--repo", repo], 7),
        (&["auth", "api-info", "--repo", repo], 7),
        (
            &[
                "run",
                "--repo",
                repo,
                "--proving-period-deadlines",
                "1",
                "--challenge-window",
                "20",
            ],
            3,
        ),
        (&["run", "--repo", repo, "--policy", "/nowhere.toml"], 3),
        (&["run", "--repo", "/proc/none"], 5),
    ] {
        let ended = output(args);
        let error = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.starts_with("error: "), "{error}");
    }
}

#[test]
fn a_foreign_or_newer_repository_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("keystore")).unwrap();
    let refused = output(&["run", "--repo", dir.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(8), "{}", text(&refused.stderr));
}

#[test]
fn methods_are_listed_for_people_and_programs() {
    let table = text(&output(&["methods"]).stdout);
    assert!(
        table.contains("| Filecoin.MpoolPush | write | message | Cid |"),
        "{table}"
    );
    let json = output(&["methods", "--json"]).stdout;
    let rows: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(rows.as_array().unwrap().len() > 70);
}
