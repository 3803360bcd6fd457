//! Data of sectors that are proven: their pieces against the CommD of the precommit, the
//! allocations that they claim of the verified registry, and who is told of them.
use std::collections::BTreeMap;

use fil_actor_miner_state::v18::{
    ERR_NOTIFICATION_RECEIVER_ABORTED, ERR_NOTIFICATION_REJECTED, ERR_NOTIFICATION_SEND_FAILED,
    PieceChange, SectorChanges,
};
use fil_actor_verifreg_state::v18::AllocationClaim;
use fil_actors_shared::v18::{ActorError, BatchReturn};
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::piece::PieceInfo;
use num_traits::Zero;

use super::Runtime;
use super::prove::Activation;
use crate::gas;
use crate::market;
use crate::proofs;
use crate::registry::{self, SectorAllocationClaims};
use crate::tree::MARKET;

/// Bytes of data in a sector, by what they weigh.
#[derive(Clone, Debug, Default)]
pub(super) struct Spaces {
    pub unverified: BigInt,
    pub verified: BigInt,
}

/// Checks the pieces of all sectors and claims their allocations: which sectors go on, and their
/// data. A CommD that does not fit ends the whole message.
pub(super) fn activate_pieces(
    rt: &mut Runtime<'_>,
    sectors: &[Activation<'_>],
    all_or_nothing: bool,
) -> Result<(BatchReturn, Vec<Spaces>), ActorError> {
    for sector in sectors {
        check_comm_d(sector)?;
    }
    let claims: Vec<_> = sectors.iter().map(claims_of).collect();
    let (results, claimed) = if claims.iter().all(|sector| sector.claims.is_empty()) {
        let none = vec![BigInt::zero(); sectors.len()];
        (BatchReturn::ok(sectors.len() as u32), none)
    } else {
        rt.gas.charge(gas::ACTOR_CALL * (1 + claims.len() as u64))?;
        let mut state = rt.registry.clone();
        let answer = registry::claim_allocations(
            rt.store,
            &mut state,
            rt.miner,
            rt.epoch,
            &claims,
            all_or_nothing,
        )
        .map_err(|e| e.wrap("error claiming allocations on batch"))?;
        rt.effects.registry = Some(state);
        let claimed = answer.sector_claims.into_iter().map(|s| s.claimed_space);
        (answer.sector_results, claimed.collect())
    };
    let spaces = results
        .successes(sectors)
        .into_iter()
        .zip(claimed)
        .map(|((manifest, _), verified)| {
            let pieces = manifest.pieces.iter();
            let unverified = pieces.filter(|p| p.verified_allocation_key.is_none());
            Spaces {
                unverified: unverified.map(|p| BigInt::from(p.size.0)).sum(),
                verified,
            }
        })
        .collect();
    Ok((results, spaces))
}

fn check_comm_d((manifest, precommit): &Activation<'_>) -> Result<(), ActorError> {
    let sector = &precommit.info;
    let pieces: Vec<PieceInfo> = manifest
        .pieces
        .iter()
        .map(|p| PieceInfo {
            size: p.size,
            cid: p.cid,
        })
        .collect();
    let declared = sector.unsealed_cid.get_cid(sector.seal_proof)?;
    let computed = proofs::unsealed_cid(sector.seal_proof, &pieces).map_err(|e| {
        ActorError::illegal_argument(format!("failed to compute unsealed sector CID: {e:#}"))
    })?;
    if declared != computed {
        return Err(ActorError::illegal_argument(format!(
            "unsealed CID does not match pieces for sector {}, computed {computed} declared {declared}",
            sector.sector_number
        )));
    }
    Ok(())
}

fn claims_of((manifest, precommit): &Activation<'_>) -> SectorAllocationClaims {
    let claims = manifest.pieces.iter().filter_map(|piece| {
        let key = piece.verified_allocation_key.as_ref()?;
        Some(AllocationClaim {
            client: key.client,
            allocation_id: key.id,
            data: piece.cid,
            size: piece.size,
        })
    });
    SectorAllocationClaims {
        sector: manifest.sector_number,
        expiry: precommit.info.expiration,
        claims: claims.collect(),
    }
}

/// Tells the receivers that the pieces name, in the order of their addresses. Fire and forget,
/// unless the message insists: then the first receiver that does not take all ends it. The market
/// is the only actor of this network that takes any.
pub(super) fn notify(
    rt: &mut Runtime<'_>,
    sectors: &[Activation<'_>],
    required: bool,
) -> Result<(), ActorError> {
    for (receiver, changes) in by_receiver(sectors) {
        rt.gas.charge(gas::ACTOR_CALL)?;
        let accepted = tell(rt, &receiver, &changes);
        if required {
            accepted?;
        }
    }
    Ok(())
}

fn by_receiver(sectors: &[Activation<'_>]) -> BTreeMap<Address, Vec<SectorChanges>> {
    let mut told: BTreeMap<Address, BTreeMap<u64, SectorChanges>> = BTreeMap::new();
    for (manifest, precommit) in sectors {
        for piece in &manifest.pieces {
            for wanted in &piece.notify {
                let sectors = told.entry(wanted.address).or_default();
                let changes =
                    sectors
                        .entry(manifest.sector_number)
                        .or_insert_with(|| SectorChanges {
                            sector: manifest.sector_number,
                            minimum_commitment_epoch: precommit.info.expiration,
                            added: Vec::new(),
                        });
                changes.added.push(PieceChange {
                    data: piece.cid,
                    size: piece.size,
                    payload: wanted.payload.clone(),
                });
            }
        }
    }
    told.into_iter()
        .map(|(receiver, sectors)| (receiver, sectors.into_values().collect()))
        .collect()
}

fn tell(
    rt: &mut Runtime<'_>,
    receiver: &Address,
    changes: &[SectorChanges],
) -> Result<(), ActorError> {
    if *receiver != Address::new_id(MARKET) {
        return Err(ActorError::unchecked(
            ERR_NOTIFICATION_SEND_FAILED,
            format!("{receiver} takes no notifications"),
        ));
    }
    let mut state = rt.market.clone();
    let told = market::sector_content_changed(rt.store, &mut state, rt.miner, rt.epoch, changes);
    let answers = told.map_err(|e| {
        ActorError::unchecked(
            ERR_NOTIFICATION_RECEIVER_ABORTED,
            format!("receiver aborted with {}", e.exit_code()),
        )
    })?;
    rt.effects.market = Some(state);
    for (change, accepted) in changes.iter().zip(answers) {
        for (piece, accepted) in change.added.iter().zip(accepted) {
            if !accepted {
                return Err(ActorError::unchecked(
                    ERR_NOTIFICATION_REJECTED,
                    format!(
                        "sector change rejected by {receiver} for sector {} piece {} payload {:?}",
                        change.sector, piece.data, piece.payload
                    ),
                ));
            }
        }
    }
    Ok(())
}
