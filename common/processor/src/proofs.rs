//! Our words translated into those of the proofs library.

use crate::serve::TaskError;
use damocles_types::{Commitment, PieceInfo, PoStProof, SealProof, SectorSize};
use filecoin_proofs_api::{
    self as api, RegisteredPoStProof, RegisteredSealProof, RegisteredUpdateProof,
    UnpaddedBytesAmount,
};

/// The library's seal proof of the same name.
pub fn seal_proof(proof: SealProof) -> Result<RegisteredSealProof, TaskError> {
    by_name(proof.name())
}

/// The library's PoSt proof of the same name.
pub fn post_proof(proof: PoStProof) -> Result<RegisteredPoStProof, TaskError> {
    by_name(proof.name())
}

/// The library's proof of an update of such a sector.
pub fn update_proof(size: SectorSize) -> Result<RegisteredUpdateProof, TaskError> {
    by_name(format!("StackedDrg{size}V1"))
}

fn by_name<T: serde::de::DeserializeOwned>(name: String) -> Result<T, TaskError> {
    serde_json::from_value(serde_json::Value::String(name.clone()))
        .map_err(|_| TaskError::permanent(format!("the proofs library does not know {name}")))
}

/// A sector size of the library.
pub fn sector_size(size: SectorSize) -> filecoin_proofs::SectorSize {
    filecoin_proofs::SectorSize(size.bytes())
}

/// Pieces of the library. It takes no all-zero commitment.
pub fn pieces(pieces: &[PieceInfo]) -> Result<Vec<api::PieceInfo>, TaskError> {
    pieces
        .iter()
        .map(|piece| {
            api::PieceInfo::new(piece.commitment.0, UnpaddedBytesAmount(piece.size.0)).map_err(
                |error| TaskError::permanent(format!("piece {}: {error}", piece.commitment)),
            )
        })
        .collect()
}

/// CommD of a sector that these pieces fill to the last byte. (Of pieces that do not, the
/// library computes the root of a smaller tree.)
pub fn comm_d(proof: SealProof, infos: &[PieceInfo]) -> Result<Commitment, TaskError> {
    api::seal::compute_comm_d(seal_proof(proof)?, &pieces(infos)?)
        .map(Commitment)
        .map_err(|error| TaskError::permanent(format!("the pieces make no CommD: {error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_knows_every_proof_type() {
        for number in 0..20 {
            let proof = SealProof::from_number(number).unwrap();
            let theirs = seal_proof(proof).unwrap();
            assert_eq!(u64::from(theirs.sector_size()), proof.size.bytes());
        }
        for number in 0..15 {
            let proof = PoStProof::from_number(number).unwrap();
            let theirs = post_proof(proof).unwrap();
            assert_eq!(u64::from(theirs.sector_size()), proof.size().bytes());
        }
        for size in SectorSize::ALL {
            let theirs = update_proof(size).unwrap();
            assert_eq!(u64::from(theirs.sector_size()), size.bytes());
        }
    }
}
