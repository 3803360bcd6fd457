//! From the options to a node: loads the network of a repository or makes it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use damocles_daemon::exit::Exit;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::{Genesis, chain_size};
use crate::fatal::fatal;
use crate::network::{BlockTime, NetworkConfig};
use crate::rpc::{self, Node};

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
        miners: genesis.miners,
        owner: keys.miner,
        worker: keys.miner,
        funded,
        genesis_time: None,
    })?;
    node.network.set_block_time(block_time);
    Ok(node)
}

/// A network within a test's process: its node, where it serves, and its admin token.
#[derive(Clone, Debug)]
pub struct Local {
    pub node: Arc<Node>,
    pub address: SocketAddr,
    pub token: String,
}

impl Local {
    /// Its JSON-RPC.
    pub fn url(&self) -> String {
        format!("http://{}/rpc/v1", self.address)
    }
}

/// Opens a network in `repo` and serves it on any free port until `stop`; blocks are made when
/// told.
pub async fn local(
    repo: &Path,
    genesis: Genesis,
    stop: CancellationToken,
) -> anyhow::Result<Local> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let place = repo.to_owned();
    let multiaddr = format!("/ip4/127.0.0.1/tcp/{}/http", address.port());
    let opened = move || open(&place, &genesis, BlockTime::Manual, multiaddr);
    let node = Arc::new(tokio::task::spawn_blocking(opened).await??);
    node.announce()?;
    tokio::spawn(rpc::serve(listener, Arc::clone(&node), stop));
    let token = std::fs::read_to_string(repo.join("token"))?;
    Ok(Local {
        node,
        address,
        token: token.trim().to_owned(),
    })
}
