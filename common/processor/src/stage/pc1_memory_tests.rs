//! What PC1 takes of a machine that a directory pretends to be.

use super::*;

const KIB: u64 = 1 << 10;

/// A machine with so much memory free, and on node 0.
fn machine(free_kib: u64, node_kib: u64) -> (tempfile::TempDir, Shown) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("proc/self")).unwrap();
    fs::create_dir_all(at("cgroup/system.slice/worker.service/pc1")).unwrap();
    fs::create_dir_all(at("node/node0")).unwrap();
    fs::write(
        at("proc/meminfo"),
        format!("MemTotal:  9 kB\nMemAvailable:    {free_kib} kB\n"),
    )
    .unwrap();
    fs::write(
        at("node/node0/meminfo"),
        format!("Node 0 MemFree:  {node_kib} kB\n"),
    )
    .unwrap();
    let shown = Shown {
        proc: at("proc"),
        cgroups: at("cgroup"),
        nodes: at("node"),
    };
    (dir, shown)
}

fn need(sectors: usize) -> Need {
    Need {
        sector_bytes: 32 * KIB,
        sectors,
    }
}

#[test]
fn labels_take_what_they_need_or_half_of_what_is_free() {
    let (_dir, shown) = machine(1600, 1600);
    let bytes = |sectors| {
        let grant = grant(&shown, need(sectors), None, &[]).unwrap();
        assert_eq!((grant.node, grant.note), (None, None));
        grant.available.bytes.unwrap() / KIB
    };
    // of 1600 a sixteenth stays
    assert_eq!(
        [1, 4, 20, 23, 24, 100].map(bytes),
        [750, 750, 1280, 1472, 1500, 1500]
    );
    assert_eq!(spare(1 << 40), (1 << 40) - (8 << 30));
}

#[test]
fn a_sector_that_does_not_fit_is_told_with_both_sizes() {
    let (_dir, shown) = machine(64, 64);
    let error = grant(&shown, need(1), None, &[]).unwrap_err().to_string();
    assert!(
        error.contains("take 64KiB, and 60KiB may be taken"),
        "{error}"
    );
}

#[test]
fn a_machine_that_is_too_small_is_told_for_good() {
    let (dir, shown) = machine(64, 64);
    let total = |kib: u64| {
        let text = format!("MemTotal: {kib} kB\nMemAvailable: 1 kB\n");
        fs::write(shown.proc.join("meminfo"), text).unwrap();
    };
    total(69);
    assert!(
        large_enough(&shown, 32 * KIB, &[]).is_ok(),
        "it is only busy"
    );
    total(64);
    let error = large_enough(&shown, 32 * KIB, &[]).unwrap_err();
    assert_eq!(error.level, damocles_types::Level::Permanent);
    assert!(error.message.contains("take 64KiB of memory"), "{error}");
    assert!(error.message.contains("have 60KiB at most"), "{error}");
    assert!(error.hint.unwrap().contains("MemoryMax"));
    let file = dir.path().join("file");
    fs::write(&file, vec![0; 32 << 10]).unwrap();
    assert!(large_enough(&shown, 32 * KIB, &[file]).is_ok());
}

#[test]
fn memory_files_count_when_they_have_a_size_and_nobody_holds_them() {
    let (dir, shown) = machine(40, 40);
    // in memory, as such files are: elsewhere a system may show a lock under another device
    let memory = match tempfile::tempdir_in("/dev/shm") {
        Ok(memory) => memory,
        Err(_) => dir,
    };
    let files = [("right", 32), ("wrong", 31), ("wide", 512)].map(|(name, kib)| {
        let path = memory.path().join(name);
        fs::write(&path, vec![0; kib << 10]).unwrap();
        path
    });
    let granted = grant(&shown, need(1), Some(0), &files).unwrap();
    let expected = Available {
        bytes: Some(32 * KIB),
        files: 1,
        wide_files: 1,
    };
    assert_eq!((granted.available, granted.node), (expected, Some(0)));

    // as the system itself shows a lock
    let file = fs::File::open(&files[0]).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let own = Shown {
        proc: memory.path().join("own"),
        ..shown.clone()
    };
    let look = || free_lengths(&own, &files).len();
    fs::create_dir(&own.proc).unwrap();
    std::os::unix::fs::symlink("/proc/locks", own.proc.join("locks")).unwrap();
    if memory.path().starts_with("/dev/shm") {
        assert_eq!(look(), 2);
    }
    drop(file);
    // a child that another test starts just now has the file, too, until it is itself
    while look() != 3 {
        thread::yield_now();
    }
}

