//! From the options to a node: loads the network of a repository or makes it.

use std::path::Path;

use damocles_daemon::exit::Exit;

use crate::cli::{Genesis, chain_size};
use crate::fatal::fatal;
use crate::network::{BlockTime, NetworkConfig};
use crate::rpc::Node;

/// Opens the node of a repository, making its network when there is none. Blocking.
pub fn open(
    repo: &Path,
    genesis: &Genesis,
    block_time: BlockTime,
    multiaddr: String,
) -> anyhow::Result<Node> {
    open_with(repo, genesis, None, block_time, multiaddr)
}

/// The same, with seal proofs padded to that many bytes where the policy names no number.
pub fn open_with(
    repo: &Path,
    genesis: &Genesis,
    proof_bytes: Option<u64>,
    block_time: BlockTime,
    multiaddr: String,
) -> anyhow::Result<Node> {
    let mut policy = genesis.network_policy()?;
    policy.proof_bytes = proof_bytes.unwrap_or(policy.proof_bytes);
    policy.validate().map_err(|e| fatal(Exit::Config, e))?;
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
