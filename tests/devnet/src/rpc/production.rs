//! `Miner*` and `SyncSubmitBlock`: blocks of miners.

use damocles_node::{self as wire, BlockMsg, BlockTemplate, W};
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::signature::SignatureType;

use super::call::{Answer, Params, RpcError, answer};
use super::node::Node;
use super::{chain, shapes};

pub(super) fn base_info(node: &Node, params: Params) -> Answer {
    let W(miner): W<Address> = params.get(0)?;
    let round: ChainEpoch = params.get(1)?;
    let base = chain::load(node, &params.get(2)?)?;
    let found = node.network.mining_base(&miner, round, &base.key)?;
    answer(found.map(|base| {
        wire::MiningBaseInfo {
            miner_power: base.power,
            network_power: base.network_power,
            sectors: (base.sectors.iter())
                .map(|sector| wire::ExtendedSectorInfo {
                    seal_proof: sector.seal_proof.into(),
                    sector_number: sector.sector_number,
                    sector_key: sector.sector_key_cid,
                    sealed_cid: sector.sealed_cid,
                })
                .collect(),
            worker_key: base.worker,
            sector_size: base.sector_size,
            prev_beacon_entry: shapes::beacon_entry(&base.prev_beacon),
            beacon_entries: base
                .beacon_entries
                .iter()
                .map(shapes::beacon_entry)
                .collect(),
            eligible_for_mining: base.eligible,
        }
    }))
}

/// As on Lotus the node's wallet signs, so it must have the worker's key.
pub(super) fn create_block(node: &Node, params: Params) -> Answer {
    let template: BlockTemplate = params.get(0)?;
    let mut sign = |address: &Address, bytes: &[u8]| {
        let signed = node.wallet.lock().sign(address, bytes);
        signed.map_err(|e| e.to_string())
    };
    let made = node
        .network
        .create_block(shapes::template(template), &mut sign);
    let (header, messages) = made.map_err(RpcError::failed)?;
    let (bls, secp): (Vec<_>, Vec<_>) = (messages.into_iter())
        .partition(|(_, message)| message.signature.sig_type == SignatureType::BLS);
    answer(BlockMsg {
        header: shapes::block(&header),
        bls_messages: bls.into_iter().map(|(cid, _)| cid).collect(),
        secpk_messages: secp.into_iter().map(|(cid, _)| cid).collect(),
    })
}

pub(super) fn submit_block(node: &Node, params: Params) -> Answer {
    let block: BlockMsg = params.get(0)?;
    let header = shapes::to_block(block.header);
    let taken = node
        .network
        .submit_block(header, &block.bls_messages, &block.secpk_messages);
    taken.map_err(RpcError::failed)?;
    answer(())
}
