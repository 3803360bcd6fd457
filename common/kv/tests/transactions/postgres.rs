//! A database behind a network: connections and servers end in the middle of everything, and
//! nothing is lost, and nothing happens twice.

use crate::{
    engines::{A, B, SCHEMA},
    records::{Done, sure, value},
    server::{self, Server, open, place, shared},
};
use damocles_kv::{
    ConnectError, Durability::Synced, Postgres, Schema, Span, Store, StoreError, Transaction,
};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
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

/// Where a connection is cut when the client says COMMIT.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The server never hears of it.
    Before,
    /// It does, and its answer is lost.
    After,
}

/// Stands between a client and the server.
struct Wire {
    port: u16,
    /// What happens to the next commit.
    next: Arc<Mutex<Option<Cut>>>,
}

impl Wire {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let next = Arc::new(Mutex::new(None));
        let shared = next.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let (back, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(back, to, |_| None));
                let next = shared.clone();
                thread::spawn(move || {
                    pass(client, server, |bytes| {
                        let commits = bytes.windows(6).any(|w| w == b"COMMIT");
                        if commits {
                            next.lock().unwrap().take()
                        } else {
                            None
                        }
                    });
                });
            }
        });
        Self { port, next }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: impl Fn(&[u8]) -> Option<Cut>) {
    let mut buffer = [0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let cut = cut(&buffer[..n]);
        if cut == Some(Cut::Before) {
            break;
        }
        if cut == Some(Cut::After) {
            // the client hears no more, the server all
            let _ = from.shutdown(Shutdown::Both);
        }
        if to.write_all(&buffer[..n]).is_err() || cut.is_some() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Write);
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
    for (cut, runs, want) in [(Cut::After, 1, "1"), (Cut::Before, 2, "2")] {
        let mut ran = 0;
        sure(&store, |t| {
            ran += 1;
            if ran == 1 {
                *wire.next.lock().unwrap() = Some(cut);
            }
            add(t, "n")
        });
        assert_eq!(value(&store, "n").as_deref(), Some(want), "{cut:?}");
        assert_eq!(ran, runs, "{cut:?}");
        assert_eq!(*wire.next.lock().unwrap(), None, "{cut:?}: nothing was cut");
    }
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
