//! The IPLD block store of the network: content-addressed, in memory, shared by every
//! reader. It never forgets a block (old state roots stay readable) and knows nothing
//! of what the blocks mean.
use std::collections::HashMap;
use std::sync::Arc;

use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_encoding::CborStore;
use multihash_codetable::Code;
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Shared in-memory block store; clones see the same blocks.
#[derive(Clone, Debug, Default)]
pub struct Store {
    blocks: Arc<RwLock<HashMap<Cid, Arc<[u8]>>>>,
}

impl Store {
    /// Stores a value as DAG-CBOR under its blake2b-256 CID.
    pub fn put<T: Serialize>(&self, value: &T) -> anyhow::Result<Cid> {
        self.put_cbor(value, Code::Blake2b256)
    }

    /// Reads a DAG-CBOR value; a missing block is an error.
    pub fn read<T: DeserializeOwned>(&self, cid: &Cid) -> anyhow::Result<T> {
        self.get_cbor(cid)?
            .ok_or_else(|| anyhow::anyhow!("block {cid} is not in the store"))
    }

    /// Raw bytes of a block, if we have it.
    pub fn raw(&self, cid: &Cid) -> Option<Arc<[u8]>> {
        self.blocks.read().get(cid).cloned()
    }

    /// All blocks, for a snapshot.
    pub fn export(&self) -> Vec<(Cid, Arc<[u8]>)> {
        let blocks = self.blocks.read();
        blocks.iter().map(|(c, b)| (*c, b.clone())).collect()
    }

    /// Number of blocks held.
    pub fn len(&self) -> usize {
        self.blocks.read().len()
    }

    /// Whether nothing was stored yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Blockstore for Store {
    fn get(&self, cid: &Cid) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.blocks.read().get(cid).map(|b| b.to_vec()))
    }

    fn put_keyed(&self, cid: &Cid, block: &[u8]) -> anyhow::Result<()> {
        self.blocks
            .write()
            .entry(*cid)
            .or_insert_with(|| Arc::from(block));
        Ok(())
    }

    fn has(&self, cid: &Cid) -> anyhow::Result<bool> {
        Ok(self.blocks.read().contains_key(cid))
    }
}