#[test]
fn a_node_with_room_is_bound_to_and_one_without_is_told() {
    let (_dir, shown) = machine(320, 160);
    let bytes = |grant: &Grant| grant.available.bytes.unwrap() / KIB;
    let fits = grant(&shown, need(2), Some(0), &[]).unwrap();
    assert_eq!((bytes(&fits), fits.node), (150, Some(0)));
    let not = grant(&shown, need(3), Some(0), &[]).unwrap();
    assert_eq!((bytes(&not), not.node), (192, None));
    let note = not.note.unwrap();
    assert!(note.contains("node 0 can give 150KiB of 192KiB"), "{note}");
    let unknown = grant(&shown, need(1), Some(7), &[]).unwrap();
    assert_eq!((bytes(&unknown), unknown.node), (150, None));
}

/// A claim on the machine that runs this test, for sectors of so many bytes.
fn claim(dir: &Path, shown: Shown, progress: Progress) -> Claim {
    Claim {
        shown,
        sector_bytes: 32 * KIB,
        home: None,
        files: Vec::new(),
        lock: dir.join("lock"),
        progress,
        held: Mutex::default(),
    }
}

/// What it finds when nobody else is at it. A child that another test starts just now has the lock,
/// too, until it is itself.
fn alone(claim: &Claim) -> Look {
    loop {
        match claim.look(1).unwrap() {
            Look::Busy => thread::yield_now(),
            found => return found,
        }
    }
}

#[test]
fn one_at_a_time_looks_and_takes() {
    let (dir, shown) = machine(1600, 1600);
    let [first, second] = [(); 2].map(|()| claim(dir.path(), shown.clone(), Progress::silent()));
    let granted = |look| matches!(look, Look::Granted(_));
    assert!(granted(alone(&first)));
    assert_eq!(second.look(1).unwrap(), Look::Busy);
    first.taken();
    assert!(granted(alone(&second)));
    second.taken();

    // who finds too little lets the next one look
    fs::write(shown.proc.join("meminfo"), "MemAvailable: 16 kB\n").unwrap();
    let too_little = TooLittle {
        one: 64 * KIB,
        free: 15 * KIB,
    };
    assert_eq!(alone(&first), Look::TooLittle(too_little));
    fs::write(shown.proc.join("meminfo"), "MemAvailable: 1000 kB\n").unwrap();
    assert_eq!(
        second.ask(1).unwrap().bytes,
        Some((1000 * KIB - 1000 * KIB / 16) / 2)
    );
}

