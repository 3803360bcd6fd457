//! What the verified registry and the storage market say in a tipset's state, with the refusals
//! of Lotus.
use fvm_shared::address::Address;
use fvm_shared::deal::DealID;

use crate::market::{self, DealProposal, DealState};
use crate::registry::{self, Allocation, Claim};
use crate::view::{StateError, StateView};

type Answer<T> = Result<T, StateError>;

impl StateView {
    /// An allocation of a client that was not claimed.
    pub fn allocation(&self, client: &Address, id: u64) -> Answer<Option<Allocation>> {
        let client = self.lookup_id(client)?;
        let state = registry::load(self.tree())?;
        Ok(registry::allocation(
            self.tree().store(),
            &state,
            client,
            id,
        )?)
    }

    /// A claim of a provider.
    pub fn claim(&self, provider: &Address, id: u64) -> Answer<Option<Claim>> {
        let provider = self.lookup_id(provider)?;
        let state = registry::load(self.tree())?;
        Ok(registry::claim(self.tree().store(), &state, provider, id)?)
    }

    /// A deal, and how far it is; None before its activation.
    pub fn deal(&self, id: DealID) -> Answer<(DealProposal, Option<DealState>)> {
        let store = self.tree().store();
        let market = market::load(self.tree())?;
        let proposal = market
            .find_proposal(store, id)
            .map_err(anyhow::Error::from)?;
        let proposal = proposal.ok_or_else(|| {
            StateError::NotFound(format!(
                "deal {id} not found - deal may not have completed sealing before deal proposal \
                 start epoch, or deal may have been slashed"
            ))
        })?;
        let state = market
            .find_deal_state(store, id)
            .map_err(anyhow::Error::from)?;
        Ok((proposal, state))
    }

    /// The allocation of a verified deal that was not activated yet.
    pub fn pending_deal_allocation(&self, id: DealID) -> Answer<Option<u64>> {
        let mut market = market::load(self.tree())?;
        Ok(market::pending_allocation(
            self.tree().store(),
            &mut market,
            id,
        )?)
    }
}
