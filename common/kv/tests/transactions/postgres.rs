//! A database behind a network: connections and servers end in the middle of everything, and
//! nothing is lost, and nothing happens twice.

use crate::{
    engines::{A, B, SCHEMA},
    records::{Done, sure, value},
    server::{self, Server, open, place, shared},
};
use damocles_kv::{
    ConnectError, Durability::Synced, Postgres, Record, Schema, Span, Store, StoreError,
    Transaction,
};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

fn add(t: &mut Transaction<'_>, key: &str) -> Done {
    let record = t.get(A, key.as_bytes())?;
    let n: u64 = record.json()?.unwrap_or(0);
    t.put_json(&record, &(n + 1))
}

/// Writes a record and counts it, until it is done; whoever is told "not applied" tries again.
/// Had it been applied all the same, the record would be there.
fn insist(store: &Store, thread: usize, n: usize) {
    let key = format!("{thread}.{n:04}");
    for _ in 0..600 {
        let done: Done = store.transact(Synced, |t| {
            t.insert(B, key.as_str(), "")?;
            add(t, &format!("count {thread}"))
        });
        match done {
            Ok(()) => return,
            Err(StoreError::Away { .. } | StoreError::Conflict { .. }) => {
                // the server is being started anew, of which nobody tells
                thread::sleep(Duration::from_millis(100));
            }
            Err(other) => panic!("{key}: {other:?}"),
        }
    }
    panic!("{key}: the server does not come back");
}

/// Threads write while `disturb` does what it does, each time some more is written.
fn under_stress(store: &Store, disturb: impl Fn()) {
    let (threads, each, disturbances) = (4, 60, 4);
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let written = &written;
            scope.spawn(move || {
                for n in 0..each {
                    insist(store, thread, n);
                    written.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for n in 1..=disturbances {
            let so_many = (threads * each * n / (disturbances + 1)) as u64;
            while written.load(Ordering::SeqCst) < so_many {
                thread::yield_now();
            }
            disturb();
        }
    });
    let all = sure(store, |t| t.scan(B, &Span::all(), usize::MAX));
    let found: BTreeSet<_> = all.iter().map(|r| r.key().to_vec()).collect();
    let key = |(thread, n): (usize, usize)| format!("{thread}.{n:04}").into_bytes();
    let want = (0..threads).flat_map(|t| (0..each).map(move |n| (t, n)));
    assert_eq!(
        found,
        want.map(key).collect(),
        "nothing acknowledged is lost"
    );
    for thread in 0..threads {
        let count = value(store, &format!("count {thread}")).unwrap();
        assert_eq!(count, each.to_string(), "nothing was applied twice");
    }
}

#[test]
fn a_server_that_is_killed_loses_nothing_and_does_nothing_twice() {
    killed_with("");
}

/// What waits for the writer of its log is in the memory of the server's processes.
#[test]
fn a_server_that_does_not_wait_for_its_disk_waits_for_it_with_us() {
    killed_with("-c synchronous_commit=off -c wal_writer_delay=10s -c wal_writer_flush_after=0");
}

fn killed_with(options: &str) {
    let Some(server) = Server::start(options) else {
        return;
    };
    let store = server::empty(&server);
    under_stress(&store, || {
        server.kill();
        server.up(options);
    });
}

#[test]
fn connections_that_end_at_any_time_lose_nothing_and_do_nothing_twice() {
    let Some(server) = Server::start("-F") else {
        return;
    };
    let store = server::empty(&server);
    under_stress(&store, || {
        for _ in 0..5 {
            server.psql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'damocles'",
            );
        }
    });
}

#[test]
fn commits_that_come_at_a_time_share_statements_and_are_all_applied() {
    let Some(server) = Server::start("") else {
        return;
    };
    let place = server::another(&server);
    let store = open(&place).unwrap();
    let (threads, each) = (32, 20);
    thread::scope(|scope| {
        for thread in 0..threads {
            let store = &store;
            scope.spawn(move || {
                for n in 0..each {
                    let key = format!("{thread}.{n}");
                    sure(store, |t| {
                        t.insert(B, key.as_str(), "")?;
                        add(t, &format!("count {thread}"))
                    });
                }
            });
        }
    });
    for thread in 0..threads {
        let count = value(&store, &format!("count {thread}")).unwrap();
        assert_eq!(count, each.to_string());
    }
    let all = sure(&store, |t| t.scan(B, &Span::all(), usize::MAX));
    assert_eq!(all.len(), threads * each);
    let told = server.psql(&format!(
        "SELECT 'statements ' || sum(number) || '.' FROM \"{}\"._commits",
        place.schema
    ));
    let (_, count) = told.split_once("statements ").expect("a sum");
    let (count, _) = count.split_once('.').expect("a sum");
    let statements: usize = count.parse().unwrap();
    assert!(
        statements < threads * each,
        "{statements} statements for {} commits",
        threads * each
    );
}

