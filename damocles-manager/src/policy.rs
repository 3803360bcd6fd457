//! What the operator decided, per miner: checked values that the rooms act upon.
//! `config` builds them from the TOML file; nothing here knows how they were written.

use crate::model::millis;
use damocles_kv::{Memory, Postgres};
use damocles_processor::KernelChoice;
use damocles_types::{ActorId, Epoch};
use fvm_shared::{address::Address, econ::TokenAmount};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// How long is kept what nobody needs any more; None: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The large parts of a message after its end, and the proof that it brought to the chain.
    pub message_bodies: Option<Duration>,
    /// The timeline of a sector since it was finished or given up.
    pub timelines: Option<Duration>,
}

/// Limits on a message's fee (upstream keys `GasOverEstimation`, `GasOverPremium`, `GasFeeCap`, `MaxFeeCap`).
#[derive(Clone, Debug, PartialEq)]
pub struct FeePolicy {
    /// Factor on the estimated gas limit.
    pub gas_over_estimation: f64,
    /// Factor on the estimated premium; 0: as estimated.
    pub gas_over_premium: f64,
    /// Highest price per unit of gas with which a message begins; zero: whatever the node estimates.
    pub gas_fee_cap: TokenAmount,
    /// What a message may cost in all when it is made dearer; zero: no more than `gas_fee_cap` gives.
    pub max_fee: TokenAmount,
    /// What messages of one kind may cost within a day; zero: no limit.
    pub max_fee_per_day: TokenAmount,
}

impl Default for FeePolicy {
    fn default() -> Self {
        Self {
            gas_over_estimation: 1.2,
            gas_over_premium: 0.0,
            gas_fee_cap: TokenAmount::from_nano(5),
            max_fee: TokenAmount::default(),
            max_fee_per_day: TokenAmount::default(),
        }
    }
}

/// When and by whom a kind of message is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SendPolicy {
    /// Candidates, in the operator's order; the one that may sign and has most funds is taken.
    /// Empty: the miner's worker address.
    pub senders: Vec<Address>,
    /// Whether deposit or pledge travels with the message as its value.
    pub send_fund: bool,
    /// Fee of a message with one sector.
    pub fee: FeePolicy,
    pub batch: BatchPolicy,
}

/// When a batch of sectors is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPolicy {
    /// So many sectors go at once; 1: each alone, without waiting.
    pub threshold: usize,
    /// The oldest sector of a smaller batch waits no longer than this.
    pub max_wait: Duration,
    /// How often waiting sectors are looked at.
    pub check_interval: Duration,
    /// While the base fee is higher, only sectors go whose deadline is near; zero: whatever it is.
    pub max_base_fee: TokenAmount,
    /// A sector goes whatever it costs when its deadline is so near.
    pub slack: Duration,
    /// Whether the proofs of a batch are made one; nothing of the kind for precommits.
    pub aggregate: AggregatePolicy,
    /// Fee of a message with several sectors.
    pub fee: FeePolicy,
}

/// When proofs go as one aggregate (SnarkPack, FIP-0013).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AggregatePolicy {
    pub when: Aggregate,
    /// While the base fee is lower, none is made.
    pub above_base_fee: TokenAmount,
}

impl AggregatePolicy {
    pub fn never() -> Self {
        Self {
            when: Aggregate::Never,
            ..Self::default()
        }
    }
}

/// Whether proofs are aggregated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// Where it costs less.
    #[default]
    Auto,
    /// Wherever it can be, without asking what it costs.
    Always,
    Never,
}

/// New sectors of a miner (`[Miners.Sector]`, `[Miners.Sealing]`).
#[derive(Clone, Debug, PartialEq)]
pub struct SectorPolicy {
    pub enabled: bool,
    pub enable_deals: bool,
    /// Numbers handed out are greater than this.
    pub min_number: u64,
    pub max_number: Option<u64>,
    /// Lifetime of a CC sector; 0: the protocol's longest.
    pub lifetime_days: u64,
    pub use_synthetic: bool,
    /// A deal goes into a sector only if it need not be on chain within so many epochs.
    pub sealing_epochs: Epoch,
    pub require_activation_success: bool,
    pub require_notification_success: bool,
}

/// WindowPoSt of a miner (`[Miners.PoSt]`).
#[derive(Clone, Debug, PartialEq)]
pub struct PostPolicy {
    pub enabled: bool,
    pub senders: Vec<Address>,
    pub fee: FeePolicy,
    /// Epochs on top of a message before it counts as landed.
    pub confidence: Epoch,
    /// Epochs after the opening before the proof is sent; upstream's default is 4 of 60,
    /// so a shorter window scales it down.
    pub submit_confidence: Option<Epoch>,
    /// Epochs after the challenge before proving begins; upstream's default is 10 of 20.
    pub challenge_confidence: Option<Epoch>,
    /// 0: as many as the protocol allows.
    pub max_partitions_per_message: u64,
    /// Whether a challenge of each sector is read before proving.
    pub strict_check: bool,
    /// Sectors of a deadline that are declared recovered within a proving period; 0: all.
    pub max_recovered_sectors: u64,
    /// Partitions of a message that declares recoveries; 0: as many as the protocol allows.
    pub max_partitions_per_recovery: u64,
}

