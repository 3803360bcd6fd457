//! The child that makes one circuit's parameters: by our own arithmetic, or by the library's
//! generator. Circuits, file names and formats are the library's either way.
//!
//! # The secrets
//! Whoever knew the numbers that parameters are made from could forge proofs. They come from the
//! system's source of randomness, are overwritten after use, and are never written anywhere; this
//! process leaves no dump behind and ends with its only task. On networks where this matters nobody
//! makes parameters by himself (`params::is_made_here`).

use super::{context::Context, groth};
use crate::{
    disk::at,
    params::{identify, porep_config, post_config},
    serve::TaskError,
    task::{Circuit, MakeParams},
};
use blstrs::{G1Projective, G2Projective, Scalar};
use damocles_kernels::cpu::Cpu;
use damocles_prover::{
    run::Run,
    setup::{self, Generators, Waste},
    synthesis,
};
use damocles_types::SectorSize;
use ff::Field;
use filecoin_proofs::{
    DefaultPieceHasher, MerkleTreeTrait, PoStType,
    parameters::{public_params, window_post_public_params, winning_post_public_params},
    with_shape,
};
use group::Group;
use rand::rngs::OsRng;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};
use storage_proofs_core::{
    compound_proof::CompoundProof,
    parameter_cache::{CacheableParameters, parameter_cache_params_path},
};
use storage_proofs_porep::stacked::{StackedCircuit, StackedCompound, StackedDrg};
use storage_proofs_post::fallback::{FallbackPoSt, FallbackPoStCircuit, FallbackPoStCompound};
use storage_proofs_update::{
    EmptySectorUpdate, PublicParams as UpdateParams, circuit::EmptySectorUpdateCircuit,
    compound::EmptySectorUpdateCompound, constants::TreeRHasher,
};

/// Makes one circuit's parameters in this process's directory.
pub(super) fn run(task: &MakeParams, context: &Context<'_>) -> Result<bool, TaskError> {
    let (bytes, size) = (task.sector_size.bytes(), task.sector_size);
    let path = parameter_cache_params_path(&identify(task.circuit, size)?);
    let to = &To { path, context };
    let done = match task.circuit {
        Circuit::PoRep => with_shape!(bytes, make_porep, size, to),
        Circuit::WinningPost => with_shape!(bytes, make_post, size, PoStType::Winning, to),
        Circuit::WindowPost => with_shape!(bytes, make_post, size, PoStType::Window, to),
        Circuit::SnapUpdate => with_shape!(bytes, make_update, size, to),
    };
    done.map(|()| true).map_err(TaskError::from)
}

/// Where parameters are written, and by whom.
struct To<'a> {
    path: PathBuf,
    context: &'a Context<'a>,
}

/// Metadata, parameters, then the verifying key, which the library reads out of them. A macro, since
/// naming the bound of the compound would take two more crates.
macro_rules! store {
    ($compound:ty, $circuit:expr, $params:expr, $to:expr) => {{
        let (circuit, params, To { path, context }) = ($circuit, $params, $to);
        <$compound>::get_param_metadata(circuit(), params)?;
        if let Some(cpu) = context.own_kernels() {
            write(path, &circuit, cpu, context)?;
        } else {
            context.filecoin_proofs_computes();
            <$compound>::get_groth_params(Some(&mut OsRng), circuit(), params)?;
        }
        <$compound>::get_verifying_key(Some(&mut OsRng), circuit(), params)?;
        Ok(())
    }};
}

/// Makes parameters by our own arithmetic. They are named and synced by who has started this
/// process.
fn write<C: synthesis::Circuit<Scalar>>(
    path: &Path,
    circuit: &(impl Fn() -> C + Sync),
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    context.computes(groth::name(cpu));
    // a dump of this process's memory would have its secrets
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, nothing)?;
    let file = File::create_new(path).map_err(at(path))?;
    let put = |place: u64, bytes: &[u8]| file.write_all_at(bytes, place).map_err(at(path));
    let percents = context.percents("points", 100);
    let told = |made: u64, all: u64| percents(made * 100 / all.max(1));
    let [tau, alpha, beta, gamma, delta] = [(); 5].map(|()| Scalar::random(OsRng));
    let waste = Waste {
        tau,
        alpha,
        beta,
        gamma,
        delta,
    };
    let generators = Generators {
        g1: G1Projective::random(OsRng),
        g2: G2Projective::random(OsRng),
    };
    setup::generate(cpu, circuit, generators, &waste, put, told, Run::whole())?;
    Ok(())
}

fn make_porep<Tree: 'static + MerkleTreeTrait>(
    size: SectorSize,
    to: &To<'_>,
) -> anyhow::Result<()> {
    let params = public_params::<Tree>(&porep_config(size))?;
    let circuit = || {
        <StackedCompound<Tree, DefaultPieceHasher> as CompoundProof<
            StackedDrg<'_, Tree, DefaultPieceHasher>,
            StackedCircuit<Tree, DefaultPieceHasher>,
        >>::blank_circuit(&params)
    };
    store!(
        StackedCompound::<Tree, DefaultPieceHasher>,
        circuit,
        &params,
        to
    )
}

fn make_post<Tree: 'static + MerkleTreeTrait>(
    size: SectorSize,
    typ: PoStType,
    to: &To<'_>,
) -> anyhow::Result<()> {
    let config = post_config(size, typ)?;
    let params = match config.typ {
        PoStType::Winning => winning_post_public_params::<Tree>(&config)?,
        PoStType::Window => window_post_public_params::<Tree>(&config)?,
    };
    let circuit = || {
        <FallbackPoStCompound<Tree> as CompoundProof<
            FallbackPoSt<'_, Tree>,
            FallbackPoStCircuit<Tree>,
        >>::blank_circuit(&params)
    };
    store!(FallbackPoStCompound::<Tree>, circuit, &params, to)
}

fn make_update<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    size: SectorSize,
    to: &To<'_>,
) -> anyhow::Result<()> {
    let params = UpdateParams::from_sector_size(size.bytes());
    let circuit = || {
        <EmptySectorUpdateCompound<Tree> as CompoundProof<
            EmptySectorUpdate<Tree>,
            EmptySectorUpdateCircuit<Tree>,
        >>::blank_circuit(&params)
    };
    store!(EmptySectorUpdateCompound::<Tree>, circuit, &params, to)
}
