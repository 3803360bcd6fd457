//! The child that makes one circuit's parameters, by our own arithmetic or by the library's
//! generator, or the reference string of aggregates. Circuits, file names and formats are the library's either way.
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
    task::{self, MakeParams},
};
use blstrs::{G1Projective, G2Projective, Scalar};
use damocles_kernels::cpu::Cpu;
use damocles_prover::{
    run::Run,
    setup::{self, Generators, Waste},
    synthesis::Circuit,
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
    parameter_cache::{CacheableParameters, ParameterSetMetadata, parameter_cache_params_path},
};
use storage_proofs_porep::stacked::{StackedCircuit, StackedCompound, StackedDrg};
use storage_proofs_post::fallback::{FallbackPoSt, FallbackPoStCircuit, FallbackPoStCompound};
use storage_proofs_update::{
    EmptySectorUpdate, PublicParams as UpdateParams, circuit::EmptySectorUpdateCircuit,
    compound::EmptySectorUpdateCompound, constants::TreeRHasher,
};

/// Makes it in this process's directory.
pub(super) fn run(task: &MakeParams, context: &Context<'_>) -> Result<bool, TaskError> {
    match *task {
        MakeParams::Circuit {
            circuit,
            sector_size,
        } => {
            let path = parameter_cache_params_path(&identify(circuit, sector_size)?);
            with_circuit(circuit, sector_size, &Maker { path, context })?;
        }
        MakeParams::ReferenceString { proofs } => {
            context.filecoin_proofs_computes();
            let proofs = usize::try_from(proofs).map_err(TaskError::permanent)?;
            // it is the same for every circuit, and the library wants to see one
            let maker = StringMaker { proofs };
            with_circuit(task::Circuit::PoRep, SectorSize::KiB2, &maker)?;
        }
    }
    Ok(true)
}

/// A dump of this process's memory would have its secrets.
fn dump_nothing() -> std::io::Result<()> {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, nothing)?)
}

/// Makes the reference string of aggregates: powers of two secrets, which the library draws and
/// forgets.
struct StringMaker {
    proofs: usize,
}

impl WithCircuit for StringMaker {
    fn with<K, C, P>(&self, circuit: impl Fn() -> C + Sync, params: &P) -> anyhow::Result<()>
    where
        K: CacheableParameters<C, P>,
        C: Circuit<Scalar>,
        P: ParameterSetMetadata,
    {
        dump_nothing()?;
        K::get_inner_product(Some(&mut OsRng), circuit(), params, self.proofs)?;
        Ok(())
    }
}

/// Whoever has something to do with a circuit without values.
pub(crate) trait WithCircuit {
    /// `K` names the circuit's parameters, `circuit` makes it.
    fn with<K, C, P>(&self, circuit: impl Fn() -> C + Sync, params: &P) -> anyhow::Result<()>
    where
        K: CacheableParameters<C, P>,
        C: Circuit<Scalar>,
        P: ParameterSetMetadata;
}

/// Makes what the library looks for: metadata, parameters, then the verifying key, which it reads
/// out of them itself.
struct Maker<'a> {
    path: PathBuf,
    context: &'a Context<'a>,
}

impl WithCircuit for Maker<'_> {
    fn with<K, C, P>(&self, circuit: impl Fn() -> C + Sync, params: &P) -> anyhow::Result<()>
    where
        K: CacheableParameters<C, P>,
        C: Circuit<Scalar>,
        P: ParameterSetMetadata,
    {
        K::get_param_metadata(circuit(), params)?;
        if let Some(cpu) = self.context.own_kernels() {
            write(&self.path, &circuit, cpu, self.context)?;
        } else {
            self.context.filecoin_proofs_computes();
            K::get_groth_params(Some(&mut OsRng), circuit(), params)?;
        }
        K::get_verifying_key(Some(&mut OsRng), circuit(), params)?;
        Ok(())
    }
}

/// Makes parameters by our own arithmetic. They are named and synced by who has started this
/// process.
fn write<C: Circuit<Scalar>>(
    path: &Path,
    circuit: &(impl Fn() -> C + Sync),
    cpu: Cpu,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    context.computes(groth::name(cpu));
    dump_nothing()?;
    let file = File::create_new(path).map_err(at(path))?;
    let put = |place: u64, bytes: &[u8]| file.write_all_at(bytes, place).map_err(at(path));
    let percents = context.percents("points", 100);
    let told = |made: u64, all: u64| percents(made * 100 / all.max(1));
    let (waste, generators) = secrets();
    setup::generate(cpu, circuit, generators, &waste, put, told, Run::whole())?;
    Ok(())
}

/// New ones.
pub(crate) fn secrets() -> (Waste, Generators) {
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
    (waste, generators)
}

/// Shows somebody a circuit.
pub(crate) fn with_circuit(
    circuit: task::Circuit,
    size: SectorSize,
    with: &impl WithCircuit,
) -> anyhow::Result<()> {
    let bytes = size.bytes();
    match circuit {
        task::Circuit::PoRep => with_shape!(bytes, porep, size, with),
        task::Circuit::WinningPost => with_shape!(bytes, post, size, PoStType::Winning, with),
        task::Circuit::WindowPost => with_shape!(bytes, post, size, PoStType::Window, with),
        task::Circuit::SnapUpdate => with_shape!(bytes, update, size, with),
    }
}

fn porep<Tree: 'static + MerkleTreeTrait>(
    size: SectorSize,
    with: &impl WithCircuit,
) -> anyhow::Result<()> {
    type Compound<Tree> = StackedCompound<Tree, DefaultPieceHasher>;
    let params = public_params::<Tree>(&porep_config(size))?;
    let circuit = || {
        <Compound<Tree> as CompoundProof<
            StackedDrg<'_, Tree, DefaultPieceHasher>,
            StackedCircuit<Tree, DefaultPieceHasher>,
        >>::blank_circuit(&params)
    };
    with.with::<Compound<Tree>, _, _>(circuit, &params)
}

fn post<Tree: 'static + MerkleTreeTrait>(
    size: SectorSize,
    typ: PoStType,
    with: &impl WithCircuit,
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
    with.with::<FallbackPoStCompound<Tree>, _, _>(circuit, &params)
}

fn update<Tree: 'static + MerkleTreeTrait<Hasher = TreeRHasher>>(
    size: SectorSize,
    with: &impl WithCircuit,
) -> anyhow::Result<()> {
    let params = UpdateParams::from_sector_size(size.bytes());
    let circuit = || {
        <EmptySectorUpdateCompound<Tree> as CompoundProof<
            EmptySectorUpdate<Tree>,
            EmptySectorUpdateCircuit<Tree>,
        >>::blank_circuit(&params)
    };
    with.with::<EmptySectorUpdateCompound<Tree>, _, _>(circuit, &params)
}
