//! The real stages at 2KiB through real child processes, with kills in between. C2 needs the
//! parameters of `make params`, and a quarter of a minute where the CPU has no IFMA.

mod sector;
mod c2;
mod aggregate;
mod synth;

use damocles_processor::{
    Cancel, Note, Opaque, Pool, RawProcessors,
    footprint::Part,
    prover_id,
    task::{C2, Pc2, Pc2Output, TreeD},
};
use damocles_types::PieceInfo;
use sector::{MINER, PROOF, Sector, start};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Children of PC2 with these keys in the config.
fn start_pc2(keys: serde_json::Value) -> Pool {
    let raw: RawProcessors = serde_json::from_value(serde_json::json!({ "pc2": [keys] })).unwrap();
    start(&raw.check().unwrap())
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().ino()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_sector_of_committed_capacity_and_its_json_as_upstream_has_it() {
    let s = Sector::new(1);
    let infos = s.add_pieces(vec![]);
    assert_eq!(infos.len(), 1);
    s.run(&TreeD {
        registered_proof: PROOF,
        staged_file: s.path("staged"),
        cache_dir: s.path("cache"),
    });
    let tree = inode(&s.path("cache/sc-02-data-tree-d.dat"));
    let pc1 = s.run(&s.pc1(1, &infos));
    assert_eq!(
        inode(&s.path("cache/sc-02-data-tree-d.dat")),
        tree,
        "a right tree is not made again"
    );

    let json: serde_json::Value = pc1.parse().unwrap();
    let cache = s.path("cache");
    let store = |id: &str, size: u64| serde_json::json!({"path": cache, "id": id, "size": size, "rows_to_discard": 0});
    assert_eq!(
        json,
        serde_json::json!({
            "registered_proof": "StackedDrg2KiBV1_1",
            "labels": {"StackedDrg2KiBV1": {"labels": [store("layer-1", 64), store("layer-2", 64)], "_h": null}},
            "config": store("tree-d", 127),
            "comm_d": infos[0].commitment,
        })
    );
    assert_eq!(
        hex(&infos[0].commitment.0),
        "fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833"
    );

    let pc2 = s.run(&s.pc2(pc1));
    assert_eq!(pc2.comm_d, infos[0].commitment);
    let c1 = s.run(&s.c1(1, pc2, &infos));
    let json: serde_json::Value = c1.parse().unwrap();
    let mut keys: Vec<_> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "comm_d",
            "comm_r",
            "registered_proof",
            "replica_id",
            "seed",
            "ticket",
            "vanilla_proofs"
        ]
    );
    assert_eq!(json["seed"].as_array().unwrap().len(), 32);
    assert_eq!(json["comm_r"], serde_json::to_value(pc2.comm_r).unwrap());
    let vanilla = &json["vanilla_proofs"]["StackedDrg2KiBV1"][0][0];
    assert!(
        vanilla["comm_d_proofs"]["data"]["Single"]["path"]["path"].is_array(),
        "{vanilla}"
    );
    assert!(vanilla["replica_column_proofs"]["c_x"]["column"]["rows"].is_array());

    // C2 for another miner than the proof's is refused at once
    let c2 = C2 {
        c1out: c1,
        prover_id: prover_id(MINER),
        sector_id: 1,
        miner_id: MINER + 1,
    };
    let error = s.pool.run(&c2, &Cancel::new(), &mut |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("miner 1001") || error.to_string().contains("missing"),
        "{error}"
    );
}

/// Bytes of the files of a directory whose names begin so.
fn bytes_of(dir: &Path, begins: &str) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .filter(|e| e.file_name().to_string_lossy().starts_with(begins))
        .map(|e| e.metadata().unwrap().len())
        .sum()
}

#[test]
fn the_files_of_a_sector_are_as_long_as_plans_count_them() {
    let s = Sector::new(9);
    let infos = s.add_pieces(vec![]);
    let pc1 = s.run(&s.pc1(1, &infos));
    s.run(&s.pc2(pc1));
    let (dir, cache) = (s.dir.path(), s.path("cache"));
    for (part, dir, begins) in [
        (Part::Staged, dir, "staged"),
        (Part::Sealed, dir, "sealed"),
        (Part::TreeD, &cache, "sc-02-data-tree-d"),
        (Part::Layers, &cache, "sc-02-data-layer-"),
        (Part::TreeC, &cache, "sc-02-data-tree-c"),
        (Part::TreeRLast, &cache, "sc-02-data-tree-r-last"),
    ] {
        assert_eq!(bytes_of(dir, begins), part.bytes(PROOF.size), "{part:?}");
    }
    let parts = [Part::TreeD, Part::Layers, Part::TreeC, Part::TreeRLast];
    let known: u64 = parts.map(|part| part.bytes(PROOF.size)).iter().sum();
    let rest = bytes_of(&cache, "") - known;
    assert!(rest <= Part::Aux.bytes(PROOF.size), "{rest} other bytes");
}

