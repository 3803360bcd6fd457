//! Until when a commitment must be on chain. Pure.

use crate::{
    commit::expiration,
    db::{deal::of_piece, record::SectorRecord},
    model::Commitment,
};
use damocles_types::{Epoch, SectorId};

/// From which epoch on the chain does not take it any more. None: that is not known here.
pub(super) fn of(record: &SectorRecord, kind: Commitment) -> Option<Epoch> {
    let from = match kind {
        Commitment::PreCommit => record.pre.as_ref().map(|pre| pre.ticket.epoch),
        // the seed is drawn a challenge delay after the precommit, by which its life is longer
        Commitment::Proof => record.seed.map(|seed| seed.epoch),
    };
    // the last epoch is one in which it is still taken
    Some(
        from?
            .saturating_add(expiration::life(kind))
            .saturating_add(1),
    )
}

/// From which epoch on the first of a sector's deals cannot be activated, of those that can be after
/// `head`: the pieces say it, as the worker was told.
fn of_deals(record: &SectorRecord, head: Epoch) -> Option<Epoch> {
    let pieces = record.pieces.iter().flatten();
    let deals = pieces.filter(|piece| of_piece(piece).is_some());
    let infos = deals.filter_map(|piece| piece.deal_info.as_ref());
    infos
        .filter_map(|info| info.rest.get("StartEpoch")?.as_i64())
        .filter(|start| *start > head)
        .min()
}

/// The first of both.
fn earliest(record: &SectorRecord, kind: Commitment, head: Epoch) -> Option<Epoch> {
    let both = of(record, kind).into_iter().chain(of_deals(record, head));
    both.min()
}

/// Until when it is to go, whatever it costs.
pub(super) fn to_go(record: &SectorRecord, kind: Commitment, head: Epoch) -> Epoch {
    earliest(record, kind, head).unwrap_or(Epoch::MAX)
}

/// The first deadline of those that are in a message: from then on the chain refuses it whole, or
/// lets that one fall. A proof that claims a deal is one without that after the deal's time.
pub(super) fn of_message(
    batch: &[SectorRecord],
    sectors: &[SectorId],
    kind: Commitment,
    head: Epoch,
) -> Option<Epoch> {
    let within = batch.iter().filter(|record| sectors.contains(&record.id));
    let each = |record: &SectorRecord| match kind {
        Commitment::PreCommit => of(record, kind),
        Commitment::Proof => earliest(record, kind, head),
    };
    within.filter_map(each).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;
    use damocles_api::sector::{DealInfo, Piece, SectorPiece};
    use damocles_types::{Commitment as Root, SealProof, SectorSize, Seed};

    fn piece(allocation_id: u64, start: Epoch) -> SectorPiece {
        let rest = serde_json::json!({"StartEpoch": start});
        SectorPiece {
            piece: Piece {
                size: 1024,
                cid: Root([1; 32]).unsealed_cid().into(),
            },
            deal_info: Some(DealInfo {
                deal_id: 0,
                allocation_id,
                payload_size: 1000,
                is_builtin_market: false,
                rest: rest.as_object().unwrap().clone(),
            }),
        }
    }

    #[test]
    fn a_proof_must_be_there_before_its_deals_begin() {
        let db = Db::in_memory();
        let kind = SealProof::interactive(SectorSize::KiB2);
        let mut record = db.allocate(1000, kind, 0, 99, Some).unwrap().unwrap();
        record.seed = Some(Seed {
            seed: damocles_types::Randomness([1; 32]),
            epoch: 1000,
        });
        let last = 1000 + 30 * 2880 + 1;
        let both = |record: &SectorRecord, head| {
            let batch = [record.clone()];
            let ids = [record.id];
            let message = of_message(&batch, &ids, Commitment::Proof, head);
            assert_eq!(message, Some(to_go(record, Commitment::Proof, head)));
            message
        };
        assert_eq!(both(&record, 1100), Some(last));
        // a filler has no time
        record.pieces = Some(vec![piece(0, 1101), piece(7, 5000), piece(8, 4000)]);
        assert_eq!(both(&record, 1100), Some(4000));
        // what is over does not hurry it
        assert_eq!(both(&record, 4000), Some(5000));
        assert_eq!(both(&record, 5000), Some(last));

        let pre = Commitment::PreCommit;
        assert_eq!(to_go(&record, pre, 1100), 4000, "the proof comes after it");
        let batch = [record.clone()];
        assert_eq!(of_message(&batch, &[record.id], pre, 1100), None);
        assert_eq!(of_message(&batch, &[], Commitment::Proof, 1100), None);
    }
}
