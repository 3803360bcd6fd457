//! Data that a test orders: allocations of the verified registry and deals of the storage
//! market. On a real network a client's message makes them; here they come into being at the
//! start of the next tipset, before its messages. Orders outlive the branch that they were
//! carried out on: on the next one they are carried out again, in the same order, so that each
//! keeps the number that was promised.
use anyhow::ensure;
use fil_actors_shared::v18::runtime::Policy;
use fvm_shared::clock::ChainEpoch;
use serde::{Deserialize, Serialize};

use crate::market::{self, DealProposal};
use crate::registry::{self, Allocation};
use crate::tree::{MARKET, Tree, VERIFIED_REGISTRY};

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    Allocation(Allocation),
    /// The parties are IDs. A verified one gets an allocation, too.
    Deal(Box<DealProposal>),
}

impl Wanted {
    fn allocates(&self) -> bool {
        match self {
            Self::Allocation(_) => true,
            Self::Deal(proposal) => proposal.verified_deal,
        }
    }
}

/// One order with the number that was promised for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub number: u64,
    pub wanted: Wanted,
    /// Epoch of the tipset that has it.
    done: Option<ChainEpoch>,
}

/// All orders of a network, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Orders(Vec<Order>);

impl Orders {
    /// Adds an order; its number. Nothing but orders makes allocations (from 1 on) and deals
    /// (from 0 on), so that they can be counted.
    pub fn add(&mut self, wanted: Wanted) -> u64 {
        let count = |like: &dyn Fn(&Wanted) -> bool| {
            self.0.iter().filter(|order| like(&order.wanted)).count() as u64
        };
        let number = match wanted {
            Wanted::Allocation(_) => 1 + count(&Wanted::allocates),
            Wanted::Deal(_) => count(&|other| matches!(other, Wanted::Deal(_))),
        };
        self.0.push(Order {
            number,
            wanted,
            done: None,
        });
        number
    }

    /// Whether the same deal was ordered before.
    pub fn has_deal(&self, proposal: &DealProposal) -> bool {
        let mut orders = self.0.iter();
        orders.any(|order| matches!(&order.wanted, Wanted::Deal(known) if **known == *proposal))
    }

    /// Those that the next tipset carries out.
    pub fn waiting(&self) -> Vec<Order> {
        let waiting = self.0.iter().filter(|order| order.done.is_none());
        waiting.cloned().collect()
    }

    /// The tipset at `height` has all that waited.
    pub fn carried_out(&mut self, height: ChainEpoch) {
        for order in &mut self.0 {
            order.done.get_or_insert(height);
        }
    }

    /// The tipsets above `height` are lost.
    pub fn take_back(&mut self, height: ChainEpoch) {
        for order in &mut self.0 {
            order.done = order.done.filter(|at| *at <= height);
        }
    }
}

/// Carries out orders on a state at an epoch.
pub fn carry_out(
    orders: &[Order],
    tree: &mut Tree,
    policy: &Policy,
    epoch: ChainEpoch,
) -> anyhow::Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    let store = tree.store().clone();
    let mut allocations = registry::load(tree)?;
    let mut deals = market::load(tree)?;
    for order in orders {
        let number = match &order.wanted {
            Wanted::Allocation(wanted) => registry::allocate(&store, &mut allocations, wanted)?,
            Wanted::Deal(proposal) => {
                let allocation = if proposal.verified_deal {
                    let wanted = market::allocation_for(proposal, policy, epoch)?;
                    Some(registry::allocate(&store, &mut allocations, &wanted)?)
                } else {
                    None
                };
                market::publish(&store, &mut deals, policy, proposal, allocation)?
            }
        };
        ensure!(
            number == order.number,
            "order {} became number {number}",
            order.number
        );
    }
    tree.put_state(VERIFIED_REGISTRY, &allocations)?;
    tree.put_state(MARKET, &deals)
}

#[cfg(test)]
mod tests {
    use fvm_shared::piece::PaddedPieceSize;

    use super::*;

    fn allocation() -> Wanted {
        Wanted::Allocation(Allocation {
            client: 100,
            provider: 1000,
            data: cid::Cid::default(),
            size: PaddedPieceSize(1024),
            term_min: 1,
            term_max: 2,
            expiration: 3,
        })
    }

    fn deal(verified_deal: bool) -> Wanted {
        Wanted::Deal(Box::new(DealProposal {
            piece_cid: cid::Cid::default(),
            piece_size: PaddedPieceSize(1024),
            verified_deal,
            client: fvm_shared::address::Address::new_id(100),
            provider: fvm_shared::address::Address::new_id(1000),
            label: market::Label::String(String::new()),
            start_epoch: 1,
            end_epoch: 2,
            storage_price_per_epoch: Default::default(),
            provider_collateral: Default::default(),
            client_collateral: Default::default(),
        }))
    }

    #[test]
    fn numbers_are_counted_by_kind_and_a_verified_deal_takes_an_allocation_too() {
        let mut orders = Orders::default();
        let wanted = [
            (allocation(), 1),
            (deal(false), 0),
            (deal(true), 1),
            (allocation(), 3),
            (deal(false), 2),
        ];
        for (wanted, number) in wanted {
            assert_eq!(orders.add(wanted), number);
        }
    }

    #[test]
    fn what_a_lost_tipset_had_waits_again_in_the_old_order() {
        let mut orders = Orders::default();
        orders.add(allocation());
        orders.carried_out(5);
        orders.add(allocation());
        orders.carried_out(7);
        orders.add(allocation());
        let numbers = |orders: &Orders| -> Vec<_> {
            orders.waiting().iter().map(|order| order.number).collect()
        };
        assert_eq!(numbers(&orders), [3]);
        orders.take_back(6);
        assert_eq!(numbers(&orders), [2, 3]);
        orders.take_back(4);
        assert_eq!(numbers(&orders), [1, 2, 3]);
    }
}
