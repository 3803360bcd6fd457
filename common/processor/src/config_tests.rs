//! Tables of good and bad `[processors]` sections.

use super::*;
use crate::time_limits;

fn raw(json: serde_json::Value) -> RawProcessors {
    serde_json::from_value(json).unwrap()
}

fn faults(json: serde_json::Value) -> Vec<String> {
    raw(json)
        .check()
        .unwrap_err()
        .into_iter()
        .map(|f| f.to_string())
        .collect()
}

#[test]
fn nothing_configured_means_defaults() {
    let checked = RawProcessors::default().check().unwrap();
    assert_eq!(checked, Processors::default());
}

#[test]
fn upstreams_keys_are_understood() {
    let checked = raw(serde_json::json!({
        "limitation": {"concurrent": {"pc1": 2, "add_pieces": 5}, "staggered": {"pc1": "1h 30m", "pc2": "0s"}},
        "limit": {"pc1": 99},
        "ext_locks": {"gpu": 1},
        "pc2": [{
            "bin": "/opt/pc2", "args": ["a"], "stable_wait": "30s", "concurrent": 2, "locks": ["gpu"],
            "numa_preferred": 1, "auto_restart": false, "inherit_envs": false, "envs": {"A": "b"},
            "cgroup": {"cpuset": "0-3"}
        }, {"weight": 3, "cgroup": {"group_name": "g"}}],
        "sealing_daemons": [{"bin": "/opt/d"}],
    }));
    let out = checked.check().unwrap();
    let pc1 = &out.stages[&Stage::Pc1];
    assert_eq!(
        (pc1.concurrent.unwrap().get(), pc1.staggered),
        (2, Some(Duration::from_secs(5400)))
    );
    assert!(pc1.children.is_empty());
    let pc2 = &out.stages[&Stage::Pc2];
    assert_eq!(pc2.staggered, None);
    assert_eq!(
        pc2.children[0],
        ChildConfig {
            bin: Some("/opt/pc2".into()),
            args: Some(vec!["a".into()]),
            stable_wait: Duration::from_secs(30),
            cgroup: Some(CgroupConfig {
                group_name: "vc-worker".into(),
                limits: GroupLimits {
                    cpuset: Some("0-3".parse().unwrap()),
                    ..GroupLimits::default()
                },
            }),
            envs: BTreeMap::from([("A".into(), "b".into())]),
            numa_preferred: Some(1),
            concurrent: NonZeroU32::new(2),
            locks: vec!["gpu".into()],
            gpus: Vec::new(),
            auto_restart: false,
            inherit_envs: false,
            kernel: KernelChoice::Auto,
            longest: None,
            silent: None,
        }
    );
    assert_eq!(pc2.children[1], ChildConfig::default());
    assert_eq!(out.daemons.len(), 1);
    assert_eq!(
        checked.retired_keys(),
        ["processors.pc2[1].weight", "processors.limit"]
    );
}

#[test]
fn a_kernel_is_chosen_for_our_own_program_only() {
    let out =
        raw(serde_json::json!({"pc2": [{"kernel": "filecoin-proofs"}, {"kernel": "auto"}, {}]}))
            .check()
            .unwrap();
    let kernels: Vec<_> = out.stages[&Stage::Pc2]
        .children
        .iter()
        .map(|child| child.kernel)
        .collect();
    use KernelChoice::{Auto, FilecoinProofs};
    assert_eq!(kernels, [FilecoinProofs, Auto, Auto]);
    assert_eq!(
        faults(serde_json::json!({"pc1": [{"kernel": "filecoin_proofs"}]})),
        [
            "processors.pc1[0].kernel: \"filecoin_proofs\" is not a choice of kernel; did you mean \"filecoin-proofs\"?"
        ]
    );
    for beside in [
        serde_json::json!({"bin": "/opt/pc2", "kernel": "auto"}),
        serde_json::json!({"args": ["processor", "pc2"], "kernel": "filecoin-proofs"}),
    ] {
        let found = faults(serde_json::json!({"pc2": [beside]}));
        assert!(
            found.len() == 1 && found[0].contains("has no effect"),
            "{found:?}"
        );
    }
}

