//! `util sealer sectors …`.

use super::{client::Manager, ending, show};
use clap::{Args, Subcommand};
use damocles_api::{
    damocles::{DamoclesClient, MessageView},
    damocles_cli::DamoclesCliClient,
    lists::{DamoclesListsClient, SectorFilter},
    sealer_cli::SealerCliClient,
    sector::SectorState,
    show as words,
    timeline::TimelineEntry,
};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use damocles_types::{ActorId, SectorId};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Sectors {
    /// Sectors that are being sealed, and finished ones that left the chain with a branch
    #[command(after_help = "\
Examples:
  damocles-manager util sealer sectors list
  damocles-manager util sealer sectors list --offline --miner 1000")]
    List {
        /// Those that are finished or given up
        #[arg(long)]
        offline: bool,
        /// Only this miner's
        #[arg(long, value_parser = actor, value_name = "MINER")]
        miner: Option<ActorId>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One sector: where it stands, its messages, and where its time went
    #[command(after_help = "\
Examples:
  damocles-manager util sealer sectors state 1000 7
  damocles-manager util sealer sectors state s-t01000-7 --json")]
    State {
        /// The miner (1000 or t01000), or the sector's whole name
        miner: String,
        /// The sector's number
        number: Option<u64>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a sector up; says what stays where, and what becomes of its deposit
    #[command(after_help = "\
Examples:
  damocles-manager util sealer sectors abort 1000 7 --reason \"its disk died\"    what would follow
  damocles-manager util sealer sectors abort 1000 7 --reason \"its disk died\" --really-do-it")]
    Abort {
        /// The miner (1000 or t01000), or the sector's whole name
        miner: String,
        /// The sector's number
        number: Option<u64>,
        /// Why, for those who ask later
        #[arg(long)]
        reason: String,
        /// Do it, rather than say what would follow
        #[arg(long)]
        really_do_it: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a sector from the sealing thread that has it: the next other one that asks has it
    #[command(after_help = "\
Example:
  damocles-manager util sealer sectors hand-over 1000 7
Said again, the thread that had it before may have it too.")]
    HandOver {
        /// The miner (1000 or t01000), or the sector's whole name
        miner: String,
        /// The sector's number
        number: Option<u64>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take back that a sector was given up; the next worker that calls about it has it
    #[command(after_help = "\
Example:
  damocles-manager util sealer sectors restore 1000 7
The worker that still has its files goes on with it (`damocles-worker worker resume`); one with data of
clients cannot be taken back.")]
    Restore(Named),
    /// Say that a sector is finished of which its worker does not say so any more
    #[command(after_help = "\
Example:
  damocles-manager util sealer sectors finalize 1000 7
The chain has to have it proven, and a persist store its files.")]
    Finalize(Named),
    /// Want another message for a sector's precommit, when the one before came to nothing
    #[command(after_help = "\
Example:
  damocles-manager util sealer sectors resend-pre 1000 7")]
    ResendPre(Named),
    /// Want another message for a sector's proof, when the one before came to nothing
    #[command(after_help = "\
Example:
  damocles-manager util sealer sectors resend-prove 1000 7")]
    ResendProve(Named),
    /// Sectors that workers speak of and that this manager has no record of
    Unknown {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// A sector.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// The miner (1000 or t01000), or the sector's whole name
    miner: String,
    /// The sector's number
    number: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Named {
    fn id(&self) -> Result<SectorId, Fatal> {
        sector_id(&self.miner, self.number)
    }
}

pub(super) fn actor(text: &str) -> Result<ActorId, String> {
    let digits = text
        .strip_prefix("t0")
        .or_else(|| text.strip_prefix("f0"))
        .unwrap_or(text);
    digits
        .parse()
        .map_err(|_| "not a miner; write 1000 or t01000".to_owned())
}

pub(super) fn sector_id(miner: &str, number: Option<u64>) -> Result<SectorId, Fatal> {
    let wrong = |what: String| {
        Fatal::new(Exit::Usage, what)
            .hint("write the miner and the number (1000 7), or the sector's name (s-t01000-7)")
    };
    match number {
        Some(number) => Ok(SectorId::new(actor(miner).map_err(wrong)?, number)),
        None => miner.parse().map_err(|e| wrong(format!("{e}"))),
    }
}

pub(super) async fn run(manager: &Manager, command: Sectors) -> anyhow::Result<()> {
    match command {
        Sectors::List {
            offline,
            miner,
            json,
        } => list(manager, offline, miner, json).await,
        Sectors::State {
            miner,
            number,
            json,
        } => state(manager, sector_id(&miner, number)?, json).await,
        Sectors::Abort {
            miner,
            number,
            reason,
            really_do_it,
            json,
        } => {
            let id = sector_id(&miner, number)?;
            ending::abort(manager, id, reason, really_do_it, json).await
        }
        Sectors::HandOver {
            miner,
            number,
            json,
        } => ending::hand_over(manager, sector_id(&miner, number)?, json).await,
        Sectors::Restore(named) => {
            let id = named.id()?;
            let done = manager.rpc.restore_sector(id, false).await;
            done.map_err(|e| manager.failed(e))?;
            ending::done(id, "Restored", "is in work again", named.json)
        }
        Sectors::Finalize(named) => {
            let id = named.id()?;
            let done = manager.rpc.finalize_sector(id).await;
            done.map_err(|e| manager.failed(e))?;
            ending::done(id, "Finalized", "is finished", named.json)
        }
        Sectors::ResendPre(named) => ending::resend(manager, named.id()?, false, named.json).await,
        Sectors::ResendProve(named) => ending::resend(manager, named.id()?, true, named.json).await,
        Sectors::Unknown { json } => ending::unknown(manager, json).await,
    }
}

async fn list(
    manager: &Manager,
    offline: bool,
    miner: Option<ActorId>,
    json: bool,
) -> anyhow::Result<()> {
    let which = if offline { "offline" } else { "online" };
    let filter = SectorFilter {
        miner,
        in_work: !offline,
        ..SectorFilter::default()
    };
    let pages = async |want| manager.rpc.sectors(filter.clone(), want).await;
    let sectors = manager.pages(usize::MAX, pages).await?;
    if let Some(miner) = miner.filter(|_| sectors.is_empty()) {
        is_served(manager, miner).await?;
    }
    if json {
        return show::json(&sectors);
    }
    let mut table = Table::new(
        &["sector", "state", "worker", "location", "problem"],
        &["location", "problem"],
    );
    for s in &sectors {
        let report = s.latest_state.as_ref();
        // where a finished sector was sealed is another sector's place by now
        let location = report.filter(|_| !offline).map(|r| &r.worker.location);
        table.add_row([
            s.id.to_string(),
            standing(s),
            show::or_dash(report.map(|r| &r.worker.instance)),
            show::or_dash(location),
            show::or_dash(problem(s)),
        ]);
    }
    if !sectors.is_empty() {
        show::print(&table);
    }
    println!("{} {which}", count(sectors.len(), "sector"));
    if sectors.iter().any(|s| problem(s).is_some()) {
        println!("the whole of a problem: damocles-manager util sealer sectors state <sector>");
    }
    if !offline {
        ending::mention_unknown(manager).await;
    }
    Ok(())
}

/// No sectors of a miner is news of another kind where nobody serves it.
async fn is_served(manager: &Manager, miner: ActorId) -> anyhow::Result<()> {
    let served = manager.rpc.identity().await;
    let served = served.map_err(|e| manager.failed(e))?.miners;
    if served.contains(&miner) {
        return Ok(());
    }
    let served: Vec<String> = served.iter().map(ToString::to_string).collect();
    let text = format!("miner {miner} is not in the config and has no sectors here");
    let hint = format!("the manager serves {}", served.join(", "));
    Err(Fatal::new(Exit::Refused, text).hint(hint).into())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn standing(s: &SectorState) -> String {
    match &s.latest_state {
        _ if !s.abort_reason.is_empty() => "Aborted".to_owned(),
        _ if s.left_chain => "LeftChain".to_owned(),
        _ if s.removed => "Removed".to_owned(),
        _ if s.finalized => "Finished".to_owned(),
        Some(report) => report.state_change.next.clone(),
        None => "Allocated".to_owned(),
    }
}

fn problem(s: &SectorState) -> Option<String> {
    if !s.abort_reason.is_empty() {
        return Some(s.abort_reason.clone());
    }
    if s.left_chain {
        return s.waits_for.clone();
    }
    let report = s.latest_state.as_ref();
    match report.and_then(|report| report.failure.as_ref()) {
        Some(failure) => Some(format!(
            "{}: {}",
            failure.level.to_lowercase(),
            failure.desc
        )),
        None => s.waits_for.clone(),
    }
}

async fn state(manager: &Manager, id: SectorId, json: bool) -> anyhow::Result<()> {
    let failed = |e| manager.failed(e);
    let sector = manager.rpc.find_sector_in_all_states(id).await.map_err(|e| {
        let fatal = failed(e);
        match fatal.exit {
            Exit::NotFound => Fatal::new(Exit::NotFound, format!("the manager has no sector {id}"))
                .hint("`damocles-manager util sealer sectors list` (and with --offline) shows those it has"),
            _ => fatal,
        }
    })?;
    let messages = manager.rpc.sector_messages(id).await.map_err(failed)?;
    let timeline = manager.rpc.timeline(id).await.map_err(failed)?;
    let holdings = manager.rpc.sector_holdings(id).await.map_err(failed)?;
    if json {
        return show::json(
            &json!({"sector": sector, "holdings": holdings, "messages": messages, "timeline": timeline}),
        );
    }
    print_sector(&sector);
    let now = SystemClock.now_seconds();
    show::lines(ending::holdings(&holdings, now));
    print_messages(&messages);
    print_timeline(&timeline);
    Ok(())
}

fn print_sector(s: &SectorState) {
    let mut lines = vec![
        ("sector", s.id.to_string()),
        ("proof type", s.sector_type.to_string()),
        ("state", standing(s)),
    ];
    if let Some(report) = &s.latest_state {
        lines.push((
            "worker",
            format!("{} at {}", report.worker.instance, report.worker.location),
        ));
    }
    if let Some(problem) = problem(s) {
        lines.push(("problem", problem));
    }
    if let Some(ticket) = &s.ticket {
        lines.push(("ticket epoch", ticket.epoch.to_string()));
    }
    if let Some(pre) = &s.pre {
        lines.push(("CommR", pre.comm_r.cid.to_string()));
        lines.push(("CommD", pre.comm_d.cid.to_string()));
    }
    if let Some(seed) = &s.seed {
        lines.push(("seed epoch", seed.epoch.to_string()));
    }
    if let Some(pieces) = s.pieces.as_ref().filter(|p| !p.is_empty()) {
        let deals = pieces.iter().filter(|p| p.has_deal()).count();
        lines.push(("pieces", format!("{}, {} with a deal", pieces.len(), deals)));
    }
    show::lines(lines);
}

fn print_messages(messages: &[MessageView]) {
    println!("\nMESSAGES");
    let mut table = Table::new(
        &[
            "kind",
            "state",
            "nonce",
            "epoch",
            "exit",
            "sectors",
            "tries",
            "last error",
        ],
        &["last error"],
    );
    for m in messages {
        table.add_row([
            m.kind.clone(),
            m.state.clone(),
            show::or_dash(m.nonce),
            show::or_dash(m.epoch),
            show::or_dash(m.exit_code),
            m.sectors.len().to_string(),
            m.tries.to_string(),
            show::or_dash(m.last_error.as_ref()),
        ]);
    }
    if messages.is_empty() {
        println!("none yet");
        return;
    }
    show::print(&table);
    // whole, so that they can be copied
    for m in messages {
        if let Some(cid) = &m.cid {
            println!("{} {}", m.kind, cid.cid);
        }
        if let Some(error) = m.last_error.as_ref().filter(|error| !error.is_empty()) {
            show::say(format!("{} {}: {error}", m.kind, m.state));
        }
    }
}

fn print_timeline(entries: &[TimelineEntry]) {
    println!("\nTIMELINE");
    if entries.is_empty() {
        println!("nothing reported yet");
        return;
    }
    let mut table = Table::new(&words::TIMELINE, &["kernel", "outcome"]);
    let now = SystemClock.now_ms();
    for entry in entries {
        table.add_row(words::attempt(entry, now));
    }
    show::print(&table);
    println!("{}", words::total(entries));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_named_either_way() {
        let id = SectorId::new(1000, 7);
        assert_eq!(sector_id("1000", Some(7)).unwrap(), id);
        assert_eq!(sector_id("t01000", Some(7)).unwrap(), id);
        assert_eq!(sector_id("s-t01000-7", None).unwrap(), id);
        for (miner, number) in [("1000", None), ("x", Some(1))] {
            assert_eq!(sector_id(miner, number).unwrap_err().exit, Exit::Usage);
        }
    }
}
