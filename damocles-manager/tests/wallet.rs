//! `util wallet …` as people type it, and the daemon with its keys: open, locked, damaged; what is
//! secret is in nothing that they print, log or store.

mod house;

use damocles_devnet::{cli::Genesis, start};
use damocles_types::SectorSize;
use house::{Home, refused, verdict};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "correct horse battery staple";
/// Nobody answers there.
const NOBODY: &str = "/ip4/127.0.0.1/tcp/9/http";

/// A home whose configuration names the file with the password.
fn home(node: &str) -> Home {
    let home = Home::good(node, 1000);
    let password = home.path().join("password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let path = home.path().join("sector-manager.cfg");
    let config = fs::read_to_string(&path).unwrap();
    let wallet = format!("[Common.Wallet]\nPasswordFile = {password:?}\n");
    fs::write(&path, format!("{config}{wallet}")).unwrap();
    home
}

fn store(home: &Home) -> PathBuf {
    home.path().join("wallet.keys")
}

fn wallet(home: &Home, args: &[&str]) -> Output {
    let mut all = vec!["util", "wallet"];
    all.extend(args);
    home.run(&all)
}

#[track_caller]
fn says(home: &Home, args: &[&str]) -> String {
    let output = wallet(home, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn listed(home: &Home) -> Vec<Value> {
    serde_json::from_str(&says(home, &["list", "--json"])).unwrap()
}

/// Forms in which a private key may show.
fn forms(exported: &str) -> [String; 3] {
    let json: Value = serde_json::from_slice(&hex::decode(exported).unwrap()).unwrap();
    let base64 = json["PrivateKey"].as_str().unwrap().to_owned();
    let bytes: damocles_node::KeyInfo = serde_json::from_value(json).unwrap();
    [exported.to_owned(), base64, hex::encode(bytes.private_key)]
}

#[test]
fn keys_are_made_named_chosen_carried_over_and_removed() {
    let home = home(NOBODY);
    let none = wallet(&home, &["list"]);
    refused(
        verdict(&none),
        7,
        "there is no key store",
        "util wallet new",
    );
    let bls = says(&home, &["new", "--type", "bls", "--name", "worker"]);
    let secp = says(&home, &["new", "--name", "post"]);
    assert!(
        bls.starts_with("f3") && secp.starts_with("f1"),
        "{bls} {secp}"
    );
    let mode = fs::metadata(store(&home)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let all = listed(&home);
    let shown: Vec<_> = all.iter().map(|k| (&k["Address"], &k["Default"])).collect();
    assert_eq!(
        shown,
        [
            (&bls.clone().into(), &true.into()),
            (&secp.clone().into(), &false.into())
        ]
    );
    assert_eq!(says(&home, &["default"]), bls);
    // by name, and by the address of either network
    says(&home, &["default", "post"]);
    assert_eq!(says(&home, &["default"]), secp);
    let other = format!("t{}", &bls[1..]);
    says(&home, &["default", &other]);
    assert_eq!(says(&home, &["default"]), bls);

    let no = wallet(&home, &["export", "post"]);
    refused(verdict(&no), 5, "nothing was printed", "--really-do-it");
    assert!(no.stdout.is_empty());
    let exported = says(&home, &["export", "post", "--really-do-it"]);
    let elsewhere = self::home(NOBODY);
    fs::write(elsewhere.path().join("key.hex"), &exported).unwrap();
    let file = elsewhere.path().join("key.hex");
    let file = file.to_str().unwrap();
    assert_eq!(says(&elsewhere, &["import", file, "--as-default"]), secp);
    assert_eq!(says(&elsewhere, &["export", "--really-do-it"]), exported);
    let twice = wallet(&elsewhere, &["import", file]);
    refused(verdict(&twice), 5, "has the key of", "util wallet list");

    let kept = wallet(&home, &["delete", "post"]);
    refused(verdict(&kept), 5, "nothing was changed", "--really-do-it");
    says(&home, &["delete", &secp, "--really-do-it"]);
    assert_eq!(listed(&home).len(), 1);
    let gone = wallet(&home, &["export", &secp, "--really-do-it"]);
    refused(verdict(&gone), 7, "has no key of", "util wallet list");
    let id = wallet(&home, &["default", "f01000"]);
    refused(verdict(&id), 2, "is an actor's id", "f1… or f3…");
}

#[test]
fn what_opens_nothing_says_so_and_changes_nothing() {
    let home = home(NOBODY);
    says(&home, &["new"]);
    let good = fs::read(store(&home)).unwrap();
    let wrong = home.path().join("wrong");
    fs::write(&wrong, "another password").unwrap();
    let wrong = wrong.to_str().unwrap();
    for args in [
        &["list"][..],
        &["new"],
        &["default"],
        &["export", "--really-do-it"],
    ] {
        let args = [args, &["--password-file", wrong]].concat();
        let output = wallet(&home, &args);
        refused(
            verdict(&output),
            8,
            "the password does not open it",
            "backup",
        );
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    fs::write(store(&home), &good[..good.len() / 2]).unwrap();
    let cut = wallet(&home, &["list"]);
    refused(verdict(&cut), 8, "cannot be opened", "backup");
    fs::write(store(&home), b"").unwrap();
    let empty = wallet(&home, &["new"]);
    refused(verdict(&empty), 8, "it is damaged", "backup");
    fs::write(store(&home), &good).unwrap();
    assert_eq!(listed(&home).len(), 1);

    // a short password makes no store, and without any nobody is asked who is not there
    let new = Home::good(NOBODY, 1000);
    fs::write(wrong, "short").unwrap();
    let short = wallet(&new, &["new", "--password-file", wrong]);
    refused(verdict(&short), 2, "at least 8", "urandom");
    let unsaid = wallet(&new, &["new"]);
    refused(
        verdict(&unsaid),
        5,
        "PasswordFile or Credential",
        "--password-file",
    );
    let bad = new.path().join("bad");
    fs::write(&bad, "zz").unwrap();
    let bad = wallet(&new, &["import", bad.to_str().unwrap()]);
    refused(verdict(&bad), 2, "not hexadecimal", "lotus wallet export");
    // who types the key in the place of the file does not see it again in an error
    let key = says(&home, &["export", "--really-do-it"]);
    let typed = wallet(&new, &["import", &key]);
    let (code, text) = verdict(&typed);
    assert!(code == 2 && !text.contains(&key[60..]), "{text}");
    assert!(!store(&new).exists());
}

/// Keys are made before there is a miner or a node to name.
#[test]
fn a_home_that_was_only_begun_has_keys() {
    let home = Home::with("");
    let password = home.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let password = password.to_str().unwrap();
    says(&home, &["new", "--password-file", password]);
    says(&home, &["list", "--password-file", password]);
}

#[test]
fn a_service_has_its_password_from_systemd() {
    let home = home(NOBODY);
    says(&home, &["new"]);
    let path = home.path().join("sector-manager.cfg");
    let config = fs::read_to_string(&path).unwrap();
    let (before, _) = config.split_once("PasswordFile").unwrap();
    fs::write(&path, format!("{before}Credential = \"wallet\"\n")).unwrap();
    let mut without = home.start(&[]);
    let said = without.until("the key store is locked");
    assert!(said.contains("none from systemd"), "{said}");
    without.terminate();
    // as systemd lays it there
    let credentials = home.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("wallet"), PASSWORD).unwrap();
    let mut with = home.start_with(&[], &[("CREDENTIALS_DIRECTORY", &credentials)]);
    with.until("the key store is open");
    with.terminate();
}

/// The lines under Example of a command's help.
fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = lines.filter(|l| l.starts_with("damocles-manager ") || l.starts_with("lotus "));
    // columns: the command, blanks, what it does
    let bare = commands.map(|line| line.split("   ").next().unwrap_or_default());
    bare.map(str::to_owned).collect()
}

#[test]
fn every_example_of_the_help_does_what_it_says() {
    let home = home(NOBODY);
    let (bin, at) = (home.path().join("bin"), home.path().join("at"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&at).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_damocles-manager"),
        bin.join("damocles-manager"),
    )
    .unwrap();
    // two keys of another home, one as a file and one as another program prints it
    let other = self::home(NOBODY);
    let exported: Vec<String> = ["secp256k1", "bls"]
        .map(|kind| {
            let address = says(&other, &["new", "--type", kind]);
            says(&other, &["export", &address, "--really-do-it"])
        })
        .into();
    fs::write(at.join("key.hex"), &exported[0]).unwrap();
    let script = |name: &str, text: &str| {
        fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("lotus", &format!("echo {}", exported[1]));
    script("jq", "cat");
    let mut ran = 0;
    for command in ["", "new", "import", "export", "list", "default", "delete"] {
        let args: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|a| !a.is_empty())
            .collect();
        let examples = examples(&says(&home, &args));
        assert!(!examples.is_empty(), "{command} has no example");
        for line in examples {
            let line = line.replace('…', "abc");
            let output = typed(&line, &home.path(), &bin, &at);
            assert!(output.status.success(), "{line}: {output:?}");
            ran += 1;
        }
    }
    assert_eq!(ran, 9);
    let names: Vec<_> = listed(&home)
        .iter()
        .map(|key| key["Name"].clone())
        .collect();
    assert_eq!(
        names.len(),
        3,
        "four were taken in, and one was deleted: {names:?}"
    );
    assert!(!names.contains(&"post".into()));
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test types what people are told to type"
)]
fn typed(line: &str, home: &Path, bin: &Path, at: &Path) -> Output {
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-c", line])
        .current_dir(at)
        .env("PATH", path)
        .env("DAMOCLES_PATH", home)
        .env_remove("DAMOCLES_CONF_DIR")
        .output()
        .unwrap()
}

/// A devnet in this process, with its keys.
struct Net {
    _repo: tempfile::TempDir,
    net: start::Local,
    _runtime: tokio::runtime::Runtime,
}

impl Net {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let repo = tempfile::tempdir().unwrap();
        let genesis = Genesis {
            sector_size: SectorSize::KiB2,
            preseal: 0,
            miners: 1,
            seed: Some([7; 32]),
            policy: None,
            proving_period_deadlines: None,
            challenge_window: None,
        };
        let stop = CancellationToken::new();
        let net = runtime.block_on(start::local(repo.path(), genesis, stop));
        Self {
            _repo: repo,
            net: net.unwrap(),
            _runtime: runtime,
        }
    }

    fn address(&self) -> String {
        let address = &self.net.address;
        format!(
            "{}:/ip4/{}/tcp/{}/http",
            self.net.token,
            address.ip(),
            address.port()
        )
    }

    /// The worker's key as Lotus exports it; the node has it no more.
    fn take_key(&self) -> (String, String) {
        let mut wallet = self.net.node.wallet.lock();
        let address = wallet.default_address().unwrap();
        let info = wallet.export(&address).unwrap();
        wallet.delete(&address).unwrap();
        let text = hex::encode(serde_json::to_vec(&info).unwrap());
        (text, address.to_string())
    }
}

#[test]
fn a_daemon_tells_who_signs_and_a_locked_store_opens_without_a_restart() {
    let net = Net::new();
    let home = home(&net.address());
    let (key, _) = net.take_key();
    fs::write(home.path().join("key.hex"), &key).unwrap();
    let file = home.path().join("key.hex");
    says(
        &home,
        &["import", file.to_str().unwrap(), "--name", "worker"],
    );
    let new = says(&home, &["new", "--type", "secp256k1"]);
    let new_key = says(&home, &["export", &new, "--really-do-it"]);
    fs::remove_file(file).unwrap();

    let mut logs = String::new();
    let mut open = home.start(&[]);
    open.until("the key store signs for the sender");
    open.until("the Filecoin node answers; ready");
    let all = listed(&home);
    let account = &all[0]["Account"];
    assert_eq!(account["Signer"], "KeyStore", "{all:?}");
    assert!(account["ID"].as_str().unwrap().starts_with("t0"), "{all:?}");
    assert!(
        account["Address"].as_str().unwrap().starts_with("t3"),
        "{all:?}"
    );
    let unknown = &all[1]["Account"];
    assert_eq!(
        (&unknown["ID"], &unknown["Balance"]),
        (&Value::Null, &Value::Null)
    );
    let table = says(&home, &["list"]);
    assert!(table.contains("worker") && table.contains("FIL"), "{table}");
    let (_, said) = open.terminate();
    assert!(!said.contains("others may read"), "{said}");
    logs.push_str(&said);

    // the wrong password: it serves, says so, and sends nothing
    let password = home.path().join("password");
    fs::write(&password, "of yesterday").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let mut locked = home.start(&[]);
    locked.until("others may read the password of the key store");
    let said = locked.until("the key store is locked: messages of its senders wait");
    for words in ["ERROR", "the password does not open it", "[Common.Wallet]"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    locked.until("the key store is locked: messages of this miner wait");
    locked.until("the Filecoin node answers; ready");
    fs::write(&password, PASSWORD).unwrap();
    locked.until("the key store is open");
    let says_so = listed(&home);
    assert_eq!(says_so[0]["Account"]["Signer"], "KeyStore");
    logs.push_str(&locked.terminate().1);

    let shown = home.run(&["daemon", "run", "--config-check"]);
    logs.push_str(&String::from_utf8_lossy(&shown.stdout));
    let out = home.path().join("all.jsonl");
    let done = home.run(&["db", "export", "--out", out.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
    logs.push_str(&fs::read_to_string(out).unwrap());
    logs.push_str(&fs::read_to_string(store(&home)).unwrap());
    for secret in forms(&key).into_iter().chain(forms(&new_key)) {
        assert!(!logs.contains(&secret), "a private key shows");
    }
    for password in [PASSWORD, "of yesterday"] {
        assert!(!logs.contains(password), "a password shows");
    }
}
