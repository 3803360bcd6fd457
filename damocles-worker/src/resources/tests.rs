//! Described machines and configurations, and what is said of them.

use super::*;
use std::fs;

/// A configuration with these threads and keys; nothing of it is on this machine.
fn loaded(dir: &Path, more: &str) -> Loaded {
    let path = dir.join("worker.toml");
    let text = format!(
        "[sector_manager]\nrpc_client.addr = \"/ip4/127.0.0.1/tcp/1789\"\n\
         [[attached]]\nname = \"hdd\"\nlocation = \"/mnt/hdd\"\n{more}"
    );
    fs::write(&path, text).unwrap();
    crate::config::load_for_elsewhere(&path, &crate::config::kept_profiles).unwrap()
}

fn machine(more: &str) -> Hardware {
    let text = format!(
        "cpus = \"0-15\"\nmemory = \"512GiB\"\n{more}\n[[node]]\nnumber = 0\ncpus = \"0-7\"\n[[node]]\nnumber = 1\ncpus = \"8-15\"\n\
         [[disk]]\nmount = \"/\"\nsize = \"100GB\"\n[[disk]]\nmount = \"/mnt/nvme0\"\nsize = \"2000GB\"\n"
    );
    Hardware::from_toml(Path::new("machine.toml"), &text).unwrap()
}

fn nvme(threads: usize) -> String {
    let thread = |i| format!("[[sealing_thread]]\nlocation = \"/mnt/nvme0/s{i}\"\n");
    (0..threads).map(thread).collect()
}

const LIMITS: &str =
    "[sealing]\nallowed_sizes = [\"32GiB\"]\n[processors.limitation.concurrent]\npc1 = 2\nc2 = 1\n";

fn plan(more: &str, machine: &Hardware) -> (Plan, BTreeSet<Resource>) {
    let dir = tempfile::tempdir().unwrap();
    let loaded = loaded(dir.path(), more);
    let threads = threads(&loaded, machine, Path::to_owned);
    let synthetic = synthetic(&loaded.config);
    let plan = Plan::of(&loaded.config, &threads, machine, synthetic);
    (plan, loaded.config.oversubscription)
}

fn faults(more: &str, machine: &Hardware) -> Vec<String> {
    let (plan, allowed) = plan(more, machine);
    plan.faults(&allowed).map(|f| f.message.clone()).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn three_sectors_fit_on_2000_gb_and_the_fourth_is_refused_by_name() {
    let three = format!("{}{LIMITS}", nvme(3));
    assert_eq!(faults(&three, &machine("")), NONE);
    let four = format!("{}{LIMITS}", nvme(4));
    assert_eq!(
        faults(&four, &machine("")),
        [
            "/mnt/nvme0 has 2000 GB, and its threads need 2219 GB: 4 × 555 GB (a 32GiB sector each). 3 fit; sealing thread 3 (/mnt/nvme0/s3) does not"
        ]
    );
    let allowed = four.clone() + "[worker]\nallow_oversubscription = [\"disk\"]\n";
    assert_eq!(faults(&allowed, &machine("")), NONE);
    let (plan, allowed) = plan(&allowed, &machine(""));
    let text = text(&plan, &allowed);
    assert!(text.contains("\nwarning: /mnt/nvme0 has 2000 GB"), "{text}");
    // a tree of sectors without data that lies elsewhere makes room for the fourth
    let tree = tempfile::NamedTempFile::new().unwrap();
    let linked = format!(
        "{four}[processors.static_tree_d]\n32GiB = \"{}\"\n",
        tree.path().display()
    );
    assert_eq!(faults(&linked, &machine("")), NONE);
    let deals = linked.replace("[sealing]\n", "[sealing]\nenable_deals = true\n");
    assert_eq!(faults(&deals, &machine("")).len(), 1);
}

#[test]
fn what_others_use_of_a_disk_and_mounts_of_one_file_system_count() {
    let mut machine = machine("");
    machine.disks[1].room = 1_200_000_000_000;
    let found = faults(&format!("{}{LIMITS}", nvme(3)), &machine);
    assert!(
        found[0].contains("of which others use 800 GB") && found[0].contains("2 fit"),
        "{found:?}"
    );
    let mut again = machine.disks[1].clone();
    again.mount = "/srv/fast".into();
    machine.disks.push(again);
    let both = "[[sealing_thread]]\nlocation = \"/mnt/nvme0/a\"\n[[sealing_thread]]\nlocation = \"/srv/fast/b\"\n[[sealing_thread]]\nlocation = \"/srv/fast/c\"\n";
    let found = faults(&format!("{both}{LIMITS}"), &machine);
    assert!(
        found[0].contains("sealing thread 2 (/srv/fast/c) does not"),
        "{found:?}"
    );
}

#[test]
fn a_thread_whose_disk_is_away_is_counted_on_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = loaded(dir.path(), &format!("{}{LIMITS}", nvme(4)));
    let machine = machine("");
    let mut threads = threads(&loaded, &machine, Path::to_owned);
    threads[0].away = true;
    let plan = Plan::of(&loaded.config, &threads, &machine, false);
    assert_eq!(plan.findings, []);
    assert_eq!(plan.disks[0].threads.len(), 3);
}

