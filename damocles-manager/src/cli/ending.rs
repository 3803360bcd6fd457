//! `util sealer sectors abort|hand-over|unknown`: a person ends a sector, gives it to another
//! worker, or looks at those that this manager knows nothing of. What follows is said before.

use super::{client::Manager, show};
use damocles_api::{
    caller::Caller,
    damocles::{AbortedBy, DamoclesClient},
    damocles_cli::{DamoclesCliClient, SectorHoldings, SectorOnChain, UnknownSector},
    submit::SubmitResult,
};
use damocles_daemon::{
    clock::{Clock, SystemClock},
    exit::{Exit, Fatal},
    table::Table,
};
use damocles_types::{SectorId, shown};
use serde_json::json;

fn times(n: u32, one: &str, many: &str) -> String {
    if n == 1 {
        one.to_owned()
    } else {
        format!("{n} {many}")
    }
}

fn on_chain(chain: &SectorOnChain) -> String {
    match chain {
        SectorOnChain::Nothing => {
            "nothing of it is on chain, so that no deposit is lost".to_owned()
        }
        SectorOnChain::PreCommit { epoch, deposit } => format!(
            "its precommit of epoch {epoch} is on chain; the deposit of {deposit} FIL is burnt when the sector is not proven in time"
        ),
        SectorOnChain::Sector { expiration, .. } => format!(
            "it is proven on chain until epoch {expiration}; without its files it becomes faulty, which costs a fee each day and its power"
        ),
        SectorOnChain::Unknown { why } => {
            format!(
                "what the chain has of it, and whether a deposit is lost, is not known now: {why}"
            )
        }
    }
}

/// What becomes of everything that there is of a sector that is given up.
fn consequences(h: &SectorHoldings) -> Vec<String> {
    let mut lines = vec![on_chain(&h.chain)];
    if h.messages_open > 0 {
        let messages = times(
            h.messages_open,
            "a message that carries it is",
            "messages that carry it are",
        );
        lines.push(format!(
            "{messages} on the way, and followed to the end all the same"
        ));
    }
    match &h.fate.owner {
        Some(owner) => lines.push(format!(
            "{owner} clears its sealing store of it when it asks next, and takes a new sector"
        )),
        None => lines
            .push("nobody is known to have it; files in a worker's sealing store stay".to_owned()),
    }
    if !h.stores.is_empty() {
        lines.push(format!(
            "its files in the persist store {} stay; nothing removes them",
            h.stores.join(" and ")
        ));
    }
    if let Some(store) = &h.reserved {
        lines.push(format!("the room that {store} keeps for it is given back"));
    }
    lines.push("its number is not handed out again".to_owned());
    lines
}

/// Says what was done with a sector.
pub(super) fn done(id: SectorId, key: &str, said: &str, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return show::json(&json!({ key: id }));
    }
    show::say(format!("sector {id} {said}"));
    Ok(())
}

/// Wants another message for a precommit or a proof.
pub(super) async fn resend(
    manager: &Manager,
    id: SectorId,
    proof: bool,
    as_json: bool,
) -> anyhow::Result<()> {
    let answer = manager.rpc.resend_sector(id, proof).await;
    let answer = answer.map_err(|e| manager.failed(e))?;
    if as_json {
        return show::json(&answer);
    }
    let what = if proof { "proof" } else { "precommit" };
    let why = answer.desc.unwrap_or_default();
    if answer.res != SubmitResult::Accepted {
        let text = format!("no other message is made for the {what} of {id}: {why}");
        return Err(Fatal::new(Exit::Refused, text)
            .hint("`damocles-manager util sealer sectors state` shows its messages")
            .into());
    }
    show::say(format!("the {what} of {id} is sent as soon as its turn comes {why}").trim_end());
    Ok(())
}

