//! What `[processors]` of a config takes, in words: one row a key, beside the image that reads it.
//! Whoever prints a reference page takes these. A test holds them against the image and against
//! the defaults that are in force.

/// A key of a config file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    /// What it holds, in words.
    pub holds: &'static str,
    pub doc: &'static [&'static str],
}

/// What `[processors]` is.
pub const SECTION_DOC: &[&str] =
    &["Where stages are computed: child processes, how many at once, and what they share."];

/// Keys of `[processors]` itself.
pub const SECTION: &[Key] = &[
    Key {
        name: "limitation.concurrent.<stage>",
        holds: "whole number, 1 or more",
        doc: &["Tasks of a stage at once, over all its children."],
    },
    Key {
        name: "limitation.staggered.<stage>",
        holds: "length of time",
        doc: &["Least time between two starts of a stage."],
    },
    Key {
        name: "limitation.longest.<stage>",
        holds: "length of time, such as \"30h\"",
        doc: &[
            "New: how long a task of the stage may take; a child's own `longest` comes before it. What that means, and what holds when both are left out, see there.",
        ],
    },
    Key {
        name: "limitation.silent.<stage>",
        holds: "length of time, such as \"1h\"",
        doc: &["New: the same for `silent`."],
    },
    Key {
        name: "limit.<stage>",
        holds: "whole number, 1 or more",
        doc: &["Older form of `limitation.concurrent`; used only when that is absent."],
    },
    Key {
        name: "ext_locks.<name>",
        holds: "whole number, 1 or more",
        doc: &["A named lock and how many tasks may hold it."],
    },
    Key {
        name: "static_tree_d.<size>",
        holds: "path",
        doc: &["Ready-made tree-d of a sector without data; see `generator tree-d`."],
    },
];

/// What `[[processors.<stage>]]` is.
pub const CHILD_DOC: &[&str] = &[
    "One child process of a stage; `<stage>` is one of",
    "add_pieces, tree_d, pc1, pc2, synth_proof, c1, c2, snap_encode, snap_prove, unseal, transfer, window_post, winning_post",
    "(each may stand several times), or sealing_daemons for programs that are only kept running.",
    "A stage without an entry gets one child of the worker's own program, started when first needed.",
    "Sectors with synthetic proofs (`UseSyntheticPoRep` at the manager) are asked for only where synth_proof has an entry: an empty one is the worker's own program. They take more disk and memory for an hour, and far less disk while they wait for the chain.",
];

