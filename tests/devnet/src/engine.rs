//! Makes the next tipset: which messages go in, the block's header with its ticket and
//! beacon entries, and what running it does to the state. Pure with regard to time: the
//! same chain, pool and seed give the same block.
use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context;
use bls_signatures::Serialize as _;
use cid::Cid;
use fil_actors_shared::v18::runtime::Policy;
use fvm_ipld_amt::Amtv0;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::signature::{BLS_SIG_LEN, Signature, SignatureType};
use fvm_shared::econ::TokenAmount;
use fvm_shared::message::Message;
use fvm_shared::sector::SectorSize;
use parking_lot::Mutex;

use crate::block::{BlockHeader, ElectionProof, MessageMeta, Ticket, Tipset, TipsetKey};
use crate::chain::{AcceptedPost, Anchor, Chain, ChainRand, Node};
use crate::economy::Economy;
use crate::gas;
use crate::mempool::{Mempool, Pending};
use crate::message::SignedMessage;
use crate::orders::{self, Order};
use crate::policy::NetworkPolicy;
use crate::proofs::Verifier;
use crate::randomness::{beacon_entry, beacon_round, blake2b256, ticket_proof};
use crate::rounds::Submitted;
use crate::store::Store;
use crate::tree::Tree;
use crate::vm::{Applied, Machine};

/// Weight that every tipset adds to its chain, so that chains compare by their length.
const BLOCK_WEIGHT: u64 = 2560;

/// What does not change while a network runs.
#[derive(Debug)]
pub struct Engine {
    pub store: Store,
    pub policy: NetworkPolicy,
    pub actor_policy: Policy,
    pub economy: Economy,
    pub verifier: Arc<dyn Verifier>,
    pub sector_size: SectorSize,
    pub seed: [u8; 32],
    /// Unix seconds of genesis.
    pub genesis_time: u64,
    /// The miner whose name is on the blocks.
    pub producer: ActorID,
}

/// A finished tipset, not yet on the chain.
#[derive(Debug)]
pub struct Made {
    pub node: Arc<Node>,
    pub posts: Vec<(ActorID, AcceptedPost)>,
}

impl Engine {
    /// The tipset at `height` on top of the chain's head, with messages from the pool (none
    /// without a pool); `orders` are carried out before them.
    /// Epochs between the head and `height` become null rounds.
    pub fn make(
        &self,
        chain: &Chain,
        pool: Option<&Mutex<Mempool>>,
        orders: &[Order],
        height: ChainEpoch,
    ) -> anyhow::Result<Made> {
        let parent = chain.head().context("the chain has no genesis")?;
        anyhow::ensure!(
            height > parent.tipset.height,
            "a tipset must lie above its parent"
        );
        let messages = pool.map_or_else(Vec::new, |pool| self.select(&pool.lock(), parent));
        // a block lists BLS messages before the others, and they run in that order
        let (bls, secp): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .map(|p| (p.cid, p.message))
            .partition(|(_, m)| m.signature.sig_type == SignatureType::BLS);
        let tipset = self.tipset(parent, height, chain.forks(), &bls, &secp)?;
        let messages = bls.into_iter().chain(secp).collect();
        self.run(chain, parent, tipset, messages, orders)
    }

    /// Messages of the pool that a block on that tipset may hold, in the order in which they run.
    pub fn select(&self, pool: &Mempool, parent: &Node) -> Vec<Pending> {
        let tree = Tree::at(&self.store, parent.post_state);
        let account = |from: &Address| {
            let id = tree.resolve(from).ok()??;
            let actor = tree.actor(id).ok()??;
            Some((actor.sequence, actor.balance))
        };
        pool.select(&parent.next_base_fee, self.policy.block_gas_limit, account)
    }

    /// The tipset of these blocks of one round, which build on the chain's head.
    pub fn make_of(
        &self,
        chain: &Chain,
        mut blocks: Vec<Submitted>,
        orders: &[Order],
    ) -> anyhow::Result<Made> {
        let parent = chain.head().context("the chain has no genesis")?;
        // the block with the lowest ticket leads (Lotus `types.NewTipSet`)
        blocks.sort_by_cached_key(|block| {
            let ticket = block.header.ticket.as_ref();
            let lot = ticket.map(|ticket| blake2b256(&ticket.vrf_proof));
            (lot, block.cid.to_bytes())
        });
        let mut nonces = HashSet::new();
        let mut messages = Vec::new();
        for (cid, message) in blocks.iter().flat_map(|block| &block.messages) {
            // several blocks may name a message, or two of one nonce: the first one runs
            if nonces.insert((message.message.from, message.message.sequence)) {
                messages.push((*cid, message.clone()));
            }
        }
        let tipset = Tipset {
            key: TipsetKey(blocks.iter().map(|block| block.cid).collect()),
            height: blocks.first().context("no blocks")?.header.height,
            blocks: blocks.into_iter().map(|block| block.header).collect(),
        };
        for block in &tipset.blocks {
            self.store.put(block)?;
        }
        self.run(chain, parent, tipset, messages, orders)
    }

