//! Whole proofs, as the stages make them: C2 of a sector, a WindowPoSt of some, or that of an update. Proofs are
//! random, so there is nothing to compare; each is accepted by the library's verifier before its
//! stage answers.

use super::{
    place::Place,
    stages::{all, task},
    turns::{Sample, Side, Subject},
};
use crate::{
    kernel::KernelChoice,
    proofs::update_proof,
    prover_id,
    serve::Progress,
    stage,
    task::{
        AddPieces, C1, C2, Pc1, Pc2, Piece, PieceFile, Replica, SnapEncode, SnapProve, Task,
        WindowPost,
    },
};
use damocles_types::{PaddedSize, PoStProof, SealProof, SectorSize};
use filecoin_proofs_api::update::generate_partition_proofs;
use serde_json::value::RawValue;
use std::{fs, path::Path, time::Instant};

const MINER: u64 = 1000;
/// Tickets and seeds are below the field's modulus.
const RANDOMNESS: [u8; 32] = [1; 32];

/// A stage and its task.
pub(super) struct Proofs {
    stage: crate::Stage,
    task: Box<RawValue>,
}

impl Proofs {
    /// C2 of a sector.
    pub(super) fn c2(
        size: SectorSize,
        place: &Place,
        tell: &dyn Fn(String),
    ) -> anyhow::Result<Self> {
        tell(format!("sealing a sector in {}", place.path().display()));
        let task = task(&C2 {
            c1out: seal(place.path(), size, 1)?.c1()?,
            prover_id: prover_id(MINER),
            sector_id: 1,
            miner_id: MINER,
        })?;
        let stage = C2::STAGE;
        Self { stage, task }.begun(tell)
    }

    /// A WindowPoSt of so many sectors.
    pub(super) fn window_post(
        size: SectorSize,
        sectors: usize,
        place: &Place,
        tell: &dyn Fn(String),
    ) -> anyhow::Result<Self> {
        tell(format!("sealing sectors in {}", place.path().display()));
        let sealed = (1..=sectors as u64).map(|number| seal(place.path(), size, number));
        let replicas = sealed.map(|sealed| sealed.map(Sealed::replica));
        let task = task(&WindowPost {
            miner_id: MINER,
            proof_type: PoStProof::WindowV1_1(size),
            replicas: replicas.collect::<anyhow::Result<_>>()?,
            seed: RANDOMNESS,
        })?;
        let stage = WindowPost::STAGE;
        Self { stage, task }.begun(tell)
    }

    /// That data was encoded into a sector without any.
    pub(super) fn snap(
        size: SectorSize,
        place: &Place,
        tell: &dyn Fn(String),
    ) -> anyhow::Result<Self> {
        tell(format!("sealing a sector in {}", place.path().display()));
        let sealed = seal(place.path(), size, 1)?;
        tell("encoding data into it".to_owned());
        let task = task(&sealed.update(place.path(), size)?)?;
        let stage = SnapProve::STAGE;
        Self { stage, task }.begun(tell)
    }

    /// Each side has made what it keeps for all later proofs.
    fn begun(mut self, tell: &dyn Fn(String)) -> anyhow::Result<Self> {
        tell("a first proof of each, with what they keep from it".to_owned());
        for side in [Side::Ours, Side::Reference] {
            self.run(side)?;
        }
        Ok(self)
    }
}

impl Subject for Proofs {
    fn run(&mut self, side: Side) -> anyhow::Result<Sample> {
        let kernel = match side {
            Side::Ours => KernelChoice::Auto,
            Side::Reference => KernelChoice::FilecoinProofs,
        };
        let handler = stage::handler(self.stage, kernel.into());
        let began = Instant::now();
        let answers = all(&handler, vec![self.task.clone()], 1)?;
        let seconds = began.elapsed().as_secs_f64();
        let kernel = answers.into_iter().next().map(|answer| answer.kernel);
        Ok(Sample {
            seconds,
            kernel: kernel.unwrap_or_default(),
        })
    }

    fn difference(&mut self) -> anyhow::Result<Option<String>> {
        Ok(None)
    }
}

