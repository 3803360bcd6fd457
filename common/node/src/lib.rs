//! Wire shapes of the Filecoin node JSON-RPC v1 that Lotus, Forest, Venus and the devnet
//! share: values and their JSON only. No transport, no client, no opinion about the chain but the
//! one that whoever makes blocks and whoever checks them must have in common ([`election`]).
//!
//! Field types are the chain's own (`Cid`, `Address`, `TokenAmount`, `BitField` …); the
//! module [`wire`] knows how each is written in JSON. Source of every shape: Lotus
//! `documentation/en/api-methods-v1-stable.md` and the Go types that it is rendered from.
//!
//! Addresses are read with either prefix (`f` or `t`) and written with the prefix of
//! `fvm_shared::address::current_network()`; set that once at start-up.

pub mod wire;

pub mod key;
pub mod message;
pub mod chain;
pub mod election;
pub mod mining;
mod block;
pub mod miner;
pub mod deal;
pub mod network;
pub mod wallet;

pub mod devnet;
pub mod method;

pub use chain::{
    BeaconEntry, BlockHeader, BlockMessages, ChangeKind, ElectionProof, HeadChange, PoStProof,
    Ticket, TipSet,
};
pub use deal::{Allocation, DealProposal, DealState, MarketDeal, VerifiedClaim};
pub use key::TipSetKey;
pub use message::{
    ExecutionTrace, InvocResult, Message, MessageGasCost, MessageReceipt, MessageTrace, MsgLookup,
    ReturnTrace, SendSpec, SignedMessage,
};
pub use miner::{
    BeneficiaryTerm, Claim, Deadline, DeadlineInfo, MinerInfo, MinerPower, MinerSectors, Partition,
    PendingBeneficiaryChange, SectorExpiration, SectorLocation, SectorOnChainInfo,
    SectorPreCommitInfo, SectorPreCommitOnChainInfo,
};
pub use mining::{BlockMsg, BlockTemplate, ExtendedSectorInfo, MiningBaseInfo};
pub use network::{ActiveSync, ActorState, AddrInfo, NetworkParams, ReadState, SyncState, Version};
pub use wallet::{KeyInfo, KeyType};
pub use wire::W;
