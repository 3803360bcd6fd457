//! Verification of proofs: cheap (milliseconds), so the only proof work that a daemon may do
//! in its own process. Each call says clearly when the verifying key is missing.

use crate::{
    params,
    proofs::{post_proof, seal_proof},
    serve::TaskError,
    task::{Circuit, prover_id},
};
use damocles_kernels::{
    cpu::Cpu,
    piece,
    sha::pairs::{self, NODE},
    tree::binary::Options,
};
use damocles_types::{
    ActorId, Commitment, PaddedSize, PoStProof, Randomness, SealProof, SectorId, SectorNumber,
};
use filecoin_proofs_api::{self as api, PublicReplicaInfo};
use std::{
    collections::BTreeMap,
    io::{self, Read},
    num::NonZeroUsize,
};

/// What a seal proof is about.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    pub proof_type: SealProof,
    pub sector: SectorId,
    pub comm_r: Commitment,
    pub comm_d: Commitment,
    pub ticket: Randomness,
    pub seed: Randomness,
}

/// Whether `proof` proves the seal. An error means that it could not be found out, or that
/// the inputs are no proof inputs at all (wrong length, not field elements).
pub fn verify_seal(seal: &Seal, proof: &[u8]) -> Result<bool, TaskError> {
    params::require_verifying_key(Circuit::PoRep, seal.proof_type.size)?;
    api::seal::verify_seal(
        seal_proof(seal.proof_type)?,
        seal.comm_r.0,
        seal.comm_d.0,
        prover_id(seal.sector.miner),
        seal.sector.number.into(),
        seal.ticket.0,
        seal.seed.0,
        proof,
    )
    .map_err(TaskError::from)
}

/// Whether `proof` is the aggregate (SnarkPack v2) of the proofs of all these seals, in that order.
/// They are of one kind and one miner, as in a message.
pub fn verify_aggregate(seals: &[Seal], proof: &[u8]) -> Result<bool, TaskError> {
    let Some(first) = seals.first() else {
        return Err(TaskError::permanent("there are no sectors to verify"));
    };
    params::srs::require(first.proof_type.size)?;
    let kind = seal_proof(first.proof_type)?;
    let mut inputs = Vec::new();
    for seal in seals {
        inputs.extend(api::seal::get_seal_inputs(
            kind,
            seal.comm_r.0,
            seal.comm_d.0,
            prover_id(seal.sector.miner),
            seal.sector.number.into(),
            seal.ticket.0,
            seal.seed.0,
        )?);
    }
    let comm_rs: Vec<_> = seals.iter().map(|seal| seal.comm_r.0).collect();
    let seeds: Vec<_> = seals.iter().map(|seal| seal.seed.0).collect();
    api::seal::verify_aggregate_seal_commit_proofs(
        kind,
        api::RegisteredAggregationProof::SnarkPackV2,
        proof.to_vec(),
        &comm_rs,
        &seeds,
        inputs,
    )
    .map_err(TaskError::from)
}

/// Whether `proof` proves all these sectors of `miner` against the randomness of the chain
/// (whose top bits are cleared here).
pub fn verify_window_post(
    proof_type: PoStProof,
    miner: ActorId,
    randomness: Randomness,
    sectors: &[(SectorNumber, Commitment)],
    proof: &[u8],
) -> Result<bool, TaskError> {
    params::require_verifying_key(Circuit::WindowPost, proof_type.size())?;
    let theirs = post_proof(proof_type)?;
    api::post::verify_window_post(
        &randomness.as_field_element(),
        &[(theirs, proof)],
        &replicas(theirs, sectors),
        prover_id(miner),
    )
    .map_err(TaskError::from)
}

/// The same for a WinningPoSt over the challenged sectors.
pub fn verify_winning_post(
    proof_type: PoStProof,
    miner: ActorId,
    randomness: Randomness,
    sectors: &[(SectorNumber, Commitment)],
    proof: &[u8],
) -> Result<bool, TaskError> {
    params::require_verifying_key(Circuit::WinningPost, proof_type.size())?;
    let theirs = post_proof(proof_type)?;
    api::post::verify_winning_post(
        &randomness.as_field_element(),
        proof,
        &replicas(theirs, sectors),
        prover_id(miner),
    )
    .map_err(TaskError::from)
}

/// CommP of a piece of `padded` bytes: `payload` bytes of the source, and zeros. On one core, for a
/// file that somebody handed in.
///
/// # Errors
/// The source cannot be read, or the sizes do not fit.
pub fn piece_commitment(
    source: &mut dyn Read,
    payload: u64,
    padded: u64,
) -> io::Result<Commitment> {
    let mut options = Options::new(Cpu::detect());
    options.threads = NonZeroUsize::MIN;
    let root = piece::add(source, payload, padded, None, &options, &|_| {});
    root.map(Commitment).map_err(io::Error::other)
}

/// CommP of that many zeros: a power of two of bytes, 32 at least.
pub fn zero_commitment(size: PaddedSize) -> Commitment {
    Commitment(pairs::zeros((size.0 / NODE as u64).ilog2()))
}

/// CommD of a sector that those pieces fill, in that order: padded bytes and CommP of each.
///
/// # Errors
/// They do not fill it, or lie at no multiple of their size.
pub fn sector_commitment(
    proof_type: SealProof,
    pieces: &[(u64, Commitment)],
) -> Result<Commitment, TaskError> {
    let mut infos = Vec::with_capacity(pieces.len());
    for (padded, commitment) in pieces {
        let size = api::UnpaddedBytesAmount(PaddedSize(*padded).unpadded().0);
        infos.push(api::PieceInfo::new(commitment.0, size).map_err(TaskError::from)?);
    }
    let comm_d = api::seal::compute_comm_d(seal_proof(proof_type)?, &infos);
    comm_d.map(Commitment).map_err(TaskError::from)
}

fn replicas(
    proof: api::RegisteredPoStProof,
    sectors: &[(SectorNumber, Commitment)],
) -> BTreeMap<api::SectorId, PublicReplicaInfo> {
    sectors
        .iter()
        .map(|(number, comm_r)| ((*number).into(), PublicReplicaInfo::new(proof, comm_r.0)))
        .collect()
}
