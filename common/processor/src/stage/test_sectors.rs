//! Sectors of 2KiB for the tests of what is proven about them, as the stages make them.

use super::{Settings, handler};
use crate::{
    proofs::update_proof,
    serve::Progress,
    task::{
        AddPieces, Pc1, Pc2, Pc2Output, Piece, PieceFile, Replica, SnapEncode, SnapProve, Task,
        prover_id,
    },
};
use damocles_types::{PaddedSize, PieceInfo, SealProof, SectorSize};
use filecoin_proofs_api::update::generate_partition_proofs;
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(super) const SIZE: SectorSize = SectorSize::KiB2;
pub(super) const MINER: u64 = 1000;
const PROOF: SealProof = SealProof::interactive(SIZE);

pub(super) fn run<T: Task>(task: &T) -> T::Output {
    let task = serde_json::value::to_raw_value(task).unwrap();
    let answer = handler(T::STAGE, Settings::default())(&task, &Progress::silent());
    serde_json::from_str(answer.unwrap().get()).unwrap()
}

/// One without data, in a directory of its own.
pub(super) struct Sector {
    dir: PathBuf,
    number: u64,
    pc2: Pc2Output,
}

fn add(staged: PathBuf, pieces: Vec<Piece>) -> Vec<PieceInfo> {
    run(&AddPieces {
        seal_proof_type: PROOF,
        pieces,
        staged_filepath: staged,
    })
}

pub(super) fn seal(dir: &Path, number: u64) -> Sector {
    let dir = dir.join(number.to_string());
    fs::create_dir(&dir).unwrap();
    let pc1out = run(&Pc1 {
        registered_proof: PROOF,
        cache_path: dir.join("cache"),
        in_path: dir.join("staged"),
        out_path: dir.join("sealed"),
        prover_id: prover_id(MINER),
        sector_id: number,
        ticket: [1; 32],
        piece_infos: add(dir.join("staged"), Vec::new()),
    });
    let pc2 = run(&Pc2 {
        pc1out,
        cache_dir: dir.join("cache"),
        sealed_file: dir.join("sealed"),
        staged_file: None,
    });
    Sector { dir, number, pc2 }
}

impl Sector {
    pub(super) fn replica(&self) -> Replica {
        Replica {
            sector_id: self.number,
            comm_r: self.pc2.comm_r,
            cache_dir: self.dir.join("cache"),
            sealed_file: self.dir.join("sealed"),
        }
    }

    /// Encodes data into it; the task of proving that.
    pub(super) fn update(&self) -> SnapProve {
        let path = |name: &str| self.dir.join(name);
        let data: Vec<u8> = (0..2032_u32).map(|i| ((i * i) >> 3) as u8).collect();
        fs::write(path("piece"), &data).unwrap();
        let piece = Piece {
            piece_file: PieceFile::Local(path("piece")),
            payload_size: data.len() as u64,
            piece_size: PaddedSize(SIZE.bytes()).unpadded(),
            piece_cid: None,
        };
        let encoded = run(&SnapEncode {
            registered_proof: SIZE,
            new_replica_path: path("update"),
            new_cache_path: path("update-cache"),
            sector_path: path("sealed"),
            sector_cache_path: path("cache"),
            staged_data_path: path("data"),
            piece_infos: add(path("data"), vec![piece]),
        });
        let vanilla = generate_partition_proofs(
            update_proof(SIZE).unwrap(),
            self.pc2.comm_r.0,
            encoded.comm_r_new.0,
            encoded.comm_d_new.0,
            path("sealed"),
            path("cache"),
            path("update"),
            path("update-cache"),
        );
        SnapProve {
            registered_proof: SIZE,
            vanilla_proofs: vanilla.unwrap().into_iter().map(|proof| proof.0).collect(),
            comm_r_old: self.pc2.comm_r,
            comm_r_new: encoded.comm_r_new,
            comm_d_new: encoded.comm_d_new,
        }
    }
}
