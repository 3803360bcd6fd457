//! What a block must be so that a node takes it, in the order and the words of Lotus
//! (`chain/consensus/filcns`). The clock is not looked at: epochs here are as long as a test likes.
use std::collections::HashMap;

use cid::Cid;
use damocles_node::election;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::signature::{Signature, SignatureType};

use crate::block::{BeaconEntry, BlockHeader};
use crate::chain::Node;
use crate::message::SignedMessage;
use crate::mining::{challenged, entropy, for_miner};
use crate::network::Network;
use crate::proofs::WinningPost;
use crate::randomness::{DomainSeparationTag as Tag, blake2b256, draw};
use crate::tree::Tree;
use crate::view::StateError;

/// Why a block is none.
#[derive(Debug, thiserror::Error)]
pub enum NotABlock {
    #[error("incoming header failed basic sanity checks: {0}")]
    Form(&'static str),
    #[error("block height not greater than parent height: {height} != {base}")]
    NotAbove {
        height: ChainEpoch,
        base: ChainEpoch,
    },
    #[error("block has wrong timestamp: {is} != {should}")]
    Timestamp { is: u64, should: u64 },
    #[error("minerIsValid failed: miner isn't valid")]
    NoMiner,
    /// Of the block's value and the right one.
    #[error("parent weight different: {0} (header) != {1} (computed)")]
    Weight(String, String),
    #[error("base fee doesn't match: {0} (header) != {1} (computed)")]
    BaseFee(String, String),
    #[error("parent state root did not match computed state ({0} != {1})")]
    StateRoot(String, String),
    #[error("parent receipts root did not match computed value ({1} != {0})")]
    Receipts(String, String),
    #[error("block is not claiming to be a winner")]
    NoWinner,
    #[error("block's miner is ineligible to mine")]
    NotEligible,
    #[error("validating block election proof failed: vrf was invalid: {0}")]
    Election(String),
    #[error("miner claims wrong number of wins: miner: {is}, computed: {should}")]
    Wins { is: i64, should: i64 },
    #[error("check block signature failed: {0}")]
    Signature(String),
    #[error("failed to validate blocks random beacon values: {0}")]
    Beacon(String),
    #[error("validating block tickets failed: vrf was invalid: {0}")]
    Ticket(String),
    #[error("invalid election post: winning post was invalid")]
    Proof,
    #[error("block had invalid messages: {0}")]
    Messages(String),
    #[error("failed to get lookback tipset for block: {0}")]
    State(#[from] StateError),
    #[error("{0:#}")]
    Broken(#[from] anyhow::Error),
}

impl Network {
    /// Whether a block on `parent` with these messages is one.
    pub(crate) fn judge(
        &self,
        block: &BlockHeader,
        parent: &Node,
        bls: &[(Cid, SignedMessage)],
        secp: &[(Cid, SignedMessage)],
    ) -> Result<(), NotABlock> {
        let Some(election_proof) = &block.election_proof else {
            return Err(NotABlock::Form("block cannot have nil election proof"));
        };
        let Some(ticket) = &block.ticket else {
            return Err(NotABlock::Form("block cannot have nil ticket"));
        };
        let Some(signature) = &block.block_sig else {
            return Err(NotABlock::Form("block had nil signature"));
        };
        if block.bls_aggregate.is_none() {
            return Err(NotABlock::Form("block had nil bls aggregate signature"));
        }
        if block.miner.id().is_err() {
            return Err(NotABlock::Form("block had non-ID miner address"));
        }
        let base = parent.tipset.height;
        if block.height <= base {
            let height = block.height;
            return Err(NotABlock::NotAbove { height, base });
        }
        self.follows(block, parent, bls, secp)?;
        let Some(mining) = self.mining_base(&block.miner, block.height, &parent.tipset.key)? else {
            return Err(NotABlock::NoMiner);
        };
        if election_proof.win_count < 1 {
            return Err(NotABlock::NoWinner);
        }
        if !mining.eligible {
            return Err(NotABlock::NotEligible);
        }
        same_entries(&block.beacon_entries, &mining.beacon_entries)?;
        let seed = mining.beacon_entries.last().unwrap_or(&mining.prev_beacon);
        let miner = mining.miner;
        let is_signed = |signature: &Signature, bytes: &[u8]| match signature.sig_type {
            SignatureType::BLS => signature.verify(bytes, &mining.worker),
            SignatureType::Secp256k1 => Err("it is no BLS signature".to_owned()),
        };
        let vrf = |proof: &[u8]| Signature::new_bls(proof.to_vec());
        let lot = for_miner(seed, Tag::ElectionProofProduction, block.height, miner);
        is_signed(&vrf(&election_proof.vrf_proof), &lot).map_err(NotABlock::Election)?;
        let wins = election::win_count(
            &election_proof.vrf_proof,
            &mining.power,
            &mining.network_power,
        );
        if election_proof.win_count != wins {
            return Err(NotABlock::Wins {
                is: election_proof.win_count,
                should: wins,
            });
        }
        is_signed(signature, &block.signing_bytes()?).map_err(NotABlock::Signature)?;
        let mut of_ticket = entropy(miner);
        let below = &parent.tipset.min_ticket_block().ticket;
        of_ticket.extend(below.iter().flat_map(|ticket| &ticket.vrf_proof));
        let lot = draw(
            &blake2b256(&seed.data),
            Tag::TicketProduction as i64,
            block.height - 1,
            &of_ticket,
        );
        is_signed(&vrf(&ticket.vrf_proof), &lot).map_err(NotABlock::Ticket)?;

        let randomness = for_miner(seed, Tag::WinningPoStChallengeSeed, block.height, miner);
        let (state, _) = self.lookback(&parent.tipset.key, block.height)?;
        let window_type = state.miner_info(&block.miner)?.window_post_proof_type;
        let sectors = challenged(&state, &block.miner, miner, window_type, randomness)?;
        let sectors: Vec<_> = (sectors.iter())
            .map(|sector| (sector.sector_number, sector.sealed_cid))
            .collect();
        let proof = WinningPost {
            miner,
            randomness,
            proofs: &block.win_post_proof,
            sectors: &sectors,
        };
        if !self.inner.engine.verifier.winning_post(&proof) {
            return Err(NotABlock::Proof);
        }
        Ok(())
    }

    /// What of a block follows from its parents and its messages.
    fn follows(
        &self,
        block: &BlockHeader,
        parent: &Node,
        bls: &[(Cid, SignedMessage)],
        secp: &[(Cid, SignedMessage)],
    ) -> Result<(), NotABlock> {
        let should = self.inner.engine.header(parent, block.height, bls, secp)?;
        if block.timestamp != should.timestamp {
            return Err(NotABlock::Timestamp {
                is: block.timestamp,
                should: should.timestamp,
            });
        }
        differs(
            &block.parent_weight,
            &should.parent_weight,
            NotABlock::Weight,
        )?;
        let fee = |header: &BlockHeader| header.parent_base_fee.atto().clone();
        differs(&fee(block), &fee(&should), NotABlock::BaseFee)?;
        differs(
            &block.parent_state_root,
            &should.parent_state_root,
            NotABlock::StateRoot,
        )?;
        differs(
            &block.parent_message_receipts,
            &should.parent_message_receipts,
            NotABlock::Receipts,
        )?;
        if block.bls_aggregate != should.bls_aggregate {
            let why = "bls aggregate signature was invalid";
            return Err(NotABlock::Messages(why.to_owned()));
        }
        self.in_turn(parent, bls.iter().chain(secp))
    }

    /// Whether the nonces of a block's messages follow on those of the state.
    fn in_turn<'a>(
        &self,
        parent: &Node,
        messages: impl Iterator<Item = &'a (Cid, SignedMessage)>,
    ) -> Result<(), NotABlock> {
        let tree = Tree::at(&self.inner.engine.store, parent.post_state);
        let mut nonces = HashMap::new();
        for (_, message) in messages {
            let message = &message.message;
            let id = tree.resolve(&message.from)?;
            let id = id.ok_or(StateError::ActorNotFound(message.from))?;
            let actor = tree.actor(id)?;
            let first = actor.map_or(0, |actor| actor.sequence);
            let next = nonces.entry(id).or_insert(first);
            if message.sequence != *next {
                return Err(NotABlock::Messages(format!(
                    "wrong nonce (exp: {next}, got: {})",
                    message.sequence
                )));
            }
            *next += 1;
        }
        Ok(())
    }
}

fn differs<T: PartialEq + ToString>(
    is: &T,
    should: &T,
    fault: fn(String, String) -> NotABlock,
) -> Result<(), NotABlock> {
    if is == should {
        return Ok(());
    }
    Err(fault(is.to_string(), should.to_string()))
}

fn same_entries(is: &[BeaconEntry], should: &[BeaconEntry]) -> Result<(), NotABlock> {
    let Some(last) = is.last() else {
        let why = "expected to have beacon entries in this block, but didn't find any";
        return Err(NotABlock::Beacon(why.to_owned()));
    };
    let round = should.last().map_or(0, |entry| entry.round);
    if last.round != round {
        return Err(NotABlock::Beacon(format!(
            "expected final beacon entry in block to be at round {round}, got {}",
            last.round
        )));
    }
    match is.iter().zip(should).position(|(is, should)| is != should) {
        Some(at) => Err(NotABlock::Beacon(format!("beacon entry {at} was invalid"))),
        None if is.len() != should.len() => Err(NotABlock::Beacon(format!(
            "unexpected beacon round {}",
            is[0].round
        ))),
        None => Ok(()),
    }
}
