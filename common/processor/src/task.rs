//! What each stage takes and gives: upstream's JSON to the letter (snake_case, commitments
//! as arrays of 32 numbers, proof types by name). Fields that upstream does not know are
//! optional and left out when absent, so that its peers never see them.

pub use crate::opaque::Opaque;

use crate::kind::Stage;
use damocles_types::{
    ActorId, Base64, Commitment, PieceInfo, PoStProof, SealProof, SectorNumber, SectorSize,
    UnpaddedSize,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, path::PathBuf};

mod aggregate;

pub use aggregate::{Aggregate, AggregateOutput, ProvenSector};

/// A unit of work for a processor.
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    const STAGE: Stage;
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The size of the sector that it is about, where the task tells it: limits go by it.
    fn sector_size(&self) -> Option<SectorSize> {
        None
    }
}

/// `prover_id` of a miner: the payload of its ID address (unsigned LEB128 of the actor id),
/// zero-padded to 32 bytes.
pub fn prover_id(miner: ActorId) -> [u8; 32] {
    let mut out = [0; 32];
    let mut rest = miner;
    // a u64 takes ten groups of seven bits at most
    for byte in &mut out {
        *byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *byte |= 0x80;
    }
    out
}

/// Seal proofs travel by name in tasks (by number in RPC).
pub mod seal_name {
    use super::{Deserialize, Deserializer, SealProof, Serializer};

    pub fn serialize<S: Serializer>(proof: &SealProof, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&proof.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SealProof, D::Error> {
        let name = String::deserialize(d)?;
        SealProof::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("{name:?} is not a seal proof type")))
    }
}

/// Update proofs travel by name, and there is one of them per sector size.
pub mod update_name {
    use super::{Deserialize, Deserializer, SectorSize, Serializer};

    pub fn serialize<S: Serializer>(size: &SectorSize, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("StackedDrg{size}V1"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SectorSize, D::Error> {
        let name = String::deserialize(d)?;
        SectorSize::ALL
            .into_iter()
            .find(|size| name == format!("StackedDrg{size}V1"))
            .ok_or_else(|| {
                serde::de::Error::custom(format!("{name:?} is not an update proof type"))
            })
    }
}

/// PoSt proofs travel by the name of the proofs library.
pub mod post_name {
    use super::{Deserialize, Deserializer, PoStProof, Serializer};

    pub fn serialize<S: Serializer>(proof: &PoStProof, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&proof.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<PoStProof, D::Error> {
        let name = String::deserialize(d)?;
        PoStProof::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("{name:?} is not a PoSt proof type")))
    }
}

/// Where the bytes of a piece come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceFile {
    Url(String),
    Local(PathBuf),
    /// Zeros: committed capacity or filler.
    Pledge,
}

/// One piece of a sector, in the order in which it lies in the sector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub piece_file: PieceFile,
    /// Bytes that the source has; the rest of the piece is zeros.
    pub payload_size: u64,
    pub piece_size: UnpaddedSize,
    /// The deal's piece CID. When given, the computed commP must equal it. (ours)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_cid: Option<String>,
}

/// Writes pieces through fr32 into the staged file. No pieces: committed capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddPieces {
    #[serde(with = "seal_name")]
    pub seal_proof_type: SealProof,
    pub pieces: Vec<Piece>,
    pub staged_filepath: PathBuf,
}

impl Task for AddPieces {
    const STAGE: Stage = Stage::AddPieces;
    type Output = Vec<PieceInfo>;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.seal_proof_type.size)
    }
}

/// Builds the Merkle tree of the unsealed data as `<cache_dir>/sc-02-data-tree-d.dat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeD {
    #[serde(with = "seal_name")]
    pub registered_proof: SealProof,
    pub staged_file: PathBuf,
    pub cache_dir: PathBuf,
}

impl Task for TreeD {
    const STAGE: Stage = Stage::TreeD;
    type Output = bool;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.registered_proof.size)
    }
}

/// PC1: the SDR labels. The cache directory of an interrupted run is kept; finished layers
/// of the same ticket are not made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pc1 {
    #[serde(with = "seal_name")]
    pub registered_proof: SealProof,
    pub cache_path: PathBuf,
    /// The staged (unsealed, padded) file.
    pub in_path: PathBuf,
    /// Becomes a copy of it, which PC2 encodes in place.
    pub out_path: PathBuf,
    pub prover_id: [u8; 32],
    pub sector_id: SectorNumber,
    pub ticket: [u8; 32],
    pub piece_infos: Vec<PieceInfo>,
}

impl Task for Pc1 {
    const STAGE: Stage = Stage::Pc1;
    type Output = Opaque;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.registered_proof.size)
    }
}

