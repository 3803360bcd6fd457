//! PoSts by our prover beside bellperson's, bit by bit. (`tests/post.rs` has what the library's
//! verifier says of them.)

use super::*;
use crate::{
    kind::Stage,
    proofs::post_proof,
    serve::Progress,
    stage::{
        Settings,
        test_sectors::{MINER, SIZE, seal},
    },
    task::prover_id,
};
use bellperson::groth16::create_proof;
use damocles_prover::parameters::Parameters;
use damocles_types::PoStProof;
use filecoin_proofs::SectorShape2KiB;
use storage_proofs_core::parameter_cache::{parameter_cache_params_path, read_cached_params};

#[test]
#[ignore = "needs the parameters of 2KiB"]
fn proofs_are_bellpersons_bit_by_bit_where_the_randomness_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    // in another order than the circuits have them
    let replicas: Vec<_> = [3, 1, 2]
        .map(|number| seal(dir.path(), number).replica())
        .into();
    let blinding = Blinding {
        r: 7.into(),
        s: 11.into(),
    };
    for (kind, stage, count, partitions) in [
        (PoStProof::WindowV1_1(SIZE), Stage::WindowPost, 3, 2),
        (PoStProof::Winning(SIZE), Stage::WinningPost, 1, 1),
    ] {
        let asked = Asked {
            proof: post_proof(kind).unwrap(),
            seed: &[9; 32],
            prover: prover_id(MINER),
            replicas: &replicas[..count],
        };
        let circuits = circuits::<SectorShape2KiB>(asked).unwrap();
        assert_eq!(circuits.len(), partitions, "{stage}");
        let (circuit, size) = circuit_of(asked.proof).unwrap();
        let id = crate::params::identify(circuit, size).unwrap();
        let mapped = read_cached_params(&parameter_cache_params_path(&id)).unwrap();
        let mut theirs = Vec::new();
        for circuit in circuits.clone() {
            let proof = create_proof(circuit, &mapped, blinding.r, blinding.s).unwrap();
            proof.write(&mut theirs).unwrap();
        }
        let settings = Settings::default();
        let context = Context {
            settings: &settings,
            progress: &Progress::silent(),
        };
        for cpu in [Cpu::PORTABLE, Cpu::detect()] {
            let parameters = Parameters::of(cpu, &mapped).unwrap();
            let circuits = circuits.clone().into_iter().map(Ok);
            let parts = Synthesis::InParts;
            let fixed = || blinding;
            let ours = groth::prove_partitions(circuits, parts, &parameters, cpu, fixed, &context);
            assert_eq!(ours.unwrap(), theirs, "{stage} {cpu:?}");
        }
    }
}
