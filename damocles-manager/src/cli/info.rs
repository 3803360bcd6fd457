//! `util info`: a miner on one screen, and what of it needs a person.

use super::{client::Manager, sectors::actor, show};
use clap::Args;
use damocles_api::{
    damocles::MessageView,
    deals::{DamoclesDealsClient, DealFilter},
    lists::{self, DamoclesListsClient, MessageFilter, SectorFilter, Want},
    overview::{DamoclesOverviewClient, MinerOverview},
    sealer_cli::SealerCliClient,
    sector::SectorState,
    store::StoreDetailedInfo,
    workers::WorkerPingInfo,
};
use damocles_daemon::clock::{Clock, SystemClock};
use damocles_types::ActorId;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  damocles-manager util info 1000
  damocles-manager util info t01000 --json | jq .Alerts")]
pub(super) struct Info {
    /// The miner, 1000 or t01000
    #[arg(value_parser = actor)]
    miner: ActorId,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A worker that was not heard of for so many seconds is gone, or its network is.
const SILENT: i64 = 300;
/// A message that fails to be sent for so many seconds is worth a look.
const STUCK: i64 = 3600;
/// Deadlines that are shown.
const AHEAD: usize = 6;

/// Everything that is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Screen {
    chain: MinerOverview,
    /// Sectors in work by the state that their workers reported last.
    in_work: BTreeMap<String, usize>,
    /// Messages on their way by kind and state.
    messages: BTreeMap<String, usize>,
    /// Deals of the queue by state.
    deals: BTreeMap<String, usize>,
    stores: Vec<StoreDetailedInfo>,
    workers: Vec<WorkerPingInfo>,
    /// What a person should look at, the gravest first.
    alerts: Vec<String>,
}

/// What is known beside the chain, when the alerts are written.
struct Seen<'a> {
    chain: &'a MinerOverview,
    sectors: &'a [SectorState],
    messages: &'a [MessageView],
    stores: &'a [StoreDetailedInfo],
    workers: &'a [WorkerPingInfo],
    now: i64,
}

/// What a person should look at. Pure.
fn alerts(seen: &Seen<'_>) -> Vec<String> {
    let (chain, mut out) = (seen.chain, Vec::new());
    let s = chain.sectors;
    if s.faulty > s.recovering {
        out.push(format!(
            "{} sectors are faulty and not declared recovered: each costs a fee every day, and is terminated after 42 days (`util sealer proving posts {}` shows the proofs)",
            s.faulty - s.recovering, chain.miner
        ));
    }
    let open = chain.deadlines.first().filter(|d| d.open <= chain.epoch);
    if let Some(d) = open.filter(|d| d.proven < d.partitions) {
        let left = d.close - chain.epoch;
        let what = format!(
            "deadline {} closes in {left} epochs with {} of {} partitions proven",
            d.index, d.proven, d.partitions
        );
        if left < 20 {
            out.push(what);
        }
    }
    if chain.age > 300 {
        out.push(format!(
            "the node's head is {} old",
            show::millis(chain.age.unsigned_abs() * 1000)
        ));
    }
    for account in chain.accounts.iter().filter(|a| a.role != "owner") {
        if account
            .balance
            .as_deref()
            .is_some_and(|b| b.parse().is_ok_and(|b: f64| b < 1.0))
        {
            let balance = account.balance.as_deref().unwrap_or_default();
            out.push(format!(
                "{} {} has {balance} FIL only",
                account.role, account.address
            ));
        }
    }
    for message in seen.messages {
        let age = seen.now - message.wanted_at;
        if let Some(problem) = message.last_error.as_ref().filter(|_| age > STUCK) {
            out.push(format!(
                "message {} ({}) waits for {}: {problem}",
                message.id,
                message.kind,
                show::millis(age.unsigned_abs() * 1000)
            ));
        }
    }
    for store in seen.stores {
        if let Some(note) = &store.note {
            out.push(format!(
                "persist store {} cannot be used: {note}",
                store.name
            ));
        } else if !store.read_only && store.free.saturating_sub(store.reserved) < chain.sector_size
        {
            out.push(format!(
                "persist store {} has no room for another sector",
                store.name
            ));
        }
    }
    for worker in seen.workers {
        let (name, silent) = (&worker.info.name, seen.now - worker.last_ping);
        if silent > SILENT {
            let silent = show::millis(silent.unsigned_abs() * 1000);
            out.push(format!("worker {name} was heard of last {silent} ago"));
        } else if worker.info.summary.errors > 0 {
            let errors = worker.info.summary.errors;
            out.push(format!("{errors} sealing threads of worker {name} wait for a person (`damocles-worker worker list` there)"));
        }
    }
    for sector in seen.sectors {
        let failure = sector
            .latest_state
            .as_ref()
            .and_then(|s| s.failure.as_ref());
        if let Some(failure) = failure.filter(|f| f.level != "Temporary") {
            out.push(format!("sector {}: {}", sector.id, failure.desc));
        }
    }
    out
}

