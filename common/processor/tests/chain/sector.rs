//! A sector on its way through the stages, each in a real child.

use damocles_processor::{
    Cancel, Opaque, Pool, Processors, Stage, StartOptions, prover_id,
    task::{AddPieces, C1, Pc1, Pc2, Pc2Output, Piece, PieceFile, SynthProof},
};
use damocles_types::{PaddedSize, PieceInfo, SealProof, SectorSize, proof::SealVersion};
use std::{fs, path::PathBuf};

pub(crate) const PROOF: SealProof = SealProof::interactive(SectorSize::KiB2);
pub(crate) const MINER: u64 = 1000;

/// A sector of 2KiB in a directory of its own.
pub(crate) struct Sector {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) pool: Pool,
    pub(crate) number: u64,
    pub(crate) proof: SealProof,
}

pub(crate) fn start(processors: &Processors) -> Pool {
    let options = StartOptions::of(env!("CARGO_BIN_EXE_processor-child"));
    Pool::start(&Stage::ALL, processors, &options).unwrap()
}

impl Sector {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            pool: start(&Processors::default()),
            number,
            proof: PROOF,
        }
    }

    /// One whose challenges are answered beforehand.
    pub(crate) fn synthetic(number: u64) -> Self {
        let proof = SealProof {
            version: SealVersion::V1_1Synthetic,
            ..PROOF
        };
        Self {
            proof,
            ..Self::new(number)
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn run<T: damocles_processor::Task>(&self, task: &T) -> T::Output {
        self.pool
            .run(task, &Cancel::new(), &mut |_| {})
            .unwrap()
            .output
    }

    pub(crate) fn add_pieces(&self, pieces: Vec<Piece>) -> Vec<PieceInfo> {
        self.run(&AddPieces {
            seal_proof_type: self.proof,
            pieces,
            staged_filepath: self.path("staged"),
        })
    }

    /// Data that fills a sector, with zeros behind it.
    pub(crate) fn piece(&self, data: &[u8]) -> Piece {
        let file = self.path("piece");
        fs::write(&file, data).unwrap();
        Piece {
            piece_file: PieceFile::Local(file),
            payload_size: data.len() as u64,
            piece_size: PaddedSize(2048).unpadded(),
            piece_cid: None,
        }
    }

    pub(crate) fn pc1(&self, ticket: u8, piece_infos: &[PieceInfo]) -> Pc1 {
        Pc1 {
            registered_proof: self.proof,
            cache_path: self.path("cache"),
            in_path: self.path("staged"),
            out_path: self.path("sealed"),
            prover_id: prover_id(MINER),
            sector_id: self.number,
            ticket: [ticket; 32],
            piece_infos: piece_infos.to_vec(),
        }
    }

    pub(crate) fn pc2(&self, pc1out: Opaque) -> Pc2 {
        Pc2 {
            pc1out,
            cache_dir: self.path("cache"),
            sealed_file: self.path("sealed"),
            staged_file: Some(self.path("staged")),
        }
    }

    pub(crate) fn c1(
        &self,
        ticket: u8,
        pre_commit_output: Pc2Output,
        piece_infos: &[PieceInfo],
    ) -> C1 {
        C1 {
            registered_proof: self.proof,
            cache_path: self.path("cache"),
            sealed_file: self.path("sealed"),
            prover_id: prover_id(MINER),
            sector_id: self.number,
            ticket: [ticket; 32],
            seed: [7; 32],
            pre_commit_output,
            piece_infos: piece_infos.to_vec(),
        }
    }

    pub(crate) fn synth_proof(
        &self,
        ticket: u8,
        pre_commit_output: Pc2Output,
        piece_infos: &[PieceInfo],
    ) -> SynthProof {
        SynthProof {
            registered_proof: self.proof,
            cache_path: self.path("cache"),
            sealed_file: self.path("sealed"),
            prover_id: prover_id(MINER),
            sector_id: self.number,
            ticket: [ticket; 32],
            pre_commit_output,
            piece_infos: piece_infos.to_vec(),
        }
    }
}
