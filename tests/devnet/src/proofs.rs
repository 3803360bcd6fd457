//! Verification of seal, aggregate and PoSt proofs with the proofs library, as the
//! Filecoin VM does it for the miner actor, and the CommD that pieces imply.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, anyhow, bail, ensure};
use cid::Cid;
use filecoin_proofs_api as api;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::commcid;
use fvm_shared::piece::{PaddedPieceSize, PieceInfo, zero_piece_commitment};
use fvm_shared::randomness::Randomness;
use fvm_shared::sector::{
    AggregateSealVerifyProofAndInfos, PoStProof, RegisteredPoStProof, RegisteredSealProof,
    SealVerifyInfo, SectorNumber, WindowPoStVerifyInfo,
};

/// What the miner actor asks of the machine that it runs on.
pub trait Verifier: Send + Sync + std::fmt::Debug {
    /// Whether a seal proof holds; malformed input counts as not.
    fn seal(&self, info: &SealVerifyInfo) -> bool;
    /// Whether an aggregate of seal proofs holds.
    fn aggregate(&self, info: &AggregateSealVerifyProofAndInfos) -> bool;
    /// Whether a WindowPoSt holds.
    fn window_post(&self, info: &WindowPoStVerifyInfo) -> bool;
    /// Whether a WinningPoSt holds.
    fn winning_post(&self, info: &WinningPost<'_>) -> bool;
}

/// A WinningPoSt with what it must hold for.
#[derive(Clone, Copy, Debug)]
pub struct WinningPost<'a> {
    pub miner: ActorID,
    pub randomness: [u8; 32],
    pub proofs: &'a [PoStProof],
    /// The challenged sectors with their sealed CIDs.
    pub sectors: &'a [(SectorNumber, Cid)],
}

/// The proofs library. Reads verifying keys from the parameter cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealVerifier;

impl Verifier for RealVerifier {
    fn seal(&self, info: &SealVerifyInfo) -> bool {
        verdict("seal proof", || verify_seal(info))
    }

    fn aggregate(&self, info: &AggregateSealVerifyProofAndInfos) -> bool {
        verdict("aggregate seal proof", || verify_aggregate(info))
    }

    fn window_post(&self, info: &WindowPoStVerifyInfo) -> bool {
        verdict("WindowPoSt", || verify_window_post(info))
    }

    fn winning_post(&self, info: &WinningPost<'_>) -> bool {
        verdict("WinningPoSt", || verify_winning_post(info))
    }
}

/// An error or a panic of the library is a "no" that is told why in the log; the VM treats
/// it so, and an operator whose verifying key is missing must be able to find out.
fn verdict(what: &str, check: impl FnOnce() -> anyhow::Result<bool>) -> bool {
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(Ok(valid)) => valid,
        Ok(Err(error)) => {
            tracing::warn!("{what} could not be verified and counts as wrong: {error:#}");
            false
        }
        Err(_) => {
            tracing::error!("verifying a {what} panicked; it counts as wrong");
            false
        }
    }
}

/// The 32 bytes under which the proofs know a miner.
pub fn prover_id(miner: ActorID) -> api::ProverId {
    let mut id = api::ProverId::default();
    let bytes = Address::new_id(miner).payload_bytes();
    id[..bytes.len()].copy_from_slice(&bytes);
    id
}

fn bytes_32(randomness: &Randomness) -> anyhow::Result<[u8; 32]> {
    randomness
        .0
        .as_slice()
        .try_into()
        .context("randomness is not 32 bytes long")
}

/// Challenge seeds must be elements of the curve's scalar field.
pub fn post_randomness(mut randomness: [u8; 32]) -> [u8; 32] {
    randomness[31] &= 0x3f;
    randomness
}

