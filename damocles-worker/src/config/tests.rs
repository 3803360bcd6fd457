//! Good and bad files, the examples, and the reference page.

use super::*;
use damocles_daemon::exit::Exit;
use damocles_types::SectorSize;
use std::{fs, path::PathBuf, time::Duration};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self::bare();
        SealingStore::init(&place.dir.path().join("t0")).unwrap();
        place
    }

    /// Without the sealing store.
    fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("hdd")).unwrap();
        Self { dir }
    }

    fn text(&self, more: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "[sector_manager]\nrpc_client.addr = \"/ip4/127.0.0.1/tcp/1789\"\n\
             [[attached]]\nname = \"hdd\"\nlocation = \"{dir}/hdd\"\n\
             [[sealing_thread]]\nlocation = \"{dir}/t0\"\n{more}"
        )
    }

    fn load_text(&self, text: &str) -> Result<Loaded, Fatal> {
        let path = self.dir.path().join("worker.toml");
        fs::write(&path, text).unwrap();
        load(&path, &kept_profiles)
    }

    fn load(&self, more: &str) -> Result<Loaded, Fatal> {
        self.load_text(&self.text(more))
    }
}

#[test]
fn three_lines_are_enough_and_the_rest_has_upstreams_defaults() {
    let place = Place::bare();
    let config = place.load("").unwrap().config;
    assert_eq!(config.listen.to_string(), "0.0.0.0:17890");
    assert_eq!(config.ping_interval, Duration::from_secs(30));
    let thread = &config.threads[0];
    assert_eq!(thread.settings.sealing, Sealing::default());
    assert_eq!(thread.settings.sealing.max_retries, 5);
    assert!(
        !place.dir.path().join("t0").exists(),
        "loading makes nothing"
    );
}

#[test]
fn layers_lie_over_each_other() {
    let place = Place::new();
    let text = place.text(
        "sealing.max_retries = 7\nsealing.allowed_sizes = [\"2KiB\"]\n\
         [sealing]\nmax_retries = 6\nseal_interval = \"1s\"\nallowed_miners = [1000]\n",
    );
    let config = place.load_text(&text).unwrap().config;
    let thread = &config.threads[0];
    let sealing = &thread.settings.sealing;
    assert_eq!(sealing.max_retries, 7);
    assert_eq!(sealing.seal_interval, Duration::from_secs(1));
    assert_eq!(sealing.allowed_miners, [1000]);
    assert_eq!(sealing.allowed_sizes, [SectorSize::KiB2]);
    let hot = PathBuf::from("config.toml");
    let settings = thread
        .with_hot_file(&hot, "[sealing]\nmax_retries = 9\n")
        .unwrap()
        .settings;
    assert_eq!(settings.sealing.max_retries, 9);
    assert_eq!(settings.sealing.seal_interval, Duration::from_secs(1));
    let faults = thread
        .with_hot_file(&hot, "plan = \"snapop\"\n[sealing]\nmax_retrys = 9\n")
        .unwrap_err()
        .to_string();
    assert!(faults.contains("\"snapop\" is not a plan"), "{faults}");
    assert!(faults.contains("did you mean \"max_retries\"?"), "{faults}");
}

#[test]
fn a_file_with_plans_of_another_version_loads_and_says_which_threads_wait() {
    let place = Place::new();
    let dir = place.dir.path().display();
    let loaded = place
        .load(&format!(
            "[[sealing_thread]]\nlocation = \"{dir}/t1\"\nplan = \"snapup\"\n[[sealing_thread]]\nplan = \"wdpost\"\n"
        ))
        .unwrap();
    let plans = loaded.config.threads.iter().map(|t| t.settings.plan);
    let plans: Vec<_> = plans.map(|plan| (plan, plan.runs().is_some())).collect();
    assert_eq!(
        plans,
        [(ThreadPlan::Sealer, true), (ThreadPlan::SnapUp, false)]
    );
    assert_eq!(loaded.config.placeless[0].index, 2);
    let notices: Vec<_> = loaded.notices.iter().map(ToString::to_string).collect();
    let waits = notices.iter().filter(|n| n.contains(" waits: the plan "));
    let waits: Vec<_> = waits.collect();
    assert_eq!(waits.len(), 1, "wdpost is there: {notices:?}");
    assert!(waits[0].contains("sealing thread 1 waits: the plan \"snapup\" is not in"));
    let text = place
        .load("[[sealing_thread]]\nplan = \"unseal\"\n")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("sealing_thread[1].location: is missing"),
        "{text}"
    );
}