#[test]
fn pc1_goes_on_after_its_finished_layers_and_leaves_them_alone() {
    let s = Sector::new(2);
    let infos = s.add_pieces(vec![]);
    let whole = s.run(&s.pc1(1, &infos));
    let (one, two) = (
        s.path("cache/sc-02-data-layer-1.dat"),
        s.path("cache/sc-02-data-layer-2.dat"),
    );
    let (first, content) = (inode(&one), fs::read(&two).unwrap());

    // killed while it wrote layer 2
    fs::remove_file(&two).unwrap();
    fs::write(s.path("cache/sc-02-data-layer-2..tmp"), b"half").unwrap();
    assert_eq!(s.run(&s.pc1(1, &infos)), whole);
    assert_eq!(inode(&one), first, "a finished layer is never made again");
    assert_eq!(fs::read(&two).unwrap(), content);
    assert!(!s.path("cache/sc-02-data-layer-2..tmp").exists());

    // another ticket: other layers; and back
    s.run(&s.pc1(2, &infos));
    assert_ne!(fs::read(&two).unwrap(), content);
    s.run(&s.pc1(1, &infos));
    assert_eq!(fs::read(&two).unwrap(), content);

    // half a tree-d of a killed run (the library makes it at full length) is made again
    let tree = s.path("cache/sc-02-data-tree-d.dat");
    let right = fs::read(&tree).unwrap();
    fs::write(&tree, vec![0; right.len()]).unwrap();
    s.run(&s.pc1(1, &infos));
    assert_eq!(fs::read(&tree).unwrap(), right);
}

#[test]
fn pc1_refuses_data_that_is_not_that_of_the_pieces() {
    let s = Sector::new(3);
    let infos = s.add_pieces(vec![]);
    fs::write(s.path("staged"), [1; 2048]).unwrap();
    let error = s
        .pool
        .run(&s.pc1(1, &infos), &Cancel::new(), &mut |_| {})
        .unwrap_err();
    assert!(error.to_string().contains("its pieces make"), "{error}");
}

#[test]
fn pc2_can_be_killed_anywhere_and_finds_the_same_comm_r() {
    let s = Sector::new(4);
    let infos = s.add_pieces(vec![s.piece(&[0x5a; 1000])]);
    let pc1 = s.run(&s.pc1(1, &infos));
    let plain = fs::read(s.path("sealed")).unwrap();
    let wanted = s.run(&s.pc2(pc1.clone()));
    let sealed = fs::read(s.path("sealed")).unwrap();
    assert_ne!(sealed, plain);

    // finished, but the answer was lost: given again without touching the file
    let before = inode(&s.path("sealed"));
    assert_eq!(s.run(&s.pc2(pc1.clone())), wanted);
    assert_eq!(inode(&s.path("sealed")), before);

    // killed after the file was encoded and half the trees were made
    let mark = s.path("cache/.pc2.json");
    let text = fs::read_to_string(&mark).unwrap();
    let mut running: serde_json::Value = serde_json::from_str(&text).unwrap();
    running["done"] = serde_json::Value::Null;
    fs::write(&mark, running.to_string()).unwrap();
    fs::write(s.path("cache/sc-02-data-tree-c.dat"), vec![0; 100]).unwrap();
    fs::remove_file(s.path("cache/t_aux")).unwrap();
    assert_eq!(s.run(&s.pc2(pc1.clone())), wanted);
    assert_eq!(fs::read(s.path("sealed")).unwrap(), sealed);

    // a file that somebody changed afterwards is made again as well
    fs::write(s.path("sealed"), &plain).unwrap();
    assert_eq!(s.run(&s.pc2(pc1.clone())), wanted);
    assert_eq!(fs::read(s.path("sealed")).unwrap(), sealed);

    // upstream's sign of an interrupted run
    fs::remove_file(&mark).unwrap();
    fs::write(s.path("cache/.pc2_running"), b"").unwrap();
    assert_eq!(s.run(&s.pc2(pc1.clone())), wanted);
    assert!(!s.path("cache/.pc2_running").exists());

    // and what came out can be proven
    s.run(&s.c1(1, wanted, &infos));
    // C1 of a sector whose PC2 encoded twice finds out
    fs::write(s.path("sealed"), vec![0; 2048]).unwrap();
    let error = s
        .pool
        .run(&s.c1(1, wanted, &infos), &Cancel::new(), &mut |_| {})
        .unwrap_err();
    assert!(
        matches!(error, damocles_processor::ProcessorError::Task { .. }),
        "{error}"
    );
}

