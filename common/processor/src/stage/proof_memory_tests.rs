//! What proofs take of a machine that a directory pretends to be.

use super::*;
use damocles_types::Level;
use std::{fs, path::Path, sync::mpsc, thread, time::Duration};

const NEED: Need = Need {
    held: 100 << 20,
    proven: 50 << 20,
};

fn partitions(count: usize) -> Partitions {
    Partitions {
        need: NEED,
        count,
        threads: NonZeroUsize::new(8).unwrap(),
        mapped: 0,
    }
}

/// A machine with so much memory free.
fn machine(dir: &Path, free_kib: u64) -> Shown {
    fs::write(
        dir.join("meminfo"),
        format!("MemAvailable:    {free_kib} kB\n"),
    )
    .unwrap();
    Shown {
        proc: dir.to_owned(),
        cgroups: dir.join("cgroup"),
        nodes: dir.join("node"),
    }
}

#[test]
fn the_ceiling_is_what_was_set_or_half_of_what_is_free_beside_the_parameters() {
    let dir = tempfile::tempdir().unwrap();
    let shown = machine(dir.path(), 1000);
    let of = |set, mapped| Ceiling::of(set, &shown, mapped);
    assert_eq!(of(Some("150GiB"), 7), Ok(Ceiling::Set(150 << 30)));
    assert_eq!(of(None, 0), Ok(Ceiling::Found(500 << 10)));
    assert_eq!(of(None, 200 << 10), Ok(Ceiling::Found(400 << 10)));
    assert_eq!(of(None, 1 << 30), Ok(Ceiling::Found(0)));
    let error = of(Some("much"), 0).unwrap_err();
    assert_eq!(error.level, Level::Permanent);
    assert!(error.message.starts_with("DAMOCLES_PROOF_MEMORY: "));
    // a system that does not say has no limit that is known of
    let nowhere = machine(dir.path(), 1);
    fs::remove_file(nowhere.proc.join("meminfo")).unwrap();
    let unknown = Ceiling::of(None, &nowhere, 0);
    assert_eq!(unknown, Ok(Ceiling::Found(u64::MAX / 2)));
}

#[test]
fn a_ceiling_that_was_set_is_never_exceeded_and_one_that_was_found_only_by_one_proof_alone() {
    let budget = Budget::new();
    let take = |ceiling| {
        let plan = budget.take(&partitions(4), ceiling, || panic!("nobody is there"));
        budget.give_back(plan.bytes);
        (plan.held, plan.proven)
    };
    let bytes = |mib: u64| mib << 20;
    for (mib, wanted) in [(150, (1, 1)), (250, (2, 1)), (500, (4, 2)), (900, (4, 2))] {
        assert_eq!(take(Ceiling::Set(bytes(mib))), wanted, "{mib}");
        assert_eq!(take(Ceiling::Found(bytes(mib))), wanted, "{mib}");
    }
    let little = Ceiling::Found(bytes(149));
    assert!(little.allows(&NEED).is_ok());
    assert_eq!(take(little), (1, 1));
    let error = Ceiling::Set(bytes(149)).allows(&NEED).unwrap_err();
    assert_eq!(error.level, Level::Permanent);
    let wanted = "the proof of a partition takes 150MiB, and DAMOCLES_PROOF_MEMORY allows 149MiB";
    assert_eq!(error.message, wanted);
    assert!(error.hint.unwrap().contains("higher"));
}

#[test]
fn tasks_of_one_process_share_its_ceiling_and_wait_for_each_other() {
    let budget = Budget::new();
    let set = Ceiling::Set(400 << 20);
    let alone = || panic!("there is room");
    let first = budget.take(&partitions(1), set, alone);
    // what is left is for one more, however many it has
    let second = budget.take(&partitions(4), set, alone);
    assert_eq!((second.held, second.proven), (2, 1));
    assert_eq!(first.bytes + second.bytes, 400 << 20);
    let (told, waits) = mpsc::channel();
    thread::scope(|scope| {
        let third = scope.spawn(|| budget.take(&partitions(4), set, || told.send(()).unwrap()));
        waits.recv_timeout(Duration::from_secs(60)).unwrap();
        budget.give_back(first.bytes);
        assert_eq!(third.join().unwrap().bytes, first.bytes);
    });
    assert_eq!(budget.taken.lock().bytes, 400 << 20);
}

#[test]
fn a_plan_is_told_with_its_bytes_and_their_ceiling() {
    let set = Ceiling::Set(500 << 20);
    let plan = NEED.plan(10, NonZeroUsize::new(8).unwrap(), 500 << 20);
    assert_eq!(
        told(&partitions(10), &plan.unwrap(), set),
        "10 partitions, of which 4 are held and 2 proven at a time: 500MiB at most, of the 500MiB of DAMOCLES_PROOF_MEMORY"
    );
    let alone = Plan::one_by_one(&NEED);
    assert_eq!(
        told(&partitions(1), &alone, Ceiling::Found(1 << 30)),
        "one partition: 150MiB at most, of 1GiB (half of what was free)"
    );
}