/// PC2: column and replica trees; encodes `sealed_file` in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pc2 {
    pub pc1out: Opaque,
    pub cache_dir: PathBuf,
    pub sealed_file: PathBuf,
    /// The staged file from which a half-encoded `sealed_file` is made again after a kill.
    /// Without it the stage can run once only. (ours)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_file: Option<PathBuf>,
}

/// What PC2 finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pc2Output {
    #[serde(with = "seal_name")]
    pub registered_proof: SealProof,
    pub comm_r: Commitment,
    pub comm_d: Commitment,
}

impl Task for Pc2 {
    const STAGE: Stage = Stage::Pc2;
    type Output = Pc2Output;

    fn sector_size(&self) -> Option<SectorSize> {
        self.pc1out.sector_size()
    }
}

/// Synthetic vanilla proofs, kept in the cache directory (FIP-0059). A stage of ours:
/// upstream runs it inside the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SynthProof {
    #[serde(with = "seal_name")]
    pub registered_proof: SealProof,
    pub cache_path: PathBuf,
    pub sealed_file: PathBuf,
    pub prover_id: [u8; 32],
    pub sector_id: SectorNumber,
    pub ticket: [u8; 32],
    pub pre_commit_output: Pc2Output,
    pub piece_infos: Vec<PieceInfo>,
}

impl Task for SynthProof {
    const STAGE: Stage = Stage::SynthProof;
    type Output = bool;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.registered_proof.size)
    }
}

/// C1: the vanilla proofs that answer the seed. A stage of ours, as above.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct C1 {
    #[serde(with = "seal_name")]
    pub registered_proof: SealProof,
    pub cache_path: PathBuf,
    pub sealed_file: PathBuf,
    pub prover_id: [u8; 32],
    pub sector_id: SectorNumber,
    pub ticket: [u8; 32],
    pub seed: [u8; 32],
    pub pre_commit_output: Pc2Output,
    pub piece_infos: Vec<PieceInfo>,
}

impl Task for C1 {
    const STAGE: Stage = Stage::C1;
    /// Upstream's `c1out`.
    type Output = Opaque;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.registered_proof.size)
    }
}

/// C2: the SNARK.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct C2 {
    pub c1out: Opaque,
    pub prover_id: [u8; 32],
    pub sector_id: SectorNumber,
    pub miner_id: ActorId,
}

/// `{"proof":[ints]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct C2Output {
    pub proof: Vec<u8>,
}

impl Task for C2 {
    const STAGE: Stage = Stage::C2;
    type Output = C2Output;

    fn sector_size(&self) -> Option<SectorSize> {
        self.c1out.sector_size()
    }
}

/// Encodes data into a sealed sector of committed capacity (snap deals, FIP-0019).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapEncode {
    #[serde(with = "update_name")]
    pub registered_proof: SectorSize,
    pub new_replica_path: PathBuf,
    pub new_cache_path: PathBuf,
    pub sector_path: PathBuf,
    pub sector_cache_path: PathBuf,
    pub staged_data_path: PathBuf,
    pub piece_infos: Vec<PieceInfo>,
}

/// The new commitments of an upgraded sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapEncodeOutput {
    pub comm_r_new: Commitment,
    pub comm_r_last_new: Commitment,
    pub comm_d_new: Commitment,
}

impl Task for SnapEncode {
    const STAGE: Stage = Stage::SnapEncode;
    type Output = SnapEncodeOutput;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.registered_proof)
    }
}

/// Proves an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapProve {
    #[serde(with = "update_name")]
    pub registered_proof: SectorSize,
    /// Misspelt on the wire, for ever.
    #[serde(rename = "vannilla_proofs")]
    pub vanilla_proofs: Vec<Vec<u8>>,
    pub comm_r_old: Commitment,
    pub comm_r_new: Commitment,
    pub comm_d_new: Commitment,
}

impl Task for SnapProve {
    const STAGE: Stage = Stage::SnapProve;
    type Output = Vec<u8>;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.registered_proof)
    }
}

/// Brings a range of the unsealed data back. Output: the number of bytes written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseal {
    #[serde(with = "seal_name")]
    pub registered_proof: SealProof,
    pub prover_id: [u8; 32],
    pub sector_id: SectorNumber,
    pub comm_d: Commitment,
    pub ticket: [u8; 32],
    pub cache_dir: PathBuf,
    pub sealed_file: PathBuf,
    pub unsealed_output: PathBuf,
    /// Unpadded bytes.
    pub offset: u64,
    pub num_bytes: u64,
}

impl Task for Unseal {
    const STAGE: Stage = Stage::Unseal;
    type Output = u64;

