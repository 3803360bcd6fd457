//! From the options to a node: loads the network of a repository or makes it.

use std::path::Path;

use crate::cli::{Genesis, chain_size};
use crate::network::{BlockTime, NetworkConfig};
use crate::rpc::Node;

/// Opens the node of a repository, making its network when there is none. Blocking.
pub fn open(
    repo: &Path,
    genesis: &Genesis,
    block_time: BlockTime,
    multiaddr: String,
) -> anyhow::Result<Node> {
    let policy = genesis.network_policy()?;
    let seed = genesis.seed();
    let node = Node::open(repo, seed, multiaddr, |keys, funded| NetworkConfig {
        repo: repo.to_owned(),
        policy,
        seed,
        block_time,
        sector_size: chain_size(genesis.sector_size),
        preseal: genesis.preseal,
        owner: keys.miner,
        worker: keys.miner,
        funded,
        genesis_time: None,
    })?;
    node.network.set_block_time(block_time);
    Ok(node)
}
