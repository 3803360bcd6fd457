//! The image of the worker's TOML: upstream's keys, exactly, and new ones of ours after them.
//! Nothing is decided here.

use damocles_daemon::{
    config::{Kept, KeyDoc, Kind, Legacy, Rules, Sheet, Value, quoted},
    section,
};
use damocles_processor::{RawProcessors, config_keys};
use damocles_types::{ByteSize, Hidden};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// A length of time. TOML: text such as `"30s"` or `"1m 30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = quoted(d, "a length of time in quotes, such as \"30s\"")?;
        humantime::parse_duration(&text).map(Self).map_err(|_| {
            de::Error::custom(format!(
                "{text:?} is not a length of time; write for example \"30s\", \"5m\" or \"1h 30m\""
            ))
        })
    }
}

impl Value for Span {
    fn kind() -> Kind {
        Kind::Leaf("length of time, such as \"30s\"".to_owned())
    }
}

/// A number of bytes. TOML: text such as `"32GiB"`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub ByteSize);

impl Value for Bytes {
    fn kind() -> Kind {
        Kind::Leaf("size, such as \"32GiB\"".to_owned())
    }
}

/// `[processors]`; the image and its words belong to the crate that runs them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessorsSection(pub RawProcessors);

impl Value for ProcessorsSection {
    fn kind() -> Kind {
        let sheet = |doc: &[&'static str], keys: Vec<KeyDoc>| Sheet {
            doc: doc.to_vec(),
            keys,
            defaults: toml::Table::new(),
        };
        let leaves = |keys: &[config_keys::Key]| -> Vec<KeyDoc> {
            let leaf = |key: &config_keys::Key| KeyDoc {
                name: key.name,
                doc: key.doc.to_vec(),
                kind: Kind::Leaf(key.holds.to_owned()),
            };
            keys.iter().map(leaf).collect()
        };
        let mut keys = leaves(config_keys::SECTION);
        keys.push(KeyDoc {
            name: "<stage>",
            doc: Vec::new(),
            kind: Kind::Tables(sheet(config_keys::CHILD_DOC, leaves(config_keys::CHILD))),
        });
        Kind::Table(sheet(config_keys::SECTION_DOC, keys))
    }
}

section! {
    /// Where the worker's own RPC listens, and who may command it.
    pub struct RpcServer {
        /// Address to listen on; an IP literal. `0.0.0.0` when left out.
        "host" host: Option<String> = None;
        /// Port to listen on; 0 takes a free one. `17890` when left out.
        "port" port: Option<u16> = None;
        /// New: file with the secret by which tokens are checked. Callers on the same host need no token;
        /// from other hosts commands (pause, resume) are refused without one. No file: always refused.
        "token_secret_file" token_secret_file: Option<PathBuf> = None;
    }
}

section! {
    /// This worker.
    pub struct WorkerSection {
        /// Name of the instance, as the manager and its lists show it; the IP that reaches the manager when left out.
        "name" name: Option<String> = None;
        "rpc_server" rpc_server: RpcServer = RpcServer::default();
        /// How often the manager is told that this worker lives; `30s` when left out.
        "ping_interval" ping_interval: Option<Span> = None;
        /// Older form of `local_pieces_dirs` for one directory; used only when that is absent.
        "local_pieces_dir" local_pieces_dir: Option<PathBuf> = None;
        /// Directories searched for piece files (`<piece cid>` or `<piece cid>.car`) before they are fetched.
        "local_pieces_dirs" local_pieces_dirs: Option<Vec<PathBuf>> = None;
        /// Path patterns; every matching directory with a `sectorstore.json` becomes an attached store.
        "scan_persist_stores" scan_persist_stores: Option<Vec<String>> = None;
        /// Older spelling of `scan_persist_stores`.
        "ScanPersistStores" scan_persist_stores_pascal: Option<Vec<String>> = None;
        /// New: of what more may be planned for than this machine has: `disk`, `cpu`, `memory`, `gpu`. What is named here is a
        /// warning at the start; anything else that does not fit is refused (`damocles-worker plan check` shows the sums).
        "allow_oversubscription" allow_oversubscription: Vec<String> = Vec::new();
    }
}

