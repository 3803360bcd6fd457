//! Sectors with synthetic proofs: the layers go before the chain has a precommit, and C1 and C2 answer
//! all the same.

use crate::sector::{MINER, Sector};
use damocles_processor::{
    Cancel, ProcessorError,
    footprint::Part,
    prover_id,
    task::{C2, Pc2Output, SynthProof},
};
use damocles_types::{Level, PieceInfo};
use std::fs;

const FILE: &str = "cache/syn-porep-vanilla-proofs.dat";

/// Sealed up to PC2.
fn sealed(number: u64) -> (Sector, Vec<PieceInfo>, Pc2Output) {
    let s = Sector::synthetic(number);
    let infos = s.add_pieces(vec![s.piece(b"what a client stores")]);
    let pc1 = s.run(&s.pc1(1, &infos));
    let pc2 = s.run(&s.pc2(pc1));
    (s, infos, pc2)
}

fn names(s: &Sector) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(s.path("cache"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[test]
fn a_sector_answers_any_seed_without_its_layers_and_its_proof_verifies() {
    let (s, infos, pc2) = sealed(21);
    let task = s.synth_proof(1, pc2, &infos);
    // whatever is asked twice has the same end
    for _ in 0..2 {
        assert!(s.run(&task));
        assert_eq!(
            names(&s),
            [
                "p_aux",
                "sc-02-data-tree-r-last.dat",
                "syn-porep-vanilla-proofs.dat",
                "t_aux"
            ]
        );
    }
    let length = fs::metadata(s.path(FILE)).unwrap().len();
    assert!(
        length > 0 && length <= Part::Synthetic.bytes(s.proof.size),
        "{length}"
    );
    let c1out = s.run(&s.c1(1, pc2, &infos));
    let c2 = C2 {
        c1out,
        prover_id: prover_id(MINER),
        sector_id: 21,
        miner_id: MINER,
    };
    // C2 verifies what it has made
    assert_eq!(s.run(&c2).proof.len(), 192);
}

#[test]
fn a_run_that_was_killed_while_it_wrote_or_while_it_cleared_comes_to_the_same_end() {
    let (s, infos, pc2) = sealed(22);
    let task = s.synth_proof(1, pc2, &infos);
    fs::write(s.path(FILE), b"half").unwrap();
    s.run(&task);
    let whole = fs::read(s.path(FILE)).unwrap();
    assert!(whole.len() > 4);
    // a layer that was still to go
    fs::write(s.path("cache/sc-02-data-layer-1.dat"), b"x").unwrap();
    s.run(&task);
    assert_eq!(fs::read(s.path(FILE)).unwrap(), whole);
    assert!(!s.path("cache/sc-02-data-layer-1.dat").exists());
}

#[test]
fn answers_of_another_replica_count_for_nothing() {
    let (s, infos, pc2) = sealed(23);
    s.run(&s.synth_proof(1, pc2, &infos));
    // as if the sector were another one: the layers are gone, so it cannot be answered for
    let mut other = s.synth_proof(2, pc2, &infos);
    let failed = |task: &SynthProof| s.pool.run(task, &Cancel::new(), &mut |_| {}).unwrap_err();
    assert!(matches!(failed(&other), ProcessorError::Task { .. }));
    assert!(!s.path(FILE).exists(), "nothing answers for it");
    other.registered_proof = crate::sector::PROOF;
    let error = failed(&other);
    assert!(error.to_string().contains("no synthetic proofs"), "{error}");
    assert_eq!(error.failure().unwrap().level, Level::Permanent);
}