/// Where a connection is cut when the client says COMMIT.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The server never hears of it.
    Before,
    /// It does, and its answer is lost.
    After,
    /// It hears of it long after the client has been told that the connection is lost.
    Late,
}

/// Stands between a client and the server.
struct Wire {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What happens to the next commit.
    next: Mutex<Option<Cut>>,
    /// What has not come to the server yet.
    held: Mutex<Option<Held>>,
}

struct Held {
    server: TcpStream,
    bytes: Vec<u8>,
    /// Ends with the connection.
    ended: mpsc::Receiver<()>,
}

impl Held {
    /// Brings it to the server, and waits until that is through with it.
    fn deliver(mut self) {
        self.server.write_all(&self.bytes).unwrap();
        self.server.shutdown(Shutdown::Write).unwrap();
        assert!(self.ended.recv().is_err());
    }
}

impl Wire {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let of_wire = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let (back, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (ends, ended) = mpsc::channel();
                thread::spawn(move || {
                    carry_back(back, to);
                    drop(ends);
                });
                let shared = shared.clone();
                thread::spawn(move || carry(client, server, ended, &shared));
            }
        });
        Self {
            port,
            shared: of_wire,
        }
    }
}

/// To the last word of the server, whether the client still listens or not.
fn carry_back(mut server: TcpStream, mut client: TcpStream) {
    let mut buffer = [0; 64 << 10];
    while let Ok(n @ 1..) = server.read(&mut buffer) {
        let _ = client.write_all(&buffer[..n]);
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn carry(mut client: TcpStream, mut server: TcpStream, ended: mpsc::Receiver<()>, shared: &Shared) {
    let mut buffer = [0; 64 << 10];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..n];
        let cut = if bytes.windows(6).any(|w| w == b"COMMIT") {
            shared.next.lock().unwrap().take()
        } else {
            None
        };
        match cut {
            Some(Cut::Late) => {
                let held = Held {
                    server,
                    bytes: bytes.to_vec(),
                    ended,
                };
                *shared.held.lock().unwrap() = Some(held);
                let _ = client.shutdown(Shutdown::Both);
                return;
            }
            Some(Cut::Before) => break,
            Some(Cut::After) => {
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.write_all(bytes);
                break;
            }
            None if server.write_all(bytes).is_err() => break,
            None => {}
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Write);
}

#[test]
fn a_commit_whose_answer_is_lost_is_applied_once() {
    let Some(server) = shared() else { return };
    let wire = Wire::to(server.port());
    let place = Postgres {
        dsn: format!(
            "host=127.0.0.1 port={} user=damocles dbname=postgres",
            wire.port
        ),
        ..place(server, "cut")
    };
    let store = open(&place).unwrap();
    let cuts = [
        (Cut::After, 1, "1"),
        (Cut::Before, 2, "2"),
        (Cut::Late, 2, "3"),
        (Cut::Before, 2, "4"),
    ];
    for (cut, runs, want) in cuts {
        let mut ran = 0;
        sure(&store, |t| {
            ran += 1;
            if ran == 1 {
                *wire.shared.next.lock().unwrap() = Some(cut);
            }
            t.overwrite(B, format!("{cut:?}{ran}"), "")?;
            if ran == 1 && cut == Cut::Late {
                // that it is late cannot be told by what it has read
                return Ok(());
            }
            add(t, "n")
        });
        let late = wire.shared.held.lock().unwrap().take();
        assert_eq!(late.is_some(), cut == Cut::Late);
        if let Some(late) = late {
            late.deliver();
        }
        assert_eq!(value(&store, "n").as_deref(), Some(want), "{cut:?}");
        assert_eq!(ran, runs, "{cut:?}");
        let first: Done<Record> = store.read(|t| t.get(B, format!("{cut:?}1").as_bytes()));
        assert_eq!(first.unwrap().exists(), runs == 1, "{cut:?}");
        let next = *wire.shared.next.lock().unwrap();
        assert_eq!(next, None, "{cut:?}: nothing was cut");
    }
}

/// As when it has written nothing for days, and another process has cleared up.
#[test]
fn a_connection_whose_number_was_forgotten_makes_room_for_another() {
    let Some(server) = shared() else { return };
    let place = Postgres {
        connections: 1,
        ..place(server, "forgotten")
    };
    let store = open(&place).unwrap().with_attempts(3);
    for want in ["1", "2"] {
        sure(&store, |t| add(t, "n"));
        assert_eq!(value(&store, "n").as_deref(), Some(want));
        server.psql("DELETE FROM forgotten._commits");
    }
}

/// So that those who come first, all at a time, find connections whose statements are planned.
#[test]
fn all_connections_are_opened_ahead_and_no_more_than_there_may_be() {
    // of its own, so that nobody else's are counted
    let Some(server) = Server::start("-F") else {
        return;
    };
    let place = place(&server, "ahead");
    let store = open(&place).unwrap();
    let connections = || -> usize {
        let told = server.psql(
            "SELECT 'connections', count(*) FROM pg_stat_activity WHERE application_name = 'damocles'",
        );
        let line = told.lines().find(|line| line.contains("connections |"));
        let number = line.and_then(|line| line.split('|').nth(1)?.trim().parse().ok());
        number.unwrap_or_else(|| panic!("{told}"))
    };
    store.open_ahead();
    let until = Instant::now() + Duration::from_secs(60);
    while connections() < place.connections {
        assert!(Instant::now() < until, "they are not opened");
    }
    thread::scope(|scope| {
        for n in 0..3 * place.connections {
            let store = &store;
            scope.spawn(move || sure(store, |t| t.insert(B, format!("{n}"), "").map(drop)));
        }
    });
    assert_eq!(connections(), place.connections);
    assert_eq!(
        sure(&store, |t| t.scan(B, &Span::all(), usize::MAX)).len(),
        3 * place.connections
    );
}

#[test]
fn several_open_one_database_and_it_stays_whose_it_is() {
    let Some(server) = shared() else { return };
    let place = place(server, "several");
    let ids: BTreeSet<_> = thread::scope(|scope| {
        let openers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| open(&place).unwrap().id()))
            .collect();
        openers.into_iter().map(|o| o.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1, "one database, one name");
    let other = Schema {
        owner: "neighbour",
        ..SCHEMA
    };
    let refused = Store::postgres(&place, &other).unwrap_err();
    assert!(matches!(refused, ConnectError::Foreign { .. }), "{refused}");
    assert!(
        refused.to_string().contains("a database of transactions"),
        "{refused}"
    );
    let two = [open(&place).unwrap(), open(&place).unwrap()];
    sure(&two[0], |t| add(t, "n"));
    sure(&two[1], |t| add(t, "n"));
    assert_eq!(value(&two[0], "n").as_deref(), Some("2"));
}

#[test]
fn a_server_that_is_not_there_is_a_wait_that_ends() {
    let Some(server) = Server::start("-F") else {
        return;
    };
    let store = server::empty(&server);
    server.kill();
    let away: Done = store.transact(Synced, |t| add(t, "n"));
    let away = away.unwrap_err();
    assert!(
        matches!(away, StoreError::Away { .. }) && away.is_wait(),
        "{away:?}"
    );
    let refused = open(&place(&server, "later")).unwrap_err();
    assert!(
        matches!(refused, ConnectError::Unreachable { .. }),
        "{refused}"
    );
    server.up("-F");
    sure(&store, |t| add(t, "n"));
    assert_eq!(value(&store, "n").as_deref(), Some("1"));
}

/// From async code a store may be used and dropped, too; it only blocks.
#[test]
fn a_store_may_be_used_and_dropped_inside_a_runtime() {
    let Some(server) = shared() else { return };
    let store = server::empty(server);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async move {
        sure(&store, |t| add(t, "n"));
        drop(store);
    });
}

