//! What the code works with: every value present, in its own type, and possible. Made from
//! the raw image in one go; all faults are reported together.

use super::raw::{
    AttachedSection, HOT_RULES, HotSection, MetricsSection, RawConfig, RpcClient, RpcServer,
    SealingSection, SectorManager, Span, ThreadSection, WorkerSection,
};
use crate::{endpoint::ManagerAddr, stores::look};
use damocles_api::WORKER_DEFAULT_PORT;
use damocles_daemon::{
    config::{Faults, Report, parse},
    net::Listen,
};
use damocles_flow::PlanName;
use damocles_processor::Processors;
use damocles_types::{ActorId, Hidden, SealProof, SectorSize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

const PING_INTERVAL: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: Option<String>,
    pub listen: Listen,
    pub token_secret_file: Option<PathBuf>,
    pub ping_interval: Duration,
    pub piece_dirs: Vec<PathBuf>,
    pub metrics: Option<Listen>,
    pub manager: ManagerConfig,
    /// Whether pieces may be had at all: the global `[sealing] enable_deals`, as upstream has it.
    pub pieces_enabled: bool,
    pub threads: Vec<ThreadConfig>,
    pub attached: Vec<AttachedConfig>,
    pub scan: Vec<String>,
    pub processors: Processors,
}

/// How the manager is reached. Prints without what headers say, which may be secrets.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    pub addr: ManagerAddr,
    /// Others on the same database.
    pub fallbacks: Vec<ManagerAddr>,
    pub headers: BTreeMap<String, Hidden>,
    pub token_file: Option<PathBuf>,
    pub timeout: Duration,
}

/// One sealing thread as the main file has it.
#[derive(Clone, Debug)]
pub struct ThreadConfig {
    /// Position in the file.
    pub index: usize,
    pub location: PathBuf,
    pub settings: ThreadSettings,
    /// The raw values, for merging with the thread's own file.
    raw: Layers,
}

#[derive(Clone, Debug)]
struct Layers {
    global: SealingSection,
    thread: SealingSection,
    plan: Option<String>,
}

/// What may change between two sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSettings {
    pub plan: PlanName,
    pub sealing: Sealing,
}

/// `[sealing]`, every value present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing {
    pub allowed_miners: Vec<ActorId>,
    pub allowed_sizes: Vec<SectorSize>,
    pub enable_deals: bool,
    pub disable_cc: bool,
    pub max_deals: Option<u64>,
    pub min_deal_space: Option<u64>,
    pub max_retries: u32,
    pub max_resubmits: u32,
    pub seal_interval: Duration,
    pub recover_interval: Duration,
    pub rpc_polling_interval: Duration,
    pub ignore_proof_check: bool,
    pub request_task_max_retries: u32,
    pub verify_after_pc2: bool,
}

impl Default for Sealing {
    fn default() -> Self {
        Self {
            allowed_miners: Vec::new(),
            allowed_sizes: Vec::new(),
            enable_deals: false,
            disable_cc: false,
            max_deals: None,
            min_deal_space: None,
            max_retries: 5,
            max_resubmits: 5,
            seal_interval: Duration::from_secs(30),
            recover_interval: Duration::from_secs(60),
            rpc_polling_interval: Duration::from_secs(180),
            ignore_proof_check: false,
            request_task_max_retries: 3,
            verify_after_pc2: false,
        }
    }
}

impl Sealing {
    /// Seal proofs that the thread takes, never more than it can make: a sector of another
    /// kind would stand still after hours of work. Interactive ones of each size; synthetic
    /// ones if there is a program for them; the plans know no way for non-interactive ones.
    pub fn allowed_proofs(&self, synthetic: bool) -> Vec<SealProof> {
        use damocles_types::proof::SealVersion::{V1_1, V1_1Synthetic};
        let sizes = match self.allowed_sizes.as_slice() {
            // an empty list would leave the kind to the manager as well
            [] => &SectorSize::ALL[..],
            sizes => sizes,
        };
        let versions = [Some(V1_1), synthetic.then_some(V1_1Synthetic)];
        let of_size = |size: &SectorSize| {
            let size = *size;
            versions.map(|version| version.map(|version| SealProof { version, size }))
        };
        sizes.iter().flat_map(of_size).flatten().collect()
    }
}

