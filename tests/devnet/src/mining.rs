//! What a miner is told before a round (Lotus `MinerGetBaseInfo`): power and sectors at the
//! lookback, the round's beacon entries, and whether it may make blocks at all.
use fil_actor_miner_state::v18::SectorOnChainInfo;
use fvm_ipld_bitfield::BitField;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::sector::RegisteredPoStProof;
use num_traits::Zero;

use crate::block::{BeaconEntry, TipsetKey};
use crate::network::Network;
use crate::proofs::winning_sectors;
use crate::randomness::{DomainSeparationTag, blake2b256, draw};
use crate::view::{StateError, StateView};

/// What a miner needs to know to try a round.
#[derive(Clone, Debug)]
pub struct MiningBase {
    pub miner: ActorID,
    /// Quality-adjusted power of the miner and of the network, at the lookback.
    pub power: BigInt,
    pub network_power: BigInt,
    /// Those that the round's WinningPoSt is about.
    pub sectors: Vec<SectorOnChainInfo>,
    /// Key address of the worker.
    pub worker: Address,
    pub sector_size: u64,
    pub prev_beacon: BeaconEntry,
    pub beacon_entries: Vec<BeaconEntry>,
    pub eligible: bool,
}

impl Network {
    /// The view of the state on which a round's power and sectors are looked up, and the one at
    /// whose tipset the miner must have had the least power (Lotus `GetLookbackTipSetForRound`).
    pub(crate) fn lookback(
        &self,
        base: &TipsetKey,
        round: ChainEpoch,
    ) -> Result<(StateView, StateView), StateError> {
        let base = self.node(base).ok_or_else(|| StateError::no_tipset(base))?;
        let lookback = (round - self.policy().chain_finality).max(0);
        let inner = &self.inner;
        let chain = inner.chain.read();
        let at = if base.tipset.height == 0 {
            base
        } else {
            if lookback >= base.tipset.height {
                return Err(StateError::NotFound(format!(
                    "lookback height {lookback} is at or after base height {}",
                    base.tipset.height
                )));
            }
            let next = chain.at_or_after(lookback + 1, &base.tipset.key);
            let below = next.and_then(|next| chain.parent(next)).cloned();
            below.ok_or_else(|| StateError::NotFound(format!("no tipset at height {lookback}")))?
        };
        drop(chain);
        let after = StateView::after(inner.engine.clone(), inner.chain.clone(), &at);
        Ok((after, self.state(&at.tipset.key)?))
    }

    /// What a miner tries the round with on top of a tipset. None: no sector of it could be proven.
    pub fn mining_base(
        &self,
        miner: &Address,
        round: ChainEpoch,
        base: &TipsetKey,
    ) -> Result<Option<MiningBase>, StateError> {
        let at = self.state(base)?;
        let (prev_beacon, beacon_entries) = self.beacon_for(&at, round);
        let seed = beacon_entries.last().unwrap_or(&prev_beacon);
        let id = at.lookup_id(miner)?;
        let (state, nominal) = self.lookback(base, round)?;
        let randomness = for_miner(
            seed,
            DomainSeparationTag::WinningPoStChallengeSeed,
            round,
            id,
        );
        let info = match state.miner_info(miner) {
            Ok(info) => info,
            // a miner that is younger than the lookback
            Err(StateError::ActorNotFound(_) | StateError::MinerNotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let sectors = challenged(&state, miner, id, info.window_post_proof_type, randomness)?;
        if sectors.is_empty() {
            return Ok(None);
        }
        let power = state.miner_power(miner)?;
        Ok(Some(MiningBase {
            miner: id,
            power: power.miner.qa,
            network_power: power.total.qa,
            sectors,
            worker: at.account_key(&info.worker)?,
            sector_size: info.sector_size as u64,
            prev_beacon,
            beacon_entries,
            eligible: nominal.miner_power(miner).is_ok_and(|p| p.has_min_power)
                && may_mine(&at, miner)?,
        }))
    }

    /// The newest beacon entry of a tipset, and those that a block of that round brings.
    fn beacon_for(&self, at: &StateView, round: ChainEpoch) -> (BeaconEntry, Vec<BeaconEntry>) {
        let height = at.tipset.height;
        let known = at.tipset.min_ticket_block().beacon_entries.last().cloned();
        let prev = known.unwrap_or_else(|| self.beacon_entry(height));
        let entries = (height + 1..=round).map(|epoch| self.beacon_entry(epoch));
        (prev, entries.collect())
    }
}

/// Randomness of a round that is drawn for one miner.
pub(crate) fn for_miner(
    seed: &BeaconEntry,
    tag: DomainSeparationTag,
    round: ChainEpoch,
    miner: ActorID,
) -> [u8; 32] {
    draw(&blake2b256(&seed.data), tag as i64, round, &entropy(miner))
}

/// A miner's address in CBOR, of which randomness for it is drawn.
pub(crate) fn entropy(miner: ActorID) -> Vec<u8> {
    // an address always encodes
    fvm_ipld_encoding::to_vec(&Address::new_id(miner)).unwrap_or_default()
}

/// The sectors that the round's WinningPoSt is about: drawn from all that are active.
pub(crate) fn challenged(
    state: &StateView,
    miner: &Address,
    id: ActorID,
    window_type: RegisteredPoStProof,
    randomness: [u8; 32],
) -> Result<Vec<SectorOnChainInfo>, StateError> {
    let active = state.active_sectors(miner)?;
    if active.is_empty() {
        return Ok(Vec::new());
    }
    let drawn = winning_sectors(
        winning_type(window_type),
        id,
        randomness,
        active.len() as u64,
    )?;
    let chosen = BitField::try_from_bits(drawn).map_err(|e| StateError::NotFound(e.to_string()))?;
    let nth = |n: u64| active.get(usize::try_from(n).ok()?).cloned();
    Ok(chosen.iter().filter_map(nth).collect())
}

/// The WinningPoSt type that goes with a WindowPoSt type.
pub(crate) fn winning_type(window: RegisteredPoStProof) -> RegisteredPoStProof {
    use RegisteredPoStProof as P;
    match window {
        P::StackedDRGWindow8MiBV1P1 => P::StackedDRGWinning8MiBV1,
        P::StackedDRGWindow512MiBV1P1 => P::StackedDRGWinning512MiBV1,
        P::StackedDRGWindow32GiBV1P1 => P::StackedDRGWinning32GiBV1,
        P::StackedDRGWindow64GiBV1P1 => P::StackedDRGWinning64GiBV1,
        _ => P::StackedDRGWinning2KiBV1,
    }
}

/// Whether a miner may make blocks, as far as the base tells (Lotus `MinerEligibleToMine`).
pub(crate) fn may_mine(at: &StateView, miner: &Address) -> Result<bool, StateError> {
    let power = at.miner_power(miner)?;
    let state = at.miner_state(miner)?;
    let info = at.miner_info(miner)?;
    Ok(power.miner.qa > BigInt::zero()
        && state.fee_debt.is_zero()
        && at.tipset.height > info.consensus_fault_elapsed)
}
