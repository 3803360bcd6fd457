//! Every served method with its handler. A method is in this table and in
//! `damocles_node::method::METHODS`, or it is not served; a test compares the two.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use damocles_node::method::{self, Method};

use super::call::{Answer, Params};
use super::node::Node;
use super::{chain, common, data, devnet, gas, miner, mpool, production, state, switch, wallet};

pub(super) type Later = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// How a method is run.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// Answers from memory; runs on the blocking pool.
    Now(fn(&Node, Params) -> Answer),
    /// Waits for the chain.
    Wait(fn(Arc<Node>, Params) -> Later),
    /// Answers with a channel; over WebSocket only.
    Notify,
}

/// The handlers by method name.
const HANDLERS: &[(&str, Handler)] = {
    use Handler::{Notify, Now, Wait};
    &[
        (method::VERSION, Now(common::version)),
        (method::ID, Now(common::id)),
        (method::NET_ADDRS_LISTEN, Now(common::net_addrs_listen)),
        (method::AUTH_VERIFY, Now(common::auth_verify)),
        (method::AUTH_NEW, Now(common::auth_new)),
        (method::CHAIN_HEAD, Now(chain::head)),
        (method::CHAIN_GET_GENESIS, Now(chain::genesis)),
        (method::CHAIN_GET_TIP_SET, Now(chain::tipset)),
        (
            method::CHAIN_GET_TIP_SET_BY_HEIGHT,
            Now(chain::tipset_by_height),
        ),
        (
            method::CHAIN_GET_TIP_SET_AFTER_HEIGHT,
            Now(chain::tipset_after_height),
        ),
        (method::CHAIN_GET_FINALIZED_TIP_SET, Now(chain::finalized)),
        (method::CHAIN_GET_BLOCK, Now(chain::block)),
        (method::CHAIN_GET_BLOCK_MESSAGES, Now(chain::block_messages)),
        (method::CHAIN_GET_MESSAGE, Now(chain::message)),
        (method::CHAIN_READ_OBJ, Now(chain::read_obj)),
        (method::CHAIN_HAS_OBJ, Now(chain::has_obj)),
        (method::CHAIN_NOTIFY, Notify),
        (method::SYNC_STATE, Now(state::sync_state)),
        (method::STATE_NETWORK_NAME, Now(state::network_name)),
        (method::STATE_NETWORK_VERSION, Now(state::network_version)),
        (method::STATE_GET_NETWORK_PARAMS, Now(state::network_params)),
        (method::STATE_GET_ACTOR, Now(state::actor)),
        (method::STATE_READ_STATE, Now(state::read_state)),
        (method::STATE_LOOKUP_ID, Now(state::lookup_id)),
        (method::STATE_ACCOUNT_KEY, Now(state::account_key)),
        (method::STATE_LIST_MINERS, Now(state::list_miners)),
        (method::STATE_CALL, Now(state::call)),
        (method::STATE_SEARCH_MSG, Now(state::search_msg)),
        (
            method::STATE_WAIT_MSG,
            Wait(|n, p| Box::pin(state::wait_msg(n, p))),
        ),
        (method::STATE_MINER_INFO, Now(miner::info)),
        (method::STATE_MINER_POWER, Now(miner::power)),
        (
            method::STATE_MINER_AVAILABLE_BALANCE,
            Now(miner::available_balance),
        ),
        (method::STATE_MINER_DEADLINES, Now(miner::deadlines)),
        (method::STATE_MINER_PARTITIONS, Now(miner::partitions)),
        (
            method::STATE_MINER_PROVING_DEADLINE,
            Now(miner::proving_deadline),
        ),
        (method::STATE_MINER_SECTORS, Now(miner::sectors)),
        (
            method::STATE_MINER_ACTIVE_SECTORS,
            Now(miner::active_sectors),
        ),
        (method::STATE_MINER_SECTOR_COUNT, Now(miner::sector_count)),
        (method::STATE_MINER_FAULTS, Now(miner::faults)),
        (method::STATE_MINER_RECOVERIES, Now(miner::recoveries)),
        (method::STATE_MINER_ALLOCATED, Now(miner::allocated)),
        (
            method::STATE_MINER_SECTOR_ALLOCATED,
            Now(miner::sector_allocated),
        ),
        (method::STATE_SECTOR_GET_INFO, Now(miner::sector_info)),
        (
            method::STATE_SECTOR_PRE_COMMIT_INFO,
            Now(miner::precommit_info),
        ),
        (method::STATE_SECTOR_PARTITION, Now(miner::sector_partition)),
        (
            method::STATE_SECTOR_EXPIRATION,
            Now(miner::sector_expiration),
        ),
        (
            method::STATE_MINER_PRE_COMMIT_DEPOSIT_FOR_POWER,
            Now(miner::precommit_deposit),
        ),
        (
            method::STATE_MINER_INITIAL_PLEDGE_COLLATERAL,
            Now(miner::pledge_collateral),
        ),
        (
            method::STATE_MINER_INITIAL_PLEDGE_FOR_SECTOR,
            Now(miner::pledge_for_sector),
        ),
        (
            method::STATE_MINER_CREATION_DEPOSIT,
            Now(miner::creation_deposit),
        ),
        (method::STATE_GET_ALLOCATION, Now(data::allocation)),
        (
            method::STATE_GET_ALLOCATION_ID_FOR_PENDING_DEAL,
            Now(data::allocation_of_pending_deal),
        ),
        (method::STATE_GET_CLAIM, Now(data::claim)),
        (method::STATE_MARKET_STORAGE_DEAL, Now(data::market_deal)),
        (
            method::STATE_GET_RANDOMNESS_FROM_TICKETS,
            Now(state::randomness_from_tickets),
        ),
        (
            method::STATE_GET_RANDOMNESS_FROM_BEACON,
            Now(state::randomness_from_beacon),
        ),
        (
            method::STATE_GET_RANDOMNESS_DIGEST_FROM_TICKETS,
            Now(state::digest_from_tickets),
        ),
        (
            method::STATE_GET_RANDOMNESS_DIGEST_FROM_BEACON,
            Now(state::digest_from_beacon),
        ),
        (
            method::STATE_GET_BEACON_ENTRY,
            Wait(|n, p| Box::pin(state::beacon_entry(n, p))),
        ),
        (method::MINER_GET_BASE_INFO, Now(production::base_info)),
        (method::MINER_CREATE_BLOCK, Now(production::create_block)),
        (method::SYNC_SUBMIT_BLOCK, Now(production::submit_block)),
        (method::MPOOL_PUSH, Now(mpool::push)),
        (method::MPOOL_PUSH_MESSAGE, Now(mpool::push_message)),
        (method::MPOOL_GET_NONCE, Now(mpool::get_nonce)),
        (method::MPOOL_PENDING, Now(mpool::pending)),
        (method::MPOOL_SELECT, Now(mpool::select)),
        (method::GAS_ESTIMATE_MESSAGE_GAS, Now(gas::message_gas)),
        (method::GAS_ESTIMATE_FEE_CAP, Now(gas::fee_cap)),
        (method::GAS_ESTIMATE_GAS_PREMIUM, Now(gas::premium)),
        (method::GAS_ESTIMATE_GAS_LIMIT, Now(gas::gas_limit)),
        (method::WALLET_NEW, Now(wallet::create)),
        (method::WALLET_HAS, Now(wallet::has)),
        (method::WALLET_LIST, Now(wallet::list)),
        (method::WALLET_BALANCE, Now(wallet::balance)),
        (method::WALLET_SIGN, Now(wallet::sign)),
        (method::WALLET_SIGN_MESSAGE, Now(wallet::sign_message)),
        (method::WALLET_VERIFY, Now(wallet::verify)),
        (method::WALLET_DEFAULT_ADDRESS, Now(wallet::default_address)),
        (method::WALLET_SET_DEFAULT, Now(wallet::set_default)),
        (method::WALLET_EXPORT, Now(wallet::export)),
        (method::WALLET_IMPORT, Now(wallet::import)),
        (method::WALLET_DELETE, Now(wallet::delete)),
        (method::DEVNET_MINE, Now(devnet::mine)),
        (method::DEVNET_SET_BLOCK_TIME, Now(devnet::set_block_time)),
        (method::DEVNET_SNAPSHOT, Now(devnet::snapshot)),
        (method::DEVNET_HOLD_MESSAGES, Now(devnet::hold_messages)),
        (method::DEVNET_POSTS, Now(devnet::posts)),
        (method::DEVNET_MESSAGES, Now(devnet::messages)),
        (method::DEVNET_ALLOCATE, Now(data::allocate)),
        (method::DEVNET_PUBLISH_DEAL, Now(data::publish_deal)),
        (method::DEVNET_REORG, Now(switch::reorg)),
        (method::DEVNET_NULL_ROUNDS, Now(switch::null_rounds)),
        (method::DEVNET_SET_BASE_FEE, Now(switch::set_base_fee)),
        (method::DEVNET_DROP, Now(switch::drop_message)),
        (method::DEVNET_HOLD_MESSAGE, Now(switch::hold_message)),
        (method::DEVNET_FORGET_POOL, Now(switch::forget_pool)),
        (method::DEVNET_TAKE_NONCE, Now(switch::take_nonce)),
        (method::DEVNET_UPGRADE_NETWORK, Now(switch::upgrade_network)),
        (method::DEVNET_SET_BEHIND, Now(switch::set_behind)),
        (method::DEVNET_STALL, Now(switch::stall)),
        (method::DEVNET_FAIL, Now(switch::fail)),
        (method::DEVNET_LOSE_ANSWERS, Now(switch::lose_answers)),
        (method::DEVNET_OUTAGE, Now(switch::outage)),
        (method::DEVNET_HOLD_PUSHES, Now(switch::hold_pushes)),
        (method::DEVNET_LOSE_IDS, Now(switch::lose_ids)),
    ]
};