impl Sealing {
    /// What the thread asks the manager for, in words; for whoever wonders why it gets nothing.
    pub fn wanted(&self, synthetic: bool) -> String {
        let join = |parts: Vec<String>| parts.join(", ");
        let sizes = self.allowed_sizes.iter().map(ToString::to_string);
        let sizes = match join(sizes.collect()) {
            none if none.is_empty() => "any size".to_owned(),
            sizes => sizes,
        };
        let miners = self.allowed_miners.iter().map(ToString::to_string);
        let miners = match join(miners.collect()) {
            none if none.is_empty() => "any miner".to_owned(),
            miners => format!("miner {miners}"),
        };
        let proofs = if synthetic {
            "interactive or synthetic proofs"
        } else {
            "interactive proofs, since no [[processors.synth_proof]] makes synthetic ones"
        };
        format!("asked for {sizes}, {miners}, {proofs}")
    }
}

/// One `[[attached]]`.
#[derive(Clone, Debug)]
pub struct AttachedConfig {
    /// Position in the file.
    pub index: usize,
    pub name: Option<String>,
    pub location: PathBuf,
    pub readonly: bool,
}

/// Checks the image. Faults go into the report, with the line of their key; nothing outside
/// the file is looked at but where links lead.
pub(super) fn check(raw: &RawConfig, report: &mut Report) -> Option<Config> {
    let RawConfig {
        worker,
        metrics,
        sector_manager,
        sealing,
        sealing_thread,
        attached,
        processors,
    } = raw;
    let WorkerSection {
        name,
        rpc_server,
        ping_interval,
        local_pieces_dir,
        local_pieces_dirs,
        scan_persist_stores,
        scan_persist_stores_pascal,
    } = worker;
    let RpcServer {
        host,
        port,
        token_secret_file,
    } = rpc_server;
    let SectorManager {
        rpc_client,
        piece_token,
    } = sector_manager;

    let ip = match host.as_deref().map(str::parse::<IpAddr>) {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(Ok(ip)) => ip,
        Some(Err(_)) => {
            let text = host.as_deref().unwrap_or_default();
            report.fault(
                "worker.rpc_server.host",
                format!(
                    "{text:?} is not an IP address; write for example \"0.0.0.0\" or \"127.0.0.1\""
                ),
            );
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
    };
    let listen = Listen {
        ip: Some(ip),
        port: port.unwrap_or(WORKER_DEFAULT_PORT),
    };
    let ping_interval = positive(
        *ping_interval,
        PING_INTERVAL,
        "worker.ping_interval",
        report,
    );
    let manager = check_manager(rpc_client, report);
    let metrics = check_metrics(metrics, report);
    let processors = check_processors(processors, piece_token.as_ref(), report);
    let threads = check_threads(sealing_thread.as_deref(), sealing, report);
    let mut stores = Vec::new();
    for (i, store) in attached.iter().enumerate() {
        stores.extend(check_attached(i, store, report));
    }
    let scan: Vec<String> = [scan_persist_stores, scan_persist_stores_pascal]
        .into_iter()
        .flatten()
        .flatten()
        .cloned()
        .collect();
    for pattern in &scan {
        if let Err(error) = glob::Pattern::new(pattern) {
            report.fault(
                "worker.scan_persist_stores",
                format!("{pattern:?} is not a path pattern: {error}"),
            );
        }
    }
    if stores.is_empty() && scan.is_empty() && attached.is_empty() {
        report.fault(
            "attached",
            "no store for finished sectors; add an [[attached]] with name and location, or worker.scan_persist_stores",
        );
    }
    Some(Config {
        name: name.clone(),
        listen,
        token_secret_file: token_secret_file.clone(),
        ping_interval,
        piece_dirs: match local_pieces_dirs {
            Some(dirs) => dirs.clone(),
            None => local_pieces_dir.iter().cloned().collect(),
        },
        metrics,
        manager: manager?,
        pieces_enabled: sealing.enable_deals.unwrap_or_default(),
        threads,
        attached: stores,
        scan,
        processors: processors?,
    })
}

fn positive(span: Option<Span>, default: Duration, key: &str, report: &mut Report) -> Duration {
    let value = span.map_or(default, |s| s.0);
    if value.is_zero() {
        report.fault(
            key,
            "must be longer than nothing, or the worker would never rest",
        );
    }
    value
}

fn check_manager(raw: &RpcClient, report: &mut Report) -> Option<ManagerConfig> {
    let RpcClient {
        addr,
        fallbacks,
        headers,
        token_file,
        timeout,
    } = raw;
    let key = "sector_manager.rpc_client";
    let timeout = positive(*timeout, CALL_TIMEOUT, &format!("{key}.timeout"), report);
    let headers = headers.clone().unwrap_or_default();
    for (name, value) in &headers {
        let fine = name.parse::<http::HeaderName>().is_ok()
            && http::HeaderValue::from_str(&value.0).is_ok();
        if !fine {
            report.fault(
                &format!("{key}.headers"),
                format!("{name:?} cannot be sent as an HTTP header"),
            );
        }
    }
    let addr = match addr.as_deref().map(str::parse::<ManagerAddr>) {
        Some(Ok(addr)) => Some(addr),
        Some(Err(error)) => {
            report.fault(&format!("{key}.addr"), error);
            None
        }
        None => {
            report.fault(
                &format!("{key}.addr"),
                "is missing: where is the manager? Write for example \"/ip4/127.0.0.1/tcp/1789\"",
            );
            None
        }
    };
    let mut others = Vec::new();
    for (i, text) in fallbacks.iter().enumerate() {
        match text.parse::<ManagerAddr>() {
            Ok(other) => others.push(other),
            Err(error) => report.fault(&format!("{key}.fallbacks[{i}]"), error),
        }
    }
    Some(ManagerConfig {
        addr: addr?,
        fallbacks: others,
        headers,
        token_file: token_file.clone(),
        timeout,
    })
}

fn check_metrics(raw: &MetricsSection, report: &mut Report) -> Option<Listen> {
    let MetricsSection {
        enable,
        http_listen,
    } = raw;
    let default = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9000)).to_string();
    match http_listen.as_deref().unwrap_or(&default).parse::<Listen>() {
        Ok(listen) => enable.then_some(listen),
        Err(error) => {
            report.fault("metrics.http_listen", error);
            None
        }
    }
}

