//! From the chain's types to the node's JSON shapes and back.

use cid::multibase::Base;
use damocles_node as wire;
use fil_actor_miner_state::v18 as actor;
use fvm_shared::receipt::Receipt;
use fvm_shared::sector::PoStProof;

use super::call::RpcError;
use crate::block::{BeaconEntry, BlockHeader, ElectionProof, Ticket, Tipset, TipsetKey};
use crate::chain::Lookup;
use crate::message::SignedMessage;
use crate::network::{HeadChange, HeadChangeKind};
use crate::production::Template;
use crate::view::{DeadlineView, PowerView};

/// base58btc without the multibase prefix, as peer ids are written.
pub(super) fn base58(bytes: &[u8]) -> String {
    Base::Base58Btc.encode(bytes)
}

pub(super) fn key(key: &wire::TipSetKey) -> TipsetKey {
    TipsetKey(key.0.clone())
}

pub(super) fn tipset(tipset: &Tipset) -> wire::TipSet {
    wire::TipSet {
        cids: wire::TipSetKey(tipset.key.0.clone()),
        blocks: tipset.blocks.iter().map(block).collect(),
        height: tipset.height,
    }
}

pub(super) fn block(block: &BlockHeader) -> wire::BlockHeader {
    wire::BlockHeader {
        miner: block.miner,
        ticket: block.ticket.as_ref().map(|t| wire::Ticket {
            vrf_proof: t.vrf_proof.clone(),
        }),
        election_proof: block.election_proof.as_ref().map(|p| wire::ElectionProof {
            win_count: p.win_count,
            vrf_proof: p.vrf_proof.clone(),
        }),
        beacon_entries: block.beacon_entries.iter().map(beacon_entry).collect(),
        win_po_st_proof: block
            .win_post_proof
            .iter()
            .map(|p| wire::PoStProof {
                post_proof: p.post_proof.into(),
                proof_bytes: p.proof_bytes.clone(),
            })
            .collect(),
        parents: block.parents.clone(),
        parent_weight: block.parent_weight.clone(),
        height: block.height,
        parent_state_root: block.parent_state_root,
        parent_message_receipts: block.parent_message_receipts,
        messages: block.messages,
        bls_aggregate: block.bls_aggregate.clone(),
        timestamp: block.timestamp,
        block_sig: block.block_sig.clone(),
        fork_signaling: block.fork_signaling,
        parent_base_fee: block.parent_base_fee.clone(),
    }
}

pub(super) fn beacon_entry(entry: &BeaconEntry) -> wire::BeaconEntry {
    wire::BeaconEntry {
        round: entry.round,
        data: entry.data.clone(),
    }
}

fn to_ticket(ticket: wire::Ticket) -> Ticket {
    Ticket {
        vrf_proof: ticket.vrf_proof,
    }
}

fn to_election_proof(proof: wire::ElectionProof) -> ElectionProof {
    ElectionProof {
        win_count: proof.win_count,
        vrf_proof: proof.vrf_proof,
    }
}

fn to_beacon_entry(entry: wire::BeaconEntry) -> BeaconEntry {
    BeaconEntry {
        round: entry.round,
        data: entry.data,
    }
}

fn to_post_proof(proof: wire::PoStProof) -> PoStProof {
    PoStProof {
        post_proof: proof.post_proof.into(),
        proof_bytes: proof.proof_bytes,
    }
}

pub(super) fn to_block(block: wire::BlockHeader) -> BlockHeader {
    BlockHeader {
        miner: block.miner,
        ticket: block.ticket.map(to_ticket),
        election_proof: block.election_proof.map(to_election_proof),
        beacon_entries: block
            .beacon_entries
            .into_iter()
            .map(to_beacon_entry)
            .collect(),
        win_post_proof: block
            .win_po_st_proof
            .into_iter()
            .map(to_post_proof)
            .collect(),
        parents: block.parents,
        parent_weight: block.parent_weight,
        height: block.height,
        parent_state_root: block.parent_state_root,
        parent_message_receipts: block.parent_message_receipts,
        messages: block.messages,
        bls_aggregate: block.bls_aggregate,
        timestamp: block.timestamp,
        block_sig: block.block_sig,
        fork_signaling: block.fork_signaling,
        parent_base_fee: block.parent_base_fee,
    }
}