fn text(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

fn verify_seal(info: &SealVerifyInfo) -> anyhow::Result<bool> {
    api::seal::verify_seal(
        info.registered_proof.try_into().map_err(text)?,
        commcid::cid_to_replica_commitment_v1(&info.sealed_cid).map_err(text)?,
        commcid::cid_to_data_commitment_v1(&info.unsealed_cid).map_err(text)?,
        prover_id(info.sector_id.miner),
        info.sector_id.number.into(),
        bytes_32(&info.randomness)?,
        bytes_32(&info.interactive_randomness)?,
        &info.proof,
    )
}

fn verify_aggregate(aggregate: &AggregateSealVerifyProofAndInfos) -> anyhow::Result<bool> {
    ensure!(!aggregate.infos.is_empty(), "no sectors in the aggregate");
    let proof: api::RegisteredSealProof = aggregate.seal_proof.try_into().map_err(text)?;
    let prover = prover_id(aggregate.miner);
    let mut comm_rs = Vec::with_capacity(aggregate.infos.len());
    let mut seeds = Vec::with_capacity(aggregate.infos.len());
    let mut inputs = Vec::new();
    for info in &aggregate.infos {
        let comm_r = commcid::cid_to_replica_commitment_v1(&info.sealed_cid).map_err(text)?;
        let comm_d = commcid::cid_to_data_commitment_v1(&info.unsealed_cid).map_err(text)?;
        let seed = bytes_32(&info.interactive_randomness)?;
        inputs.extend(api::seal::get_seal_inputs(
            proof,
            comm_r,
            comm_d,
            prover,
            info.sector_number.into(),
            bytes_32(&info.randomness)?,
            seed,
        )?);
        comm_rs.push(comm_r);
        seeds.push(seed);
    }
    api::seal::verify_aggregate_seal_commit_proofs(
        proof,
        aggregate.aggregate_proof.try_into().map_err(text)?,
        aggregate.proof.clone(),
        &comm_rs,
        &seeds,
        inputs,
    )
}

fn verify_window_post(info: &WindowPoStVerifyInfo) -> anyhow::Result<bool> {
    let Some(first) = info.proofs.first() else {
        bail!("no proof given");
    };
    let proof_type: api::RegisteredPoStProof = first.post_proof.try_into().map_err(text)?;
    let mut replicas = BTreeMap::new();
    for sector in &info.challenged_sectors {
        let window = sector.proof.registered_window_post_proof().map_err(text)?;
        ensure!(
            window == first.post_proof,
            "sector {} is of another proof type",
            sector.sector_number
        );
        let comm_r = commcid::cid_to_replica_commitment_v1(&sector.sealed_cid).map_err(text)?;
        replicas.insert(
            api::SectorId::from(sector.sector_number),
            api::PublicReplicaInfo::new(proof_type, comm_r),
        );
    }
    let mut proofs: Vec<(api::RegisteredPoStProof, &[u8])> = Vec::new();
    for proof in &info.proofs {
        ensure!(
            proof.post_proof == first.post_proof,
            "proofs of different types"
        );
        proofs.push((proof_type, &proof.proof_bytes));
    }
    api::post::verify_window_post(
        &post_randomness(bytes_32(&info.randomness)?),
        &proofs,
        &replicas,
        prover_id(info.prover),
    )
}

fn verify_winning_post(info: &WinningPost<'_>) -> anyhow::Result<bool> {
    let first = info.proofs.first().context("no proof given")?;
    let proof_type: api::RegisteredPoStProof = first.post_proof.try_into().map_err(text)?;
    let mut replicas = BTreeMap::new();
    for (number, sealed) in info.sectors {
        let comm_r = commcid::cid_to_replica_commitment_v1(sealed).map_err(text)?;
        let replica = api::PublicReplicaInfo::new(proof_type, comm_r);
        replicas.insert(api::SectorId::from(*number), replica);
    }
    let bytes: Vec<u8> = info
        .proofs
        .iter()
        .flat_map(|p| &p.proof_bytes)
        .copied()
        .collect();
    api::post::verify_winning_post(
        &post_randomness(info.randomness),
        &bytes,
        &replicas,
        prover_id(info.miner),
    )
}

/// Which of so many sectors, counted in the order of their numbers, a WinningPoSt is about.
pub fn winning_sectors(
    proof: RegisteredPoStProof,
    miner: ActorID,
    randomness: [u8; 32],
    sectors: u64,
) -> anyhow::Result<Vec<u64>> {
    api::post::generate_winning_post_sector_challenge(
        proof.try_into().map_err(text)?,
        &post_randomness(randomness),
        sectors,
        prover_id(miner),
    )
}

/// CommD of a sector that holds these pieces in order, each aligned to its own size, the
/// gaps and the rest filled with zeros.
pub fn unsealed_cid(proof: RegisteredSealProof, pieces: &[PieceInfo]) -> anyhow::Result<Cid> {
    let sector_size = proof.sector_size().map_err(text)? as u64;
    let mut all = Vec::new();
    let mut filled = 0u64;
    for piece in pieces {
        piece.size.validate().map_err(text)?;
        ensure!(
            piece.size.0 <= sector_size,
            "a piece is larger than the sector"
        );
        fill_up(&mut filled, piece.size.0, &mut all)?;
        all.push(api::PieceInfo::new(
            commcid::cid_to_piece_commitment_v1(&piece.cid).map_err(text)?,
            piece.size.unpadded().into(),
        )?);
        filled += piece.size.0;
    }
    ensure!(
        filled <= sector_size,
        "the pieces need {filled} bytes, the sector has {sector_size}"
    );
    if pieces.is_empty() {
        all.push(zero_piece(sector_size)?);
    } else {
        fill_up(&mut filled, sector_size, &mut all)?;
    }
    let comm_d = api::seal::compute_comm_d(proof.try_into().map_err(text)?, &all)?;
    commcid::data_commitment_v1_to_cid(&comm_d).map_err(text)
}

/// Adds zero pieces, smallest first, until `filled` is a multiple of `alignment`.
fn fill_up(
    filled: &mut u64,
    alignment: u64,
    pieces: &mut Vec<api::PieceInfo>,
) -> anyhow::Result<()> {
    while !filled.is_multiple_of(alignment) {
        let size = 1u64 << filled.trailing_zeros();
        pieces.push(zero_piece(size)?);
        *filled += size;
    }
    Ok(())
}

fn zero_piece(size: u64) -> anyhow::Result<api::PieceInfo> {
    let size = PaddedPieceSize(size);
    api::PieceInfo::new(zero_piece_commitment(size), size.unpadded().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: RegisteredSealProof = RegisteredSealProof::StackedDRG2KiBV1P1;

    #[test]
    fn no_pieces_and_zero_pieces_give_the_zero_commitment() {
        let zero = fil_actor_miner_state::v18::CompactCommD::empty()
            .get_cid(PROOF)
            .unwrap();
        assert_eq!(unsealed_cid(PROOF, &[]).unwrap(), zero);
        let piece = PieceInfo {
            size: PaddedPieceSize(256),
            cid: commcid::piece_commitment_v1_to_cid(&zero_piece_commitment(PaddedPieceSize(256)))
                .unwrap(),
        };
        assert_eq!(
            unsealed_cid(PROOF, std::slice::from_ref(&piece)).unwrap(),
            zero
        );
        assert_eq!(unsealed_cid(PROOF, &[piece.clone(), piece]).unwrap(), zero);
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let piece = |size| PieceInfo {
            size: PaddedPieceSize(size),
            cid: commcid::piece_commitment_v1_to_cid(&[7u8; 32]).unwrap(),
        };
        assert!(unsealed_cid(PROOF, &[piece(4096)]).is_err());
        assert!(unsealed_cid(PROOF, &[piece(128), piece(2048)]).is_err());
        assert!(unsealed_cid(PROOF, &[piece(200)]).is_err());
        assert!(unsealed_cid(PROOF, &[piece(128), piece(1024)]).is_ok());
    }

    #[test]
    fn garbage_proofs_are_wrong_not_fatal() {
        let info = WindowPoStVerifyInfo {
            randomness: Randomness(vec![1; 32]),
            ..Default::default()
        };
        assert!(!RealVerifier.window_post(&info));
    }
}
