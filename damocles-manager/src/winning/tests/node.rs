//! A node of the test's own, and a prover: they can be stopped at every call, before it does
//! anything or when it has done it.

use crate::{
    chain::{ChainError, Production},
    winning::{ProveError, Prover},
};
use async_trait::async_trait;
use damocles_node::{
    BeaconEntry, BlockHeader, BlockMsg, BlockTemplate, ExtendedSectorInfo, Message, MiningBaseInfo,
    SignedMessage, Ticket, TipSet, TipSetKey, message::chain_cid,
};
use damocles_processor::task::{
    ReadSectors, ReadSectorsOutput, Unread, WinningPost, WinningPostOutput,
};
use damocles_types::{ActorId, Base64, Commitment, Epoch};
use fvm_shared::{
    address::Address, bigint::BigInt, crypto::signature::Signature, econ::TokenAmount,
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Where a call stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Tipsets by epoch.
    pub(super) chain: BTreeMap<Epoch, TipSet>,
    /// What the miner is told instead of something to try.
    pub(super) not_eligible: bool,
    pub(super) power: u64,
    /// Blocks that were signed, and those that were sent, in order.
    pub(super) signed: Vec<BlockMsg>,
    pub(super) sent: Vec<BlockMsg>,
    /// What the next submissions are refused with.
    pub(super) refuse: Option<&'static str>,
    /// How often they were.
    pub(super) refusals: usize,
    /// Methods that nobody answers while they are in here.
    pub(super) silent: Vec<&'static str>,
    /// The sector cannot be read.
    pub(super) unread: bool,
    /// How often it was to be read.
    pub(super) reads: usize,
    /// As Venus does without the key.
    pub(super) leaves_unsigned: bool,
    calls: usize,
    stop: Option<(usize, Side)>,
}

/// The node and the prover.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeNode {
    pub(super) state: Arc<Mutex<State>>,
    /// Told when a call is stopped.
    pub(super) stopped: Arc<Notify>,
}

pub(super) fn signature(bytes: &[u8]) -> Signature {
    Signature::new_bls(chain_cid(bytes).to_bytes().repeat(3)[..96].to_vec())
}

fn block(height: Epoch, parents: Vec<cid::Cid>, salt: &str) -> BlockHeader {
    let nothing = chain_cid(b"nothing");
    BlockHeader {
        miner: Address::new_id(1),
        ticket: Some(Ticket {
            vrf_proof: format!("{salt} {height}").into_bytes(),
        }),
        election_proof: None,
        beacon_entries: vec![],
        win_po_st_proof: vec![],
        parents,
        parent_weight: BigInt::from(height),
        height,
        parent_state_root: nothing,
        parent_message_receipts: nothing,
        messages: nothing,
        bls_aggregate: None,
        timestamp: u64::try_from(height).unwrap() * 4,
        block_sig: None,
        fork_signaling: 0,
        parent_base_fee: TokenAmount::default(),
    }
}

impl FakeNode {
    /// A chain up to that epoch.
    pub(super) fn at(height: Epoch) -> Self {
        let this = Self::default();
        this.state.lock().power = 100;
        for height in 0..=height {
            this.grow(height, &[]);
        }
        this
    }

    /// Stops the call of that number.
    pub(super) fn stop_at(&self, call: usize, side: Side) {
        self.state.lock().stop = Some((call, side));
    }

    pub(super) fn goes_on(&self) {
        self.state.lock().stop = None;
    }

    /// Another tipset on top, of these blocks or of somebody else's.
    pub(super) fn grow(&self, height: Epoch, blocks: &[BlockHeader]) -> TipSet {
        let mut state = self.state.lock();
        let below = state.chain.last_key_value();
        let parents = below.map_or_else(Vec::new, |(_, tip)| tip.cids.0.clone());
        let blocks = match blocks {
            [] => vec![block(height, parents, "other")],
            blocks => blocks.to_vec(),
        };
        let tip = TipSet {
            cids: TipSetKey(blocks.iter().map(BlockHeader::cid).collect()),
            blocks,
            height,
        };
        state.chain.insert(height, tip.clone());
        tip
    }