#[test]
fn silence_has_a_limit_by_itself_only_where_progress_is_told() {
    let hours = |n: u64| Some(Duration::from_secs(n * 3600));
    let size = SectorSize::GiB32;
    for (stage, child, silence) in [
        ("pc1", serde_json::json!({}), Some(time_limits::SILENCE)),
        ("pc2", serde_json::json!({"silent": "1h"}), hours(1)),
        ("pc2", serde_json::json!({"silent": "0s"}), None),
        (
            "pc2",
            serde_json::json!({"kernel": "filecoin-proofs"}),
            None,
        ),
        ("pc2", serde_json::json!({"bin": "/opt/pc2"}), None),
        ("pc2", serde_json::json!({"args": ["x"]}), None),
        ("c2", serde_json::json!({}), None),
        (
            "c2",
            serde_json::json!({"bin": "/opt/c2", "silent": "2h"}),
            hours(2),
        ),
    ] {
        let config = serde_json::json!({stage: [child.clone()]});
        let out = raw(config).check().unwrap();
        let stage: Stage = stage.parse().unwrap();
        let checked = &out.stages[&stage].children[0];
        let found = checked.silence(stage, out.stages.get(&stage), size);
        assert_eq!(found, silence, "{stage} {child}");
    }
}

#[test]
fn a_task_has_the_limit_of_its_child_else_of_its_stage_else_of_its_size() {
    let hours = |n: u64| Some(Duration::from_secs(n * 3600));
    let out = raw(serde_json::json!({
        "limitation": {"longest": {"c2": "5h", "pc1": "0s"}, "silent": {"pc1": "3h"}},
        "c2": [{"longest": "3h"}, {}, {"longest": "0s"}],
    }));
    let out = out.check().unwrap();
    let longest = |stage: Stage, child: &ChildConfig, size| {
        child.longest(stage, out.stages.get(&stage), size)
    };
    let c2 = &out.stages[&Stage::C2].children;
    for size in SectorSize::ALL {
        let all: Vec<_> = c2.iter().map(|c| longest(Stage::C2, c, size)).collect();
        assert_eq!(all, [hours(3), hours(5), None], "{size}");
    }
    // a stage without an entry has one child, to which the stage's limits go
    let child = ChildConfig::default();
    assert_eq!(longest(Stage::Pc1, &child, SectorSize::GiB32), None);
    let silent = child.silence(Stage::Pc1, out.stages.get(&Stage::Pc1), SectorSize::KiB2);
    assert_eq!(silent, hours(3));
    assert_eq!(longest(Stage::Pc2, &child, SectorSize::GiB32), hours(24));
    assert_eq!(longest(Stage::Pc2, &child, SectorSize::GiB64), hours(48));
    assert_eq!(longest(Stage::WindowPost, &child, SectorSize::GiB32), None);

    let bad = faults(serde_json::json!({
        "limitation": {"longest": {"c3": "1h"}, "silent": {"c2": "soon"}},
        "c2": [{"silent": "later"}],
    }));
    for (key, words) in [
        ("processors.limitation.longest.c3", "is not a stage"),
        ("processors.limitation.silent.c2", "\"soon\""),
        ("processors.c2[0].silent", "\"later\""),
    ] {
        let found = bad.iter().find(|f| f.starts_with(&format!("{key}: ")));
        assert!(found.is_some_and(|f| f.contains(words)), "{key}: {bad:?}");
    }
}

#[test]
fn a_group_may_limit_memory_and_weigh_cpus_without_pinning() {
    let out = raw(serde_json::json!({
        "c2": [{"cgroup": {"memory_max": "160GiB", "cpu_weight": 50}}, {"cgroup": {"group_name": "g"}}],
    }));
    let out = out.check().unwrap();
    let children = &out.stages[&Stage::C2].children;
    assert_eq!(children[0].memory_max(), Some(160 << 30));
    let group = children[0].cgroup.as_ref().unwrap();
    assert_eq!(
        (group.limits.cpu_weight, &group.limits.cpuset),
        (Some(50), &None)
    );
    assert_eq!(children[1].cgroup, None, "nothing to limit");
    let found = faults(serde_json::json!({
        "c2": [{"cgroup": {"memory_max": "0", "cpu_weight": 10001}}],
    }));
    for (key, words) in [("memory_max", "no memory"), ("cpu_weight", "1 to 10000")] {
        let key = format!("processors.c2[0].cgroup.{key}: ");
        assert!(
            found
                .iter()
                .any(|f| f.starts_with(&key) && f.contains(words)),
            "{found:?}"
        );
    }
}

