//! `Version`, `ID`, `NetAddrsListen`, `Auth*`.

use damocles_node::method::Permission;
use damocles_node::{AddrInfo, Version, W};

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;

/// Major 2, minor 3: what Lotus' full node says at /rpc/v1.
const API_VERSION: u32 = 0x0002_0300;

pub(super) fn version(node: &Node, _: Params) -> Answer {
    let ours = env!("CARGO_PKG_VERSION");
    answer(Version {
        version: format!("{ours}+damocles-devnet"),
        api_version: API_VERSION,
        block_delay: node.network.policy().block_delay_secs,
        agent: format!("damocles-devnet-{ours}"),
    })
}

pub(super) fn id(node: &Node, _: Params) -> Answer {
    answer(&node.peer_id)
}

pub(super) fn net_addrs_listen(node: &Node, _: Params) -> Answer {
    // The chain has one node: it listens for RPC only, and says so.
    let addr = node.multiaddr.trim_end_matches("/http").to_owned();
    answer(AddrInfo {
        id: node.peer_id.clone(),
        addrs: vec![addr],
    })
}

pub(super) fn auth_verify(node: &Node, params: Params) -> Answer {
    let token: String = params.get(0)?;
    answer(node.auth.verify(&token).map_err(RpcError::failed)?)
}

pub(super) fn auth_new(node: &Node, params: Params) -> Answer {
    let allow: Vec<String> = params.get::<Option<_>>(0)?.unwrap_or_default();
    if let Some(unknown) = allow.iter().find(|w| Permission::from_name(w).is_none()) {
        return Err(RpcError::failed(format!(
            "unknown permission {unknown:?}; there are read, write, sign and admin"
        )));
    }
    let token = node.auth.issue(allow).map_err(RpcError::failed)?;
    answer(W(token.into_bytes()))
}
