//! Sectors with clients' data: what their CommD must be, how long they live, and what the chain is
//! told of their pieces.

use crate::{
    commit::{Check, Commit, CommitError, expiration, part::ProofPart},
    db::record::SectorRecord,
    deals::{ManifestPiece, Stake},
};
use cid::Cid;
use damocles_api::reason::Reason;
use damocles_node::TipSet;
use damocles_processor::verify;
use damocles_types::{Commitment, Epoch};
use fil_actor_miner_state::v18::{
    DataActivationNotification, PieceActivationManifest, VerifiedAllocationKey,
};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{address::Address, piece::PaddedPieceSize};

/// The storage market's actor.
const MARKET: Address = Address::new_id(5);

/// Whether there is data in a sector that its manager knows of.
pub(super) fn has_data(record: &SectorRecord) -> bool {
    record.pieces.as_ref().is_some_and(|p| !p.is_empty())
}

/// Whether the CommD of a sector with data is that of its pieces.
pub(super) async fn check_comm_d(
    record: &SectorRecord,
    comm_d: Commitment,
) -> Result<Check, CommitError> {
    let mut pieces = Vec::new();
    for piece in record.pieces.iter().flatten() {
        match Commitment::from_unsealed_cid(&piece.piece.cid.cid) {
            Ok(commitment) => pieces.push((piece.piece.size, commitment)),
            Err(error) => {
                let why = format!("the CID of a piece is none: {error}");
                return Ok(Check::Mismatch(Reason::Differs, why));
            }
        }
    }
    let proof_type = record.proof_type;
    let computed = tokio::task::spawn_blocking(move || {
        verify::sector_commitment(proof_type, &pieces).map_err(|e| e.to_string())
    });
    let computed = computed.await.unwrap_or_else(|e| Err(e.to_string()));
    let why = match computed {
        Ok(ours) if ours == comm_d => return Ok(Check::Good),
        Ok(ours) => format!("CommD {comm_d} is not that of the sector's pieces, {ours}"),
        Err(why) => format!("the CommD of its pieces cannot be computed: {why}"),
    };
    Ok(Check::Mismatch(Reason::Differs, why))
}

/// A notification's payload: the number of a deal, as the market reads it.
fn payload(deal: u64) -> Result<RawBytes, fvm_ipld_encoding::Error> {
    RawBytes::serialize(deal)
}

/// The chain's form of a piece.
fn manifest(piece: ManifestPiece) -> Result<PieceActivationManifest, CommitError> {
    let key = |(client, id)| VerifiedAllocationKey { client, id };
    let (allocation, notify) = match piece.stake {
        Stake::Allocation { client, id } => (Some((client, id)), None),
        Stake::Market { deal, allocation } => (allocation, Some(deal)),
        Stake::Nothing => (None, None),
    };
    let notify = match notify {
        Some(deal) => vec![DataActivationNotification {
            address: MARKET,
            payload: payload(deal)?,
        }],
        None => Vec::new(),
    };
    Ok(PieceActivationManifest {
        cid: piece.cid,
        size: PaddedPieceSize(piece.size),
        verified_allocation_key: allocation.map(key),
        notify,
    })
}

impl Commit {
    /// When a sector is to expire that is precommitted now.
    pub(super) async fn expiration(
        &self,
        record: &SectorRecord,
        days: u64,
        facts: expiration::Facts,
    ) -> Result<Epoch, CommitError> {
        let wanted = expiration::of_cc(days, facts);
        if !has_data(record) {
            return Ok(wanted);
        }
        let activation = self.deals.activation(facts.head).await?;
        let lifetime = self.deals.lifetime(record, activation).await?;
        Ok(wanted.max(lifetime.least).min(lifetime.most))
    }

    /// What a message says of a sector beside its number, and how many bytes of it are verified.
    pub(super) async fn proof_with_data(
        &self,
        record: &SectorRecord,
        proof: Vec<u8>,
        expiration: Epoch,
        head: &TipSet,
    ) -> Result<(ProofPart, u64), CommitError> {
        let pieces = match has_data(record) {
            true => self.deals.manifest(record, expiration, head).await?,
            false => Vec::new(),
        };
        let verified = pieces
            .iter()
            .filter(|p| p.is_verified())
            .map(|p| p.size)
            .sum();
        let pieces: Result<Vec<_>, CommitError> = pieces.into_iter().map(manifest).collect();
        let part = ProofPart {
            proof: RawBytes::new(proof),
            pieces: pieces?,
        };
        Ok((part, verified))
    }
}

/// The CID by which a precommit names a sector's data; None: it has none.
pub(super) fn unsealed_cid(record: &SectorRecord, comm_d: Commitment) -> Option<Cid> {
    has_data(record).then(|| comm_d.unsealed_cid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(stake: Stake) -> PieceActivationManifest {
        let cid = Commitment([1; 32]).unsealed_cid();
        manifest(ManifestPiece {
            cid,
            size: 2048,
            stake,
        })
        .unwrap()
    }

    #[test]
    fn the_chain_hears_of_allocations_and_the_market_of_its_deals() {
        let direct = piece(Stake::Allocation { client: 7, id: 9 });
        let key = direct.verified_allocation_key.unwrap();
        assert_eq!((key.client, key.id), (7, 9));
        assert!(direct.notify.is_empty());
        let market = piece(Stake::Market {
            deal: 300,
            allocation: None,
        });
        assert_eq!(market.verified_allocation_key, None);
        // CBOR: an unsigned number of two bytes
        assert_eq!(market.notify[0].payload.bytes(), [0x19, 0x01, 0x2c]);
        assert_eq!(market.notify[0].address, MARKET);
        let verified = piece(Stake::Market {
            deal: 1,
            allocation: Some((7, 9)),
        });
        assert!(verified.verified_allocation_key.is_some() && verified.notify.len() == 1);
        let nothing = piece(Stake::Nothing);
        assert!(nothing.verified_allocation_key.is_none() && nothing.notify.is_empty());
    }
}