/// A sealed sector of nothing but zeros.
struct Sealed {
    pc1: Pc1,
    pc2out: <Pc2 as Task>::Output,
}

fn run<T: Task>(work: &T) -> anyhow::Result<T::Output> {
    let handler = stage::handler(T::STAGE, KernelChoice::Auto.into());
    let output = handler(&task(work)?, &Progress::silent())?;
    Ok(serde_json::from_str(output.get())?)
}

fn seal(dir: &Path, size: SectorSize, number: u64) -> anyhow::Result<Sealed> {
    let dir = dir.join(number.to_string());
    fs::create_dir(&dir)?;
    let (staged, sealed, cache) = (dir.join("staged"), dir.join("sealed"), dir.join("cache"));
    let registered_proof = SealProof::interactive(size);
    let piece_infos = run(&AddPieces {
        seal_proof_type: registered_proof,
        pieces: Vec::new(),
        staged_filepath: staged.clone(),
    })?;
    let pc1 = Pc1 {
        registered_proof,
        cache_path: cache,
        in_path: staged,
        out_path: sealed,
        prover_id: prover_id(MINER),
        sector_id: number,
        ticket: RANDOMNESS,
        piece_infos,
    };
    let pc2out = run(&Pc2 {
        pc1out: run(&pc1)?,
        cache_dir: pc1.cache_path.clone(),
        sealed_file: pc1.out_path.clone(),
        staged_file: None,
    })?;
    Ok(Sealed { pc1, pc2out })
}

impl Sealed {
    fn replica(self) -> Replica {
        Replica {
            sector_id: self.pc1.sector_id,
            comm_r: self.pc2out.comm_r,
            cache_dir: self.pc1.cache_path,
            sealed_file: self.pc1.out_path,
        }
    }

    /// Data of all kinds of bytes comes into it; the task of proving that.
    fn update(self, dir: &Path, size: SectorSize) -> anyhow::Result<SnapProve> {
        let [piece, data] = ["piece", "data"].map(|name| dir.join(name));
        let (replica, cache) = (dir.join("update"), dir.join("update-cache"));
        let piece_size = PaddedSize(size.bytes()).unpadded();
        let content: Vec<u8> = (0..piece_size.0).map(|i| ((i * i) >> 3) as u8).collect();
        fs::write(&piece, content)?;
        let piece_infos = run(&AddPieces {
            seal_proof_type: self.pc1.registered_proof,
            pieces: vec![Piece {
                piece_file: PieceFile::Local(piece),
                payload_size: piece_size.0,
                piece_size,
                piece_cid: None,
            }],
            staged_filepath: data.clone(),
        })?;
        let encoded = run(&SnapEncode {
            registered_proof: size,
            new_replica_path: replica.clone(),
            new_cache_path: cache.clone(),
            sector_path: self.pc1.out_path.clone(),
            sector_cache_path: self.pc1.cache_path.clone(),
            staged_data_path: data,
            piece_infos,
        })?;
        let (comm_r_old, comm_r_new) = (self.pc2out.comm_r, encoded.comm_r_new);
        let comm_d_new = encoded.comm_d_new;
        let vanilla = generate_partition_proofs(
            update_proof(size)?,
            comm_r_old.0,
            comm_r_new.0,
            comm_d_new.0,
            self.pc1.out_path,
            self.pc1.cache_path,
            replica,
            cache,
        )?;
        Ok(SnapProve {
            registered_proof: size,
            vanilla_proofs: vanilla.into_iter().map(|proof| proof.0).collect(),
            comm_r_old,
            comm_r_new,
            comm_d_new,
        })
    }

    fn c1(self) -> anyhow::Result<<C1 as Task>::Output> {
        let pc1 = self.pc1;
        run(&C1 {
            registered_proof: pc1.registered_proof,
            cache_path: pc1.cache_path,
            sealed_file: pc1.out_path,
            prover_id: pc1.prover_id,
            sector_id: pc1.sector_id,
            ticket: pc1.ticket,
            seed: RANDOMNESS,
            pre_commit_output: self.pc2out,
            piece_infos: pc1.piece_infos,
        })
    }
}
