//! Sectors as they cross the wire: what is allocated, its pieces, and the manager's record.

use cid::Cid;
use damocles_types::{ActorId, Base64, Commitment, Epoch, SealProof, SectorId, Seed, Ticket};
use serde::{Deserialize, Deserializer, Serialize};

/// A CID in JSON: `{"/":"<cid>"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CidJson {
    #[serde(rename = "/", with = "cid_text")]
    pub cid: Cid,
}

impl From<Cid> for CidJson {
    fn from(cid: Cid) -> Self {
        Self { cid }
    }
}

mod cid_text {
    use cid::Cid;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(cid: &Cid, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(cid)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Cid, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// Reads `null` as an empty list: Go peers send nil slices so.
pub(crate) fn null_as_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// What a worker is ready to seal; empty lists mean "any".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocateSectorSpec {
    #[serde(default, deserialize_with = "null_as_default")]
    pub allowed_miners: Vec<ActorId>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub allowed_proof_types: Vec<SealProof>,
    /// Of ours: the same id gets the same sector, so that a lost answer costs no number. At most
    /// [`LONGEST_REQUEST_ID`] bytes; the asker writes it down before it asks.
    #[serde(default, rename = "RequestID", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The longest id of a request, in bytes.
pub const LONGEST_REQUEST_ID: usize = 64;

/// A sector number handed out, once ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatedSector {
    #[serde(rename = "ID")]
    pub id: SectorId,
    #[serde(rename = "ProofType")]
    pub proof_type: SealProof,
}

/// How many deals a worker wants for a sector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AcquireDealsSpec {
    #[serde(default)]
    pub max_deals: Option<u64>,
    #[serde(default)]
    pub min_used_space: Option<u64>,
}

/// A piece's padded size and commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Padded bytes.
    #[serde(rename = "Size")]
    pub size: u64,
    #[serde(rename = "PieceCID")]
    pub cid: CidJson,
}

/// The part of a piece's deal that the worker acts upon; the rest is carried unread.
/// Pieces without a deal (fillers) have deal id 0 and allocation id 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DealInfo {
    #[serde(rename = "DealID")]
    pub deal_id: u64,
    #[serde(rename = "AllocationID")]
    pub allocation_id: u64,
    /// Bytes of the client's payload; the piece is filled up with zeros.
    #[serde(rename = "PayloadSize")]
    pub payload_size: u64,
    #[serde(rename = "IsBuiltinMarket")]
    pub is_builtin_market: bool,
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// One piece of a sector (upstream `SectorPieceV2`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorPiece {
    pub piece: Piece,
    pub deal_info: Option<DealInfo>,
}

impl SectorPiece {
    /// Whether a client's data is in it, rather than filling zeros.
    pub fn has_deal(&self) -> bool {
        self.deal_info
            .as_ref()
            .is_some_and(|d| d.deal_id != 0 || d.allocation_id != 0)
    }
}

/// Where a worker stands, as it reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportStateReq {
    pub worker: WorkerIdentifier,
    pub state_change: StateChange,
    pub failure: Option<ReportedFailure>,
    /// Of ours: when it was said, in milliseconds since the Unix epoch on the worker's clock, so
    /// that a report that comes late does not replace a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WorkerIdentifier {
    pub instance: String,
    /// The sealing store's path on the worker.
    pub location: String,
}

/// States and events by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateChange {
    pub prev: String,
    pub next: String,
    pub event: String,
}

/// A failed step, as reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportedFailure {
    /// `Temporary`, `Permanent`, `Abort` or `Critical`.
    pub level: String,
    pub desc: String,
}

/// The manager's answer to a report: whether the sector is still wanted.
/// The key is `Id`, unlike everywhere else (upstream's spelling).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorStanding {
    pub id: SectorId,
    pub finalized: bool,
    #[serde(default, deserialize_with = "null_as_default")]
    pub abort_reason: String,
}

/// CommR, CommD and ticket of a precommit in the manager's record (CIDs there).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreCommitInfo {
    #[serde(rename = "CommR")]
    pub comm_r: CidJson,
    #[serde(rename = "CommD")]
    pub comm_d: CidJson,
    #[serde(rename = "Ticket")]
    pub ticket: Ticket,
}

/// A proof in the manager's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProofInfo {
    pub proof: Base64,
}

/// Which messages carry the sector, and whether one is still to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageInfo {
    pub pre_commit_cid: Option<CidJson>,
    pub commit_cid: Option<CidJson>,
    pub need_send: bool,
}

/// Termination, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminateInfo {
    pub terminate_cid: Option<CidJson>,
    pub terminated_at: Epoch,
    pub added_height: Epoch,
}

/// The manager's record of a sector as the CLI reads it (upstream `core.SectorState`).
/// Fields of plans that are not built yet are carried as plain JSON with upstream's defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorState {
    #[serde(rename = "ID")]
    pub id: SectorId,
    pub sector_type: SealProof,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// Upstream's legacy deals; never written by us, kept when imported.
    #[serde(default)]
    pub deals: Option<serde_json::Value>,
    #[serde(default)]
    pub pieces: Option<Vec<SectorPiece>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre: Option<PreCommitInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofInfo>,
    #[serde(default)]
    pub message_info: MessageInfo,
    #[serde(default)]
    pub terminate_info: TerminateInfo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_state: Option<ReportStateReq>,
    #[serde(default)]
    pub finalized: bool,
    #[serde(default)]
    pub removed: bool,
    #[serde(default)]
    pub abort_reason: String,
    #[serde(default)]
    pub upgraded: bool,
    #[serde(default)]
    pub upgrade_public: Option<serde_json::Value>,
    #[serde(default)]
    pub upgraded_info: Option<serde_json::Value>,
    #[serde(default, rename = "UpgradeMessageID")]
    pub upgrade_message_id: Option<String>,
    #[serde(default)]
    pub upgrade_landed_epoch: Option<Epoch>,
    #[serde(default)]
    pub imported: bool,
    #[serde(default)]
    pub need_rebuild: bool,
    #[serde(default)]
    pub unsealing: bool,
    /// Of ours: what its precommit or proof waits for at the manager, where something is in the
    /// way of its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Of ours: it was finished, and the chain does not have it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_chain: bool,
}

/// CommR, CommD and ticket as a worker submits them (arrays there).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreCommitOnChainInfo {
    #[serde(rename = "CommR")]
    pub comm_r: Commitment,
    #[serde(rename = "CommD")]
    pub comm_d: Commitment,
    #[serde(rename = "Ticket")]
    pub ticket: Ticket,
}
