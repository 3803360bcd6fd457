//! A block header as it stands on chain: its CBOR tuple, its CID, and what its producer signs.

use crate::{BlockHeader, BlockMsg, message::chain_cid};
use cid::Cid;
use fvm_ipld_encoding::{
    strict_bytes, to_vec,
    tuple::{Serialize_tuple, serde_tuple},
};
use fvm_shared::{
    address::Address,
    bigint::{BigInt, bigint_ser},
    clock::ChainEpoch,
    crypto::signature::Signature,
    econ::TokenAmount,
};

#[derive(Serialize_tuple)]
struct Ticket<'a> {
    #[serde(with = "strict_bytes")]
    vrf_proof: &'a [u8],
}

#[derive(Serialize_tuple)]
struct ElectionProof<'a> {
    win_count: i64,
    #[serde(with = "strict_bytes")]
    vrf_proof: &'a [u8],
}

#[derive(Serialize_tuple)]
struct BeaconEntry<'a> {
    round: u64,
    #[serde(with = "strict_bytes")]
    data: &'a [u8],
}

#[derive(Serialize_tuple)]
struct PoStProof<'a> {
    post_proof: i64,
    #[serde(with = "strict_bytes")]
    proof_bytes: &'a [u8],
}

/// Fields in the order of the chain's tuple (Filecoin spec, "Block").
#[derive(Serialize_tuple)]
struct Header<'a> {
    miner: &'a Address,
    ticket: Option<Ticket<'a>>,
    election_proof: Option<ElectionProof<'a>>,
    beacon_entries: Vec<BeaconEntry<'a>>,
    win_post_proof: Vec<PoStProof<'a>>,
    parents: &'a [Cid],
    #[serde(with = "bigint_ser")]
    parent_weight: &'a BigInt,
    height: ChainEpoch,
    parent_state_root: &'a Cid,
    parent_message_receipts: &'a Cid,
    messages: &'a Cid,
    bls_aggregate: &'a Option<Signature>,
    timestamp: u64,
    block_sig: Option<&'a Signature>,
    fork_signaling: u64,
    parent_base_fee: &'a TokenAmount,
}

impl BlockHeader {
    fn encode(&self, signature: Option<&Signature>) -> Vec<u8> {
        let header = Header {
            miner: &self.miner,
            ticket: self.ticket.as_ref().map(|t| Ticket {
                vrf_proof: &t.vrf_proof,
            }),
            election_proof: self.election_proof.as_ref().map(|p| ElectionProof {
                win_count: p.win_count,
                vrf_proof: &p.vrf_proof,
            }),
            beacon_entries: (self.beacon_entries.iter())
                .map(|entry| BeaconEntry {
                    round: entry.round,
                    data: &entry.data,
                })
                .collect(),
            win_post_proof: (self.win_po_st_proof.iter())
                .map(|proof| PoStProof {
                    post_proof: proof.post_proof,
                    proof_bytes: &proof.proof_bytes,
                })
                .collect(),
            parents: &self.parents,
            parent_weight: &self.parent_weight,
            height: self.height,
            parent_state_root: &self.parent_state_root,
            parent_message_receipts: &self.parent_message_receipts,
            messages: &self.messages,
            bls_aggregate: &self.bls_aggregate,
            timestamp: self.timestamp,
            block_sig: signature,
            fork_signaling: self.fork_signaling,
            parent_base_fee: &self.parent_base_fee,
        };
        // a tuple of numbers, byte strings and links always encodes
        to_vec(&header).unwrap_or_default()
    }

    /// The block's name on chain.
    pub fn cid(&self) -> Cid {
        chain_cid(&self.encode(self.block_sig.as_ref()))
    }

    /// What the producer's key signs: the header without the signature.
    pub fn signing_bytes(&self) -> Vec<u8> {
        self.encode(None)
    }
}

impl BlockMsg {
    /// The block's name on chain.
    pub fn cid(&self) -> Cid {
        self.header.cid()
    }
}