section! {
    /// Prometheus metrics, `/healthcheck` and `/readiness` on a port of their own.
    pub struct MetricsSection {
        /// Whether to listen. (The same paths are served on the RPC port in any case.)
        "enable" enable: bool = false;
        /// Address to listen on; `0.0.0.0:9000` when left out.
        "http_listen" http_listen: Option<String> = None;
    }
}

section! {
    /// How the manager is reached.
    pub struct RpcClient {
        /// Multiaddr (`/ip4/10.0.0.1/tcp/1789`) or URL (`http://10.0.0.1:1789`). Required.
        "addr" addr: Option<String> = None;
        /// New: further managers on the same database, asked in turn when the one before does not answer.
        "fallbacks" fallbacks: Vec<String> = vec![];
        /// Headers of every request.
        "headers" headers: Option<BTreeMap<String, Hidden>> = None;
        /// New: file with the manager's token; sent as `Authorization: Bearer …`.
        "token_file" token_file: Option<PathBuf> = None;
        /// New: file with the authority (PEM) that vouches for the certificate of a manager at `https://`; those that the system knows when left out.
        "ca" ca: Option<PathBuf> = None;
        /// New: longest time that one call may take; `30s` when left out.
        "timeout" timeout: Option<Span> = None;
    }
}

section! {
    /// The manager that gives work.
    pub struct SectorManager {
        "rpc_client" rpc_client: RpcClient = RpcClient::default();
        /// New: name of a profile that the manager keeps for hosts of one kind (`damocles-manager util profile`). This file is laid
        /// over it: a single value replaces the profile's, a list of tables (`[[sealing_thread]]`, `[[attached]]`, `[[processors.<stage>]]`)
        /// the whole list, unless one of its tables says `extend = true`. `assigned`: the one that the manager has assigned to `worker.name`.
        "profile" profile: Option<String> = None;
        /// New: where the last profile is kept, so that the worker starts while the manager is away; beside this file when left out,
        /// or in systemd's `STATE_DIRECTORY`.
        "profile_copy" profile_copy: Option<PathBuf> = None;
        /// Token for fetching pieces; handed to the add_pieces processors only, never logged.
        "piece_token" piece_token: Option<Hidden> = None;
    }
}

section! {
    /// How sectors are sealed. In `[[sealing_thread]]` the same keys under `sealing.` override these,
    /// and `<location>/config.toml` overrides both between two sectors.
    pub struct SealingSection {
        /// Actor ids of the miners to seal for; any when left out.
        "allowed_miners" allowed_miners: Option<Vec<u64>> = None;
        /// Sector sizes to seal (2KiB, 8MiB, 512MiB, 32GiB, 64GiB); any when left out.
        "allowed_sizes" allowed_sizes: Option<Vec<String>> = None;
        /// Ask for deals; `false` when left out.
        "enable_deals" enable_deals: Option<bool> = None;
        /// Seal no sector without deals; `false` when left out.
        "disable_cc" disable_cc: Option<bool> = None;
        /// Most deals in a sector.
        "max_deals" max_deals: Option<u64> = None;
        /// Least space of a sector that its deals must fill.
        "min_deal_space" min_deal_space: Option<Bytes> = None;
        /// How often a step is tried again after a temporary failure; progress clears the count. `5` when left out.
        "max_retries" max_retries: Option<u32> = None;
        /// New: how often a precommit or a proof is sent anew after its message failed on chain; then the thread waits
        /// for a person, and `worker resume` lets it go on. Each failed message costs gas. `5` when left out.
        "max_resubmits" max_resubmits: Option<u32> = None;
        /// Pause between two sectors; `30s` when left out.
        "seal_interval" seal_interval: Option<Span> = None;
        /// Pause before a failed step is tried again, and between two questions for work; `60s` when left out.
        /// (Upstream's documents say 30s, its code 60s.)
        "recover_interval" recover_interval: Option<Span> = None;
        /// Pause between two questions about a message, the seed, or a store's space; `180s` when left out.
        "rpc_polling_interval" rpc_polling_interval: Option<Span> = None;
        /// Do not wait until the proof has landed; `false` when left out.
        "ignore_proof_check" ignore_proof_check: Option<bool> = None;
        /// Questions for work without success before the thread rests for `seal_interval` and reads its settings anew; `3` when left out.
        "request_task_max_retries" request_task_max_retries: Option<u32> = None;
        /// Answer a made-up seed right after PC2, to find broken hardware before the chain does; `false` when left out.
        "verify_after_pc2" verify_after_pc2: Option<bool> = None;
    }
}

