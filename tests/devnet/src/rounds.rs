//! Blocks that miners sent in for a round, until its tipset is made of them, and what a miner made
//! before: the slash filter of Lotus (`chain/gen/slashfilter`), in memory.
use std::collections::{BTreeMap, HashMap};

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;

use crate::block::{BlockHeader, TipsetKey};
use crate::message::SignedMessage;

/// What is remembered of a miner's blocks: more than a base ever lies behind.
const REMEMBERED: ChainEpoch = 2000;

/// A finished block with the messages that it names, BLS ones first.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    pub cid: Cid,
    pub header: BlockHeader,
    pub messages: Vec<(Cid, SignedMessage)>,
}

/// Why a block makes its miner guilty of a consensus fault, and which block it is guilty with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("<!!> SLASH FILTER DETECTED FAULT due to witness {0}")]
pub struct ConsensusFault(pub Cid);

/// What miners sent in.
#[derive(Debug, Default)]
pub struct Rounds {
    /// For the round after the head.
    waiting: Vec<Submitted>,
    /// Messages of templates: a block names them only.
    known: HashMap<Cid, SignedMessage>,
    by_epoch: BTreeMap<(ChainEpoch, Address), Cid>,
    by_parents: BTreeMap<(Address, TipsetKey), (ChainEpoch, Cid)>,
}

impl Rounds {
    /// Messages that a block may name from now on, until there is another head.
    pub fn know(&mut self, messages: &[(Cid, SignedMessage)]) {
        self.known.extend(messages.iter().cloned());
    }

    pub fn message(&self, cid: &Cid) -> Option<&SignedMessage> {
        self.known.get(cid)
    }

    /// Enters a block into the slash filter; the same block again does no harm.
    pub fn mined(
        &mut self,
        cid: Cid,
        header: &BlockHeader,
        base: ChainEpoch,
    ) -> Result<(), ConsensusFault> {
        let other = |found: Option<&Cid>| found.copied().filter(|found| *found != cid);
        let (miner, parents) = (header.miner, TipsetKey(header.parents.clone()));
        let double_fork = other(self.by_epoch.get(&(header.height, miner)));
        let same_parents = (miner, parents.clone());
        let time_offset = other(self.by_parents.get(&same_parents).map(|(_, cid)| cid));
        // a block of its own in the parents' round that it does not build upon
        let own = self.by_epoch.get(&(base, miner));
        let grinding = own.copied().filter(|own| !parents.0.contains(own));
        if let Some(witness) = double_fork.or(time_offset).or(grinding) {
            return Err(ConsensusFault(witness));
        }
        self.by_epoch.insert((header.height, miner), cid);
        self.by_parents.insert(same_parents, (header.height, cid));
        let oldest = header.height - REMEMBERED;
        self.by_epoch.retain(|(height, _), _| *height > oldest);
        self.by_parents.retain(|_, (height, _)| *height > oldest);
        Ok(())
    }

    /// Keeps a block for its round.
    pub fn wait(&mut self, block: Submitted) {
        if self.waiting.iter().all(|other| other.cid != block.cid) {
            self.waiting.push(block);
        }
    }

    /// The blocks for a round on that head.
    pub fn of(&self, head: &TipsetKey, height: ChainEpoch) -> Vec<Submitted> {
        let fits = |b: &&Submitted| b.header.height == height && b.header.parents == head.0;
        self.waiting.iter().filter(fits).cloned().collect()
    }

    /// There is another head: whatever builds on an older one comes too late.
    pub fn new_head(&mut self) {
        self.waiting.clear();
        self.known.clear();
    }
}
