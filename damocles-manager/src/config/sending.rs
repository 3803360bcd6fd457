//! How the messages of a miner are sent: senders, fees and batches, checked.

use super::{fil::AddressText, raw};
use crate::policy::{Aggregate, AggregatePolicy, BatchPolicy, FeePolicy, PostPolicy, SendPolicy};
use damocles_daemon::config::Report;
use damocles_types::Epoch;
use fvm_shared::address::Address;
use std::time::Duration;

/// Precommits that go at once when `Threshold` is left out.
pub(super) const PRE_THRESHOLD: usize = 2;
/// Proofs that do.
pub(super) const PROVE_THRESHOLD: usize = 4;

/// What a ticket has left for waiting: 24 h after it was drawn it expires (2880 epochs of 30 s),
/// and PC1 and PC2 of a large sector take up to ten of them.
const LONGEST_PRE_WAIT: Duration = Duration::from_secs(14 * 3600);

pub(super) fn pre_commits(report: &mut Report, at: &str, raw: raw::Send) -> SendPolicy {
    let (keys, batch) = raw.keys();
    let own = (PRE_THRESHOLD, AggregatePolicy::never());
    let policy = send(report, at, keys, batch.keys(), own);
    if policy.batch.threshold > 1 && policy.batch.max_wait > LONGEST_PRE_WAIT {
        report.notice(
            &format!("{at}.Batch.MaxWait"),
            "precommits that wait for more than 14h may outlive their ticket (24h, of which sealing takes up to 10h), and their sectors would be sealed anew; write 14h or less",
        );
    }
    policy
}

pub(super) fn proofs(report: &mut Report, at: &str, raw: raw::Prove) -> SendPolicy {
    let (keys, batch) = raw.keys();
    let own = (PROVE_THRESHOLD, aggregate(report, at, &batch));
    send(report, at, keys, batch.keys(), own)
}

fn aggregate(report: &mut Report, at: &str, batch: &raw::ProveBatch) -> AggregatePolicy {
    let when = match batch.aggregate.to_ascii_lowercase().as_str() {
        "auto" => Aggregate::Auto,
        "always" => Aggregate::Always,
        "never" => Aggregate::Never,
        _ => {
            let said = &batch.aggregate;
            report.fault(
                &format!("{at}.Batch.Aggregate"),
                format!("{said:?} is not known; write \"auto\", \"always\" or \"never\""),
            );
            Aggregate::default()
        }
    };
    let above = batch.batch_commit_above_base_fee.0.clone();
    AggregatePolicy {
        when,
        above_base_fee: above.unwrap_or_default(),
    }
}

/// `own`: what the kind has of its own. How many go at once when that is left out, and whether they
/// are aggregated.
fn send(
    report: &mut Report,
    at: &str,
    keys: raw::SendKeys,
    batch: raw::BatchKeys,
    own: (usize, AggregatePolicy),
) -> SendPolicy {
    SendPolicy {
        senders: addresses(keys.sender, keys.senders),
        send_fund: keys.send_fund,
        fee: fee(report, at, keys.fees),
        batch: batch_policy(report, &format!("{at}.Batch"), batch, own),
    }
}

fn batch_policy(
    report: &mut Report,
    at: &str,
    keys: raw::BatchKeys,
    (threshold, aggregate): (usize, AggregatePolicy),
) -> BatchPolicy {
    if keys.check_interval.0.is_zero() {
        report.fault(
            &format!("{at}.CheckInterval"),
            "must be more than 0; write for example \"1m\"",
        );
    }
    let said = keys.threshold;
    BatchPolicy {
        threshold: said.map_or(threshold, |n| {
            usize::try_from(n.max(1)).unwrap_or(usize::MAX)
        }),
        max_wait: keys.max_wait.0,
        check_interval: keys.check_interval.0,
        max_base_fee: keys.max_base_fee.0.unwrap_or_default(),
        slack: keys.slack.0,
        aggregate,
        fee: fee(report, at, keys.fees),
    }
}

pub(super) fn post_policy(report: &mut Report, at: &str, raw: raw::PoSt) -> PostPolicy {
    let raw::PoSt {
        sender,
        senders,
        enabled,
        gas_over_estimation,
        gas_over_premium,
        gas_fee_cap,
        max_fee_cap,
        max_fee,
        max_fee_per_day,
        confidence,
        submit_confidence,
        challenge_confidence,
        max_partitions_per_message,
        strict_check,
        max_recovered_sectors,
        max_partitions_per_recovery,
    } = raw;
    let mut positive = |key: &str, n: u64| {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        epochs(report, &format!("{at}.{key}"), n)
    };
    let confidence = positive("Confidence", confidence);
    let submit = positive("SubmitConfidence", submit_confidence);
    let challenge = positive("ChallengeConfidence", challenge_confidence);
    PostPolicy {
        enabled,
        senders: addresses(sender, senders),
        fee: fee(
            report,
            at,
            raw::Fees {
                gas_over_estimation,
                gas_over_premium,
                gas_fee_cap,
                max_fee_cap,
                max_fee,
                max_fee_per_day,
            },
        ),
        confidence,
        submit_confidence: Some(submit).filter(|n| *n > 0),
        challenge_confidence: Some(challenge).filter(|n| *n > 0),
        max_partitions_per_message,
        strict_check,
        max_recovered_sectors,
        max_partitions_per_recovery,
    }
}

/// A number of epochs that an operator may mean: not negative, not more than a year.
pub(super) fn epochs(report: &mut Report, key: &str, n: i64) -> Epoch {
    if !(0..=365 * 2880).contains(&n) {
        report.fault(
            key,
            format!("{n} epochs are not possible; it must be between 0 and a year"),
        );
    }
    n
}

/// Union of both keys, in the operator's order.
fn addresses(sender: Option<AddressText>, senders: Vec<AddressText>) -> Vec<Address> {
    let mut all: Vec<Address> = Vec::new();
    for address in senders.into_iter().chain(sender).filter_map(|a| a.0) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

fn fee(report: &mut Report, at: &str, keys: raw::Fees) -> FeePolicy {
    let (estimation, premium) = (keys.gas_over_estimation, keys.gas_over_premium);
    if !(estimation == 0.0 || (estimation >= 1.0 && estimation.is_finite())) {
        report.fault(
            &format!("{at}.GasOverEstimation"),
            format!("{estimation} would let messages run out of gas; write 0 or at least 1"),
        );
    }
    if !(premium >= 0.0 && premium.is_finite()) {
        report.fault(
            &format!("{at}.GasOverPremium"),
            format!("{premium} is not a factor; write 0 or more"),
        );
    }
    let cap = keys.gas_fee_cap.set().or(keys.max_fee_cap.set());
    FeePolicy {
        gas_over_estimation: estimation,
        gas_over_premium: premium,
        gas_fee_cap: cap.cloned().unwrap_or_default(),
        max_fee: keys.max_fee.0.unwrap_or_default(),
        max_fee_per_day: keys.max_fee_per_day.0.unwrap_or_default(),
    }
}
