//! A network on disk: one file with everything, written to a temporary name and renamed,
//! so that a kill leaves either the old one or the new one.
//!
//! Form: 8 bytes of magic, the version (u32, big endian), a DAG-CBOR body, and the
//! blake2b-256 of all before it.
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cid::Cid;
use fvm_ipld_encoding::tuple::{Deserialize_tuple, Serialize_tuple};
use fvm_ipld_encoding::{BytesDe, BytesSer, from_slice, to_vec};
use fvm_shared::ActorID;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use fvm_shared::receipt::Receipt;
use serde::{Deserialize, Serialize};

use crate::block::BlockHeader;
use crate::message::SignedMessage;
use crate::policy::{NetworkPolicy, Upgrade};
use crate::randomness::blake2b256;

const MAGIC: &[u8; 8] = b"DMCLNETW";
/// Raised when the body changes its form.
const VERSION: u32 = 1;
const FILE: &str = "snapshot.bin";
const CHECKSUM: usize = 32;

/// Why a snapshot was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum BadSnapshot {
    #[error(
        "{} was written by a newer damocles-devnet (version {found}, this one reads {VERSION}); hint: use the newer program, or move the file away to start a new network", path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "{} is not a snapshot of damocles-devnet; hint: give another --repo, or move the file away to start a new network", path.display()
    )]
    Foreign { path: PathBuf },
    #[error(
        "{} is damaged ({why}); hint: restore it from a copy, or move it away to start a new network", path.display()
    )]
    Damaged { path: PathBuf, why: String },
}

/// What a network must remember besides its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredConfig {
    pub policy: NetworkPolicy,
    pub seed: [u8; 32],
    pub sector_size: u64,
    pub genesis_time: u64,
    /// Milliseconds; none means that blocks are made on demand.
    pub block_time_ms: Option<u64>,
    /// attoFIL, decimal.
    pub circulating_supply: String,
    /// How often a branch was lost.
    #[serde(default)]
    pub forks: u64,
    #[serde(default)]
    pub upgrades: Vec<Upgrade>,
    /// attoFIL, decimal, when one was ordered.
    #[serde(default)]
    pub base_fee: Option<String>,
    /// Orders of data, DAG-CBOR in hex; empty when there was none.
    #[serde(default)]
    pub data: String,
}

/// One tipset with what came of it.
#[derive(Clone, Debug, Serialize_tuple, Deserialize_tuple)]
pub struct StoredNode {
    pub blocks: Vec<BlockHeader>,
    pub messages: Vec<SignedMessage>,
    pub receipts: Vec<Receipt>,
    pub receipts_root: Cid,
    pub post_state: Cid,
    pub next_base_fee: TokenAmount,
}

/// One accepted WindowPoSt.
#[derive(Clone, Debug, Serialize_tuple, Deserialize_tuple)]
pub struct StoredPost {
    pub miner: ActorID,
    pub deadline: u64,
    pub partition: u64,
    pub epoch: ChainEpoch,
    pub message: Cid,
    pub sectors: Vec<u64>,
}

/// Everything but the IPLD blocks.
#[derive(Clone, Debug, Serialize_tuple, Deserialize_tuple)]
pub struct StoredChain {
    /// `StoredConfig` as JSON, for its form may grow.
    pub config: String,
    pub nodes: Vec<StoredNode>,
    pub posts: Vec<StoredPost>,
    pub pending: Vec<SignedMessage>,
    /// Messages that were replaced in the pool and may still be asked for.
    pub replaced: Vec<SignedMessage>,
}

#[derive(Serialize)]
struct BodyOut<'a>(&'a StoredChain, Vec<(Cid, BytesSer<'a>)>);

#[derive(Deserialize)]
struct BodyIn(StoredChain, Vec<(Cid, BytesDe)>);

/// A loaded snapshot.
#[derive(Debug)]
pub struct Loaded {
    pub chain: StoredChain,
    pub config: StoredConfig,
    pub blocks: Vec<(Cid, Vec<u8>)>,
}

/// Where the snapshot of a home lies.
pub fn path(repo: &Path) -> PathBuf {
    repo.join(FILE)
}

/// Writes a snapshot.
pub fn write<B: AsRef<[u8]>>(
    repo: &Path,
    chain: &StoredChain,
    blocks: &[(Cid, B)],
) -> anyhow::Result<()> {
    let path = path(repo);
    let temporary = path.with_extension("bin.tmp");
    let blocks = blocks
        .iter()
        .map(|(cid, bytes)| (*cid, BytesSer(bytes.as_ref())))
        .collect();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend(to_vec(&BodyOut(chain, blocks))?);
    let checksum = blake2b256(&bytes);
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&temporary)?);
        file.write_all(&bytes)?;
        file.write_all(&checksum)?;
        file.into_inner()
            .map_err(std::io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(repo)?.sync_all()
    };
    write().with_context(|| format!("could not write the snapshot {}", path.display()))
}

/// Reads a snapshot.
pub fn read(repo: &Path) -> anyhow::Result<Loaded> {
    let path = path(repo);
    let bytes = fs::read(&path)
        .with_context(|| format!("could not read the snapshot {}", path.display()))?;
    let damaged = |why: String| BadSnapshot::Damaged {
        path: path.clone(),
        why,
    };
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(BadSnapshot::Foreign { path }.into());
    };
    let Some((version, rest)) = rest.split_first_chunk::<4>() else {
        return Err(damaged("it ends in its header".into()).into());
    };
    let found = u32::from_be_bytes(*version);
    if found > VERSION {
        return Err(BadSnapshot::Newer { path, found }.into());
    }
    let Some((body, checksum)) = rest.split_last_chunk::<CHECKSUM>() else {
        return Err(damaged("it ends in its header".into()).into());
    };
    if blake2b256(&bytes[..bytes.len() - CHECKSUM]) != *checksum {
        return Err(damaged("its checksum does not fit".into()).into());
    }
    let BodyIn(chain, blocks) = from_slice(body).map_err(|e| damaged(e.to_string()))?;
    let config = serde_json::from_str(&chain.config).map_err(|e| damaged(e.to_string()))?;
    let blocks = blocks.into_iter().map(|(cid, b)| (cid, b.0)).collect();
    Ok(Loaded {
        chain,
        config,
        blocks,
    })
}