pub(super) async fn run(manager: &Manager, args: Info) -> anyhow::Result<()> {
    let rpc = &manager.rpc;
    let chain = rpc.miner_overview(args.miner).await;
    let chain = chain.map_err(|e| manager.failed(e))?;
    let page = || Want {
        cursor: None,
        limit: lists::MOST,
    };
    let filter = SectorFilter {
        miner: Some(args.miner),
        ..SectorFilter::default()
    };
    let sectors = rpc.sectors(filter, page()).await;
    let sectors = sectors.map_err(|e| manager.failed(e))?.items;
    let filter = MessageFilter {
        miner: Some(args.miner),
        open: true,
        kind: None,
    };
    let messages = rpc.messages(filter, page()).await;
    let messages = messages.map_err(|e| manager.failed(e))?.items;
    let filter = DealFilter {
        provider: Some(args.miner),
        state: None,
    };
    let deals = rpc.deals(filter, page()).await;
    let deals = deals.map_err(|e| manager.failed(e))?.items;
    let stores = rpc.store_list().await.map_err(|e| manager.failed(e))?;
    let workers = rpc.worker_ping_info_list().await;
    let workers = workers.map_err(|e| manager.failed(e))?;
    let alerts = alerts(&Seen {
        chain: &chain,
        sectors: &sectors,
        messages: &messages,
        stores: &stores,
        workers: &workers,
        now: SystemClock.now_seconds(),
    });
    let in_work = sectors.iter().map(|s| match &s.latest_state {
        Some(report) => report.state_change.next.clone(),
        None => "Allocated".to_owned(),
    });
    let screen = Screen {
        in_work: tally(in_work),
        messages: tally(messages.iter().map(|m| format!("{} {}", m.kind, m.state))),
        deals: tally(deals.iter().map(|d| d.state.clone())),
        chain,
        stores,
        workers,
        alerts,
    };
    if args.json {
        return show::json(&screen);
    }
    print(&screen);
    Ok(())
}

fn tally(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for name in names {
        *all.entry(name).or_default() += 1;
    }
    all
}

fn counted(all: &BTreeMap<String, usize>) -> String {
    let parts: Vec<String> = all.iter().map(|(name, n)| format!("{n} {name}")).collect();
    if parts.is_empty() {
        return "none".to_owned();
    }
    parts.join(", ")
}

/// Bytes of power in words.
fn power(text: &str) -> String {
    text.parse::<u64>()
        .map_or_else(|_| text.to_owned(), show::bytes)
}