    /// Does what a call does, unless it is to be stopped.
    async fn call<T>(
        &self,
        name: &'static str,
        done: impl FnOnce(&mut State) -> Result<T, ChainError>,
    ) -> Result<T, ChainError> {
        let number = {
            let mut state = self.state.lock();
            state.calls += 1;
            state.calls - 1
        };
        let stops = |side| self.state.lock().stop == Some((number, side));
        let is_silent = || self.state.lock().silent.contains(&name);
        if is_silent() {
            self.stopped.notify_one();
            while is_silent() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if stops(Side::Before) {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
        let done = done(&mut self.state.lock());
        if stops(Side::After) {
            self.stopped.notify_one();
            std::future::pending::<()>().await;
        }
        done
    }
}

fn refused(method: &str, message: &str) -> ChainError {
    ChainError::Refused {
        method: method.to_owned(),
        code: 1,
        message: message.to_owned(),
    }
}

#[async_trait]
impl Production for FakeNode {
    async fn newest(&self) -> Result<TipSet, ChainError> {
        self.call("newest", |state| {
            let (_, tip) = state.chain.last_key_value().unwrap();
            Ok(tip.clone())
        })
        .await
    }

    async fn tipset(&self, key: &TipSetKey) -> Result<TipSet, ChainError> {
        self.call("tipset", |state| {
            let found = state.chain.values().find(|tip| tip.cids == *key);
            found.cloned().ok_or_else(|| refused("tipset", "not found"))
        })
        .await
    }

    async fn tipset_of_epoch(&self, height: Epoch) -> Result<TipSet, ChainError> {
        self.call("tipset_at", |state| {
            let found = state.chain.range(..=height).next_back();
            Ok(found.unwrap().1.clone())
        })
        .await
    }

    async fn mining_base(
        &self,
        _: ActorId,
        round: Epoch,
        _: &TipSetKey,
    ) -> Result<Option<MiningBaseInfo>, ChainError> {
        self.call("base", |state| {
            let beacon = |epoch: Epoch| BeaconEntry {
                round: u64::try_from(epoch).unwrap(),
                data: vec![u8::try_from(epoch).unwrap(); 48],
            };
            Ok(Some(MiningBaseInfo {
                miner_power: state.power.into(),
                network_power: 100.into(),
                sectors: vec![ExtendedSectorInfo {
                    seal_proof: 5,
                    sector_number: 7,
                    sector_key: None,
                    sealed_cid: Commitment([7; 32]).sealed_cid(),
                }],
                worker_key: Address::new_bls(&[3; 48]).unwrap(),
                sector_size: 2048,
                prev_beacon_entry: beacon(round - 1),
                beacon_entries: vec![beacon(round)],
                eligible_for_mining: !state.not_eligible,
            }))
        })
        .await
    }

    async fn sign(&self, _: Address, bytes: &[u8]) -> Result<Signature, ChainError> {
        self.call("sign", |_| Ok(signature(bytes))).await
    }

    async fn select_messages(
        &self,
        _: &TipSetKey,
        quality: f64,
    ) -> Result<Vec<SignedMessage>, ChainError> {
        assert!((0.0..=1.0).contains(&quality));
        self.call("select", |state| {
            // never the same twice: whoever asks again makes another block
            let account = Address::new_id(100);
            let mut message = Message::send(account, account, TokenAmount::default());
            message.nonce = u64::try_from(state.calls).unwrap();
            let signature = signature(&message.encode());
            Ok(vec![SignedMessage { message, signature }])
        })
        .await
    }

    async fn create_block(&self, template: &BlockTemplate) -> Result<BlockMsg, ChainError> {
        self.call("create", |state| {
            let messages: Vec<_> = template.messages.iter().map(|m| m.message.cid()).collect();
            let mut header = BlockHeader {
                miner: template.miner,
                ticket: template.ticket.clone(),
                election_proof: template.eproof.clone(),
                beacon_entries: template.beacon_values.clone(),
                win_po_st_proof: template.winning_post_proof.clone(),
                messages: messages[0],
                timestamp: template.timestamp,
                ..block(template.epoch, template.parents.0.clone(), "")
            };
            if !state.leaves_unsigned {
                header.block_sig = Some(signature(&header.signing_bytes()));
            }
            let block = BlockMsg {
                header,
                bls_messages: messages,
                secpk_messages: vec![],
            };
            state.signed.push(block.clone());
            Ok(block)
        })
        .await
    }

    async fn submit_block(&self, block: &BlockMsg) -> Result<(), ChainError> {
        self.call("submit", |state| {
            if let Some(words) = state.refuse {
                state.refusals += 1;
                return Err(refused("submit", words));
            }
            state.sent.push(block.clone());
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Prover for FakeNode {
    async fn read(&self, task: ReadSectors) -> Result<ReadSectorsOutput, ProveError> {
        let read = self.call("read", |state| {
            state.reads += 1;
            let bad = task.replicas.first().filter(|_| state.unread);
            let unread = bad.map(|replica| Unread {
                sector_id: replica.sector_id,
                why: "the disk says no".to_owned(),
                wrong: true,
            });
            Ok(ReadSectorsOutput {
                unread: unread.into_iter().collect(),
            })
        });
        Ok(read.await.unwrap())
    }

    async fn prove(&self, task: WinningPost) -> Result<WinningPostOutput, ProveError> {
        assert_eq!(task.replicas.len(), 1);
        let proven = self.call("prove", |_| {
            Ok(WinningPostOutput {
                proofs: vec![Base64(vec![9; 192])],
            })
        });
        Ok(proven.await.unwrap())
    }
}
