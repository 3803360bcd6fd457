//! Blocks of miners: what is made of a template, and what becomes of a finished block (Lotus
//! `MinerCreateBlock`, `SyncSubmitBlock`).
use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::signature::SignatureType;
use fvm_shared::sector::PoStProof;

use crate::block::{BeaconEntry, BlockHeader, ElectionProof, Ticket, TipsetKey};
use crate::judge::NotABlock;
use crate::message::{Sign, SignedMessage};
use crate::network::Network;
use crate::rounds::{ConsensusFault, Submitted};
use crate::view::StateError;

/// What a block is to be made of.
#[derive(Clone, Debug)]
pub struct Template {
    pub miner: Address,
    pub parents: TipsetKey,
    pub ticket: Option<Ticket>,
    pub election_proof: Option<ElectionProof>,
    pub beacon_entries: Vec<BeaconEntry>,
    pub messages: Vec<SignedMessage>,
    pub height: ChainEpoch,
    pub timestamp: u64,
    pub win_post_proof: Vec<PoStProof>,
}

/// Why no block was made of a template, in Lotus' words.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    #[error("failed to load parent tipset: {0}")]
    NoParents(StateError),
    #[error("getting lookback miner actor state: {0}")]
    NoLookback(StateError),
    #[error("failed to get miner worker: {0}")]
    NoWorker(StateError),
    #[error("failed to process messages from block template: {0:#}")]
    Messages(anyhow::Error),
    #[error("failed to sign new block: failed to sign new block: {0}")]
    NotSigned(String),
}

/// Why a block was not taken, in Lotus' words.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("loading parent block: {0}")]
    NoParents(StateError),
    #[error(transparent)]
    Fault(#[from] ConsensusFault),
    #[error("failed to load {kind} message: ipld: could not find {cid}")]
    NoMessage { kind: &'static str, cid: Cid },
    #[error("provided messages did not match block: messages didn't match root cid in header")]
    OtherMessages,
    #[error("sync to submitted block failed: collectChain failed: {0}")]
    NotABlock(#[from] NotABlock),
}

impl Network {
    /// A block of what the template says and what follows from the chain, signed by the worker's
    /// key. It is kept by nobody but for the messages that it names.
    pub fn create_block(
        &self,
        template: Template,
        sign: &mut Sign<'_>,
    ) -> Result<(BlockHeader, Vec<(Cid, SignedMessage)>), NotMade> {
        let key = template.parents;
        let parent = self.node(&key);
        let parent = parent.ok_or_else(|| NotMade::NoParents(StateError::no_tipset(&key)))?;
        let (state, _) = self
            .lookback(&key, template.height)
            .map_err(NotMade::NoLookback)?;
        let worker = state.miner_info(&template.miner);
        let worker = worker.and_then(|info| state.account_key(&info.worker));
        let worker = worker.map_err(NotMade::NoWorker)?;
        let (bls, secp) = by_kind(template.messages).map_err(NotMade::Messages)?;
        let header = self
            .inner
            .engine
            .header(&parent, template.height, &bls, &secp);
        let header = BlockHeader {
            miner: template.miner,
            ticket: template.ticket,
            election_proof: template.election_proof,
            beacon_entries: template.beacon_entries,
            win_post_proof: template.win_post_proof,
            timestamp: template.timestamp,
            ..header.map_err(NotMade::Messages)?
        };
        let bytes = header.signing_bytes().map_err(NotMade::Messages)?;
        let signature = sign(&worker, &bytes).map_err(NotMade::NotSigned)?;
        let header = BlockHeader {
            block_sig: Some(signature),
            ..header
        };
        let messages: Vec<_> = bls.into_iter().chain(secp).collect();
        self.inner.rounds.lock().know(&messages);
        Ok((header, messages))
    }

    /// Checks a finished block and keeps it for its round. One that comes after the round's tipset
    /// was made is checked too, and left aside.
    pub fn submit_block(
        &self,
        header: BlockHeader,
        bls: &[Cid],
        secp: &[Cid],
    ) -> Result<Cid, NotTaken> {
        let key = TipsetKey(header.parents.clone());
        let parent = self.node(&key);
        let parent = parent.ok_or_else(|| NotTaken::NoParents(StateError::no_tipset(&key)))?;
        let cid = header.cid().map_err(NotABlock::from)?;
        let inner = &self.inner;
        inner
            .rounds
            .lock()
            .mined(cid, &header, parent.tipset.height)?;
        let mut messages = Vec::with_capacity(bls.len() + secp.len());
        for (kind, cids) in [("bls", bls), ("secpk", secp)] {
            for cid in cids {
                let known = inner.rounds.lock().message(cid).cloned();
                let message = known.or_else(|| self.message(cid));
                let message = message.ok_or(NotTaken::NoMessage { kind, cid: *cid })?;
                messages.push((*cid, message));
            }
        }
        let (bls, secp) = messages.split_at(bls.len());
        let meta = inner.engine.message_meta(bls, secp);
        if meta.map_err(NotABlock::from)? != header.messages {
            return Err(NotTaken::OtherMessages);
        }
        self.judge(&header, &parent, bls, secp)?;
        let _no_new_tipset = inner.producing.lock();
        let head = self.top();
        if head.key == key {
            inner.rounds.lock().wait(Submitted {
                cid,
                header,
                messages,
            });
        } else {
            tracing::info!(
                "block {cid} of {} for epoch {} comes too late: the head is {}",
                header.miner,
                header.height,
                head.height
            );
        }
        Ok(cid)
    }
}

/// Messages with their CIDs, BLS ones and others.
type ByKind = (Vec<(Cid, SignedMessage)>, Vec<(Cid, SignedMessage)>);

fn by_kind(messages: Vec<SignedMessage>) -> anyhow::Result<ByKind> {
    let named = messages.into_iter().map(|m| Ok((m.cid()?, m)));
    let named: Vec<_> = named.collect::<anyhow::Result<_>>()?;
    let is_bls = |(_, m): &(Cid, SignedMessage)| m.signature.sig_type == SignatureType::BLS;
    Ok(named.into_iter().partition(is_bls))
}