    /// Runs a tipset on top of its parent.
    fn run(
        &self,
        chain: &Chain,
        parent: &Node,
        tipset: Tipset,
        messages: Vec<(Cid, SignedMessage)>,
        orders: &[Order],
    ) -> anyhow::Result<Made> {
        let (height, tipset) = (tipset.height, Arc::new(tipset));
        let mut tree = Tree::at(&self.store, parent.post_state);
        let base_fee = parent.next_base_fee.clone();
        let rand = ChainRand {
            chain,
            anchor: Anchor::Above(&tipset, &parent.tipset),
        };
        for null in parent.tipset.height + 1..height {
            self.machine(&rand, null, &base_fee).cron(&mut tree)?;
        }
        orders::carry_out(orders, &mut tree, &self.actor_policy, height)?;
        let machine = self.machine(&rand, height, &base_fee);
        let mut receipts = Vec::with_capacity(messages.len());
        let mut posts = Vec::new();
        for (cid, message) in &messages {
            let applied = machine.apply(&mut tree, &message.message, message.chain_length()?)?;
            self.log(cid, &message.message, &applied);
            for (miner, proven) in applied.posts {
                posts.push((
                    miner,
                    AcceptedPost {
                        deadline: proven.deadline,
                        partition: proven.partition,
                        epoch: height,
                        message: *cid,
                        sectors: proven.sectors,
                    },
                ));
            }
            receipts.push(applied.receipt);
        }
        machine.cron(&mut tree)?;

        let paid: Vec<_> = messages
            .iter()
            .map(|(_, m)| {
                let m = &m.message;
                (
                    gas::effective_premium(&base_fee, &m.gas_fee_cap, &m.gas_premium),
                    m.gas_limit,
                )
            })
            .collect();
        let minimum = TokenAmount::from_atto(self.policy.minimum_base_fee);
        let node = Arc::new(Node {
            receipts_root: self.array(&receipts)?,
            post_state: tree.flush()?,
            next_base_fee: gas::next_base_fee(&base_fee, &paid, &minimum),
            tipset,
            messages,
            receipts,
        });
        Ok(Made { node, posts })
    }

    fn log(&self, cid: &Cid, message: &Message, applied: &Applied) {
        let receipt = &applied.receipt;
        if receipt.exit_code.is_success() {
            tracing::debug!(
                "{cid}: method {} of {} ran, gas {}",
                message.method_num,
                message.to,
                receipt.gas_used
            );
        } else {
            tracing::info!(
                "{cid}: method {} of {} failed with exit code {}: {}",
                message.method_num,
                message.to,
                receipt.exit_code,
                applied.error
            );
        }
    }

    /// Runs a message of any age on top of `node`, after `before`, and throws the state
    /// away. Gas is limited by the block only and costs nothing.
    pub fn dry_run(
        &self,
        chain: &Chain,
        node: &Node,
        before: &[SignedMessage],
        message: &Message,
    ) -> anyhow::Result<Applied> {
        let rand = ChainRand {
            chain,
            anchor: Anchor::On(node.tipset.key.clone()),
        };
        let free = TokenAmount::default();
        let machine = self.machine(&rand, node.tipset.height + 1, &free);
        let mut tree = Tree::at(&self.store, node.post_state);
        for earlier in before {
            let length = earlier.chain_length()?;
            let earlier = self.without_fees(&earlier.message, &tree)?;
            machine.apply(&mut tree, &earlier, length)?;
        }
        let message = self.without_fees(message, &tree)?;
        // as long as it will be with a signature; a BLS one is not stored with the message
        let length = fvm_ipld_encoding::to_vec(&message)?.len() + 70;
        machine.apply(&mut tree, &message, length)
    }

    fn without_fees(&self, message: &Message, tree: &Tree) -> anyhow::Result<Message> {
        let mut free = message.clone();
        free.gas_limit = self.policy.block_gas_limit;
        free.gas_fee_cap = TokenAmount::default();
        free.gas_premium = TokenAmount::default();
        if let Some(id) = tree.resolve(&message.from)? {
            free.sequence = tree.must(id)?.sequence;
        }
        Ok(free)
    }