#[test]
fn what_may_be_exceeded_is_named_by_kind() {
    let place = Place::new();
    let load = |words: &str| place.load(&format!("[worker]\nallow_oversubscription = {words}\n"));
    let allowed = load("[\"disk\", \"gpu\"]").unwrap().config.oversubscription;
    assert_eq!(allowed, [Resource::Disk, Resource::Gpu].into());
    let text = load("[\"disks\"]").unwrap_err().to_string();
    assert!(text.contains("it counts disk, cpu, memory, gpu"), "{text}");
}

#[test]
fn only_proofs_that_can_be_made_are_asked_for() {
    let mut sealing = Sealing {
        allowed_sizes: vec![SectorSize::KiB2],
        ..Sealing::default()
    };
    let names = |sealing: &Sealing, synthetic| -> Vec<String> {
        let proofs = sealing.allowed_proofs(synthetic);
        proofs.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&sealing, false), ["StackedDrg2KiBV1_1"]);
    assert_eq!(
        names(&sealing, true),
        [
            "StackedDrg2KiBV1_1",
            "StackedDrg2KiBV1_1_Feat_SyntheticPoRep"
        ]
    );
    sealing.allowed_sizes.clear();
    let any = sealing.allowed_proofs(false);
    assert_eq!(any.len(), SectorSize::ALL.len());
    assert!(any.iter().all(|proof| !proof.is_synthetic()));
}

#[test]
fn unknown_keys_are_found_at_every_depth() {
    let place = Place::new();
    let text = place
        .load(
            "sealing.max_retrys = 1\n[sealing]\nallowed_size = []\n\
             [processors]\next_lock = {}\n[processors.limitation]\nconcurent = {}\n\
             [[processors.pc1]]\ncgroup.cpusett = \"0\"\nconcurrentt = 1\n\
             [[processors.pc3]]\nbin = \"/x\"\n[[processors.sealing_daemons]]\nbinn = \"/x\"\n",
        )
        .unwrap_err()
        .to_string();
    for key in [
        "sealing_thread[0].sealing.max_retrys",
        "sealing.allowed_size",
        "processors.ext_lock",
        "processors.limitation.concurent",
        "processors.pc1[0].cgroup.cpusett",
        "processors.pc1[0].concurrentt",
        "processors.pc3",
        "processors.sealing_daemons[0].binn",
    ] {
        assert!(
            text.contains(&format!("{key}: unknown key")),
            "{key} is not in\n{text}"
        );
    }
}

#[test]
fn the_threads_own_file_is_read_when_it_changes_and_a_fault_stays_a_fault() {
    let place = Place::new();
    let config = place.load("").unwrap().config;
    let thread = &config.threads[0];
    let path = place.dir.path().join("config.toml");
    let mut hot = HotFile::new(&path, thread);
    assert_eq!(hot.settings(thread).unwrap().sealing.max_retries, 5);
    fs::write(&path, "[sealing]\nmax_retries = \"x\"\n").unwrap();
    for _ in 0..2 {
        let failure = hot.settings(thread).unwrap_err();
        assert_eq!(failure.level, damocles_types::Level::Critical);
        assert!(failure.hint.is_some());
    }
    fs::write(&path, "[sealing]\nmax_retries = 8\n").unwrap();
    assert_eq!(hot.settings(thread).unwrap().sealing.max_retries, 8);
    fs::remove_file(&path).unwrap();
    assert_eq!(hot.settings(thread).unwrap().sealing.max_retries, 5);
}

