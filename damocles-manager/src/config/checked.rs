//! From the file's image to policies: every value checked, all faults at once.

use super::{
    database, endpoint,
    home::here,
    legacy::RULES,
    pieces,
    raw::{self, Raw},
    secrets::Secrets,
    sending::{PRE_THRESHOLD, PROVE_THRESHOLD, epochs, post_policy, pre_commits, proofs},
    stores, venus, wallet,
};
use crate::policy::{
    DatabasePlace, MarketPolicy, MinerPolicy, NodeEndpoint, PieceStorePolicy, ProvingPolicy,
    Retention, SectorPolicy, StorePolicy, WalletPolicy, WorkerProverPolicy, without_secrets,
};
use damocles_daemon::{
    config::{Faults, Notice, Report, parse, parse_file},
    exit::Fatal,
    tls::{Identity, IdentityError},
};
use damocles_processor::{KernelChoice, UnknownKernel};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// What "no limit" means for a time-out: nobody waits for ever.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// No worker that says every three seconds that it lives is taken for silent within this time.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node that has the wallet, then those that may be asked in its place.
    pub nodes: Vec<NodeEndpoint>,
    /// Who sends messages; None: this manager itself.
    pub messager: Option<NodeEndpoint>,
    /// A head that is older is not believed; None: every head is.
    pub max_head_age: Option<Duration>,
    pub database: DatabasePlace,
    /// Where upstream's manager kept its state, if the file says so.
    pub upstream_database: Option<PathBuf>,
    pub retention: Retention,
    pub stores: Vec<StorePolicy>,
    /// Glob patterns that lead to further stores.
    pub store_scans: Vec<String>,
    pub piece_stores: Vec<PieceStorePolicy>,
    /// Who assigns deals, and has pieces that are in no piece store.
    pub market: Option<MarketPolicy>,
    pub proving: ProvingPolicy,
    pub miners: Vec<MinerPolicy>,
    /// Networks whose hosts may do what workers do without a token.
    pub open_networks: Vec<IpNet>,
    pub wallet: WalletPolicy,
    /// What is shown on this manager's port; None: TLS is not spoken there.
    pub tls: Option<Identity>,
    /// What was left out.
    pub notices: Vec<Notice>,
    /// The effective file as TOML, tokens masked.
    pub effective: String,
    /// What is masked there.
    pub secrets: Secrets,
}

/// Reads and checks a file.
///
/// # Errors
/// One [`Fatal`] that lists all faults.
pub fn check_file(path: &Path) -> Result<Config, Fatal> {
    Ok(examine(path)??)
}

/// The same, with the faults one by one.
///
/// # Errors
/// A [`Fatal`] when the file cannot be read at all.
pub fn examine(path: &Path) -> Result<Result<Config, Faults>, Fatal> {
    let (raw, report) = parse_file(path, &RULES)?;
    Ok(check(raw, report))
}

/// Checks a file's text; `path` names it in messages.
///
/// # Errors
/// One [`Fatal`] that lists all faults.
pub fn check_text(path: &Path, text: &str) -> Result<Config, Fatal> {
    let (raw, report) = parse(path, text, &RULES);
    Ok(check(raw, report)?)
}

fn check(raw: Option<Raw>, mut report: Report) -> Result<Config, Faults> {
    let raw = raw.unwrap_or_default();
    let effective = masked(raw.clone());
    let secrets = Secrets::of(&raw.common);
    let Raw { common, miners } = raw;
    let raw::Common {
        scan_persist_stores,
        api,
        piece_stores,
        persist_stores,
        db,
        retention,
        proving,
        auth,
        wallet,
    } = common;
    let deals_wanted = miners.iter().any(|miner| miner.sector.enable_deals);
    let messager = venus::messager(&mut report, &api);
    let max_head_age = Some(api.max_head_age.0).filter(|age| !age.is_zero());
    let market = venus::market(&mut report, &api, deals_wanted);
    let piece_stores = pieces::stores(&mut report, piece_stores);
    let tls = tls(&mut report, &api.tls);
    let nodes = nodes(&mut report, api);
    let (database, upstream_database) = database::place(&mut report, db);
    let for_so_long = |kept: Duration| Some(kept).filter(|kept| !kept.is_zero());
    let retention = Retention {
        message_bodies: for_so_long(retention.message_bodies.0),
        timelines: for_so_long(retention.timelines.0),
    };
    let stores = all_stores(&mut report, persist_stores);
    let store_scans = store_scans(&mut report, scan_persist_stores);
    let proving = proving_policy(&mut report, proving);
    let open_networks = networks(&mut report, auth);
    let wallet = wallet::policy(&mut report, wallet);
    if miners.is_empty() {
        report.fault(
            "Miners",
            "there is no miner to serve; add a [[Miners]] table with its Actor",
        );
    }
    let mut seen = BTreeSet::new();
    let miners = miners
        .into_iter()
        .enumerate()
        .map(|(i, m)| {
            let at = format!("Miners[{i}]");
            if m.actor.is_some_and(|actor| !seen.insert(actor)) {
                report.fault(
                    &format!("{at}.Actor"),
                    "another [[Miners]] table has this actor already",
                );
            }
            miner(&mut report, &at, m)
        })
        .collect();
    let notices = report.finish()?;
    Ok(Config {
        messager,
        nodes,
        max_head_age,
        database,
        upstream_database,
        retention,
        stores,
        store_scans,
        piece_stores,
        market,
        proving,
        miners,
        open_networks,
        wallet,
        tls,
        notices,
        effective,
        secrets,
    })
}

