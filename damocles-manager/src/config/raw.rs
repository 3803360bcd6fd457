//! The image of `sector-manager.cfg`: upstream's keys, their defaults, and what they mean.
//! No checks here; `checked` reads this completely.

use super::{
    duration::GoDuration,
    fil::{AddressText, Fil},
};
use damocles_daemon::section;
use std::{collections::BTreeMap, path::PathBuf};

section! {
    pub(super) struct Raw {
        "Common" common: Common = Common::default();
        "Miners" miners: Vec<Miner> = vec![];
    }
}

section! {
    pub(super) struct Common {
        /// Glob patterns; every directory that matches and holds a `sectorstore.json` is a persist store. Looked for every minute; what was found is remembered.
        "ScanPersistStores" scan_persist_stores: Vec<String> = vec![];
        "API" api: Api = Api::default();
        "PieceStores" piece_stores: Vec<PieceStore> = vec![];
        "PersistStores" persist_stores: Vec<PersistStore> = vec![];
        "DB" db: Db = Db::default();
        "Retention" retention: Retention = Retention::default();
        "Proving" proving: Proving = Proving::default();
        "Auth" auth: Auth = Auth::default();
        "Wallet" wallet: Wallet = Wallet::default();
    }
}

section! {
    /// The Filecoin node.
    pub(super) struct Api {
        /// The node's JSON-RPC v1: a multiaddr (`/ip4/127.0.0.1/tcp/1234/http`) or a URL, with `token:` in front if it has its own token. Required.
        "Chain" chain: Option<String> = None;
        /// Further nodes of the same network, asked in turn when the first one does not answer. Senders whose keys the key store does not hold send through the first, whose wallet has them; what is signed goes through another one while the first is away. New.
        "ChainFallbacks" chain_fallbacks: Vec<String> = vec![];
        /// A node whose newest block is older than this is not believed: no sector, message or proof is begun on its word. 0: every node is believed, for networks whose blocks do not follow the clock. New.
        "MaxHeadAge" max_head_age: GoDuration = GoDuration::secs(300);
        /// venus-messager (sophon-messager), a multiaddr or a URL, with `token:` in front if it has its own token: every message is given to it, and it gives the nonces, signs and sends. Unset with a `Gateway`: the messager behind that, as upstream has it. Without either, messages are signed by this manager's own key store (`[Common.Wallet]`) or by the wallet of the node in `Chain`.
        "Messager" messager: Option<String> = None;
        /// This manager sends its messages itself, in spite of a `Messager` or `Gateway` in the file. No messager may use the keys of its senders then, or two programs give out one address's nonces and messages get lost. New.
        "SendsItself" sends_itself: bool = false;
        /// The token for addresses that do not carry one.
        "Token" token: String = String::new();
        /// Gateways of Venus (sophon-gateway). The first one stands in for `Chain`, `Messager` and `Market` where those are not set.
        "Gateway" gateway: Vec<String> = vec![];
        /// The deal market (droplet), as `Messager` is written: with `EnableDeals` it assigns deals to sectors for which the manager's own queue has none, and pieces that are in no piece store are asked for there. Unset with a `Gateway` and `EnableDeals`: the market behind that, if there is one.
        "Market" market: Option<String> = None;
        "Tls" tls: Tls = Tls::default();
    }
}

section! {
    /// The encryption of this manager's own port; without a certificate nothing is encrypted, and tokens can be read on their way. Callers on this host may speak plain HTTP all the same. Both files are read again with the configuration (SIGHUP), so that a renewed certificate counts at once. New; upstream has no such table.
    pub(super) struct Tls {
        /// File with the certificate and those that it stands on, in PEM.
        "Cert" cert: PathBuf = PathBuf::new();
        /// File with its private key, in PEM. Let nobody but the manager's user read it.
        "Key" key: PathBuf = PathBuf::new();
    }
}

