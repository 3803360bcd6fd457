//! The verified registry: allocations that clients gave to providers, and claims of sectors.
//! Its state is kept by the actors' own code (`fil_actor_verifreg_state::v18`); the rules, which
//! that crate leaves out, follow builtin-actors v18 (`actors/verifreg/src/lib.rs`). DataCap is
//! not counted: an allocation comes into being because a test orders it.
use fil_actor_verifreg_state::v18::state::{get_allocation, get_claim};
use fil_actor_verifreg_state::v18::{AllocationClaim, ClaimAllocationsReturn, SectorClaimSummary};
use fil_actors_shared::v18::runtime::Policy;
use fil_actors_shared::v18::{ActorError, AsActorError, BatchReturnGen};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::error::ExitCode;
use num_traits::Zero;

pub use fil_actor_verifreg_state::v18::{Allocation, Claim, SectorAllocationClaims, State};

use crate::store::Store;
use crate::tree::{SYSTEM, Tree, VERIFIED_REGISTRY};

/// The state at genesis: nothing allocated, nothing claimed.
pub fn construct(store: &Store) -> anyhow::Result<State> {
    Ok(State::new(store, Address::new_id(SYSTEM))?)
}

/// The registry's state. A network that was made before it had one begins with an empty one.
pub fn load(tree: &Tree) -> anyhow::Result<State> {
    if tree.is_blank(VERIFIED_REGISTRY)? {
        return construct(tree.store());
    }
    tree.state(VERIFIED_REGISTRY)
}

/// The allocation of a client under that number.
pub fn allocation(
    store: &Store,
    state: &State,
    client: ActorID,
    id: u64,
) -> anyhow::Result<Option<Allocation>> {
    let mut all = state.load_allocs(store)?;
    Ok(get_allocation(&mut all, client, id)?.cloned())
}

/// The claim of a provider under that number.
pub fn claim(
    store: &Store,
    state: &State,
    provider: ActorID,
    id: u64,
) -> anyhow::Result<Option<Claim>> {
    let mut all = state.load_claims(store)?;
    Ok(get_claim(&mut all, provider, id)?.cloned())
}

/// Why the registry would not take an allocation at `epoch`; None if it would.
pub fn fault_of(wanted: &Allocation, policy: &Policy, epoch: ChainEpoch) -> Option<String> {
    let latest = epoch + policy.maximum_verified_allocation_expiration;
    let size = wanted.size.0;
    let faults = [
        (
            BigInt::from(size) < policy.minimum_verified_allocation_size,
            format!(
                "allocation size {size} below minimum {}",
                policy.minimum_verified_allocation_size
            ),
        ),
        (
            wanted.term_min < policy.minimum_verified_allocation_term,
            format!(
                "allocation term min {} below limit {}",
                wanted.term_min, policy.minimum_verified_allocation_term
            ),
        ),
        (
            wanted.term_max > policy.maximum_verified_allocation_term,
            format!(
                "allocation term max {} above limit {}",
                wanted.term_max, policy.maximum_verified_allocation_term
            ),
        ),
        (
            wanted.term_min > wanted.term_max,
            format!(
                "allocation term min {} exceeds term max {}",
                wanted.term_min, wanted.term_max
            ),
        ),
        (
            wanted.expiration < epoch,
            format!(
                "allocation expiration epoch {} has passed current epoch {epoch}",
                wanted.expiration
            ),
        ),
        (
            wanted.expiration > latest,
            format!(
                "allocation expiration {} exceeds maximum {latest}",
                wanted.expiration
            ),
        ),
    ];
    faults
        .into_iter()
        .find_map(|(wrong, why)| wrong.then_some(why))
}

/// Enters an allocation; its number.
pub fn allocate(store: &Store, state: &mut State, wanted: &Allocation) -> anyhow::Result<u64> {
    let number = state.next_allocation_id;
    state.insert_allocations(store, wanted.client, vec![wanted.clone()])?;
    Ok(number)
}

