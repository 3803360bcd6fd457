//! The words of the trade, shared by every crate of the house: sector, proof type,
//! piece, commitment, ticket, seed, failure. Values only: no IO, no async, no policy.
//!
//! Wire names follow upstream Damocles where a type crosses the wire; the doc comment of
//! each type says which form it takes in JSON.

pub mod bytes;
pub mod chain;
pub mod outside;
pub mod commitment;
pub mod failure;
pub mod hidden;
pub mod id;
pub mod size;
pub mod gas;
pub mod piece;
pub mod proof;
pub mod randomness;

pub use bytes::Base64;
pub use chain::chain;
pub use commitment::{Commitment, CommitmentError, SealedCid, UnsealedCid};
pub use failure::{Classify, Failure, Level};
pub use hidden::Hidden;
pub use id::{ActorId, SectorId, SectorIdError, SectorNumber};
pub use outside::{shown, shown_lines};
pub use piece::{PaddedSize, PieceInfo, UnpaddedSize};
pub use proof::{PoStProof, SealProof};
pub use randomness::{Epoch, Randomness, Seed, Ticket};
pub use size::{ByteSize, SectorSize};