/// A miner that this manager serves (`[[Miners]]`).
#[derive(Clone, Debug, PartialEq)]
pub struct MinerPolicy {
    pub actor: ActorId,
    pub sector: SectorPolicy,
    pub pre: SendPolicy,
    pub prove: SendPolicy,
    /// Epochs on top of a commitment message before it counts as landed (`[Miners.Commitment] Confidence`).
    pub confidence: Epoch,
    pub post: PostPolicy,
    /// Whether this manager makes the blocks that the miner wins (`[Miners.Proof] Enabled`).
    pub makes_blocks: bool,
}

/// A persist store (`[[Common.PersistStores]]` or a scanned `sectorstore.json`). What a scan found
/// is stored, so names are for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StorePolicy {
    pub name: String,
    pub path: PathBuf,
    pub strict: bool,
    pub read_only: bool,
    /// Weight in the random choice among fitting stores; 0 counts as 1.
    pub weight: u64,
    /// Only these, when not empty.
    pub allow_miners: Vec<ActorId>,
    /// Never these, even when allowed.
    pub deny_miners: Vec<ActorId>,
    pub meta: Option<BTreeMap<String, String>>,
}

impl StorePolicy {
    /// Whether sectors of that miner may be put here.
    pub fn allows(&self, miner: ActorId) -> bool {
        !self.deny_miners.contains(&miner)
            && (self.allow_miners.is_empty() || self.allow_miners.contains(&miner))
    }
}

/// A directory with the data of clients (`[[Common.PieceStores]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceStorePolicy {
    pub name: String,
    pub path: PathBuf,
    pub read_only: bool,
}

/// How sectors are checked before a WindowPoSt, and what proves them (`[Common.Proving]`).
#[derive(Clone, Debug, PartialEq)]
pub struct ProvingPolicy {
    pub parallel_check_limit: usize,
    pub single_check_timeout: Duration,
    pub partition_check_timeout: Duration,
    pub kernel: KernelChoice,
    pub workers: WorkerProverPolicy,
}

impl ProvingPolicy {
    /// What the reading of one store is told: sectors at once, and milliseconds for each.
    pub fn of_reading(&self) -> (u32, u64) {
        let parallel = u32::try_from(self.parallel_check_limit).unwrap_or(u32::MAX);
        (parallel, millis(self.single_check_timeout))
    }
}

/// WindowPoSts that workers prove (`[Common.Proving.WorkerProver]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerProverPolicy {
    /// Attempts that fail before no other worker is given a job.
    pub max_tries: u32,
    /// A worker that says nothing for so long has a job no more.
    pub heartbeat_timeout: Duration,
    /// Jobs that are over are forgotten so long after they were begun.
    pub job_lifetime: Duration,
    /// What no worker proves in time is proven by a child as well.
    pub here_too: bool,
}

impl Default for WorkerProverPolicy {
    fn default() -> Self {
        Self {
            max_tries: 2,
            heartbeat_timeout: Duration::from_secs(15),
            job_lifetime: Duration::from_secs(25 * 3600),
            here_too: true,
        }
    }
}

impl Default for ProvingPolicy {
    fn default() -> Self {
        Self {
            parallel_check_limit: 128,
            single_check_timeout: Duration::from_secs(600),
            partition_check_timeout: Duration::from_secs(1200),
            kernel: KernelChoice::Auto,
            workers: WorkerProverPolicy::default(),
        }
    }
}

/// The manager's own key store (`[Common.Wallet]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalletPolicy {
    /// Its file; None: one in the home, if there is one.
    pub path: Option<PathBuf>,
    /// File whose first line is its password.
    pub password_file: Option<PathBuf>,
    /// Name of the systemd credential that is its password.
    pub credential: Option<String>,
}

/// A Filecoin node's JSON-RPC v1 endpoint.
#[derive(Clone, PartialEq)]
pub struct NodeEndpoint {
    /// `http://…/rpc/v1` or `ws://…/rpc/v1`.
    pub url: String,
    pub token: Option<String>,
}

impl NodeEndpoint {
    /// Its address for logs: without the parts of a URL in which providers hide passwords.
    pub fn shown(&self) -> String {
        without_secrets(&self.url)
    }
}

/// A URL without user, password and query. Other texts are left as they are.
pub fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (rest, query) = match rest.split_once(['?', '#']) {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{host}{path}{query}")
}

/// The market that assigns deals.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketPolicy {
    pub endpoint: NodeEndpoint,
    /// The file names it; else it is looked for behind the gateway.
    pub named: bool,
}

