//! Whole databases of every version: the files under `tests/databases` are never changed, and each
//! is imported, brought up to date and found sound. `UPDATE_DATABASES=1` writes missing ones.

use crate::db::{
    Db,
    check::{
        Mend,
        tests::{example, faults},
    },
    export::Sink,
    import::ImportFile,
    lines::{Header, Lines, Tally},
    schema::*,
    versions::SCHEMA,
};
use damocles_kv::{Postgres, Table};
use damocles_types::{Base64, SectorId};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

struct Text(Vec<u8>);

impl Sink for Text {
    fn begin(&mut self) -> io::Result<()> {
        self.0.clear();
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.extend(line);
        Ok(())
    }

    fn progress(&mut self, _: u64) {}
}

fn exported(db: &Db) -> Vec<u8> {
    let mut text = Text(b"of a run before".to_vec());
    let done = db.export(&mut text).unwrap();
    assert_eq!(done.header.database, db.id());
    text.0
}

/// The lines of records.
fn records(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[1..lines.len() - 1].to_vec()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases")
}

/// What a program of version 1 would have exported: a database of today without what came later.
fn of_version_1(newest: &Path) -> Vec<u8> {
    let mut lines = Lines::open(newest).unwrap();
    let mut rows: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
    while let Some(row) = lines.next().unwrap() {
        rows.entry(row.table)
            .or_default()
            .insert(row.key, row.value);
    }
    // messages that had landed stood among those on their way, with a value
    let watched = rows.remove(&MESSAGES_WATCHED).unwrap();
    rows.get_mut(&MESSAGES_OPEN).unwrap().extend(watched);
    for (key, body) in rows.remove(&BODIES).unwrap() {
        let message = rows.get_mut(&MESSAGES).unwrap().get_mut(&key).unwrap();
        let mut whole: Map<String, Value> = serde_json::from_slice(message).unwrap();
        let body: Map<String, Value> = serde_json::from_slice(&body).unwrap();
        whole.extend(body);
        *message = serde_json::to_vec(&whole).unwrap();
    }
    let proofs = rows.remove(&PROOFS).unwrap();
    for (key, sector) in rows.get_mut(&SECTORS).unwrap() {
        let mut older: Map<String, Value> = serde_json::from_slice(sector).unwrap();
        let later = [
            "request",
            "fence",
            "claimant",
            "taken_from",
            "owner",
            "aborted_by",
        ];
        older.retain(|field, _| !later.contains(&field.as_str()));
        if let Some(bytes) = proofs.get(key) {
            let proof = older["proof"].as_object_mut().unwrap();
            proof.remove("digest");
            proof.insert(
                "bytes".into(),
                serde_json::to_value(Base64(bytes.clone())).unwrap(),
            );
        }
        *sector = serde_json::to_vec(&older).unwrap();
    }
    for later in [
        IN_WORK,
        DONE,
        OVER,
        LEFT_CHAIN,
        REQUESTS,
        STRAYS,
        MARKS,
        ENDED,
        SPENT,
        DEALS,
        DEALS_WAITING,
        DEALS_PLACES,
        DEALS_RETURNING,
        NETWORK,
    ] {
        rows.remove(&later);
    }
    let header = lines.header();
    let header = Header::new(SCHEMA.owner, 1, header.database, None, header.exported_at);
    let mut tally = Tally::default();
    let mut text = tally.header(&header).unwrap();
    for (table, rows) in &rows {
        for (key, value) in rows {
            text.extend(tally.record(*table, key, value).unwrap());
        }
    }
    text.extend(tally.last().unwrap());
    text
}

#[test]
fn a_database_of_every_version_is_imported_and_sound() {
    let newest = directory().join(format!("version-{}.jsonl", SCHEMA.version()));
    let first = directory().join("version-1.jsonl");
    if std::env::var_os("UPDATE_DATABASES").is_some() {
        fs::create_dir_all(directory()).unwrap();
        if !newest.exists() {
            let db = Db::in_memory();
            example(&db);
            fs::write(&newest, exported(&db)).unwrap();
        }
        if !first.exists() {
            fs::write(&first, of_version_1(&newest)).unwrap();
        }
    }
    let files = fs::read_dir(directory()).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let of = |n| directory().join(format!("version-{n}.jsonl"));
    assert_eq!(paths, [of(1), of(6), of(7), of(8)], "each is tried");
    for path in &paths {
        let dir = tempfile::tempdir().unwrap();
        let file = ImportFile::checked(path, |_| {}).unwrap();
        let id = file.header.database;
        let db = file.into_directory(dir.path()).unwrap().fill(|_| {});
        let db = db.unwrap();
        assert_eq!(db.id(), id);
        assert_eq!(faults(&db, Mend::Nothing), [], "{}", path.display());
        assert_eq!(db.sectors(true).unwrap().len(), 3);
        assert_eq!(db.sectors(false).unwrap().len(), 2);
        assert_eq!(db.watched_messages(None).unwrap().len(), 1);
        assert_eq!(db.open_messages().unwrap().len(), 2);
        assert_eq!(db.unfinished_posts(1000).unwrap().len(), 2);
        assert_eq!(db.highest_numbers().unwrap()[&1000], 5);
        assert_eq!(
            db.proof(SectorId::new(1000, 1)).unwrap(),
            Some(vec![5; 192])
        );
        drop(db);
        let again = Db::open_existing(dir.path()).unwrap();
        let version = SCHEMA.version();
        assert_eq!(
            (again.id(), again.versions().unwrap()),
            (id, (Some(version), version))
        );
        if path == &newest {
            let file = fs::read(path).unwrap();
            assert_eq!(records(&exported(&again)), records(&file));
        }
    }
}

#[test]
fn from_a_directory_to_a_server_and_back_every_record_is_the_same() {
    let Some(server) = damocles_test_postgres::shared() else {
        return;
    };
    let place = Postgres {
        dsn: server.dsn(),
        password: None,
        schema: "damocles imported".into(),
        connections: 2,
        authorities: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let here = Db::open(&dir.path().join("here")).unwrap();
    example(&here);
    let file = |name: &str, db: &Db| {
        let (path, text) = (dir.path().join(name), exported(db));
        fs::write(&path, &text).unwrap();
        (ImportFile::checked(&path, |_| {}).unwrap(), text)
    };
    let (first, was) = file("first", &here);
    // one that was cut short is begun anew, also by another file
    let half = first.clone().onto_server(&place).unwrap();
    drop(half);
    assert!(Db::on_server(&place, true).is_err());
    let there = first.onto_server(&place).unwrap().fill(|_| {}).unwrap();
    assert_eq!(there.id(), here.id());
    assert_eq!(faults(&there, Mend::Nothing), []);
    let (second, is) = file("second", &there);
    assert_eq!(records(&is), records(&was));
    let back = second.into_directory(&dir.path().join("back")).unwrap();
    let back = back.fill(|_| {}).unwrap();
    assert_eq!(records(&exported(&back)), records(&was));
    assert_eq!(back.id(), here.id());
    drop(there);
    let again = Db::on_server(&place, false).unwrap();
    assert_eq!(again.id(), here.id());
}
