//! Sectors that hang, panic, are gone or damaged, beside whole ones.

use super::*;
use crate::stage::test_sectors::{self, MINER, SIZE, seal};
use damocles_types::Commitment;
use std::{
    fs,
    panic::resume_unwind,
    sync::{Arc, Condvar, Mutex},
};

fn replica(sector_id: u64) -> Replica {
    Replica {
        sector_id,
        comm_r: Commitment([1; 32]),
        cache_dir: "cache".into(),
        sealed_file: "sealed".into(),
    }
}

fn numbers(unread: &[Unread]) -> Vec<(u64, bool)> {
    unread.iter().map(|u| (u.sector_id, u.wrong)).collect()
}

fn limits(store: &str, parallel: usize) -> Limits {
    Limits {
        store: store.to_owned(),
        parallel,
        sector: Some(Duration::from_secs(1)),
    }
}

#[test]
fn one_that_hangs_or_panics_costs_only_itself() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = gate.clone();
    let read = move |replica: &Replica| match replica.sector_id {
        2 => {
            let shut = closed.0.lock().unwrap();
            drop(closed.1.wait_while(shut, |open| !*open).unwrap());
            Ok(())
        }
        // without a word on stderr
        3 => resume_unwind(Box::new("no such row (os error 5)")),
        4 => resume_unwind(Box::new("a row is not a row".to_owned())),
        5 => Err(not_now(io::Error::from_raw_os_error(libc::ESTALE))),
        _ => Ok(()),
    };
    let all = (1..9).map(replica).collect();
    let unread = each(all, &limits("one hangs", 2), read);
    assert_eq!(
        numbers(&unread),
        [(2, false), (3, false), (4, true), (5, false)],
        "{unread:?}"
    );
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

#[test]
fn a_store_of_which_all_hang_is_given_up() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = gate.clone();
    let read = move |_: &Replica| {
        let shut = closed.0.lock().unwrap();
        drop(closed.1.wait_while(shut, |open| !*open).unwrap());
        Ok(())
    };
    let all = (1..100).map(replica).collect();
    let unread = each(all, &limits("all hang", 3), read.clone());
    assert_eq!(unread.len(), 99);
    assert!(unread.iter().all(|u| !u.wrong));
    assert!(unread[2].why.contains("has not ended"), "{unread:?}");
    assert!(unread[98].why.contains("store hangs"), "{unread:?}");
    // nor does the next who asks for them spend threads on it
    let again = each(vec![replica(1)], &limits("all hang", 3), read.clone());
    assert!(again[0].why.contains("store hangs"), "{again:?}");
    let other = each(vec![replica(1)], &limits("another", 3), |_| Ok(()));
    assert!(other.is_empty());
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    while HUNG.of("all hang") > 0 {
        thread::yield_now();
    }
    assert!(each(vec![replica(1)], &limits("all hang", 3), read).is_empty());
}

#[test]
fn what_a_disk_says_is_told_from_what_the_files_are() {
    for (number, wrong) in [
        (libc::EIO, false),
        (libc::ESTALE, false),
        (libc::EACCES, false),
        (libc::ETIMEDOUT, false),
        (libc::ENOENT, true),
    ] {
        let error = io::Error::from_raw_os_error(number);
        let words = format!("called `Result::unwrap()`: Failed to read: {error}");
        assert_eq!(of_words(&words).wrong, wrong, "{words}");
        let wrapped = anyhow::Error::from(error).context("tree");
        assert_eq!(of_library(&wrapped).wrong, wrong, "{wrapped:#}");
        let said = anyhow::anyhow!("{words}");
        assert_eq!(of_library(&said).wrong, wrong, "{said:#}");
    }
    assert!(of_words("index out of bounds").wrong);
    assert!(of_words("(os error many)").wrong);
}

#[test]
fn what_is_gone_short_damaged_or_of_another_is_named_and_the_whole_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut replicas: Vec<_> = (1..7).map(|n| seal(dir.path(), n).replica()).collect();
    fs::remove_file(replicas[1].cache_dir.join("p_aux")).unwrap();
    fs::write(&replicas[2].sealed_file, vec![0; 1000]).unwrap();
    fs::write(&replicas[3].sealed_file, vec![0; 2048]).unwrap();
    fs::write(replicas[4].cache_dir.join("p_aux"), b"short").unwrap();
    // the chain has another replica of it
    replicas[5].comm_r = replicas[0].comm_r;
    let task = ReadSectors {
        miner_id: MINER,
        proof_type: PoStProof::WindowV1_1(SIZE),
        replicas,
        seed: [0xff; 32],
        store: "whole".to_owned(),
        parallel: 3,
        sector_limit_ms: 0,
    };
    let unread = test_sectors::run(&task).unread;
    let wrong: Vec<_> = (2..7).map(|n| (n, true)).collect();
    assert_eq!(numbers(&unread), wrong, "{unread:?}");
    for (unread, words) in unread
        .iter()
        .zip(["p_aux", "1000 bytes", "leaf", "", "p_aux"])
    {
        assert!(unread.why.contains(words), "{unread:?}");
    }
}
