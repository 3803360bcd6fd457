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
fn what_is_free_is_granted_but_for_a_sixteenth() {
    let (_dir, shown) = machine(160, 1600);
    let grant = grant(&shown, need(4), None, &[]).unwrap();
    assert_eq!(grant.bytes, Some(150 * KIB));
    assert_eq!((grant.node, grant.note), (None, None));
}

#[test]
fn a_sector_that_does_not_fit_is_told_with_both_sizes_and_what_to_do() {
    let (_dir, shown) = machine(60, 60);
    let error = grant(&shown, need(1), None, &[]).unwrap_err();
    assert!(error.message.contains("need 64KiB"), "{error}");
    assert!(error.message.contains("60KiB are free"), "{error}");
    assert!(error.hint.unwrap().contains("[[processors.pc1]]"));
    assert_eq!(error.level, damocles_types::Level::Temporary);
}

#[test]
fn memory_files_count_when_they_have_the_size() {
    let (_dir, shown) = machine(60, 60);
    // in memory, as such files are: elsewhere a system may show a lock under another device
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = ["right", "wrong"].map(|name| memory.path().join(name));
    fs::write(&files[0], vec![0; 32 << 10]).unwrap();
    fs::write(&files[1], vec![0; 31 << 10]).unwrap();
    let grant = grant(&shown, need(1), Some(0), &files).unwrap();
    assert_eq!(grant.bytes, Some((60 * KIB - 60 * KIB / 16) + 32 * KIB));
    assert_eq!(grant.node, Some(0));

    // as the system itself shows a lock
    let file = fs::File::open(&files[0]).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let free = || free_of_size(&shown, &files, 32 * KIB);
    assert_eq!(free(), 1, "nobody can see it");
    fs::copy("/proc/locks", shown.proc.join("locks")).unwrap();
    assert_eq!(free(), 0);
    drop(file);
    fs::copy("/proc/locks", shown.proc.join("locks")).unwrap();
    assert_eq!(free(), 1);
}

#[test]
fn a_node_with_room_is_bound_to_and_one_without_is_told() {
    let (_dir, shown) = machine(320, 160);
    let fits = grant(&shown, need(2), Some(0), &[]).unwrap();
    assert_eq!((fits.bytes, fits.node), (Some(150 * KIB), Some(0)));
    let not = grant(&shown, need(3), Some(0), &[]).unwrap();
    assert_eq!((not.bytes, not.node), (Some(300 * KIB), None));
    let note = not.note.unwrap();
    assert!(note.contains("node 0 has 160KiB free for 192KiB"), "{note}");
    let unknown = grant(&shown, need(1), Some(7), &[]).unwrap();
    assert_eq!((unknown.bytes, unknown.node), (Some(300 * KIB), None));
}

#[test]
fn every_cgroup_around_the_process_counts() {
    let (dir, shown) = machine(1000, 1000);
    let left = || super::available(&shown).unwrap();
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
        "anon 2000\ninactive_file 1000\n",
    )
    .unwrap();
    assert_eq!(left(), 3000, "a cache of files makes room");

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
    assert_eq!(super::available(&shown), None);
    assert_eq!(
        grant(&shown, need(1), Some(0), &[]).unwrap(),
        Grant::default()
    );
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

/// On a system with NUMA nodes every page of such memory says that it is bound.
#[test]
fn what_a_bound_thread_takes_is_of_that_node() {
    let Some(node) = home(&Shown::default()) else {
        return assert!(!Path::new(numa::ROOT).join("node0").exists() || many_nodes());
    };
    let maps = std::thread::spawn(move || {
        let grant = Grant {
            node: Some(node),
            ..Grant::default()
        };
        bind(&grant).unwrap();
        let memory = vec![1_u8; 8 << 20];
        let maps = fs::read_to_string("/proc/thread-self/numa_maps").unwrap();
        (memory.len(), maps)
    });
    let (_, maps) = maps.join().unwrap();
    assert!(maps.contains(&format!("bind:{node}")), "{maps}");
}

fn many_nodes() -> bool {
    Path::new(numa::ROOT).join("node1").exists()
}