#[test]
fn threads_of_different_plans_and_sizes_are_summed_with_their_own_need() {
    let mixed = format!(
        "{}sealing.allowed_sizes = [\"64GiB\", \"2KiB\"]\n[[sealing_thread]]\nlocation = \"/mnt/nvme0/u\"\nplan = \"snapup\"\n[[sealing_thread]]\nplan = \"wdpost\"\n{LIMITS}",
        nvme(1)
    );
    let (plan, _) = plan(&mixed, &machine(""));
    let needs: Vec<u64> = plan.disks[0].threads.iter().map(|t| t.need >> 30).collect();
    assert_eq!(needs, [1033, 196]);
    let any = plan_of_any_size();
    assert!(any[0].contains("may get sectors of any size"), "{any:?}");
}

fn plan_of_any_size() -> Vec<String> {
    let (plan, _) = plan(&nvme(1), &machine(""));
    plan.findings.into_iter().map(|f| f.message).collect()
}

#[test]
fn sizes_that_nobody_named_are_those_whose_parameters_are_there() {
    let found = faults(&nvme(4), &machine("parameters = [\"2KiB\", \"32GiB\"]"));
    assert!(found[0].contains("a 32GiB sector each"), "{found:?}");
    assert_eq!(faults(&nvme(4), &machine("parameters = [\"2KiB\"]")), NONE);
}

#[test]
fn stages_that_may_run_at_once_are_summed_the_largest_first() {
    let unlimited = format!("{}[sealing]\nallowed_sizes = [\"32GiB\"]\n", nvme(3));
    let small = machine("").to_toml().replace("512GiB", "128GiB");
    let small = Hardware::from_toml(Path::new("m"), &small).unwrap();
    let found = faults(&unlimited, &small);
    assert_eq!(
        found,
        [
            "stages that may run at once hold 475 GiB, and there are 128 GiB: c2[0] 3 × 159 GiB. Let fewer run at once (processors.limitation.concurrent, `concurrent` of a child)"
        ]
    );
    // one C2 and two PC1: three threads, three tasks
    let (sum, _) = plan(&format!("{}{LIMITS}", nvme(3)), &machine(""));
    let tasks: Vec<_> = sum
        .memory
        .stages
        .iter()
        .map(|s| (s.child.as_str(), s.tasks))
        .collect();
    assert_eq!(tasks, [("c2[0]", 1), ("pc1[0]", 2)]);
    // who shares a lock does not run at once
    let locked = format!(
        "{}[sealing]\nallowed_sizes = [\"32GiB\"]\n[processors.ext_locks]\nbig = 1\n[[processors.c2]]\nlocks = [\"big\"]\n[[processors.pc1]]\nlocks = [\"big\"]\n",
        nvme(3)
    );
    let (sum, _) = plan(&locked, &machine(""));
    let tasks: Vec<_> = sum
        .memory
        .stages
        .iter()
        .map(|s| (s.child.as_str(), s.tasks))
        .collect();
    assert_eq!(tasks, [("c2[0]", 1), ("pc2[0]", 2)]);
    // a ceiling of our own program counts instead of what it would take
    let ceiling = locked.replace(
        "[[processors.c2]]",
        "[[processors.c2]]\nenvs = { DAMOCLES_PROOF_MEMORY = \"1GiB\" }",
    );
    let c2 = |text: &str| {
        let (sum, _) = plan(text, &machine(""));
        let of_c2 = sum.memory.stages.iter().find(|s| s.child == "c2[0]");
        of_c2.unwrap().bytes >> 30
    };
    assert_eq!(c2(&ceiling.replace("32GiB", "512MiB")), 1);
    assert_eq!(c2(&ceiling), 158, "the library knows none");
    // what another program takes is not known, and that is said
    let held = locked.replace(
        "[[processors.c2]]",
        "[[processors.c2]]\ncgroup.memory_max = \"170GiB\"",
    );
    assert_eq!(c2(&held), 158, "a limit above what it takes");
    let foreign = locked.replace("[[processors.c2]]", "[[processors.c2]]\nbin = \"/opt/c2\"");
    let (sum, allowed) = plan(&foreign, &machine(""));
    assert_eq!(sum.memory.unknown, ["c2[0]"]);
    let held = foreign.replace("bin = ", "cgroup.memory_max = \"100GiB\"\nbin = ");
    assert_eq!(c2(&held), 100, "the kernel holds it there");
    assert!(text(&sum, &allowed).contains("not counted, since they are other programs: c2[0]"));
}

#[test]
fn huge_pages_are_a_sum_of_their_own() {
    let huge = format!(
        "{}{LIMITS}[[processors.pc1]]\nenvs = {{ HUGEPAGE_FILES_PATH = \"/mnt/huge\" }}\n",
        nvme(3)
    );
    let found = faults(&huge, &machine("huge_pages = \"64GiB\""));
    assert_eq!(
        found,
        [
            "PC1 holds 129 GiB in files on huge pages, and 64 GiB are set aside as such: pc1[0] 2 × 65 GiB"
        ]
    );
    assert_eq!(faults(&huge, &machine("huge_pages = \"129GiB\"")), NONE);
}

