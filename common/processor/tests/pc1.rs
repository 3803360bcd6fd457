//! PC1 by our own kernels against the proofs library, through real child processes: the same
//! answer and the same files, alone and several tasks together, begun by one and ended by the
//! other.

use damocles_processor::{
    Cancel, KernelChoice, Note, Opaque, Pool, Processors, Stage, StartOptions,
    config::{ChildConfig, StageConfig},
    prover_id,
    task::{AddPieces, Pc1, Piece, PieceFile},
};
use damocles_types::{PaddedSize, SealProof, SectorSize};
use std::{collections::BTreeMap, fs, num::NonZeroU32, path::Path, thread};

fn pool(kernel: KernelChoice, concurrent: u32) -> Pool {
    let child = ChildConfig {
        kernel,
        concurrent: NonZeroU32::new(concurrent),
        ..ChildConfig::default()
    };
    let stage = StageConfig {
        children: vec![child],
        ..StageConfig::default()
    };
    let config = Processors {
        stages: [(Stage::Pc1, stage)].into(),
        ..Processors::default()
    };
    let options = StartOptions::of(env!("CARGO_BIN_EXE_processor-child"));
    Pool::start(&Stage::ALL, &config, &options).unwrap()
}

/// The task of a sector whose staged file lies in `dir`; its cache and its copy in `below`.
fn task(pool: &Pool, proof: SealProof, dir: &Path, below: &str, ticket: u8) -> Pc1 {
    let piece = dir.join("piece");
    fs::write(&piece, vec![0x5a; 1000]).unwrap();
    let staged = dir.join("staged");
    let add = AddPieces {
        seal_proof_type: proof,
        pieces: vec![Piece {
            piece_file: PieceFile::Local(piece),
            payload_size: 1000,
            piece_size: PaddedSize(2048).unpadded(),
            piece_cid: None,
        }],
        staged_filepath: staged.clone(),
    };
    let infos = pool.run(&add, &Cancel::new(), &mut |_| {}).unwrap().output;
    Pc1 {
        registered_proof: proof,
        cache_path: dir.join(below).join("cache"),
        in_path: staged,
        out_path: dir.join(below).join("sealed"),
        prover_id: prover_id(1000),
        sector_id: u64::from(ticket),
        ticket: [ticket; 32],
        piece_infos: infos,
    }
}

/// The answer, and what computed it.
fn run(pool: &Pool, task: &Pc1) -> (Opaque, Option<String>) {
    let mut kernel = None;
    let done = pool.run(task, &Cancel::new(), &mut |note| {
        if let Note::Kernel(name) = note {
            kernel = Some(name);
        }
    });
    (done.unwrap().output, kernel)
}

/// The data files of a sector by name; the mark is nobody else's concern.
fn files(task: &Pc1) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(&task.cache_path).unwrap().map(Result::unwrap);
    let mut files: BTreeMap<String, Vec<u8>> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .map(|name| {
            let content = fs::read(task.cache_path.join(&name)).unwrap();
            (name, content)
        })
        .collect();
    files.insert("sealed".into(), fs::read(&task.out_path).unwrap());
    files
}

fn assert_same(ours: (&Opaque, &Pc1), library: (&Opaque, &Pc1)) {
    let text = library.0.text().replace(
        library.1.cache_path.to_str().unwrap(),
        ours.1.cache_path.to_str().unwrap(),
    );
    assert_eq!(ours.0.text(), text);
    assert!(files(ours.1) == files(library.1), "files differ");
}

#[test]
fn our_kernels_answer_as_the_library_and_leave_the_same_files() {
    let (own, library) = (
        pool(KernelChoice::Auto, 1),
        pool(KernelChoice::FilecoinProofs, 1),
    );
    for number in [0, 5, 10, 15] {
        let proof = SealProof::from_number(number).unwrap();
        assert_eq!(proof.size, SectorSize::KiB2);
        let dir = tempfile::tempdir().unwrap();
        let ours = task(&own, proof, dir.path(), "own", 7);
        let theirs = Pc1 {
            cache_path: dir.path().join("library/cache"),
            out_path: dir.path().join("library/sealed"),
            ..ours.clone()
        };
        let (answer, kernel) = run(&own, &ours);
        assert_ne!(kernel.as_deref(), Some("filecoin-proofs"));
        assert!(kernel.is_some());
        let (expected, kernel) = run(&library, &theirs);
        assert_eq!(kernel.as_deref(), Some("filecoin-proofs"));
        assert_same((&answer, &ours), (&expected, &theirs));

        // each goes on where the other was stopped, and runs again to the same end
        let layer = |task: &Pc1, layer: u32| {
            task.cache_path
                .join(format!("sc-02-data-layer-{layer}.dat"))
        };
        fs::remove_file(layer(&ours, 2)).unwrap();
        assert_eq!(run(&library, &ours).0, answer);
        fs::remove_file(layer(&theirs, 2)).unwrap();
        assert_eq!(run(&own, &theirs).0, expected);
        assert_same((&answer, &ours), (&expected, &theirs));
        assert_eq!(run(&own, &ours).0, answer);
        assert_same((&answer, &ours), (&expected, &theirs));
    }
}