/// Claims allocations for sectors of a provider (ClaimAllocations). A sector of which one claim
/// fails gets none of them, and the others go on: USR_NOT_FOUND for an allocation that does not
/// exist, USR_FORBIDDEN for one that does not fit. With `all_or_nothing` one failure ends it all
/// with USR_ILLEGAL_ARGUMENT. After an error the state must be thrown away.
pub fn claim_allocations(
    store: &Store,
    state: &mut State,
    provider: ActorID,
    epoch: ChainEpoch,
    sectors: &[SectorAllocationClaims],
    all_or_nothing: bool,
) -> Result<ClaimAllocationsReturn, ActorError> {
    let mut batch = BatchReturnGen::new(sectors.len());
    let mut summaries = Vec::new();
    let mut claims = state.load_claims(store)?;
    let mut allocations = state.load_allocs(store)?;
    for sector in sectors {
        let mut new = Vec::with_capacity(sector.claims.len());
        let mut refusal = None;
        for wanted in &sector.claims {
            let known = get_allocation(&mut allocations, wanted.client, wanted.allocation_id)?;
            refusal = match known {
                None => Some(ExitCode::USR_NOT_FOUND),
                Some(known) if !may_claim(wanted, provider, known, epoch, sector.expiry) => {
                    Some(ExitCode::USR_FORBIDDEN)
                }
                Some(known) => {
                    new.push((wanted.allocation_id, claimed(known, epoch, sector.sector)));
                    None
                }
            };
            if let Some(code) = refusal {
                tracing::info!(
                    "sector {} may not claim allocation {} of f0{}: exit code {code}",
                    sector.sector,
                    wanted.allocation_id,
                    wanted.client
                );
                break;
            }
        }
        if let Some(code) = refusal {
            batch.add_fail(code);
            continue;
        }
        let mut claimed_space = BigInt::zero();
        for (id, claim) in new {
            claimed_space += claim.size.0;
            let client = claim.client;
            let inserted = claims
                .put_if_absent(provider, id, claim)
                .context_code(ExitCode::USR_ILLEGAL_STATE, "failed to write claim")?;
            if !inserted {
                return Err(ActorError::illegal_argument(format!(
                    "claim {id} already exists"
                )));
            }
            allocations
                .remove(client, id)
                .context_code(ExitCode::USR_ILLEGAL_STATE, "failed to remove allocation")?;
        }
        summaries.push(SectorClaimSummary { claimed_space });
        batch.add_success();
    }
    state.save_allocs(&mut allocations)?;
    state.save_claims(&mut claims)?;
    let sector_results = batch.generate();
    if all_or_nothing && !sector_results.all_ok() {
        return Err(ActorError::illegal_argument(format!(
            "claim failed with all-or-nothing: {sector_results}"
        )));
    }
    Ok(ClaimAllocationsReturn {
        sector_results,
        sector_claims: summaries,
    })
}

fn may_claim(
    wanted: &AllocationClaim,
    provider: ActorID,
    known: &Allocation,
    epoch: ChainEpoch,
    sector_expiry: ChainEpoch,
) -> bool {
    let lifetime = sector_expiry - epoch;
    provider == known.provider
        && wanted.client == known.client
        && wanted.data == known.data
        && wanted.size == known.size
        && epoch <= known.expiration
        && (known.term_min..=known.term_max).contains(&lifetime)
}

fn claimed(allocation: &Allocation, epoch: ChainEpoch, sector: u64) -> Claim {
    Claim {
        provider: allocation.provider,
        client: allocation.client,
        data: allocation.data,
        size: allocation.size,
        term_min: allocation.term_min,
        term_max: allocation.term_max,
        term_start: epoch,
        sector,
    }
}

#[cfg(test)]
mod tests {
    use fvm_shared::commcid::piece_commitment_v1_to_cid;
    use fvm_shared::piece::PaddedPieceSize;

    use super::*;

    #[test]
    fn a_claim_fits_up_to_the_last_epoch_and_the_limits_of_the_term() {
        let known = Allocation {
            client: 100,
            provider: 1000,
            data: piece_commitment_v1_to_cid(&[5; 32]).unwrap(),
            size: PaddedPieceSize(1024),
            term_min: 20,
            term_max: 30,
            expiration: 50,
        };
        let wanted = AllocationClaim {
            client: 100,
            allocation_id: 1,
            data: known.data,
            size: known.size,
        };
        for (epoch, sector_expiry, may) in [
            (50, 70, true),
            (51, 71, false),
            (49, 68, false),
            (49, 69, true),
            (49, 79, true),
            (49, 80, false),
        ] {
            let judged = may_claim(&wanted, 1000, &known, epoch, sector_expiry);
            assert_eq!(judged, may, "{epoch} {sector_expiry}");
        }
        assert!(!may_claim(&wanted, 1001, &known, 50, 70));
    }
}