#[test]
fn whoever_has_a_gpu_holds_its_lock() {
    let out = raw(serde_json::json!({
        "ext_locks": {"gpu:1": 2, "x": 1},
        "pc2": [{"gpus": [0, 1], "locks": ["x"]}],
        "c2": [{"gpus": [1]}],
    }));
    let out = out.check().unwrap();
    assert_eq!(
        out.stages[&Stage::Pc2].children[0].locks,
        ["x", "gpu:0", "gpu:1"]
    );
    let locks: Vec<_> = out
        .locks
        .iter()
        .map(|(n, c)| (n.as_str(), c.get()))
        .collect();
    assert_eq!(locks, [("gpu:0", 1), ("gpu:1", 2), ("x", 1)]);
    let found = faults(serde_json::json!({
        "pc2": [{"gpus": [0, 0, -1]}, {"gpus": [0], "envs": {"CUDA_VISIBLE_DEVICES": "1"}}],
    }));
    assert_eq!(
        found,
        [
            "processors.pc2[0].gpus: 0 is named twice",
            "processors.pc2[0].gpus: -1 is not the number of a GPU",
            "processors.pc2[1].gpus: `envs` sets CUDA_VISIBLE_DEVICES as well; leave one of them out",
        ]
    );
}

#[test]
fn programs_of_others_are_told_from_our_own() {
    let out = raw(serde_json::json!({
        "pc1": [{"args": ["x"]}, {"bin": "/bin/../bin/sh"}],
        "pc2": [{"bin": "/bin/sh"}, {"bin": "/opt/pc2"}],
    }))
    .check()
    .unwrap();
    let own = Path::new("/bin/sh");
    assert!(!out.is_foreign(Stage::Pc1, own));
    assert!(out.is_foreign(Stage::Pc2, own));
    assert!(!out.is_foreign(Stage::C2, own));
}

#[test]
fn the_legacy_limit_counts_when_it_stands_alone() {
    let out = raw(serde_json::json!({"limit": {"c2": 3}}))
        .check()
        .unwrap();
    assert_eq!(out.stages[&Stage::C2].concurrent.unwrap().get(), 3);
}

#[test]
fn every_fault_is_found_in_one_go_and_named_by_key() {
    let found = faults(serde_json::json!({
        "limitation": {"concurrent": {"pc1": 0, "pc3": 1}, "staggered": {"pc1": "soon"}},
        "ext_locks": {"gpu": 0},
        "static_tree_d": {"32GiB": "/does/not/exist", "3GiB": "/dev/null"},
        "pc1": [],
        "pc2": [{"concurrent": 0, "locks": ["gup", "gpu", "gpu"], "cgroup": {"cpuset": "7-0"}, "stable_wait": "", "numa_preferred": -1}],
        "sealing_daemons": [{}],
    }));
    for (key, word) in [
        (
            "processors.limitation.concurrent.pc1",
            "nothing could ever run",
        ),
        ("processors.limitation.concurrent.pc3", "not a stage"),
        (
            "processors.limitation.staggered.pc1",
            "not a length of time",
        ),
        ("processors.ext_locks.gpu", "nothing could ever run"),
        ("processors.static_tree_d.32GiB", "No such file"),
        ("processors.static_tree_d.3GiB", "not a sector size"),
        ("processors.static_tree_d.3GiB", "not a file"),
        ("processors.pc1", "empty"),
        ("processors.pc2[0].concurrent", "nothing could ever run"),
        ("processors.pc2[0].locks", "\"gup\" is not declared"),
        ("processors.pc2[0].locks", "named twice"),
        ("processors.pc2[0].cgroup.cpuset", "not a CPU set"),
        ("processors.pc2[0].stable_wait", "not a length of time"),
        ("processors.pc2[0].numa_preferred", "not a NUMA node"),
        ("processors.sealing_daemons[0]", "needs `bin`"),
    ] {
        assert!(
            found
                .iter()
                .any(|f| f.starts_with(&format!("{key}: ")) && f.contains(word)),
            "{key} / {word} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 15, "{found:#?}");
}

#[test]
fn lengths_of_time_are_read_as_upstream_reads_them() {
    let check = |text: &str| {
        let config = serde_json::json!({"pc1": [{"stable_wait": text}]});
        let raw: RawProcessors = serde_json::from_value(config).unwrap();
        raw.check()
            .map(|checked| checked.stages[&Stage::Pc1].children[0].stable_wait)
    };
    for (text, ms) in [
        ("5s", 5000),
        ("500ms", 500),
        ("1m30s", 90_000),
        ("2h", 7_200_000),
        ("1day", 86_400_000),
        ("1week 2days", 777_600_000),
    ] {
        assert_eq!(check(text), Ok(Duration::from_millis(ms)), "{text}");
    }
    for bad in ["", "5", "s", "5 parsecs", "-5s"] {
        check(bad).unwrap_err();
    }
}