    fn sector_size(&self) -> Option<SectorSize> {
        Some(self.registered_proof.size)
    }
}

/// A store as custom transfer processors (object storage) need to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStore {
    pub name: String,
    pub meta: Option<BTreeMap<String, String>>,
}

/// One end of a transfer. `uri` is an absolute path, even in a named store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferEnd {
    pub store_name: Option<String>,
    pub uri: PathBuf,
}

/// How a route may be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOption {
    pub is_dir: bool,
    /// A symbolic link will do instead of a copy.
    pub allow_link: bool,
}

/// From here to there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRoute {
    pub src: TransferEnd,
    pub dest: TransferEnd,
    pub opt: Option<TransferOption>,
}

/// Moves finished files between stores: copied, verified, then named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub stores: BTreeMap<String, TransferStore>,
    pub routes: Vec<TransferRoute>,
}

impl Task for Transfer {
    const STAGE: Stage = Stage::Transfer;
    type Output = bool;
}

/// A sealed sector that a PoSt proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    pub sector_id: SectorNumber,
    pub comm_r: Commitment,
    pub cache_dir: PathBuf,
    pub sealed_file: PathBuf,
}

/// WindowPoSt over the sectors of one or more partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPost {
    pub miner_id: ActorId,
    #[serde(with = "post_name")]
    pub proof_type: PoStProof,
    pub replicas: Vec<Replica>,
    pub seed: [u8; 32],
}

/// Either proofs, or the sectors that could not be proven (then `proofs` is empty).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPostOutput {
    pub proofs: Vec<Base64>,
    pub faults: Vec<SectorNumber>,
}

impl Task for WindowPost {
    const STAGE: Stage = Stage::WindowPost;
    type Output = WindowPostOutput;
}

/// Reads of each sector what a WindowPoSt with that challenge would, and checks it against the
/// sector's commitment. All sectors lie in one store: when too many of its sectors hang, the rest is
/// not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSectors {
    pub miner_id: ActorId,
    #[serde(with = "post_name")]
    pub proof_type: PoStProof,
    pub replicas: Vec<Replica>,
    pub seed: [u8; 32],
    /// The store that they lie in.
    pub store: String,
    /// So many sectors at once; 0 counts as 1.
    pub parallel: u32,
    /// Milliseconds that a sector may take; 0: no limit.
    pub sector_limit_ms: u64,
}

/// A sector of which no proof can be made now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    pub sector_id: SectorNumber,
    pub why: String,
    /// Its files were looked at and are wrong. False: nobody could look; they may be whole.
    pub wrong: bool,
}

/// The sectors that cannot be proven now; the others can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSectorsOutput {
    pub unread: Vec<Unread>,
}

impl Task for ReadSectors {
    const STAGE: Stage = Stage::ReadSectors;
    type Output = ReadSectorsOutput;
}

/// WinningPoSt over the challenged sector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinningPost {
    pub miner_id: ActorId,
    #[serde(with = "post_name")]
    pub proof_type: PoStProof,
    pub replicas: Vec<Replica>,
    pub seed: [u8; 32],
}

/// `{"proofs":[base64]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinningPostOutput {
    pub proofs: Vec<Base64>,
}

impl Task for WinningPost {
    const STAGE: Stage = Stage::WinningPost;
    type Output = WinningPostOutput;
}

/// Which circuit a set of Groth parameters belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    PoRep,
    WinningPost,
    WindowPost,
    SnapUpdate,
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PoRep => "PoRep",
            Self::WinningPost => "WinningPoSt",
            Self::WindowPost => "WindowPoSt",
            Self::SnapUpdate => "snap update",
        })
    }
}

/// What is made in the child's parameter cache (a temporary directory that the parent names by
/// environment). Internal: see `params::generate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MakeParams {
    /// The parameters of one circuit.
    Circuit {
        circuit: Circuit,
        sector_size: SectorSize,
    },
    /// The reference string by which up to so many proofs are aggregated.
    ReferenceString { proofs: u32 },
}

impl Task for MakeParams {
    const STAGE: Stage = Stage::MakeParams;
    type Output = bool;

    fn sector_size(&self) -> Option<SectorSize> {
        match self {
            Self::Circuit { sector_size, .. } => Some(*sector_size),
            Self::ReferenceString { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prover_ids_are_leb128() {
        assert_eq!(prover_id(1000)[..3], [0xe8, 0x07, 0]);
        assert_eq!(prover_id(0), [0; 32]);
        assert_eq!(prover_id(127)[..2], [0x7f, 0]);
        assert_eq!(prover_id(128)[..3], [0x80, 0x01, 0]);
        assert_eq!(
            prover_id(u64::MAX)[..11],
            [255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0]
        );
    }
}