fn check_processors(
    raw: &super::raw::ProcessorsSection,
    piece_token: Option<&Hidden>,
    report: &mut Report,
) -> Option<Processors> {
    match raw.0.check() {
        Ok(mut processors) => {
            if let Some(token) = piece_token {
                give_piece_token(&mut processors, token);
            }
            Some(processors)
        }
        Err(faults) => {
            for fault in faults {
                report.fault(&fault.key, fault.message);
            }
            None
        }
    }
}

/// Only children that fetch pieces learn the token; the worker's own environment stays clean.
fn give_piece_token(processors: &mut Processors, token: &Hidden) {
    let stage = processors
        .stages
        .entry(damocles_processor::Stage::AddPieces)
        .or_default();
    stage
        .envs
        .insert("PIECE_FETCHER_TOKEN".to_owned(), token.clone());
}

fn check_threads(
    raw: Option<&[ThreadSection]>,
    global: &SealingSection,
    report: &mut Report,
) -> Vec<ThreadConfig> {
    let Some(raw) = raw else {
        report.fault(
            "sealing_thread",
            "no sealing thread; add a [[sealing_thread]] with location = \"/a/directory/on/a/fast/disk\"",
        );
        return Vec::new();
    };
    // once, so that a fault in it is told once
    sealing(&[(global, "sealing")], report);
    let mut threads: Vec<ThreadConfig> = Vec::new();
    let mut places = BTreeMap::new();
    for (index, thread) in raw.iter().enumerate() {
        let key = format!("sealing_thread[{index}]");
        let ThreadSection {
            location,
            plan,
            sealing: own,
        } = thread;
        let plan_key = format!("{key}.plan");
        let own_key = format!("{key}.sealing");
        let plan_name = check_plan(plan.as_deref(), &plan_key, report);
        let merged = sealing(&[(global, "sealing"), (own, &own_key)], report);
        if merged.disable_cc && !merged.enable_deals {
            let key = match own.disable_cc {
                Some(_) => own_key.as_str(),
                None => "sealing",
            };
            report.notice(
                &format!("{key}.disable_cc"),
                format!(
                    "is set and enable_deals is not, so sealing thread {index} has nothing to seal"
                ),
            );
        }
        let Some(location) = location else {
            report.fault(
                &format!("{key}.location"),
                "is missing: a sealing thread is a directory",
            );
            continue;
        };
        // each place is looked at once
        let first = *places.entry(look::real(location)).or_insert(index);
        if first != index {
            report.fault(
                &format!("{key}.location"),
                format!(
                    "{} is the location of sealing thread {first} already; a directory holds one sector at a time",
                    location.display(),
                ),
            );
            continue;
        }
        threads.push(ThreadConfig {
            index,
            location: location.clone(),
            settings: ThreadSettings {
                plan: plan_name,
                sealing: merged,
            },
            raw: Layers {
                global: global.clone(),
                thread: own.clone(),
                plan: plan.clone(),
            },
        });
    }
    threads
}

