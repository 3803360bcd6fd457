//! The network's economy as far as it fixes deposits, pledges and fees.
//!
//! The formulas are the miner actor's own. Their inputs, which real networks smooth over
//! time, stand still here at the values a fresh network starts from (builtin-actors
//! reward and power actor constructors), so deposits are the same in every run:
//! epoch reward 36.266… FIL, network power 750 000 TiB, baseline power 2.5 EiB. The
//! circulating supply is what genesis gave out.
use fil_actor_miner_state::v18::{
    initial_pledge_for_power, pre_commit_deposit_for_power, qa_power_max,
};
use fil_actors_shared::v18::reward::FilterEstimate;
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::sector::{SectorSize, StoragePower};
use num_traits::Zero;

/// FIP-0081's ramp of the pledge formula on the 2k network (Lotus params_2k.go).
const RAMP_EPOCHS: u64 = 200;
/// attoFIL; reward actor's initial position estimate.
const EPOCH_REWARD: u128 = 36_266_260_308_195_979_333;

/// Inputs to the money formulas.
#[derive(Clone, Debug)]
pub struct Economy {
    pub reward: FilterEstimate,
    pub network_power: FilterEstimate,
    pub baseline_power: StoragePower,
    pub circulating_supply: TokenAmount,
    /// Bytes from which a miner may win blocks; a tenth is what creating a miner pledges for.
    pub min_power: u64,
}

impl Economy {
    /// The economy of a network whose genesis gave out `circulating_supply`.
    pub fn new(circulating_supply: TokenAmount, min_power: u64) -> Self {
        Economy {
            reward: FilterEstimate::new(BigInt::from(EPOCH_REWARD), BigInt::zero()),
            network_power: FilterEstimate::new(BigInt::from(750_000u64) << 40, BigInt::zero()),
            baseline_power: BigInt::from(2_888_888_880_000_000_000u64),
            circulating_supply,
            min_power,
        }
    }

    /// Deposit of one precommitted sector.
    pub fn precommit_deposit(&self, sector_size: SectorSize) -> TokenAmount {
        pre_commit_deposit_for_power(
            &self.reward,
            &self.network_power,
            &qa_power_max(sector_size),
        )
    }

    /// Initial pledge for quality-adjusted power.
    pub fn initial_pledge(&self, qa_power: &StoragePower, epoch: ChainEpoch) -> TokenAmount {
        initial_pledge_for_power(
            qa_power,
            &self.baseline_power,
            &self.reward,
            &self.network_power,
            &self.circulating_supply,
            epoch,
            RAMP_EPOCHS,
        )
    }

    /// What CreateMiner locks (FIP-0077).
    pub fn creation_deposit(&self, epoch: ChainEpoch) -> TokenAmount {
        self.initial_pledge(&BigInt::from((self.min_power / 10).max(1)), epoch)
    }
}

/// What Lotus adds to deposit and pledge answers so that they still suffice when the message lands.
pub fn overestimate(amount: &TokenAmount) -> TokenAmount {
    (amount * 110u64).div_floor(100u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_positive_and_pledge_is_capped() {
        let economy = Economy::new(TokenAmount::from_whole(1_000_000), 2048);
        let deposit = economy.precommit_deposit(SectorSize::_2KiB);
        let pledge = economy.initial_pledge(&BigInt::from(2048), 10);
        let cap = TokenAmount::from_whole(1).div_floor(32i64 << 30) * 2048u64;
        assert!(deposit.is_positive() && pledge.is_positive());
        assert!(pledge <= cap);
        assert!(economy.creation_deposit(10).is_positive());
        assert_eq!(
            overestimate(&TokenAmount::from_atto(1000)),
            TokenAmount::from_atto(1100)
        );
    }
}