#[test]
fn every_cgroup_around_the_process_counts() {
    let (dir, shown) = machine(1000, 1000);
    let left = || super::left(&shown).unwrap();
    let at = |name: &str| dir.path().join("cgroup/system.slice").join(name);
    assert_eq!(left(), 1000 * KIB);
    fs::write(
        dir.path().join("proc/self/cgroup"),
        "0::/system.slice/worker.service/pc1\n",
    )
    .unwrap();
    fs::write(at("worker.service/pc1/memory.max"), "max\n").unwrap();
    fs::write(at("worker.service/pc1/memory.current"), "100\n").unwrap();
    assert_eq!(left(), 1000 * KIB, "no limit of its own");
    fs::write(at("worker.service/memory.max"), "5000\n").unwrap();
    fs::write(at("worker.service/memory.current"), "3000\n").unwrap();
    assert_eq!(left(), 2000, "systemd's MemoryMax stands one above");
    fs::write(
        at("worker.service/memory.stat"),
        "anon 2000\ninactive_file 700\nactive_file 300\nfile 9999\n",
    )
    .unwrap();
    assert_eq!(left(), 3000, "a cache of files makes room");
    fs::write(at("worker.service/memory.high"), "4500\n").unwrap();
    assert_eq!(left(), 2500, "above that it is slowed down");
    assert_eq!(most(&shown), Some(4500));

    fs::write(
        dir.path().join("proc/self/cgroup"),
        "4:cpu,cpuacct:/x\n3:memory:/y\n0::/\n",
    )
    .unwrap();
    fs::create_dir_all(dir.path().join("cgroup/memory/y")).unwrap();
    let v1 = |name: &str| dir.path().join("cgroup/memory/y").join(name);
    fs::write(v1("memory.limit_in_bytes"), "700\n").unwrap();
    fs::write(v1("memory.usage_in_bytes"), "600\n").unwrap();
    assert_eq!(left(), 100, "the first version of cgroups");

    fs::remove_file(dir.path().join("proc/meminfo")).unwrap();
    assert_eq!(super::left(&shown), None);
    assert_eq!(
        grant(&shown, need(1), Some(0), &[]).unwrap(),
        Grant::default()
    );
    assert!(large_enough(&shown, 32 * KIB, &[]).is_ok());
}

#[test]
fn files_of_the_own_node_come_first() {
    let dir = tempfile::tempdir().unwrap();
    for node in 0..3 {
        fs::create_dir(dir.path().join(format!("numa_{node}"))).unwrap();
        fs::write(dir.path().join(format!("numa_{node}/file")), "").unwrap();
    }
    let all = MemoryFiles::in_directory(dir.path());
    let nodes = |home, only| -> Vec<String> {
        let (found, trouble) = files(&all, home, only);
        assert_eq!(trouble.is_empty(), !found.is_empty());
        let name = |path: &PathBuf| path.parent().unwrap().file_name().unwrap().to_owned();
        found
            .iter()
            .map(|p| name(p).into_string().unwrap())
            .collect()
    };
    assert_eq!(nodes(Some(1), false), ["numa_1", "numa_0", "numa_2"]);
    assert_eq!(nodes(Some(1), true), ["numa_1"]);
    assert_eq!(nodes(None, false), ["numa_0", "numa_1", "numa_2"]);
    assert!(nodes(Some(5), true).is_empty());
}

/// Where the system has NUMA nodes and lets us choose: all of such memory is of that node.
#[test]
fn what_a_bound_thread_takes_is_of_that_node() {
    let Some(node) = home(&Shown::default()) else {
        return;
    };
    let maps = thread::spawn(move || {
        match pin::bind_memory(node) {
            // a container may forbid it
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
            bound => bound.unwrap(),
        }
        let memory = vec![1_u8; 8 << 20];
        let maps = fs::read_to_string("/proc/thread-self/numa_maps").ok()?;
        pin::prefer_memory(None).unwrap();
        let after = fs::read_to_string("/proc/thread-self/numa_maps").ok()?;
        assert_eq!(memory.len(), 8 << 20);
        Some((maps, after))
    });
    let Some((maps, after)) = maps.join().unwrap() else {
        return;
    };
    let (bound, pages) = (format!("bind:{node}"), format!("N{node}="));
    // wherever the heap has put them: all 2048 pages of a line or more
    let on_node = |line: &str| -> usize {
        let mut words = line.split_whitespace();
        let count = words.find_map(|word| word.strip_prefix(&pages)?.parse().ok());
        count.unwrap_or(0)
    };
    let there =
        |line: &str| line.contains(&bound) && line.contains("anon=") && on_node(line) >= 2048;
    assert!(maps.lines().any(there), "{maps}");
    assert!(!after.contains(&bound), "{after}");
}
