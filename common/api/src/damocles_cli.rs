//! `Damocles.*` as operators' commands call it.

use crate::{caller::Caller, damocles::SectorFate, submit::SubmitResp};
use damocles_types::{Epoch, SectorId};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who called about a sector that another one has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Claim {
    /// None: it did not say who it is.
    pub caller: Option<Caller>,
    /// Unix seconds.
    pub at: i64,
}

/// Everything that there is of a sector, and where: what a person must know who ends it or
/// gives it to another worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SectorHoldings {
    pub fate: SectorFate,
    /// The sealing thread from which a person took it, until another one has it.
    pub taken_from: Option<Caller>,
    /// The last one that was refused because another one has the sector.
    pub claimant: Option<Claim>,
    /// Persist stores that hold files of it.
    pub stores: Vec<String>,
    /// The persist store that keeps room for it.
    pub reserved: Option<String>,
    /// Why its precommit or proof is in no message yet.
    pub waits: Option<String>,
    /// Messages that carry it and are on their way.
    pub messages_open: u32,
    pub chain: SectorOnChain,
}

/// What the chain has of a sector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", tag = "Has")]
pub enum SectorOnChain {
    Nothing,
    /// A precommit, with its deposit in FIL.
    #[serde(rename_all = "PascalCase")]
    PreCommit {
        epoch: Epoch,
        deposit: String,
    },
    /// The sector, proven.
    #[serde(rename_all = "PascalCase")]
    Sector {
        activation: Epoch,
        expiration: Epoch,
    },
    /// The node did not tell.
    #[serde(rename_all = "PascalCase")]
    Unknown {
        why: String,
    },
}

/// A sector that a worker speaks of and that this manager has no record of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnknownSector {
    #[serde(rename = "ID")]
    pub id: SectorId,
    /// Who has it, if that was said.
    pub caller: Option<Caller>,
    /// Where it stands, if that was said.
    pub state: Option<String>,
    /// Unix seconds.
    pub first_heard: i64,
    pub last_heard: i64,
    /// Its worker gave it up.
    pub given_up: bool,
}

/// A copy of the manager's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BackupView {
    /// On the manager's host.
    pub directory: String,
    /// Id of the database.
    pub database: String,
    pub schema_version: u32,
    /// The genesis block's CID of its network, once it knows.
    pub network: Option<String>,
    /// Unix seconds.
    pub made_at: i64,
}

/// The configuration by which a running manager goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigurationView {
    /// The file, on the manager's host.
    pub path: String,
    /// Every key with its value as TOML, without secrets.
    pub effective: String,
    /// SHA-256 of `Salt` and of what is not shown there, in hex: to tell whether it is another one.
    pub secrets: String,
    pub salt: String,
    /// When the file was read last; Unix seconds.
    pub read_at: i64,
    /// What differs from the start in keys that count only then, one sentence each.
    pub waiting: Vec<String>,
}

/// Who signs the messages of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountSigner {
    /// The manager's own key store.
    KeyStore,
    /// The same, when it is opened.
    LockedKeyStore,
    /// The wallet of the node, if it has the key.
    Node,
    /// venus-messager, if a wallet behind it has the key.
    Messager,
    /// It is no address.
    Nobody,
}

/// An address as the chain has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccountView {
    /// As the people of the network write it.
    pub address: String,
    /// Its ID address. None: the chain does not know it, nobody has sent it anything.
    #[serde(rename = "ID")]
    pub id: Option<String>,
    /// In FIL.
    pub balance: Option<String>,
    /// Of its next message on chain.
    pub nonce: Option<u64>,
    pub signer: AccountSigner,
    /// What is wrong with it.
    pub note: Option<String>,
}

#[rpc(server, client, namespace = "Damocles", namespace_separator = ".")]
pub trait DamoclesCli {
    /// The configuration by which this manager goes.
    #[method(name = "Configuration")]
    async fn configuration(&self) -> RpcResult<ConfigurationView>;

    /// Addresses as the chain has them, 1000 at most, and who signs their messages.
    #[method(name = "Accounts")]
    async fn accounts(&self, addresses: Vec<String>) -> RpcResult<Vec<AccountView>>;

    /// What there is of a sector, and where.
    #[method(name = "SectorHoldings")]
    async fn sector_holdings(&self, sector: SectorId) -> RpcResult<SectorHoldings>;

    /// Sectors that workers spoke of and that this manager has no record of.
    #[method(name = "UnknownSectors")]
    async fn unknown_sectors(&self) -> RpcResult<Vec<UnknownSector>>;

    /// A person says that a store is what lies in its directory now, whatever mark was seen
    /// there before. What is said of it then.
    #[method(name = "AcceptStore")]
    async fn accept_store(&self, name: String) -> RpcResult<Option<String>>;

    /// What the last scan for persist stores complained of, by directory or pattern: where one
    /// may be that is not listed.
    #[method(name = "StoreFaults")]
    async fn store_faults(&self) -> RpcResult<BTreeMap<String, String>>;

    /// A person wants another message for the precommit of a sector, or (`proof`) for its proof, as
    /// they were submitted. While a message lives that carries it, nothing else is sent.
    #[method(name = "ResendSector")]
    async fn resend_sector(&self, sector: SectorId, proof: bool) -> RpcResult<SubmitResp>;

    /// Copies the database, as it is at this moment, into a directory on the manager's host that
    /// does not exist yet.
    #[method(name = "BackupDatabase")]
    async fn backup_database(&self, directory: String) -> RpcResult<BackupView>;
}