/// Keys of `[[processors.<stage>]]`.
pub const CHILD: &[Key] = &[
    Key {
        name: "bin",
        holds: "path",
        doc: &["Program; the worker's own executable when left out."],
    },
    Key {
        name: "args",
        holds: "list of: text",
        doc: &["Arguments; `processor <stage>` when left out."],
    },
    Key {
        name: "stable_wait",
        holds: "length of time",
        doc: &["How long the child may take to its ready line; `5s` when left out."],
    },
    Key {
        name: "cgroup.cpuset",
        holds: "CPU list, such as \"0-7,16\"",
        doc: &["CPUs of the child (and its cgroup)."],
    },
    Key {
        name: "cgroup.memory_max",
        holds: "size, such as \"160GiB\"",
        doc: &[
            "New: memory that the child may have, all that it starts included; over it the kernel kills it, and its tasks are tried again. Needs cgroups of version 2. `plan check` counts the child with it.",
        ],
    },
    Key {
        name: "cgroup.cpu_weight",
        holds: "whole number, 1 to 10000",
        doc: &[
            "New: the child's share of CPUs that others want, too; 100 is anybody's. Needs cgroups of version 2.",
        ],
    },
    Key {
        name: "cgroup.group_name",
        holds: "text",
        doc: &["Parent cgroup; `vc-worker` when left out."],
    },
    Key {
        name: "envs",
        holds: "table of texts",
        doc: &[
            "Environment on top of the inherited one; for our PC2, `DAMOCLES_PC2_MEMORY` is the most that its buffers take, `8GiB` when left out; for our proofs, `DAMOCLES_PROOF_MEMORY` is the most that those of the child hold beside the parameters, half of what is free when left out; for PC1, `HUGEPAGE_FILES_PATH` is where `store hugepage-file-init` made memory files.",
        ],
    },
    Key {
        name: "numa_preferred",
        holds: "whole number",
        doc: &[
            "NUMA node whose memory is preferred. PC1's labels come from this node alone (without this key: from the node of the child's CPUs) as long as it has room for them.",
        ],
    },
    Key {
        name: "concurrent",
        holds: "whole number, 1 or more",
        doc: &[
            "Tasks at once; unlimited when left out. Where these are more than the child has CPUs, PC1 labels sectors of one kind in step: a task waits for others, but never longer than `DAMOCLES_PC1_BATCH_WAIT` in `envs` (`60s`) and a twentieth of what it takes alone (with `limitation.staggered`, others may never come in that time).",
        ],
    },
    Key {
        name: "locks",
        holds: "list of: text",
        doc: &["Names out of `ext_locks`, held while a task runs."],
    },
    Key {
        name: "gpus",
        holds: "list of: whole number",
        doc: &[
            "New: GPUs that the child sees, by number as `nvidia-smi` counts. A task holds the lock `gpu:<number>` of each, so that all children of one GPU share it one at a time; `ext_locks` can let more in (`\"gpu:0\" = 2`).",
        ],
    },
    Key {
        name: "auto_restart",
        holds: "true or false",
        doc: &["Start the child again when it ends; true when left out."],
    },
    Key {
        name: "inherit_envs",
        holds: "true or false",
        doc: &["Begin with the worker's environment; true when left out."],
    },
    Key {
        name: "longest",
        holds: "length of time, such as \"3h\"",
        doc: &[
            "New: how long a task may take before its child is killed, with all that runs in it; it is tried again. `0s` for no limit.",
            "When left out, for sectors of 32GiB: pc1 and unseal `48h`; add_pieces, pc2, c2, snap_encode, snap_prove and transfer `24h`; synth_proof `12h`; tree_d and c1 `6h`;",
            "twice as long for 64GiB, and a quarter for smaller ones. window_post and winning_post have the chain's deadline.",
        ],
    },
    Key {
        name: "silent",
        holds: "length of time, such as \"1h\"",
        doc: &[
            "New: the same for how long nothing may be heard of a task; `0s` for no limit. When left out, `4h` (`8h` for 64GiB, `1h` for sectors smaller than 32GiB) for the worker's own program with our kernels where it tells of its progress (add_pieces, tree_d, pc1, pc2, snap_encode, transfer), else no limit.",
        ],
    },
    Key {
        name: "kernel",
        holds: "\"auto\" or \"filecoin-proofs\"",
        doc: &[
            "What computes in the worker's own program: our kernels (the fastest code of theirs that the CPU allows), or the proofs library only; `auto` when left out.",
            "Not beside `bin` or `args`.",
        ],
    },
    Key {
        name: "extend",
        holds: "true or false",
        doc: &[
            "New: these children come after those of the profile (`[sector_manager] profile`), and not in their place.",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{
            DEFAULT_CGROUP, DEFAULT_STABLE_WAIT, RawCgroup, RawLimitation, RawProcessor,
            RawProcessors,
        },
        kind::Stage,
        time_limits,
    };
    use damocles_types::{ByteSize, SectorSize};
    use serde::Serialize;
    use std::{collections::BTreeSet, time::Duration};

    /// The keys that a table of the image has, `table.key` for those of a table in it.
    fn keys(of: &impl Serialize) -> BTreeSet<String> {
        let value = serde_json::to_value(of).unwrap();
        let mut found = BTreeSet::new();
        for (key, value) in value.as_object().unwrap() {
            match value.as_object() {
                Some(inner) if !inner.is_empty() => {
                    found.extend(inner.keys().map(|k| format!("{key}.{k}")));
                }
                _ => _ = found.insert(key.clone()),
            }
        }
        found
    }

    fn described(rows: &[Key]) -> BTreeSet<String> {
        let named = |row: &Key| row.name.split(".<").next().unwrap_or(row.name).to_owned();
        rows.iter().map(named).collect()
    }

    #[test]
    fn every_key_is_described_and_every_description_is_of_a_key() {
        let child = RawProcessor {
            cgroup: Some(RawCgroup {
                memory_max: Some(ByteSize(1)),
                cpu_weight: Some(1),
                ..RawCgroup::default()
            }),
            gpus: Some(Vec::new()),
            longest: Some(String::new()),
            silent: Some(String::new()),
            kernel: Some(String::new()),
            extend: Some(true),
            ..RawProcessor::default()
        };
        assert_eq!(described(CHILD), keys(&child));

        let section = RawProcessors {
            limitation: Some(RawLimitation {
                longest: Some(Default::default()),
                silent: Some(Default::default()),
                ..RawLimitation::default()
            }),
            ..RawProcessors::default()
        };
        let stages: BTreeSet<String> = Stage::ALL.iter().map(|s| s.name().to_owned()).collect();
        let of_children = |key: &String| stages.contains(key) || key == "sealing_daemons";
        let mut read = keys(&section);
        read.retain(|key| !of_children(key));
        assert_eq!(described(SECTION), read);
        let list = Stage::ALL.map(Stage::name).join(", ");
        assert!(CHILD_DOC.contains(&list.as_str()), "stages are {list}");
    }

    #[test]
    fn the_defaults_in_the_words_are_those_in_force() {
        let says = |key: &str| {
            let row = CHILD.iter().find(|row| row.name == key).unwrap();
            let words = row.doc.join(" ");
            let quoted: Vec<String> = words
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            quoted
        };
        let a_time = |key: &str, time: Duration| {
            let quoted = says(key);
            let told = quoted
                .iter()
                .any(|text| humantime::parse_duration(text).ok() == Some(time));
            assert!(told, "{key} does not say {time:?}: {quoted:?}");
        };
        a_time("stable_wait", DEFAULT_STABLE_WAIT);
        for size in SectorSize::ALL {
            a_time("silent", time_limits::silence(size));
        }
        // for 32GiB in words: `48h` stands behind the stages that may take so long
        let longest = CHILD.iter().find(|row| row.name == "longest").unwrap();
        for stage in Stage::ALL {
            let Some(most) = time_limits::longest(stage, SectorSize::GiB32) else {
                continue;
            };
            let hours = format!("`{}h`", most.as_secs() / 3600);
            let parts: Vec<&str> = longest.doc[1].split(';').collect();
            let named = |part: &&str| {
                let words = part.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                words.into_iter().any(|word| word == stage.name())
            };
            let part = parts.iter().find(|part| named(part));
            assert!(
                part.is_some_and(|part| part.contains(&hours)),
                "{stage} {hours}"
            );
        }
        assert!(says("cgroup.group_name").contains(&DEFAULT_CGROUP.to_owned()));
        #[cfg(feature = "proofs")]
        {
            a_time("concurrent", crate::stage::Batch::default().wait);
            let memory = damocles_kernels::pc2::DEFAULT_MEMORY;
            let text = format!("{}GiB", memory >> 30);
            assert!(memory.is_multiple_of(1 << 30) && says("envs").contains(&text));
        }
    }
}