#[test]
fn a_child_that_is_killed_in_pc2_is_started_again_and_the_sector_is_right() {
    let s = Sector::new(5);
    let infos = s.add_pieces(vec![]);
    let pc1 = s.run(&s.pc1(1, &infos));
    let wanted = s.run(&s.pc2(pc1.clone()));
    let sealed = fs::read(s.path("sealed")).unwrap();
    s.run(&s.pc1(1, &infos));
    // killed as soon as it runs, wherever that finds it; again until one run gets through
    let mut kills = 0;
    let output = loop {
        let kill = kills < 3;
        let result = s
            .pool
            .run(&s.pc2(pc1.clone()), &Cancel::new(), &mut |note| {
                if let Note::Running { pid, .. } = note
                    && kill
                {
                    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                }
            });
        match result {
            Ok(done) => break done.output,
            Err(error) => {
                kills += 1;
                assert_eq!(
                    error.failure().unwrap().level,
                    damocles_types::Level::Temporary
                );
            }
        }
    };
    assert!(kills >= 1);
    assert_eq!(output, wanted);
    assert_eq!(fs::read(s.path("sealed")).unwrap(), sealed);
}

/// The mark of PC2 as a run leaves it that is killed at work.
fn interrupt(sector: &Sector) {
    let mark = sector.path("cache/.pc2.json");
    let text = fs::read_to_string(&mark).unwrap();
    let mut running: serde_json::Value = serde_json::from_str(&text).unwrap();
    running["done"] = serde_json::Value::Null;
    fs::write(&mark, running.to_string()).unwrap();
}

#[test]
fn both_kernels_of_pc2_make_the_same_files_and_either_goes_on_after_the_other() {
    let s = Sector::new(7);
    let data: Vec<_> = (0..2032).map(|i| (i * i) as u8).collect();
    let infos = s.add_pieces(vec![s.piece(&data)]);
    let library = start_pc2(serde_json::json!({"kernel": "filecoin-proofs"}));
    let tight = start_pc2(serde_json::json!({"envs": {"DAMOCLES_PC2_MEMORY": "20KiB"}}));
    let run = |pool: &Pool, task: &Pc2| {
        let mut kernel = String::new();
        let outcome = pool.run(task, &Cancel::new(), &mut |note| {
            if let Note::Kernel(name) = note {
                kernel = name;
            }
        });
        let files = [
            "sealed",
            "cache/sc-02-data-tree-c.dat",
            "cache/sc-02-data-tree-r-last.dat",
            "cache/p_aux",
            "cache/t_aux",
        ]
        .map(|name| fs::read(s.path(name)).unwrap());
        (outcome.unwrap().output, files, kernel)
    };
    for ticket in 1..17 {
        let task = s.pc2(s.run(&s.pc1(ticket, &infos)));
        let (output, files, kernel) = run(&s.pool, &task);
        assert!(
            !["", "filecoin-proofs"].contains(&kernel.as_str()),
            "{kernel}"
        );
        for pool in [&library, &s.pool, &tight] {
            interrupt(&s);
            let (again, same, kernel) = run(pool, &task);
            assert_eq!(again, output);
            assert!(same == files, "ticket {ticket}: {kernel} makes other files");
            assert_eq!(kernel == "filecoin-proofs", std::ptr::eq(pool, &library));
        }

        // where nobody tells where the staged file is, the sealed file is encoded in place
        fs::copy(s.path("staged"), s.path("sealed")).unwrap();
        let task = Pc2 {
            staged_file: None,
            ..task
        };
        let (again, same, _) = run(&s.pool, &task);
        assert_eq!(again, output);
        assert!(same == files, "ticket {ticket}: in place");
        s.run(&s.c1(ticket, output, &infos));
    }

    let task = s.pc2(s.run(&s.pc1(1, &infos)));
    let bad = start_pc2(serde_json::json!({"envs": {"DAMOCLES_PC2_MEMORY": "1KiB"}}));
    let error = bad.run(&task, &Cancel::new(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("at least"), "{error}");
    // upstream's sign is there for whoever comes next with another program
    assert!(s.path("cache/.pc2_running").exists());
}

/// What upstream's worker does around PC1 and PC2 with files that the stages touch as well. It
/// stops for a person when one of its own is not as it left it.
struct Upstreams<'a>(&'a Sector);

