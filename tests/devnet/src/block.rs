//! Block headers and tipsets, with the CIDs that any Filecoin node would compute.
//! The blocks of a tipset stand in the order of their tickets.
use cid::Cid;
use fvm_ipld_encoding::strict_bytes;
use fvm_ipld_encoding::tuple::{Deserialize_tuple, Serialize_tuple};
use fvm_shared::address::Address;
use fvm_shared::bigint::{BigInt, bigint_ser};
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::signature::Signature;
use fvm_shared::econ::TokenAmount;
use fvm_shared::sector::PoStProof;
use serde::{Deserialize, Serialize};

use crate::message::cbor_cid;

/// VRF output of the block's producer; what ticket randomness is drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Ticket {
    #[serde(with = "strict_bytes")]
    pub vrf_proof: Vec<u8>,
}

/// Claim to have won the right to produce a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct ElectionProof {
    pub win_count: i64,
    #[serde(with = "strict_bytes")]
    pub vrf_proof: Vec<u8>,
}

/// One round of the randomness beacon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct BeaconEntry {
    pub round: u64,
    #[serde(with = "strict_bytes")]
    pub data: Vec<u8>,
}

/// Field order is the one of the CBOR tuple (Filecoin spec, "Block").
#[derive(Clone, Debug, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct BlockHeader {
    pub miner: Address,
    pub ticket: Option<Ticket>,
    pub election_proof: Option<ElectionProof>,
    pub beacon_entries: Vec<BeaconEntry>,
    pub win_post_proof: Vec<PoStProof>,
    pub parents: Vec<Cid>,
    #[serde(with = "bigint_ser")]
    pub parent_weight: BigInt,
    pub height: ChainEpoch,
    pub parent_state_root: Cid,
    pub parent_message_receipts: Cid,
    pub messages: Cid,
    pub bls_aggregate: Option<Signature>,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    pub block_sig: Option<Signature>,
    pub fork_signaling: u64,
    pub parent_base_fee: TokenAmount,
}

impl BlockHeader {
    /// The block's name on chain.
    pub fn cid(&self) -> anyhow::Result<Cid> {
        cbor_cid(self)
    }

    /// What its producer signs: the header without the signature.
    pub fn signing_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let unsigned = BlockHeader {
            block_sig: None,
            ..self.clone()
        };
        Ok(fvm_ipld_encoding::to_vec(&unsigned)?)
    }
}

/// What a block's `messages` CID points to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct MessageMeta {
    pub bls_messages: Cid,
    pub secp_messages: Cid,
}

/// The CIDs of the blocks of a tipset, in order. Empty stands for "the head".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TipsetKey(pub Vec<Cid>);

impl TipsetKey {
    /// Whether this means "the current head".
    pub fn is_head(&self) -> bool {
        self.0.is_empty()
    }
}

/// Blocks of one epoch with the same parents.
#[derive(Clone, Debug, PartialEq)]
pub struct Tipset {
    pub key: TipsetKey,
    pub blocks: Vec<BlockHeader>,
    pub height: ChainEpoch,
}

impl Tipset {
    /// The block that randomness is drawn from: the first.
    pub fn min_ticket_block(&self) -> &BlockHeader {
        &self.blocks[0]
    }

    /// Key of the parent tipset (empty for genesis).
    pub fn parents(&self) -> TipsetKey {
        TipsetKey(self.blocks[0].parents.clone())
    }

    /// Root of the state before this tipset's own messages ran.
    pub fn parent_state(&self) -> Cid {
        self.blocks[0].parent_state_root
    }

    /// Base fee that this tipset's messages pay.
    pub fn base_fee(&self) -> &TokenAmount {
        &self.blocks[0].parent_base_fee
    }
}
