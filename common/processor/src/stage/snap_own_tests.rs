//! Proofs of updates beside bellperson's, bit by bit, and what becomes of tasks that are wrong.

use super::*;
use crate::{
    kernel::KernelChoice,
    serve::Progress,
    stage::{
        Settings, handler,
        test_sectors::{SIZE, run, seal},
    },
    task::{SnapProve, Task},
};
use bellperson::groth16::create_proof;
use damocles_prover::parameters::Parameters;
use damocles_types::{Commitment, Level};
use filecoin_proofs::SectorShape2KiB;
use storage_proofs_core::parameter_cache::{parameter_cache_params_path, read_cached_params};

#[test]
#[ignore = "needs the parameters of 2KiB, those of updates too"]
fn proofs_are_bellpersons_bit_by_bit_where_the_randomness_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let task = seal(dir.path(), 1).update();
    let vanilla: Vec<_> = task
        .vanilla_proofs
        .iter()
        .cloned()
        .map(PartitionProofBytes)
        .collect();
    let asked = Asked {
        size: SIZE,
        vanilla: &vanilla,
        comm_r_old: task.comm_r_old.0,
        comm_r_new: task.comm_r_new.0,
        comm_d_new: task.comm_d_new.0,
    };
    let circuits = || circuits::<SectorShape2KiB>(asked).unwrap();
    let id = crate::params::identify(Circuit::SnapUpdate, SIZE).unwrap();
    let mapped = read_cached_params(&parameter_cache_params_path(&id)).unwrap();
    let (r, s) = (7.into(), 11.into());
    let mut theirs = Vec::new();
    for circuit in circuits() {
        let proof = create_proof(circuit, &mapped, r, s).unwrap();
        proof.write(&mut theirs).unwrap();
    }
    let settings = Settings::default();
    let context = Context {
        settings: &settings,
        progress: &Progress::silent(),
    };
    for cpu in [Cpu::PORTABLE, Cpu::detect()] {
        let parameters = Parameters::of(cpu, &mapped).unwrap();
        let circuits = circuits().into_iter().map(Ok);
        let whole = Synthesis::Whole;
        let fixed = || Blinding { r, s };
        let ours = groth::prove_partitions(circuits, whole, &parameters, cpu, fixed, &context);
        assert_eq!(ours.unwrap(), theirs, "{cpu:?}");
    }
}

#[test]
#[ignore = "needs the parameters of 2KiB, those of updates too"]
fn both_kernels_prove_updates_and_refuse_what_is_not_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let task = seal(dir.path(), 1).update();
    // the stage has verified it
    assert_eq!(run(&task).len(), 192);
    let refused = |task: &SnapProve, kernel: KernelChoice| {
        let task = serde_json::value::to_raw_value(task).unwrap();
        let answer = handler(SnapProve::STAGE, kernel.into())(&task, &Progress::silent());
        let error = answer.unwrap_err();
        assert_eq!(error.level, Level::Permanent, "{error}");
        error.to_string()
    };
    for kernel in KernelChoice::ALL {
        let task_json = serde_json::value::to_raw_value(&task).unwrap();
        let progress = Progress::silent();
        handler(SnapProve::STAGE, kernel.into())(&task_json, &progress).unwrap();
        let expected = match kernel {
            KernelChoice::Auto => groth::name(Cpu::detect()),
            KernelChoice::FilecoinProofs => kernel.name(),
        };
        assert_eq!(progress.computed_by().as_deref(), Some(expected));

        let mut other = task.clone();
        other.comm_r_new = Commitment([3; 32]);
        let error = refused(&other, kernel);
        assert!(error.contains("not of this update"), "{error}");
        let mut none = task.clone();
        none.vanilla_proofs.clear();
        let error = refused(&none, kernel);
        assert!(error.contains("number of partition proofs"), "{error}");
        let mut cut = task.clone();
        cut.vanilla_proofs[0].truncate(100);
        refused(&cut, kernel);
    }
}