/// Lines for `util sealer sectors state`: who has the sector, who wants it, and what there is of it.
pub(super) fn holdings(h: &SectorHoldings, now: i64) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let fate = &h.fate;
    if let Some(owner) = &fate.owner {
        lines.push(("owner", format!("{owner} (fence {})", fate.fence)));
    }
    if let Some(former) = &h.taken_from {
        lines.push((
            "taken from",
            format!("{former} by a person; the next other worker has it"),
        ));
    }
    if let Some(claim) = &h.claimant {
        let who = claim.caller.as_ref().map(Caller::to_string);
        let who = who.unwrap_or_else(|| "a worker that does not say who it is".to_owned());
        let ago = show::ago(now, claim.at);
        lines.push(("wanted by", format!("{who}, refused {ago} ago")));
    }
    if let Some(by) = fate.aborted_by {
        let by = match by {
            AbortedBy::Person => "a person",
            AbortedBy::Worker => "its worker",
            AbortedBy::Unknown => "not noted",
        };
        lines.push(("given up by", format!("{by}: {}", fate.abort_reason)));
    }
    if let Some(why) = &h.waits {
        lines.push(("waits", why.clone()));
    }
    let chain = match &h.chain {
        SectorOnChain::Nothing => "nothing".to_owned(),
        SectorOnChain::PreCommit { epoch, deposit } => {
            format!("precommit of epoch {epoch}, deposit {deposit} FIL")
        }
        SectorOnChain::Sector {
            activation,
            expiration,
        } => format!("proven, epochs {activation} to {expiration}"),
        SectorOnChain::Unknown { why } => format!("not known now: {why}"),
    };
    lines.push(("on chain", chain));
    if !h.stores.is_empty() {
        lines.push(("stored in", h.stores.join(" and ")));
    }
    lines
}

async fn ask(manager: &Manager, id: SectorId) -> Result<SectorHoldings, Fatal> {
    manager.rpc.sector_holdings(id).await.map_err(|e| {
        let fatal = manager.failed(e);
        match fatal.exit {
            Exit::NotFound => Fatal::new(
                Exit::NotFound,
                format!("the manager has no record of sector {id}"),
            )
            .hint("if a worker has it (`damocles-manager util sealer sectors unknown`), it can be given up there only: `damocles-worker worker resume --state Aborted`"),
            _ => fatal,
        }
    })
}

/// Gives a sector up, or says what would follow.
pub(super) async fn abort(
    manager: &Manager,
    id: SectorId,
    reason: String,
    really: bool,
    json: bool,
) -> anyhow::Result<()> {
    let before = ask(manager, id).await?;
    if before.fate.finalized {
        return Err(Fatal::new(
            Exit::Refused,
            format!("sector {id} is finished; it cannot be given up"),
        )
        .into());
    }
    let fate = if really {
        let done = manager.rpc.abort_sector(id, reason).await;
        Some(done.map_err(|e| manager.failed(e))?)
    } else {
        None
    };
    if json {
        let consequences = consequences(&before);
        show::json(
            &json!({"Done": really, "Fate": fate, "Holdings": before, "Consequences": consequences}),
        )?;
    } else {
        let verb = if really {
            "is given up"
        } else {
            "would be given up"
        };
        println!("sector {id} {verb}:");
        for line in consequences(&before) {
            show::say(format!("  {line}"));
        }
    }
    if really {
        return Ok(());
    }
    Err(Fatal::new(Exit::Refused, "nothing was changed")
        .hint("repeat the command with --really-do-it to give the sector up")
        .into())
}

/// Takes a sector from its owner.
pub(super) async fn hand_over(manager: &Manager, id: SectorId, json: bool) -> anyhow::Result<()> {
    let before = ask(manager, id).await?;
    if !before.fate.online {
        return Err(Fatal::new(
            Exit::Refused,
            format!("sector {id} is over; there is nothing to hand over"),
        )
        .into());
    }
    let fate = manager.rpc.hand_over_sector(id).await;
    let fate = fate.map_err(|e| manager.failed(e))?;
    if json {
        return show::json(&json!({"Fate": fate, "TakenFrom": before.fate.owner}));
    }
    match &before.fate.owner {
        Some(owner) => println!(
            "sector {id} was taken from {}, which is refused from now on; the next other sealing thread that calls about it has it.\n\
             Its files stay where they are: only a worker with that sealing store can go on with it. The same command again lets the former owner have it too.",
            shown(&owner.to_string(), usize::MAX)
        ),
        None => {
            println!("sector {id} has no owner; the next sealing thread that calls about it has it")
        }
    }
    Ok(())
}