pub(super) fn template(template: wire::BlockTemplate) -> Template {
    Template {
        miner: template.miner,
        parents: key(&template.parents),
        ticket: template.ticket.map(to_ticket),
        election_proof: template.eproof.map(to_election_proof),
        beacon_entries: template
            .beacon_values
            .into_iter()
            .map(to_beacon_entry)
            .collect(),
        messages: template.messages.iter().map(to_signed).collect(),
        height: template.epoch,
        timestamp: template.timestamp,
        win_post_proof: template
            .winning_post_proof
            .into_iter()
            .map(to_post_proof)
            .collect(),
    }
}

pub(super) fn head_change(change: &HeadChange) -> wire::HeadChange {
    wire::HeadChange {
        r#type: match change.kind {
            HeadChangeKind::Current => wire::ChangeKind::Current,
            HeadChangeKind::Apply => wire::ChangeKind::Apply,
            HeadChangeKind::Revert => wire::ChangeKind::Revert,
        },
        val: tipset(&change.tipset),
    }
}

pub(super) fn signed(message: &SignedMessage) -> wire::SignedMessage {
    wire::SignedMessage {
        message: message.message.clone().into(),
        signature: message.signature.clone(),
    }
}

pub(super) fn to_signed(message: &wire::SignedMessage) -> SignedMessage {
    SignedMessage {
        message: message.message.clone().into(),
        signature: message.signature.clone(),
    }
}

pub(super) fn receipt(receipt: &Receipt) -> wire::MessageReceipt {
    wire::MessageReceipt {
        exit_code: i64::from(receipt.exit_code.value()),
        r#return: receipt.return_data.clone(),
        gas_used: i64::try_from(receipt.gas_used).unwrap_or(i64::MAX),
        events_root: receipt.events_root,
    }
}

pub(super) fn lookup(found: &Lookup) -> wire::MsgLookup {
    wire::MsgLookup {
        message: found.message,
        receipt: receipt(&found.receipt),
        return_dec: serde_json::Value::Null,
        tip_set: wire::TipSetKey(found.tipset.0.clone()),
        height: found.height,
    }
}

pub(super) fn miner_info(info: &actor::MinerInfo) -> wire::MinerInfo {
    let pending = info.pending_worker_key.as_ref();
    wire::MinerInfo {
        owner: info.owner,
        worker: info.worker,
        new_worker: pending.map(|p| p.new_worker),
        control_addresses: info.control_addresses.clone(),
        worker_change_epoch: pending.map_or(-1, |p| p.effective_at),
        peer_id: (!info.peer_id.is_empty()).then(|| base58(&info.peer_id)),
        multiaddrs: info.multi_address.iter().map(|m| m.0.clone()).collect(),
        window_po_st_proof_type: info.window_post_proof_type.into(),
        sector_size: info.sector_size as u64,
        window_po_st_partition_sectors: info.window_post_partition_sectors,
        consensus_fault_elapsed: info.consensus_fault_elapsed,
        pending_owner_address: info.pending_owner_address,
        beneficiary: info.beneficiary,
        beneficiary_term: Some(wire::BeneficiaryTerm {
            quota: info.beneficiary_term.quota.clone(),
            used_quota: info.beneficiary_term.used_quota.clone(),
            expiration: info.beneficiary_term.expiration,
        }),
        pending_beneficiary_term: info.pending_beneficiary_term.as_ref().map(|p| {
            wire::PendingBeneficiaryChange {
                new_beneficiary: p.new_beneficiary,
                new_quota: p.new_quota.clone(),
                new_expiration: p.new_expiration,
                approved_by_beneficiary: p.approved_by_beneficiary,
                approved_by_nominee: p.approved_by_nominee,
            }
        }),
    }
}

