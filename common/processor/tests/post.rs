//! WindowPoSt and WinningPoSt through a real child at 2KiB. They need the parameters of 2KiB
//! (`damocles-worker params generate --sector-size 2KiB`) and so are run by name:
//! `cargo test -p damocles-processor --test post -- --ignored`.

use damocles_processor::{
    Cancel, Note, Pool, ProcessorError, Processors, RawProcessors, Stage, StartOptions, prover_id,
    task::{AddPieces, Pc1, Pc2, Replica, WindowPost, WinningPost},
    verify::{verify_window_post, verify_winning_post},
};
use damocles_types::{PoStProof, Randomness, SealProof, SectorSize};
use std::{fs, path::Path};

const MINER: u64 = 1000;
const SIZE: SectorSize = SectorSize::KiB2;
const WINDOW: PoStProof = PoStProof::WindowV1_1(SIZE);
/// Its top bits are set, as those of randomness from a chain may be.
const SEED: [u8; 32] = [0xff; 32];

/// Children as they are by default.
fn pool() -> Pool {
    start(&Processors::default())
}

fn start(processors: &Processors) -> Pool {
    let options = StartOptions::of(env!("CARGO_BIN_EXE_processor-child"));
    Pool::start(&Stage::ALL, processors, &options).unwrap()
}

fn run<T: damocles_processor::Task>(pool: &Pool, task: &T) -> Result<T::Output, ProcessorError> {
    pool.run(task, &Cancel::new(), &mut |_| {})
        .map(|done| done.output)
}

fn seal(pool: &Pool, dir: &Path, number: u64) -> Replica {
    let proof = SealProof::interactive(SIZE);
    let dir = dir.join(number.to_string());
    fs::create_dir(&dir).unwrap();
    let (staged, sealed, cache) = (dir.join("staged"), dir.join("sealed"), dir.join("cache"));
    let add = AddPieces {
        seal_proof_type: proof,
        pieces: vec![],
        staged_filepath: staged.clone(),
    };
    let pc1 = Pc1 {
        registered_proof: proof,
        cache_path: cache.clone(),
        in_path: staged,
        out_path: sealed.clone(),
        prover_id: prover_id(MINER),
        sector_id: number,
        ticket: [1; 32],
        piece_infos: run(pool, &add).unwrap(),
    };
    let pc2 = Pc2 {
        pc1out: run(pool, &pc1).unwrap(),
        cache_dir: cache.clone(),
        sealed_file: sealed.clone(),
        staged_file: None,
    };
    Replica {
        sector_id: number,
        comm_r: run(pool, &pc2).unwrap().comm_r,
        cache_dir: cache,
        sealed_file: sealed,
    }
}

#[test]
#[ignore = "needs the parameters of 2KiB"]
fn posts_are_made_verified_and_name_the_sectors_that_cannot_be_proven() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool();
    let replicas: Vec<_> = (1..4)
        .map(|number| seal(&pool, dir.path(), number))
        .collect();
    let mut task = WindowPost {
        miner_id: MINER,
        proof_type: WINDOW,
        replicas: replicas.clone(),
        seed: SEED,
    };
    let post = run(&pool, &task).unwrap();
    assert!(post.faults.is_empty());
    assert_eq!(post.proofs.len(), 1);
    let sectors: Vec<_> = replicas.iter().map(|r| (r.sector_id, r.comm_r)).collect();
    let seed = Randomness(SEED);
    assert!(verify_window_post(WINDOW, MINER, seed, &sectors, &post.proofs[0].0).unwrap());
    let other = Randomness([1; 32]);
    assert!(!verify_window_post(WINDOW, MINER, other, &sectors, &post.proofs[0].0).unwrap());

    let winning = WinningPost {
        miner_id: MINER,
        proof_type: PoStProof::Winning(SIZE),
        replicas: replicas[..1].to_vec(),
        seed: SEED,
    };
    let proof = run(&pool, &winning).unwrap().proofs.remove(0).0;
    assert!(
        verify_winning_post(PoStProof::Winning(SIZE), MINER, seed, &sectors[..1], &proof).unwrap()
    );

    // one damaged inside, one lost: each named, nothing proven
    fs::write(&replicas[1].sealed_file, vec![0; 2048]).unwrap();
    let post = run(&pool, &task).unwrap();
    assert_eq!((post.proofs.len(), post.faults), (0, vec![2]));
    fs::remove_file(replicas[2].cache_dir.join("p_aux")).unwrap();
    let post = run(&pool, &task).unwrap();
    assert_eq!((post.proofs.len(), post.faults), (0, vec![3]));
    // the rest can be proven without them
    task.replicas.truncate(1);
    assert_eq!(run(&pool, &task).unwrap().proofs.len(), 1);

    task.replicas.clear();
    assert!(
        run(&pool, &task)
            .unwrap_err()
            .to_string()
            .contains("no sector to prove")
    );
    task.proof_type = PoStProof::Winning(SIZE);
    assert!(
        run(&pool, &task)
            .unwrap_err()
            .to_string()
            .contains("not a WindowPoSt")
    );
}

/// A PoSt by that kernel; how long it took, in seconds.
fn timed<T: damocles_processor::Task>(pool: &Pool, kernel: &str, task: &T) -> f64 {
    let mut computed = None;
    let done = pool.run(task, &Cancel::new(), &mut |note| {
        if let Note::Kernel(kernel) = note {
            computed = Some(kernel);
        }
    });
    let took = done.unwrap().ran.as_secs_f64();
    assert_eq!(computed.as_deref(), Some(kernel));
    took
}

#[test]
#[ignore = "prints how fast it is, beside the library; needs the parameters of 2KiB"]
fn the_provers_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    // children that stay: one that nobody asked for ends when it has had nothing to do for a while
    let [ours, library] = ["auto", "filecoin-proofs"].map(|kernel| {
        let raw = serde_json::json!({
            "window_post": [{ "kernel": kernel }],
            "winning_post": [{ "kernel": kernel }],
        });
        let raw: RawProcessors = serde_json::from_value(raw).unwrap();
        start(&raw.check().unwrap())
    });
    let kernel = match damocles_kernels::cpu::Cpu::detect().ifma {
        true => "groth-ifma",
        false => "groth-portable",
    };
    let replicas: Vec<_> = (1..3)
        .map(|number| seal(&ours, dir.path(), number))
        .collect();
    let window = WindowPost {
        miner_id: MINER,
        proof_type: WINDOW,
        replicas: replicas.clone(),
        seed: SEED,
    };
    let winning = WinningPost {
        miner_id: MINER,
        proof_type: PoStProof::Winning(SIZE),
        replicas: replicas[..1].to_vec(),
        seed: SEED,
    };
    let both = || {
        [
            timed(&ours, kernel, &window),
            timed(&library, "filecoin-proofs", &window),
            timed(&ours, kernel, &winning),
            timed(&library, "filecoin-proofs", &winning),
        ]
    };
    // the first of each child reads the parameters
    both();
    let mut runs = [(); 9].map(|()| both());
    let [window, by_library, winning, winning_by_library] = [0, 1, 2, 3].map(|side| {
        runs.sort_by(|a, b| a[side].total_cmp(&b[side]));
        runs[4][side]
    });
    println!("medians of nine in turns");
    println!(
        "window_post: {window:.2} s, {by_library:.2} s, {:.2} times as fast",
        by_library / window
    );
    println!(
        "winning_post: {winning:.2} s, {winning_by_library:.2} s, {:.2} times as fast",
        winning_by_library / winning
    );
}