section! {
    /// A place for sealed sectors. Workers know it by the same name.
    pub(super) struct PersistStore {
        /// Name; the path when left out. Unique.
        "Name" name: String = String::new();
        /// Directory. Required.
        "Path" path: String = String::new();
        /// Refuse files that are not regular files (symbolic links, say).
        "Strict" strict: bool = false;
        /// Read what is there, put nothing new.
        "ReadOnly" read_only: bool = false;
        /// Weight in the random choice among fitting stores; 0 counts as 1.
        "Weight" weight: u64 = 0;
        /// Only sectors of these miners, when not empty.
        "AllowMiners" allow_miners: Vec<u64> = vec![];
        /// No sectors of these miners, even when allowed.
        "DenyMiners" deny_miners: Vec<u64> = vec![];
        /// Passed on to workers unread.
        "Meta" meta: Option<BTreeMap<String, String>> = None;
    }
}

section! {
    /// A directory with the data of clients, a file for each piece: its CID, with or without `.car`. Workers get pieces from here, by `/piecestore/<cid>`.
    pub(super) struct PieceStore {
        /// Name; the path when left out. Unique.
        "Name" name: String = String::new();
        /// Directory. Required.
        "Path" path: String = String::new();
        /// Give what is there, take nothing new.
        "ReadOnly" read_only: bool = false;
        /// Of plugins; there are none, and it is not read.
        "Meta" meta: Option<BTreeMap<String, String>> = None;
    }
}

section! {
    /// Where the manager keeps its state.
    pub(super) struct Db {
        /// `"rocksdb"`, a directory that one manager has for itself; or `"postgres"`, a database that several managers share. (`badger`, upstream's word for "a local directory", is taken to mean `rocksdb`; `mongo` and `plugin` are not supported.)
        "Driver" driver: String = "rocksdb".into();
        "RocksDB" rocksdb: RocksDb = RocksDb::default();
        "Postgres" postgres: Postgres = Postgres::default();
        "Badger" badger: Badger = Badger::default();
    }
}

section! {
    /// Upstream's database. Nothing is kept there; this manager refuses to begin anew beside one.
    pub(super) struct Badger {
        /// Directory of upstream's database; empty: the home.
        "BaseDir" base_dir: PathBuf = PathBuf::new();
    }
}

section! {
    pub(super) struct RocksDb {
        /// Directory of the database; empty: `state` in the home.
        "BaseDir" base_dir: PathBuf = PathBuf::new();
        /// MiB of memory for what was read. New.
        "CacheMiB" cache_mib: u64 = 128;
        /// MiB of memory for what was written lately. New.
        "WritesMiB" writes_mib: u64 = 64;
    }
}

section! {
    /// A database that speaks PostgreSQL's protocol. New; upstream has no such table.
    pub(super) struct Postgres {
        /// Where it is: `postgres://user:password@host:5432/database?sslmode=require`, or the same as `host=… user=…`. With `sslmode=require` the server's certificate is checked. Required with `Driver = "postgres"`.
        "DSN" dsn: String = String::new();
        /// File whose first line is the password, for a `DSN` without one: this file may be read by more people than that one.
        "PasswordFile" password_file: PathBuf = PathBuf::new();
        /// The schema of the database that holds this manager's tables and nothing else. It is made when it is not there.
        "Schema" schema: String = "damocles".into();
        /// So many connections at most.
        "Connections" connections: u64 = 16;
        /// File with the certificates (PEM) that are trusted; empty: those of the system.
        "Authorities" authorities: PathBuf = PathBuf::new();
    }
}

section! {
    /// How long is kept what nobody needs any more. New; upstream has no such table, and keeps all.
    pub(super) struct Retention {
        /// Parameters, signed bytes and return value of a message that nothing can happen to any more; what it was and what came of it stays. With the message that carries a proof goes the proof. 0: for ever.
        "MessageBodies" message_bodies: GoDuration = GoDuration::secs(30 * 24 * 3600);
        /// Attempts at the steps of a sector that is finished or given up; the sector's record stays. 0: for ever.
        "Timelines" timelines: GoDuration = GoDuration::secs(365 * 24 * 3600);
    }
}