pub(super) fn power(power: &PowerView) -> wire::MinerPower {
    let claim = |pair: &actor::PowerPair| wire::Claim {
        raw_byte_power: pair.raw.clone(),
        quality_adj_power: pair.qa.clone(),
    };
    wire::MinerPower {
        miner_power: claim(&power.miner),
        total_power: claim(&power.total),
        has_min_power: power.has_min_power,
    }
}

pub(super) fn deadline_info(info: &actor::DeadlineInfo) -> wire::DeadlineInfo {
    wire::DeadlineInfo {
        current_epoch: info.current_epoch,
        period_start: info.period_start,
        index: info.index,
        open: info.open,
        close: info.close,
        challenge: info.challenge,
        fault_cutoff: info.fault_cutoff,
        wpost_period_deadlines: info.w_post_period_deadlines,
        wpost_proving_period: info.w_post_proving_period,
        wpost_challenge_window: info.w_post_challenge_window,
        wpost_challenge_lookback: info.w_post_challenge_lookback,
        fault_declaration_cutoff: info.fault_declaration_cutoff,
    }
}

pub(super) fn deadline(view: &DeadlineView) -> wire::Deadline {
    wire::Deadline {
        post_submissions: view.partitions_posted.clone(),
        disputable_proof_count: view.disputable_proofs,
        daily_fee: view.deadline.daily_fee.clone(),
    }
}

pub(super) fn partition(partition: &actor::Partition) -> wire::Partition {
    wire::Partition {
        all_sectors: partition.sectors.clone(),
        faulty_sectors: partition.faults.clone(),
        recovering_sectors: partition.recoveries.clone(),
        live_sectors: partition.live_sectors(),
        active_sectors: partition.active_sectors(),
    }
}

pub(super) fn sector(info: &actor::SectorOnChainInfo) -> wire::SectorOnChainInfo {
    wire::SectorOnChainInfo {
        sector_number: info.sector_number,
        seal_proof: info.seal_proof.into(),
        sealed_cid: info.sealed_cid,
        activation: info.activation,
        expiration: info.expiration,
        deal_weight: info.deal_weight.clone(),
        verified_deal_weight: info.verified_deal_weight.clone(),
        initial_pledge: info.initial_pledge.clone(),
        expected_day_reward: info.expected_day_reward.clone(),
        expected_storage_pledge: info.expected_storage_pledge.clone(),
        power_base_epoch: info.power_base_epoch,
        replaced_day_reward: info.replaced_day_reward.clone(),
        sector_key_cid: info.sector_key_cid,
        flags: u64::from(info.flags.bits()),
        daily_fee: info.daily_fee.clone(),
    }
}

pub(super) fn precommit(
    info: &actor::SectorPreCommitOnChainInfo,
) -> wire::SectorPreCommitOnChainInfo {
    wire::SectorPreCommitOnChainInfo {
        info: wire::SectorPreCommitInfo {
            seal_proof: info.info.seal_proof.into(),
            sector_number: info.info.sector_number,
            sealed_cid: info.info.sealed_cid,
            seal_rand_epoch: info.info.seal_rand_epoch,
            deal_ids: info.info.deal_ids.clone(),
            expiration: info.info.expiration,
            unsealed_cid: info.info.unsealed_cid.0,
        },
        pre_commit_deposit: info.pre_commit_deposit.clone(),
        pre_commit_epoch: info.pre_commit_epoch,
    }
}

pub(super) fn to_precommit_info(
    info: wire::SectorPreCommitInfo,
) -> Result<actor::SectorPreCommitInfo, RpcError> {
    let seal_proof = fvm_shared::sector::RegisteredSealProof::from(info.seal_proof);
    if matches!(
        seal_proof,
        fvm_shared::sector::RegisteredSealProof::Invalid(_)
    ) {
        return Err(RpcError::failed(format!(
            "unknown seal proof type {}",
            info.seal_proof
        )));
    }
    Ok(actor::SectorPreCommitInfo {
        seal_proof,
        sector_number: info.sector_number,
        sealed_cid: info.sealed_cid,
        seal_rand_epoch: info.seal_rand_epoch,
        deal_ids: info.deal_ids,
        expiration: info.expiration,
        unsealed_cid: actor::CompactCommD(info.unsealed_cid),
    })
}