/// The certificate and its key, if there are any.
fn tls(report: &mut Report, raw: &raw::Tls) -> Option<Identity> {
    let raw::Tls { cert, key } = raw;
    let missing = match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => return None,
        (true, false) => Some("Cert"),
        (false, true) => Some("Key"),
        (false, false) => None,
    };
    if let Some(missing) = missing {
        report.fault(
            &format!("Common.API.Tls.{missing}"),
            "is missing: a certificate and its key belong together",
        );
        return None;
    }
    let read = Identity::read(&here(cert), &here(key));
    let fault = |error| {
        let at = match &error {
            IdentityError::Certificate(_) => "Cert",
            IdentityError::Key(_) => "Key",
        };
        report.fault(&format!("Common.API.Tls.{at}"), error);
    };
    read.map_err(fault).ok()
}

fn masked(mut raw: Raw) -> String {
    let mask = |text: &mut String| {
        let (token, address) = endpoint::split_token(text);
        let address = without_secrets(address);
        *text = match token {
            Some(_) => format!("***:{address}"),
            None => address,
        };
    };
    let api = &mut raw.common.api;
    if !api.token.is_empty() {
        api.token = "***".into();
    }
    api.chain.iter_mut().for_each(mask);
    api.market.iter_mut().for_each(mask);
    api.messager.iter_mut().for_each(mask);
    api.gateway.iter_mut().for_each(mask);
    api.chain_fallbacks.iter_mut().for_each(mask);
    let dsn = &mut raw.common.db.postgres.dsn;
    *dsn = database::without_password(dsn);
    // what holds when a key is left out, where that depends on another key or on the place
    for store in &mut raw.common.persist_stores {
        store.weight = store.weight.max(1);
    }
    for miner in &mut raw.miners {
        let sector = &mut miner.sector;
        sector.min_number.get_or_insert(sector.init_number);
        let batches = &mut miner.commitment;
        batches
            .pre
            .batch
            .threshold
            .get_or_insert(PRE_THRESHOLD as u64);
        batches
            .prove
            .batch
            .threshold
            .get_or_insert(PROVE_THRESHOLD as u64);
    }
    damocles_daemon::config::defaults_of(&raw).to_string()
}

fn nodes(report: &mut Report, api: raw::Api) -> Vec<NodeEndpoint> {
    let raw::Api {
        chain,
        chain_fallbacks,
        token,
        gateway,
        market: _,
        messager: _,
        max_head_age: _,
        sends_itself: _,
        tls: _,
    } = api;
    let first = chain
        .filter(|c| !c.is_empty())
        .map(|c| ("Common.API.Chain".to_owned(), c))
        .or_else(|| {
            gateway
                .into_iter()
                .next()
                .map(|g| ("Common.API.Gateway".to_owned(), g))
        });
    if first.is_none() {
        report.fault(
            "Common.API.Chain",
            "the address of the Filecoin node is missing; write for example Chain = \"/ip4/127.0.0.1/tcp/1234/http\"",
        );
    }
    let others = chain_fallbacks
        .into_iter()
        .enumerate()
        .map(|(i, text)| (format!("Common.API.ChainFallbacks[{i}]"), text));
    let mut nodes = Vec::new();
    for (key, text) in first.into_iter().chain(others) {
        match endpoint::parse(&text, &token) {
            Ok(node) => nodes.push(node),
            Err(what) => report.fault(&key, what),
        }
    }
    nodes
}

fn all_stores(report: &mut Report, given: Vec<raw::PersistStore>) -> Vec<StorePolicy> {
    let mut names = BTreeSet::new();
    let mut places: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut stores = Vec::new();
    for (i, raw) in given.into_iter().enumerate() {
        let at = format!("Common.PersistStores[{i}]");
        if raw == raw::PersistStore::default() {
            report.notice(
                &at,
                "is empty, as upstream's `daemon init` writes it, and passed over",
            );
            continue;
        }
        if raw.path.is_empty() {
            report.fault(&format!("{at}.Path"), "the store's directory is missing");
            continue;
        }
        let path = here(Path::new(&raw.path));
        let store = stores::configured(raw, path);
        if !names.insert(store.name.clone()) {
            let message = format!(
                "another persist store is called {:?} too; names are unique",
                store.name
            );
            report.fault(&format!("{at}.Name"), message);
        } else if let Some(other) = places.insert(stores::plain(&store.path), store.name.clone()) {
            let message = format!(
                "it is the directory of the persist store {other:?} too, and its room would be counted twice; take one of them out"
            );
            report.fault(&format!("{at}.Path"), message);
        }
        stores.push(store);
    }
    stores
}

