//! Sectors that exist before the chain does: sealed with the real proofs library (PC1 and
//! PC2, no SNARK, for nobody asks genesis for one), and laid out as a persist store.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, anyhow};
use cid::Cid;
use filecoin_proofs_api as api;
use fvm_shared::ActorID;
use fvm_shared::commcid;
use fvm_shared::piece::{PaddedPieceSize, zero_piece_commitment};
use fvm_shared::sector::{RegisteredSealProof, SectorNumber};

use crate::proofs::prover_id;
use crate::randomness::blake2b256;

/// Directory of the persist store under the network's home.
pub const DIRECTORY: &str = "presealed";
/// A line about the progress is written after every so many sectors.
const PROGRESS_EVERY: u64 = 25;

/// A sector whose replica lies in the persist store.
#[derive(Clone, Debug)]
pub struct Presealed {
    pub number: SectorNumber,
    pub comm_r: Cid,
}

/// Where the replica of a sector lies.
pub fn sealed_file(store: &Path, miner: ActorID, sector: SectorNumber) -> PathBuf {
    store.join("sealed").join(sector_name(miner, sector))
}

/// Where the trees of a sector lie.
pub fn cache_dir(store: &Path, miner: ActorID, sector: SectorNumber) -> PathBuf {
    store.join("cache").join(sector_name(miner, sector))
}

fn sector_name(miner: ActorID, sector: SectorNumber) -> String {
    format!("s-t0{miner}-{sector}")
}

/// Ticket of a presealed sector: a function of the seed, for there is no chain yet.
pub fn ticket(seed: &[u8; 32], sector: SectorNumber) -> [u8; 32] {
    let mut input = seed.to_vec();
    input.extend_from_slice(b"preseal");
    input.extend_from_slice(&sector.to_be_bytes());
    blake2b256(&input)
}

/// Seals sectors 0..count of zeros, as many at once as there are cores.
pub fn seal(
    store: &Path,
    proof: RegisteredSealProof,
    miner: ActorID,
    count: u64,
    seed: &[u8; 32],
) -> anyhow::Result<Vec<Presealed>> {
    for dir in ["sealed", "cache"] {
        let dir = store.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sealed = std::thread::scope(|scope| {
        let worker = || -> anyhow::Result<Vec<Presealed>> {
            let mut mine = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(mine);
                }
                mine.push(
                    seal_one(store, proof, miner, number, seed)
                        .with_context(|| format!("presealing sector {number}"))?,
                );
                let finished = done.fetch_add(1, Ordering::Relaxed) + 1;
                if finished.is_multiple_of(PROGRESS_EVERY) || finished == count {
                    tracing::info!("presealed {finished} of {count} sectors");
                }
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for handle in handles {
            let mine = handle
                .join()
                .map_err(|_| anyhow!("a presealing thread panicked"))??;
            all.extend(mine);
        }
        anyhow::Ok(all)
    })?;
    sealed.sort_by_key(|s| s.number);
    Ok(sealed)
}

fn seal_one(
    store: &Path,
    proof: RegisteredSealProof,
    miner: ActorID,
    number: SectorNumber,
    seed: &[u8; 32],
) -> anyhow::Result<Presealed> {
    let size = proof.sector_size().map_err(|e| anyhow!(e))? as u64;
    let replica = sealed_file(store, miner, number);
    let cache = cache_dir(store, miner, number);
    // what an interrupted run left would be taken for finished layers
    if cache.exists() {
        fs::remove_dir_all(&cache)?;
    }
    fs::create_dir_all(&cache)?;
    let staged = replica.with_extension("staged");
    fs::File::create(&staged)?.set_len(size)?;
    fs::File::create(&replica)?.set_len(size)?;

    let padded = PaddedPieceSize(size);
    let piece = api::PieceInfo::new(zero_piece_commitment(padded), padded.unpadded().into())?;
    let registered: api::RegisteredSealProof = proof.try_into().map_err(|e: String| anyhow!(e))?;
    let phase1 = api::seal::seal_pre_commit_phase1(
        registered,
        &cache,
        &staged,
        &replica,
        prover_id(miner),
        number.into(),
        ticket(seed, number),
        &[piece],
    )?;
    let output = api::seal::seal_pre_commit_phase2(phase1, &cache, &replica)?;
    api::seal::clear_cache(&cache)?;
    fs::remove_file(&staged)?;
    Ok(Presealed {
        number,
        comm_r: commcid::replica_commitment_v1_to_cid(&output.comm_r).map_err(|e| anyhow!(e))?,
    })
}