fn print(s: &Screen) {
    let c = &s.chain;
    let line = |name: &str, value: String| show::say(format!("{name:<11}{value}"));
    line(
        "miner",
        format!("f0{}, sectors of {}", c.miner, show::bytes(c.sector_size)),
    );
    let age = show::millis(c.age.unsigned_abs() * 1000);
    line(
        "chain",
        format!(
            "epoch {} ({age} ago), network version {}, base fee {} FIL",
            c.epoch, c.network_version, c.base_fee
        ),
    );
    let enough = if c.power.has_min_power {
        ""
    } else {
        ", too little to win blocks"
    };
    line(
        "power",
        format!(
            "{} raw, {} adjusted, of {}{enough}",
            power(&c.power.raw),
            power(&c.power.quality_adjusted),
            power(&c.power.network_quality_adjusted)
        ),
    );
    let n = c.sectors;
    line(
        "sectors",
        format!(
            "{} live, {} active, {} faulty, {} recovering",
            n.live, n.active, n.faulty, n.recovering
        ),
    );
    line(
        "balance",
        format!("{} FIL, {} FIL available", c.balance, c.available),
    );
    for account in &c.accounts {
        line(
            &account.role,
            format!(
                "{} {} FIL",
                account.address,
                show::or_dash(account.balance.as_ref())
            ),
        );
    }
    for d in c.deadlines.iter().take(AHEAD) {
        let when = if d.open <= c.epoch {
            format!("open, closes in {} epochs", d.close - c.epoch)
        } else {
            format!("opens in {} epochs", d.open - c.epoch)
        };
        line(
            "deadline",
            format!(
                "{} {when}: {} of {} partitions proven, {} sectors, {} faulty",
                d.index, d.proven, d.partitions, d.sectors.live, d.sectors.faulty
            ),
        );
    }
    if c.deadlines.len() > AHEAD {
        line(
            "",
            format!("and {} more deadlines", c.deadlines.len() - AHEAD),
        );
    }
    line("in work", counted(&s.in_work));
    line("messages", counted(&s.messages));
    line("deals", counted(&s.deals));
    for store in &s.stores {
        line(
            "store",
            format!(
                "{}: {} free, {} reserved",
                store.name,
                show::bytes(store.free),
                show::bytes(store.reserved)
            ),
        );
    }
    for worker in &s.workers {
        let w = &worker.info.summary;
        line(
            "worker",
            format!(
                "{}: {} threads, {} running, {} paused, {} errors",
                worker.info.name, w.threads, w.running, w.paused, w.errors
            ),
        );
    }
    match s.alerts.is_empty() {
        true => line("alerts", "none".to_owned()),
        false => s
            .alerts
            .iter()
            .for_each(|alert| line("ALERT", alert.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::overview::{AccountOfMiner, DeadlineView, PowerView, SectorCounts};

    fn chain() -> MinerOverview {
        MinerOverview {
            miner: 1000,
            epoch: 500,
            age: 10,
            network_version: 27,
            base_fee: "0.0000001".into(),
            sector_size: 2048,
            power: PowerView {
                raw: "0".into(),
                quality_adjusted: "0".into(),
                network_raw: "0".into(),
                network_quality_adjusted: "0".into(),
                has_min_power: false,
            },
            sectors: SectorCounts {
                live: 9,
                active: 9,
                faulty: 0,
                recovering: 0,
            },
            deadlines: vec![DeadlineView {
                index: 3,
                open: 460,
                close: 520,
                partitions: 2,
                proven: 1,
                sectors: SectorCounts::default(),
            }],
            balance: "5".into(),
            available: "1".into(),
            accounts: vec![AccountOfMiner {
                role: "worker".into(),
                address: "f0100".into(),
                balance: Some("12.5".into()),
            }],
        }
    }

    fn of(chain: &MinerOverview) -> Vec<String> {
        alerts(&Seen {
            chain,
            sectors: &[],
            messages: &[],
            stores: &[],
            workers: &[],
            now: 10_000,
        })
    }

    #[test]
    fn what_needs_a_person_is_said_and_nothing_else() {
        assert_eq!(of(&chain()), Vec::<String>::new());
        let mut bad = chain();
        bad.sectors.faulty = 3;
        bad.sectors.recovering = 1;
        bad.epoch = 505;
        bad.age = 400;
        bad.accounts[0].balance = Some("0.9".into());
        let told = of(&bad);
        for (at, words) in [
            (0, "2 sectors are faulty"),
            (1, "deadline 3 closes in 15 epochs with 1 of 2"),
            (2, "head is"),
            (3, "worker f0100 has 0.9 FIL only"),
        ] {
            assert!(told[at].contains(words), "{told:?}");
        }
        bad.deadlines[0].proven = 2;
        assert!(!of(&bad).iter().any(|alert| alert.contains("deadline")));
    }

    #[test]
    fn things_are_counted_by_name() {
        let all = tally(["b", "a", "b"].into_iter().map(String::from));
        assert_eq!(counted(&all), "1 a, 2 b");
        assert_eq!(counted(&tally(std::iter::empty())), "none");
    }
}