#[test]
fn a_server_that_asks_for_a_password_is_told_the_one_of_the_file_and_nobody_else_is() {
    let Some(server) = Server::start("-F") else {
        return;
    };
    server.ask_for("open sesame");
    let by_tcp = |password: Option<&str>| Postgres {
        dsn: server.dsn_over(server.port()),
        password: password.map(str::to_owned),
        ..place(&server, "asked")
    };
    for wrong in [None, Some("close sesame")] {
        let refused = open(&by_tcp(wrong)).unwrap_err();
        assert!(
            matches!(&refused, ConnectError::Unreachable { .. }),
            "{refused:?}"
        );
        assert!(!format!("{refused} {refused:?}").contains("sesame"));
    }
    let store = open(&by_tcp(Some("open sesame"))).unwrap();
    sure(&store, |t| add(t, "n"));
    let with_it = Postgres {
        dsn: format!("{} password='open sesame'", server.dsn_over(server.port())),
        ..by_tcp(None)
    };
    assert_eq!(value(&open(&with_it).unwrap(), "n").as_deref(), Some("1"));
}

#[test]
fn a_connection_is_encrypted_and_the_servers_certificate_is_checked() {
    let Some(server) = Server::start("-F") else {
        return;
    };
    let Some(authority) = server.encrypt() else {
        return;
    };
    let known = Postgres {
        dsn: format!(
            "postgres://damocles@127.0.0.1:{}/postgres?sslmode=require",
            server.port()
        ),
        authorities: Some(authority),
        ..place(&server, "encrypted")
    };
    let store = open(&known).unwrap();
    sure(&store, |t| add(t, "n"));
    assert_eq!(value(&store, "n").as_deref(), Some("1"));
    let stranger = Postgres {
        authorities: None,
        ..known
    };
    let refused = open(&stranger).unwrap_err();
    assert!(
        matches!(&refused, ConnectError::Unreachable { reason, .. } if reason.contains("certificate")),
        "{refused}"
    );
}