section! {
    /// How sectors are checked before a WindowPoSt, and what proves them.
    pub(super) struct Proving {
        /// Sectors checked at once; 0 or less: as many as there are.
        "ParallelCheckLimit" parallel_check_limit: i64 = 128;
        /// A sector that takes longer is left out of the proof; 0: one day.
        "SingleCheckTimeout" single_check_timeout: GoDuration = GoDuration::secs(600);
        /// Sectors not reached in this time, nor in the first half of what is left of their window, are left out of the
        /// proof; 0: one day.
        "PartitionCheckTimeout" partition_check_timeout: GoDuration = GoDuration::secs(1200);
        /// What computes the WindowPoSts of `daemon run --poster`: `"auto"`, our own prover where there is one, or `"filecoin-proofs"`, the library always. New; upstream has no such key.
        "Kernel" kernel: String = "auto".into();
        "WorkerProver" worker_prover: WorkerProver = WorkerProver::default();
    }
}

section! {
    /// WindowPoSts that workers prove (threads of `plan = "wdpost"`), where the daemon runs with `--worker-prover`.
    pub(super) struct WorkerProver {
        /// So many attempts at a job fail before no other worker is given it; it is proven here then, or a person resets it. A worker that falls silent has not failed.
        "JobMaxTry" job_max_try: u32 = 2;
        /// A job whose worker has said nothing for so long is given to another one.
        "HeartbeatTimeout" heartbeat_timeout: GoDuration = GoDuration::secs(15);
        /// Jobs that are over are forgotten so long after they were begun.
        "JobLifetime" job_lifetime: GoDuration = GoDuration::secs(25 * 3600);
        /// A job that no worker has taken for a minute while none is at work, that has failed `JobMaxTry` times, or whose proof would come too late, is proven by a child process of this manager as well: the first proof counts. When off, only workers prove, as upstream's. New.
        "ProveHereToo" prove_here_too: bool = true;
    }
}

section! {
    /// Who may call this manager. New; upstream has no such table, and serves everybody.
    pub(super) struct Auth {
        /// Networks whose hosts may do what workers do (read, write) without a token, as `"10.0.0.0/8"`. Hosts elsewhere need a token (`util auth create-token`); callers at 127.0.0.1 need none, unless a browser or proxy speaks for them (let a reverse proxy on this host set X-Forwarded-For: one that says nothing passes for a local caller).
        "AllowAnonymous" allow_anonymous: Vec<String> = vec![];
    }
}

section! {
    /// The manager's own key store (`util wallet`): it signs the messages of the senders whose keys it holds; for the others the node's wallet does. New; upstream has no such table.
    pub(super) struct Wallet {
        /// Its file; empty: `wallet.keys` in the home, if there is one. A file that is named here must be there: until it is, no message is sent.
        "Path" path: PathBuf = PathBuf::new();
        /// File whose first line is the password. Let nobody but the manager's user read it.
        "PasswordFile" password_file: PathBuf = PathBuf::new();
        /// Name of the systemd credential that is the password (`LoadCredential=` or `LoadCredentialEncrypted=` in the unit). Not used when `PasswordFile` is set.
        "Credential" credential: String = String::new();
    }
}

section! {
    /// A miner that this manager serves.
    pub(super) struct Miner {
        /// Actor id, without `f0`. Required.
        "Actor" actor: Option<u64> = None;
        "Sector" sector: Sector = Sector::default();
        "Commitment" commitment: Commitment = Commitment::default();
        "PoSt" post: PoSt = PoSt::default();
        "Proof" proof: Proof = Proof::default();
        "Sealing" sealing: Sealing = Sealing::default();
    }
}

