//! `db import` killed with SIGKILL in its middle: what it leaves is refused, and imported again it is
//! what was exported. The middle is where the test wants it, for the importer reads from pipes that
//! the test fills.

mod house;

use damocles_api::timeline::TimelineEntry;
use damocles_manager::db::Db;
use damocles_types::{SealProof, SectorSize};
use house::{Home, PATIENCE, manager, refused, verdict};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::channel,
};

const NOWHERE: &str = "http://127.0.0.1:9";
/// So many that pipe and buffers hold a small part of them only.
const RECORDS: u64 = 8000;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A home whose database has that many records.
fn full() -> Home {
    let home = Home::good(NOWHERE, 1000);
    let mut daemon = home.start(&[]);
    daemon.until("listening");
    assert!(daemon.terminate().0.success());
    let db = Db::open_existing(&home.path().join("state")).unwrap();
    let kind = SealProof::interactive(SectorSize::KiB2);
    let sector = db.allocate(1000, kind, 0, 999, Some).unwrap().unwrap();
    let attempts: Vec<_> = (0..RECORDS).map(attempt).collect();
    db.put_timeline(sector.id, "worker", &attempts).unwrap();
    home
}

fn attempt(seq: u64) -> TimelineEntry {
    TimelineEntry {
        seq,
        state: "PC1Done".into(),
        stage: "PC2".into(),
        queued_at: 1,
        started_at: None,
        ended_at: None,
        child: None,
        kernel: None,
        ending: None,
    }
}

/// The lines of all records, and not those that tell when and by whom they were written.
fn exported(home: &Home) -> Vec<String> {
    let output = home.run(&["db", "export"]);
    assert!(output.status.success(), "{output:?}");
    let whole = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = whole.lines().map(str::to_owned).collect();
    lines[1..lines.len() - 1].to_vec()
}

fn pipe(path: PathBuf) -> PathBuf {
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

/// Writes into a pipe, and returns when it was read but for what fits into the pipe. It stays
/// open as long as what is returned.
fn feed(pipe: &Path, words: &[u8]) -> File {
    let (pipe, words) = (pipe.to_owned(), words.to_vec());
    let (done, fed) = channel();
    std::thread::spawn(move || {
        let mut pipe = OpenOptions::new().write(true).open(pipe).unwrap();
        pipe.write_all(&words).unwrap();
        // whoever waits may have given up
        let _ = done.send(pipe);
    });
    fed.recv_timeout(PATIENCE).expect("it was not read")
}

/// Ends with the test.
struct Importing(Child);

impl Drop for Importing {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Begins to import the file into the home, which is read twice: whole, to be checked, and then up
/// to its middle. There it is killed.
fn killed_in_the_middle(home: &Home, whole: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let pipes = ["first", "second"].map(|name| pipe(dir.path().join(name)));
    let file = dir.path().join("file");
    symlink(&pipes[0], &file).unwrap();
    let importing = manager()
        .args(["--home", text(&home.path()), "db", "import", text(&file)])
        .stderr(Stdio::inherit())
        .spawn();
    let mut importing = Importing(importing.unwrap());
    let (most, end) = whole.split_at(whole.len() - 1);
    let mut first = feed(&pipes[0], most);
    // before it can open the file for the second time
    let other = dir.path().join("other");
    symlink(&pipes[1], &other).unwrap();
    fs::rename(&other, &file).unwrap();
    first.write_all(end).unwrap();
    drop(first);
    let second = feed(&pipes[1], &whole[..whole.len() / 2]);
    importing.0.kill().unwrap();
    assert_eq!(importing.0.wait().unwrap().code(), None, "it was killed");
    drop(second);
}

/// The home's database comes from a file, with kills on the way.
fn comes_through(home: &Home, file: &Path, records: &[String]) {
    let whole = fs::read(file).unwrap();
    for _ in 0..2 {
        killed_in_the_middle(home, &whole);
        let run = ["daemon", "run", "--listen", "127.0.0.1:0"];
        for args in [&run[..], &["db", "export"], &["db", "check"]] {
            let said = verdict(&home.run(args));
            refused(said, 8, "is half imported", "db import");
        }
    }
    let output = home.run(&["db", "import", text(file)]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(exported(home), records);
    let output = home.run(&["db", "check"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_import_that_is_killed_is_refused_and_comes_to_the_same_end_when_it_is_begun_again() {
    let home = full();
    let file = home.path().join("out.jsonl");
    let output = home.run(&["db", "export", "--out", text(&file)]);
    assert!(output.status.success(), "{output:?}");
    let records = exported(&home);
    assert!(records.len() as u64 > RECORDS);

    comes_through(&Home::good(NOWHERE, 1000), &file, &records);

    let Some(server) = damocles_test_postgres::shared() else {
        return;
    };
    let shared = Home::good(NOWHERE, 1000);
    let config = shared.path().join("sector-manager.cfg");
    let dsn = server.dsn();
    let on_server = format!(
        "{}[Common.DB]\nDriver = \"postgres\"\n[Common.DB.Postgres]\nDSN = {dsn:?}\nSchema = \"killed import\"\n",
        fs::read_to_string(&config).unwrap(),
    );
    fs::write(&config, on_server).unwrap();
    comes_through(&shared, &file, &records);
}
