//! `[sealing]` as the code works with it: layers of the file laid over built-in values.

use damocles_daemon::config::Report;
use damocles_types::{ActorId, SealProof, SectorSize};
use damocles_worker_config::raw::{SealingSection, Span};
use std::time::Duration;

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

/// A time that must not be nothing.
pub(super) fn positive(
    span: Option<Span>,
    default: Duration,
    key: &str,
    report: &mut Report,
) -> Duration {
    let value = span.map_or(default, |s| s.0);
    if value.is_zero() {
        report.fault(
            key,
            "must be longer than nothing, or the worker would never rest",
        );
    }
    value
}

/// Lays the layers over the built-in values, later ones on top.
pub(super) fn sealing(layers: &[(&SealingSection, &str)], report: &mut Report) -> Sealing {
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