section! {
    /// New sectors.
    pub(super) struct Sector {
        /// Older name of `MinNumber`, used when that is not set.
        "InitNumber" init_number: u64 = 0;
        /// Numbers handed out are greater than this.
        "MinNumber" min_number: Option<u64> = None;
        /// No number greater than this is handed out.
        "MaxNumber" max_number: Option<u64> = None;
        /// Whether workers get new sectors.
        "Enabled" enabled: bool = true;
        /// Whether sectors take deals, from the manager's own queue (`util deals`). Workers need `enable_deals` too.
        "EnableDeals" enable_deals: bool = false;
        /// Lifetime of a sector without deals; 0: the longest that the protocol allows.
        "LifetimeDays" lifetime_days: u64 = 540;
    }
}

section! {
    /// How sectors are put on chain.
    pub(super) struct Commitment {
        /// Epochs on top of a message before it counts as landed.
        "Confidence" confidence: i64 = 10;
        "Pre" pre: Send = Send::default();
        "Prove" prove: Prove = Prove::default();
    }
}

/// The keys about fees, which stand in several sections.
pub(super) struct Fees {
    pub(super) gas_over_estimation: f64,
    pub(super) gas_over_premium: f64,
    pub(super) gas_fee_cap: Fil,
    /// The older name of the same.
    pub(super) max_fee_cap: Fil,
    pub(super) max_fee: Fil,
    pub(super) max_fee_per_day: Fil,
}

/// What a section says of single messages.
pub(super) struct SendKeys {
    pub(super) sender: Option<AddressText>,
    pub(super) senders: Vec<AddressText>,
    pub(super) send_fund: bool,
    pub(super) fees: Fees,
}

/// What a section says of batches, of whatever kind.
pub(super) struct BatchKeys {
    pub(super) threshold: Option<u64>,
    pub(super) max_wait: GoDuration,
    pub(super) check_interval: GoDuration,
    pub(super) max_base_fee: Fil,
    pub(super) slack: GoDuration,
    pub(super) fees: Fees,
}

/// Those of a section.
macro_rules! fees {
    ($section:expr) => {
        Fees {
            gas_over_estimation: $section.gas_over_estimation,
            gas_over_premium: $section.gas_over_premium,
            gas_fee_cap: $section.gas_fee_cap,
            max_fee_cap: $section.max_fee_cap,
            max_fee: $section.max_fee,
            max_fee_per_day: $section.max_fee_per_day,
        }
    };
}

