//! `util sealer sectors …`.

use super::{client::Manager, show};
use clap::Subcommand;
use damocles_api::{
    damocles::{DamoclesClient, MessageView},
    sealer_cli::SealerCliClient,
    sector::SectorState,
    timeline::{Ending, TimelineEntry},
};
use damocles_daemon::exit::{Exit, Fatal};
use damocles_types::{ActorId, SectorId};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Sectors {
    /// Sectors that are being sealed
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

fn sector_id(miner: &str, number: Option<u64>) -> Result<SectorId, Fatal> {
    let wrong = |what: String| {
        Fatal::new(Exit::Usage, what).hint("write `state 1000 7` or `state s-t01000-7`")
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
    }
}

async fn list(
    manager: &Manager,
    offline: bool,
    miner: Option<ActorId>,
    json: bool,
) -> anyhow::Result<()> {
    let which = if offline { "offline" } else { "online" };
    let job = i64::from(!offline); // 1: sealing; finished sectors have no job
    let mut sectors = manager
        .rpc
        .list_sectors(which.to_owned(), job)
        .await
        .map_err(|e| manager.failed(e))?;
    sectors.retain(|s| miner.is_none_or(|m| s.id.miner == m));
    sectors.sort_by_key(|s| s.id);
    if json {
        return show::json(&sectors);
    }
    let mut table = show::table(&[
        "sector",
        "state",
        "worker",
        "store",
        "precommit",
        "commit",
        "problem",
    ]);
    for s in &sectors {
        let report = s.latest_state.as_ref();
        table.add_row([
            s.id.to_string(),
            standing(s),
            show::or_dash(report.map(|r| &r.worker.instance)),
            show::or_dash(report.map(|r| &r.worker.location)),
            show::or_dash(
                s.message_info
                    .pre_commit_cid
                    .as_ref()
                    .map(|c| short(&c.cid.to_string())),
            ),
            show::or_dash(
                s.message_info
                    .commit_cid
                    .as_ref()
                    .map(|c| short(&c.cid.to_string())),
            ),
            show::or_dash(problem(s)),
        ]);
    }
    show::print(&table);
    println!("{} {which}", count(sectors.len(), "sector"));
    Ok(())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A CID's last characters tell it apart; the first ones are all alike.
fn short(cid: &str) -> String {
    match cid.char_indices().nth_back(9) {
        Some((at, _)) if at > 0 => format!("…{}", &cid[at..]),
        _ => cid.to_owned(),
    }
}

fn standing(s: &SectorState) -> String {
    match &s.latest_state {
        _ if !s.abort_reason.is_empty() => "Aborted".to_owned(),
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
    let failure = s.latest_state.as_ref()?.failure.as_ref()?;
    Some(format!("{}: {}", failure.level, failure.desc))
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
    if json {
        return show::json(&json!({"sector": sector, "messages": messages, "timeline": timeline}));
    }
    print_sector(&sector);
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
    for (name, value) in lines {
        println!("{name:<13}{value}");
    }
}

fn print_messages(messages: &[MessageView]) {
    println!("\nMESSAGES");
    let mut table = show::table(&[
        "kind",
        "state",
        "cid",
        "nonce",
        "epoch",
        "exit",
        "sectors",
        "tries",
        "last error",
    ]);
    for m in messages {
        table.add_row([
            m.kind.clone(),
            m.state.clone(),
            show::or_dash(m.cid.as_ref().map(|c| c.cid)),
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
    } else {
        show::print(&table);
    }
}

fn print_timeline(entries: &[TimelineEntry]) {
    println!("\nTIMELINE");
    if entries.is_empty() {
        println!("nothing reported yet");
        return;
    }
    let mut table = show::table(&[
        "#", "state", "stage", "waited", "ran", "by", "kernel", "outcome",
    ]);
    for e in entries {
        let outcome = match &e.ending {
            None => "running".to_owned(),
            Some(Ending::Done { next }) => format!("→ {next}"),
            Some(Ending::Failed { level, message }) => format!("{level:?}: {message}"),
            Some(Ending::Interrupted) => "interrupted".to_owned(),
        };
        let ran = match (e.started_at, e.ended_at) {
            (Some(_), Some(_)) => show::millis(e.ran_ms()),
            _ => "—".to_owned(),
        };
        table.add_row([
            e.seq.to_string(),
            e.state.clone(),
            e.stage.clone(),
            show::millis(e.waited_ms()),
            ran,
            show::or_dash(e.child.as_ref().filter(|c| !c.is_empty())),
            show::or_dash(e.kernel.as_ref()),
            outcome,
        ]);
    }
    show::print(&table);
    let (waited, ran) = entries
        .iter()
        .fold((0, 0), |(w, r), e| (w + e.waited_ms(), r + e.ran_ms()));
    println!(
        "{}: waited {}, ran {}",
        count(entries.len(), "attempt"),
        show::millis(waited),
        show::millis(ran)
    );
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

    #[test]
    fn a_cid_is_shown_by_its_end() {
        assert_eq!(short("bafy2bzaceabcdefghij"), "…abcdefghij");
        assert_eq!(short("short"), "short");
    }
}