/// The method of that full name and how to run it.
pub(super) fn find(name: &str) -> Option<(&'static Method, Handler)> {
    let (_, handler) = HANDLERS.iter().find(|(known, _)| *known == name)?;
    Some((method::find(name)?, *handler))
}

/// The served methods, as a table for people.
pub fn render() -> String {
    let mut out =
        String::from("| method | permission | parameters | result |\n|---|---|---|---|\n");
    for method in method::METHODS {
        let params = method.params.join(", ");
        out.push_str(&format!(
            "| {} | {} | {params} | {} |\n",
            method.name,
            method.permission.name(),
            method.result
        ));
    }
    out
}

/// What stands above the switches on the page of the devnet.
const PAGE: &str = include_str!("page.md");

/// The page docs/devnet.md: how the devnet is run, and every method of its own.
pub fn page() -> String {
    let mut out = PAGE.to_owned();
    let own = method::METHODS
        .iter()
        .filter(|method| method.name.starts_with("Devnet."));
    for method in own {
        let params: Vec<String> = method.params.iter().map(|p| format!("`{p}`")).collect();
        let params = if params.is_empty() {
            "no parameters".to_owned()
        } else {
            params.join(", ")
        };
        out.push_str(&format!(
            "\n**{}** ({params}) → {}.\n{}\n",
            method.name,
            method.result.replace('<', "\\<"),
            method.about.trim()
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn exactly_the_methods_of_the_shared_list_are_served() {
        let served: BTreeSet<_> = HANDLERS.iter().map(|(name, _)| *name).collect();
        let known: BTreeSet<_> = method::METHODS.iter().map(|m| m.name).collect();
        assert_eq!(served, known);
        assert_eq!(served.len(), HANDLERS.len());
        assert!(render().contains("| Filecoin.MpoolPushMessage | sign | message, spec? |"));
    }
}