/// The sections of a kind of commitment: the same keys, and `more` of its batches.
macro_rules! commitments {
    (
        $(#[doc = $doc:literal])* $send:ident;
        $(#[doc = $batch_doc:literal])* $batch:ident;
        $(#[doc = $threshold:literal])* threshold;
        $($more:tt)*
    ) => {
        section! {
            $(#[doc = $doc])*
            pub(super) struct $send {
                /// Sending address; the miner's worker address when neither this nor `Senders` is set.
                "Sender" sender: Option<AddressText> = None;
                /// Sending addresses; the one that may sign and has most funds is taken.
                "Senders" senders: Vec<AddressText> = vec![];
                /// Whether deposit or pledge travels with the message, rather than being taken from the miner's balance.
                "SendFund" send_fund: bool = true;
                /// Factor on the estimated gas limit; 0: the node's own.
                "GasOverEstimation" gas_over_estimation: f64 = 1.2;
                /// Factor on the estimated premium; 0: as estimated.
                "GasOverPremium" gas_over_premium: f64 = 0.0;
                /// Highest price per unit of gas; empty: as estimated.
                "GasFeeCap" gas_fee_cap: Fil = Fil::nano(5);
                /// Older name of `GasFeeCap`, used when that is empty or zero.
                "MaxFeeCap" max_fee_cap: Fil = Fil::default();
                /// What a message may cost in all when it is made dearer because no block takes it: `GasFeeCap` is the price with which it begins, and this is used only when its deadline is near. Empty or zero: it is made no dearer than `GasFeeCap`. New.
                "MaxFee" max_fee: Fil = Fil::default();
                /// When the messages of this kind that ran within a day (UTC) have cost so much, the next ones wait for the next day, and none is made dearer. Empty or zero: no limit. New.
                "MaxFeePerDay" max_fee_per_day: Fil = Fil::default();
                "Batch" batch: $batch = $batch::default();
            }
        }

        impl $send {
            pub(super) fn keys(self) -> (SendKeys, $batch) {
                let keys = SendKeys {
                    sender: self.sender,
                    senders: self.senders,
                    send_fund: self.send_fund,
                    fees: fees!(self),
                };
                (keys, self.batch)
            }
        }

        section! {
            $(#[doc = $batch_doc])*
            pub(super) struct $batch {
                $(#[doc = $threshold])*
                "Threshold" threshold: Option<u64> = None;
                /// The oldest one waits no longer than this.
                "MaxWait" max_wait: GoDuration = GoDuration::secs(3600);
                /// How often waiting sectors are looked at.
                "CheckInterval" check_interval: GoDuration = GoDuration::secs(60);
                /// While the base fee is higher than this, only sectors go whose deadline is near. Empty or zero: they go whatever it is. New.
                "MaxBaseFee" max_base_fee: Fil = Fil::default();
                /// A sector whose deadline (of its ticket, for a precommit; 30 days after its precommit, for a proof; the start of its deals) is so near goes at once, whatever the base fee and however few there are; a quarter of the time that it has at most. New.
                "Slack" slack: GoDuration = GoDuration::secs(3 * 3600);
                $($more)*
                /// Factor on the estimated gas limit; 0: the node's own.
                "GasOverEstimation" gas_over_estimation: f64 = 1.2;
                /// Factor on the estimated premium; 0: as estimated.
                "GasOverPremium" gas_over_premium: f64 = 0.0;
                /// Highest price per unit of gas; empty: as estimated.
                "GasFeeCap" gas_fee_cap: Fil = Fil::nano(5);
                /// Older name of `GasFeeCap`, used when that is empty or zero.
                "MaxFeeCap" max_fee_cap: Fil = Fil::default();
                /// What a message may cost in all when it is made dearer because no block takes it: `GasFeeCap` is the price with which it begins, and this is used only when its deadline is near. Empty or zero: it is made no dearer than `GasFeeCap`. New.
                "MaxFee" max_fee: Fil = Fil::default();
                /// When the messages of this kind that ran within a day (UTC) have cost so much, the next ones wait for the next day, and none is made dearer. Empty or zero: no limit. New.
                "MaxFeePerDay" max_fee_per_day: Fil = Fil::default();
            }
        }

        impl $batch {
            pub(super) fn keys(self) -> BatchKeys {
                BatchKeys {
                    threshold: self.threshold,
                    max_wait: self.max_wait,
                    check_interval: self.check_interval,
                    max_base_fee: self.max_base_fee,
                    slack: self.slack,
                    fees: fees!(self),
                }
            }
        }
    };
}

commitments! {
    /// Precommits.
    Send;
    /// Precommits that go in one message.
    Batch;
    /// So many go at once; 1: each goes alone, without waiting. When left out: 2.
    threshold;
}

commitments! {
    /// Proofs: the same keys as precommits have, and more in `Batch`.
    Prove;
    /// Proofs that go in one message, or several.
    ProveBatch;
    /// So many go at once; 1: each goes alone, without waiting. When left out: 4.
    threshold;
    /// Whether the proofs of a batch go as one aggregate (SnarkPack; 4 to 819 sectors) instead of singly: `"auto"`, where it
    /// costs less at the base fee of now, both tried on the chain's state; `"always"`, wherever it can be made, as upstream
    /// does; `"never"`. Made in a child process, with the parameters' `v28-fil-inner-product-v1.srs`; where that is missing, or
    /// the chain refuses the aggregate, they go singly. New.
    "Aggregate" aggregate: String = "auto".into();
    /// While the base fee is lower than this, proofs go singly. Empty or zero: whatever it is. (Upstream has retired this key.)
    "BatchCommitAboveBaseFee" batch_commit_above_base_fee: Fil = Fil::default();
}

section! {
    /// WindowPoSt. Also needs `daemon run --poster`.
    pub(super) struct PoSt {
        /// Sending address; the miner's worker address when neither this nor `Senders` is set.
        "Sender" sender: Option<AddressText> = None;
        /// Sending addresses; the one that may sign and has most funds is taken. Best a control address that sends nothing
        /// else: messages of one address go in the order of their nonces, so that a precommit or proof which is stuck for
        /// its fee holds up the WindowPoSts behind it, and their sectors become faulty.
        "Senders" senders: Vec<AddressText> = vec![];
        /// Whether this manager proves the miner's sectors.
        "Enabled" enabled: bool = true;
        /// Factor on the estimated gas limit; 0: the node's own.
        "GasOverEstimation" gas_over_estimation: f64 = 1.2;
        /// Factor on the estimated premium; 0: as estimated.
        "GasOverPremium" gas_over_premium: f64 = 0.0;
        /// Highest price per unit of gas; empty: as estimated.
        "GasFeeCap" gas_fee_cap: Fil = Fil::nano(5);
        /// Older name of `GasFeeCap`, used when that is empty or zero.
        "MaxFeeCap" max_fee_cap: Fil = Fil::default();
        /// What a message may cost in all when it is made dearer because no block takes it: `GasFeeCap` is the price with which it begins. Empty or zero: it is made no dearer than `GasFeeCap`. A message that declares recoveries pays up to so much of the fees that the miner owes, without which the chain takes none. New.
        "MaxFee" max_fee: Fil = Fil::whole(5);
        /// When the messages of this kind that ran within a day (UTC) have cost so much, none is made dearer; they are sent all the same. Empty or zero: no limit. New.
        "MaxFeePerDay" max_fee_per_day: Fil = Fil::default();
        /// Epochs on top of a message before it counts as landed.
        "Confidence" confidence: u64 = 10;
        /// Epochs after a deadline opened before its proof is sent; 0: 4 of 60, scaled to the network's window.
        "SubmitConfidence" submit_confidence: u64 = 0;
        /// Epochs after the challenge before proving begins; 0: 10 of 20, scaled to the network's lookback.
        "ChallengeConfidence" challenge_confidence: u64 = 0;
        /// Partitions per message; 0: as many as the protocol allows.
        "MaxPartitionsPerPoStMessage" max_partitions_per_message: u64 = 0;
        /// Read what the challenge asks for of each sector before proving, each by itself and within `SingleCheckTimeout`: a sector that hangs or is damaged is found before the prover meets it. When off, presence and sizes are looked at, and sectors are read when the prover fails.
        "StrictCheck" strict_check: bool = true;
        /// Most faulty sectors of a deadline that are declared recovered within a proving period; 0: all that can be read. Those that are declared must be proven with the deadline's next WindowPoSt.
        "MaxRecoverSectorLimit" max_recovered_sectors: u64 = 0;
        /// Partitions per message that declares sectors recovered; 0: as many as the protocol allows.
        "MaxPartitionsPerRecoveryMessage" max_partitions_per_recovery: u64 = 0;
    }
}

section! {
    /// Blocks (WinningPoSt). Also needs `daemon run --miner`.
    pub(super) struct Proof {
        /// Whether this manager makes the blocks that the miner wins, directly on the node whose wallet has the key of the miner's worker. Nobody else may make blocks of this miner: two of one epoch cost it its collateral.
        "Enabled" enabled: bool = false;
    }
}

section! {
    /// How sectors are sealed and activated.
    pub(super) struct Sealing {
        /// One sector that cannot be activated refuses the whole message.
        "RequireActivationSuccess" require_activation_success: bool = false;
        /// A failed notification refuses the whole message.
        "RequireNotificationSuccess" require_notification_success: bool = false;
        /// Epochs that sealing takes: a deal goes into a sector only if it need not be on chain before. 0: whatever is not too late yet.
        "SealingEpochDuration" sealing_epoch_duration: i64 = 0;
        /// New sectors use synthetic PoRep, which needs less space while they wait for the chain.
        "UseSyntheticPoRep" use_synthetic_porep: bool = false;
    }
}