    /// The machine for one epoch.
    pub fn machine<'a>(
        &'a self,
        rand: &'a ChainRand<'a>,
        epoch: ChainEpoch,
        base_fee: &TokenAmount,
    ) -> Machine<'a> {
        Machine {
            store: &self.store,
            policy: &self.actor_policy,
            economy: &self.economy,
            verifier: self.verifier.as_ref(),
            rand,
            epoch,
            proof_bytes: self.policy.proof_bytes,
            base_fee: base_fee.clone(),
        }
    }

    fn tipset(
        &self,
        parent: &Node,
        height: ChainEpoch,
        fork: u64,
        bls: &[(Cid, SignedMessage)],
        secp: &[(Cid, SignedMessage)],
    ) -> anyhow::Result<Tipset> {
        let below = parent.tipset.min_ticket_block();
        let ticket_below = below.ticket.as_ref().map_or(&[][..], |t| &t.vrf_proof);
        let ticket = ticket_proof(&self.seed, ticket_below, height, fork);
        self.seal_header(BlockHeader {
            miner: Address::new_id(self.producer),
            election_proof: Some(ElectionProof {
                win_count: 1,
                vrf_proof: ticket_proof(&self.seed, b"election", height, fork),
            }),
            ticket: Some(Ticket { vrf_proof: ticket }),
            beacon_entries: (parent.tipset.height + 1..=height)
                .map(|epoch| beacon_entry(&self.seed, beacon_round(epoch)))
                .collect(),
            // Nobody checks it: the node makes it, and its miner's key is the user's.
            block_sig: None,
            ..self.header(parent, height, bls, secp)?
        })
    }

    /// What of a header on that tipset follows from the chain and the messages; the rest is empty.
    pub fn header(
        &self,
        parent: &Node,
        height: ChainEpoch,
        bls: &[(Cid, SignedMessage)],
        secp: &[(Cid, SignedMessage)],
    ) -> anyhow::Result<BlockHeader> {
        for (_, message) in bls {
            self.store.put(&message.message)?;
        }
        for (_, message) in secp {
            self.store.put(message)?;
        }
        let below = parent.tipset.min_ticket_block();
        Ok(BlockHeader {
            miner: Address::new_id(self.producer),
            ticket: None,
            election_proof: None,
            beacon_entries: vec![],
            win_post_proof: vec![],
            parents: parent.tipset.key.0.clone(),
            parent_weight: &below.parent_weight + BigInt::from(BLOCK_WEIGHT),
            height,
            parent_state_root: parent.post_state,
            parent_message_receipts: parent.receipts_root,
            messages: self.message_meta(bls, secp)?,
            bls_aggregate: Some(aggregate(bls)?),
            timestamp: self.genesis_time + height as u64 * self.policy.block_delay_secs,
            block_sig: None,
            fork_signaling: 0,
            parent_base_fee: parent.next_base_fee.clone(),
        })
    }

    /// Tipset of one finished header.
    pub fn seal_header(&self, header: BlockHeader) -> anyhow::Result<Tipset> {
        let cid = self.store.put(&header)?;
        Ok(Tipset {
            key: TipsetKey(vec![cid]),
            height: header.height,
            blocks: vec![header],
        })
    }

    /// CID of the lists of a block's messages.
    pub fn message_meta(
        &self,
        bls: &[(Cid, SignedMessage)],
        secp: &[(Cid, SignedMessage)],
    ) -> anyhow::Result<Cid> {
        let cids = |list: &[(Cid, SignedMessage)]| list.iter().map(|(c, _)| *c).collect::<Vec<_>>();
        self.store.put(&MessageMeta {
            bls_messages: self.array(&cids(bls))?,
            secp_messages: self.array(&cids(secp))?,
        })
    }

    /// Root of an array in the form that blocks and receipts use.
    pub fn array<T: serde::Serialize + serde::de::DeserializeOwned + Clone>(
        &self,
        items: &[T],
    ) -> anyhow::Result<Cid> {
        Ok(Amtv0::new_from_iter(
            self.store.clone(),
            items.iter().cloned(),
        )?)
    }
}

/// The signatures of a block's BLS messages as one; of none, the point at infinity.
fn aggregate(messages: &[(Cid, SignedMessage)]) -> anyhow::Result<Signature> {
    if messages.is_empty() {
        let mut infinity = vec![0u8; BLS_SIG_LEN];
        infinity[0] = 0xc0;
        return Ok(Signature::new_bls(infinity));
    }
    let signatures = messages
        .iter()
        .map(|(_, m)| bls_signatures::Signature::from_bytes(&m.signature.bytes))
        .collect::<Result<Vec<_>, _>>()?;
    let aggregate = bls_signatures::aggregate(&signatures)?;
    Ok(Signature::new_bls(aggregate.as_bytes()))
}