fn check_plan(name: Option<&str>, key: &str, report: &mut Report) -> PlanName {
    let Some(name) = name else {
        return PlanName::default();
    };
    name.parse().unwrap_or_else(|_| {
        let later = ["snapup", "rebuild", "unseal", "wdpost"];
        report.fault(
            key,
            if later.contains(&name) {
                format!("the plan {name:?} is not in this version yet; it has \"sealer\"")
            } else {
                format!("{name:?} is not a plan; this version has \"sealer\"")
            },
        );
        PlanName::default()
    })
}

/// Lays the layers over the built-in values, later ones on top.
fn sealing(layers: &[(&SealingSection, &str)], report: &mut Report) -> Sealing {
    let mut out = Sealing::default();
    for (raw, key) in layers {
        let SealingSection {
            allowed_miners,
            allowed_sizes,
            enable_deals,
            disable_cc,
            max_deals,
            min_deal_space,
            max_retries,
            max_resubmits,
            seal_interval,
            recover_interval,
            rpc_polling_interval,
            ignore_proof_check,
            request_task_max_retries,
            verify_after_pc2,
        } = raw;
        fn put<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        put(&mut out.allowed_miners, allowed_miners);
        put(&mut out.enable_deals, enable_deals);
        put(&mut out.disable_cc, disable_cc);
        put(&mut out.max_retries, max_retries);
        put(&mut out.max_resubmits, max_resubmits);
        put(&mut out.ignore_proof_check, ignore_proof_check);
        put(&mut out.request_task_max_retries, request_task_max_retries);
        put(&mut out.verify_after_pc2, verify_after_pc2);
        out.max_deals = max_deals.or(out.max_deals);
        out.min_deal_space = min_deal_space.map(|b| b.0.0).or(out.min_deal_space);
        for (name, span, to) in [
            ("seal_interval", seal_interval, &mut out.seal_interval),
            (
                "recover_interval",
                recover_interval,
                &mut out.recover_interval,
            ),
            (
                "rpc_polling_interval",
                rpc_polling_interval,
                &mut out.rpc_polling_interval,
            ),
        ] {
            *to = positive(*span, *to, &format!("{key}.{name}"), report);
        }
        if let Some(sizes) = allowed_sizes {
            out.allowed_sizes.clear();
            for (i, text) in sizes.iter().enumerate() {
                match text.parse() {
                    Ok(size) => out.allowed_sizes.push(size),
                    Err(error) => report.fault(&format!("{key}.allowed_sizes[{i}]"), error),
                }
            }
        }
    }
    out
}

fn check_attached(
    index: usize,
    raw: &AttachedSection,
    report: &mut Report,
) -> Option<AttachedConfig> {
    let AttachedSection {
        name,
        location,
        readonly,
    } = raw;
    let Some(location) = location else {
        report.fault(&format!("attached[{index}].location"), "is missing");
        return None;
    };
    Some(AttachedConfig {
        index,
        name: name.clone(),
        location: location.clone(),
        readonly: *readonly,
    })
}

impl ThreadConfig {
    /// The settings with the thread's own file (`<location>/config.toml`) laid on top.
    pub fn with_hot_file(&self, path: &Path, text: &str) -> Result<ThreadSettings, Faults> {
        let (hot, mut report) = parse::<HotSection>(path, text, &HOT_RULES);
        let hot = hot.unwrap_or_default();
        let plan = hot.plan.as_ref().or(self.raw.plan.as_ref());
        let settings = ThreadSettings {
            plan: check_plan(plan.map(String::as_str), "plan", &mut report),
            sealing: sealing(
                &[
                    (&self.raw.global, "sealing"),
                    (&self.raw.thread, "sealing"),
                    (&hot.sealing, "sealing"),
                ],
                &mut report,
            ),
        };
        report.finish().map(|_| settings)
    }
}
