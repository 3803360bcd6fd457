//! Data that clients want stored: how a test orders allocations and deals, and what the verified
//! registry and the storage market say of them in a tipset's state, with the refusals of Lotus.
use anyhow::{Context, ensure};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::deal::DealID;

use crate::market::{self, DealProposal, DealState};
use crate::network::Network;
use crate::orders::{Orders, Wanted};
use crate::registry::{self, Allocation, Claim};
use crate::tree::{Tree, code_name};
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

impl Network {
    /// Orders an allocation; its number. It is there from the next tipset on. Refused where the
    /// verified registry would refuse it.
    pub fn allocate(&self, wanted: Allocation) -> anyhow::Result<u64> {
        self.order(|tree, orders, epoch| {
            ensure!(
                tree.actor(wanted.client)?.is_some(),
                "no actor is the client f0{}",
                wanted.client
            );
            check_provider(tree, wanted.provider)?;
            let policy = &self.inner.engine.actor_policy;
            if let Some(fault) = registry::fault_of(&wanted, policy, epoch) {
                anyhow::bail!("{fault}");
            }
            Ok(orders.add(Wanted::Allocation(wanted)))
        })
    }

    /// Orders a deal as if both parties had signed it; its number. It is there from the next
    /// tipset on, and with it, if it is a verified one, its allocation. Refused where the storage
    /// market would refuse it; money is not asked for.
    pub fn publish_deal(&self, mut proposal: DealProposal) -> anyhow::Result<DealID> {
        self.order(|tree, orders, epoch| {
            for party in [&mut proposal.client, &mut proposal.provider] {
                let id = tree.resolve(party)?;
                *party = Address::new_id(id.with_context(|| format!("no actor is {party}"))?);
            }
            check_provider(tree, proposal.provider.id()?)?;
            if let Some(fault) = market::fault_of(&proposal, epoch) {
                anyhow::bail!("{fault}");
            }
            if proposal.verified_deal {
                let policy = &self.inner.engine.actor_policy;
                let wanted = market::allocation_for(&proposal, policy, epoch)?;
                if let Some(fault) = registry::fault_of(&wanted, policy, epoch) {
                    anyhow::bail!("{fault}");
                }
            }
            ensure!(
                !orders.has_deal(&proposal),
                "cannot publish duplicate deal proposal; hint: give it another label"
            );
            Ok(orders.add(Wanted::Deal(Box::new(proposal))))
        })
    }

    /// Takes an order while no tipset is made: the state of the network's head, what was
    /// ordered so far, and the next epoch.
    fn order(
        &self,
        take: impl FnOnce(&Tree, &mut Orders, i64) -> anyhow::Result<u64>,
    ) -> anyhow::Result<u64> {
        let inner = &self.inner;
        let _no_new_tipset = inner.producing.lock();
        let (state, height) = {
            let chain = inner.chain.read();
            let head = chain.head().context("the chain has no genesis")?;
            (head.post_state, head.tipset.height)
        };
        let tree = Tree::at(&inner.engine.store, state);
        take(&tree, &mut inner.ordered.lock().data, height + 1)
    }
}

fn check_provider(tree: &Tree, id: ActorID) -> anyhow::Result<()> {
    let code = tree.actor(id)?.map(|actor| actor.code);
    ensure!(
        code.and_then(|code| code_name(&code)) == Some("storageminer"),
        "the provider f0{id} is not a storage miner actor"
    );
    Ok(())
}
