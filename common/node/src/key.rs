//! The name of a tipset.

use crate::wire;
use cid::Cid;
use serde::{Deserialize, Serialize};

/// Names a tipset by the CIDs of its blocks, in order. As a parameter the empty key (JSON `[]`
/// or `null`) means the current head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TipSetKey(#[serde(with = "wire")] pub Vec<Cid>);

impl TipSetKey {
    /// The key that stands for "the current head".
    pub const HEAD: Self = Self(Vec::new());

    /// Whether the key stands for "the current head".
    pub fn is_head(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Cid> for TipSetKey {
    fn from(cid: Cid) -> Self {
        Self(vec![cid])
    }
}
