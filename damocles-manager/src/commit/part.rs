//! What the driver and the makers of messages speak of: one sector's part, why a sector is left
//! out, and a message made of the rest.

use damocles_api::reason::Reason;
use damocles_types::SectorId;
use fil_actor_miner_state::v18::PieceActivationManifest;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{MethodNum, econ::TokenAmount};

/// One sector's part of a message.
#[derive(Clone, Debug)]
pub(super) struct Part<P> {
    pub(super) sector: SectorId,
    pub(super) params: P,
    pub(super) value: TokenAmount,
}

/// What a message with proofs says of a sector.
#[derive(Clone, Debug)]
pub(super) struct ProofPart {
    pub(super) proof: RawBytes,
    /// What of its data the chain is told.
    pub(super) pieces: Vec<PieceActivationManifest>,
}

/// Why a sector is left out of a message.
#[derive(Debug)]
pub(super) enum LeftOut {
    /// It stays ready and is tried again.
    NotNow(String),
    /// It cannot go as it was submitted.
    Never(Option<Reason>, String),
    /// The chain has it already.
    Found,
}

/// A message, not yet from anybody.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) method: MethodNum,
    pub(super) params: RawBytes,
    pub(super) value: TokenAmount,
    /// In the order of the parameters.
    pub(super) sectors: Vec<SectorId>,
    /// What people are told of how it was made.
    pub(super) note: Option<String>,
}
