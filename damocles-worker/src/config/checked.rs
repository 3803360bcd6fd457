//! What the code works with: every value present, in its own type, and possible. Made from
//! the raw image in one go; all faults are reported together.

use super::{
    sealing::{Sealing, positive},
    threads::{PlacelessThread, ThreadConfig, Threads, check_threads},
};
use crate::endpoint::ManagerAddr;
use damocles_api::WORKER_DEFAULT_PORT;
use damocles_daemon::{config::Report, net::Listen};
use damocles_processor::Processors;
use damocles_types::Hidden;
use damocles_worker_config::raw::{
    AttachedSection, MetricsSection, ProcessorsSection, RawConfig, RpcClient, RpcServer,
    SectorManager, WorkerSection,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use strum::IntoEnumIterator as _;

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
    /// `[sealing]`, over which each thread lays its own.
    pub sealing: Sealing,
    pub threads: Vec<ThreadConfig>,
    /// Threads of plans that need no directory.
    pub placeless: Vec<PlacelessThread>,
    pub attached: Vec<AttachedConfig>,
    pub scan: Vec<String>,
    pub processors: Processors,
    /// Of what more may be planned for than the machine has.
    pub oversubscription: BTreeSet<Resource>,
}

impl Config {
    /// The directories of the sealing threads.
    pub fn locations(&self) -> Vec<PathBuf> {
        let threads = self.threads.iter();
        threads.map(|thread| thread.location.clone()).collect()
    }
}

/// What a machine has so much of.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::EnumIter,
)]
#[strum(serialize_all = "lowercase")]
pub enum Resource {
    Disk,
    Cpu,
    Memory,
    Gpu,
}

/// How the manager is reached. Prints without what headers say, which may be secrets.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    pub addr: ManagerAddr,
    /// Others on the same database.
    pub fallbacks: Vec<ManagerAddr>,
    pub headers: BTreeMap<String, Hidden>,
    pub token_file: Option<PathBuf>,
    /// The authority that vouches for the manager's certificate; None: those that the system knows.
    pub ca: Option<PathBuf>,
    pub timeout: Duration,
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
        allow_oversubscription,
    } = worker;
    let RpcServer {
        host,
        port,
        token_secret_file,
    } = rpc_server;
    let SectorManager {
        rpc_client,
        profile: _,
        profile_copy: _,
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
    let oversubscription = check_oversubscription(allow_oversubscription, report);
    let Threads {
        global,
        placed,
        placeless,
    } = check_threads(sealing_thread.as_deref(), sealing, report);
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
        sealing: global,
        threads: placed,
        placeless,
        attached: stores,
        scan,
        processors: processors?,
        oversubscription,
    })
}

fn check_oversubscription(raw: &[String], report: &mut Report) -> BTreeSet<Resource> {
    let mut allowed = BTreeSet::new();
    for (i, word) in raw.iter().enumerate() {
        match word.parse() {
            Ok(resource) => _ = allowed.insert(resource),
            Err(_) => {
                let all: Vec<String> = Resource::iter().map(|r| r.to_string()).collect();
                let all = all.join(", ");
                report.fault(
                    &format!("worker.allow_oversubscription[{i}]"),
                    format!("{word:?} is nothing that a plan counts; it counts {all}"),
                );
            }
        }
    }
    allowed
}

pub(super) fn check_manager(raw: &RpcClient, report: &mut Report) -> Option<ManagerConfig> {
    let RpcClient {
        addr,
        fallbacks,
        headers,
        token_file,
        ca,
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
        ca: ca.clone(),
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
    raw: &ProcessorsSection,
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

fn check_attached(
    index: usize,
    raw: &AttachedSection,
    report: &mut Report,
) -> Option<AttachedConfig> {
    let AttachedSection {
        name,
        location,
        readonly,
        extend: _,
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