#[test]
fn cores_are_summed_and_overlaps_named() {
    let pinned = |sets: &[(&str, &str, &str)]| {
        let mut text = format!("{}{LIMITS}[processors.ext_locks]\none = 1\n", nvme(1));
        for (stage, cpus, more) in sets {
            text += &format!("[[processors.{stage}]]\ncgroup.cpuset = \"{cpus}\"\n{more}\n");
        }
        text
    };
    let fine = pinned(&[("pc1", "0-7", ""), ("pc2", "8-15", "")]);
    let (sum, _) = plan(&fine, &machine(""));
    assert_eq!((sum.cpus.pinned, sum.cpus.have), (16, 16));
    assert_eq!(sum.findings, []);
    let over = pinned(&[("pc1", "0-7", ""), ("pc2", "4-15", "")]);
    assert_eq!(
        faults(&over, &machine("")),
        [
            "processors that may compute at the same time are pinned to 20 CPUs, and the machine has 16: processors.pc1[0] 0-7; processors.pc2[0] 4-15"
        ]
    );
    let (sum, _) = plan(&over, &machine(""));
    let overlap = "processors.pc1[0] and processors.pc2[0] are both pinned to the CPUs 4-7, and may compute at the same time";
    assert!(
        sum.findings
            .iter()
            .any(|f| f.message == overlap && f.weight == Weight::Warning)
    );
    let never_both = pinned(&[
        ("pc1", "0-7", "locks = [\"one\"]"),
        ("pc2", "0-15", "locks = [\"one\"]"),
    ]);
    assert_eq!(plan(&never_both, &machine("")).0.findings, []);
    let far = pinned(&[("pc1", "0-8", "numa_preferred = 0")]);
    let (sum, _) = plan(&far, &machine(""));
    assert!(
        sum.findings[0]
            .message
            .contains("its CPUs 8 are not of the NUMA node 0")
    );
    let none = pinned(&[("pc1", "8-63", "numa_preferred = 2")]);
    let found = faults(&none, &machine(""));
    for words in [
        "has not the CPUs 16-63; it has 0-15",
        "no NUMA node 2; it has 0, 1",
    ] {
        assert!(
            found.iter().any(|f| f.contains(words)),
            "{words} is not in {found:?}"
        );
    }
}

#[test]
fn gpus_exist_and_whoever_shares_one_shares_a_lock() {
    let with = |more: &str| format!("{}{LIMITS}{more}", nvme(1));
    let two = machine("gpus = [\"A\", \"B\"]");
    let keyed = with("[[processors.pc2]]\ngpus = [0]\n[[processors.c2]]\ngpus = [0, 1]\n");
    assert_eq!(faults(&keyed, &two), NONE);
    let (sum, _) = plan(&keyed, &two);
    assert_eq!(
        sum.gpus[0].children,
        ["processors.pc2[0]", "processors.c2[0]"]
    );
    let written = "envs = { CUDA_VISIBLE_DEVICES = \"0\" }\n";
    let unlocked = with(&format!(
        "[[processors.pc2]]\n{written}[[processors.c2]]\n{written}"
    ));
    let found = faults(&unlocked, &two);
    assert!(
        found[0].starts_with("processors.pc2[0] and processors.c2[0] share GPU 0 and no lock"),
        "{found:?}"
    );
    let locked = with(&format!(
        "[processors.ext_locks]\ng = 1\n[[processors.pc2]]\nlocks = [\"g\"]\n{written}[[processors.c2]]\nlocks = [\"g\"]\n{written}"
    ));
    assert_eq!(faults(&locked, &two), NONE);
    let third = with("[[processors.c2]]\ngpus = [2]\n");
    assert_eq!(
        faults(&third, &two),
        ["processors.c2[0] names GPU 2, and the machine has GPUs 0 to 1"]
    );
    let allowed = third + "[worker]\nallow_oversubscription = [\"gpu\"]\n";
    assert_eq!(faults(&allowed, &two), NONE);
}

#[test]
fn the_plan_is_shown_as_text_and_json() {
    let (plan, allowed) = plan(&format!("{}{LIMITS}", nvme(4)), &machine("gpus = [\"A\"]"));
    let text = text(&plan, &allowed);
    for line in [
        "disk    /mnt/nvme0: 2219 GB of 2000 GB for sealing threads 0, 1, 2, 3: 4 × 555 GB (a 32GiB sector each)",
        "cpu     0 of 16 pinned: no processor is pinned",
        "gpu     0 (A): nobody",
        "fault: /mnt/nvme0 has 2000 GB",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let json = json(&plan, &allowed);
    assert_eq!(json["Disks"][0]["Threads"][3]["Fits"], false);
    assert_eq!(json["Findings"][0]["Kind"], "disk");
    assert_eq!(json["Findings"][0]["Refuses"], true);
}
