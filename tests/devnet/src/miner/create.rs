//! Making a miner: the actor's constructor with the creation deposit of FIP-0077.
use fil_actor_miner_state::v18::{MinerInfo, REWARD_VESTING_SPEC, State};
use fil_actors_shared::v18::ActorError;
use fvm_ipld_encoding::{BytesDe, to_vec};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::sector::RegisteredPoStProof;

use super::{Runtime, state_error};
use crate::randomness::blake2b256;

/// The constructor. `rt.balance` is what came with the call; the new state locks the deposit.
pub fn construct(
    rt: &Runtime<'_>,
    owner: ActorID,
    worker: ActorID,
    proof: RegisteredPoStProof,
    peer: Vec<u8>,
    multiaddrs: Vec<BytesDe>,
) -> Result<State, ActorError> {
    let policy = rt.policy;
    if peer.len() > policy.max_peer_id_length {
        return Err(ActorError::illegal_argument(format!(
            "peer ID size of {} exceeds maximum size of {}",
            peer.len(),
            policy.max_peer_id_length
        )));
    }
    if multiaddrs.iter().any(|addr| addr.0.is_empty()) {
        return Err(ActorError::illegal_argument(
            "invalid empty multiaddr".into(),
        ));
    }
    let length: usize = multiaddrs.iter().map(|addr| addr.0.len()).sum();
    if length > policy.max_multiaddr_data {
        return Err(ActorError::illegal_argument(format!(
            "multiaddr size of {length} exceeds maximum of {}",
            policy.max_multiaddr_data
        )));
    }
    if !policy.valid_post_proof_type.contains(proof) {
        return Err(ActorError::illegal_argument(format!(
            "proof type {proof:?} not allowed for new miner actors"
        )));
    }
    let deposit = rt.economy.creation_deposit(rt.epoch);
    if rt.balance < deposit {
        return Err(ActorError::insufficient_funds(format!(
            "not enough balance to lock for create miner deposit: sent balance {} < deposit {}",
            rt.balance.atto(),
            deposit.atto()
        )));
    }
    let offset = period_offset(rt)?;
    let period_start = period_start(policy.wpost_proving_period, rt.epoch, offset);
    let deadline = ((rt.epoch - period_start) / policy.wpost_challenge_window) as u64;
    let info = MinerInfo::new(owner, worker, vec![], peer, multiaddrs, proof)?;
    let info = rt
        .store
        .put(&info)
        .map_err(|e| state_error(e, "failed to store miner info"))?;
    let mut state = State::new(policy, rt.store, info, period_start, deadline)?;
    state
        .add_locked_funds(rt.store, rt.epoch, &deposit, &REWARD_VESTING_SPEC)
        .map_err(|e| ActorError::illegal_state(e.to_string()))?;
    Ok(state)
}

/// Where in the period this miner's own period starts, so that miners spread.
fn period_offset(rt: &Runtime<'_>) -> Result<ChainEpoch, ActorError> {
    let mut seed = to_vec(&Address::new_id(rt.miner))
        .map_err(|e| ActorError::serialization(format!("address: {e}")))?;
    seed.extend_from_slice(&rt.epoch.to_be_bytes());
    let digest = blake2b256(&seed);
    let mut head = [0u8; 8];
    head.copy_from_slice(&digest[..8]);
    // less than an i64, for the period is one
    Ok((u64::from_be_bytes(head) % rt.policy.wpost_proving_period as u64) as ChainEpoch)
}

/// Latest epoch not after `epoch` that lies `offset` behind a multiple of the period.
fn period_start(period: ChainEpoch, epoch: ChainEpoch, offset: ChainEpoch) -> ChainEpoch {
    epoch - (epoch - offset).rem_euclid(period)
}

#[cfg(test)]
mod tests {
    use super::period_start;

    #[test]
    fn period_starts_not_after_now_and_has_the_offset() {
        for (epoch, offset, start) in [
            (0, 0, 0),
            (0, 10, -90),
            (10, 10, 10),
            (9, 10, -90),
            (250, 10, 210),
            (205, 10, 110),
        ] {
            assert_eq!(period_start(100, epoch, offset), start, "{epoch} {offset}");
        }
    }
}