fn store_scans(report: &mut Report, patterns: Vec<String>) -> Vec<String> {
    let mut scans = Vec::new();
    for (i, pattern) in patterns.iter().enumerate() {
        let pattern = here(Path::new(pattern)).to_string_lossy().into_owned();
        match stores::pattern_fault(&pattern) {
            Some(fault) => report.fault(&format!("Common.ScanPersistStores[{i}]"), fault),
            None => scans.push(pattern),
        }
    }
    scans
}

fn proving_policy(report: &mut Report, proving: raw::Proving) -> ProvingPolicy {
    let raw::Proving {
        parallel_check_limit,
        single_check_timeout,
        partition_check_timeout,
        kernel,
        worker_prover,
    } = proving;
    let workers = worker_prover_policy(report, &worker_prover);
    let kernel = kernel.parse().unwrap_or_else(|error: UnknownKernel| {
        report.fault("Common.Proving.Kernel", error.to_string());
        KernelChoice::default()
    });
    let limit = |d: Duration| if d.is_zero() { LONGEST } else { d };
    ProvingPolicy {
        parallel_check_limit: usize::try_from(parallel_check_limit)
            .ok()
            .filter(|n| *n > 0)
            .unwrap_or(usize::from(u16::MAX)),
        single_check_timeout: limit(single_check_timeout.0),
        partition_check_timeout: limit(partition_check_timeout.0),
        kernel,
        workers,
    }
}

fn worker_prover_policy(report: &mut Report, raw: &raw::WorkerProver) -> WorkerProverPolicy {
    let raw::WorkerProver {
        job_max_try,
        heartbeat_timeout,
        job_lifetime,
        prove_here_too,
    } = raw;
    // our workers say that they live every three seconds, as upstream's do
    if heartbeat_timeout.0 < SHORTEST_SILENCE {
        report.fault(
            "Common.Proving.WorkerProver.HeartbeatTimeout",
            format!(
                "must be {} s or more: a worker says every three seconds that it lives",
                SHORTEST_SILENCE.as_secs()
            ),
        );
    }
    WorkerProverPolicy {
        max_tries: (*job_max_try).max(1),
        heartbeat_timeout: heartbeat_timeout.0,
        job_lifetime: job_lifetime.0,
        here_too: *prove_here_too,
    }
}

fn networks(report: &mut Report, auth: raw::Auth) -> Vec<IpNet> {
    let raw::Auth { allow_anonymous } = auth;
    let mut networks = Vec::new();
    for (i, text) in allow_anonymous.iter().enumerate() {
        let host = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or_else(|e| host().map_err(|_| e)) {
            Ok(network) => networks.push(network),
            Err(_) => report.fault(
                &format!("Common.Auth.AllowAnonymous[{i}]"),
                format!("{text:?} is not a network; write for example \"10.0.0.0/8\""),
            ),
        }
    }
    networks
}

fn miner(report: &mut Report, at: &str, raw: raw::Miner) -> MinerPolicy {
    let raw::Miner {
        actor,
        sector,
        commitment,
        post,
        proof,
        sealing,
    } = raw;
    let actor = actor.filter(|id| *id > 0).unwrap_or_else(|| {
        report.fault(
            &format!("{at}.Actor"),
            "the miner's actor id is missing; it is the number in its address, 1000 for f01000",
        );
        0
    });
    let raw::Commitment {
        confidence,
        pre,
        prove,
    } = commitment;
    MinerPolicy {
        actor,
        sector: sector_policy(report, &format!("{at}.Sector"), sector, sealing),
        pre: pre_commits(report, &format!("{at}.Commitment.Pre"), pre),
        prove: proofs(report, &format!("{at}.Commitment.Prove"), prove),
        confidence: epochs(report, &format!("{at}.Commitment.Confidence"), confidence),
        post: post_policy(report, &format!("{at}.PoSt"), post),
        makes_blocks: proof.enabled,
    }
}

fn sector_policy(
    report: &mut Report,
    at: &str,
    sector: raw::Sector,
    sealing: raw::Sealing,
) -> SectorPolicy {
    let raw::Sector {
        init_number,
        min_number,
        max_number,
        enabled,
        enable_deals,
        lifetime_days,
    } = sector;
    let raw::Sealing {
        require_activation_success,
        require_notification_success,
        use_synthetic_porep,
        sealing_epoch_duration,
    } = sealing;
    let key = format!(
        "{}.Sealing.SealingEpochDuration",
        at.trim_end_matches(".Sector")
    );
    let sealing_epochs = epochs(report, &key, sealing_epoch_duration);
    let min_number = min_number.unwrap_or(init_number);
    if max_number.is_some_and(|max| max <= min_number) {
        report.fault(
            &format!("{at}.MaxNumber"),
            format!("no number is left between it and MinNumber ({min_number})"),
        );
    }
    SectorPolicy {
        enabled,
        enable_deals,
        min_number,
        max_number,
        lifetime_days,
        use_synthetic: use_synthetic_porep,
        sealing_epochs,
        require_activation_success,
        require_notification_success,
    }
}

#[cfg(test)]
#[path = "checked_tests.rs"]
mod tests;
