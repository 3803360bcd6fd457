//! What the chain has of a miner, for one screen: all of it at one tipset.

use crate::chain::{Chain, ChainError, unless_refused};
use damocles_api::overview::{
    AccountOfMiner, DeadlineView, MinerOverview, PowerView, SectorCounts,
};
use damocles_node::{Deadline, DeadlineInfo, Partition, TipSetKey};
use damocles_types::ActorId;
use fvm_shared::address::Address;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sectors of some partitions. Pure.
pub(crate) fn counts(partitions: &[Partition]) -> SectorCounts {
    let of = |p: &Partition| SectorCounts {
        live: p.live_sectors.len(),
        active: p.active_sectors.len(),
        faulty: (&p.faulty_sectors & &p.live_sectors).len(),
        recovering: (&p.recovering_sectors & &p.live_sectors).len(),
    };
    partitions.iter().map(of).sum()
}

/// What an address has, in FIL; None: the chain has no such actor yet.
pub(crate) async fn balance(
    chain: &dyn Chain,
    address: Address,
    key: &TipSetKey,
) -> Result<Option<String>, ChainError> {
    let actor = unless_refused(chain.actor(address, key).await)?;
    Ok(actor.map(|actor| actor.balance.to_string()))
}

async fn deadlines(
    chain: &dyn Chain,
    miner: ActorId,
    info: &DeadlineInfo,
    key: &TipSetKey,
) -> Result<Vec<DeadlineView>, ChainError> {
    let all: Vec<Deadline> = chain.miner_deadlines(miner, key).await?;
    let mut views = Vec::new();
    for (index, deadline) in (0..).zip(&all) {
        let partitions = chain.miner_partitions(miner, index, key).await?;
        let sectors = counts(&partitions);
        if sectors.live == 0 {
            continue;
        }
        let open = info.opening(index);
        views.push(DeadlineView {
            index,
            open,
            close: open + info.wpost_challenge_window,
            partitions: partitions.len() as u64,
            proven: deadline.post_submissions.len(),
            sectors,
        });
    }
    views.sort_by_key(|view| view.open);
    Ok(views)
}

/// The overview.
///
/// # Errors
/// The node does not answer, or knows no such miner.
pub async fn of(chain: &dyn Chain, miner: ActorId) -> Result<MinerOverview, ChainError> {
    let head = chain.head().await?;
    let key = &head.cids;
    let block = head.blocks.first();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| d.as_secs());
    let info = chain.miner_info(miner, key).await?;
    let mut accounts = Vec::new();
    let controls = info.control_addresses.iter().map(|a| ("control", *a));
    let first = [("owner", info.owner), ("worker", info.worker)];
    for (role, address) in first.into_iter().chain(controls) {
        accounts.push(AccountOfMiner {
            role: role.to_owned(),
            address: address.to_string(),
            balance: balance(chain, address, key).await?,
        });
    }
    let deadline = chain.miner_proving_deadline(miner, key).await?;
    let deadlines = deadlines(chain, miner, &deadline, key).await?;
    let power = chain.miner_power(miner, key).await?;
    let actor = chain.actor(Address::new_id(miner), key).await?;
    Ok(MinerOverview {
        miner,
        epoch: head.height,
        age: block.map_or(0, |b| {
            i64::try_from(now.saturating_sub(b.timestamp)).unwrap_or(0)
        }),
        network_version: chain.network_version(key).await?,
        base_fee: head
            .base_fee()
            .map_or_else(String::new, ToString::to_string),
        sector_size: info.sector_size,
        power: PowerView {
            raw: power.miner_power.raw_byte_power.to_string(),
            quality_adjusted: power.miner_power.quality_adj_power.to_string(),
            network_raw: power.total_power.raw_byte_power.to_string(),
            network_quality_adjusted: power.total_power.quality_adj_power.to_string(),
            has_min_power: power.has_min_power,
        },
        sectors: deadlines.iter().map(|view| view.sectors).sum(),
        deadlines,
        balance: actor.balance.to_string(),
        available: chain.miner_available_balance(miner, key).await?.to_string(),
        accounts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::script::ScriptChain;
    use fvm_shared::econ::TokenAmount;

    #[tokio::test]
    async fn a_miner_on_one_screen() {
        let chain = ScriptChain::at(1000);
        chain.add_miner(1000);
        let sealed = |n: u64| damocles_types::Commitment([n as u8; 32]).sealed_cid();
        chain.place(1000, 1, vec![vec![1, 2], vec![3]], sealed);
        chain.place(1000, 3, vec![vec![4]], sealed);
        {
            let mut script = chain.edit();
            let windows = script.windows.get_mut(&1000).unwrap();
            windows.faulty = vec![2, 3];
            windows.recovering = vec![3];
            windows.submitted.insert(1, vec![0]);
            script
                .balances
                .insert(Address::new_id(1000), TokenAmount::from_whole(7));
        }
        let seen = of(&chain, 1000).await.unwrap();
        let of = |view: &DeadlineView| (view.index, view.open, view.sectors.live, view.proven);
        let ahead: Vec<_> = seen.deadlines.iter().map(of).collect();
        // windows of 60 epochs, four to a period: deadline 0 is open since 960
        assert_eq!(ahead, [(1, 1020, 3, 1), (3, 1140, 1, 0)]);
        let SectorCounts {
            live,
            active,
            faulty,
            recovering,
        } = seen.sectors;
        assert_eq!((live, active, faulty, recovering), (4, 2, 2, 1));
        assert_eq!(seen.balance, "7.0");
        let accounts: Vec<_> = seen.accounts.iter().map(|a| a.role.as_str()).collect();
        assert_eq!(accounts, ["owner", "worker", "control"]);
        assert!(super::of(&chain, 1001).await.is_err());
    }
}