fn unknown_line(s: &UnknownSector, now: i64) -> [String; 4] {
    let ago = u64::try_from(now - s.last_heard).unwrap_or(0);
    let state = match (&s.state, s.given_up) {
        (_, true) => "given up".to_owned(),
        (Some(state), false) => state.clone(),
        (None, false) => "—".to_owned(),
    };
    [
        s.id.to_string(),
        state,
        s.caller.as_ref().map_or_else(
            || "a worker that does not say who it is".to_owned(),
            |c| format!("kept by {c}"),
        ),
        format!("{} ago", show::millis(ago * 1000)),
    ]
}

async fn strays(manager: &Manager) -> Result<Vec<UnknownSector>, Fatal> {
    let all = manager.rpc.unknown_sectors().await;
    all.map_err(|e| manager.failed(e))
}

/// Lists the sectors that this manager has no record of.
pub(super) async fn unknown(manager: &Manager, json: bool) -> anyhow::Result<()> {
    let all = strays(manager).await?;
    if json {
        return show::json(&all);
    }
    if all.is_empty() {
        println!("no worker spoke of a sector that this manager has no record of");
        return Ok(());
    }
    let now = SystemClock.now_seconds();
    let mut table = Table::new(&["sector", "state", "worker", "last heard"], &["worker"]);
    for stray in &all {
        table.add_row(unknown_line(stray, now));
    }
    show::print(&table);
    println!(
        "\nTheir workers keep the files and wait. Either this is not the manager that allocated them (compare [sector_manager] rpc_client.addr of the worker),\n\
         or its database is older than they are: bring back the right one, or give them up there with `damocles-worker worker resume --state Aborted`."
    );
    Ok(())
}

/// The line under `util sealer sectors list`, if there is something to say.
pub(super) async fn mention_unknown(manager: &Manager) {
    // an older manager does not know the question
    let waiting = strays(manager).await.unwrap_or_default();
    let n = waiting.iter().filter(|s| !s.given_up).count();
    if let Ok(n @ 1..) = u32::try_from(n) {
        let what = times(n, "1 sector is", "sectors are");
        println!(
            "{what} unknown to this manager and kept by workers: `damocles-manager util sealer sectors unknown`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::{damocles::SectorFate, damocles_cli::Claim};

    fn worker(name: &str) -> Caller {
        Caller {
            worker: name.into(),
            location: "/s1".into(),
            store: "aa".into(),
        }
    }

    fn some() -> SectorHoldings {
        SectorHoldings {
            fate: SectorFate {
                known: true,
                online: true,
                finalized: false,
                aborted_by: None,
                abort_reason: String::new(),
                owner: Some(worker("w1")),
                fence: 2,
            },
            taken_from: None,
            claimant: Some(Claim {
                caller: Some(worker("w2")),
                at: 40,
            }),
            stores: vec!["hdd1".into()],
            reserved: Some("hdd2".into()),
            waits: Some("precommit: no sender".into()),
            messages_open: 1,
            chain: SectorOnChain::PreCommit {
                epoch: 7,
                deposit: "0.13".into(),
            },
        }
    }

    #[test]
    fn whoever_gives_a_sector_up_is_told_what_stays_where_and_what_the_deposit_does() {
        let all = consequences(&some()).join("\n");
        for part in [
            "0.13 FIL is burnt",
            "worker w1 at /s1",
            "hdd1 stay",
            "hdd2 keeps",
            "followed",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
        let away = SectorOnChain::Unknown { why: "down".into() };
        assert!(on_chain(&away).contains("not known now: down"));
        assert!(on_chain(&SectorOnChain::Nothing).contains("no deposit is lost"));
    }

    #[test]
    fn the_state_of_a_sector_shows_its_owner_and_who_else_wants_it() {
        let lines = holdings(&some(), 100);
        let of = |key: &str| lines.iter().find(|(k, _)| *k == key).unwrap().1.clone();
        assert_eq!(of("owner"), "worker w1 at /s1 (fence 2)");
        assert_eq!(of("wanted by"), "worker w2 at /s1, refused 1m00s ago");
        assert_eq!(of("waits"), "precommit: no sender");
    }
}
