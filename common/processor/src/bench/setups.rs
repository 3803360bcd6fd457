//! The parameters of a size's circuits, each side from the same secrets, so that their files are
//! equal.

use super::{
    compare::difference,
    parts::BELLPERSON,
    place::Place,
    turns::{Sample, Side, Subject},
};
use crate::{
    disk::at,
    params,
    stage::{self, WithCircuit, secrets, with_circuit},
    task,
};
use blstrs::Scalar;
use damocles_kernels::cpu::Cpu;
use damocles_prover::{
    reference,
    run::Run,
    setup::{self, Generators, Waste},
    synthesis::Circuit,
};
use damocles_types::SectorSize;
use std::{
    cell::Cell,
    fs::{self, File},
    io::BufWriter,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::Instant,
};
use storage_proofs_core::parameter_cache::{
    CacheableParameters, ParameterSetMetadata, parameter_id,
};

pub(super) struct Setups {
    circuits: Vec<task::Circuit>,
    size: SectorSize,
    waste: Waste,
    generators: Generators,
    ours: PathBuf,
    reference: PathBuf,
}

/// Makes one circuit's file.
struct Making<'a> {
    setups: &'a Setups,
    side: Side,
    seconds: Cell<f64>,
}

impl Setups {
    /// Of one circuit, or of all that every miner needs.
    pub(super) fn new(one: Option<task::Circuit>, size: SectorSize, place: &Place) -> Self {
        let (waste, generators) = secrets();
        Self {
            circuits: one.map_or_else(|| params::circuits(false), |one| vec![one]),
            size,
            waste,
            generators,
            ours: place.path().join("ours"),
            reference: place.path().join("reference"),
        }
    }
}

impl WithCircuit for Making<'_> {
    fn with<K, C, P>(&self, circuit: impl Fn() -> C + Sync, params: &P) -> anyhow::Result<()>
    where
        K: CacheableParameters<C, P>,
        C: Circuit<Scalar>,
        P: ParameterSetMetadata,
    {
        let Setups {
            waste, generators, ..
        } = self.setups;
        let dir = match self.side {
            Side::Ours => &self.setups.ours,
            Side::Reference => &self.setups.reference,
        };
        let path = dir.join(parameter_id(&K::cache_identifier(params)));
        let file = File::create_new(&path).map_err(at(&path))?;
        let began = Instant::now();
        match self.side {
            Side::Ours => {
                let put = |place: u64, bytes: &[u8]| file.write_all_at(bytes, place);
                let told = |_, _| ();
                let (cpu, run) = (Cpu::detect(), Run::whole());
                setup::generate(cpu, circuit, *generators, waste, put, told, run)?;
            }
            Side::Reference => {
                let made = reference::generate(circuit(), *generators, waste)?;
                made.write(BufWriter::new(file))?;
            }
        }
        self.seconds
            .set(self.seconds.get() + began.elapsed().as_secs_f64());
        Ok(())
    }
}

impl Subject for Setups {
    fn run(&mut self, side: Side) -> anyhow::Result<Sample> {
        let (dir, kernel) = match side {
            Side::Ours => (&self.ours, stage::prover_name(Cpu::detect())),
            Side::Reference => (&self.reference, BELLPERSON),
        };
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(at(dir))?;
        }
        fs::create_dir(dir).map_err(at(dir))?;
        let making = Making {
            setups: self,
            side,
            seconds: Cell::new(0.0),
        };
        for circuit in &self.circuits {
            with_circuit(*circuit, self.size, &making)?;
        }
        Ok(Sample {
            seconds: making.seconds.get(),
            kernel: kernel.to_owned(),
        })
    }

    fn difference(&mut self) -> anyhow::Result<Option<String>> {
        Ok(difference(&self.ours, &self.reference)?)
    }
}