#[test]
fn all_faults_at_once_with_line_and_nearest_key() {
    let place = Place::new();
    let error = place
        .load(
            "plan = \"sealr\"\nsealing.enable_deal = true\n[worker]\nping_interval = \"0s\"\nrpc_server.host = \"here\"\n\
             [processors.limitation.concurrent]\npc3 = 1\n[[sealing_thread]]\nplan = \"sealer\"\n[sealing]\nallowed_sizes = [\"3KiB\"]\n",
        )
        .unwrap_err();
    assert_eq!(error.exit, Exit::Config);
    let text = error.to_string();
    for part in [
        ":8: sealing_thread[0].plan: \"sealr\" is not a plan",
        ":9: sealing_thread[0].sealing.enable_deal: unknown key; did you mean \"enable_deals\"?",
        ":11: worker.ping_interval: must be longer than nothing",
        ":12: worker.rpc_server.host: \"here\" is not an IP address",
        ":14: processors.limitation.concurrent.pc3: \"pc3\" is not a stage",
        "sealing_thread[1].location: is missing",
        "sealing.allowed_sizes[0]: \"3KiB\" is not a sector size",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn missing_parts_are_named() {
    let place = Place::new();
    let text = place.load_text("").unwrap_err().to_string();
    for part in [
        "rpc_client.addr: is missing",
        "no store for finished sectors",
        "no sealing thread",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn directories_that_will_not_do_are_faults_and_stay_untouched() {
    let place = Place::bare();
    let dir = place.dir.path();
    fs::create_dir(dir.join("t0")).unwrap();
    fs::write(dir.join("t0/precious"), "x").unwrap();
    let text = place
        .load(&format!(
            "[[sealing_thread]]\nlocation = \"{0}/t0\"\n[[attached]]\nlocation = \"{0}/t0/precious\"\n",
            dir.display()
        ))
        .unwrap_err()
        .to_string();
    for part in [
        "is not a sealing store: it has no .holder file but holds precious",
        "is the location of sealing thread 0 already",
        "precious is not a directory",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert_eq!(fs::read_dir(dir.join("t0")).unwrap().count(), 1);
}

#[test]
fn what_is_not_mounted_is_a_fault_of_the_check_and_no_reason_to_stay_down() {
    let place = Place::bare();
    let dir = place.dir.path();
    fs::create_dir(dir.join("mountpoint")).unwrap();
    let more = format!(
        "[[sealing_thread]]\nlocation = \"{0}/mountpoint\"\n[[attached]]\nname = \"nas\"\nlocation = \"{0}/nas\"\n",
        dir.display()
    );
    let loaded = place.load(&more).unwrap();
    let away: Vec<_> = loaded.away.iter().map(ToString::to_string).collect();
    let expected = [
        ("sealing_thread[0].location", "is not there"),
        ("sealing_thread[1].location", "an empty directory"),
        ("attached[1].location", "is not there"),
    ];
    assert_eq!(away.len(), expected.len(), "{away:?}");
    for (key, words) in expected {
        let found = away.iter().any(|a| a.starts_with(key) && a.contains(words));
        assert!(found, "{key} {words} is not in {away:?}");
    }
    let text = check(&place.dir.path().join("worker.toml"), &kept_profiles)
        .unwrap_err()
        .to_string();
    for (key, words) in expected {
        assert!(text.contains(key) && text.contains(words), "{text}");
    }
    assert!(!dir.join("t0").exists() && !dir.join("nas").exists());
    assert_eq!(fs::read_dir(dir.join("mountpoint")).unwrap().count(), 0);
}

#[test]
fn one_directory_is_one_store() {
    let place = Place::new();
    let dir = place.dir.path().display();
    let text = place
        .load(&format!(
            "[[attached]]\nname = \"second\"\nlocation = \"{dir}/hdd/../hdd\"\n"
        ))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("\"hdd\" and \"second\", are one directory"),
        "{text}"
    );
    // once by name and once by scanning
    fs::write(
        place.dir.path().join("hdd/sectorstore.json"),
        r#"{"Name":"other"}"#,
    )
    .unwrap();
    let text = place
        .load(&format!("[worker]\nscan_persist_stores = [\"{dir}/h*\"]\n"))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("\"hdd\" and \"other\", are one directory"),
        "{text}"
    );
}

#[test]
fn a_threads_own_file_that_never_ends_is_not_read() {
    let place = Place::new();
    let hot = place.dir.path().join("t0/config.toml");
    std::os::unix::fs::symlink("/dev/zero", &hot).unwrap();
    let config = place.load("").unwrap().config;
    let thread = &config.threads[0];
    let failure = HotFile::new(&hot, thread).settings(thread).unwrap_err();
    assert!(failure.message.contains("no regular file"), "{failure}");
}

#[test]
fn what_a_thread_asks_for_is_said_in_words() {
    let mut sealing = Sealing::default();
    let text = sealing.wanted(false);
    assert!(
        text.contains("any size, any miner, interactive proofs, since no"),
        "{text}"
    );
    sealing.allowed_sizes = vec![SectorSize::KiB2, SectorSize::MiB8];
    sealing.allowed_miners = vec![1000, 1001];
    let text = sealing.wanted(true);
    assert_eq!(
        text,
        "asked for 2KiB, 8MiB, miner 1000, 1001, interactive or synthetic proofs"
    );
}

#[test]
fn what_must_last_lies_apart_from_what_is_cleared() {
    let place = Place::bare();
    let dir = place.dir.path();
    for made in ["t0/persist", "scanned/t1/store"] {
        fs::create_dir_all(dir.join(made)).unwrap();
    }
    fs::write(dir.join("t0/.holder"), "").unwrap();
    fs::write(dir.join("scanned/t1/.holder"), "").unwrap();
    fs::write(dir.join("scanned/t1/store/sectorstore.json"), "{}").unwrap();
    std::os::unix::fs::symlink(dir.join("t0"), dir.join("link")).unwrap();
    let text = place
        .load(&format!(
            "[[attached]]\nlocation = \"{0}/t0/persist\"\n\
             [[attached]]\nname = \"linked\"\nlocation = \"{0}/link\"\n\
             [[attached]]\nlocation = \"{0}/scanned\"\n\
             [[sealing_thread]]\nlocation = \"{0}/scanned/t1\"\n\
             [[sealing_thread]]\nlocation = \"{0}/link/t2\"\n\
             [worker]\nscan_persist_stores = [\"{0}/scanned/t1/*\"]\n",
            dir.display()
        ))
        .unwrap_err()
        .to_string();
    let real = dir.canonicalize().unwrap();
    let real = real.display();
    for part in [
        format!(
            "attached[1].location: {real}/t0/persist lies in the directory of sealing thread 0 ({real}/t0)"
        ),
        format!("attached[2].location: {real}/t0 is the directory of sealing thread 0"),
        format!("attached[3].location: {real}/scanned holds the directory of sealing thread 1"),
        format!(
            "sealing_thread[2].location: {real}/t0/t2 lies in the directory of sealing thread 0"
        ),
        format!(
            "worker.scan_persist_stores: {real}/scanned/t1/store lies in the directory of sealing thread 1"
        ),
    ] {
        assert!(text.contains(&part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("attached[0]"), "hdd lies apart:\n{text}");
}

#[test]
fn retired_keys_are_notices() {
    let place = Place::new();
    let loaded = place
        .load("[attached_selection]\nenable_space_weighted = true\n[remote_store]\nname = \"x\"\n[[processors.pc1]]\nweight = 3\n")
        .unwrap();
    let notices: Vec<_> = loaded.notices.iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert_eq!(loaded.retired, ["processors.pc1[0].weight"]);
}

#[test]
fn the_piece_token_goes_to_the_children_that_fetch_only() {
    let place = Place::new();
    let text = place.text("").replace(
        "[sector_manager]",
        "[sector_manager]\npiece_token = \"secret\"",
    );
    let processors = place.load_text(&text).unwrap().config.processors;
    let stages: Vec<_> = processors.stages.keys().map(|s| s.name()).collect();
    assert_eq!(stages, ["add_pieces"]);
    let stage = &processors.stages[&damocles_processor::Stage::AddPieces];
    assert_eq!(stage.envs["PIECE_FETCHER_TOKEN"].0, "secret");
    assert_eq!(stage.children, [], "the default child stays one");
}

#[test]
fn a_thread_that_can_seal_nothing_is_told_of() {
    let place = Place::new();
    let notices = |sealing: &str| {
        let notices = place
            .load(&format!("[sealing]\n{sealing}\n"))
            .unwrap()
            .notices;
        notices.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let told = notices("disable_cc = true");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("sealing.disable_cc") && told[0].contains("thread 0"),
        "{told:?}"
    );
    assert_eq!(
        notices("disable_cc = true\nenable_deals = true"),
        [] as [&str; 0]
    );
}

#[test]
fn a_config_prints_without_its_secrets() {
    let place = Place::new();
    let text = place.text("").replace(
        "[[attached]]",
        "piece_token = \"hidden\"\nrpc_client.headers = { X-Key = \"hidden\" }\n[[attached]]",
    );
    let text = format!("{text}\n[[processors.c2]]\nenvs = {{ C2_KEY = \"hidden\" }}\n");
    let config = place.load_text(&text).unwrap().config;
    let printed = format!("{config:?}");
    assert!(!printed.contains("hidden"), "{printed}");
    for kept in ["\"X-Key\": ***", "\"PIECE_FETCHER_TOKEN\": ***"] {
        assert!(printed.contains(kept), "{kept} is not in {printed}");
    }
    let raw: raw::RawConfig = toml::from_str(&text).unwrap();
    let printed = format!("{raw:?}");
    assert!(!printed.contains("hidden"), "{printed}");
    for kept in ["X-Key", "C2_KEY", "piece_token: Some(***)"] {
        assert!(printed.contains(kept), "{kept} is not in {printed}");
    }
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// An example with its places filled in.
fn example(name: &str, place: &Place) -> String {
    let dir = place.dir.path().display().to_string();
    for made in ["threads", "persist"] {
        fs::create_dir_all(place.dir.path().join(made)).unwrap();
    }
    fs::read_to_string(repository().join("config-examples").join(name))
        .unwrap()
        .replace("@HOME@", &dir)
        .replace("@MANAGER@", "http://127.0.0.1:1789")
        .replace("@PORT@", "0")
        .replace("/mnt/nvme0/", &format!("{dir}/"))
        .replace("/mnt/hdd1", &format!("{dir}/hdd"))
}

#[test]
fn the_demo_example_is_two_threads_of_2kib_with_short_waits() {
    let place = Place::new();
    let loaded = place
        .load_text(&example("worker.demo.toml", &place))
        .unwrap();
    assert!(loaded.notices.is_empty() && loaded.retired.is_empty());
    assert_eq!(loaded.config.threads.len(), 2);
    for thread in &loaded.config.threads {
        assert_eq!(thread.settings.sealing.allowed_sizes, [SectorSize::KiB2]);
        assert!(thread.settings.sealing.rpc_polling_interval <= Duration::from_secs(2));
    }
}

#[test]
fn the_full_example_is_right_commented_or_not() {
    let place = Place::new();
    let text = example("worker.toml", &place);
    place.load_text(&text).unwrap();
    // Uncommented, every key of it must still be known: "#key = …" and "#[section]".
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let (_, report) = damocles_daemon::config::parse::<RawConfig>(
        &PathBuf::from("worker.toml"),
        &uncommented,
        &raw::RULES,
    );
    assert!(report.faults.is_empty(), "{}", report.faults);
}

#[test]
fn the_reference_page_is_what_the_declarations_say() {
    let path = repository().join("docs/config-worker.md");
    let page = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, page,
        "docs/config-worker.md is old: UPDATE_DOCS=1 cargo test -p damocles-worker"
    );
}

#[test]
fn a_bare_number_for_a_length_of_time_is_told_how_to_write_it() {
    let place = Place::bare();
    let told = |more: &str| place.load(more).map(drop).unwrap_err().to_string();
    let bare = told("[sealing]\nseal_interval = 30\n");
    assert!(
        bare.contains("must be a length of time in quotes, such as \"30s\", but is 30"),
        "{bare}"
    );
    let port = told("[worker]\nrpc_server.port = 70000\n");
    assert!(port.contains("from 0 to 65535"), "{port}");
}

#[test]
fn the_page_says_the_defaults_that_are_in_force() {
    let config = Place::bare().load("").unwrap().config;
    let sealing = Sealing::default();
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let page = reference();
    for (key, default) in [
        ("ping_interval", seconds(config.ping_interval)),
        ("enable_deals", sealing.enable_deals.to_string()),
        ("disable_cc", sealing.disable_cc.to_string()),
        ("max_retries", sealing.max_retries.to_string()),
        ("max_resubmits", sealing.max_resubmits.to_string()),
        ("seal_interval", seconds(sealing.seal_interval)),
        ("recover_interval", seconds(sealing.recover_interval)),
        (
            "rpc_polling_interval",
            seconds(sealing.rpc_polling_interval),
        ),
        ("ignore_proof_check", sealing.ignore_proof_check.to_string()),
        (
            "request_task_max_retries",
            sealing.request_task_max_retries.to_string(),
        ),
        ("verify_after_pc2", sealing.verify_after_pc2.to_string()),
    ] {
        let row = format!("| `{key}` |");
        let row = page.lines().find(|line| line.starts_with(&row)).unwrap();
        let says = format!("`{default}` when left out");
        assert!(row.contains(&says), "{says:?} is not in {row}");
    }
    let listens = config.listen.to_string();
    let (host, port) = listens.rsplit_once(':').unwrap();
    for told in [host, port] {
        assert!(page.contains(&format!("`{told}` when left out")), "{told}");
    }
}