section! {
    /// A sealing thread: one directory, one sector at a time.
    pub struct ThreadSection {
        /// Directory on a fast local disk, made by `damocles-worker store sealing-init -l DIR`: where it is missing,
        /// its disk may be missing, and the thread waits for it. Required.
        "location" location: Option<PathBuf> = None;
        /// What it does: `sealer` when left out. One of `wdpost` proves WindowPoSts for a manager that runs with `--worker-prover`,
        /// of sectors in the `[[attached]]` stores, and needs no location. A thread of another plan (snapup, rebuild, unseal, niporep)
        /// waits until a version of the worker has it, and says so.
        "plan" plan: Option<String> = None;
        /// New: these threads come after the profile's, and not in their place.
        "extend" extend: bool = false;
        "sealing" sealing: SealingSection = SealingSection::default();
    }
}

section! {
    /// What `<location>/config.toml` may hold: settings of that thread, read anew between two sectors.
    pub struct HotSection {
        /// As in `[[sealing_thread]]`.
        "plan" plan: Option<String> = None;
        "sealing" sealing: SealingSection = SealingSection::default();
    }
}

section! {
    /// A store for finished sectors, known to the manager by the same name.
    pub struct AttachedSection {
        /// Name; the directory's full path when left out.
        "name" name: Option<String> = None;
        /// Directory, usually on a shared file system; `damocles-worker store file-init -l DIR` makes and marks it. While it is
        /// missing, or has no longer the mark that the worker has seen, its disk is taken for not mounted and nothing is moved there. Required.
        "location" location: Option<PathBuf> = None;
        /// Read from it only.
        "readonly" readonly: bool = false;
        /// New: these stores come after the profile's, and not in their place.
        "extend" extend: bool = false;
    }
}

section! {
    /// The worker's configuration file.
    pub struct RawConfig {
        "worker" worker: WorkerSection = WorkerSection::default();
        "metrics" metrics: MetricsSection = MetricsSection::default();
        "sector_manager" sector_manager: SectorManager = SectorManager::default();
        "sealing" sealing: SealingSection = SealingSection::default();
        "sealing_thread" sealing_thread: Option<Vec<ThreadSection>> = None;
        "attached" attached: Vec<AttachedSection> = Vec::new();
        "processors" processors: ProcessorsSection = ProcessorsSection::default();
    }
}

/// Keys are matched as they are written (upstream's worker does the same).
pub const RULES: Rules = Rules {
    fold_case: false,
    legacy: &[
        Legacy {
            path: "attached_selection.enable_space_weighted",
            note: "was retired in v0.4 (the manager chooses the store)",
            kept: Kept::Ignored,
        },
        Legacy {
            path: "attached_selection",
            note: "was retired in v0.4 (the manager chooses the store)",
            kept: Kept::Ignored,
        },
        Legacy {
            path: "remote_store",
            note: "was retired; stores for finished sectors stand in [[attached]]",
            kept: Kept::Ignored,
        },
    ],
};

/// The same for a thread's own file.
pub const HOT_RULES: Rules = Rules {
    fold_case: false,
    legacy: &[Legacy {
        path: "location",
        note: "is given by the main file only",
        kept: Kept::Ignored,
    }],
};