impl Upstreams<'_> {
    fn sign(&self) -> PathBuf {
        self.0.path("cache/.pc2_running")
    }

    /// An empty cache directory, the tree linked into it, and an empty sealed file.
    fn pc1(&self, infos: &[PieceInfo]) -> Opaque {
        let s = self.0;
        let (cache, prepared) = (s.path("cache"), s.path("prepared"));
        if cache.exists() {
            fs::remove_dir_all(&cache).unwrap();
        }
        fs::create_dir(&cache).unwrap();
        s.run(&TreeD {
            registered_proof: PROOF,
            staged_file: s.path("staged"),
            cache_dir: prepared.clone(),
        });
        let tree = "sc-02-data-tree-d.dat";
        std::os::unix::fs::symlink(prepared.join(tree), cache.join(tree)).unwrap();
        fs::File::create(s.path("sealed")).unwrap();
        s.run(&s.pc1(1, infos))
    }

    /// Without the trees of an earlier run and with its sign; a sign that is there means that
    /// the sealed file must be made again.
    fn begin_pc2(&self) {
        let s = self.0;
        for name in fs::read_dir(s.path("cache")).unwrap() {
            let name = name.unwrap().file_name().into_string().unwrap();
            let is_made_again = ["p_aux", "t_aux"].contains(&name.as_str())
                || name.contains("tree-c")
                || name.contains("tree-r-last");
            if is_made_again {
                fs::remove_file(s.path("cache").join(name)).unwrap();
            }
        }
        if self.sign().exists() {
            fs::remove_file(s.path("sealed")).unwrap();
            fs::copy(s.path("staged"), s.path("sealed")).unwrap();
        } else {
            fs::File::create(self.sign()).unwrap();
        }
    }

    fn pc2(&self, pool: &Pool, pc1out: Opaque) -> Pc2Output {
        self.begin_pc2();
        let task = Pc2 {
            staged_file: None,
            ..self.0.pc2(pc1out)
        };
        let done = pool.run(&task, &Cancel::new(), &mut |_| {}).unwrap();
        fs::remove_file(self.sign()).unwrap();
        done.output
    }
}

#[test]
fn under_upstreams_worker_the_sign_of_a_running_pc2_is_its_own() {
    let s = Sector::new(8);
    let infos = s.add_pieces(vec![]);
    let parent = Upstreams(&s);
    let library = start_pc2(serde_json::json!({"kernel": "filecoin-proofs"}));
    let pc1 = parent.pc1(&infos);
    let wanted = parent.pc2(&s.pool, pc1.clone());
    let sealed = fs::read(s.path("sealed")).unwrap();
    s.run(&s.c1(1, wanted, &infos));

    for pool in [&s.pool, &library] {
        assert_eq!(parent.pc1(&infos).text(), pc1.text());
        // killed at once after it began: the sign says so, whatever became of the sealed file
        parent.begin_pc2();
        fs::write(s.path("sealed"), &sealed).unwrap();
        assert_eq!(parent.pc2(pool, pc1.clone()), wanted);
        assert!(fs::read(s.path("sealed")).unwrap() == sealed);
    }
    // PC1 takes away a sign only beside a mark of our own PC2
    fs::write(parent.sign(), b"").unwrap();
    s.run(&s.pc1(1, &infos));
    assert!(parent.sign().exists());
    s.run(&s.pc2(pc1));
    fs::write(parent.sign(), b"").unwrap();
    s.run(&s.pc1(1, &infos));
    assert!(!parent.sign().exists());
}

#[test]
fn two_processes_do_not_work_in_one_cache_directory() {
    let s = Sector::new(6);
    let infos = s.add_pieces(vec![]);
    fs::create_dir_all(s.path("cache")).unwrap();
    let _held = damocles_processor::disk::WorkLock::try_take(&s.path("cache/.lock"))
        .unwrap()
        .unwrap();
    let error = s
        .pool
        .run(&s.pc1(1, &infos), &Cancel::new(), &mut |_| {})
        .unwrap_err();
    assert_eq!(
        error.failure().unwrap().level,
        damocles_types::Level::Temporary
    );
    assert!(
        error.to_string().contains("another process is working"),
        "{error}"
    );
}