/// What a killed run leaves of a finished one: the noted beginning of layer 2, and something
/// behind it.
fn interrupt(task: &Pc1, nodes: usize, right: bool) {
    let (two, part, mark) = (
        task.cache_path.join("sc-02-data-layer-2.dat"),
        task.cache_path.join("sc-02-data-layer-2.part"),
        task.cache_path.join(".pc1.json"),
    );
    let mut labels = fs::read(&two).unwrap();
    labels.truncate(nodes * 32);
    if !right {
        labels[(nodes - 1) * 32] ^= 1;
    }
    labels.extend([0xff; 100]);
    fs::write(&part, labels).unwrap();
    fs::remove_file(&two).unwrap();
    let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&mark).unwrap()).unwrap();
    noted["synced"] = serde_json::json!(["sc-02-data-layer-1.dat"]);
    noted["part"] = serde_json::json!({"layer": 2, "nodes": nodes});
    fs::write(&mark, noted.to_string()).unwrap();
}

#[test]
fn tasks_that_were_stopped_at_different_nodes_go_on_together() {
    const TASKS: u8 = 20;
    let own = pool(KernelChoice::Auto, u32::from(TASKS));
    let dir = tempfile::tempdir().unwrap();
    let proof = SealProof::interactive(SectorSize::KiB2);
    let tasks: Vec<Pc1> = (0..TASKS)
        .map(|ticket| task(&own, proof, dir.path(), &format!("own-{ticket}"), ticket))
        .collect();
    let together = || -> Vec<Opaque> {
        thread::scope(|scope| {
            let own = &own;
            let started: Vec<_> = tasks
                .iter()
                .map(|task| scope.spawn(move || run(own, task).0))
                .collect();
            let ended = started.into_iter().map(|task| task.join().unwrap());
            ended.collect()
        })
    };
    let whole = together();
    let expected: Vec<_> = tasks.iter().map(files).collect();
    for (task, nodes) in tasks.iter().zip(30..) {
        interrupt(task, nodes, nodes != 41);
    }
    assert_eq!(together(), whole);
    for (task, expected) in tasks.iter().zip(&expected) {
        assert!(files(task) == *expected, "files differ");
    }
}

#[test]
fn a_layer_goes_on_from_its_noted_beginning_and_starts_anew_from_a_wrong_one() {
    let own = pool(KernelChoice::Auto, 1);
    let dir = tempfile::tempdir().unwrap();
    let proof = SealProof::interactive(SectorSize::KiB2);
    let task = task(&own, proof, dir.path(), "own", 7);
    let (whole, _) = run(&own, &task);
    let expected = files(&task);
    for (right, told) in [
        (true, "going on at node 40 of layer 2"),
        (false, "going on at node 0 of layer 2"),
    ] {
        interrupt(&task, 40, right);
        let mut notes = Vec::new();
        let done = own.run(&task, &Cancel::new(), &mut |note| {
            if let Note::Progress(text) = note {
                notes.push(text);
            }
        });
        assert_eq!(done.unwrap().output, whole);
        assert!(files(&task) == expected, "files differ");
        assert!(notes.iter().any(|note| note == told), "{notes:?}");
    }
}

#[test]
fn tasks_together_get_each_its_own_answer_and_a_bad_one_disturbs_no_other() {
    const TASKS: u32 = 20;
    let (own, library) = (
        pool(KernelChoice::Auto, TASKS),
        pool(KernelChoice::FilecoinProofs, TASKS),
    );
    let dir = tempfile::tempdir().unwrap();
    let proof = SealProof::interactive(SectorSize::KiB2);
    let tasks: Vec<Pc1> = (0..TASKS as u8)
        .map(|ticket| task(&own, proof, dir.path(), &format!("own-{ticket}"), ticket))
        .collect();
    // where layer 1 should grow there is a directory with something in it
    let bad = &tasks[3];
    fs::create_dir_all(bad.cache_path.join("sc-02-data-layer-1.part/full")).unwrap();

    let answers: Vec<Option<Opaque>> = thread::scope(|scope| {
        let own = &own;
        let started: Vec<_> = tasks
            .iter()
            .map(|task| scope.spawn(move || own.run(task, &Cancel::new(), &mut |_| {}).ok()))
            .collect();
        let ended = started.into_iter().map(|task| task.join().unwrap());
        ended.map(|done| Some(done?.output)).collect()
    });
    for (answer, ours) in answers.iter().zip(&tasks) {
        if ours == bad {
            assert!(answer.is_none());
            continue;
        }
        let theirs = Pc1 {
            cache_path: ours.cache_path.with_file_name("cache-of-library"),
            out_path: ours.out_path.with_file_name("sealed-by-library"),
            ..ours.clone()
        };
        let (expected, _) = run(&library, &theirs);
        assert_same((answer.as_ref().unwrap(), ours), (&expected, &theirs));
    }
}