impl MarketPolicy {
    /// Where it serves pieces: scheme, host and port, over HTTP.
    pub fn origin(&self) -> Option<String> {
        let (scheme, rest) = self.endpoint.url.split_once("://")?;
        let scheme = match scheme.ends_with('s') && scheme != "ws" {
            true => "https",
            false => "http",
        };
        let host = rest.split('/').next().unwrap_or(rest);
        Some(format!("{scheme}://{host}"))
    }
}

/// Where the manager keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePlace {
    /// A directory; None: `state` in the home.
    Directory {
        dir: Option<PathBuf>,
        /// Bytes of memory for what was read, and for what was written lately.
        memory: Memory,
    },
    /// A server that several managers share.
    Server(PostgresPolicy),
}

impl std::fmt::Display for DatabasePlace {
    /// Without what may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { dir: Some(dir), .. } => write!(f, "{}", dir.display()),
            Self::Directory { dir: None, .. } => f.write_str("the home"),
            Self::Server(server) => f.write_str(&server.postgres(None).place()),
        }
    }
}

/// How a PostgreSQL server is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresPolicy {
    /// May hold a password.
    pub dsn: String,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    pub schema: String,
    pub connections: usize,
    /// File with the certificates that are trusted; None: those of the system.
    pub authorities: Option<PathBuf>,
}

impl PostgresPolicy {
    /// As the store wants it, with the password from its file.
    pub fn postgres(&self, password: Option<String>) -> Postgres {
        Postgres {
            dsn: self.dsn.clone(),
            password,
            schema: self.schema.clone(),
            connections: self.connections,
            authorities: self.authorities.clone(),
        }
    }
}

impl std::fmt::Debug for PostgresPolicy {
    /// The password stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.postgres(None).fmt(f)
    }
}

impl std::fmt::Debug for NodeEndpoint {
    /// The token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeEndpoint")
            .field("url", &self.shown())
            .field("token", &self.token.as_ref().map(|_| "***"))
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A store as the config's defaults make it.
    pub(crate) fn store(name: &str, path: impl Into<PathBuf>) -> StorePolicy {
        StorePolicy {
            name: name.to_owned(),
            path: path.into(),
            strict: false,
            read_only: false,
            weight: 1,
            allow_miners: vec![],
            deny_miners: vec![],
            meta: None,
        }
    }

    /// A miner as the config's defaults make it, but without waiting for batches.
    pub(crate) fn miner(actor: ActorId) -> MinerPolicy {
        let send = |threshold| SendPolicy {
            senders: vec![],
            send_fund: true,
            fee: FeePolicy::default(),
            batch: BatchPolicy {
                threshold,
                max_wait: Duration::from_secs(3600),
                check_interval: Duration::from_secs(60),
                max_base_fee: TokenAmount::default(),
                slack: Duration::from_secs(3 * 3600),
                aggregate: AggregatePolicy::default(),
                fee: FeePolicy::default(),
            },
        };
        MinerPolicy {
            actor,
            sector: SectorPolicy {
                enabled: true,
                enable_deals: false,
                min_number: 0,
                max_number: None,
                lifetime_days: 540,
                use_synthetic: false,
                sealing_epochs: 0,
                require_activation_success: false,
                require_notification_success: false,
            },
            pre: send(1),
            prove: send(1),
            confidence: 10,
            post: PostPolicy {
                enabled: true,
                senders: vec![],
                fee: FeePolicy::default(),
                confidence: 10,
                submit_confidence: None,
                challenge_confidence: None,
                max_partitions_per_message: 0,
                strict_check: true,
                max_recovered_sectors: 0,
                max_partitions_per_recovery: 0,
            },
            makes_blocks: false,
        }
    }

    #[test]
    fn a_store_denies_before_it_allows() {
        let store = StorePolicy {
            name: "a".into(),
            path: "/a".into(),
            strict: true,
            read_only: false,
            weight: 1,
            allow_miners: vec![1, 2],
            deny_miners: vec![2],
            meta: None,
        };
        assert!(store.allows(1));
        assert!(!store.allows(2) && !store.allows(3));
    }

    #[test]
    fn a_token_is_not_shown() {
        let endpoint = NodeEndpoint {
            url: "http://user:secret@node/rpc/v1?key=secret".into(),
            token: Some("secret".into()),
        };
        assert!(!format!("{endpoint:?}").contains("secret"));
        for (url, shown) in [
            ("http://h:1/rpc/v1", "http://h:1/rpc/v1"),
            ("wss://u:p@h/x", "wss://***@h/x"),
            ("https://a@b@h", "https://***@h"),
            ("http://h?k=1", "http://h?***"),
            ("http://h/a@b?k=1#f", "http://h/a@b?***"),
            ("/ip4/1.2.3.4/tcp/1/http", "/ip4/1.2.3.4/tcp/1/http"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
