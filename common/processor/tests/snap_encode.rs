//! SnapEncode by our own kernels against the proofs library, through real child processes: a
//! sealed sector of committed capacity takes deals.

use damocles_processor::{
    Cancel, KernelChoice, Note, Pool, Processors, Stage, StartOptions, Task,
    config::{ChildConfig, StageConfig},
    prover_id,
    task::{AddPieces, Pc1, Pc2, Piece, PieceFile, SnapEncode, SnapEncodeOutput},
};
use damocles_types::{PaddedSize, PieceInfo, SealProof, SectorSize};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

const PROOF: SealProof = SealProof::interactive(SectorSize::KiB2);

fn pool(kernel: KernelChoice) -> Pool {
    let child = ChildConfig {
        kernel,
        ..ChildConfig::default()
    };
    let stage = StageConfig {
        children: vec![child],
        ..StageConfig::default()
    };
    let config = Processors {
        stages: [(Stage::SnapEncode, stage)].into(),
        ..Processors::default()
    };
    let options = StartOptions::of(env!("CARGO_BIN_EXE_processor-child"));
    Pool::start(&Stage::ALL, &config, &options).unwrap()
}

fn run<T: Task>(pool: &Pool, task: &T) -> T::Output {
    pool.run(task, &Cancel::new(), &mut |_| {}).unwrap().output
}

/// Seals a sector without deals in `dir`.
fn seal(pool: &Pool, dir: &Path) {
    let piece_infos = run(
        pool,
        &AddPieces {
            seal_proof_type: PROOF,
            pieces: Vec::new(),
            staged_filepath: dir.join("staged"),
        },
    );
    let pc1out = run(
        pool,
        &Pc1 {
            registered_proof: PROOF,
            cache_path: dir.join("cache"),
            in_path: dir.join("staged"),
            out_path: dir.join("sealed"),
            prover_id: prover_id(1000),
            sector_id: 7,
            ticket: [3; 32],
            piece_infos,
        },
    );
    run(
        pool,
        &Pc2 {
            pc1out,
            cache_dir: dir.join("cache"),
            sealed_file: dir.join("sealed"),
            staged_file: Some(dir.join("staged")),
        },
    );
}

/// A deal and a filler.
fn deals(pool: &Pool, dir: &Path) -> Vec<PieceInfo> {
    let piece = dir.join("piece");
    let payload: Vec<u8> = (0..1000_u32).map(|i| ((i * i) >> 3) as u8).collect();
    fs::write(&piece, payload).unwrap();
    let half = PaddedSize(1024).unpadded();
    run(
        pool,
        &AddPieces {
            seal_proof_type: PROOF,
            pieces: vec![
                Piece {
                    piece_file: PieceFile::Local(piece),
                    payload_size: 1000,
                    piece_size: half,
                    piece_cid: None,
                },
                Piece {
                    piece_file: PieceFile::Pledge,
                    payload_size: 0,
                    piece_size: half,
                    piece_cid: None,
                },
            ],
            staged_filepath: dir.join("deals"),
        },
    )
}

fn task(dir: &Path, below: &str, piece_infos: &[PieceInfo]) -> SnapEncode {
    SnapEncode {
        registered_proof: PROOF.size,
        new_replica_path: dir.join(below).join("update"),
        new_cache_path: dir.join(below).join("update-cache"),
        sector_path: dir.join("sealed"),
        sector_cache_path: dir.join("cache"),
        staged_data_path: dir.join("deals"),
        piece_infos: piece_infos.to_vec(),
    }
}

fn encode(kernel: KernelChoice, task: &SnapEncode) -> (SnapEncodeOutput, String) {
    let mut computed = None;
    let done = pool(kernel).run(task, &Cancel::new(), &mut |note| {
        if let Note::Kernel(name) = note {
            computed = Some(name);
        }
    });
    (done.unwrap().output, computed.unwrap())
}

fn files(paths: &[PathBuf]) -> BTreeMap<String, Vec<u8>> {
    let read = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    };
    let mut files = BTreeMap::new();
    for path in paths {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
            files.extend(entries.map(|entry| read(&entry)));
        } else {
            files.extend([read(path)]);
        }
    }
    files.retain(|name, _| !name.starts_with('.'));
    files
}

fn output(task: &SnapEncode) -> BTreeMap<String, Vec<u8>> {
    files(&[task.new_replica_path.clone(), task.new_cache_path.clone()])
}

#[test]
fn both_kernels_make_the_same_update_and_leave_the_old_sector_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let auto = pool(KernelChoice::Auto);
    seal(&auto, dir);
    let piece_infos = deals(&auto, dir);
    let old_paths = [dir.join("sealed"), dir.join("cache"), dir.join("deals")];
    let old = files(&old_paths);

    let theirs = task(dir, "theirs", &piece_infos);
    let (expected, computed) = encode(KernelChoice::FilecoinProofs, &theirs);
    assert_eq!(computed, "filecoin-proofs");
    let ours = task(dir, "ours", &piece_infos);
    let (output_ours, computed) = encode(KernelChoice::Auto, &ours);
    assert!(
        ["avx512-ifma 2x8", "portable"].contains(&computed.as_str()),
        "{computed}"
    );
    assert_eq!(output_ours, expected);
    assert_eq!(output(&ours), output(&theirs));
    let names: Vec<String> = output(&ours).into_keys().collect();
    assert_eq!(
        names,
        [
            "p_aux",
            "sc-02-data-tree-d.dat",
            "sc-02-data-tree-r-last.dat",
            "t_aux",
            "update"
        ]
    );

    // again, over what there is, and with the update file a link to the old sector
    for kernel in KernelChoice::ALL {
        fs::remove_file(&ours.new_replica_path).unwrap();
        symlink(dir.join("sealed"), &ours.new_replica_path).unwrap();
        fs::write(ours.new_cache_path.join("sc-02-data-tree-r-last.dat"), "x").unwrap();
        assert_eq!(encode(kernel, &ours).0, expected);
        assert_eq!(output(&ours), output(&theirs), "{kernel}");
    }
    assert_eq!(files(&old_paths), old, "the old sector is as it was");
}

#[test]
fn data_of_other_pieces_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let pool = pool(KernelChoice::Auto);
    seal(&pool, dir);
    let piece_infos = deals(&pool, dir);
    let mut task = task(dir, "update", &piece_infos);
    task.staged_data_path = dir.join("staged");
    let error = pool
        .run(&task, &Cancel::new(), &mut |_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("its pieces make"), "{error}");
    assert!(!task.new_replica_path.exists(), "nothing was encoded");
}
